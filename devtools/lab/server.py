# SPDX-License-Identifier: BSD-3-Clause
"""One tcp-server process on one wire, and the `wherry` command that speaks to it."""
import json
import os
import signal
import subprocess
import time

from net import PREFIX, SERVER_IP, die_with_parent


class ServerError(Exception):
    """A server did not do what it was asked; the text is for people."""


class Server:
    """`incoming` is a URI to wait on, else the server owns fresh state loaded from `content`; `inside`
    are the words before the command that put it into another namespace; `vdev` is its device, if not net_wherry
    on the wire."""

    def __init__(self, build, name, wire, logs, incoming=None, content=None, arena_mib=256, churn=20, extra=(), inside=(),
                 vdev=None):
        self.build, self.name, self.wire, self.incoming = build, name, wire, incoming
        self.log = os.path.join(logs, f"{name}.log")
        plugin = os.path.join(build, "drivers/net/emu/librte_net_wherry.so")
        eal = ["--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0",
               "--file-prefix", name, "-d", plugin, "--vdev", vdev or f"net_wherry0,wire=tap={wire}"]
        own = ["--name", name, "--ip", f"{SERVER_IP}/{PREFIX}", "--arena", str(arena_mib), "--churn", str(churn), "--fill"]
        own += ["--incoming", incoming] if incoming else ["--content", content]
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [*inside, os.path.join(build, "examples/tcp-server/tcp-server"), *eal, "--", *own, *extra],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def said(self, text):
        with open(self.log, errors="replace") as lines:
            return text in lines.read()

    def tail(self, n=15):
        with open(self.log, errors="replace") as lines:
            return "".join(lines.readlines()[-n:])

    def wait_ready(self, seconds=60):
        """Until it serves, or waits for a migration."""
        want = "waiting for a migration" if self.incoming else "serving "
        end = time.monotonic() + seconds
        while not self.said(want):
            if self.process.poll() is not None:
                raise ServerError(f"server {self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > end:
                raise ServerError(f"server {self.name} is not ready after {seconds} s:\n{self.tail()}")
            time.sleep(0.05)
        return self

    def wherry(self, command, *words):
        """The argument vector of a `wherry` command to this server."""
        return [os.path.join(self.build, "app/wherry/wherry"), command, "--app", self.name, *words]

    def status(self):
        done = subprocess.run(self.wherry("status", "--json"), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"no status from {self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def await_state(self, state, seconds=20):
        """A loss is noticed by either side in its own time."""
        end = time.monotonic() + seconds
        while (now := self.status()["state"]) != state:
            if time.monotonic() > end:
                raise ServerError(f"server {self.name} is {now}, not {state}:\n{self.tail()}")
            time.sleep(0.01)

    def wait(self, seconds=20):
        """Its exit status, or None if it still runs after that time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        """End it as an operator does; by force if it does not listen."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if self.wait(5) is None:
                self.process.kill()
                self.process.wait()
        return self.process.returncode
