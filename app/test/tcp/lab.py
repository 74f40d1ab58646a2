# SPDX-License-Identifier: BSD-3-Clause
"""A network of its own for a test of tcp-server, and servers in it.

    with lab.Lab() as net:
        a = net.server("a", ["--ip", lab.SERVER + "/24"])

The script runs in a network namespace that nobody else sees and that goes away
with it: a bridge with the client's address, and one TAP per server. Servers are
ended with the lab, whatever happens.
"""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

CLIENT = "10.77.0.1"
SERVER = "10.77.0.2"


def isolate():
    """Move this process into a fresh network namespace; the reason why not, or None."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace and TAP interfaces: run it with sudo"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun is missing: modprobe tun"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        return "no network namespace: " + os.strerror(ctypes.get_errno())
    return None


def sh(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def wait_for(what, seconds, condition):
    """Poll until @condition is true; complain about @what otherwise."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def exists(interface):
    """In this namespace; /sys would tell about another."""
    return interface in (name for _, name in socket.if_nameindex())


class Server:
    """A tcp-server process and what it printed."""

    def __init__(self, net, name, options, eal=()):
        self.name = name
        self.log = net.folder / f"{name}.log"
        self.control = net.folder / f"{name}.sock"
        eal_options = ["--no-huge", "-m", "512", "--no-pci", "--no-shconf", "--no-telemetry",
                       "--file-prefix", f"tcp-test-{os.getpid()}-{name}",
                       *net.plugin, "--vdev", net.vdev.format(tap="tap-" + name), *eal]
        command = [*net.wrapper, net.program, *eal_options, "--", "--name", name,
                   "--control", str(self.control), *options]
        with open(self.log, "w", encoding="utf-8") as out:
            # EAL's own folder goes where all of it is removed
            self.process = subprocess.Popen(command, stdout=out, stderr=out,
                                            env={**os.environ, "RUNTIME_DIRECTORY": str(net.folder)})

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, words, seconds=20):
        """Wait until it has printed @words; fail at once if it ended without."""
        def said():
            over = self.process.poll() is not None
            if words in self.text():
                return True
            if over:
                raise AssertionError(f"{self.name} ended without \"{words}\":\n{self.text()[-2000:]}")
            return False
        wait_for(f"{self.name} says \"{words}\"", seconds, said)

    def wait(self, seconds=20):
        """Its exit status."""
        return self.process.wait(timeout=seconds)

    def end(self):
        """Ask it to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} does not end on SIGINT") from None

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Lab:
    """The bridge, the folder for logs and sockets, and all servers."""

    def __init__(self, args):
        self.program = args.server
        self.plugin = ["-d", args.plugin] if args.plugin else []
        self.vdev = "net_wherry0,wire=tap={tap}" if args.plugin else "net_tap0,iface={tap}"
        self.wherry = args.wherry
        self.wrapper = args.wrapper.split()
        self.folder = None
        self.servers = []

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tcp-test-"))
        sh("ip", "link", "set", "lo", "up")
        # with an address of its own: else it takes that of a TAP, and changes when one goes
        sh("ip", "link", "add", "bridge", "address", "02:00:00:00:00:01", "type", "bridge")
        sh("ip", "address", "add", CLIENT + "/24", "dev", "bridge")
        sh("ip", "link", "set", "bridge", "up")
        return self

    def __exit__(self, *why):
        for server in self.servers:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        shutil.rmtree(self.folder)

    def server(self, name, options, says=None, eal=()):
        """Start one, put its TAP on the bridge, and wait until it @says so."""
        server = Server(self, name, options, eal)
        self.servers.append(server)
        wait_for(f"interface of {name}", 20,
                 lambda: exists("tap-" + name) or server.process.poll() is not None)
        if server.process.poll() is None:
            plugged = subprocess.run(["ip", "link", "set", "tap-" + name, "up", "master", "bridge"],
                                     check=False, capture_output=True)
            # the interface goes with a server that ends just now
            assert plugged.returncode == 0 or server.wait() is not None, plugged.stderr
        if says:
            server.says(says)
        return server
