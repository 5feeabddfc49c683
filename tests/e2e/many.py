#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""many.py ADDRESS PORT NUMBER [ROUNDS [PATIENCE]] - open NUMBER connections, and only then ask over
all of them.

Those that are not open when nothing was heard for PATIENCE seconds (10) have failed. Prints "open",
and then, for each of ROUNDS lines of input (1), how many each replica answered ("ID COUNT" lines)
and "failed COUNT"."""
import collections
import re
import resource
import selectors
import socket
import sys

AT_ONCE = 200  # connections being opened


def connect(address, number, patience):
    """All connections, opened AT_ONCE at a time."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    done, failed = [], 0
    waiting = selectors.EpollSelector()
    while len(done) + failed < number:
        pending = len(waiting.get_map())
        for _ in range(min(AT_ONCE, number - len(done) - failed) - pending):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.register(sock, selectors.EVENT_WRITE)
        opened = [key.fileobj for key, _ in waiting.select(patience)]
        for sock in opened or [key.fileobj for key in waiting.get_map().values()]:
            waiting.unregister(sock)
            if not opened or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                failed += 1
                sock.close()
            else:
                done.append(sock)
    return done, failed


def ask(socks):
    """One request over each; counts by replica."""
    counts, left = collections.Counter(), 0
    waiting = selectors.EpollSelector()
    for sock in socks:
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n")
        except OSError:
            counts["failed"] += 1
            continue
        waiting.register(sock, selectors.EVENT_READ)
        left += 1
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
    number, rounds, patience = map(int, sys.argv[3:] + ["1", "10"][len(sys.argv) - 4:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, number + 100))
    socks, failed = connect((sys.argv[1], int(sys.argv[2])), number, patience)
    print("open", flush=True)
    for _ in range(rounds):
        sys.stdin.readline()
        counts = ask(socks)
        counts["failed"] += failed
        print("\n".join(f"{name} {count}" for name, count in sorted(counts.items())), flush=True)


main()
