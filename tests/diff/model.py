# SPDX-License-Identifier: GPL-2.0-or-later
"""What the manual promises: the config in force, and what must come of the next step.

The player asks it how long to wait for what, the judge whether what came was right."""
import collections
import functools
import math

import scenario
from scenario import ADDRESSES, ANY, Backend, CLIENTS, LEAST

Expect = collections.namedtuple("Expect", "outs whos")  # acceptable outcomes, and who may answer
HASHES = ("sh", "maglev")
SAYS = ("say", "half", "shut", "finish")  # of a connection that there is
# Seconds without a packet until when a connection surely lives, and after which it is surely gone:
# not each packet counts, ticks are about a second, the sweeper comes by within three.
EXPIRY = {"udp": (6.0, 16.5), "shut": (6.0, 16.5), "tcp": (45.0, 66.5)}
SHORT = "{ established: 1m, half-closed: 10s, closing: 1s, udp-new: 1s, udp: 10s }"
KERNEL_UDP = 25.0  # seconds that the kernel surely keeps a flow
KERNEL_SHUT = 55.0  # the same of what its client has closed: 60 in IPVS, and in conntrack


class Member:
    """A backend in a service, from its addition to its removal."""

    def __init__(self, weight, limit=0):
        self.weight, self.limit, self.override = weight, limit, None

    @property
    def now(self):
        return self.weight if self.override is None else self.override


