# SPDX-License-Identifier: BSD-3-Clause
"""QEMU's migration for devtools/bench-migrate: two machines on this one, moved over loopback.

In rows of bytes per second the guest is paused and its memory full of random bytes. A destination
is "populated", as Wherry's always is, or "cold", as QEMU makes it unless it is told otherwise: then
the migration waits for the kernel to find and clear each page. For a blackout a guest of ours
(bench_writer.S) writes to its memory.
"""
import json
import os
import socket
import subprocess
import time

MIB = 1 << 20
PAGE = 4096
TICK = os.sysconf("SC_CLK_TCK")
QEMU = "qemu-system-x86_64"
WRITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench_writer.S")
WRITTEN = 0x10000c  # the guest's count of pages
DOWNTIME_LIMIT_MS = 10


class Machine:
    """A QEMU and its QMP connection; its guest stands still until it is told to run."""

    def __init__(self, folder, name, mib, backend, extra):
        path = os.path.join(folder, name)
        self.process = subprocess.Popen(
            [QEMU, "-machine", "pc,memory-backend=mem", "-accel", "tcg", "-m", f"{mib}M",
             "-object", backend, "-S", "-nodefaults", "-display", "none",
             "-qmp", f"unix:{path},server=on,wait=off"] + extra)
        try:
            self.qmp = self.connect(path).makefile("rw")
            self.qmp.readline()
            self.ask("qmp_capabilities")
        except BaseException:
            self.end()
            raise

    def connect(self, path):
        sock = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                sock.connect(path)
                return sock
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError("QEMU does not answer")

    def ask(self, command, **arguments):
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def pages_written(self):
        text = self.ask("human-monitor-command", **{"command-line": f"xp /1wx {WRITTEN}"})
        return int(text.split(":")[1], 16)

    def end(self):
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def fill(path, mib, text):
    """Random bytes; text: of which three quarters of each page are one word over and over."""
    with open(path, "wb") as file:
        for _ in range(mib):
            if text:
                file.write(b"".join(os.urandom(PAGE // 4) + b"w" * (PAGE * 3 // 4)
                                    for _ in range(MIB // PAGE)))
            else:
                file.write(os.urandom(MIB))


def assemble(folder, mb_per_s):
    """The guest that writes so much; the path of it."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        bogomips = next(line for line in file if line.startswith("bogomips"))
    tsc_hz = float(bogomips.split(":")[1]) / 2 * 1e6  # as the kernel reckons them
    obj, guest = os.path.join(folder, "writer.o"), os.path.join(folder, "writer")
    subprocess.run(["as", "--32", "--defsym", f"CYCLES={int(tsc_hz * PAGE / mb_per_s / 1e6)}",
                    "-o", obj, WRITER], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x100000", "-e", "_start",
                    "-o", guest, obj], check=True)
    return guest


def await_end(source):
    for _ in range(60000):
        info = source.ask("query-migrate")
        if info["status"] == "completed":
            return info
        if info["status"] in ("failed", "cancelled"):
            raise RuntimeError(info.get("error-desc", info["status"]))
        time.sleep(0.01)
    raise RuntimeError("QEMU's migration does not end")


def await_writing(source, mb_per_s):
    """Until the guest has caught up with what it is to write; MB/s that it does write."""
    for _ in range(30):
        begin, before = time.monotonic(), source.pages_written()
        time.sleep(1)
        pages = source.pages_written() - before
        rate = pages * PAGE / 1e6 / (time.monotonic() - begin)
        if abs(rate - mb_per_s) < mb_per_s / 10:
            return rate
    raise RuntimeError(f"QEMU's guest writes {rate:.0f} MB/s instead of {mb_per_s}")


class Pair:
    """A source full of bytes and a destination. cold: that one's memory is not populated before."""

    def __init__(self, folder, mib, channels, cold=False, text=False, extra=()):
        self.memory = os.path.join(folder, "memory")
        self.port, self.machines, self.mib = free_port(), [], mib
        fill(self.memory, mib, text)
        try:
            self.source = self.add(
                folder, "source", extra,
                f"memory-backend-file,id=mem,size={mib}M,mem-path={self.memory},share=on,prealloc=on")
            self.dest = self.add(folder, "dest", list(extra) + ["-incoming", "defer"],
                                 f"memory-backend-ram,id=mem,size={mib}M"
                                 + ("" if cold else ",prealloc=on"))
            for machine in self.machines:
                machine.ask("migrate-set-capabilities",
                            capabilities=[{"capability": "multifd", "state": True}])
                machine.ask("migrate-set-parameters",
                            **{"multifd-channels": channels, "max-bandwidth": 100 << 30})
        except BaseException:
            self.end()
            raise

    def add(self, folder, name, extra, backend):
        machine = Machine(folder, name, self.mib, backend, list(extra))
        self.machines.append(machine)
        return machine

    def set(self, **parameters):
        for machine in self.machines:
            machine.ask("migrate-set-parameters", **parameters)

    def migrate(self):
        """What QEMU says of it, and the CPU seconds of both."""
        uri = f"tcp:127.0.0.1:{self.port}"
        self.dest.ask("migrate-incoming", uri=uri)
        before = self.source.cpu() + self.dest.cpu()
        self.source.ask("migrate", uri=uri)
        info = await_end(self.source)
        return info, self.source.cpu() + self.dest.cpu() - before

    def end(self):
        for machine in self.machines:
            machine.end()
        os.unlink(self.memory)


def sent(info):
    return info["ram"]["transferred"] / info["ram"]["total"]


def throughput(folder, mib, channels, name, cold=False, zstd=False):
    """Rows of one migration of a paused machine: MB/s of state, CPU s/GiB, bytes sent."""
    pair = Pair(folder, mib, channels, cold=cold, text=zstd)
    try:
        if zstd:
            pair.set(**{"multifd-compression": "zstd"})
        info, cpu = pair.migrate()
    finally:
        pair.end()
    return {name: (mib * MIB / info["total-time"] / 1e3, "MB/s"),
            f"{name}_cpu": (cpu / (mib / 1024), "CPU s/GiB"),
            f"{name}_sent": (sent(info), "of state")}


def busy(folder, mib, channels, mb_per_s):
    """Rows of one migration of a machine that writes: its downtime, and bytes sent."""
    pair = Pair(folder, mib, channels, extra=["-kernel", assemble(folder, mb_per_s)])
    try:
        pair.set(**{"downtime-limit": DOWNTIME_LIMIT_MS})
        pair.source.ask("cont")
        written = await_writing(pair.source, mb_per_s)
        info, _ = pair.migrate()
    finally:
        pair.end()
    return {"qemu_busy_downtime": (info["downtime"], "ms"),
            "qemu_busy_sent": (sent(info), "of state"),
            "qemu_busy_written": (written, "MB/s written")}
