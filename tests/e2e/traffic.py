#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""traffic.py ADDRESS PORT - a new connection with one request, over and over until SIGTERM.

Each request that is not answered within 3 s is printed; at the end "answered N failed N"."""
import signal
import socket
import sys
import time


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    stop, answered, failed = [], 0, 0
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while not stop:
        try:
            with socket.create_connection(address, timeout=3) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while part := sock.recv(65536):
                    answer += part
            if b"container id" not in answer:
                raise OSError(f"answer {answer!r}")
            answered += 1
        except OSError as error:
            failed += 1
            print(f"{time.time():.3f} failed: {error}", flush=True)
        time.sleep(0.01)
    print(f"answered {answered} failed {failed}")


main()
