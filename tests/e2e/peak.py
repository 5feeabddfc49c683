#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""peak.py COMMAND... - runs a `conn ls`, as text or by JSON, and prints "lines N connections N clients N
services N own KIB all KIB": of its output the lines, how many connections, and different clients and
services; and the most memory that the command had: its own, and with the tables that it looks into.

Not by getrusage(), where what it was forked from counts: it is looked at whenever the output's pipe was
full."""
import re
import subprocess
import sys

TEXT = re.compile(rb"^(?:tcp|udp) +(\S+) +\S+ +\S+ +\S+ +\S+ +(\S+)\n", re.MULTILINE)
JSON = re.compile(rb'\{[^{}]*"client": ?"([^"]+)"[^{}]*"service": ?"([^"]+)"[^{}]*\}')
PART = 1 << 16


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        fields = dict(re.findall(r"(\w+):\s+(\d+)", file.read()))
    # Without both it has ended.
    return int(fields.get("RssAnon", 0)), int(fields.get("VmHWM", 0))


def main():
    pattern = JSON if "-j" in sys.argv else TEXT
    lines, number, clients, services, rest = 0, 0, set(), set(), b""
    peak = (0, 0)
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, bufsize=0) as process:
        while part := process.stdout.read(PART):
            peak = tuple(map(max, peak, memory(process.pid)))
            lines += part.count(b"\n")
            rest += part
            end = 0
            for found in pattern.finditer(rest):
                number += 1
                clients.add(found[1])
                services.add(found[2])
                end = found.end()
            rest = rest[end:]
    if process.returncode:
        sys.exit(f"peak.py: exit code {process.returncode}")
    print(f"lines {lines} connections {number} clients {len(clients)} services {len(services)} "
          f"own {peak[0]} all {peak[1]}")


main()
