#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What real programs say when something is not as they need it: what is wrong, and the remedy.

Usage: [WHERRY_BUILD=build] app/test/whole/messages.py [TEST-PREFIX...], as root.

A peer of another stream version, no hugepages, no root, a kernel without PAGEMAP_SCAN. Wrong
URIs and nobody listening are in failures.py, a taken address is in app/test/tcp. Nobody crashes,
and nothing is left behind.
"""
import atexit
import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(HERE + "/../../..")
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from hugepages import free_hugepages
from load import MIB, Content, Load
from net import SERVER_IP, Network, isolate
from server import Server
from tap import Skip, expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
WHERRY = os.path.join(BUILD, "app/wherry/wherry")
TCP_SERVER = os.path.join(BUILD, "examples/tcp-server/tcp-server")
if (reason := isolate()) is not None:
    skip_all(reason)
ARENA = 96
SMALL = ("--churn-table", "16", "--uploads", "16")
work = tempfile.mkdtemp(prefix="wherry-messages-")
atexit.register(shutil.rmtree, work, True)
network = Network(wires=2, mbit=200)
content = Content(work, files=1, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())
port = 7700


def serve(name, wire, **how):
    return Server(BUILD, name, wire, work, arena_mib=ARENA, **{"extra": SMALL, **how})


@contextlib.contextmanager
def pair(**how):
    """A serving A and a waiting B; nothing of them is there afterwards."""
    global port  # pylint: disable=global-statement
    port += 1
    made = []
    try:
        made.append(serve(f"A{port}", "w0", content=work, **how).wait_ready())
        made.append(serve(f"B{port}", "w1", incoming=f"tcp:127.0.0.1:{port}", **how).wait_ready())
        yield made
    finally:
        for server in made:
            server.stop()
    nothing_is_left()


def nothing_is_left():
    """Of programs that have ended, in a /run of our own."""
    left = [os.path.join(folder, name) for folder, _, files in os.walk("/run") for name in files
            if name.endswith(".sock")]
    expect(not left, f"left behind: {left}")


def run(*words, **how):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60, **how)
    return done.returncode, done.stdout


def says(text, *words):
    for word in words:
        expect(word in text, f"no \"{word}\" in: {text}")


def ends_with_reason(server, *words):
    expect(server.wait(30) not in (None, 0), f"{server.name} does not end, or with 0:\n{server.tail()}")
    expect(server.process.returncode > 0, f"{server.name} was ended by signal {-server.process.returncode}:\n{server.tail(40)}")
    says(server.tail(40), *words)


class OtherFormat:
    """Passes a connection on; who answers or asks over it says in its hello that it speaks format 3."""

    FORMAT = 3

    def __init__(self, to, from_source):
        self.to, self.from_source, self.sock = to, from_source, socket.create_server(("127.0.0.1", 0))
        self.uri = f"tcp:127.0.0.1:{self.sock.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        source, _ = self.sock.accept()
        dest = socket.create_connection(("127.0.0.1", int(self.to.rsplit(":", 1)[1])))
        threading.Thread(target=self.copy, args=(dest, source, not self.from_source), daemon=True).start()
        self.copy(source, dest, self.from_source)

    def copy(self, a, b, change):
        with contextlib.suppress(OSError):
            if change:
                b.sendall(self.hello(a))
            while data := a.recv(1 << 20):
                b.sendall(data)
        for sock in (a, b):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @classmethod
    def hello(cls, sock):
        """doc/stream_format.rst: the first record, with another number in field 1 and the sums that it then has."""
        head = sock.recv(32, socket.MSG_WAITALL)
        payload = bytearray(sock.recv(struct.unpack_from("<I", head, 16)[0], socket.MSG_WAITALL))
        at = 0
        while struct.unpack_from("<H", payload, at)[0] != 1:
            at += 8 + struct.unpack_from("<I", payload, at + 4)[0]
        struct.pack_into("<Q", payload, at + 8, cls.FORMAT)
        xxhash = ctypes.CDLL("libxxhash.so.0")
        xxhash.XXH3_64bits.restype = xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
        seed = ctypes.c_uint64(xxhash.XXH3_64bits(head[:24], ctypes.c_size_t(24)))
        total = xxhash.XXH3_64bits_withSeed(bytes(payload), ctypes.c_size_t(len(payload)), seed)
        return head[:24] + struct.pack("<Q", total) + payload


def migrate_to_other_format(owner, heir, from_source):
    status, said = run(*owner.wherry("migrate", OtherFormat(heir.incoming, from_source).uri))
    expect(status == 1, f"status {status}: {said}")
    says(said, "stream format 3", "run the same version of Wherry on both")
    expect(owner.status()["state"] == "serving", owner.tail())
    for done in load.wait_done([load.download(content, "c0", 1)]):
        expect(done["ok"], done)


def source_of_another_stream_version_is_refused():
    with pair() as (owner, heir):
        migrate_to_other_format(owner, heir, True)
        ends_with_reason(heir, "stream format 3", "run the same version of Wherry on both")


def destination_of_another_stream_version_is_refused():
    with pair() as (owner, heir):
        migrate_to_other_format(owner, heir, False)
        ends_with_reason(heir, "run the same version of Wherry on both")


def no_hugepages_is_said_and_small_pages_do():
    if free_hugepages() >= ARENA // 2:
        raise Skip("this machine has free hugepages")
    with contextlib.ExitStack() as stack:
        server = serve("huge", "w0", content=work, extra=(*SMALL, "--hugepages"))
        stack.callback(server.stop)
        server.wait_ready()
        with open(server.log) as log:
            says(log.read(), "4 KiB pages instead", "hugepages of 2 MiB wanted", "echo ", "/hugepages-2048kB/nr_hugepages")
    nothing_is_left()


def no_hugepages_for_eal_is_said():
    if free_hugepages() > 0:
        raise Skip("this machine has free hugepages")
    status, said = run(TCP_SERVER, "--no-pci", "--file-prefix", "none", "--no-telemetry", "--", "--ip", f"{SERVER_IP}/24")
    expect(status == 1, f"status {status}: {said}")
    says(said, "EAL does not start", "--no-huge")
    nothing_is_left()


def no_root_is_said_by_the_scripts():
    """Root of nothing: a user namespace without a user."""
    nobody = ("unshare", "--user")
    if run(*nobody, "true")[0] != 0:
        raise Skip("no user namespaces: sysctl user.max_user_namespaces")
    for words in (["devtools/demo"], ["devtools/test", "demo", "--no-packages"], [sys.executable, "devtools/lab/demo.py"]):
        status, said = run(*nobody, *words, cwd=ROOT, env={**os.environ, "WHERRY_BUILD": BUILD})
        expect((status == 0) == (words[0] == "devtools/test"), f"{words}: status {status}: {said}")
        says(said, "not root", "sudo")
    with contextlib.ExitStack() as stack:
        server = serve("nobody", "new", content=work, inside=nobody)
        stack.callback(server.stop)
        ends_with_reason(server, "wire=tap=new", "needs root or CAP_NET_ADMIN")
    nothing_is_left()


def others_may_not_use_the_control_socket():
    """Another user's command, from where that user may read it."""
    folder = os.path.join(work, "public")
    os.mkdir(folder)
    for path in (work, folder):
        os.chmod(path, 0o755)
    shutil.copy(WHERRY, folder)
    for name in os.listdir(BUILD):
        if name.startswith("libwherry.so.") and os.path.isfile(os.path.join(BUILD, name)):
            shutil.copy(os.path.join(BUILD, name), folder)
    os.chmod("/run", 0o755)
    with contextlib.ExitStack() as stack:
        server = serve("mine", "w0", content=work)
        stack.callback(server.stop)
        server.wait_ready()
        status, said = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", f"LD_LIBRARY_PATH={folder}",
                           os.path.join(folder, "wherry"), "status", "--app", "mine")
        expect(status == 1, f"status {status}: {said}")
        says(said, "not permitted", "as root")
        expect(server.status()["state"] == "serving", server.tail())


