#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Whole-path failures: real servers, real clients, and somebody dies or lies.

Usage: [WHERRY_BUILD=build] app/test/whole/failures.py [TEST-PREFIX...], as root.

The property behind each: before COMMIT nothing that happens to the destination or
the network hurts the source or its clients, and whoever gives up says why.
"""
import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.abspath(__file__)) + "/../../.."
sys.path.insert(0, os.path.join(ROOT, "devtools/lab"))
# pylint: disable=wrong-import-position
from hugepages import free_hugepages
from load import MIB, Content, Load
from net import SERVER_IP, Network, isolate
from server import Server
from tap import Skip, expect, main, skip_all

BUILD = os.path.abspath(os.environ.get("WHERRY_BUILD", os.path.join(ROOT, "build")))
if (reason := isolate()) is not None:
    skip_all(reason)
ARENA = 128
HUGEPAGES = 100  # that a server with --hugepages takes, and some
SMALL = ("--churn-table", "16", "--uploads", "16")
work = tempfile.mkdtemp(prefix="wherry-failures-")
atexit.register(shutil.rmtree, work, True)
network = Network(wires=2, mbit=200)
content = Content(work, files=2, mib=4)
load = Load(network, SERVER_IP)
atexit.register(lambda: network.client.kill())
port = 7100


def uri():
    global port  # pylint: disable=global-statement
    port += 1
    return f"tcp:127.0.0.1:{port}"


@contextlib.contextmanager
def pair(incoming=None):
    """A serving A and a waiting B, ended on the way out."""
    made = []
    try:
        made.append(Server(BUILD, f"A{port}", "w0", work, content=work, arena_mib=ARENA, extra=SMALL).wait_ready())
        made.append(Server(BUILD, f"B{port}", "w1", work, incoming=incoming or uri(), arena_mib=ARENA, extra=SMALL).wait_ready())
        yield made
    finally:
        for server in made:
            server.stop()


def migrate(owner, to, *words):
    """A connection that is lost ends it unless words say otherwise."""
    words = ("--pause-limit=0", *words)
    return subprocess.Popen(owner.wherry("migrate", to, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def clients_finish(jobs):
    for result in load.wait_done(jobs, 60):
        expect(result["ok"], f"{result['kind']}: {result['error']}")


def still_serves(owner, jobs):
    clients_finish(jobs)
    clients_finish([load.download(content, "c0", 1)])
    expect(owner.status()["state"] == "serving", f"state is {owner.status()['state']}")


def kill_destination_when(reached):
    """Kill B when the migration's status says so; A and its clients go on."""
    with pair() as (owner, heir):
        jobs = [load.download(content, name, 8) for name in content.names]
        load.wait_moving(jobs, MIB)
        command = migrate(owner, heir.incoming, "--max-bandwidth", str(60 * MIB))
        end = time.monotonic() + 20
        while not reached(owner.status()) and command.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        expect(command.poll() is None, "the migration was over before B could be killed")
        heir.process.kill()
        said, _ = command.communicate(timeout=30)
        expect(command.returncode not in (0, None), f"migrate claims success: {said}")
        expect(said.strip(), "migrate did not say why it failed")
        still_serves(owner, jobs)


def destination_killed_at_setup():
    kill_destination_when(lambda status: status["state"] != "serving")


def destination_killed_in_first_round():
    kill_destination_when(lambda status: status["state"] == "precopy")


def destination_killed_in_a_later_round():
    kill_destination_when(lambda status: status["state"] == "precopy" and status["rounds"] >= 1)


def source_killed_before_commit():
    """B says why it gives up and exits non-zero."""
    with pair() as (owner, heir):
        command = migrate(owner, heir.incoming, "--max-bandwidth", str(30 * MIB))
        while owner.status()["state"] != "precopy":
            time.sleep(0.01)
        owner.process.kill()
        command.communicate(timeout=30)
        expect(heir.wait(30) not in (0, None), f"B ended with {heir.process.returncode}")
        expect("source" in heir.tail() or "connection" in heir.tail(), f"B does not say why:\n{heir.tail()}")


