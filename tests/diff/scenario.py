# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario is a text: one step a line, `#` begins a remark. Nothing in it is known to a datapath
by another name, so the same text is played on all of them.

Of the config, in force from the next `apply`:
    service NAME listen LISTEN,... scheduler NAME [OPTION VALUE]...    a new one, or this one changed
    backend NAME BACKEND [weight N] [max N]          a new one, or this one changed
    remove NAME [BACKEND]                            the service, or one backend of it
    apply [reset-overrides|upgrade]                  upgrade: by another build of the program
By hand, in force at once:
    drain NAME BACKEND, undrain NAME BACKEND, weight NAME BACKEND N
    wait NAME BACKEND                     drained, and given a second until it has no connection
Clients:
    open C TARGET [from CLIENT[:PORT]]    a TCP connection and a first request
    udp C TARGET [from CLIENT[:PORT]]     a UDP socket and a first request
    say C [BYTES]                         a request of so many bytes, answered with as many
    half C                                the client has said all; the server answers and closes
    shut C                                the client has said all, and the server knows
    finish C                              after that: the server answers and closes
    bye C, close C, reset C               closed by the server; by the client; by an RST
    many N TARGET[/udp] [from CLIENT]     so many clients in turn, one request each
    flood TARGET                          SYNs from 16,000 clients that do not exist: more than there is
                                          room for
And
    flush                                 every connection is forgotten
    gc                                    what has expired is taken out: nobody may notice
    idle [tcp]                            until the UDP flows (with `tcp`, all) of services with short
                                          timeouts, and what is shut, have expired: 16 seconds (66),
                                          0 if there are none
    stats                                 the counters must be right
    verify                                `meshlb verify` must find nothing
    clear                                 everything away: where several scenarios are put together

LISTEN   *:8080, 0.0.0.0:8080, [::]:8080, or an ADDRESS:PORT, with /udp behind it
ADDRESS  v4 w4 v6 w6 are the node's own; x4 x6 another host's behind it (where nobody listens); to
         y4 y6 it has no route
BACKEND  r1:80 (both of its addresses), r1.4:80 or r1.6:80
CLIENT   a, b or c: the client's addresses of either family
OPTION   on-remove reset|rehash|drop, unknown hash|reset|drop, affinity port|service (seconds enough),
         timeouts short (the least that there may be; a service has them from its first line on)

