#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""greedy.py SOURCE ADDRESS PORT SECONDS - connections from SOURCE, opened without a pause.

The first one stays and exchanges data all the while: if that fails, so does this. The others are
reset when they are open, and given up where they are not within 0.2 s. At the end
"opened N from T to T", in seconds of the monotonic clock."""
import selectors
import socket
import struct
import sys
import time

AT_ONCE = 100
PATIENCE = 0.2  # less than TCP's, which never sends a second SYN then
REQUEST = b"GET / HTTP/1.1\r\nHost: greedy\r\n\r\n"

SOURCE, TO = (sys.argv[1], 0), (sys.argv[2], int(sys.argv[3]))
FAMILY = socket.AF_INET6 if ":" in SOURCE[0] else socket.AF_INET


def make():
    sock = socket.socket(FAMILY, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.bind(SOURCE)
    return sock


def ask(sock):
    sock.sendall(REQUEST)
    answer = b""
    while b"container id" not in answer:
        part = sock.recv(65536)
        if not part:
            raise OSError("the connection that is kept was closed")
        answer += part


def begin(trying, ready):
    sock = make()
    sock.setblocking(False)
    sock.connect_ex(TO)
    trying[sock] = time.monotonic()
    ready.register(sock, selectors.EVENT_WRITE)


def end(sock, trying, ready):
    del trying[sock]
    ready.unregister(sock)
    sock.close()


def flood(until, kept):
    trying, ready, opened, asked = {}, selectors.DefaultSelector(), 0, 0.0
    while (now := time.monotonic()) < until:
        while len(trying) < AT_ONCE:
            begin(trying, ready)
        for key, _ in ready.select(0.01):
            opened += not key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            end(key.fileobj, trying, ready)
        for sock in [sock for sock, since in trying.items() if now - since > PATIENCE]:
            end(sock, trying, ready)
        if now - asked > 0.2:
            ask(kept)
            asked = now
    return opened


def main():
    began = time.monotonic()
    kept = make()
    kept.settimeout(3)
    kept.connect(TO)
    opened = 1 + flood(began + float(sys.argv[4]), kept)
    print(f"opened {opened} from {began:.3f} to {time.monotonic():.3f}")


main()
