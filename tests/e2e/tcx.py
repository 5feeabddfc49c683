#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""tcx.py IFNAME PROG_ID - attaches a loaded program at the head of the interface's tcx queue, for
as long as it runs; prints "attached". (Neither bpftool nor tc of Debian 12 know of tcx.)"""
import ctypes
import os
import signal
import socket
import struct
import sys

BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_GET_FD_BY_ID, LINK_CREATE = 13, 28
TCX_INGRESS, BEFORE = 46, 8

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, *words):
    attr = ctypes.create_string_buffer(struct.pack(f"={len(words)}I", *words), 128)
    fd = libc.syscall(BPF_SYSCALL, command, attr, len(attr))
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return fd


prog = bpf(PROG_GET_FD_BY_ID, int(sys.argv[2]))
link = bpf(LINK_CREATE, prog, socket.if_nametoindex(sys.argv[1]), TCX_INGRESS, BEFORE)
print("attached", flush=True)
signal.pause()