class Corruptor:
    """Passes a TCP connection on and turns one bit at byte `at` of what the source sends."""

    def __init__(self, to, at):
        self.to, self.at, self.sock = to, at, socket.create_server(("127.0.0.1", 0))
        self.uri = f"tcp:127.0.0.1:{self.sock.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        source, _ = self.sock.accept()
        dest = socket.create_connection(("127.0.0.1", int(self.to.rsplit(":", 1)[1])))
        threading.Thread(target=self.copy, args=(dest, source, None), daemon=True).start()
        self.copy(source, dest, self.at)

    @staticmethod
    def copy(a, b, at):
        seen = 0
        with contextlib.suppress(OSError):
            while data := a.recv(1 << 20):
                if at is not None and seen <= at < seen + len(data):
                    data = bytearray(data)
                    data[at - seen] ^= 0x10
                seen += len(data)
                b.sendall(data)
        for sock in (a, b):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def migrate_corrupted(owner, heir, at, *words):
    """Through a corruptor; B, who reads it, names the record, and A serves on."""
    jobs = [load.download(content, name, 4) for name in content.names]
    load.wait_moving(jobs, MIB)
    command = migrate(owner, Corruptor(heir.incoming, at).uri, "--channels=1", *words)
    said, _ = command.communicate(timeout=60)
    expect(command.returncode != 0, f"migrate claims success: {said}")
    expect(said.strip(), "A does not say why")
    expect("record" in heir.tail(), f"B does not name the record:\n{heir.tail()}")
    still_serves(owner, jobs)


def corrupted_greeting_is_refused():
    """B has promised nothing to such a peer: it waits on, and takes the next one."""
    with pair() as (owner, heir):
        migrate_corrupted(owner, heir, 20)
        said, _ = (command := migrate(owner, heir.incoming)).communicate(timeout=60)
        expect(command.returncode == 0, said)


def corrupted_page_is_refused():
    """With a limit of bandwidth a page is copied before it is hashed: what arrives is that, or somebody's."""
    with pair() as (owner, heir):
        migrate_corrupted(owner, heir, 3 * MIB + 77, f"--max-bandwidth={60 * MIB}")
        expect(heir.wait(20) not in (0, None), "B should have given up")


def corrupted_live_page_is_sent_again():
    """A page sent from where it lies may have been written meanwhile: what arrives otherwise is asked for again."""
    with pair() as (owner, heir):
        jobs = [load.download(content, name, 4) for name in content.names]
        load.wait_moving(jobs, MIB)
        command = migrate(owner, Corruptor(heir.incoming, 3 * MIB + 77).uri, "--channels=1", "--verify")
        said, _ = command.communicate(timeout=60)
        expect(command.returncode == 0, said)
        clients_finish(jobs)
        clients_finish([load.download(content, "c0", 1)])
        expect(heir.status()["state"] == "serving", heir.tail())


class Cutter(Corruptor):
    """Passes a TCP connection on and cuts it after `at` bytes of what the source sends."""

    @staticmethod
    def copy(a, b, at):
        seen = 0
        with contextlib.suppress(OSError):
            while (at is None or seen < at) and (data := a.recv(1 << 20)):
                seen += len(data)
                b.sendall(data)
        for sock in (a, b):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def lost_connection_is_recovered_under_load():
    """Cut twice; A's clients are served while it is paused, and by B in the end, all bytes right."""
    with pair() as (owner, heir):
        jobs = [load.download(content, name, 24) for name in content.names]
        load.wait_moving(jobs, MIB)
        command = migrate(owner, Cutter(heir.incoming, 5 * MIB).uri, "--channels=1", "--pause-limit=60000",
                          f"--max-bandwidth={50 * MIB}", "--verify")
        owner.await_state("paused")
        heir.await_state("held")
        clients_finish([load.download(content, "c0", 1)])
        said = subprocess.run(owner.wherry("recover", Cutter(heir.incoming, MIB).uri), capture_output=True, text=True,
                              check=False, timeout=60)
        expect(said.returncode == 1 and "paused" in said.stdout, said.stdout + said.stderr)
        done = subprocess.run(owner.wherry("recover", heir.incoming), capture_output=True, text=True, check=False,
                              timeout=60)
        expect(done.returncode == 0 and "completed" in done.stdout, done.stdout + done.stderr)
        text, _ = command.communicate(timeout=60)
        expect(command.returncode == 0, text)
        clients_finish(jobs)
        expect(heir.status()["state"] == "serving", heir.tail())


def nobody_listening_is_said():
    with pair() as (owner, _):
        command = migrate(owner, "tcp:127.0.0.1:9")
        said, _ = command.communicate(timeout=20)
        expect(command.returncode != 0 and "refused" in said, said)
        expect("incoming" in said, f"no remedy in: {said}")
        still_serves(owner, [])


def wrong_uri_is_said():
    with pair() as (owner, _):
        for bad in ("tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:70000", "carrier-pigeon:coop", ""):
            command = migrate(owner, bad)
            said, _ = command.communicate(timeout=20)
            expect(command.returncode != 0 and "tcp:HOST:PORT" in said, f"{bad!r}: {said}")
        still_serves(owner, [])


