#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ports.py serve NAME PORT | ask PORT SOURCE_PORT TIMES each|mixed ADDRESS...

Connections to each ADDRESS, TIMES from one and the same source port, each at once after the one before
has ended. How they end: who closes first, `client` or `server`, or who resets, `client-reset` or
`server-reset`. `each`: from SOURCE_PORT on a port for each way; `mixed`: the ways of one port change.
Prints for each "ADDRESS HOW NAME", by which server it was answered.

Needs net.ipv4.tcp_max_tw_buckets=0 at the client: it has no TIME_WAIT, and so no reason of its own to
wait. All is on one CPU: nothing overtakes anything."""
import os
import random
import socket
import struct
import sys

WAYS = ("client", "server", "client-reset", "server-reset")
PATIENCE = 20  # seconds; a SYN that is swallowed comes again after one
ABORT = struct.pack("ii", 1, 0)  # of SO_LINGER: close() resets


def abort(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)


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
            else:
                sock.sendall(name.encode())
                if how == "server":
                    sock.shutdown(socket.SHUT_WR)
                try:
                    sock.recv(1)
                except ConnectionResetError:
                    pass


def ended(sock):
    """Waits until the other side has ended; how it has."""
    try:
        return "closed" if not sock.recv(100) else "more data"
    except ConnectionResetError:
        return "reset"


def ask(address, source, how):
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as sock:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", source))
        sock.connect(address)
        sock.sendall(how.encode() + b"\n")
        print(address[0], how, sock.recv(100).decode(), flush=True)
        if how == "client-reset":
            abort(sock)
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
    for address in sys.argv[6:]:
        for i in range(len(WAYS) * times):
            if sys.argv[5] == "mixed":
                ask((address, port), source, random.choice(WAYS))
            else:
                ask((address, port), source + i // times, WAYS[i // times])


main()
