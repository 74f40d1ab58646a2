#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""tcp-server in one process: what it serves, to whom, and how it ends."""
import os
import re
import signal
import socket
import time

import client
import lab
from tap import main, test

MIB = 1 << 20
SMALL = ["--ip", lab.SERVER + "/24", "--arena", "96", "--uploads", "32"]


def content(net, **files):
    """A folder with these files, for --content."""
    folder = net.folder / "content"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return ["--content", str(folder)]


def serve(net, *options, **files):
    return net.server("a", [*SMALL, *content(net, **files), *options], says="serving http://")


def status():
    return client.get_json("/status")


@test
def tcp_serve_says_where_and_ends_on_sigint(net):
    for _ in range(2):  # the second finds nothing of the first in its way
        server = net.server("a", SMALL)
        server.says(f"serving http://{lab.SERVER}/ as a")
        assert client.get_json("/ping")["server"] == "a"
        assert server.end() == 0, server.text()


@test
def tcp_serve_reads_its_keys_again_on_sighup(net):
    keys = net.folder / "psk"
    keys.touch(mode=0o600)
    keys.write_text("a:" + 32 * "1" + "\n")
    server = net.server("a", [*SMALL, "--tls-psk", str(keys)], says="serving http://")
    keys.write_text("this is none\n")
    server.process.send_signal(signal.SIGHUP)
    server.says("new keys are no good, those before stay in use")
    assert client.get_json("/ping")["server"] == "a"
    assert server.end() == 0, server.text()


@test
def tcp_serve_sends_files_as_often_as_asked(net):
    data = os.urandom(3 * MIB + 17)
    serve(net, big=data, empty=b"", one=b"x")
    assert client.get("/file/big") == data
    assert client.get("/file/big?repeat=3") == 3 * data
    assert client.get("/file/one?repeat=70000") == b"x" * 70000
    assert client.get("/file/empty?repeat=5") == b""
    assert status()["cache_bytes"] == len(data) + 1


@test
def tcp_serve_refuses_what_it_does_not_have(net):
    serve(net, one=b"x")
    for method, path, want in [
            ("GET", "/", 404), ("GET", "/file/none", 404), ("GET", "/file/", 404),
            ("GET", "/upload/none", 404), ("DELETE", "/upload/none", 404),
            ("GET", "/pingpong", 404), ("PUT", "/upload/", 404), ("PUT", "/file/one", 405),
            ("POST", "/ping", 405), ("GET", "/file/one?repeat=0", 400),
            ("GET", "/file/one?repeat=-1", 400), ("GET", "/file/one?repeat=99999999999999999999", 400),
            ("GET", "/file/" + "x" * 300, 414)]:
        got = client.request(method, path, b"body" if method in ("PUT", "POST") else None)[0]
        assert got == want, f"{method} {path}: {got}, not {want}"


@test
def tcp_serve_answers_head_without_a_body(net):
    serve(net, one=b"hello")
    reply = client.read_until(client.raw(b"HEAD /file/one?repeat=1000 HTTP/1.1\r\n\r\n"
                                         b"GET /file/one HTTP/1.1\r\nConnection: close\r\n\r\n"), b"\0")
    assert reply.count(b"HTTP/1.1 200") == 2 and b"Content-Length: 5000\r\n" in reply, reply[:500]
    assert reply.count(b"hello") == 1, reply[:500]


@test
def tcp_serve_keeps_a_connection_for_many_requests(net):
    serve(net, one=b"hello")
    conn = client.connect()
    for i in range(200):
        data = os.urandom(i * 7)
        assert client.get("/file/one", conn) == b"hello"
        assert client.request("PUT", "/upload/x", data, conn)[0] == 201
        assert client.get("/upload/x", conn) == data
    assert client.get_json("/ping")["connections"] == 2


@test
def tcp_serve_takes_requests_that_arrive_in_any_pieces(net):
    serve(net, one=b"hello")
    text = b"GET /file/one HTTP/1.1\r\n\r\nPUT /upload/x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" \
           b"GET /upload/x HTTP/1.1\r\nConnection: close\r\n\r\n"
    for piece in (len(text), 7, 1):
        s = client.raw(b"")
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(text), piece):
            s.sendall(text[at:at + piece])
        reply = client.read_until(s, b"\0")
        bodies = re.sub(rb"HTTP/1.1 20(?s:.*?)\r\n\r\n", b"|", reply)
        assert bodies == b"|hello|stored\n|abc", reply


