# SPDX-License-Identifier: GPL-2.0-or-later
"""Is what was seen on each datapath what the model promises, and is it the same on all of them?

Where a choice is free (whom rr begins with, whom a hash names) the property that must hold is
checked, not the name. Whatever is not right is a Finding; an accepted difference may cover it."""
import collections
import math

import scenario
from differences import DIFFERENCES
from model import HASHES, Model, address_of, family_of
from scenario import ANY, CLIENTS

Finding = collections.namedtuple("Finding", "kind datapath number step text facts")
SEGMENT = 1400  # what surely is one packet
SIGMAS = 6  # of chance: once in 500 million


class Tally:
    """What a member must have been counted for."""

    def __init__(self):
        self.connections, self.requests, self.segments, self.payload = 0, 0, 0, 0
        self.tcp = 0


class Judge:
    """Of one datapath and one scenario."""

    def __init__(self, datapath):
        self.datapath, self.findings = datapath, []
        self.counted = {}  # facts about the service whose counters are looked at
        self.begin()

    def begin(self):
        self.model = Model()
        self.turns = {}  # (service, family): (signature, first pick's number, changes, picks)
        self.picks = []  # (service, family, what nft calls a class)
        self.sticks = {}
        self.tallies = collections.defaultdict(Tally)
        self.uncertain = set()  # services whose connections may have been taken up in the middle

    def found(self, kind, text, **facts):
        self.findings.append(Finding(kind, self.datapath, self.number, self.step, text, facts))

    def feed(self, number, step, seen):
        """Judges one step; returns what was expected."""
        self.number, self.step = number, step
        expected = self.model.expect(step)
        if seen["out"] not in expected.outs:
            self.found("outcome", f"{seen['out']}, where {_or(expected.outs)} was expected"
                       + (f": {seen['text']}" if seen.get("text") else ""),
                       out=seen["out"], **self.about(step))
        if seen.get("seen", "own") != "own":
            self.found("seen", f"the server saw {seen['seen']} as its client")
        if step.op in ("open", "udp", "say", "half", "many"):
            self.answers(step, seen, expected)
        if step.op == "stats" and seen["out"] == 0:
            self.counters(seen["services"])
        self.note_lost()
        self.model.learn(step, seen)
        self.note_lost()
        if step.op == "clear":
            self.begin()
        return expected

    def about(self, step):
        """Facts by which accepted differences go."""
        connection = self.model.concerns(step)
        return {"at": connection.at[0] if connection else step.at,
                "unlistened": bool(connection) and connection.unlistened}

    # ------------------------------------------------------- who has answered

    def answers(self, step, seen, expected):
        connection = self.model.concerns(step)
        lives = connection and self.model.lives(connection)
        if step.op in ("say", "half") and not connection:
            return
        at, proto = (connection.at, connection.proto) if connection else (
            scenario.target(step.at), step.proto)
        for who in seen.get("whos", [seen["who"]] if "who" in seen else []):
            backend = next((b for b in expected.whos if f"{b.replica}:{b.port}" == who), None)
            if not backend and "answered" not in expected.outs:
                continue  # an outcome that was not expected: said already
            if not backend:
                names = _or(f"{b.replica}:{b.port}" for b in expected.whos)
                self.found("who", f"{who} answered, where {names} was expected",
                           out="answered", **self.about(step))
                continue
            service, listen = self.model.listening(at, proto)
            member = connection.member if lives else service.members[backend]
            self.count(self.tallies[member], step, proto, fresh=not lives)
            if not lives and not (step.op == "say" and proto == "tcp"):
                self.picked(service, listen, backend, at,
                            connection.source if connection else step.source)
        if step.op == "many":
            self.share(step, seen, at)

    def picked(self, service, listen, backend, at, source):
        family = family_of(at)
        shares = service.candidates(family)
        self.picks.append((service, family, (listen.proto, listen.address in ANY)))
        if service.scheduler in ("rr", "wrr"):
            self.turn(service, family, shares, backend)
        elif service.scheduler in HASHES:
            key = (id(service), service.scheduler, tuple(sorted(shares.items())), source[0])
            if service.scheduler == "maglev":
                if not source[1]:
                    return
                key += (at, listen.proto, source[1])
            before = self.sticks.setdefault(key, backend)
            if before != backend:
                self.found("stick", f"{_name(backend)}, where the same client had {_name(before)}")

    def turn(self, service, family, shares, backend):
        """In any run of as many picks as the ring has slots each has its share at most."""
        signature = (service.scheduler, tuple(shares.items()))
        key = (service, family)
        if key not in self.turns or self.turns[key][0] != signature:
            self.turns[key] = (signature, len(self.picks) - 1, self.model.changes, [])
        _, first, changes, picks = self.turns[key]
        picks.append(backend)
        run = picks[-sum(shares.values()):]
        if run.count(backend) > shares[backend]:
            mine = self.picks[-1]
            others = [p for p in self.picks[first:] if p[1] == family and p != mine]
            names = " ".join(map(_name, run))
            self.found("turn", f"{service.scheduler} gave {names}", shared=bool(others),
                       changed=self.model.changes != changes)
            self.turns[key] = (signature, len(self.picks) - 1, self.model.changes, [backend])

    def share(self, step, seen, at):
        service, _ = self.model.listening(at, step.proto)
        number = len(seen.get("whos", []))
        if not service or service.scheduler not in ("random", "maglev") or number < 20:
            return
        shares = service.candidates(family_of(at))
        for backend, weight in shares.items():
            part = weight / sum(shares.values())
            count = seen["whos"].count(f"{backend.replica}:{backend.port}")
            if abs(count - number * part) > SIGMAS * math.sqrt(number * part * (1 - part)) + 1:
                self.found("share", f"{_name(backend)} had {count} of {number}, {part:.2f} is due")

    # --------------------------------------------------------------- counters

    @staticmethod
    def count(tally, step, proto, fresh):
        tally.connections += fresh
        tally.tcp += fresh and proto == "tcp"
        tally.requests += 1
        tally.segments += 1 + step.number // SEGMENT if step.op == "say" else 1
        tally.payload += step.number if step.op == "say" else 0

    def note_lost(self):
        """A service that hashes takes up what it does not know: whose packets those are, and how
        many connections that makes, depends on who is still sending."""
        for connection in self.model.connections.values():
            if connection.proto == "tcp" and connection.who and not self.model.lives(connection):
                service, _ = self.model.listening(connection.at, "tcp")
                if service and service.scheduler in HASHES:
                    self.uncertain.add(service)

    def counters(self, services):
        shown = {s["name"]: s for s in services}
        if set(shown) != set(self.model.force):
            self.found("counter", f"services {_or(shown)}", removed=False, shadowed=False)
            return
        for name, service in self.model.force.items():
            if service in self.uncertain:
                continue
            self.counted = {"removed": service.unlistened, "shadowed": service.shadowed}
            by_address = {b["address"]: b for b in shown[name]["backends"]}
            total = 0
            for backend, member in service.members.items():
                self.counter(f"{name} {_name(backend)}", self.tallies[member],
                             by_address.get(address_of(backend)))
                total += self.tallies[member].connections
            self.total(service, shown[name]["connections"], total)

    def total(self, service, shown, current):
        """A service's connections are those of all members that it ever had."""
        due = current + sum(self.tallies[m].connections for m in service.former)
        if shown != due:
            self.found("total", f"{shown} connections, where {due} were made",
                       **self.counted | {"removed": shown == current or service.unlistened})

    def counter(self, name, tally, shown):
        if not shown:
            self.found("counter", f"{name} is not shown", **self.counted)
            return
        if shown["connections"] != tally.connections:
            self.found("counter", f"{name}: {shown['connections']} connections, where "
                       f"{tally.connections} were made", **self.counted)
        for way in ("in", "out"):
            packets, size = shown["packets_" + way], shown["bytes_" + way]
            # UDP is exact. With TCP it depends on time what is acknowledged by a packet of its own,
            # and at the end of a connection who is still there to do so.
            least = tally.segments + tally.tcp
            most = tally.segments * 2 + tally.tcp * 6
            if not tally.tcp:
                least = most = tally.segments
            if not least <= packets <= most:
                self.found("packets", f"{name}: {packets} packets {way}, where {least} to {most} "
                           "are due", **self.counted,
                           merged=tally.segments > tally.requests and packets < least)
            if not tally.payload + 28 * packets <= size <= tally.payload + 140 * packets:
                self.found("bytes", f"{name}: {size} bytes in {packets} packets {way}, of which "
                           f"{tally.payload} are what was said", **self.counted,
                           merged=tally.segments > tally.requests and size >= tally.payload)


