# SPDX-License-Identifier: GPL-2.0-or-later
"""All that may differ between the datapaths, or from what the model promises: nothing else may.

Each is in docs/differences.md with its reason, and must be met by a scenario in scenarios/."""
import collections

Difference = collections.namedtuple("Difference", "name datapaths kinds covers")

DIFFERENCES = [
    Difference("turns-shared", ("nft",), ("turn",), lambda f: f.facts["shared"]),
    Difference("turns-restart", ("nft",), ("turn",), lambda f: f.facts["changed"]),
    Difference("no-route-is-local", ("ebpf",), ("outcome",),
               lambda f: f.facts["at"].startswith("y") and f.facts["out"] in ("answered", "silent")),
    Difference("nobody-takes-up", ("ebpf", "nft"), ("differ",),
               lambda f: f.facts["outs"].get("ebpf") == "silent"
               and set(f.facts["outs"].values()) == {"reset", "silent"}),
    Difference("outlives-its-listen", ("nft",), ("outcome", "who"),
               lambda f: f.facts["unlistened"] and f.facts["out"] == "answered"),
    Difference("removed-not-counted", ("nft",), ("total", "counter", "packets", "bytes"),
               lambda f: f.facts["removed"]),
    Difference("counted-by-address", ("nft",), ("total", "counter", "packets", "bytes"),
               lambda f: f.facts["shadowed"]),
    Difference("merged-packets", ("ebpf", "nft"), ("packets", "bytes"), lambda f: f.facts["merged"]),
    Difference("hash-differs", ("ebpf", "nft"), ("differ",),
               lambda f: set(f.facts["outs"].values()) == {"answered", "reset"}),
]
