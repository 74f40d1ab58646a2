# SPDX-License-Identifier: BSD-3-Clause
"""Content to serve, orders to the client side, and the sum of what it reports."""
import hashlib
import json
import os
import sys
import threading

MIB = 1 << 20


class Content:
    """Random files, and the SHA-256 of each sent `repeat` times over."""

    def __init__(self, folder, files, mib):
        self.folder, self.mib = folder, mib
        self.names = [f"c{n}" for n in range(files)]
        self.bytes = {}
        for name in self.names:
            self.bytes[name] = os.urandom(mib * MIB)
            with open(os.path.join(folder, name), "wb") as out:
                out.write(self.bytes[name])

    def sha256(self, name, repeat):
        digest = hashlib.sha256()
        for _ in range(repeat):
            digest.update(self.bytes[name])
        return digest.hexdigest()


class Load:
    """The jobs given to the client side, and their results."""

    def __init__(self, network, server_ip):
        here = os.path.dirname(os.path.abspath(__file__))
        self.process = network.start_client_side([sys.executable, os.path.join(here, "clients.py"), server_ip])
        self.jobs = 0
        self.progress, self.results = {}, {}
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            told = json.loads(line)
            with self.changed:
                if "progress" in told:
                    self.progress[told["job"]] = told["progress"]
                elif "job" in told:
                    self.results[told["job"]] = told
                self.changed.notify_all()

    def order(self, do, **what):
        job = self.jobs
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()
        self.jobs += 1
        return job

    def download(self, content, name, repeat, rate=None):
        """`rate`: bytes per second, or as fast as it goes."""
        return self.order("download", path=f"/file/{name}?repeat={repeat}", sha256=content.sha256(name, repeat), rate=rate)

    def wait_moving(self, jobs, least, seconds=20):
        """Until each of these downloads has got `least` bytes or ended."""
        with self.changed:
            return self.changed.wait_for(
                lambda: all(j in self.results or self.progress.get(j, 0) >= least for j in jobs), seconds)

    def wait_done(self, jobs, seconds=120):
        with self.changed:
            self.changed.wait_for(lambda: all(j in self.results for j in jobs) or self.process.poll() is not None, seconds)
            return [self.results.get(j, {"job": j, "kind": "?", "ok": False, "lost": True, "bytes": 0, "gap_ms": 0,
                                         "error": "no answer from the client side"}) for j in jobs]

    def stop(self, probes):
        """End the probes; their results."""
        self.order("stop")
        return self.wait_done(probes, 30)
