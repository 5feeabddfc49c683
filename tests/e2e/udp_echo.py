#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""udp_echo.py serve PORT | ask ADDRESS PORT NUMBER SIZE [nocheck] | insist ADDRESS PORT

The server answers each datagram with itself; `ask` sends NUMBER of SIZE bytes from a socket of
their own and fails unless each comes back whole, from the address that it was sent to. With
nocheck both sides send IPv4 UDP without a checksum (the server, for those that begin with 0).
`insist` sends from one socket, five times a second, and ends with the first answer."""
import os
import socket
import sys
import time

SO_NO_CHECK = 11


def serve(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    while True:
        data, client = sock.recvfrom(65536)
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(data[:1] == b"\0"))
        sock.sendto(data, client)


def ask(address, number, size, check):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    for _ in range(number):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, int(not check))
            sock.connect(address)
            data = (b"\1" if check else b"\0") + os.urandom(size - 1)
            sock.send(data)
            if sock.recv(65536) != data:
                sys.exit("udp_echo.py: another datagram came back")


def insist(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0.2)
    sock.connect(address)
    while True:
        try:
            sock.send(b"\1")
            sock.recv(1)
            return
        except ConnectionRefusedError:
            time.sleep(0.2)
        except TimeoutError:
            pass


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
elif sys.argv[1] == "insist":
    insist((sys.argv[2], int(sys.argv[3])))
else:
    ask((sys.argv[2], int(sys.argv[3])), int(sys.argv[4]), int(sys.argv[5]),
        "nocheck" not in sys.argv)
