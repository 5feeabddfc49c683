#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ports.py serve NAME PORT | ask PORT SOURCE_PORT TIMES each|mixed|HOW ADDRESS...

Connections to each ADDRESS, TIMES from one and the same source port, each at once after the one before
has ended. How they end: who closes first, `client` or `server`, or who resets, `client-reset` or
`server-reset`; `unread`: the client closes, and resets what still comes; or both `forget` it and say
nothing, as if they had been switched off. `each`: from SOURCE_PORT on a port for each way; `mixed`: the
ways of one port change; HOW: that alone.
Prints for each "ADDRESS HOW NAME", by which server it was answered.

Needs net.ipv4.tcp_max_tw_buckets=0 at the client: it has no TIME_WAIT, and so no reason of its own to
wait. All is on one CPU: nothing overtakes anything."""
import errno
import fcntl
import os
import random
import socket
import struct
import sys
import termios
import time

WAYS = ("client", "server", "client-reset", "server-reset", "unread")
PATIENCE = 20  # seconds; a SYN that is swallowed comes again after one
ABORT = struct.pack("ii", 1, 0)  # of SO_LINGER: close() resets
TCP_REPAIR = 19  # linux/tcp.h: close() sends nothing


def abort(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)


def until(done, else_say):
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            sys.exit(f"ports.py: {else_say}")
        time.sleep(0.001)


def forget(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # what it got it says
    has_come = lambda: not struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]
    until(has_come, "forget: the other side takes nothing")
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)


def resets():
    """How many this network namespace has sent."""
    with open("/proc/net/snmp", encoding="ascii") as snmp:
        names, values = (line.split() for line in snmp if line.startswith("Tcp:"))
    return int(values[names.index("OutRsts")])


def leave(sock):
    before = resets()
    sock.close()
    until(lambda: resets() > before, "unread: nothing came")


# Ends of the client's that it does not wait for.
AT_ONCE = {"client-reset": abort, "unread": leave, "forget": forget}


def serve(name, port):
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("::", port))
    listening.listen()
    while True:
        sock = listening.accept()[0]
        with sock:
            how = sock.makefile().readline().strip()
            if how == "server-reset":
                sock.sendall(name.encode())
                sock.recv(1)
                abort(sock)
            elif how == "forget":
                sock.sendall(name.encode())
                forget(sock)
            else:
                sock.sendall(name.encode())
                if how == "server":
                    sock.shutdown(socket.SHUT_WR)
                try:
                    sock.recv(1)
                    if how == "unread":
                        sock.sendall(b"more")
                        sock.recv(1)
                except ConnectionResetError:
                    pass


def ended(sock):
    """Waits until the other side has ended; how it has."""
    try:
        return "closed" if not sock.recv(100) else "more data"
    except ConnectionResetError:
        return "reset"


def connects(sock, address):
    """Not while the client's own end of the connection before is there still: then no SYN leaves."""
    try:
        sock.connect(address)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return False
    return True


def ask(address, source, how):
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", source))
        until(lambda: connects(sock, address), f"{how}: the connection before does not go")
        sock.sendall(how.encode() + b"\n")
        print(address[0], how, sock.recv(100).decode(), flush=True)
        if how in AT_ONCE:
            AT_ONCE[how](sock)
            return
        if how == "server-reset":
            sock.sendall(b"x")
        elif how == "client":
            sock.shutdown(socket.SHUT_WR)
        end = ended(sock)
        if end != ("reset" if how == "server-reset" else "closed"):
            sys.exit(f"ports.py: {how}: {end}")


def main():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    port, source, times = map(int, sys.argv[2:5])
    ways = {"each": [[way] for way in WAYS], "mixed": [WAYS] * len(WAYS)}
    for address in sys.argv[6:]:
        for i, some in enumerate(ways.get(sys.argv[5], [[sys.argv[5]]])):
            for _ in range(times):
                ask((address, port), source + i * (sys.argv[5] == "each"), random.choice(some))


main()
