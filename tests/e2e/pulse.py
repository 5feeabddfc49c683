#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""pulse.py serve PORT | hold ADDRESS PORT NUMBER SECONDS | stream ADDRESS PORT SECONDS

Connections that carry data all the time. The server echoes whatever comes by TCP and UDP. `hold`
opens NUMBER connections and prints "open"; then each sends 16 bytes, which name it and count, every
SECONDS until SIGTERM. `stream` sends a datagram that counts every SECONDS from one socket. At the end
each waits for what is still to come and prints "connections N answered N broken N wrong N lost N"."""
import collections
import resource
import selectors
import signal
import socket
import struct
import sys
import time

AT_ONCE = 200  # connections being opened
ROOM = 16 << 20  # bytes of datagrams that may wait for a busy machine
SO_RCVBUFFORCE = 33
PATIENCE = 10  # seconds in which all must have come
MESSAGE = struct.Struct("!QQ")


def allow(files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (files + 100, files + 100))


def serve(port):
    allow(12000)
    waiting = selectors.EpollSelector()
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("::", port))
    listening.listen(8192)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    datagrams.bind(("::", port))
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(datagrams, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listening:
                waiting.register(listening.accept()[0], selectors.EVENT_READ)
            elif key.fileobj is datagrams:
                datagrams.sendto(*datagrams.recvfrom(65536))
            else:
                echo(waiting, key.fileobj)


def echo(waiting, sock):
    try:
        data = sock.recv(65536)
        sock.sendall(data)
    except OSError:
        data = b""
    if not data:
        waiting.unregister(sock)
        sock.close()


class Held:
    """One connection: what it has sent and what has come back."""

    def __init__(self, name, sock):
        self.name, self.sock = name, sock
        self.sent = self.answered = 0
        self.partly = b""

    def send(self):
        self.sock.sendall(MESSAGE.pack(self.name, self.sent))
        self.sent += 1

    def receive(self, counts):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("closed by the other side")
        data = self.partly + data
        whole = len(data) // MESSAGE.size * MESSAGE.size
        self.partly = data[whole:]
        for message in MESSAGE.iter_unpack(data[:whole]):
            counts["wrong"] += message != (self.name, self.answered)
            counts["answered"] += 1
            self.answered += 1


class Streaming(Held):
    """Datagrams: one may overtake another."""

    def __init__(self, name, sock):
        super().__init__(name, sock)
        self.under_way = set()

    def send(self):
        self.under_way.add(self.sent)
        super().send()

    def receive(self, counts):
        name, number = MESSAGE.unpack(self.sock.recv(65536))
        counts["wrong"] += name != self.name or number not in self.under_way
        counts["answered"] += 1
        self.under_way.discard(number)


def connect(address, number):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    done, waiting = [], selectors.EpollSelector()
    while len(done) < number:
        pending = len(waiting.get_map())
        for _ in range(min(AT_ONCE, number - len(done)) - pending):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.register(sock, selectors.EVENT_WRITE)
        opened = [key.fileobj for key, _ in waiting.select(PATIENCE)]
        if not opened:
            sys.exit("pulse.py: connections do not open")
        for sock in opened:
            waiting.unregister(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                sys.exit(f"pulse.py: connection {len(done)}: error {error}")
            done.append(sock)
    return done


def exchange(holders, seconds, counts):
    """Each sends every `seconds`, one after another, and takes what comes."""
    stop, waiting = [], selectors.EpollSelector()
    signal.signal(signal.SIGTERM, lambda *_: stop.append(time.monotonic() + PATIENCE))
    alive = collections.deque(holders)
    for held in holders:
        waiting.register(held.sock, selectors.EVENT_READ, held)
    due, step = time.monotonic(), seconds / len(holders)
    sent = 0
    while alive and (not stop or (counts["answered"] < sent and time.monotonic() < stop[0])):
        now = time.monotonic()
        while alive and due <= now and not stop:
            held = alive[0]
            alive.rotate(-1)
            due += step
            guard(held.send, held, alive, waiting, counts)
            sent += 1
        for key, _ in waiting.select(max(0, min(due - now, 0.1)) if not stop else 0.1):
            guard(lambda: key.data.receive(counts), key.data, alive, waiting, counts)
    counts["lost"] = sent - counts["answered"]


def guard(action, held, alive, waiting, counts):
    try:
        action()
    except OSError as error:
        print(f"{time.time():.3f} connection {held.name}: {error}", file=sys.stderr, flush=True)
        counts["broken"] += 1
        waiting.unregister(held.sock)
        alive.remove(held)


def run(holders, seconds):
    counts = collections.Counter()
    print("open", flush=True)
    exchange(holders, seconds, counts)
    print(f"connections {len(holders)} answered {counts['answered']} broken {counts['broken']} "
          f"wrong {counts['wrong']} lost {counts['lost']}", flush=True)


def hold(address, number):
    allow(number)
    return [Held(i, sock) for i, sock in enumerate(connect(address, number))]


def stream(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    sock.connect(address)
    return [Streaming(0, sock)]


def main():
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    address = (sys.argv[2], int(sys.argv[3]))
    if sys.argv[1] == "hold":
        run(hold(address, int(sys.argv[4])), float(sys.argv[5]))
    else:
        run(stream(address), float(sys.argv[4]))


main()
