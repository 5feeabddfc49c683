#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""terminal.py SECONDS COMMAND... - run COMMAND in a terminal that dies after SECONDS."""
import os
import pty
import select
import sys
import time

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
end = time.monotonic() + float(sys.argv[1])
while (left := end - time.monotonic()) > 0:
    if select.select([terminal], [], [], left)[0]:
        try:
            os.write(1, os.read(terminal, 4096))
        except OSError:  # the command has ended
            time.sleep(max(0, end - time.monotonic()))
os.close(terminal)
os.waitpid(pid, 0)
