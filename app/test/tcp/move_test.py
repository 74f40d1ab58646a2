#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""tcp-server in two processes: connections, content and uploads move under load."""
import hashlib
import json
import os
import socket
import subprocess
import time

import client
import lab
from tap import main, test

MIB = 1 << 20
UPLOADS = ["--arena", "128", "--uploads", "48"]
FIRST = ["--ip", lab.SERVER + "/24", *UPLOADS, "--churn", "20", "--churn-table", "32", "--fill"]


def serve(net, data):
    """The first owner, with a file "big" of @data."""
    folder = net.folder / "content"
    folder.mkdir()
    (folder / "big").write_bytes(data)
    return net.server("a", [*FIRST, "--content", str(folder)], says="serving http://")


def uri(net, name):
    return f"unix:{net.folder}/{name}.migration"


def stand_by(net, name, options=()):
    return net.server(name, [*UPLOADS, "--incoming", uri(net, name), *options],
                      says="waiting for a migration")


def migrate(net, source, to, *options):
    """Run wherry migrate; (exit status, its events)."""
    out = subprocess.run([net.wherry, "migrate", "--control", str(source.control), "--json",
                          *options, uri(net, to)],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False)
    lines = [line for line in out.stdout.decode().splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in lines]
    assert events, f"wherry migrate: {out.stdout.decode()}"
    return out.returncode, events


def move(net, source, to, *options):
    """Migrate, which must succeed; its last event. The source must then have ended."""
    status, events = migrate(net, source, to.name, *options)
    assert status == 0, (events[-1], source.text()[-1500:], to.text()[-1500:])
    to.says("serving http://")
    assert source.wait() == 0, source.text()[-1000:]
    assert "released: another process serves" in source.text()
    return events


def rounds_of(events):
    return [e for e in events if e.get("event") == "round"]


