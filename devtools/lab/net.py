# SPDX-License-Identifier: BSD-3-Clause
"""The network of a demo or test: a bridge, TAP wires for servers, and a client side.

Everything is made inside network and mount namespaces that isolate() enters. They have
no names, so they vanish with their last process and nothing has to be taken down.
"""
import ctypes
import os
import signal
import subprocess

CLIENT_IP = "10.77.0.1"
SERVER_IP = "10.77.0.2"
PREFIX = 24
WINDOW = 32768  # bytes


def isolate():
    """Enter namespaces of our own, with an empty /run; the reason why not, or None."""
    if os.geteuid() != 0:
        return "not root, and namespaces and TAP devices need it: sudo"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun: modprobe tun"
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000 | 0x00020000) != 0:  # NEWNET, NEWNS
        return f"no namespaces of our own: {os.strerror(ctypes.get_errno())}"
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    return None


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def die_with_parent():
    """Called in a child before exec: the kernel ends it when we are gone, however that was."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Network:
    """Servers on wires w0, w1, ...; the client side behind a link of `mbit` Mbit/s each way.

    `short`: no connection of the client side has more than WINDOW on the way to it, so that what is
    slower than the link waits nowhere in it.
    """

    def __init__(self, wires=2, mbit=0, short=False):
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("link", "set", "br0", "up")
        self.wires = [f"w{n}" for n in range(wires)]
        for wire in self.wires:
            ip("tuntap", "add", "dev", wire, "mode", "tap")
            ip("link", "set", wire, "master", "br0", "up")
        self.mbit, self.short = mbit, short
        self.client = self.far = None

    def start_client_side(self, command):
        """Run `command` in a namespace of its own with the client's address; returns the process."""
        self.client = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'read go; exec "$@"', "sh", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent, start_new_session=True)
        self._wait_for_namespace(self.client.pid)
        ip("link", "add", "client", "type", "veth", "peer", "name", "uplink", "netns", str(self.client.pid))
        ip("link", "set", "client", "master", "br0", "up")
        inside = ["nsenter", "-t", str(self.client.pid), "-n"]
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{CLIENT_IP}/{PREFIX}", "dev", "uplink"],
                      ["link", "set", "uplink", "up"]):
            subprocess.run([*inside, "ip", *words], check=True)
        if self.short:
            subprocess.run([*inside, "sysctl", "-qw", f"net.ipv4.tcp_rmem=4096 {WINDOW} {WINDOW}"], check=True)
        if self.mbit:
            self._shape(["tc"], "client")
            self._shape([*inside, "tc"], "uplink")
        self.client.stdin.write("\n")
        self.client.stdin.flush()
        return self.client

    def start_far_side(self, wire):
        """A second namespace with a wire of its own, on the same bridge over a link; the words that lead inside."""
        self.far = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL,
                                    preexec_fn=die_with_parent, start_new_session=True)
        self._wait_for_namespace(self.far.pid)
        inside = ["nsenter", "-t", str(self.far.pid), "-n"]
        ip("link", "add", "trunk", "type", "veth", "peer", "name", "trunk", "netns", str(self.far.pid))
        ip("link", "set", "trunk", "master", "br0", "up")
        for words in (["link", "set", "lo", "up"], ["link", "add", "br0", "type", "bridge", "forward_delay", "0"],
                      ["link", "set", "br0", "up"], ["link", "set", "trunk", "master", "br0", "up"],
                      ["tuntap", "add", "dev", wire, "mode", "tap"], ["link", "set", wire, "master", "br0", "up"]):
            subprocess.run([*inside, "ip", *words], check=True)
        return inside

    def _shape(self, tc, dev):
        subprocess.run([*tc, "qdisc", "add", "dev", dev, "root", "tbf", "rate", f"{self.mbit}mbit",
                        "burst", "256kb", "latency", "50ms"], check=True)

    @staticmethod
    def _wait_for_namespace(pid):
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pid}/ns/net") == ours:
            pass
