# SPDX-License-Identifier: GPL-2.0-or-later
"""All that may differ between the datapaths, or from what the model promises: nothing else may.

Each is in docs/differences.md with its reason, and must be met by a scenario in scenarios/."""
import collections

Difference = collections.namedtuple("Difference", "name datapaths kinds covers")

# The first that covers a finding names it.
DIFFERENCES = [
    Difference("turns-shared", ("nft",), ("turn",), lambda f: f.facts["shared"]),
    Difference("turns-restart", ("nft",), ("turn",), lambda f: f.facts["changed"]),
    Difference("turns-begin-anew", ("ipvs",), ("turn",), lambda f: f.facts["altered"]),
    Difference("hash-made-anew", ("ipvs",), ("stick",), lambda f: f.facts["altered"]),
    Difference("no-route-is-local", ("ebpf",), ("outcome",),
               lambda f: f.facts["at"].startswith("y") and f.facts["out"] in ("answered", "silent")),
    Difference("own-addresses", ("ipvs",), ("differ",),
               lambda f: f.step.op == "apply" and f.facts["others"]
               and f.facts["outs"].get("ipvs") == 1
               and {o for d, o in f.facts["outs"].items() if d != "ipvs"} == {0}),
    Difference("nobody-left-is-told", ("ipvs",), ("outcome",),
               lambda f: f.facts["out"] == "refused" and f.facts["due"] == {"silent"}),
    Difference("outlives-its-listen", ("nft",), ("outcome", "who"),
               lambda f: f.facts["unlistened"] and f.facts["out"] == "answered"),
    Difference("ends-with-another", ("nft",), ("outcome",), lambda f: f.facts["swept"]),
    Difference("lost-is-taken-up", ("nft",), ("outcome", "who"),
               lambda f: f.facts["lost"] and f.facts["out"] == "answered"),
    Difference("removed-not-counted", ("nft",), ("total", "counter", "packets", "bytes"),
               lambda f: f.facts["removed"]),
    Difference("counted-by-address", ("nft",), ("total", "counter", "packets", "bytes"),
               lambda f: f.facts["shadowed"]),
    Difference("waited-by-address", ("nft", "ipvs"), ("left",),
               lambda f: f.facts["removed"] or f.facts["shadowed"]),
    Difference("counted-before", ("ipvs",), ("counter", "packets", "bytes"),
               lambda f: f.facts["returned"]),
    Difference("family-not-counted", ("ipvs",), ("total",), lambda f: f.facts["emptied"]),
    Difference("merged-packets", ("ebpf", "nft", "ipvs"), ("packets", "bytes"),
               lambda f: f.facts["merged"]),
]


def can_be_met(difference, datapaths):
    """Whether these datapaths, when they are played, can show it: one of those that it names; what
    differs between some, all of those and one to differ from."""
    if "differ" in difference.kinds:
        return set(difference.datapaths) <= set(datapaths) and len(datapaths) > 1
    return bool(set(difference.datapaths) & set(datapaths))