def _name(backend):
    return f"{backend.replica}.{backend.family}:{backend.port}"


def _or(words):
    return " or ".join(sorted(map(str, words))) or "nobody"


def judge(steps, played):
    """All findings about PLAYED, {datapath: what was seen of each step}."""
    judges = {datapath: Judge(datapath) for datapath in played}
    findings = []
    for number, step in enumerate(steps):
        expected = {}
        for datapath, seen in played.items():
            expected[datapath] = judges[datapath].feed(number, step, seen[number])
        wrong = any(f.number == number and f.kind == "outcome"
                    for j in judges.values() for f in j.findings)
        # After an accepted difference each has a story of its own.
        if not wrong and all(e.outs == expected[datapath].outs for e in expected.values()):
            findings += _differ(number, step, {d: s[number] for d, s in played.items()})
    for one in judges.values():
        findings += one.findings
    return sorted(findings, key=lambda f: f.number)


def _differ(number, step, seen):
    outs = {datapath: one["out"] for datapath, one in seen.items()}
    if len(set(outs.values())) > 1:
        text = ", ".join(f"{out} on {datapath}" for datapath, out in outs.items())
        service = {"outs": outs}
        yield Finding("differ", "all", number, step, text, service)


def accepted(finding):
    """The name of the difference that covers it, or None."""
    for difference in DIFFERENCES:
        if finding.datapath in (*difference.datapaths, "all") and finding.kind in difference.kinds \
                and difference.covers(finding):
            return difference.name
    return None
