# SPDX-License-Identifier: GPL-2.0-or-later
"""Is what was seen on each datapath what the model promises, and is it the same on all of them?

Where a choice is free (whom rr begins with, whom a hash names) the property that must hold is
checked, not the name. Whatever is not right is a Finding; an accepted difference may cover it."""
import collections
import fractions
import math

import scenario
from differences import DIFFERENCES
from model import Expect, HASHES, Model, SAYS, address_of, family_of
from scenario import ANY, CLIENTS, LEAST

Finding = collections.namedtuple("Finding", "kind datapath number step text facts")
SEGMENT = 1400  # what surely is one packet
SIGMAS = 6  # of chance: once in 500 million
# What a Judge counts: lc and wlc had a choice of unlike ones, another one took what a full one would
# have had, all were full, a connection was asked that had expired, half-open ones gave way, somebody
# was waited for in vain, and not.
CHECKS = ("least", "overflow", "full", "expired", "evicted", "left", "none left")
ALL = 8  # backends that lc and wlc compare; of more they try two


Pick = collections.namedtuple("Pick", "backend number changes altered")


class Tally:
    """What a member must have been counted for."""

    def __init__(self):
        self.connections, self.requests, self.segments, self.payload = 0, 0, 0, 0
        self.tcp = 0
        self.twice = 0  # connections that may have been begun, and counted, twice

    def __add__(self, other):
        both = Tally()
        for name, value in vars(self).items():
            setattr(both, name, value + getattr(other, name))
        return both


