#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""icmp.py router INTERFACE | error FROM SERVICE PORT CLIENT CPORT

router: announces a default route to all on the link (RFC 4861, 4.2).
error: tells SERVICE (IPv4), as a router that has FROM on this host, that what it has sent to
CLIENT:CPORT from PORT was too big: "fragmentation needed", 1400 (RFC 1191)."""
import ipaddress
import socket
import struct
import sys


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


{"router": router, "error": error}[sys.argv[1]](*sys.argv[2:])
