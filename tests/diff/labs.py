# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab for each datapath, each a process that plays what it is told; they play at the same time. That of
ipvs plays in the guest, unless we are there ourselves."""
import json
import os
import select
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.environ.get("TEST_GUEST") == "1"
SLOW = 8  # an emulated processor
LIMIT = 120  # seconds for one scenario
# Counting instructions, so that nobody waits for what only time brings about.
IN_GUEST = ["scripts/guest-run", "-I", "-i", "1", "-m", "2048", "-t", "7200", "-e", "TEST_GUEST=1",
            "-e", "LAB", "-e", "MESHLB", "-e", "BUILD", "-e", "HOOK", "--"]


class Broken(Exception):
    """A lab has died, or does not answer."""


class Lab:
    def __init__(self, datapath, hook, log):
        elsewhere = datapath == "ipvs" and not GUEST
        self.datapath, self.slow = datapath, SLOW if elsewhere or GUEST else 1
        # A file and not a pipe: nobody reads it until something is wrong.
        self.log = open(log, "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [*(IN_GUEST if elsewhere else ()), HERE + "/lab.sh", datapath], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log, text=True, env=os.environ | {"HOOK": hook})

    def tell(self, order):
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self.broken() from None

    def hear(self):
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT * self.slow)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise self.broken()
        return json.loads(line)

    def broken(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return Broken(f"the lab of {self.datapath} has no answer:\n{file.read()[-3000:]}")

    def end(self):
        try:
            self.process.wait(20 * self.slow)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()
        self.log.close()


class Labs:
    def __init__(self, datapaths, hook, logs):
        self.labs = []
        for datapath in datapaths:
            self.labs.append(Lab(datapath, hook if datapath == "ebpf" else datapath,
                                 f"{logs}/diff-{datapath}.log"))

    def datapaths(self):
        return [lab.datapath for lab in self.labs]

    def all_hear(self, labs=None):
        return {lab.datapath: lab.hear() for lab in labs or self.labs}

    def order(self, order, only=None):
        """ONLY: one datapath."""
        labs = [lab for lab in self.labs if only in (None, lab.datapath)]
        for lab in labs:
            lab.tell(order)
        return self.all_hear(labs)

    def end(self):
        for lab in self.labs:
            lab.process.stdin.close()
        for lab in self.labs:
            lab.end()