class Judge:
    """Of one datapath and one scenario."""

    def __init__(self, datapath):
        self.datapath, self.findings = datapath, []
        self.counted = {}  # facts about the service whose counters are looked at
        self.checks = collections.Counter()  # of what needs a special occasion
        self.begin()

    def begin(self):
        self.model = Model(self.datapath)
        self.more = collections.Counter()  # of a member: flows of the step that is looked at
        self.slow = False  # it took so long that nobody knows what has expired
        self.turns = {}  # (service, family): (signature, Picks)
        self.picks = []  # (service, family, what nft calls a class)
        self.sticks = {}
        self.affinities = {}  # of a client: the member that it had
        self.tallies = collections.defaultdict(Tally)
        self.lost = set()  # targets of TCP connections whose backend has gone
        self.half_dead = set()  # (client, backend) of those: the server has not heard of it

    def found(self, kind, text, **facts):
        self.findings.append(Finding(kind, self.datapath, self.number, self.step, text, facts))

    def feed(self, number, step, seen):
        """Judges one step; returns what was expected."""
        self.number, self.step = number, step
        self.model.now, _ = seen["at"]
        self.slow |= step.op != "idle" and self.model.in_doubt()
        if self.slow:
            self.checks["too slow"] = 1
            return self.pass_over(step, seen)
        expected, about = self.model.expect(step), self.about(step)
        anew = self.swept(step)
        if seen["out"] not in expected.outs and step.op == "wait":
            service = self.model.force.get(step.name)
            self.found("left", f"{seen['out']}, where {_or(expected.outs)} was expected: "
                       + seen["text"], shadowed=bool(service) and service.shadowed,
                       removed=bool(service) and service.unlistened)
        elif seen["out"] not in expected.outs:
            self.found("outcome", f"{seen['out']}, where {_or(expected.outs)} was expected"
                       + (f": {seen['text']}" if seen.get("text") else ""),
                       out=seen["out"], due=expected.outs,
                       swept=bool(anew) and seen["out"] in anew.outs, **about)
        if seen.get("seen", "own") != "own":
            self.found("seen", f"the server saw {seen['seen']} as its client")
        if step.op in ("open", "udp", "many", *SAYS):
            self.answers(step, seen, anew or expected)
        if step.op == "stats" and seen["out"] == 0:
            self.counters(seen["services"])
        self.note_lost()
        self.occasions(step, expected, seen)
        self.model.learn(step, seen)
        self.note_lost()
        self.more.clear()
        if step.op == "clear":
            self.begin()
        elif step.op == "flush":
            self.affinities = {}
        return expected

    def pass_over(self, step, seen):
        """Learns what is in force, and expects whatever came."""
        self.model.learn(step, seen)
        if step.op == "clear":
            self.begin()
        return Expect({seen["out"]}, set())

    def occasions(self, step, expected, seen):
        """Counts what was really put to the test: a run without any has shown nothing."""
        self.checks["evicted"] += bool(seen.get("evicted"))
        if step.op == "wait":
            self.checks["left"] += expected.outs == {5}
            self.checks["none left"] += expected.outs == {0}
        connection = self.model.concerns(step)
        if connection and connection.member and self.model.expired(connection):
            self.checks["expired"] += 1
        if step.op in ("open", "udp", "many") and "answered" not in expected.outs:
            at = scenario.target(step.at)
            service, _ = self.model.listening(at, step.proto)
            self.checks["full"] += bool(service and service.candidates(family_of(at)))

    def swept(self, step):
        """What comes of a connection that nft has ended with another service's: it is a new one, or
        lost. None: of all others."""
        connection = self.model.concerns(step)
        if not connection or not self.is_swept(connection):
            return None
        self.model.forget(connection)
        return self.model.expect(step)

    def is_swept(self, connection):
        return self.datapath == "nft" and connection.swept

    def about(self, step):
        """Facts by which accepted differences go."""
        connection = self.model.concerns(step)
        return {"at": connection.at[0] if connection else step.at,
                "proto": connection.proto if connection else step.proto,
                "lost": bool(connection) and self.model.is_lost(connection),
                "unlistened": bool(connection) and connection.unlistened}

    # ------------------------------------------------------- who has answered

    def answers(self, step, seen, expected):
        connection = self.model.concerns(step)
        lives = connection and self.model.lives(connection)
        if step.op in SAYS and not connection:
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
            known = lives or step.op == "finish"
            member = connection.member if known else service.members[backend]
            self.count(self.tallies[member], step, proto, fresh=not known)
            if step.op == "open":
                self.begun_twice(self.tallies[member], connection.source, backend)
            if not lives and not (step.op in SAYS and proto == "tcp"):
                self.picked(service, listen, backend, at,
                            connection.source if connection else step.source)
                self.more[member] += step.op == "many" and proto == "udp"
        if step.op == "many":
            self.share(step, seen, at)
            self.fits(step, seen, expected, at)

    def begun_twice(self, tally, source, backend):
        """RFC 5961: a server that still has a connection of that client and port answers a SYN by
        an acknowledgement of its own; the client resets that one, and sends its SYN once more."""
        if (source, backend) in self.half_dead:
            self.half_dead.remove((source, backend))
            tally.twice += 1

    def picked(self, service, listen, backend, at, source):
        family = family_of(at)
        shares = service.candidates(family)
        self.picks.append((service, family, (listen.proto, listen.address in ANY)))
        known = service not in self.model.uncertain
        rooms = {b: self.room(service.members[b]) for b in shares}
        if known and not rooms[backend]:
            self.found("full", f"{_name(backend)} had its {service.members[backend].limit} already")
        if "affinity" in service.options and \
                self.affine(service, backend, rooms, (family, listen.proto, at[1], source[0])):
            return
        if service.scheduler in LEAST:
            if known and not self.is_taken(at, listen.proto, source):
                self.least(service, family, rooms, backend)
        elif self.overflows(service, rooms) or "affinity" in service.options:
            self.turns.pop((service, family), None)
        elif service.scheduler in ("rr", "wrr"):
            self.turn(service, family, shares, backend)
        elif service.scheduler in HASHES:
            key = (id(service), service.scheduler, tuple(sorted(shares.items())), source[0])
            if service.scheduler == "maglev":
                if not source[1]:
                    return
                key += (at, listen.proto, source[1])
            before, changes = self.sticks.setdefault(key, (backend, service.changes))
            if before != backend:
                self.found("stick", f"{_name(backend)}, where the same client had {_name(before)}",
                           altered=service.changes != changes)
                self.sticks[key] = backend, service.changes

    def room(self, member):
        return self.model.room(member) - self.more[member]

    def overflows(self, service, rooms):
        """Whether somebody's turn, or clients, may have gone to another."""
        self.checks["overflow"] += not all(rooms.values())
        return not all(rooms.values()) or (service in self.model.uncertain
                                           and self.model.is_limited(service))

    def is_taken(self, at, proto, source):
        """Whether the client's port has another connection: one backend may have to be passed by."""
        return source[1] and any(
            c.source == source and c.proto == proto and c.at != at
            for c in self.model.entries())

    def least(self, service, family, rooms, backend):
        """Nobody with room has fewer connections for its weight."""
        if sum(b.family == family for b in service.members) > ALL:
            return
        weights = service.candidates(family)
        load = {b: fractions.Fraction(
            self.model.busy(service.members[b]) + self.more[service.members[b]] + 1, weights[b])
                for b, room in rooms.items() if room}
        self.checks["least"] += len(set(load.values())) > 1
        if backend in load and load[backend] > min(load.values()):
            have = ", ".join(f"{_name(b)} {self.model.busy(service.members[b])}" for b in load)
            self.found("least", f"{service.scheduler} gave {_name(backend)}, where they had {have}")

    def affine(self, service, backend, rooms, whose):
        """Whether the client's affinity has decided."""
        option = service.options["affinity"]
        family, proto, port, client = whose
        key = (service, family, client, option, None if option == "service" else (proto, port))
        takers = {service.members[b]: b for b in rooms}
        before = takers.get(self.affinities.get(key))
        if before and self.overflows(service, {before: rooms[before]}):
            return True  # another one serves meanwhile
        if before and before != backend:
            self.found("stick", f"{_name(backend)}, where {client} has an affinity to "
                       f"{_name(before)}", altered=False)
        self.affinities[key] = service.members[backend]
        return before is not None

    def turn(self, service, family, shares, backend):
        """In any run of as many picks as the ring has slots each has its share at most."""
        signature = (service.scheduler, tuple(shares.items()))
        key = (service, family)
        if key not in self.turns or self.turns[key][0] != signature:
            self.turns[key] = (signature, [])
        picks = self.turns[key][1]
        picks.append(Pick(backend, len(self.picks) - 1, self.model.changes, service.changes))
        run = picks[-sum(shares.values()):]
        if [p.backend for p in run].count(backend) > shares[backend]:
            mine = self.picks[-1]
            others = [p for p in self.picks[run[0].number:] if p[1] == family and p != mine]
            names = " ".join(_name(p.backend) for p in run)
            self.found("turn", f"{service.scheduler} gave {names}", shared=bool(others),
                       changed=run[0].changes != run[-1].changes,
                       altered=run[0].altered != run[-1].altered)
            self.turns[key] = (signature, picks[-1:])

    def share(self, step, seen, at):
        service, _ = self.model.listening(at, step.proto)
        number = len(seen.get("whos", []))
        if not service or service.scheduler not in ("random", "maglev") or number < 20 or \
                "affinity" in service.options or self.model.is_limited(service):
            return
        shares = service.candidates(family_of(at))
        for backend, weight in shares.items():
            part = weight / sum(shares.values())
            count = seen["whos"].count(f"{backend.replica}:{backend.port}")
            if abs(count - number * part) > SIGMAS * math.sqrt(number * part * (1 - part)) + 1:
                self.found("share", f"{_name(backend)} had {count} of {number}, {part:.2f} is due")

    def fits(self, step, seen, expected, at):
        """UDP that is refused in the middle must have filled all."""
        service, _ = self.model.listening(at, step.proto)
        if step.proto == "udp" and expected.whos and "answered" not in expected.outs:
            left = sum(self.room(service.members[b]) for b in expected.whos)
            if left:
                self.found("full", f"{seen['out']}, where there was room for {left}")

    # --------------------------------------------------------------- counters

    @staticmethod
    def count(tally, step, proto, fresh):
        tally.connections += fresh
        tally.tcp += fresh and proto == "tcp"
        tally.requests += 1
        tally.segments += 1 + step.number // SEGMENT if step.op == "say" else 1
        tally.payload += step.number if step.op == "say" else 0

    def note_lost(self):
        """Services may take up what they do not know (but on ipvs): whose packets those are, and how
        many connections that makes, depends on who is still sending."""
        for connection in self.model.connections.values():
            if connection.proto == "tcp" and connection.who and (
                    self.is_swept(connection) or not self.model.lives(connection)):
                self.lost.add(connection.at)
                self.half_dead.add((connection.source, connection.who))
        for target in self.lost if self.datapath != "ipvs" else ():
            service, _ = self.model.listening(target, "tcp")
            if service and service.takes_up:
                self.model.uncertain.add(service)

    def counters(self, services):
        shown = {s["name"]: s for s in services}
        if set(shown) != set(self.model.force):
            self.found("counter", f"services {_or(shown)}", removed=False, shadowed=False)
            return
        for name, service in self.model.force.items():
            if service in self.model.uncertain:
                continue
            self.counted = {"removed": service.unlistened, "shadowed": service.shadowed}
            by_address = {b["address"]: b for b in shown[name]["backends"]}
            total = Tally()
            for backend, member in service.members.items():
                self.counter(f"{name} {_name(backend)}", self.tallies[member],
                             by_address.get(address_of(backend)), self.before(backend))
                total += self.tallies[member]
            self.total(service, shown[name]["connections"], total)

    def before(self, backend):
        """What was counted for members at that address, of any service, that are gone."""
        return sum((self.tallies[m] for b, m in self.model.gone if b == backend), Tally())

    def total(self, service, shown, current):
        """A service's connections are those of all members that it ever had."""
        every = sum((self.tallies[m] for m in service.former), current)
        if not 0 <= shown - every.connections <= every.twice:
            now, due = current.connections, every.connections
            self.found("total", f"{shown} connections, where {due} were made",
                       **self.counted | {"removed": shown == now or service.unlistened,
                                         "emptied": service.emptied and now <= shown < due})

    def counter(self, name, tally, shown, before):
        if not shown:
            self.found("counter", f"{name} is not shown", **self.counted)
            return
        returned = not any(_miscounts(tally, shown, before))
        for kind, text, merged in _miscounts(tally, shown):
            self.found(kind, f"{name}: {text}", merged=merged, returned=returned, **self.counted)