@test
def tcp_serve_refuses_what_is_no_request_and_goes_on(net):
    serve(net, one=b"hello")
    for text, want in [(b"\r\n\r\n", b"400"), (b"GET / HTTP/3\r\n\r\n", b"505"),
                       (b"PUT /upload/x HTTP/1.1\r\n\r\n", b"411"),
                       (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431")]:
        reply = client.read_until(client.raw(text), b"\0")
        assert reply.startswith(b"HTTP/1.1 " + want), reply[:100]
    assert client.get("/file/one") == b"hello"
    assert status()["connections"] == 1


@test
def tcp_serve_64_clients_at_once(net):
    data = os.urandom(MIB)
    serve(net, big=data)
    downloads = [client.Download("big", 2) for _ in range(64)]
    for d in downloads:
        d.start()
    for d in downloads:
        d.join(60)
    want = client.sha(2 * data)
    wrong = [d.error or d.digest for d in downloads if d.digest != want]
    assert not wrong, f"{len(wrong)} of 64: {wrong[:3]}"


@test
def tcp_serve_waits_for_slow_readers_and_nobody_else_does(net):
    data = os.urandom(MIB)
    serve(net, big=data)
    slow = client.Download("big", 1, rate=200000)  # for 5 s: who waits for it waits for longer than a busy machine
    slow.start()
    probe = client.Probe()
    probe.start()
    time.sleep(1)
    probe.end()
    slow.join(30)
    assert slow.digest == client.sha(data), slow.error
    assert probe.error is None and probe.worst < 2, (probe.error, probe.worst)


@test
def tcp_serve_keeps_uploads_in_receive_buffers(net):
    data = os.urandom(5 * MIB)
    file = net.folder / "upload"
    file.write_bytes(data)
    serve(net)
    before = status()
    assert client.curl_upload(file, "x") == "201"
    after = status()
    assert client.get("/upload/x") == data
    # most segments are full: there are about as many buffers as it takes, and hardly a copy
    buffers = after["kept_buffers"] - before["kept_buffers"]
    assert len(data) / 1460 * 0.95 < buffers < len(data) / 700, buffers
    copied = after["state_bytes"] - before["state_bytes"]
    assert copied < len(data) / 4, copied


@test
def tcp_serve_gives_buffers_back_when_uploads_go(net):
    file = net.folder / "upload"
    serve(net)
    before = status()
    for round_ in range(3):
        file.write_bytes(os.urandom(4 * MIB))
        assert client.curl_upload(file, "x") == "201", round_
        assert client.sha(client.get("/upload/x")) == client.sha(file.read_bytes())
    assert status()["uploads"] == 1
    assert client.request("DELETE", "/upload/x")[0] == 200
    after = status()
    assert after["kept_buffers"] == 0 and after["uploads"] == 0
    assert after["state_bytes"] - before["state_bytes"] < 2 * MIB, (before, after)


@test
def tcp_serve_sends_an_upload_that_is_replaced_meanwhile(net):
    old, new = os.urandom(2 * MIB), os.urandom(2 * MIB)
    serve(net)
    assert client.request("PUT", "/upload/x", old)[0] == 201
    conn = client.connect()
    conn.request("GET", "/upload/x")
    reply = conn.getresponse()
    first = reply.read(1000)
    assert client.request("PUT", "/upload/x", new)[0] == 201
    assert first + reply.read() == old
    assert client.get("/upload/x") == new


@test
def tcp_serve_refuses_an_upload_that_does_not_fit(net):
    file = net.folder / "upload"
    file.write_bytes(bytes(20 * MIB))
    serve(net)
    assert client.curl_upload(file, "x") == "413"  # curl asks first
    assert client.curl_upload(file, "x", "-H", "Expect:") == "413"  # and here it sends
    conn = client.connect()
    assert client.request("PUT", "/upload/x", bytes(20 * MIB), conn)[0] == 413
    assert client.get("/ping", conn)  # the body was read past, the connection goes on
    assert status()["upload_bytes"] == 0


@test
def tcp_serve_forgets_an_upload_whose_client_vanishes(net):
    serve(net)
    head = b"PUT /upload/x HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n"
    for _ in range(5):
        s = client.raw(head + os.urandom(2 * MIB))
        lab.wait_for("bytes arrive", 5, lambda: status()["kept_buffers"] > 1000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()  # a reset
        lab.wait_for("buffers are back", 5, lambda: status()["kept_buffers"] == 0)
    assert client.request("GET", "/upload/x")[0] == 404


@test
def tcp_serve_churns_at_its_rate_and_stays_sound(net):
    net.server("a", [*SMALL, "--churn", "20", "--churn-table", "8", "--fill"], says="serving")
    for _ in range(5):  # a busy machine may make it less, but not each time
        begin, first = time.monotonic(), status()["churn"]["rewrites"]
        reports = [client.get_json("/churn") for _ in range(20) if not time.sleep(0.05)]
        rate = (status()["churn"]["rewrites"] - first) * 4096 / (time.monotonic() - begin) / MIB
        if rate > 15:
            break
    assert 15 < rate < 22, rate
    assert all(r["mismatches"] == 0 and r["entries"] == 2048 for r in reports), reports
    state = status()["state_bytes"]
    assert 94 * MIB < state < 100 * MIB, state


@test
def tcp_serve_sleeps_when_idle(net):
    server = serve(net)
    client.get("/ping")
    before = server.cpu_seconds()
    time.sleep(2)
    used = server.cpu_seconds() - before
    assert used < 0.3, used


@test
def tcp_serve_says_what_to_do_when_the_address_is_taken(net):
    # without randomization the program itself lies there
    net.wrapper = ["setarch", "-R", *net.wrapper]
    server = net.server("a", [*SMALL, "--arena-base", "0x555555400000"])
    assert server.wait() != 0
    assert "--arena-base" in server.text(), server.text()


@test
def tcp_serve_explains_bad_options(net):
    for options, words in [
            ([], "--ip"), (["--ip", "10.0.0.1"], "ADDRESS/BITS"), (["--ip", "10.0.0.1/33"], "--ip"),
            ([*SMALL, "--arena", "x"], "--arena"), ([*SMALL, "--uploads", "4096"], "--arena is too small"),
            ([*SMALL, "--content", "/nonexistent"], "/nonexistent"), ([*SMALL, "stray"], "stray"),
            ([*SMALL, "--arena-base", "4096"], "--arena-base"),
            ([*SMALL, "--control", "/nonexistent/socket"], "/nonexistent/socket"),
            ([*SMALL, "--iommu", "none"], "--iommu none" if net.plugin else "cannot be made"),
            (["--incoming", "pigeon:post"], "pigeon:post")]:
        server = net.server("a", options)
        assert server.wait() != 0, options
        assert words in server.text(), (options, server.text())


@test
def tcp_serve_says_when_content_does_not_fit(net):
    server = net.server("a", [*SMALL, *content(net, big=bytes(150 * MIB))])
    assert server.wait() != 0
    assert "--arena larger" in server.text(), server.text()


main(__doc__)
