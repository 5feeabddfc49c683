#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""player.py LAB HEADER MESHLB OTHER - plays scenarios on one datapath, inside a lab that stands. OTHER
is another build of MESHLB.

Reads a scenario a line (a JSON string), writes what was seen of each step (a JSON list)."""
import json
import os
import subprocess
import sys
import tempfile
import time

import scenario
from model import Model, address_of, client_address, socket_address
from world import Client, World

# Seconds until what must come is given up, and until what must not come is believed not to.
SLOW = 8 if os.environ.get("TEST_GUEST") == "1" else 1
PATIENCE, SILENCE = 3.0 * SLOW, 0.12 * SLOW
COMMAND_LIMIT = 30 * SLOW
WAIT = f"{(SLOW + 1) // 2}s"  # until what is left is left
IPVS_SUMS = 2.5  # seconds: Linux adds up what its processors have counted every two
INSTANCES = 80  # until a mark is used again
CLIENTS_DO = ("open", "udp", "say", "half", "shut", "finish", "bye", "close", "reset", "many", "flood")
FLOOD = 16000  # SYNs: more than there is room for, with a limit of 4096
FLOODERS = "198.18.0.0"  # RFC 2544's
PORTS = (10000, 31999)  # of clients; below what scenarios name, and the kernel gives


class Player:
    def __init__(self, lab, header, programs):
        self.lab, self.header, self.programs = lab, header, programs
        self.datapath = lab.rsplit("-", 1)[1]
        self.world = World(lab)
        self.file = tempfile.NamedTemporaryFile("w", prefix=lab + ".", suffix=".yaml")
        self.clients, self.model, self.port = {}, Model(self.datapath), PORTS[0]
        self.traffic = 0.0  # when there was some last
        self.instance, self.instances = lab, 0

    def meshlb(self, *arguments):
        with self.world.spaces.inside("node1"):
            return subprocess.run([self.programs[0], "--instance", self.instance, *arguments],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=COMMAND_LIMIT, check=False)

    def apply(self, config, *options):
        self.file.seek(0)
        self.file.truncate()
        self.file.write(self.header + "services:\n" + config)
        self.file.flush()
        return self._done(self.meshlb("apply", "-f", self.file.name, *options))

    @staticmethod
    def _done(run):
        return {"out": run.returncode, "text": (run.stderr or run.stdout).strip()}

    def play(self, text):
        steps = scenario.parse(text)
        seen = []
        try:
            for step in steps:
                self.model.now = begin = time.monotonic()
                seen.append(getattr(self, "do_" + step.op)(step))
                seen[-1]["at"] = begin, time.monotonic()
                if step.op in CLIENTS_DO:
                    self.traffic = time.monotonic()
                self.model.learn(step, seen[-1])
        finally:
            self.do_clear(None)
            self.model = Model(self.datapath)
        return seen

    # ------------------------------------------------------------- commands

    def do_service(self, _):
        return {"out": None}

    do_backend = do_remove = do_service

    def do_apply(self, step):
        if step.name == "upgrade":
            self.programs.reverse()
        options = ["--reset-overrides"] if step.name == "reset-overrides" else []
        return self.apply(self.model.config(), *options)

    def by_hand(self, step, word, *more):
        """A word for both addresses is two commands; the first that fails is the outcome."""
        done = {"out": 0}
        for backend in scenario.backends(step.at):
            one = self._done(self.meshlb("backend", word, step.name, address_of(backend), *more))
            done = done if done["out"] else one
        return done

    def do_drain(self, step):
        return self.by_hand(step, step.op)

    do_undrain = do_drain

    def do_weight(self, step):
        return self.by_hand(step, "weight", str(step.number))

    def do_wait(self, step):
        self.world.settle()  # what has been closed is not left
        return self.by_hand(step, "drain", "--wait", "--timeout", WAIT)

    def do_gc(self, _):
        return self._done(self.meshlb("conn", "gc"))

    def do_flush(self, _):
        self.world.acknowledged()  # or the acknowledgement may be taken up as a connection's own
        return self._done(self.meshlb("conn", "flush"))

    def do_idle(self, step):
        kinds = ("udp", "shut") + (("tcp",) if step.proto == "tcp" else ())
        time.sleep(max(0.0, self.model.wait(kinds)))
        return {"out": 0}

    def do_stats(self, _):
        self.world.settle()
        self.sum_up()
        run = self.meshlb("-j", "stats")
        if run.returncode:
            return self._done(run)
        return {"out": 0, "services": json.loads(run.stdout)["services"]}

    def sum_up(self):
        """Until all is counted."""
        if self.datapath == "ipvs":
            time.sleep(max(0.0, self.traffic + IPVS_SUMS - time.monotonic()))

    def do_verify(self, _):
        """Without a file: the last one that was written may have been refused."""
        return self._done(self.meshlb("verify"))

    def do_clear(self, _):
        for client in self.clients.values():
            client.close(reset=True)
        self.clients = {}
        self.world.end_all()
        self.another_instance()
        done = self.apply("  []\n")
        self.world.forget_connections()
        return done

    def another_instance(self):
        """For two minutes IPVS takes up a destination that was removed, where one comes to the same
        address at the same mark, with what was not summed up of it. Marks are an instance's own."""
        if self.datapath == "ipvs":
            self.down()
            self.instances = (self.instances + 1) % INSTANCES
            self.instance = f"{self.lab}-{self.instances}"

    def begin_anew(self):
        """The next apply makes the instance. Not on ipvs, which may refuse it: each scenario has one
        of its own that stands already."""
        if not self.datapath == "ipvs":
            self.down()

    def down(self):
        self.meshlb("down")

    # -------------------------------------------------------------- clients

    def _patience(self, step):
        return SILENCE if "silent" in self.model.expect(step).outs else PATIENCE

    def _client(self, step):
        """One from a port that was not used lately, where the step names none: the kernel takes any,
        and for UDP that would now and then be a flow that is known."""
        at, (client, port) = scenario.target(step.at), step.source
        if not port:
            self.port = self.port + 1 if self.port < PORTS[1] else PORTS[0]
        source = client_address((client, port or self.port), at)
        return Client(self.world, step.proto, source, socket_address(at))

    def do_open(self, step):
        if step.name in self.clients:
            self.clients[step.name].close(reset=True)
        client = self.clients[step.name] = self._client(step)
        seen = client.ask(0, self._patience(step))
        if step.proto == "tcp" and seen["out"] != "answered":
            client.close(reset=True)  # or it would go on trying
        return seen

    do_udp = do_open

    def do_say(self, step):
        client = self.clients.get(step.name)
        if not client or client.sock.fileno() < 0 or self.model.expect(step).outs == {"over"}:
            return {"out": "over"}
        # What a late acknowledgement has brought about already is found here, too.
        patience = self._patience(step)
        seen = client.finish(patience) if step.op == "finish" else \
            client.ask(step.number, patience, how="" if step.op == "say" else step.op)
        if client.proto == "tcp" and seen["out"] != "answered":
            client.close(reset=True)
        return seen

    def do_half(self, step):
        awaited, seen = self._is_awaited(step.name), self.do_say(step)
        if seen["out"] == "answered" and awaited:
            self.clients[step.name].ended()
        return seen

    do_finish = do_half

    do_shut = do_say

    def _is_awaited(self, name):
        """Whether the next step must find the connection ended: where it is counted, and known."""
        connection = self.model.connections.get(name)
        return bool(connection) and connection.proto == "tcp" and not connection.over and \
            self.model.counts() and self.model.lives(connection)

    def do_bye(self, step):
        awaited = self._is_awaited(step.name)
        client = self.clients.pop(step.name, None)
        if client and client.proto == "tcp" and step.op != "reset":
            client.answered_never()
        if client and awaited:
            client.end(step.op)
        elif client and step.op == "bye" and client.proto == "tcp" and client.sock.fileno() >= 0:
            client.bye()
        elif client:
            client.close(reset=step.op == "reset")
        return {"out": None}

    do_close = do_reset = do_bye

    def do_many(self, step):
        whos, patience = [], self._patience(step)
        for _ in range(step.number):
            client = self._client(step)
            seen = client.ask(0, patience)
            if step.proto == "tcp" and seen["out"] == "answered":
                client.bye(wait=self.model.counts())
            client.close(reset=seen["out"] != "answered")
            if seen["out"] != "answered" or seen["seen"] != "own":
                return seen | {"whos": whos}
            whos.append(seen["who"])
        return {"out": "answered", "seen": "own", "whos": whos}

    def do_flood(self, step):
        """Tells how many half-open ones have given way."""
        before = self.evicted()
        self.world.flood(FLOODERS, socket_address(scenario.target(step.at)), FLOOD)
        return {"out": None, "evicted": self.evicted() - before}

    def evicted(self):
        return json.loads(self.meshlb("-j", "stats").stdout)["evicted"]["half-open"]


def main():
    lab, header, *programs = sys.argv[1:]
    with open(header, encoding="utf-8") as file:
        player = Player(lab, file.read(), programs)
    player.apply("  []\n")
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order == "down":
            player.begin_anew()
            print(json.dumps("down"), flush=True)
        else:
            print(json.dumps(player.play(order)), flush=True)
    player.down()


main()
