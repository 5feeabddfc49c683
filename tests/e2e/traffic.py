#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""traffic.py ADDRESS PORT [AT_ONCE] - a new connection with one request, over and over until SIGTERM.

Each request that is not answered within 3 s is printed; at the end "answered N failed N"."""
import collections
import signal
import socket
import sys
import threading
import time

ADDRESS = (sys.argv[1], int(sys.argv[2]))
stop = threading.Event()


def ask():
    with socket.create_connection(ADDRESS, timeout=3) as sock:
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
        time.sleep(0.01)


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
