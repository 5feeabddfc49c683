#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""checksums.py IFACE - check every IP packet that comes in by IFACE, bit by bit as on the wire.

Until SIGTERM it verifies lengths, the IPv4 header's checksum and that of TCP or UDP, computed from
scratch; each wrong packet is printed. Then a line "PROTO PACKETS TTL..." for each kind, where UDP
without a checksum is udp4-zero; exit code 1 if any packet was wrong."""
import collections
import signal
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
TP_STATUS_CSUMNOTREADY = 8


def ones_sum(data):
    """RFC 1071, the plain way: 0xffff for data that includes its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def split4(packet):
    header = (packet[0] & 15) * 4
    length = struct.unpack_from("!H", packet, 2)[0]
    if packet[0] >> 4 != 4 or header < 20 or length > len(packet):
        return None
    if ones_sum(packet[:header]) != 0xFFFF:
        raise ValueError("IPv4 header checksum")
    return packet[9], packet[8], packet[12:20], packet[header:length]


def split6(packet):
    length = 40 + struct.unpack_from("!H", packet, 4)[0]
    if packet[0] >> 4 != 6 or length > len(packet):
        return None
    return packet[6], packet[7], packet[8:40], packet[40:length]


def check(frame):
    """The packet's kind and TTL, or None where it is none of ours; raises ValueError."""
    family = {0x0800: (split4, "4"), 0x86DD: (split6, "6")}.get(
        struct.unpack_from("!H", frame, 12)[0])
    if not family:
        return None
    parts = family[0](frame[14:])
    if not parts:
        raise ValueError("IP version or length")
    proto, ttl, addresses, payload = parts
    name = {6: "tcp", 17: "udp"}.get(proto)
    if not name:
        return None
    if name == "udp":
        if struct.unpack_from("!H", payload, 4)[0] != len(payload):
            raise ValueError("UDP length")
        if payload[6:8] == b"\0\0":
            if family[1] == "6":
                raise ValueError("UDP without a checksum on IPv6")
            return "udp4-zero", ttl
    pseudo = addresses + struct.pack("!IHH", len(payload), 0, proto)
    if ones_sum(pseudo + payload) != 0xFFFF:
        raise ValueError(f"{name} checksum")
    return name + family[1], ttl


def main():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((sys.argv[1], 0))
    sock.settimeout(0.2)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    kinds, ttls, wrong = collections.Counter(), collections.defaultdict(set), 0
    print("ready", flush=True)
    while True:
        try:
            frame, ancillary, _, address = sock.recvmsg(65600, 256)
        except TimeoutError:
            if stop:
                break
            continue
        if address[2] == PACKET_OUTGOING:
            continue
        try:
            status = struct.unpack_from("=I", ancillary[0][2])[0]
            if status & TP_STATUS_CSUMNOTREADY:
                raise ValueError("checksum left to an offload")
            kind = check(frame)
        except ValueError as error:
            wrong += 1
            print(f"wrong: {error}: {frame[:80].hex()}", flush=True)
            continue
        if kind:
            kinds[kind[0]] += 1
            ttls[kind[0]].add(kind[1])
    for kind, count in sorted(kinds.items()):
        print(kind, count, *sorted(ttls[kind]))
    drops = struct.unpack("II", sock.getsockopt(SOL_PACKET, 6, 8))[1]  # PACKET_STATISTICS
    print("unseen", drops)
    sys.exit(1 if wrong else 0)


main()