def kernel_without(*calls):
    """The words before a command whose kernel lacks these."""
    return (sys.executable, os.path.join(HERE, "old_kernel.py"), ",".join(calls))


def migrate_on(kernel, source, *words):
    """Both sides on such a kernel: each says what it takes instead and why, and all bytes arrive."""
    status, said = run(*kernel, WHERRY, "info")
    expect(status == 0, said)
    says(said, f"CPU writes       {source}", *words)
    with pair(inside=kernel, extra=(*SMALL, "--fill")) as (owner, heir):
        body = os.path.join(work, "body")
        with open(body, "wb") as out:
            out.write(os.urandom(4 * MIB))
        jobs = [load.download(content, "c0", 20)]
        load.wait_moving(jobs, MIB)
        upload = load.order("upload", file=body, path="/upload/body")
        status, said = run(*owner.wherry("migrate", "--verify", heir.incoming))
        expect(status == 0, said + owner.tail() + heir.tail())
        jobs += [upload, load.order("fetch", path="/churn")]
        for done in load.wait_done(jobs, 60):
            expect(done["ok"], done)
            expect(done["kind"] != "fetch" or '"mismatches": 0' in done["body"] or '"mismatches":0' in done["body"], done)
        digest = subprocess.run(["sha256sum", body], capture_output=True, text=True, check=True).stdout.split()[0]
        for done in load.wait_done([load.order("download", path="/upload/body", sha256=digest)], 60):
            expect(done["ok"], done)
        for server in (owner, heir):
            with open(server.log) as log:
                says(log.read(), f"CPU writes by {source}", *words)


def kernel_without_pagemap_scan_is_said_and_served():
    migrate_on(kernel_without("PAGEMAP_SCAN"), "wp-sync", "no PAGEMAP_SCAN", "Linux 6.7")


def kernel_without_userfaultfd_is_said_and_served():
    migrate_on(kernel_without("PAGEMAP_SCAN", "userfaultfd"), "hash", "no userfaultfd in this kernel", "Linux 6.7")


main([
    source_of_another_stream_version_is_refused, destination_of_another_stream_version_is_refused,
    no_hugepages_is_said_and_small_pages_do, no_hugepages_for_eal_is_said, no_root_is_said_by_the_scripts,
    others_may_not_use_the_control_socket, kernel_without_pagemap_scan_is_said_and_served,
    kernel_without_userfaultfd_is_said_and_served,
])
