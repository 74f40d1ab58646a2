#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tcp-server --upgrade: a new process in the place of the old one, under load.

Usage: [WHERRY_BUILD=build] [WHERRY_LONG=1] app/test/whole/upgrade.py [TEST-PREFIX...], as root.

Clients of the kernel's TCP go on all the time. What must hold: hashes are right and nobody
reconnects; whatever becomes of the new process before, the old one serves.
"""
import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from load import Content, Load
from net import SERVER_IP, Network, die_with_parent, isolate
from server import Server
from tap import expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
PROGRAM = os.path.join(BUILD, "examples/tcp-server/tcp-server")
if (reason := isolate()) is not None:
    skip_all(reason)
RUNS = 20 if os.environ.get("WHERRY_LONG") else 3
work = tempfile.mkdtemp(prefix="wherry-upgrade-")
atexit.register(shutil.rmtree, work, True)
os.mkdir(os.path.join(work, "content"))
network = Network(wires=1)
content = Content(os.path.join(work, "content"), files=2, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())
log = os.path.join(work, "upgrades.log")


def tail(n=2000):
    with open(log, errors="replace") as lines:
        return lines.read()[-n:]


class Upgrade:
    """What an operator starts: it becomes the next server."""

    def __init__(self, program=None):
        self.seen = os.path.getsize(log) if os.path.exists(log) else 0
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [PROGRAM, "--upgrade" + (f"={program}" if program else ""), "--name", "web"], stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent, start_new_session=True)

    def said(self, text):
        with open(log, errors="replace") as lines:
            lines.seek(self.seen)
            return text in lines.read()

    def wait_in_place(self, seconds=60):
        end = time.monotonic() + seconds
        while not self.said("took the place"):
            expect(self.process.poll() is None, f"the new server ended with {self.process.returncode}:\n{tail()}")
            expect(time.monotonic() < end, f"the new server does not serve:\n{tail()}")
            time.sleep(0.02)


def state():
    done = subprocess.run([os.path.join(BUILD, "app/wherry/wherry"), "status", "--app", "web", "--json"],
                          capture_output=True, text=True, check=False)
    expect(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def serve():
    return Server(BUILD, "web", "w0", work, arena_mib=64, churn=20, content=os.path.join(work, "content"),
                  extra=("--churn-table", "8", "--uploads", "16")).wait_ready()


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def a_server_is_replaced_again_and_again():
    """The second time by a program that is named, and starts the same with a word of its own."""
    named = os.path.join(work, "newer")
    with open(named, "w") as script:
        script.write(f'#!/bin/sh\necho newer; exec {PROGRAM} "$@"\n')
    os.chmod(named, 0o755)
    first = serve()
    running = [first.process]
    try:
        for run in range(RUNS):
            jobs = [load.download(content, "c0", 40), load.download(content, "c1", 40)]
            load.wait_moving(jobs, 1 << 20)
            new = Upgrade(named if run == 1 else None)
            running.append(new.process)
            new.wait_in_place()
            expect(running[-2].wait(20) == 0, f"{first.tail()}\n{tail()}")
            expect(not os.path.exists(f"/proc/{running[-2].pid}"), "the old server is there")
            expect(new.said("newer") == (run == 1), tail())
            for job in load.wait_done(jobs, 60):
                expect(job["ok"] and not job.get("lost"), job)
            now = state()
            expect(now["state"] == "serving", now)
            expect(os.listdir("/run/wherry") == ["web.sock"], os.listdir("/run/wherry"))
            print(f"# blackout {now['blackout_ms']:.2f} ms, {now['late_frames']} frames that lay in the ring")
    finally:
        for process in running:
            end(process)


def a_program_that_is_none_leaves_the_old_one_alone():
    old = serve()
    try:
        jobs = [load.download(content, "c0", 40)]
        load.wait_moving(jobs, 1 << 20)
        for program in ("/nonexistent", "/bin/false", "/bin/true"):
            Upgrade(program).process.wait(20)
            expect(state()["state"] == "serving", old.tail())
        for job in load.wait_done(jobs, 60):
            expect(job["ok"], job)
        expect(subprocess.run([PROGRAM, "--upgrade", "--name", "nobody"], capture_output=True, check=False).returncode == 1,
               "nobody was replaced")
        expect(old.process.poll() is None, old.tail())
    finally:
        old.stop()


def one_of(old, new):
    """Who serves, when the other has ended."""
    for _ in range(3000):
        ended = [p for p in (old, new) if p.poll() is not None]
        if ended:
            break
        time.sleep(0.01)
    expect(len(ended) == 1, f"{len(ended)} of two have ended:\n{tail()}")
    return new if ended[0] is old else old


def interrupted_at_any_moment_one_serves():
    """Ctrl-C, or worse, as the new one starts, waits, takes over, or runs."""
    running = serve().process
    try:
        for run in range(2 * RUNS):
            jobs = [load.download(content, "c0", 20)]
            load.wait_moving(jobs, 1 << 20)
            new = Upgrade()
            for _ in range(random.randrange(4)):
                time.sleep(random.uniform(0, 0.4))
            if new.process.poll() is None and not new.said("serving http"):
                new.process.send_signal(signal.SIGKILL if run % 2 else signal.SIGINT)
            owner = one_of(running, new.process)
            if owner is running:
                expect(new.process.returncode != 0, "it was interrupted, and says that all is well")
            else:
                new.wait_in_place()
            expect(state()["state"] == "serving", tail())
            running = owner
            for job in load.wait_done(jobs, 60):
                expect(job["ok"], f"{job}\n{tail()}")
    finally:
        end(running)


if __name__ == "__main__":
    main([a_server_is_replaced_again_and_again, a_program_that_is_none_leaves_the_old_one_alone,
          interrupted_at_any_moment_one_serves])