With `flush`, `flood`, `idle`, `max`, an OPTION, or by lc or wlc a scenario is played on ebpf alone: against
the model."""
import collections
import re

REPLICAS = ("r1", "r2", "r3")
PORTS = (80, 81, 82)  # on which each replica serves, TCP and UDP
CLIENTS = {"a": ("192.0.2.2", "2001:db8::2"), "b": ("192.0.2.3", "2001:db8::3"),
           "c": ("192.0.2.200", "2001:db8:0:0:ffff::4")}
NODE = {"v4": "192.0.2.1", "w4": "192.0.2.9", "v6": "2001:db8::1", "w6": "2001:db8::9"}
ADDRESSES = NODE | {"x4": "198.51.100.7", "x6": "2001:db8:100::7",
                    "y4": "203.0.113.7", "y6": "2001:db8:113::7"}
ANY = {"*": (4, 6), "0.0.0.0": (4,), "[::]": (6,)}
OPTIONS = {"on-remove": ("reset", "rehash", "drop"), "unknown": ("hash", "reset", "drop"),
           "affinity": ("port", "service"), "timeouts": ("short",)}
SCHEDULERS = ("rr", "wrr", "random", "sh", "maglev")
LEAST = ("lc", "wlc")

Step = collections.namedtuple(
    "Step", "op name at number limit source proto listens scheduler options text")
_BLANK = Step("", "", "", 0, 0, ("a", 0), "tcp", (), "", (), "")
Listen = collections.namedtuple("Listen", "address port proto")  # address: a key of ANY, or ADDRESSES
Backend = collections.namedtuple("Backend", "replica family port")


class Wrong(Exception):
    """A line that is none of the above."""


def _take(pattern, text, what):
    found = re.fullmatch(pattern, text)
    if not found:
        raise Wrong(f'"{text}" is no {what}')
    return found


def listen(text):
    found = _take(r"(\*|0\.0\.0\.0|\[::\]|[vwxy][46]):(\d+)(?:/(tcp|udp))?", text, "listen")
    return Listen(found[1], int(found[2]), found[3] or "tcp")


def target(text):
    found = _take(r"([vwxy][46]):(\d+)", text, "target")
    return found[1], int(found[2])


def backends(text):
    """All that the word stands for: one of each family, or one."""
    found = _take(r"(r[1-9])(?:\.([46]))?:(\d+)", text, "backend")
    return [Backend(found[1], family, int(found[3]))
            for family in ([int(found[2])] if found[2] else [4, 6])]


def _source(words):
    if not words:
        return "a", 0
    found = _take(r"from ([abc])(?::(\d+))?", " ".join(words), "source")
    return found[1], int(found[2] or 0)


def _service(w):
    options = tuple(zip(w[6::2], w[7::2]))
    if len(w) < 6 or len(w) % 2 or w[2] != "listen" or w[4] != "scheduler" or \
            w[5] not in SCHEDULERS + LEAST or any(v not in OPTIONS.get(o, ()) for o, v in options):
        raise Wrong("write: service NAME listen LISTEN,... scheduler NAME [OPTION VALUE]...")
    return {"name": w[1], "listens": tuple(map(listen, w[3].split(","))), "scheduler": w[5],
            "options": options}


def _backend(w):
    numbers = dict(zip(w[3::2], w[4::2]))
    if len(w) < 3 or len(w) != 3 + 2 * len(numbers) or not set(numbers) <= {"weight", "max"}:
        raise Wrong("write: backend NAME BACKEND [weight N] [max N]")
    backends(w[2])
    return {"name": w[1], "at": w[2], "number": int(numbers.get("weight", 1)),
            "limit": int(numbers.get("max", 0))}


def _remove(w):
    if len(w) == 3:
        backends(w[2])
    return {"name": w[1], "at": w[2] if len(w) == 3 else ""}


def _weight(w):
    backends(w[2])
    return {"name": w[1], "at": w[2], "number": int(w[3]) if w[0] == "weight" else None}


def _open(w):
    target(w[2])
    return {"name": w[1], "at": w[2], "source": _source(w[3:]),
            "proto": "udp" if w[0] == "udp" else "tcp"}


def _idle(w):
    if w[1:] not in ([], ["tcp"]):
        raise Wrong("write: idle [tcp]")
    return {"proto": "tcp" if w[1:] else "udp"}


def _flood(w):
    at, port = target(w[1])
    if at not in NODE or at[1] != "4":
        raise Wrong("write: flood v4:PORT or w4:PORT")
    return {"at": w[1], "proto": "tcp"}


def _many(w):
    at, _, proto = w[2].partition("/")
    target(at)
    return {"number": int(w[1]), "at": at, "proto": proto or "tcp", "source": _source(w[3:])}


_OPS = {
    "service": _service, "backend": _backend, "remove": _remove,
    "apply": lambda w: {"name": " ".join(w[1:])},
    "drain": _weight, "undrain": _weight, "weight": _weight, "wait": _weight,
    "open": _open, "udp": _open, "many": _many,
    "say": lambda w: {"name": w[1], "number": int(w[2]) if len(w) > 2 else 0},
    "half": lambda w: {"name": w[1]}, "bye": lambda w: {"name": w[1]},
    "close": lambda w: {"name": w[1]}, "reset": lambda w: {"name": w[1]},
    "shut": lambda w: {"name": w[1]}, "finish": lambda w: {"name": w[1]},
    "flood": _flood, "idle": _idle, "flush": lambda w: {}, "gc": lambda w: {},
    "stats": lambda w: {}, "verify": lambda w: {}, "clear": lambda w: {},
}


def parse(text, where="scenario"):
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            parts = _OPS[words[0]](words)
        except Wrong as error:
            raise Wrong(f"{where}:{number}: {line.strip()}: {error}") from None
        except (KeyError, IndexError, ValueError):
            raise Wrong(f"{where}:{number}: {line.strip()}: not a step") from None
        steps.append(_BLANK._replace(op=words[0], text=" ".join(words), **parts))
    return steps


def is_for_all(steps):
    """Whether every datapath can play it."""
    return not any(step.options or step.limit or step.scheduler in LEAST or
                   step.op in ("flush", "flood", "idle") for step in steps)


def write(steps):
    return "".join(step.text + "\n" for step in steps)
