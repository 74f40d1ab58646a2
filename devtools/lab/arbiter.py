# SPDX-License-Identifier: BSD-3-Clause
"""Who decides who owns: a file, or an etcd of our own on loopback."""
import os
import subprocess
import time
import urllib.request

from net import die_with_parent

ETCD = "/usr/bin/etcd"
PORT = 2379  # in a network namespace of our own


class ArbiterError(Exception):
    """There is none; the text says why."""


class Arbiter:
    """`kind` is "lock", "etcd" or None; `spec` is what --arbiter wants, `words` the option itself."""

    def __init__(self, kind, work):
        self.process, self.spec = None, None
        if kind == "lock":
            self.spec = "lock:/run/wherry/owner"
        elif kind == "etcd":
            self.start_etcd(work)
            self.spec = f"etcd:http://127.0.0.1:{PORT}/wherry/owner"
        self.words = ("--arbiter", self.spec) if self.spec else ()

    def start_etcd(self, work):
        if not os.path.exists(ETCD):
            raise ArbiterError("no etcd: devtools/packages demo installs etcd-server")
        client, peer = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT + 1}"
        with open(os.path.join(work, "etcd.log"), "wb") as out:
            self.process = subprocess.Popen(
                [ETCD, "--data-dir", os.path.join(work, "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent, start_new_session=True)
        end = time.monotonic() + 30
        while not self.is_healthy(client):
            if self.process.poll() is not None or time.monotonic() > end:
                raise ArbiterError("etcd does not start: see etcd.log")
            time.sleep(0.1)

    @staticmethod
    def is_healthy(url):
        try:
            with urllib.request.urlopen(url + "/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
