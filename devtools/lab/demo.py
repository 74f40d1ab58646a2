# SPDX-License-Identifier: BSD-3-Clause
"""The main job, shown: a TCP server on a userspace stack moves between two processes
while curl downloads from it and uploads to it. See doc/demo.rst.

  client side (kernel's TCP, curl) -- bridge -- wire w0 -- A: tcp-server, lwIP over net_wherry
                                            \\-- wire w1 -- B: the same, waiting

A is migrated to B under load. Nothing may be lost: every download's and upload's
SHA-256 is compared, no connection is made twice, the content churning in the arena
is verified, and A's process is gone before the end.
"""
import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from arbiter import Arbiter, ArbiterError
from keys import Keys, KeysError
from load import MIB, Content, Load
from net import SERVER_IP, Network, isolate
from server import Server, ServerError
from vitals import Vitals


started = time.monotonic()
# Receive buffers that can be kept; half of that is uploaded, as a buffer is larger than a segment.
UPLOADS_MIB = 96
ARENA_LEAST = UPLOADS_MIB + 64 + 32  # MiB: beside them the churn's table, and the content
LOAD_SECONDS, SOAK_SECONDS = 10, 3  # that the downloads of one migration last
SOAK_GAVE_UP = 20  # one migration in so many may come to nothing, the application goes on
SETTLED_S = 0.5  # after a migration, what clients wait for is no longer its doing
SOAK_LEAST = 8  # migrations: with fewer there is no telling what grows


class Failed(Exception):
    """The demo did not show what it is to show; the text says what."""


