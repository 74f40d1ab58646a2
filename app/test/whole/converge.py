#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A server that is uploaded to faster than its state can be sent: throttled if asked, else given up.

Usage: [WHERRY_BUILD=build] app/test/whole/converge.py [TEST-PREFIX...], as root.

Clients replace uploads all the time: what arrives makes buffers dirty at several times the bandwidth
the migration may have. A replaced upload holds its buffers until its last reader is done, and one
under way holds its own: the pool has room for more than twice what is in flight, by the server's own
reckoning of half a buffer for each kilobyte.
"""
import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from load import MIB, Content, Load
from net import SERVER_IP, Network, isolate
from server import Server
from tap import expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
STREAMS, UPLOAD_MIB = 4, 2
POOL_MIB = 2 * (2 * STREAMS * UPLOAD_MIB + 8)
LIMITS = ("--channels=1", f"--max-bandwidth={8 * MIB}", "--downtime-limit=30", "--timeout=20000", "--json")
work = tempfile.mkdtemp(prefix="wherry-converge-")
atexit.register(shutil.rmtree, work, True)
network = Network(wires=2, mbit=200)
content = Content(work, files=1, mib=1)
UPLOADED = os.path.join(work, "body")
with open(UPLOADED, "wb") as body:
    body.write(os.urandom(UPLOAD_MIB * MIB))
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())


class Uploads:
    """STREAMS clients, each of which replaces its upload again and again; `results` is of all."""

    def __init__(self):
        self.results, self.over, self.lock = [], threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.stream, args=(n,)) for n in range(STREAMS)]

    def stream(self, n):
        while not self.over.is_set():
            with self.lock:
                job = load.order("upload", file=UPLOADED, path=f"/upload/u{n}")
            self.results += load.wait_done([job], 120)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        end = time.monotonic() + 30
        while len(self.results) < 2 * STREAMS:
            expect(time.monotonic() < end, "no upload comes through")
            time.sleep(0.02)
        return self

    def finish(self):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def __exit__(self, *_):
        self.finish()


def serve(name, wire, **how):
    extra = ("--uploads", str(POOL_MIB), "--churn-table", "1")
    return Server(BUILD, name, wire, work, arena_mib=POOL_MIB + 18, churn=0, extra=extra, **how)


def migrate(owner, port, *words):
    """To a new destination; how it ended, all rounds, and the destination."""
    heir = serve(f"B{port}", "w1", incoming=f"tcp:127.0.0.1:{port}").wait_ready()
    done = subprocess.run(owner.wherry("migrate", heir.incoming, *LIMITS, *words), capture_output=True, text=True,
                          check=False, timeout=120)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done, [event for event in events if event.get("event") == "round"], heir


def attempt(port):
    """False: the clients were slower than the migration, as on a machine that does much else."""
    with contextlib.ExitStack() as stack:
        owner = serve("A", "w0", content=work).wait_ready()
        stack.callback(owner.stop)
        uploads = stack.enter_context(Uploads())
        done, rounds, heir = migrate(owner, port, "--max-rounds=4")
        stack.callback(heir.stop)
        if done.returncode == 0:
            uploads.finish()
            return False
        expect("not converged" in done.stdout + done.stderr, done.stdout + done.stderr)
        expect(len(rounds) == 4 and not any(r["throttle_percent"] for r in rounds), rounds)
        expect(owner.status()["state"] == "serving", f"A is {owner.status()['state']}")
        heir.stop()
        done, rounds, heir = migrate(owner, port + 1, "--max-rounds=40", "--auto-converge")
        stack.callback(heir.stop)
        expect(done.returncode == 0, done.stdout + done.stderr + heir.tail())
        most = max(r["throttle_percent"] for r in rounds)
        print(f"# throttled to {most} % in {len(rounds)} rounds")
        expect(most >= 20, rounds)
        expect(heir.status()["state"] == "serving", heir.tail())
        # the throttle is gone with the migration: what was under way ends, and more comes
        before = len(uploads.results)
        end = time.monotonic() + 60
        while len(uploads.results) < before + 2 * STREAMS:
            expect(time.monotonic() < end, "no upload comes through any more")
            time.sleep(0.05)
        uploads.finish()
        bad = [result for result in uploads.results if not result["ok"]]
        expect(not bad, bad)
    return True


def uploads_that_do_not_converge_do_with_auto_converge():
    expect(any(attempt(7500 + 2 * n) for n in range(3)), "it converges without, three times")


main([uploads_that_do_not_converge_do_with_auto_converge])