def _miscounts(tally, shown, before=None):
    """What is not counted as it should be; BEFORE may be counted, too, or a part of it."""
    before = before or Tally()
    if not 0 <= shown["connections"] - tally.connections <= before.connections + tally.twice:
        yield "counter", f"{shown['connections']} connections, where {tally.connections} were " \
            "made", False
    for way in ("in", "out"):
        packets, size = shown["packets_" + way], shown["bytes_" + way]
        least, _ = _packets(tally)
        _, most = _packets(tally + before)
        long = tally.segments > tally.requests
        if not least <= packets <= most:
            yield "packets", f"{packets} packets {way}, where {least} to {most} are due", \
                long and packets < least
        said = tally.payload + before.payload
        if not tally.payload + 28 * packets <= size <= said + 140 * packets:
            yield "bytes", f"{size} bytes in {packets} packets {way}, of which {said} are what " \
                "was said", long and size >= tally.payload


def _packets(tally):
    """The least and the most. UDP is exact. With TCP it depends on time what is acknowledged by a
    packet of its own, and at the end of a connection who is still there to do so."""
    if not tally.tcp:
        return tally.segments, tally.segments
    return tally.segments + tally.tcp, tally.segments * 2 + tally.tcp * 6 + tally.twice * 2


def _name(backend):
    return f"{backend.replica}.{backend.family}:{backend.port}"


