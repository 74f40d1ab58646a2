#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who owns when a side is killed or stopped in the middle, with an arbiter: real servers.

Usage: [WHERRY_BUILD=build] [WHERRY_LONG=1] app/test/whole/owner.py [TEST-PREFIX...], as root.

A is migrated to B; at a moment that differs from run to run one of them gets SIGKILL, or
SIGSTOP for longer than the timeouts. What must hold when all has come to rest: not both
serve; the one that the arbiter's record names does, if it lives; if it does not, it can be
started again and then does, and the other one cannot. While an owner lives its clients get every
byte over the connection they began on; it holds no more descriptors than before.
"""
import atexit
import contextlib
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
from load import MIB, Content, Load
from net import SERVER_IP, Network, isolate
from ownership import SPEC, forget, recorded, serving, settle, state
from server import Server
from tap import expect, main, skip_all
from vitals import of_process

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
RUNS = int(os.environ.get("WHERRY_RUNS") or (100 if os.environ.get("WHERRY_LONG") else 2))
ARENA = 128
SMALL = ("--churn-table", "16", "--uploads", "16", "--arbiter", SPEC)
TIMEOUT_MS = 700
work = tempfile.mkdtemp(prefix="wherry-owner-")
atexit.register(shutil.rmtree, work, True)
network = Network(wires=2, mbit=100)
content = Content(work, files=1, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())
seed = int(os.environ.get("WHERRY_SEED", "0")) or random.randrange(1, 1 << 30)
chance = random.Random(seed)
print(f"# WHERRY_SEED={seed}")


def serve(name, n, **how):
    return Server(BUILD, name, f"w{n}", work, arena_mib=ARENA, churn=8, extra=SMALL, **how)


@contextlib.contextmanager
def migration(run):
    """A that serves, B that waits, and a migration from one to the other under way."""
    forget()
    made = []
    try:
        made.append(serve("A", 0, content=work).wait_ready())
        made.append(serve("B", 1, incoming=f"tcp:127.0.0.1:{7300 + run % 600}").wait_ready())
        job = load.download(content, "c0", 8)
        expect(load.wait_moving([job], MIB), "no client gets anything")
        held = {server.name: of_process(server.pid)["fds"] for server in made}
        command = subprocess.Popen(made[0].wherry("migrate", made[1].incoming, f"--timeout={TIMEOUT_MS}", "--pause-limit=1000"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield made, lambda owner: check_kept(made, owner, job, held)
        command.wait(90)
    finally:
        for server in made:
            with contextlib.suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGCONT)
            server.stop()


def check_kept(servers, owner, job, held):
    """The owner has lived all the time, or has taken over from one that was alive when it stopped."""
    result = load.wait_done([job], 90)[0]
    expect(result["ok"], f"{owner} owns, and its client: {result['error']}")
    fds = of_process(next(s for s in servers if s.name == owner).pid)["fds"]
    expect(fds <= held[owner], f"{owner} holds {fds} descriptors, {held[owner]} before")


def pause():
    """Somewhere in a migration that takes a second or less; often near its end, which is where it matters."""
    time.sleep(chance.choice((chance.uniform(0, 1.2), chance.uniform(0.2, 0.6))))


def killed(victim):
    for run in range(RUNS):
        with migration(run) as (servers, kept):
            pause()
            servers[victim].process.kill()
            servers[victim].process.wait()
            states = settle(servers)
            owner, other = recorded(BUILD), servers[1 - victim]
            running = serving(states)
            expect(len(running) <= 1, f"both serve: {states}")
            if owner == other.name:
                expect(running == [owner], f"{owner} owns and does not serve: {states}")
                kept(owner)
                continue
            expect(not running, f"{running} serves, {owner} owns")
            # the owner died: started again it serves, in a new epoch
            again = serve(owner, victim, content=work)
            try:
                again.wait_ready()
                expect(state(again) == "serving" and recorded(BUILD) == owner, again.tail())
            finally:
                again.stop()


def stopped(victim):
    for run in range(RUNS):
        with migration(run) as (servers, kept):
            pause()
            servers[victim].process.send_signal(signal.SIGSTOP)
            time.sleep(TIMEOUT_MS / 1000 * 2)
            servers[victim].process.send_signal(signal.SIGCONT)
            states = settle(servers)
            owner = recorded(BUILD)
            expect(serving(states) == [owner], f"{owner} owns: {states}")
            kept(owner)


def source_killed_at_any_moment_leaves_one_owner():
    killed(0)


def destination_killed_at_any_moment_leaves_one_owner():
    killed(1)


def source_stopped_for_longer_than_the_timeout_leaves_one_owner():
    stopped(0)


def destination_stopped_for_longer_than_the_timeout_leaves_one_owner():
    stopped(1)


main([
    source_killed_at_any_moment_leaves_one_owner, destination_killed_at_any_moment_leaves_one_owner,
    source_stopped_for_longer_than_the_timeout_leaves_one_owner,
    destination_stopped_for_longer_than_the_timeout_leaves_one_owner,
])
