#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""many.py ADDRESS PORT NUMBER - open NUMBER connections, and only then ask over all of them.

Prints how many each replica answered ("ID COUNT" lines) and "failed COUNT"; while all of them are
open it prints "open" and waits for a line of input."""
import collections
import re
import resource
import selectors
import socket
import sys

AT_ONCE = 200  # connections being opened


def connect(address, number):
    """All connections, opened AT_ONCE at a time."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    done, failed, pending = [], 0, 0
    waiting = selectors.EpollSelector()
    while len(done) + failed < number:
        while pending < AT_ONCE and len(done) + failed + pending < number:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.register(sock, selectors.EVENT_WRITE)
            pending += 1
        events = waiting.select(10)
        if not events:
            return done, failed + pending
        for key, _ in events:
            waiting.unregister(key.fileobj)
            pending -= 1
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                failed += 1
            else:
                done.append(key.fileobj)
    return done, failed


def ask(socks):
    """One request over each; counts by replica."""
    counts = collections.Counter()
    waiting = selectors.EpollSelector()
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n")
        waiting.register(sock, selectors.EVENT_READ)
    left = len(socks)
    while left:
        events = waiting.select(10)
        if not events:
            counts["failed"] += left
            break
        for key, _ in events:
            waiting.unregister(key.fileobj)
            left -= 1
            try:
                found = re.search(rb"container id ([0-9a-f]{12})", key.fileobj.recv(65536))
            except OSError:
                found = None
            counts[found.group(1).decode() if found else "failed"] += 1
    return counts


def main():
    number = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, number + 100))
    socks, failed = connect((sys.argv[1], int(sys.argv[2])), number)
    print("open", flush=True)
    sys.stdin.readline()
    counts = ask(socks)
    counts["failed"] += failed
    for name, count in sorted(counts.items()):
        print(name, count)


main()
