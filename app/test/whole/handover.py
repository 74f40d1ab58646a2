#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A real server hands its memory to another process of the machine, under load.

Usage: [WHERRY_BUILD=build] [WHERRY_LONG=1] app/test/whole/handover.py [TEST-PREFIX...], as root.

Clients of the kernel's TCP download, upload and probe all the time. What must hold: hashes
are right and nobody reconnects, nothing is copied, exactly one serves when a side is killed.
"""
import atexit
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from load import Content, Load
from net import SERVER_IP, Network, isolate
from server import Server, ServerError
from tap import expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
RUNS = 20 if os.environ.get("WHERRY_LONG") else 3
work = tempfile.mkdtemp(prefix="wherry-handover-")
atexit.register(shutil.rmtree, work, True)
os.mkdir(os.path.join(work, "content"))
network = Network(wires=2)
content = Content(os.path.join(work, "content"), files=2, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())


def serve(name, wire, **how):
    return Server(BUILD, name, wire, work, arena_mib=128, churn=20,
                  extra=("--churn-table", "16", "--uploads", "32"), **how)


def end_of(server, *words):
    """Migrate, and the event it ended with."""
    done = subprocess.run(server.wherry("migrate", "--json", *words), capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return events[-1] if events else {"result": done.stderr}


@contextlib.contextmanager
def two(run, line="-"):
    """A source on a wire, and a destination that waits for that wire, or has another."""
    made = []
    try:
        made.append(serve("A", "w0", content=os.path.join(work, "content")).wait_ready())
        made.append(serve("B", line, incoming=f"unix:{work}/handover.{run}").wait_ready())
        yield made
    finally:
        for server in made:
            server.stop()


def moves_without_a_copy():
    for run in range(RUNS):
        with two(run, "w1" if run == 1 else "-") as (a, b):
            jobs = [load.download(content, "c0", 40), load.download(content, "c1", 40)]
            load.wait_moving(jobs, 1 << 20)
            end = end_of(a, b.incoming)
            expect(end["result"] == "completed", f"{end}\n{a.tail()}\n{b.tail()}")
            print(f"# blackout {end['blackout_ms']:.2f} ms, {end['bytes_sent']} bytes sent for {end['state_bytes']} of state")
            expect(end["bytes_sent"] < 1 << 20, "memory was copied")
            expect(a.wait() == 0, a.tail())
            for job in load.wait_done(jobs, 60):
                expect(job["ok"], job)
            expect(b.status()["state"] == "serving", b.tail())


def one_serves(servers):
    """At rest at most one serves; who."""
    end = time.monotonic() + 30
    while True:
        states = {}
        for server in servers:
            states[server] = "gone"
            if server.process.poll() is None:
                with contextlib.suppress(ServerError):
                    states[server] = server.status()["state"]
        if all(st in ("serving", "released", "failed", "gone", "listen", "unknown") for st in states.values()):
            break
        expect(time.monotonic() < end, f"no rest: {[(s.name, st) for s, st in states.items()]}")
        time.sleep(0.02)
    serving = [s for s, st in states.items() if st == "serving"]
    expect(len(serving) <= 1, "two serve")
    return serving[0] if serving else None


def destination_killed_at_any_moment_leaves_the_source_serving():
    for run in range(10, 10 + RUNS):
        with two(run) as (a, b):
            jobs = [load.download(content, "c0", 20)]
            load.wait_moving(jobs, 1 << 20)
            with subprocess.Popen(a.wherry("migrate", b.incoming), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
                time.sleep(random.uniform(0, 0.12))
                b.process.kill()
                b.process.wait()
                command.wait(90)
            owner = one_serves((a, b))
            expect(owner in (a, None), "the dead serves")
            if owner is a:  # else it was too late: B had it
                for job in load.wait_done(jobs, 60):
                    expect(job["ok"], job)


def source_killed_at_any_moment_leaves_at_most_one():
    for run in range(20, 20 + RUNS):
        with two(run) as (a, b):
            with subprocess.Popen(a.wherry("migrate", b.incoming), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
                time.sleep(random.uniform(0, 0.12))
                a.process.kill()
                a.process.wait()
                command.wait(90)
            owner = one_serves((a, b))
            expect(owner in (b, None), "the dead serves")
            if owner is b:
                for job in load.wait_done([load.download(content, "c1", 2)], 60):
                    expect(job["ok"], job)


def what_was_handed_over_can_be_copied_on():
    """The new memory is tracked as the old one was: hashes of all of it agree."""
    with two(30, "w1") as (a, b):
        expect(end_of(a, b.incoming)["result"] == "completed", a.tail())
        expect(a.wait() == 0, a.tail())
        c = serve("C", "w0", incoming=f"unix:{work}/copied")
        try:
            c.wait_ready()
            jobs = [load.download(content, "c0", 40)]
            end = end_of(b, "--verify", c.incoming)
            expect(end["result"] == "completed" and end["bytes_sent"] > 1 << 20, end)
            for job in load.wait_done(jobs, 60):
                expect(job["ok"], job)
        finally:
            c.stop()


if __name__ == "__main__":
    main([moves_without_a_copy, destination_killed_at_any_moment_leaves_the_source_serving,
          source_killed_at_any_moment_leaves_at_most_one, what_was_handed_over_can_be_copied_on])
