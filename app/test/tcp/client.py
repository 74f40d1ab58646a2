# SPDX-License-Identifier: BSD-3-Clause
"""Clients of tcp-server: the kernel's TCP, and a few lines of HTTP."""
import hashlib
import http.client
import json
import socket
import subprocess
import threading
import time

import lab

TIMEOUT = 30


def connect():
    return http.client.HTTPConnection(lab.SERVER, timeout=TIMEOUT)


def request(method, path, body=None, conn=None):
    """(status, body) of one request; on @conn, which stays open, if given."""
    mine = conn or connect()
    mine.request(method, path, body)
    reply = mine.getresponse()
    data = reply.read()
    if conn is None:
        mine.close()
    return reply.status, data


def get(path, conn=None):
    """The body, which must come with 200."""
    status, data = request("GET", path, conn=conn)
    assert status == 200, f"GET {path}: {status}"
    return data


def get_json(path):
    return json.loads(get(path))


def sha(data):
    return hashlib.sha256(data).hexdigest()


def raw(data):
    """A socket over which @data was sent."""
    s = socket.create_connection((lab.SERVER, 80), timeout=TIMEOUT)
    s.sendall(data)
    return s


def read_until(s, end):
    data = b""
    while not data.endswith(end):
        more = s.recv(65536)
        if not more:
            break
        data += more
    return data


def curl_upload(path, name, *options):
    """What curl -T prints as the status; it asks with Expect: 100-continue."""
    out = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-m", "60",
                          *options, "-T", path, f"http://{lab.SERVER}/upload/{name}"],
                         stdout=subprocess.PIPE, check=False)
    return out.stdout.decode()


class Download(threading.Thread):
    """Reads /file/NAME?repeat=K at about @rate bytes per second, hashing what comes;
    without a rate as fast as it goes, and then worst is the longest wait for bytes."""

    def __init__(self, name, repeat, rate=None):
        super().__init__(daemon=True)
        self.path = f"/file/{name}?repeat={repeat}"
        self.rate = rate
        self.have = 0
        self.worst = 0.0
        self.digest = None
        self.error = None

    def run(self):
        try:
            self.digest = self.read()
        except (OSError, http.client.HTTPException) as e:
            self.error = repr(e)

    def read(self):
        conn = connect()
        begin = time.monotonic()
        conn.request("GET", self.path)
        reply = conn.getresponse()
        digest = hashlib.sha256()
        last = time.monotonic()
        while data := reply.read(65536):
            self.worst = max(self.worst, time.monotonic() - last)
            self.have += len(data)
            digest.update(data)
            ahead = self.have / self.rate - (time.monotonic() - begin) if self.rate else 0
            if ahead > 0:
                time.sleep(ahead)
            last = time.monotonic()
        conn.close()
        return digest.hexdigest()


class Upload(threading.Thread):
    """Sends @data to /upload/NAME at about @rate bytes per second."""

    def __init__(self, name, data, rate):
        super().__init__(daemon=True)
        self.name, self.data, self.rate = name, data, rate
        self.have = 0
        self.status = None
        self.error = None

    def pieces(self):
        begin = time.monotonic()
        for at in range(0, len(self.data), 16384):
            piece = self.data[at:at + 16384]
            self.have = at + len(piece)
            yield piece
            ahead = self.have / self.rate - (time.monotonic() - begin)
            if ahead > 0:
                time.sleep(ahead)

    def run(self):
        conn = connect()
        try:
            conn.request("PUT", "/upload/" + self.name, self.pieces(),
                         {"Content-Length": str(len(self.data))})
            self.status = conn.getresponse().status
        except (OSError, http.client.HTTPException) as e:
            self.error = repr(e)


class Probe(threading.Thread):
    """A small request every few ms over one connection; remembers the longest wait."""

    def __init__(self):
        super().__init__(daemon=True)
        self.going = True
        self.requests = 0
        self.worst = 0.0
        self.error = None

    def run(self):
        conn = connect()
        try:
            while self.going:
                begin = time.monotonic()
                get("/ping", conn)
                self.worst = max(self.worst, time.monotonic() - begin)
                self.requests += 1
                time.sleep(0.003)
        except (OSError, AssertionError, http.client.HTTPException) as e:
            self.error = repr(e)

    def end(self):
        self.going = False
        self.join(TIMEOUT)
