# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios from a seed: the same seed, the same scenario."""
import random

import scenario
from model import Model, SAYS
from scenario import ANY, LEAST, OPTIONS, PORTS, REPLICAS, SCHEDULERS, Listen

SERVED = (8080, 8081, 8082)
FIRST_PORT = 40000
WORDS = ("one", "two", "three")


def _clashes(listens, others):
    """`*` is both families' any address, and an address, port and protocol belong to one."""
    def whole(one):
        return {(one.address if one.address not in ANY else family, one.port, one.proto)
                for family in ANY.get(one.address, (one.address,))}
    taken = set()
    for one in (*others, *listens):
        if whole(one) & taken:
            return True
        taken |= whole(one)
    return False


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        # A config with others' addresses is refused by ipvs: a few of them are enough.
        self.addresses = ["0.0.0.0", "[::]", "v4", "v6", "w4", "w6"] + \
            (["x4", "x6"] if self.chance(0.2) else [])
        self.options = self.chance(0.25)  # then ebpf plays alone
        self.schedulers = SCHEDULERS + (2 * LEAST if self.options else ())
        # Services with short timeouts; to wait for these takes long.
        self.short = WORDS[:2] if self.options and self.chance(0.08) else ()
        self.lines, self.model = [], Model()
        self.open, self.free = {}, []  # names of connections; (target, source) to be used again
        self.shut = []  # names of connections
        self.number, self.port, self.mark = 0, FIRST_PORT, False

    def emit(self, line):
        """Takes the line down, and what is known beforehand of its consequences."""
        self.lines.append(line)
        step = scenario.parse(line)[0]
        if step.op not in ("open", "udp", *SAYS):
            self.model.learn(step, {"out": 0})

    def chance(self, part):
        return self.random.random() < part

    # -------------------------------------------------------------- config

    def listen(self):
        kind = self.random.random()
        address = "*" if kind < 0.5 else self.random.choice(self.addresses)
        return Listen(address, self.random.choice(SERVED), self.random.choice(("tcp", "tcp", "udp")))

    def service(self, name):
        others = [one for n, s in self.model.draft.items() if n != name for one in s.listens]
        for _ in range(20):
            listens = [self.listen() for _ in range(self.random.choice((1, 1, 2, 3)))]
            if not _clashes(listens, others):
                texts = [f"{one.address}:{one.port}" + ("/udp" if one.proto == "udp" else "")
                         for one in listens]
                self.emit(f"service {name} listen {','.join(texts)} "
                          f"scheduler {self.random.choice(self.schedulers)}{self.some_options()}"
                          + (" timeouts short" if name in self.short else ""))
                return True
        return False

    def some_options(self):
        return "".join(f" {name} {self.random.choice(values)}" for name, values in OPTIONS.items()
                       if name != "timeouts" and self.options and self.chance(0.4))

    def backend(self, name, replica=None, family=None):
        replica = replica or self.random.choice(REPLICAS)
        family = self.random.choice(("", "", "", ".4", ".6")) if family != "both" else ""
        weight = f" weight {self.random.choice((1, 2, 3, 5, 0))}" if self.chance(0.4) else ""
        port = self.random.choice(PORTS[:2] if self.chance(0.7) else PORTS)
        limit = f" max {self.random.choice((1, 2, 3, 6))}" \
            if self.options and self.chance(0.3) else ""
        self.emit(f"backend {name} {replica}{family}:{port}{weight}{limit}")

    def new_service(self, name):
        if self.service(name):
            replicas = self.random.sample(REPLICAS, self.random.choice((1, 2, 2, 3)))
            for replica in replicas:
                self.backend(name, replica, None if replica != replicas[0] else "both")

    def edit(self):
        """A few changes, then one apply."""
        for _ in range(self.random.choice((1, 1, 2, 3))):
            name = self.random.choice(WORDS)
            if name not in self.model.draft:
                self.new_service(name)
                continue
            service = self.model.draft[name]
            kind = self.random.random()
            if kind < 0.45:
                self.remove_backend(name, service)
            elif kind < 0.8:
                self.backend(name)
            elif kind < 0.9:
                self.service(name)
            else:
                self.emit(f"remove {name}")
        self.repair()
        self.emit("apply" + (" reset-overrides" if self.chance(0.1) else
                             " upgrade" if self.chance(0.15) else ""))

    def lose(self):
        """A backend goes, and its connections are asked at once."""
        for name, service in self.model.draft.items():
            self.remove_backend(name, service)
        self.repair()
        self.emit("apply")
        self.say_all()

    def say_all(self):
        for name in self.open:
            self.emit(f"say {name}")

    def remove_backend(self, name, service):
        if service.members:
            backend = self.random.choice(list(service.members))
            family = "" if self.chance(0.7) else f".{backend.family}"
            self.emit(f"remove {name} {backend.replica}{family}:{backend.port}")

    def repair(self):
        """A listen of one family needs a backend of it, else the whole config is refused."""
        for name, service in list(self.model.draft.items()):
            for one in service.listens:
                families = ANY.get(one.address) or (int(one.address[1]),)
                if len(families) == 1 and not service.has_family(families[0]):
                    self.emit(f"backend {name} {self.random.choice(REPLICAS)}.{families[0]}:80")

    # ------------------------------------------------------------- clients

    def target(self, proto):
        listens = [one for s in self.model.force.values() for one in s.listens
                   if one.proto == proto]
        if not listens or self.chance(0.04):
            return f"{self.random.choice(('v4', 'w6', 'x4'))}:{self.random.choice(SERVED)}"
        one = self.random.choice(listens)
        families = ANY.get(one.address)
        address = one.address if not families else \
            self.random.choice("vvw") + str(self.random.choice(families))
        return f"{address}:{one.port}"

    def source(self):
        kind = self.random.random()
        if kind < 0.4:
            return ""
        client = self.random.choice("abc")
        if kind < 0.7:
            return f" from {client}"
        self.port += 1
        return f" from {client}:{self.port}"

    def connect(self):
        op = self.random.choice(("open", "open", "udp"))
        target, source = self.target("udp" if op == "udp" else "tcp"), self.source()
        if self.free and self.chance(0.5):
            op, target, source = self.free.pop()
        self.number += 1
        name = f"c{self.number}"
        self.open[name] = (op, target, source)
        self.emit(f"{op} {name} {target}{source}")

    def talk(self):
        if not self.open:
            self.connect()
            return
        name = self.random.choice(list(self.open))
        size = f" {self.random.choice((10, 500, 1300))}" if self.chance(0.2) else ""
        self.emit(f"say {name}{size}")

    def end(self):
        if not self.open:
            return
        name = self.random.choice(list(self.open))
        op, target, source = self.open.pop(name)
        if op == "open" and self.chance(0.3):
            self.emit(f"half {name}")
        elif op == "open" and self.chance(0.2):
            self.emit(f"shut {name}")
            if self.chance(0.5):
                self.shut.append(name)
                return
            self.emit(f"finish {name}")
        how = self.random.choice(("bye", "reset", "close"))
        self.emit(f"{how} {name}")
        if ":" in source and how != "close":
            self.free.append((op, target, source))

    def many(self):
        proto = self.random.choice(("tcp", "tcp", "udp"))
        client = f" from {self.random.choice('abc')}" if self.chance(0.5) else ""
        self.emit(f"many {self.random.choice((3, 6, 12, 40))} {self.target(proto)}"
                  f"{'/udp' if proto == 'udp' else ''}{client}")

    def by_hand(self):
        pairs = [(n, b) for n, s in self.model.force.items() for b in s.members]
        if not pairs:
            return
        name, backend = self.random.choice(pairs)
        both = sum(b.replica == backend.replica and b.port == backend.port
                   for n, b in pairs if n == name) == 2
        at = f"{backend.replica}{'' if both else '.' + str(backend.family)}:{backend.port}"
        op = self.random.choice(("drain", "drain", "undrain", "weight") * 2 + ("wait",))
        self.emit(f"{op} {name} {at}" + (f" {self.random.choice((0, 1, 2, 4))}"
                                         if op == "weight" else ""))

    def finish(self):
        if self.shut:
            self.emit(f"finish {self.shut.pop(0)}")

    def flood(self):
        ports = [one.port for s in self.model.force.values() for one in s.listens
                 if one.proto == "tcp" and one.address in ("*", "0.0.0.0", "v4")]
        if ports:
            self.emit(f"flood v4:{self.random.choice(ports)}")
            self.say_all()

    def idle(self):
        """Flows from ports that are named, and not, have expired."""
        for source in ("", " from c:39999"):
            self.number += 1
            name, target = f"c{self.number}", self.target("udp")
            self.open[name] = ("udp", target, source)
            self.emit(f"udp {name} {target}{source}")
        self.number += 1
        self.emit(f"open c{self.number} {self.target('tcp')}")
        self.emit(f"shut c{self.number}")
        self.emit("idle")
        self.say_all()
        self.emit(f"finish c{self.number}")

    def scenario(self):
        if self.chance(0.05):
            self.connect()  # before there is anything
        for name in WORDS[:self.random.choice((1, 1, 2, 3))]:
            self.new_service(name)
        self.repair()
        self.emit("apply")
        ways = [(self.connect, 5), (self.talk, 6), (self.end, 2),
                (self.many, 3 if self.options else 1.5),
                (self.by_hand, 1.5), (self.edit, 1.5), (lambda: self.emit("stats"), 0.3),
                (self.finish, 1), (lambda: self.emit("gc"), 0.2),
                (lambda: self.emit("flush"), 0.5 if self.options else 0),
                (self.flood, 0.2 if self.options else 0),
                (self.lose, 1 if self.options else 0)]
        for way in self.random.choices([w for w, _ in ways], [n for _, n in ways],
                                       k=self.random.randint(8, 30)):
            way()
        if self.short:
            self.idle()
            for way in self.random.choices((self.connect, self.many, self.talk), k=8):
                way()
        self.say_all()
        for name in self.shut:
            self.emit(f"finish {name}")
        self.emit("stats")
        self.emit("verify")
        return "\n".join(self.lines) + "\n"


def generate(seed):
    return Generator(seed).scenario()
