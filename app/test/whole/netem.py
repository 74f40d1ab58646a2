#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A migration over a bad line: delay, loss, reordering, little bandwidth, a cut.

Usage: [WHERRY_BUILD=build] [WHERRY_LONG=1] app/test/whole/netem.py [TEST-PREFIX...], as root.

A and B are in namespaces of their own; what they say to each other goes over the kernel's TCP and a
line with tc's netem on both ends, or, on a kernel without it, over wan.py, which does the same. The
clients' network is another one, and good. What must hold after each: exactly one serves, the one
that the arbiter's record names; every client has every byte over the connection it began on; the
one that serves holds no more descriptors than before, and nothing of the other is left.
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
from net import SERVER_IP, Network, die_with_parent, ip, isolate
from ownership import SPEC, forget, recorded, serving, settle
from server import Server
from tap import expect, main, skip_all
from vitals import of_process

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
RUNS = int(os.environ.get("WHERRY_RUNS") or (100 if os.environ.get("WHERRY_LONG") else 1))
NEAR, FAR = "10.78.0.1", "10.78.0.2"
# a machine that is loaded is silent for longer than one that is not
SMALL = ("--churn-table", "16", "--uploads", "16", "--arbiter", SPEC, "--insecure")
TIMEOUT_MS = 4000
work = tempfile.mkdtemp(prefix="wherry-netem-")
atexit.register(shutil.rmtree, work, True)
seed = int(os.environ.get("WHERRY_SEED", "0")) or random.randrange(1, 1 << 30)
chance = random.Random(seed)
network = Network(wires=1, mbit=200)
inside = network.start_far_side("w1")
content = Content(work, files=2, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: [process.kill() for process in (network.client, network.far)])
has_netem = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"], capture_output=True,
                           check=False).returncode == 0
if has_netem:
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)
print(f"# WHERRY_SEED={seed}; the line is {'netem' if has_netem else 'wan.py, this kernel has no netem'}")


class Line:
    """`netem` are tc's words for it, `wan` those of wan.py."""

    def __init__(self, netem, wan):
        self.process = None
        if has_netem:
            ip("link", "add", "line", "type", "veth", "peer", "name", "line", "netns", str(network.far.pid))
        else:
            self.process = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "wan.py"),
                                             "line", "farline", *wan.split(), f"seed={chance.randrange(1 << 30)}"],
                                            stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
            expect(self.process.stdout.readline() == "ready\n", "wan.py does not start")
            ip("link", "set", "farline", "netns", str(network.far.pid), "name", "line")
        for words, address in (([], NEAR), (inside, FAR)):
            subprocess.run([*words, "ip", "addr", "add", f"{address}/24", "dev", "line"], check=True)
            subprocess.run([*words, "ip", "link", "set", "line", "mtu", "1500" if has_netem else "9000", "up"], check=True)
            if has_netem and netem:
                subprocess.run([*words, "tc", "qdisc", "add", "dev", "line", "root", "netem", *netem.split()], check=True)

    def cut(self):
        if self.process:
            self.process.send_signal(signal.SIGUSR1)
            return
        for words in ([], inside):
            subprocess.run([*words, "tc", "qdisc", "replace", "dev", "line", "root", "netem", "loss", "100%"], check=True)

    def remove(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        else:
            ip("link", "del", "line")


@contextlib.contextmanager
def migration(run, netem, wan):
    """A that serves and is loaded, B that waits at the other end of a line, a migration under way."""
    forget()
    with contextlib.ExitStack() as stack:
        line = Line(netem, wan)
        stack.callback(line.remove)
        how = {"arena_mib": 128, "churn": 4, "extra": SMALL}
        owner = Server(BUILD, f"A{run}", "w0", work, content=work, **how)
        stack.callback(owner.stop)
        heir = Server(BUILD, f"B{run}", "w1", work, incoming=f"tcp:{FAR}:7400", inside=inside, **how)
        stack.callback(heir.stop)
        owner.wait_ready()
        heir.wait_ready()
        jobs = [load.download(content, name, 16) for name in content.names]
        load.wait_moving(jobs, MIB)
        held = {server.name: of_process(server.pid)["fds"] for server in (owner, heir)}
        command = subprocess.Popen(owner.wherry("migrate", heir.incoming, "--insecure", f"--timeout={TIMEOUT_MS}",
                                                "--downtime-limit=1000", "--pause-limit=1000"),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        stack.callback(command.wait, 120)
        yield line, command, (owner, heir)
        check(jobs, (owner, heir), held)


def check(jobs, servers, held):
    states = settle(servers)
    owner = recorded(BUILD)
    expect(serving(states) == [owner], f"{owner} owns: {states}")
    for result in load.wait_done(jobs, 90):
        expect(result["ok"], f"{result['kind']}: {result['error']}")
    for server in servers:
        if server.name == owner:
            fds = of_process(server.pid)["fds"]
            expect(fds <= held[owner], f"{owner} holds {fds} descriptors, {held[owner]} before")
        else:
            expect(server.wait() is not None or states[server.name] == "listen", f"{server.name} neither serves nor ends")
    left = set(os.listdir("/run/wherry")) - {"owner", *(f"{s.name}.sock" for s in servers if s.process.poll() is None)}
    expect(not left, f"left in /run/wherry: {left}")


def counted(name):
    """What the kernels' TCP of both sides has counted of that, by nstat's name."""
    said = [subprocess.run([*words, "nstat", "-asz", name], capture_output=True, text=True, check=True).stdout
            for words in ([], inside)]
    return sum(int(line.split()[1]) for text in said for line in text.splitlines() if line.startswith(name))


def arrives(netem, wan, seen=None):
    """`seen`: what a line cannot do without its being counted."""
    for run in range(RUNS):
        before = counted(seen) if seen else 0
        with migration(run, netem, wan) as (_, command, (_, heir)):
            said, _ = command.communicate(timeout=120)
            expect(command.returncode == 0, f"{said}\n{heir.tail()}")
        expect(not seen or counted(seen) > before, f"{seen} is what it was: the line does nothing")


def delay_does_not_prevent_it():
    arrives("delay 10ms 3ms", "delay=10 jitter=3")


def loss_does_not_prevent_it():
    arrives("loss 0.5%", "loss=0.5", seen="TcpRetransSegs")


def reordering_does_not_prevent_it():
    arrives("delay 5ms reorder 90% 50%", "reorder=10", seen="TcpExtTCPOFOQueue")


def little_bandwidth_does_not_prevent_it():
    arrives("rate 240mbit", "rate=240")


def cut_at_any_moment_leaves_one_owner():
    for run in range(RUNS):
        with migration(run, "", "") as (line, _, _):
            time.sleep(chance.choice((chance.uniform(0, 2.5), chance.uniform(0.4, 1.2))))
            line.cut()


main([
    delay_does_not_prevent_it, loss_does_not_prevent_it, reordering_does_not_prevent_it,
    little_bandwidth_does_not_prevent_it, cut_at_any_moment_leaves_one_owner,
])