def _or(words):
    return " or ".join(sorted(map(str, words))) or "nobody"


def judge(steps, played, checks=None):
    """All findings about PLAYED, {datapath: what was seen of each step}. CHECKS: a Counter, to which
    is added what was put to the test."""
    judges = {datapath: Judge(datapath) for datapath in played}
    findings = []
    for number, step in enumerate(steps):
        expected = {}
        for datapath, seen in played.items():
            expected[datapath] = judges[datapath].feed(number, step, seen[number])
        wrong = any(f.number == number and f.kind in ("outcome", "left")
                    for j in judges.values() for f in j.findings)
        # After an accepted difference each has a story of its own.
        if not wrong and all(e.outs == expected[datapath].outs for e in expected.values()):
            findings += _differ(number, step, {d: s[number] for d, s in played.items()},
                                next(iter(judges.values())).model.draft)
    for one in judges.values():
        findings += one.findings
        if checks is not None:
            checks.update(one.checks)
    return sorted(findings, key=lambda f: f.number)


def _differ(number, step, seen, draft):
    outs = {datapath: one["out"] for datapath, one in seen.items()}
    if len(set(outs.values())) > 1:
        text = ", ".join(f"{out} on {datapath}" for datapath, out in outs.items())
        others = any(one.address[0] in "xy" for s in draft.values() for one in s.listens)
        yield Finding("differ", "all", number, step, text, {"outs": outs, "others": others})


def accepted(finding):
    """The name of the difference that covers it, or None."""
    for difference in DIFFERENCES:
        if finding.datapath in (*difference.datapaths, "all") and finding.kind in difference.kinds \
                and difference.covers(finding):
            return difference.name
    return None