class Load:
    """Downloads, uploads and a probe that last longer than what happens meanwhile."""

    def __init__(self, data, seconds):
        rate = 3 * MIB
        repeat = int(seconds * rate / len(data)) + 1
        self.want = hashlib.sha256(data * repeat).hexdigest()
        self.downloads = [client.Download("big", repeat, rate) for _ in range(6)]
        self.uploads = [client.Upload(f"during{i}", os.urandom(int(seconds * MIB)), MIB) for i in range(2)]
        self.probe = client.Probe()
        for thread in (*self.downloads, *self.uploads, self.probe):
            thread.start()
        lab.wait_for("load", 10, lambda: all(t.have > MIB // 2 for t in self.downloads + self.uploads))

    def still_going(self):
        return all(t.is_alive() for t in (*self.downloads, *self.uploads, self.probe))

    def check(self):
        """Everything came through, over the connections it began on."""
        for t in (*self.downloads, *self.uploads):
            t.join(60)
        self.probe.end()
        errors = [t.error for t in (*self.downloads, *self.uploads, self.probe) if t.error]
        assert not errors, errors
        wrong = [d.have for d in self.downloads if d.digest != self.want]
        assert not wrong, f"{len(wrong)} downloads differ"
        for u in self.uploads:
            assert u.status == 201, u.status
            assert client.sha(client.get("/upload/" + u.name)) == client.sha(u.data), u.name


@test
def tcp_move_under_load_loses_nothing(net):
    data, before = os.urandom(2 * MIB), os.urandom(6 * MIB)
    a = serve(net, data)
    b = stand_by(net, "b")
    assert client.request("PUT", "/upload/before", before)[0] == 201
    load = Load(data, 8)
    events = move(net, a, b, "--verify")
    assert load.still_going(), "the load ended before the migration: nothing was shown"
    load.check()
    assert client.get("/upload/before") == before
    ping, churn = client.get_json("/ping"), client.get_json("/churn")
    assert ping["server"] == "b" and ping["epoch"] == 1, ping
    assert churn["mismatches"] == 0 and churn["entries"] == 32 * MIB / 4096, churn
    rounds = rounds_of(events)
    assert sum(r["iommu_dirty_pages"] for r in rounds) > 0, rounds
    assert sum(r["cpu_dirty_pages"] for r in rounds) > 0, rounds
    end = events[-1]
    print(f"# blackout {end['blackout_ms']:.1f} ms, worst answer {load.probe.worst * 1000:.1f} ms, "
          f"{len(rounds)} rounds, {end['bytes_sent'] / MIB:.0f} MiB", flush=True)
    assert end["blackout_ms"] < 500 and load.probe.worst < 2, (end, load.probe.worst)


@test
def tcp_move_again_and_again(net):
    data = os.urandom(MIB)
    source = serve(net, data)
    load = Load(data, 12)
    for i, name in enumerate(["b", "c", "d"]):
        to = stand_by(net, name)
        move(net, source, to)
        assert client.get_json("/ping")["epoch"] == i + 1
        source = to
    load.check()
    assert client.get_json("/churn")["mismatches"] == 0
    for u in load.uploads:
        assert client.request("DELETE", "/upload/" + u.name)[0] == 200
    assert client.get_json("/status")["kept_buffers"] == 0


@test
def tcp_move_of_an_idle_server_with_idle_clients(net):
    a = serve(net, b"hello")
    b = stand_by(net, "b")
    idle = client.connect()
    assert client.get("/file/big", idle) == b"hello"
    half = client.raw(b"GET /file/big HT")
    move(net, a, b)
    half.sendall(b"TP/1.1\r\nConnection: close\r\n\r\n")
    assert client.read_until(half, b"\0").endswith(b"hello")
    begin = time.monotonic()
    assert client.get("/file/big", idle) == b"hello"
    assert time.monotonic() - begin < 1
    before = b.cpu_seconds()
    time.sleep(1)
    assert b.cpu_seconds() - before < 0.3  # the churn goes on, and nothing spins


def sniff(seconds, sniffer):
    """The frames the server sends in that time, as (milliseconds, bytes)."""
    begin = time.monotonic()
    frames = []
    while (left := begin + seconds - time.monotonic()) > 0:
        sniffer.settimeout(left)
        try:
            frame, address = sniffer.recvfrom(2048)
        except TimeoutError:
            break
        if address[2] != socket.PACKET_OUTGOING:
            frames.append(((time.monotonic() - begin) * 1000, frame))
    return frames


@test
def tcp_move_announces_itself_to_the_link_and_to_idle_clients(net):
    a = net.server("a", ["--ip", lab.SERVER + "/24", *UPLOADS], says="serving http://")
    b = stand_by(net, "b")
    idle = client.connect()
    client.get("/ping", idle)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        sniffer.bind(("tap-b", 0))
        move(net, a, b)
        frames = sniff(1.3, sniffer)
    arps = [f for f in frames if f[1][12:14] == b"\x08\x06"
            and f[1][28:32] == f[1][38:42] == socket.inet_aton(lab.SERVER)]
    rarps = [f for f in frames if f[1][12:14] == b"\x80\x35" and f[1][6:12] == f[1][22:28] == f[1][32:38]]
    acks = [f for f in frames if f[1][12:14] == b"\x08\x00" and f[1][23] == 6]
    assert len(arps) == len(rarps) == 5, (len(arps), len(rarps))
    assert len(acks) >= 4 and acks[3][0] < 500, acks


@test
def tcp_move_sends_again_what_was_under_way(net):
    a = serve(net, os.urandom(4 * MIB))
    fast = [client.Download("big", 150) for _ in range(3)]  # as fast as it goes, nothing buffered
    for f in fast:
        f.start()
    b = stand_by(net, "b")
    move(net, a, b)
    assert all(f.is_alive() for f in fast), "the downloads ended before the migration"
    have = [f.have for f in fast]
    lab.wait_for("all go on", 10, lambda: all(f.have > h for f, h in zip(fast, have)))
    worst = max(f.worst for f in fast)
    print(f"# worst gap in a download {worst * 1000:.1f} ms", flush=True)
    assert worst < 0.4, worst


@test
def tcp_move_that_loses_its_destination_goes_on_at_the_source(net):
    data = os.urandom(2 * MIB)
    a = serve(net, data)
    b = stand_by(net, "b")
    load = Load(data, 6)
    command = [net.wherry, "migrate", "--control", str(a.control), "--json", "--max-bandwidth", "20M",
               "--copy", "--pause-limit", "0", uri(net, "b")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as mover:
        time.sleep(1)
        b.process.kill()
        assert mover.wait(30) != 0
    load.check()
    ping = client.get_json("/ping")
    assert ping["server"] == "a" and ping["epoch"] == 0, ping
    assert client.get_json("/churn")["mismatches"] == 0
    c = stand_by(net, "c")  # and it can be moved after all
    move(net, a, c)
    assert client.get_json("/ping")["server"] == "c"


@test
def tcp_move_that_loses_its_source_ends_the_destination(net):
    a = serve(net, os.urandom(MIB))
    b = stand_by(net, "b")
    command = [net.wherry, "migrate", "--control", str(a.control), "--json", "--max-bandwidth", "20M",
               "--copy", "--pause-limit", "0", uri(net, "b")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as mover:
        time.sleep(1)
        a.process.kill()
        mover.wait(30)
    assert b.wait(30) != 0
    assert "nothing was taken over" in b.text(), b.text()[-1000:]


@test
def tcp_move_to_another_shape_is_refused_by_name(net):
    a = serve(net, b"hello")
    for options, words in [(["--uploads", "40"], "--uploads"), (["--arena", "160"], "state")]:
        b = stand_by(net, "b", options)
        status, events = migrate(net, a, "b")
        assert status != 0, events[-1]
        assert b.wait() != 0
        assert words in b.text(), b.text()[-1000:]
    assert client.get("/file/big") == b"hello"


@test
def tcp_move_waiting_server_ends_on_sigint(net):
    b = stand_by(net, "b")
    assert b.end() == 0, b.text()[-1000:]


main(__doc__, needs_plugin=True)