class Service:
    def __init__(self, listens=(), scheduler="rr"):
        self.listens, self.scheduler = listens, scheduler
        self.options = {}
        self.members = {}  # Backend: Member, in the config's order
        self.former = []  # members that were removed
        self.unlistened = False  # whether a listen was removed
        self.emptied = False  # whether it lost all backends of a family
        self.changes = 0  # how often something of it changed
        self.shadowed = False  # whether a connection may be taken for another service's

    def candidates(self, family):
        """Who takes new connections, with the share of each."""
        weights = {b: m.now for b, m in self.members.items() if b.family == family and m.now}
        if self.scheduler in ("rr", "lc"):
            return dict.fromkeys(weights, 1)
        divisor = math.gcd(*weights.values()) if weights else 1
        return {b: w // divisor for b, w in weights.items()}

    def has_family(self, family):
        return any(b.family == family for b in self.members)

    def state(self):
        """All that is in force of it."""
        return self.listens, self.scheduler, self.options, sorted(
            (b, m.weight, m.limit, m.override) for b, m in self.members.items())

    @property
    def unknown(self):
        return self.options.get("unknown", "hash" if self.scheduler in HASHES else "reset")

    @property
    def takes_up(self):
        return self.unknown == "hash" or self.options.get("on-remove") == "rehash"

    def put(self, wanted, reset_overrides):
        """As the draft says; who was a member and stays is the same as before."""
        before, families = self.state(), [f for f in (4, 6) if self.has_family(f)]
        self.unlistened |= not set(self.listens) <= set(wanted.listens)
        self.listens, self.scheduler = wanted.listens, wanted.scheduler
        self.options = wanted.options
        members, self.members = self.members, {}
        for backend, new in wanted.members.items():
            member = self.members[backend] = members.get(backend) or Member(new.weight)
            member.weight, member.limit = new.weight, new.limit
            if reset_overrides:
                member.override = None
        self.emptied |= not all(self.has_family(f) for f in families)
        self.changes += self.state() != before
        gone = [(b, m) for b, m in members.items() if m is not self.members.get(b)]
        self.former += [m for _, m in gone]
        return gone


class Connection:
    """As the client sees it: who answers, and as a member of what."""

    def __init__(self, proto, at, source):
        self.proto, self.at, self.source = proto, at, source
        self.who, self.member, self.listen = None, None, None
        self.over = False
        self.shut = False  # its client has said all
        self.flushed = False  # its entry was, and it has not been heard of since
        self.unlistened = False  # its addresses are no longer those of its service
        self.changes = None  # of its service, when it was opened
        self.swept = False  # by its addresses it was another's, whose backend went
        self.heard = 0.0  # when it was last
        self.short = False  # whether its service's timeouts are

    @property
    def kind(self):
        """By which it expires."""
        return "shut" if self.shut else self.proto


class Model:
    def __init__(self, datapath=""):
        self.datapath, self.now = datapath, 0.0
        self.draft, self.force, self.connections = {}, {}, {}
        self.flows = {}  # UDP: (target, source): Connection, which no closed socket ends
        self.quiet = []  # UDP that nobody will ask again, but whose flow is there
        self.uncertain = set()  # services with connections, maybe, that nobody here knows
        self.gone = []  # (Backend, member) of all that were removed
        self.changes = 0  # how often what is in force changed

    # ------------------------------------------------------------ the config

    def config(self):
        """The draft's services, as in the file."""
        lines = [] if self.draft else ["  []"]
        for name, service in self.draft.items():
            listens = ", ".join(f'"{self._listen(one)}"' for one in service.listens)
            lines += [f"  - name: {name}", f"    listen: [{listens}]",
                      f"    scheduler: {service.scheduler}"]
            if service.scheduler == "maglev":
                lines.append("    maglev-size: 251")
            lines += [f"    {name}: {self._option(name, value)}"
                      for name, value in service.options.items()]
            lines.append("    backends:" + ("" if service.members else " []"))
            for backend, member in service.members.items():
                lines.append(f'      - {{ address: "{address_of(backend)}", '
                             f"weight: {member.weight}"
                             + (f", max-connections: {member.limit}" if member.limit else "") + " }")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _option(name, value):
        if name == "timeouts":
            return SHORT
        if name != "affinity":
            return value
        return "{ timeout: 300s" + (", across-ports: true }" if value == "service" else " }")

    @staticmethod
    def _listen(one):
        address = ADDRESSES.get(one.address, one.address)
        if ":" in address and not address.startswith("["):
            address = f"[{address}]"
        return f"{address}:{one.port}/{one.proto}"

    def edit(self, step):
        """A step that changes the draft alone."""
        if step.op == "service":
            service = self.draft.setdefault(step.name, Service())
            service.listens, service.scheduler = step.listens, step.scheduler
            service.options = dict(step.options)
        elif step.op == "backend" and step.name in self.draft:
            for backend in scenario.backends(step.at):
                self.draft[step.name].members[backend] = Member(step.number, step.limit)
        elif step.op == "remove" and step.at and step.name in self.draft:
            for backend in scenario.backends(step.at):
                self.draft[step.name].members.pop(backend, None)
        elif step.op == "remove" and not step.at:
            self.draft.pop(step.name, None)

    def applied(self, reset_overrides):
        """The draft is in force now; what was there and stays is the same as before."""
        before, alive = self.force, [c for c in self.all_connections()
                                     if self.lives(c) or c.unlistened]
        held, found = dict(self.pairs()), {c: self.by_address(c) for c in alive}
        self.force = {}
        for name, wanted in self.draft.items():
            service = self.force[name] = before.get(name) or Service()
            self.gone += service.put(wanted, reset_overrides)
        for name, service in before.items():
            self.gone += service.members.items() if name not in self.force else ()
        self.changes += 1
        for connection in alive:
            self.look_at_addresses(connection)
            connection.swept |= self.lives(connection) and self.went(connection, *found[connection])
        for pair, service in self.pairs():
            if held.get(pair, service) is not service:
                service.shadowed = held[pair].shadowed = True

    def pairs(self):
        """By what nft counts, and for which service: a listen's address and a backend."""
        for service in self.force.values():
            for address, port, proto in service.listens:
                families = ANY[address] if address in ANY else (family_of((address,)),)
                for backend in service.members:
                    if backend.family in families:
                        yield ("*" if address in ANY else address, port, proto, backend), service

    def all_connections(self):
        return *self.connections.values(), *self.flows.values()

    def look_at_addresses(self, connection):
        """Whose would it be, going by addresses alone: nobody's, or another service's?"""
        mine = [s for s in self.force.values() if connection.member in s.members.values()]
        others = [s for s in self.force.values() if s not in mine and connection.who in s.members
                  and any(self._like(one, connection) for one in s.listens)]
        gone = connection.listen not in mine[0].listens if mine else connection.unlistened
        connection.unlistened = bool(others or gone)
        for service in (*mine, *others) if others else ():
            service.shadowed = True

    def by_address(self, connection):
        """As what nft finds it: a listen on the very address goes before `*`. The listen's address,
        and the member."""
        found = [(one.address, service.members[connection.who]) for service in self.force.values()
                 for one in service.listens
                 if connection.who in service.members and self._like(one, connection)]
        return min(found, key=lambda f: f[0] in ANY, default=(None, None))

    def went(self, connection, address, member):
        """Whether a connection that was found as a member's is ended by nft, which forgets those of
        members that went; of `*` none that may be another's."""
        return address is not None and not self.in_force(member) and not (
            address in ANY and self.by_address(connection)[0] not in (None, *ANY))

    @staticmethod
    def _like(listen, connection):
        address, port = connection.at
        return listen[1:] == (port, connection.proto) and \
            (listen.address == address or family_of(connection.at) in ANY.get(listen.address, ()))

    def by_hand(self, step):
        self.changes += 1
        if step.name in self.force:
            service = self.force[step.name]
            before = service.state()
            for backend in scenario.backends(step.at):
                if backend in service.members:
                    service.members[backend].override = {
                        "drain": 0, "wait": 0, "undrain": None, "weight": step.number}[step.op]
            service.changes += service.state() != before

    # ------------------------------------------------- how many there are

    def expired(self, connection):
        return connection.short and self.now - connection.heard > EXPIRY[connection.kind][1]

    def in_doubt(self):
        """Whether there are connections of which nobody knows if they have expired."""
        shut = math.inf if self.datapath == "ebpf" else KERNEL_SHUT
        return any(self.lives(c) and (c.short and self.now - c.heard > EXPIRY[c.kind][0] or
                                      c.shut and not c.over and self.now - c.heard > shut)
                   for c in self.entries())

    def wait(self, kinds):
        """Seconds until all that have short timeouts have expired."""
        ages = [EXPIRY[c.kind][1] - (self.now - c.heard) for c in self.entries()
                if c.short and self.lives(c) and c.kind in kinds]
        return max(ages, default=-1.0) + 0.1

    def entries(self):
        """A flow from a port that was named is among both."""
        return {*self.all_connections(), *self.quiet}

    def held(self, member):
        """Its connections: TCP that was not ended, and UDP's flows."""
        return [c for c in self.entries() if c.member is member and self.lives(c) and not c.over]

    def busy(self, member):
        return len(self.held(member))

    def room(self, member):
        return max(0, member.limit - self.busy(member)) if member.limit else math.inf

    def is_limited(self, service):
        return any(m.limit for m in service.members.values())

    def counts(self):
        """Whether it matters how many there are."""
        return any(s.scheduler in LEAST or self.is_limited(s) for s in self.force.values())

    # --------------------------------------------------------- what must come

    def listening(self, at, proto):
        """The service that the target belongs to, and its listen."""
        address, port = at
        for name, service in self.force.items():
            for one in service.listens:
                if one == (address, port, proto):
                    return service, one
        if address[0] in "vw":
            for name, service in self.force.items():
                for one in service.listens:
                    if one[1:] == (port, proto) and family_of(at) in ANY.get(one.address, ()):
                        return service, one
        return None, None

    def new(self, at, proto):
        """What comes of a connection that is not known yet."""
        service, listen = self.listening(at, proto)
        if not service or (listen.address in ANY and not service.has_family(family_of(at))):
            return Expect({"unreachable" if at[0][0] == "y" else "refused"}, set())
        whos = set(service.candidates(family_of(at)))
        if not whos:
            return Expect({"silent"}, whos)
        takers = {b for b in whos if self.room(service.members[b])}
        if service in self.uncertain and self.is_limited(service):
            return Expect({"answered"} | self.full(at, proto), whos)
        return Expect({"answered"} if takers else self.full(at, proto), takers)

    @staticmethod
    def full(at, proto):
        """What comes of it where nobody has room. Of UDP the host itself tells its clients."""
        return {"refused" if proto == "tcp" or at[0][0] in "vw" else "silent"}

    def many(self, at, proto, number):
        """So many one after another: TCP that ends makes room, UDP does not."""
        expected = self.new(at, proto)
        service, _ = self.listening(at, proto)
        if proto == "tcp" or expected.outs != {"answered"} or \
                number <= sum(self.room(service.members[b]) for b in expected.whos):
            return expected
        return Expect(self.full(at, proto), expected.whos)

    def left(self, step):
        """What comes of waiting for a backend's last connection: 5 if there are some."""
        there = self.force[step.name].members if step.name in self.force else {}
        outs = [self._left(there[b]) if b in there else {1} for b in scenario.backends(step.at)]
        return Expect({first or second for first in outs[0] for second in outs[-1]}, set())

    def _left(self, member):
        """Of TCP that is taken up, and of half-open connections of others, nobody knows."""
        if any(member in s.members.values() for s in self.uncertain):
            return {0, 5}
        mine = self.held(member)
        unsure = [c for c in mine if c.shut and self.datapath == "nft" or
                  c.proto == "udp" and self.now - c.heard > KERNEL_UDP]
        return {0, 5} if unsure and len(mine) == len(unsure) else {5} if mine else {0}

    def known(self, connection, op):
        """What comes of a further request."""
        if connection.over or connection.shut != (op == "finish") or \
                (op == "shut" and connection.proto == "udp"):
            return Expect({"over"}, set())
        if op == "finish" and not self.lives(connection):
            return self._unheard(connection)
        if self.lives(connection):
            return Expect({"answered"}, {connection.who})
        if connection.proto == "udp":
            return self.new(connection.at, "udp")
        return self._unknown(connection) if self.forgotten(connection) else self._lost(connection)

    def _unheard(self, connection):
        """TCP whose client is silent, so that nobody has told it that the backend is gone. To ebpf it
        goes on until then."""
        if self.datapath == "ebpf" and not self.forgotten(connection):
            return Expect({"answered"}, {connection.who})
        return Expect({"silent"}, set())

    def _lost(self, connection):
        """TCP whose backend is gone. To where the host has no route only ebpf knows that it was
        its own."""
        service, _ = self.listening(connection.at, "tcp")
        policy = service.options.get("on-remove", "reset") if service else "reset"
        if policy == "drop":
            return Expect({"silent"}, set())
        if policy == "rehash":
            return self._taken_up(service, connection)
        return Expect({"reset", "silent"} if connection.at[0][0] == "y" else {"reset"}, set())

    def _unknown(self, connection):
        """TCP whose entry was flushed, or has expired."""
        service, _ = self.listening(connection.at, "tcp")
        if not service or not service.has_family(family_of(connection.at)):
            return Expect({"reset"}, set())  # by the host
        if service.unknown == "hash":
            return self._taken_up(service, connection)
        return Expect({"silent" if service.unknown == "drop" else "reset"}, set())

    def _taken_up(self, service, connection):
        """Balanced anew: all but the server that has the connection will reset it."""
        shares = service.candidates(family_of(connection.at))
        if not shares:
            return Expect({"silent" if service.has_family(family_of(connection.at)) else "reset"},
                          set())
        if connection.who not in shares:
            return Expect({"reset"}, set())
        if len(shares) == 1 or (service.scheduler in HASHES and self.forgotten(connection) and
                                connection.changes == service.changes):
            return Expect({"answered"}, {connection.who})
        return Expect({"answered", "reset"}, {connection.who})

    def is_lost(self, connection):
        """Whether its backend is gone, and it was not heard of since."""
        return connection.member is not None and not connection.over and not self.lives(connection)

    def lives(self, connection):
        return connection.member is not None and not self.forgotten(connection) and \
            self.in_force(connection.member)

    def forgotten(self, connection):
        return connection.flushed or self.expired(connection)

    def in_force(self, member):
        return any(member is m for s in self.force.values() for m in s.members.values())

    def begun(self, step):
        """The connection of a step that opens one: for UDP it may be an old one."""
        connection = Connection(step.proto, scenario.target(step.at), step.source)
        if step.proto == "udp" and step.source[1]:
            return self.flows.setdefault((connection.at, step.source), connection)
        return connection

    def concerns(self, step):
        """The connection that a step is about, if it is about one."""
        if step.op in ("open", "udp"):
            return self.begun(step)
        return self.connections.get(step.name) if step.op in SAYS else None

    def expect(self, step):
        if step.op in ("flush", "gc", "idle", "stats", "verify", "clear"):
            return Expect({0}, set())
        if step.op == "wait":
            return self.left(step)
        if step.op in ("drain", "undrain", "weight"):
            there = self.force[step.name].members if step.name in self.force else ()
            return Expect({0 if all(b in there for b in scenario.backends(step.at)) else 1}, set())
        at = scenario.target(step.at) if step.op in ("open", "udp", "many") else None
        if step.op == "udp":
            return self.known(self.begun(step), "udp")
        if step.op == "open":
            return self.new(at, "tcp")
        if step.op == "many":
            return self.many(at, step.proto, step.number)
        if step.op in SAYS and step.name in self.connections:
            return self.known(self.connections[step.name], step.op)
        return Expect({"over"} if step.op in SAYS else {0, 1, None}, set())

    # --------------------------------------------------------- what has come

    def learn(self, step, seen):
        _, self.now = seen.get("at", (0.0, 0.0))
        if step.op in ("service", "backend", "remove"):
            self.edit(step)
        elif step.op == "apply" and seen["out"] == 0:
            self.applied(step.name == "reset-overrides")
        elif step.op in ("drain", "undrain", "weight") and seen["out"] == 0 or \
                step.op == "wait" and seen["out"] in (0, 5):
            self.by_hand(step)
        elif step.op in ("open", "udp"):
            self._open(step, seen)
        elif step.op == "many" and step.proto == "udp":
            self._many(step, seen)
        elif step.op in SAYS and step.name in self.connections and seen["out"] != "over":
            connection = self.connections[step.name]
            self._answered(connection, seen)
            connection.over |= step.op in ("half", "finish")
            connection.shut |= step.op == "shut"
        elif step.op in ("bye", "close", "reset"):
            self._end(step.name)
        elif step.op == "flush" and seen["out"] == 0:
            for connection in self.entries():
                connection.flushed = connection.member is not None
        elif step.op == "flood":
            service, _ = self.listening(scenario.target(step.at), "tcp")
            self.uncertain |= {service} if service else set()
        elif step.op == "clear":
            self.__init__(self.datapath)

    def _open(self, step, seen):
        self._end(step.name)  # of the client that had the name
        connection = self.connections[step.name] = self.begun(step)
        self._answered(connection, seen)

    def _many(self, step, seen):
        for who in seen.get("whos", []):
            connection = Connection("udp", scenario.target(step.at), step.source)
            self._answered(connection, {"out": "answered", "who": who})
            self.quiet.append(connection)

    def _end(self, name):
        connection = self.connections.pop(name, None)
        if connection and self.lives(connection) and connection.proto == "udp" and \
                not connection.source[1]:
            self.quiet.append(connection)

    @staticmethod
    def forget(connection):
        """A datapath did so."""
        connection.member, connection.unlistened, connection.swept = None, False, False

    def _answered(self, connection, seen):
        if seen["out"] != "answered":
            # TCP that fails has failed for good; a UDP socket may ask again.
            connection.over |= connection.proto == "tcp"
            connection.member = connection.member if self.lives(connection) else None
            return
        connection.who = backend_of(seen["who"], family_of(connection.at))
        if not self.lives(connection):
            service, connection.listen = self.listening(connection.at, connection.proto)
            connection.member = service and service.members.get(connection.who)
            connection.changes = service and service.changes
            connection.short = bool(service) and "timeouts" in service.options
        connection.flushed, connection.heard = False, self.now


def family_of(at):
    return int(at[0][1])


@functools.cache
def backend_of(who, family):
    replica, port = who.split(":")
    return Backend(replica, family, int(port))


def address_of(backend):
    number = backend.replica[1:]
    if backend.family == 4:
        return f"10.0.{number}.2:{backend.port}"
    return f"[fd00:{number}::2]:{backend.port}"


def socket_address(at):
    return ADDRESSES[at[0]], at[1]


def client_address(source, at):
    return CLIENTS[source[0]][0 if family_of(at) == 4 else 1], source[1]