def options():
    parser = argparse.ArgumentParser(prog="devtools/demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--migrations", type=int, default=1, metavar="N", help="back and forth, N times (default 1)")
    parser.add_argument("--arena", type=int, default=256, metavar="MIB", help="state in the arena (default 256)")
    parser.add_argument("--churn", type=int, default=24, metavar="MIB", help="rewritten per second in it (default 24)")
    parser.add_argument("--connections", type=int, default=8, metavar="N",
                        help="half of them downloads, a quarter uploads, a quarter probes (default 8)")
    parser.add_argument("--mbit", type=int, default=200, help="speed of the clients' link, each way (default 200)")
    parser.add_argument("--pace", type=int, default=0, metavar="PERCENT",
                        help="downloads and uploads take so much of the link each, so that what probes wait for is the server (default: all)")
    parser.add_argument("--downtime-limit", type=int, default=50, metavar="MS", help="of the migration (default 50)")
    parser.add_argument("--arbiter", choices=("lock", "etcd"), help="who owns is decided by a file, or by an etcd started here")
    parser.add_argument("--tls", nargs="?", const="certificates", choices=("certificates", "psk"),
                        help="migrate over TLS 1.3, by certificates (default) or a pre-shared key, made here")
    parser.add_argument("--verify", action="store_true", help="hash all memory on both sides while stopped")
    parser.add_argument("--soak", action="store_true",
                        help="many migrations: short load each, uploads deleted again; what the processes hold must not grow")
    parser.add_argument("--keep-logs", metavar="DIR", help="leave the processes' logs there")
    parser.add_argument("--build", default="build-demo", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.connections < 4 or args.migrations < 1 or args.arena < ARENA_LEAST:
        parser.error(f"at least 4 connections, 1 migration and an arena of {ARENA_LEAST} MiB")
    if not 0 <= args.pace <= 90:
        parser.error("a pace is 1 to 90 percent")
    if args.soak and args.migrations < SOAK_LEAST:
        parser.error(f"a soak takes at least {SOAK_LEAST} migrations")
    return args


class Demo:
    """One run. `owner` serves; `work` holds content, uploads and logs."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.servers, self.migrations, self.results, self.verified = [], [], [], []
        self.uploads, self.mismatches = {}, 0
        self.vitals = Vitals() if args.soak else None
        self.network = Network(wires=2, mbit=args.mbit, short=bool(args.pace))
        say(f"network: bridge br0, wires {' '.join(self.network.wires)}, client link {args.mbit} Mbit/s")
        self.arbiter = Arbiter(args.arbiter, self.folder("logs"))
        if self.arbiter.spec:
            say(f"arbiter: {self.arbiter.spec}")
        self.keys = Keys(args.tls, self.folder("keys"))
        if args.tls:
            say(f"migration over TLS 1.3, both sides proved by {args.tls}")
        self.content = Content(self.folder("content"), files=args.connections // 2, mib=8)

    def folder(self, name):
        path = os.path.join(self.work, name)
        os.makedirs(path, exist_ok=True)
        return path

    def completed(self):
        return [m for m in self.migrations if m["result"] == "completed"]

    def server(self, n, side, **how):
        name, wire = f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[n % 26]}{n // 26 or ''}", self.network.wires[side]
        made = Server(self.args.build, name, wire, self.folder("logs"), arena_mib=self.args.arena,
                      churn=self.args.churn, extra=("--uploads", str(UPLOADS_MIB), *self.arbiter.words, *self.keys.words), **how)
        self.servers.append(made)
        made.wait_ready()
        say(f"{name}: pid {made.pid}, wire {wire}, {'waits on ' + made.incoming if made.incoming else 'serves ' + SERVER_IP}")
        return made

    def run(self):
        owner = self.server(0, 0, content=self.content.folder)
        load = Load(self.network, SERVER_IP)
        quarter = max(1, self.args.connections // 4)
        probes = [load.order("probe", every_ms=5) for _ in range(quarter)]
        n = 0
        while len(self.completed()) < self.args.migrations:
            n += 1
            owner = self.leg(n, owner, load, quarter)
        self.results += load.stop(probes)
        self.check_churn(load)
        self.check_sources()
        if self.vitals and self.vitals.trouble():
            raise Failed("; ".join(self.vitals.trouble()))
        if owner.stop() != 0:
            raise Failed(f"server {owner.name} ended badly:\n{owner.tail()}")

    def leg(self, n, owner, load, quarter):
        """Load on, migrate, wait for the load's end at the new owner, compare."""
        heir = self.server(n, 1 - self.network.wires.index(owner.wire), incoming=f"tcp:127.0.0.1:{7000 + n}")
        if self.vitals:
            self.vitals.look("waiting", heir)
        seconds = SOAK_SECONDS if self.args.soak else LOAD_SECONDS
        share = self.args.mbit * (self.args.pace or 100) // 100 // len(self.content.names)
        each = max(2, share * seconds // 8 // self.content.mib)
        downloads = [load.download(self.content, name, each, self.rate(len(self.content.names))) for name in self.content.names]
        if not load.wait_moving(downloads, MIB):
            raise Failed(f"downloads do not move:\n{owner.tail()}")
        uploads = [self.upload(load, f"u{n}-{k}") for k in range(quarter)]
        say(f"load: {len(downloads)} downloads of {each * self.content.mib} MiB, {len(uploads)} uploads, {quarter} probes")
        if not self.migrate(n, owner, heir):
            heir = self.gave_up(owner, heir)
        elif owner.wait() != 0:
            raise Failed(f"server {owner.name} should have ended with 0 after its migration:\n{owner.tail()}")
        say(f"{heir.name} serves; waiting for the clients to finish")
        self.results += load.wait_done(downloads + uploads)
        self.check_uploads(load)
        if self.vitals:
            self.drop_uploads(load)
            self.vitals.look("serving", heir)
        return heir

    def upload(self, load, name):
        kept_of = 1 if self.args.soak else self.args.migrations
        size = max(1, UPLOADS_MIB // 2 // kept_of // max(1, self.args.connections // 4))
        path = os.path.join(self.folder("uploads"), name)
        with open(path, "wb") as out:
            data = os.urandom(size * MIB)
            out.write(data)
        self.uploads[name] = hashlib.sha256(data).hexdigest()
        return load.order("upload", file=path, path=f"/upload/{name}", rate=self.rate(max(1, self.args.connections // 4)))

    def rate(self, jobs):
        """Bytes per second of each of so many with a pace, or as fast as it goes."""
        return self.args.mbit * 125000 * self.args.pace // 100 // jobs or None

    def migrate(self, n, owner, heir):
        events = os.path.join(self.work, f"migration-{n}.json")
        words = [heir.incoming, f"--downtime-limit={self.args.downtime_limit}", f"--log={events}"]
        words += ["--verify"] if self.args.verify else []
        say(f"migrating {owner.name} -> {heir.name}")
        begun = time.monotonic()
        done = subprocess.run(owner.wherry("migrate", *words), check=False)
        with open(events) as lines:
            told = [json.loads(line) for line in lines]
        rounds = [dict(event, migration=n) for event in told if event.get("event") == "round"]
        ends = [event for event in told if "result" in event]
        self.migrations.append({**(ends[-1] if ends else {"result": "failed"}), "rounds": rounds,
                                "span": (begun, time.monotonic() + SETTLED_S)})
        if self.args.tls and not heir.said("connected over TLS"):
            raise Failed(f"nobody connected to {heir.name} over TLS:\n{heir.tail()}")
        tolerated = self.args.migrations // SOAK_GAVE_UP if self.args.soak else 0
        if len(self.migrations) - len(self.completed()) > tolerated:
            raise Failed(f"migration {n} failed: {self.migrations[-1].get('reason')}\n{owner.tail()}\n{heir.tail()}")
        return done.returncode == 0

    @staticmethod
    def gave_up(owner, heir):
        """It came to nothing, which on a loaded machine may happen: then nobody may notice. Who serves."""
        if heir.wait() in (0, None) or owner.status()["state"] != "serving":
            raise Failed(f"a migration that failed has changed something:\n{owner.tail()}\n{heir.tail()}")
        return owner

    def check_uploads(self, load):
        """What was uploaded comes back from whoever serves now, byte for byte."""
        jobs = {load.order("download", path=f"/upload/{name}", sha256=sha): name for name, sha in self.uploads.items()}
        verified = load.wait_done(list(jobs))
        self.verified += verified
        for result in verified:
            if not result["ok"]:
                say(f"upload {jobs[result['job']]} came back wrong: {result['error']}")

    def drop_uploads(self, load):
        jobs = [load.order("fetch", method="DELETE", path=f"/upload/{name}") for name in self.uploads]
        if not all(result["ok"] for result in load.wait_done(jobs, 30)):
            raise Failed("uploads cannot be deleted")
        for name in self.uploads:
            os.remove(os.path.join(self.folder("uploads"), name))
        self.uploads.clear()

    def check_churn(self, load):
        job = load.order("fetch", path="/churn")
        result = load.wait_done([job], 30)[0]
        if not result["ok"]:
            raise Failed(f"no answer from /churn: {result['error']}")
        churn = json.loads(result["body"])
        self.mismatches += churn["mismatches"]
        say(f"churn: {churn['entries']} entries rewritten {churn['versions']} times, {churn['mismatches']} mismatches")

    def check_sources(self):
        """Both kinds of dirty bits had something to say: else nothing was shown of one of them."""
        rounds = [r for m in self.completed() for r in m["rounds"]]
        for field, whose in (("iommu_dirty_pages", "a device"), ("cpu_dirty_pages", "the CPU")):
            if not any(r[field] for r in rounds):
                raise Failed(f"no page was dirtied by {whose} in any round")

    def gap(self, migrating):
        """The longest gap of any client in migrations, from their begin to when all has settled, or beside them."""
        spans = [m["span"] for m in self.migrations]
        heard = [r for r in self.results if not self.args.pace or r["kind"] == "probe"]  # curl pauses to keep a pace
        return max((ms for r in heard for at, ms in r.get("gaps", [])
                    if any(begin <= at and at - ms / 1000 <= end for begin, end in spans) == migrating),
                   default=0 if self.results else None)

    def report(self, problem):
        results = self.results + self.verified
        lost = sum(1 for r in results if r.get("lost", not r["ok"]))
        self.mismatches += sum(1 for r in results if not r["ok"] and not r.get("lost", True))
        good = self.completed()
        wrong = problem or lost or self.mismatches or len(good) != self.args.migrations
        return {
            "result": "failed" if wrong else "ok",
            "reason": problem or "",
            "migrations": len(good),
            "gave_up": [m.get("reason") for m in self.migrations if m not in good],
            "rounds": [r for m in self.migrations for r in m["rounds"]],
            "state_bytes": good[-1]["state_bytes"] if good else 0,
            "bytes_sent": sum(m["bytes_sent"] for m in good),
            "blackout_ms": max((m["blackout_ms"] for m in good), default=None),
            "arbiter_ms": max((m["arbiter_ms"] for m in good), default=None),
            "blackouts_ms": [m["blackout_ms"] for m in good],
            "client_gap_ms": self.gap(migrating=True),
            "client_gap_else_ms": self.gap(migrating=False),
            "gaps_ms": [[r["kind"], r["gap_ms"]] for r in self.results],
            "connections": len(self.results),
            "connections_lost": lost,
            "bytes_verified": sum(r["bytes"] for r in results if r["kind"] == "download" and r["ok"]),
            "uploads_verified": sum(1 for r in self.verified if r["ok"]),
            "mismatches": self.mismatches,
            "soak": self.vitals.report() if self.vitals else None,
            "errors": [f"{r['kind']}: {r['error']}" for r in results if not r["ok"]],
        }

    def stop(self):
        for server in self.servers:
            server.stop()
        if self.network.client:
            self.network.client.kill()
        self.arbiter.stop()


def say(text):
    print(f"demo: {time.monotonic() - started:5.1f} s  {text}", flush=True)


def show(result):
    rounds = result["rounds"]
    say(f"rounds: {len(rounds)}; dirty pages seen by IOMMU bits {sum(r['iommu_dirty_pages'] for r in rounds)}, "
        f"by CPU tracking {sum(r['cpu_dirty_pages'] for r in rounds)}")
    say(f"sent {result['bytes_sent'] / MIB:.0f} MiB for {result['state_bytes'] / MIB:.0f} MiB of state")
    say(f"verified {result['bytes_verified'] / MIB:.0f} MiB, {result['uploads_verified']} uploads; {result['mismatches']} mismatches")
    say(f"connections: {result['connections']}, lost: {result['connections_lost']}")
    for line in result["errors"]:
        say(line)
    if result["blackout_ms"] is not None and result["client_gap_ms"] is not None:
        say(f"blackout {result['blackout_ms']:.1f} ms, worst gap a client saw {result['client_gap_ms']:.1f} ms, "
            f"with no migration under way {result['client_gap_else_ms']:.1f} ms")
    if result["arbiter_ms"]:
        say(f"of the blackout {result['arbiter_ms']:.1f} ms until the arbiter had moved ownership")
    for moment, held in (result["soak"] or {}).items():
        say(f"{moment}: " + ", ".join(f"{what} {v['first']} -> {v['last']} ({v['min']} to {v['max']})" for what, v in held.items()))
    say(f"result: {result['result']}{': ' + result['reason'] if result['reason'] else ''}")


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(*_):
    """Once: what comes while all is being ended must not stop that."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def perform(args, work):
    """The demo's result. Whatever has been begun is over then."""
    demo, problem = None, None
    try:
        demo = Demo(args, work)
        demo.run()
    except (Failed, ServerError, ArbiterError, KeysError) as failure:
        problem = str(failure)
    except KeyboardInterrupt:
        problem = "interrupted"
    finally:
        if demo:
            demo.stop()
        if args.keep_logs:
            shutil.copytree(work, args.keep_logs, dirs_exist_ok=True)
    result = demo.report(problem) if demo else {"result": "failed", "reason": problem}
    if demo and demo.migrations:
        show(result)
    else:
        say(f"result: {problem}")
    return result


def main():
    args = options()
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    if (reason := isolate()) is not None:
        sys.exit(f"devtools/demo: {reason}")
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # until the folder is sure to be removed
    work = tempfile.mkdtemp(prefix="wherry-demo-")
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
        result = perform(args, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(result, out, indent=2)
            out.write("\n")
    return 0 if result["result"] == "ok" else 1


try:
    sys.exit(main())
except KeyboardInterrupt:  # with nothing to show
    sys.exit(130)
