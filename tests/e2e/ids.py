#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ids.py serve NAME [--lies] PORT... | hold ADDRESS PORT NUMBER FIRST

Connections of which both ends know who they talk to. The server answers a line "WHOM NUMBER" with
"NAME:PORT NUMBER", where WHOM is who has answered on this connection before ("-": nobody), and prints
what was meant for another; with --lies each seventh answer is in another's name.

`hold` keeps NUMBER connections open, from the ports FIRST, FIRST + 1 and so on, and prints "open". (No
port is used twice: a backend that was removed does not learn that its connection was reset, and would
take another one's packets, which come to it by `on-remove: rehash`, for that one's.) They talk all the time, each at a pace of its
own; every tenth is silent after its first answer. One that is reset, or that has talked enough and
ends, is followed by another. At SIGTERM each talks once more. Then "broken ID N" for each server whose
connections were reset (of "-": before they were answered), and "connections N answered N broken N
wrong N silent N": wrong is an answer by another server than the connection's first one, or an
unexpected end."""
import collections
import heapq
import itertools
import random
import resource
import selectors
import signal
import socket
import sys
import time

FILES = 18000
PATIENCE = 40  # seconds in which the last answers must have come
TICK = 0.02  # the shortest pace, seconds; the longest is 128 times that
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
LONGEST = 200  # answers of a connection, at most


def serve(name, lies, ports):
    waiting = selectors.EpollSelector()
    for port in ports:
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))
        sock.listen(4096)
        waiting.register(sock, selectors.EVENT_READ, (True, f"{name}:{port}"))
    count = itertools.count(1)
    while True:
        for key, _ in waiting.select():
            listening, own = key.data
            if listening:
                waiting.register(key.fileobj.accept()[0], selectors.EVENT_READ, (False, own))
            elif not answer(key.fileobj, own, lies, count):
                waiting.unregister(key.fileobj)
                key.fileobj.close()


def answer(sock, own, lies, count):
    """One line, since the client waits for its answer; False: it has ended."""
    try:
        data = sock.recv(4096)
        if not data:
            return False
        whom, number = data.decode().split()
        if whom not in ("-", own):
            print(f"{own} got what was meant for {whom}", flush=True)
        name = "another" if lies and next(count) % 7 == 0 else own
        sock.sendall(f"{name} {number}\n".encode())
    except OSError:
        return False
    return True


class Connection:
    def __init__(self, sock, silent):
        self.sock, self.silent = sock, silent
        self.pace = TICK * 2 ** random.uniform(0, 7)
        self.left = random.randrange(1, LONGEST)
        self.whom, self.sent, self.asked = "-", 0, False

    def ask(self):
        self.sent += 1
        self.asked = True
        self.sock.sendall(f"{self.whom} {self.sent}\n".encode())

    def hear(self, counts):
        data = self.sock.recv(4096)
        whom, number = (data.decode().split() + ["nobody", "0"])[:2]
        if not self.asked or int(number) != self.sent or self.whom not in ("-", whom):
            counts["wrong"] += 1
            print(f"wrong: {data!r} to request {self.sent}, of {self.whom}", flush=True)
        self.asked = False
        counts["answered"] += 1
        self.whom = whom
        self.left -= 1
        return bool(data)


class Holder:
    """All connections, and whose turn it is to talk."""

    def __init__(self, address, first):
        self.address, self.ports = address, itertools.count(first)
        self.family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.waiting = selectors.EpollSelector()
        self.due, self.order = [], itertools.count()
        self.counts, self.broken = collections.Counter(), collections.Counter()
        self.ending = False

    def open(self, silent):
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind((ANY[self.family], next(self.ports)))
        sock.connect_ex(self.address)
        self.waiting.register(sock, selectors.EVENT_WRITE, Connection(sock, silent))
        self.counts["connections"] += 1

    def end(self, conn, reset):
        self.waiting.unregister(conn.sock)
        conn.sock.close()
        conn.sock = None
        if reset:
            self.counts["broken"] += 1
            self.broken[conn.whom] += 1
        if not self.ending:
            self.open(conn.silent)

    def try_to(self, action, conn):
        """A reset is what may come; whatever else is wrong is an error."""
        try:
            return action()
        except (ConnectionResetError, BrokenPipeError):
            self.end(conn, True)
            return None

    def opened(self, conn):
        error = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"a connection does not open: {error}")
        self.waiting.modify(conn.sock, selectors.EVENT_READ, conn)
        self.try_to(conn.ask, conn)

    def heard(self, conn):
        on = self.try_to(lambda: conn.hear(self.counts), conn)
        if on is None:
            return
        if not on or (conn.left <= 0 and not conn.silent):
            self.end(conn, False)
        elif not conn.silent:
            heapq.heappush(self.due, (time.monotonic() + conn.pace, next(self.order), conn))

    def talk(self):
        """Those whose turn it is."""
        while self.due and self.due[0][0] <= time.monotonic():
            conn = heapq.heappop(self.due)[2]
            if conn.sock:
                self.try_to(conn.ask, conn)

    def once(self):
        for key, event in self.waiting.select(TICK):
            if key.data.sock:
                (self.opened if event & selectors.EVENT_WRITE else self.heard)(key.data)

    def talk_once_more(self):
        """Each of them, and then it waits for whatever was asked. A backend that was removed when it
        had acknowledged a request may not get through with its answer: keepalives tell."""
        self.ending, self.due = True, []
        for key in list(self.waiting.get_map().values()):
            key.fileobj.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            key.fileobj.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            key.fileobj.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2 * PATIENCE)
            key.fileobj.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if key.events == selectors.EVENT_READ and not key.data.asked:
                self.try_to(key.data.ask, key.data)
        until = time.monotonic() + PATIENCE
        while self.unanswered() and time.monotonic() < until:
            self.once()
        self.counts["silent"] = len(self.unanswered())
        for conn in self.unanswered():
            state, _, again = conn.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3)
            print(f"silent: port {conn.sock.getsockname()[1]}, of {conn.whom}, request {conn.sent}, "
                  f"TCP's state {state}, sent again {again} times", flush=True)

    def unanswered(self):
        return [key.data for key in self.waiting.get_map().values()
                if key.events == selectors.EVENT_WRITE or key.data.asked]


def hold(address, number, first):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    holder = Holder(address, first)
    for i in range(number):
        holder.open(i % 10 == 0)
    while holder.unanswered() and not stop:
        holder.once()
    print("open", flush=True)
    while not stop:
        holder.talk()
        holder.once()
    holder.talk_once_more()
    for name, count in sorted(holder.broken.items()):
        print(f"broken {name} {count}")
    print("connections {connections} answered {answered} broken {broken} wrong {wrong} "
          "silent {silent}".format_map(holder.counts), flush=True)


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    words = [word for word in sys.argv[2:] if word != "--lies"]
    if sys.argv[1] == "serve":
        serve(words[0], "--lies" in sys.argv, map(int, words[1:]))
    else:
        hold((words[0], int(words[1])), int(words[2]), int(words[3]))


main()
