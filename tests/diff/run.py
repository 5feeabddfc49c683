#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""run.py [FILE...] - play scenarios on several datapaths at once, and compare what clients and
servers see: those that are kept (scenarios/*.txt, with TEST_FULL=1 scenarios/full/*.txt, too), then
COUNT generated ones from SEED on; or just the FILEs. One that fails is made as small as it goes, and
written to build/test-logs.

In the environment: COUNT (100; 400 with TEST_FULL=1; in the guest 20), SEED (of the clock),
DATAPATHS (ebpf,nft; ipvs takes four times as long), HOOK (tc: where ebpf attaches), BUILD, LAB; VERBOSE=1 prints each scenario,
FAILURES (3) is after how many it ends, BRIEF=1 ends with the first, as it is."""
import collections
import glob
import os
import re
import signal
import sys
import time

import judge
import scenario
from generate import generate
from labs import HERE, Broken, Labs
from differences import DIFFERENCES, can_be_met

AGAIN = 4  # times that it is tried to make a failure come again: some depend on chance
GUEST = os.environ.get("TEST_GUEST") == "1"  # an emulated processor
FULL = os.environ.get("TEST_FULL") == "1"
# Scenarios on one instance: making it anew takes ebpf's programs half a second, in the guest ten.
DOWN_EVERY = 40 if GUEST else 10
SHRINK_SECONDS = 300 if GUEST else 60
COUNT = 20 if GUEST else 400 if FULL else 100
BRIEF = bool(os.environ.get("BRIEF"))
FAILURES = int(os.environ.get("FAILURES") or (1 if BRIEF else 3))  # as many are shown


class Bench:
    """The labs, and what was found in them so far."""

    def __init__(self, labs, logs):
        self.labs, self.logs = labs, logs
        self.met = collections.defaultdict(set)  # difference: who met it
        self.ops, self.history, self.failed = collections.Counter(), [], []
        self.checks = collections.Counter()  # of what needs a special occasion, how often
        self.kept_checks = collections.Counter()  # by scenarios that are kept

    def findings(self, text, checks=None):
        """What is wrong, once the accepted differences are taken away; and those."""
        steps = scenario.parse(text)
        wrong, met = [], set()
        played = self.labs.order(text, None if scenario.is_for_all(steps) else "ebpf")
        for finding in judge.judge(steps, played, checks):
            name = judge.accepted(finding)
            if name:
                met.add(name)
            else:
                wrong.append(finding)
        return wrong, met

    def run(self, name, text):
        steps = scenario.parse(text)
        if "ebpf" not in self.labs.datapaths() and not scenario.is_for_all(steps):
            return
        if len(self.history) == DOWN_EVERY:
            self.labs.order("down")
            self.history = []
        self.ops.update(step.op for step in steps)
        self.history.append(text)
        begin = time.monotonic()
        checks = collections.Counter()
        wrong, met = self.findings(text, checks)
        self.checks += checks
        if name.endswith(".txt"):
            self.kept_checks += checks
        if os.environ.get("VERBOSE"):
            print(f"# {name}: {time.monotonic() - begin:.2f} s, {' '.join(sorted(met))}")
        for difference in met:
            self.met[difference].add(name)
        if wrong:
            self.failure(name, text, wrong)

    def failure(self, name, text, wrong):
        print(f"FAILED: {name}")
        show(text, wrong)
        if BRIEF:
            self.failed.append(name)
            return
        kinds = {f.kind for f in wrong}
        whole = self.again(text, kinds) or self.again("clear\n".join(self.history), kinds)
        if whole:
            text = self.shrink(whole, kinds)
            wrong = self.findings(text)[0] or wrong
            print("made small:")
            show(text, wrong)
        else:
            print("it did not fail when it was played again")
        path = f"{self.logs}/diff-failed-{os.path.basename(name).replace(' ', '-')}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"# {name}\n" + "".join(f"# {line}\n" for f in wrong
                                               for line in told(f).splitlines()) + text)
        print(f"written to {path}; again: tests/diff/run.py {path}", flush=True)
        self.failed.append(name)
        self.history = []
        self.labs.order("down")

    def again(self, text, kinds):
        """TEXT if it fails also on an instance that nothing was done with before."""
        self.labs.order("down")
        return text if any(self.fails(text, kinds) for _ in range(AGAIN)) else None

    def fails(self, text, kinds):
        return any(f.kind in kinds for f in self.findings(text)[0])

    def shrink(self, text, kinds):
        """Takes out steps, half of them at first and one at a time at last, while it still fails."""
        lines, deadline = text.splitlines(), time.monotonic() + SHRINK_SECONDS
        size = len(lines) // 2
        while size:
            begin, shorter = 0, False
            while begin < len(lines) and time.monotonic() < deadline:
                less = lines[:begin] + lines[begin + size:]
                if self.fails("\n".join(less) + "\n", kinds):
                    lines, shorter = less, True
                else:
                    begin += size
            size = size if shorter and size == 1 else size // 2
        return "\n".join(lines) + "\n"


def told(finding):
    return f"{finding.datapath}: step {finding.number + 1}, {finding.step.text}: " \
           f"{finding.kind}: {finding.text}"


def show(text, wrong):
    marks = collections.defaultdict(list)
    for finding in wrong:
        marks[finding.number].append(f"{finding.datapath}: {finding.kind}: {finding.text}")
    for number, step in enumerate(scenario.parse(text)):
        print(f"    {step.text}")
        for mark in marks[number]:
            print(f"        ^ {mark}")


def kept():
    """Those that take more than a minute are full's."""
    more = glob.glob(HERE + "/scenarios/full/*.txt") if FULL else []
    return sorted(glob.glob(HERE + "/scenarios/*.txt")) + more


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def unmet(bench, datapaths):
    """Accepted differences that no kept scenario shows: the list must not outlive its reasons."""
    return [d.name for d in DIFFERENCES if can_be_met(d, datapaths)
            and not any(name.endswith(".txt") for name in bench.met.get(d.name, ()))]


def void(bench, datapaths):
    """Checks for which no kept scenario gave an occasion."""
    return [check for check in judge.CHECKS if "ebpf" in datapaths
            and not bench.kept_checks[check] and not bench.kept_checks["too slow"]]


def undocumented():
    """Names that are on one of the two lists alone."""
    told = set(re.findall(r"^\| `([a-z-]+)` \|", read(HERE + "/../../docs/differences.md"), re.M))
    return sorted(told ^ {d.name for d in DIFFERENCES})


def play_all(bench, files, seed, count, datapaths):
    for path in files or kept():
        if len(bench.failed) >= FAILURES:
            return
        bench.run(os.path.relpath(path), read(path))
    if files:
        return
    for number in range(seed, seed + count):
        if len(bench.failed) >= FAILURES:
            break
        text = generate(number)
        if os.environ.get("VERBOSE"):
            print(f"# seed {number}\n{text}", flush=True)
        bench.run(f"seed {number}", text)
    for name in undocumented():
        print(f'FAILED: "{name}" is not both in docs/differences.md and in differences.py')
        bench.failed.append(name)
    for name in void(bench, datapaths):
        print(f'FAILED: no kept scenario has put "{name}" to the test')
        bench.failed.append(name)
    for name in unmet(bench, datapaths):
        print(f'FAILED: the accepted difference "{name}" is met by no kept scenario')
        bench.failed.append(name)


def main():
    if set(sys.argv) & {"-h", "--help"}:
        print(__doc__)
        return 0
    seed = int(os.environ.get("SEED") or time.time_ns() // 1000 % 10**9)
    count = int(os.environ.get("COUNT") or COUNT)
    datapaths = os.environ.get("DATAPATHS", "ebpf,nft").split(",")
    logs = os.environ.get("BUILD", "build") + "/test-logs" + ("/guest" if GUEST else "")
    os.makedirs(logs, exist_ok=True)
    os.environ.setdefault("LAB", f"mlb{os.getpid()}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"datapaths {','.join(datapaths)}; SEED={seed} COUNT={count}", flush=True)
    labs = Labs(datapaths, os.environ.get("HOOK", "tc"), logs)
    bench = Bench(labs, logs)
    try:
        labs.all_hear()  # that they are ready
        play_all(bench, sys.argv[1:], seed, count, datapaths)
    except Broken as error:
        print(f"FAILED: {error}")
        return 1
    finally:
        labs.end()
    print("steps:", ", ".join(f"{n} {op}" for op, n in bench.ops.most_common()))
    print("put to the test:", ", ".join(f"{n} {c}" for c, n in bench.checks.most_common() if n))
    for name, who in sorted(bench.met.items()):
        print(f"accepted difference {name}: met by {len(who)}, as {sorted(who)[0]}")
    print("FAILED: " + ", ".join(bench.failed) if bench.failed else "all alike")
    return 1 if bench.failed else 0


sys.exit(main())
