#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""dns_load.py PORT ADDRESS... - ask a DNS server for who.test, over and over until SIGTERM.

Each address in turn; every fifth query goes by TCP, each by UDP from a port of its own. A query is
sent once; one that is not answered within 5 s is printed. At the end "queries N failed N udp N"."""
import os
import signal
import socket
import struct
import sys
import time

NAME = b"\3who\4test\0"
PORTS = range(10000, 30000)  # so many queries later a flow may be taken for the one before
TIMEOUT = 5


def ask(address, port, udp, sock):
    """Sends a query and reads the answer; OSError where there is none."""
    query = os.urandom(2) + struct.pack(">5H", 0x100, 1, 0, 0, 0) + NAME + struct.pack(">2H", 1, 1)
    sock.settimeout(TIMEOUT)
    if udp:
        sock.bind(("", port))
    sock.connect(address)
    if udp:
        sock.send(query)
        answer = sock.recv(65536)
    else:
        sock.sendall(struct.pack(">H", len(query)) + query)
        stream = sock.makefile("rb")
        answer = stream.read(struct.unpack(">H", stream.read(2).ljust(2, b"\0"))[0])
    # Of the same query, without an error, with one address.
    if answer[:2] != query[:2] or answer[3:4] != b"\x80" or answer[6:8] != b"\0\1":
        raise OSError(f"answer {answer!r}")


def main():
    addresses = [(address, int(sys.argv[1])) for address in sys.argv[2:]]
    stop, queries, failed, flows = [], 0, 0, 0
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    while not stop:
        address = addresses[queries % len(addresses)]
        udp = queries % 5 > 0
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        try:
            with socket.socket(family, kind) as sock:
                ask(address, PORTS[flows % len(PORTS)], udp, sock)
        except OSError as error:
            failed += 1
            print(f"{time.time():.3f} {address[0]} failed: {error}", flush=True)
        queries += 1
        flows += udp
        time.sleep(0.005)
    print(f"queries {queries} failed {failed} udp {flows}")


main()
