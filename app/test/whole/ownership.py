# SPDX-License-Identifier: BSD-3-Clause
"""Who owns, and who serves: asked from outside, of real servers with an arbiter `lock:`."""
import contextlib
import json
import os
import subprocess
import time

from server import ServerError
from tap import expect

SPEC = "lock:/run/wherry/owner"
AT_REST = ("serving", "released", "failed", "gone", "listen")  # B may never have met A: "listen"


def forget():
    """No record of an earlier run."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SPEC.removeprefix("lock:"))


def recorded(build):
    """The name of the server that the record names."""
    done = subprocess.run([os.path.join(build, "app/wherry/wherry"), "resolve", "--arbiter", SPEC, "--json"],
                          capture_output=True, text=True, check=False)
    told = json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}
    return told.get("owner", "").rsplit("/", 1)[-1].removesuffix(".sock")


def state(server):
    """What it says of itself, "gone" if it says nothing."""
    if server.process.poll() is not None:
        return "gone"
    with contextlib.suppress(ServerError):
        return server.status()["state"]
    return "gone"


def settle(servers, seconds=60):
    """Until no migration is under way anywhere; the states."""
    end = time.monotonic() + seconds
    while True:
        states = {s.name: state(s) for s in servers}
        if all(st in AT_REST for st in states.values()):
            return states
        expect(time.monotonic() < end, f"no rest after {seconds} s: {states}")
        time.sleep(0.05)


def serving(states):
    return [name for name, st in states.items() if st == "serving"]
