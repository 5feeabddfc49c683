#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""traffic.py ADDRESS PORT [AT_ONCE] - a new connection with one request, over and over until SIGTERM.

Each request that finds nobody within 3 s, or gets no answer, is printed; at the end "answered N
failed N"."""
import collections
import os
import signal
import socket
import sys
import threading
import time

ADDRESS = (sys.argv[1], int(sys.argv[2]))
# An emulated processor has other things to do, too.
PAUSE = 0.1 if os.environ.get("TEST_GUEST") == "1" else 0.01
stop = threading.Event()


def connect():
    try:
        return socket.create_connection(ADDRESS, timeout=3)
    except OSError as error:
        raise ConnectionError(f"to connect: {error}") from error


def ask():
    with connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := sock.recv(65536):
            answer += part
    if b"container id" not in answer:
        raise OSError(f"answer {answer!r}")


def ask_on(counts):
    while not stop.is_set():
        try:
            ask()
            counts["answered"] += 1
        except OSError as error:
            counts["failed"] += 1
            print(f"{time.time():.3f} failed: {error}", flush=True)
        time.sleep(PAUSE)


def main():
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    counts = [collections.Counter() for _ in range(int((sys.argv[3:] or [1])[0]))]
    threads = [threading.Thread(target=ask_on, args=(own,)) for own in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("answered {answered} failed {failed}".format_map(sum(counts, collections.Counter())))


main()
