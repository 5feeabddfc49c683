#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""conn_table.py PIN add N [stale] - fills N slots of a pinned connection table (lb_conn4, lb_conn6)
with copies of an entry that is there, each of another client; `stale`: of a backend's id before its
last use.
conn_table.py PIN turn - moves the last packet of the copies by half a turn of meta's ticks: what was
alive has expired, and what has expired seems alive again.

Copies lie at the table's end; entries of real connections are nearly all at its beginning."""
import ctypes
import mmap
import os
import re
import struct
import sys

BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
OBJ_GET, OBJ_GET_INFO_BY_FD = 7, 15
# include/lb_abi.h, by a bucket's size: slots, where keys and addresses begin, size of an address
LAYOUTS = {64: (3, 16, 40, 4), 192: (4, 32, 64, 16)}
META = 4
REUSE = 1 << 28  # the lowest bit of LB_REF_REUSE_MASK
# What the client's address begins with in copies alone
CLIENT = {4: bytes([198, 18]), 16: bytes.fromhex("20010db80077")}

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    attr = ctypes.create_string_buffer(attr, 128)
    result = libc.syscall(BPF_SYSCALL, command, attr, len(attr))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return result


class Table:
    def __init__(self, pin):
        path, info = ctypes.create_string_buffer(pin.encode()), ctypes.create_string_buffer(128)
        fd = bpf(OBJ_GET, struct.pack("=QI", ctypes.addressof(path), 0))
        bpf(OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
        self.bucket, self.buckets = struct.unpack_from("=II", info, 12)
        self.slots, self.keys, self.addrs, self.addr = LAYOUTS[self.bucket]
        page = mmap.PAGESIZE
        self.memory = mmap.mmap(fd, (self.bucket * self.buckets + page - 1) // page * page)

    def places(self):
        """Of each slot, from the last one on: where its meta, key and addresses are."""
        for bucket in range((self.buckets - 1) * self.bucket, -1, -self.bucket):
            for slot in range(self.slots):
                yield (bucket + META + 4 * slot, bucket + self.keys + 8 * slot,
                       bucket + self.addrs + 2 * self.addr * slot)

    def word(self, at):
        return struct.unpack_from("=I", self.memory, at)[0]

    def set_word(self, at, value):
        struct.pack_into("=I", self.memory, at, value)

    def is_copy(self, addrs):
        mark = CLIENT[self.addr]
        return self.memory[addrs:addrs + len(mark)] == mark

    def add(self, number, stale):
        meta, key, addrs = next(p for p in self.places()
                                if self.word(p[0]) and not self.is_copy(p[2]))
        meta, ref, ports = self.word(meta), self.word(key), self.memory[key + 4:key + 8]
        service = self.memory[addrs + self.addr:addrs + 2 * self.addr]
        mark, places = CLIENT[self.addr], self.places()
        while number:
            at, key, addrs = next(places)
            if self.word(at):
                continue
            number -= 1
            self.set_word(key, ref ^ REUSE if stale else ref)
            self.memory[key + 4:key + 8] = ports
            # 16 bits of its own in the address and 16 in the port
            self.memory[key + 4:key + 6] = struct.pack(">H", number & 0xffff)
            client = mark + (number >> 16).to_bytes(self.addr - len(mark), "big")
            self.memory[addrs:addrs + 2 * self.addr] = client + service
            self.set_word(at, meta)

    def turn(self):
        with open(f"{os.path.dirname(__file__)}/../../include/lb_abi.h", encoding="utf-8") as file:
            bits = int(re.search(r"LB_META_TICK_BITS +(\d+)", file.read())[1])
        for at, _, addrs in self.places():
            if self.is_copy(addrs):
                self.set_word(at, self.word(at) ^ 1 << (bits - 1))


table = Table(sys.argv[1])
if sys.argv[2] == "add":
    table.add(int(sys.argv[3]), "stale" in sys.argv[4:])
else:
    table.turn()
