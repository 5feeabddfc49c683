#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hold.py ADDRESS PORT [SECONDS] - keep one connection; for each line of input one HTTP request over it.

Prints the replica's id for each, or what went wrong; SECONDS without an answer are."""
import re
import socket
import sys


def ask(sock):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n")
    answer = b""
    while True:
        part = sock.recv(65536)
        if not part:
            return "closed"
        answer += part
        found = re.search(rb"container id ([0-9a-f]{12})", answer)
        if found:
            return found.group(1).decode()


def main():
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
    sock.settimeout(float((sys.argv[3:] or [4])[0]))
    for _ in sys.stdin:
        try:
            print(ask(sock), flush=True)
        except OSError as error:
            print(f"error: {error}", flush=True)


main()
