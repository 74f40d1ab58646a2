#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Snapshots of a real server under load: written, killed while writing, restored, served from.

Usage: [WHERRY_BUILD=build] app/test/whole/snapshot.py [TEST-PREFIX...], as root.

A is a tcp-server whose state changes all the time; its snapshot is taken while it serves.
B starts from the file, in A's place, and clients get from it what A had.
"""
import atexit
import contextlib
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
from load import Content
from net import CLIENT_IP, PREFIX, SERVER_IP, Network, ip, isolate
from server import Server
from tap import expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
work = tempfile.mkdtemp(prefix="wherry-snapshot-")
atexit.register(shutil.rmtree, work, True)
network = Network(wires=2)
content = Content(work, files=1, mib=1)
os.mkdir(os.path.join(work, "snapshots"))
FILE = os.path.join(work, "snapshots", "state")
ip("addr", "add", f"{CLIENT_IP}/{PREFIX}", "dev", "br0")  # we are the client
SMALL = ("--churn-table", "16", "--uploads", "16")


def serve(name, n, **how):
    return Server(BUILD, name, f"w{n}", work, arena_mib=128, churn=8, extra=SMALL, **how)


def migrate(server, *words):
    return subprocess.run(server.wherry("migrate", *words), capture_output=True, text=True, check=False)


def fetch():
    """The whole of the state that is to be had over HTTP."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", f"http://{SERVER_IP}/file/fill"], capture_output=True, check=False)
    expect(done.returncode == 0, done.stderr)
    return done.stdout


@contextlib.contextmanager
def serving(*args, **how):
    server = serve(*args, **how)
    try:
        yield server.wait_ready()
    finally:
        server.stop()


def snapshot_of_a_serving_server_starts_another():
    with serving("A", 0, content=work) as a:
        before = fetch()
        done = migrate(a, "file:" + FILE)
        expect(done.returncode == 0, done.stdout + done.stderr)
        print("# " + done.stdout.strip().splitlines()[-1])
        expect(a.status()["state"] == "serving", "the source does not go on")
        expect(fetch() == before, "the source serves something else than before")
    # it waits for nothing: "waiting for a migration" is followed by "serving" at once
    with serving("B", 1, incoming="file:" + FILE) as b:
        end = time.monotonic() + 20
        while not b.said("serving http"):
            expect(b.process.poll() is None and time.monotonic() < end, b.tail())
            time.sleep(0.05)
        expect(fetch() == before, "the restored server serves something else")


def snapshot_with_release_ends_the_server():
    with serving("A", 0, content=work) as a:
        done = migrate(a, "--release", "file:" + FILE)
        expect(done.returncode == 0, done.stdout + done.stderr)
        expect(a.wait() == 0, a.tail())


def writer_killed_at_any_moment_leaves_the_old_snapshot():
    with serving("A", 0, content=work) as a:
        expect(migrate(a, "file:" + FILE).returncode == 0, a.tail())
    with open(FILE, "rb") as f:
        before = f.read()
    for _ in range(3):
        with serving("A", 0, content=work) as a:
            with subprocess.Popen(a.wherry("migrate", "--max-bandwidth=300M", "file:" + FILE),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
                time.sleep(random.uniform(0.02, 0.3))
                a.process.kill()
                a.process.wait()
                expect(command.wait(20) == 1, "the command does not say that it came to nothing")
        with open(FILE, "rb") as f:
            expect(f.read() == before, "the old snapshot has changed")


def damaged_snapshot_is_refused_and_nobody_serves():
    with open(FILE, "r+b") as f:
        f.seek((2 << 20) + 4096)
        f.write(b"damage")
    b = serve("B", 1, incoming="file:" + FILE)
    expect(b.wait() == 1, b.tail())
    expect("damaged" in b.tail(), b.tail())


if __name__ == "__main__":
    main([snapshot_of_a_serving_server_starts_another, snapshot_with_release_ends_the_server,
         writer_killed_at_any_moment_leaves_the_old_snapshot, damaged_snapshot_is_refused_and_nobody_serves])