def another_version_is_refused():
    """A peer that greets with something else is refused by name, and A goes on."""
    with pair() as (owner, _):
        sock = socket.create_server(("127.0.0.1", 0))

        def answer():
            conn, _ = sock.accept()
            conn.recv(65536)
            conn.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 4)
            time.sleep(1)
            conn.close()

        threading.Thread(target=answer, daemon=True).start()
        command = migrate(owner, f"tcp:127.0.0.1:{sock.getsockname()[1]}")
        said, _ = command.communicate(timeout=20)
        expect(command.returncode != 0 and "record" in said, said)
        still_serves(owner, [])


def cancel_in_precopy_leaves_the_source_serving():
    with pair() as (owner, heir):
        jobs = [load.download(content, name, 4) for name in content.names]
        command = migrate(owner, heir.incoming, "--max-bandwidth", str(20 * MIB))
        while owner.status()["state"] != "precopy":
            time.sleep(0.01)
        done = subprocess.run(owner.wherry("cancel"), capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stderr)
        said, _ = command.communicate(timeout=20)
        expect(command.returncode != 0 and "cancel" in said, said)
        still_serves(owner, jobs)


def another_build_of_lwip():
    """Its folder: the same bytes but for one of the build-id, whose note says that it is 20 bytes of GNU's."""
    library = os.path.join(work, "other", "liblwip.so.0")
    listed = subprocess.run(["ldd", os.path.join(BUILD, "examples/tcp-server/tcp-server")], capture_output=True, text=True, check=True)
    found = next(line.split()[2] for line in listed.stdout.splitlines() if line.split()[0] == "liblwip.so.0")
    with open(found, "rb") as source:
        code = bytearray(source.read())
    code[code.index(b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0") + 16] ^= 0xff
    os.mkdir(os.path.dirname(library))
    with open(library, "wb") as copy:
        copy.write(code)
    return os.path.dirname(library)


def refused_by_name(differences):
    """One difference at a time between two programs: (what both have to say, how the second is started)."""
    with contextlib.ExitStack() as stack:
        owner = Server(BUILD, "A-same", "w0", work, content=work, arena_mib=ARENA, extra=SMALL).wait_ready()
        stack.callback(owner.stop)
        for word, how in differences:
            how = {"arena_mib": ARENA, "extra": SMALL, **how}
            heir = Server(BUILD, f"B-{port}", "w1", work, incoming=uri(), **how).wait_ready()
            stack.callback(heir.stop)
            said, _ = migrate(owner, heir.incoming).communicate(timeout=20)
            expect(word in said, f"no {word} in: {said}")
            expect(heir.wait() not in (None, 0) and word in heir.tail(), heir.tail())
        still_serves(owner, [])


def what_differs_is_refused_by_name():
    """Before the first byte of memory; of what is compared, all that two programs on one machine can differ in."""
    refused_by_name([
        ("length", {"arena_mib": ARENA + 64}),
        ("same address", {"extra": (*SMALL, "--arena-base", "0x553000000000")}),
        ("arbiter", {"extra": (*SMALL, "--arbiter", f"lock:{work}/owner")}),
        ("build-id", {"inside": ("env", f"LD_LIBRARY_PATH={another_build_of_lwip()}")}),
        ("section \"tcp-server\": version", {"inside": ("env", f"LD_PRELOAD={BUILD}/app/test/whole/libother_version.so")}),
        ("--uploads 16 at the source, 24", {"extra": (*SMALL, "--uploads", "24")}),
        # of a port that can have no other than its own
        ("section \"wherry.ports\": port 0 has MAC address", {"vdev": "net_ring0"}),
        ("dirty bit of the IOMMU", {"vdev": "net_wherry0,wire=tap=w1,iommu=soft:leaf=2m"}),
    ])


def another_page_size_is_refused_by_name():
    if free_hugepages() < HUGEPAGES:
        raise Skip(f"{free_hugepages()} free hugepages of 2 MiB, not {HUGEPAGES}: devtools/with-hugepages {HUGEPAGES} {sys.argv[0]}")
    refused_by_name([("page size", {"extra": (*SMALL, "--hugepages")})])


def idle_server_does_not_burn_a_core():
    """Nothing but polling cores may busy-wait, and an idle polling core sleeps on its interrupt."""
    with pair() as (_, heir):
        def busy():
            with open(f"/proc/{heir.pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = busy()
        time.sleep(2)
        expect(busy() - before < 0.2, f"{busy() - before:.2f} s of CPU in 2 s of waiting")


main([
    destination_killed_at_setup, destination_killed_in_first_round, destination_killed_in_a_later_round,
    source_killed_before_commit, corrupted_greeting_is_refused, corrupted_page_is_refused,
    corrupted_live_page_is_sent_again,
    nobody_listening_is_said, wrong_uri_is_said, another_version_is_refused,
    lost_connection_is_recovered_under_load, cancel_in_precopy_leaves_the_source_serving, what_differs_is_refused_by_name,
    another_page_size_is_refused_by_name,
    idle_server_does_not_burn_a_core,
])
