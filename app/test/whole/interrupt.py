#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""devtools/demo ended by Ctrl-C at any moment: nothing of it is left.

Usage: [WHERRY_BUILD=build] [WHERRY_RUNS=N] app/test/whole/interrupt.py [TEST-PREFIX...], as root.

A run gets SIGINT as a terminal gives it, to its whole process group, up to a second after
it has printed so many lines, more in each run. What must be gone is every process that
was started, which a word in its environment tells, and with it all namespaces and what is in them;
its folders; and what the machine has must be as before: interfaces, named namespaces, hugepages.
"""
import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.dirname(os.path.abspath(__file__)) + "/../../..")
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from tap import Skip, expect, main

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
RUNS = int(os.environ.get("WHERRY_RUNS") or (60 if os.environ.get("WHERRY_LONG") else 3))
LINES = 12  # that the demo prints from its begin to its end, about
HUGEPAGES = "/proc/sys/vm/nr_hugepages"
seed = int(os.environ.get("WHERRY_SEED", "0")) or random.randrange(1, 1 << 30)
chance = random.Random(seed)
print(f"# WHERRY_SEED={seed}")


def names(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def read(path):
    with open(path) as lines:
        return lines.read()


def traces():
    """What a demo has inside of its namespaces, and outside would have left; of others that is theirs."""
    ours = {"br0", "w0", "w1", "client", "uplink", "A", "B", "A.sock", "B.sock"}
    return [f"{folder}/{name}" for folder in ("/sys/class/net", "/run/netns", "/run/wherry", "/run/dpdk")
            for name in names(folder) if name in ours or folder == "/run/netns"]


@contextlib.contextmanager
def hugepages_as_before():
    """Unless another test changes them meanwhile, or there can be none."""
    if not os.path.isdir("/run/lock") or not os.path.exists(HUGEPAGES):
        yield
        return
    with open("/run/lock/wherry-hugepages.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        before = read(HUGEPAGES)
        yield
        expect(read(HUGEPAGES) == before, f"{before.strip()} hugepages before, {read(HUGEPAGES).strip()} after")


def marked(word):
    """Processes that have the word in their environment, with what they are."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
            if word.encode() in environ.read():
                found[pid] = read(f"/proc/{pid}/cmdline").replace("\0", " ")[:80]
    return found


class Run:
    """A small demo in a process group of its own; `folder` has all it puts into files."""

    def __init__(self, number):
        self.word = f"WHERRY_INTERRUPT={os.getpid()}-{number}"
        self.folder = tempfile.mkdtemp(prefix="wherry-interrupt-")
        self.log = os.path.join(self.folder, "log")
        os.mkdir(os.path.join(self.folder, "tmp"))
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [os.path.join(ROOT, "devtools/demo"), "--arena", "192", "--connections", "4"], stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "WHERRY_BUILD": BUILD, "TMPDIR": os.path.join(self.folder, "tmp"),
                     "WHERRY_INTERRUPT": self.word.split("=")[1]})

    def said(self):
        return read(self.log)

    def wait_lines(self, lines):
        end = time.monotonic() + 120
        while self.said().count("\n") < lines and self.process.poll() is None:
            expect(time.monotonic() < end, f"it goes no further:\n{self.said()}")
            time.sleep(0.01)

    def interrupt(self):
        """False: it was over before."""
        over = self.process.poll() is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {marked(self.word)}\n{self.said()}") from None
        expect(over or status != 0 or "result: ok" in self.said(), "it was interrupted, and says that all is well")
        return not over

    def check_gone(self):
        end = time.monotonic() + 20
        while marked(self.word):
            expect(time.monotonic() < end, f"left behind: {marked(self.word)}\n{self.said()}")
            time.sleep(0.05)
        expect(not names(os.path.join(self.folder, "tmp")), f"left behind: {names(os.path.join(self.folder, 'tmp'))}\n{self.said()}")
        expect("Traceback" not in self.said(), self.said())

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, True)


def demo_interrupted_at_any_moment_leaves_nothing():
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise Skip("needs root and /dev/net/tun: sudo")
    before, hit = traces(), 0
    with hugepages_as_before():
        for number in range(RUNS):
            run = Run(number)
            try:
                run.wait_lines(int((number + chance.random()) * LINES / RUNS))
                time.sleep(chance.uniform(0, 1))
                hit += run.interrupt()
                run.check_gone()
                expect(traces() == before, f"before {before}\nafter {traces()}\n{run.said()}")
            finally:
                run.end()
    print(f"# {hit} of {RUNS} runs interrupted")
    expect(hit, "every run was over before")


main([demo_interrupted_at_any_moment_leaves_nothing])
