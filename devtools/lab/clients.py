# SPDX-License-Identifier: BSD-3-Clause
"""The client side: real curl processes and a probe, told what to do by lines on stdin.

Usage: clients.py IP; one JSON object per line in, one per line out:

    {"do": "download", "path": "/file/a?repeat=4", "sha256": ...}
    {"do": "upload", "file": PATH, "path": "/upload/x"}    either with "rate": bytes per second at most
    {"do": "probe", "every_ms": 5}              one kept connection, a small request each time
    {"do": "fetch", "path": "/status"}          one small answer, reported as "body"; "method" if not GET
    {"do": "stop"}                              ends the probes, waits for the rest, reports

Each job reports {"job": n, "kind", "ok", "sha256", "bytes", "gap_ms", "error"} at its
end and {"job": n, "progress": bytes} on the way; "gap_ms" is the longest time without
a byte from the server between its first and its last, "gaps" are all of some length, each with
when it ended (CLOCK_MONOTONIC, s) and ms. A connection is never made
again: curl is not asked to retry, a probe that loses its connection has failed.
"""
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

say_lock = threading.Lock()
GAP_S = 0.002  # shorter ones are of no interest


def say(**what):
    with say_lock:
        print(json.dumps(what), flush=True)


class Gap:
    """The silences since the first tick."""

    def __init__(self):
        self.last, self.list = None, []

    def begin(self):
        """What was before is no silence: nothing was wanted of the server."""
        self.last = time.monotonic()

    def tick(self):
        now = time.monotonic()
        if self.last is not None and now - self.last > GAP_S:
            self.list.append((round(now, 4), round((now - self.last) * 1000, 1)))
        self.last = now

    @property
    def said(self):
        return {"gap_ms": max((ms for _, ms in self.list), default=0), "gaps": self.list}


class Client:
    def __init__(self, ip):
        self.ip = ip
        self.jobs = []
        self.stopping = threading.Event()

    def start(self, job, order):
        work = {"download": self.download, "upload": self.upload, "probe": self.probe, "fetch": self.fetch}[order["do"]]
        thread = threading.Thread(target=self.guarded, args=(work, job, order), daemon=True)
        thread.start()
        self.jobs.append(thread)

    @staticmethod
    def guarded(work, job, order):
        try:
            work(job, order)
        except Exception as problem:  # pylint: disable=broad-except
            say(job=job, kind=order["do"], ok=False, bytes=0, gap_ms=0, error=f"{type(problem).__name__}: {problem}")

    @staticmethod
    def pace(order):
        return ["--limit-rate", str(order["rate"])] if order.get("rate") else []

    def curl(self, *words):
        """It ends with us, however that is: the server it waits for may have ended, too."""
        return ["setpriv", "--pdeathsig", "KILL", "curl", "--silent", "--show-error", "--fail", "--no-buffer", "--max-time", "120", *words]

    def download(self, job, order):
        """Hash what comes, as it comes; a small pipe keeps curl's pace visible."""
        gap, digest, total, told = Gap(), hashlib.sha256(), 0, time.monotonic()
        with subprocess.Popen(self.curl(*self.pace(order), f"http://{self.ip}{order['path']}"), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, bufsize=0) as process:
            while chunk := process.stdout.read(65536):
                gap.tick()
                digest.update(chunk)
                total += len(chunk)
                if time.monotonic() - told > 0.2:
                    told = time.monotonic()
                    say(job=job, progress=total)
            error = process.stderr.read().decode().strip()
            status = process.wait()
        say(job=job, kind="download", ok=status == 0 and digest.hexdigest() == order["sha256"], lost=status != 0,
            sha256=digest.hexdigest(), bytes=total, **gap.said,
            error=error or ("" if digest.hexdigest() == order["sha256"] else "SHA-256 differs"))

    def upload(self, job, order):
        size = os.path.getsize(order["file"])
        done = subprocess.run(self.curl(*self.pace(order), "--upload-file", order["file"], "--output", os.devnull,
                                        "--write-out", "%{size_upload}", f"http://{self.ip}{order['path']}"),
                              capture_output=True, text=True, check=False)
        say(job=job, kind="upload", ok=done.returncode == 0 and done.stdout.strip() == str(size), lost=done.returncode != 0,
            sha256=None, bytes=size, gap_ms=0, error=done.stderr.strip())

    def fetch(self, job, order):
        words = ["--request", order.get("method", "GET"), f"http://{self.ip}{order['path']}"]
        done = subprocess.run(self.curl(*words), capture_output=True, text=True, check=False)
        say(job=job, kind="fetch", ok=done.returncode == 0, lost=done.returncode != 0, body=done.stdout,
            bytes=len(done.stdout), gap_ms=0, error=done.stderr.strip())

    def probe(self, job, order):
        """Small requests on one connection until told to stop."""
        gap, count, total = Gap(), 0, 0
        request = f"GET /ping HTTP/1.1\r\nHost: {self.ip}\r\n\r\n".encode()
        with socket.create_connection((self.ip, 80), timeout=30) as conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.stopping.is_set():
                gap.begin()
                conn.sendall(request)
                total += self.response(conn)
                gap.tick()
                count += 1
                self.stopping.wait(order["every_ms"] / 1000)
        say(job=job, kind="probe", ok=count > 0, lost=False, bytes=total, requests=count, **gap.said, error="")

    @staticmethod
    def response(conn):
        data = b""
        while b"\r\n\r\n" not in data:
            data += Client.more(conn)
        head, body = data.split(b"\r\n\r\n", 1)
        want = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:"))
        while len(body) < want:
            body += Client.more(conn)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.split(b"\r\n")[0].decode())
        return len(head) + 4 + len(body)

    @staticmethod
    def more(conn):
        chunk = conn.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        return chunk


def main():
    client = Client(sys.argv[1])
    for job, line in enumerate(sys.stdin):
        order = json.loads(line)
        if order["do"] == "stop":
            client.stopping.set()
            for thread in client.jobs:
                thread.join()
            say(stopped=True)
        else:
            client.start(job, order)


main()
