#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A bad line between two TUN interfaces, for kernels that have no netem.

Usage: wan.py NEAR FAR [delay=MS] [jitter=MS] [loss=PERCENT] [reorder=PERCENT] [rate=MBIT] [seed=N]

Makes both interfaces, says "ready" and passes packets on, each way with the same faults: a packet
that is reordered comes 5 ms late; what finds 256 KiB waiting for its turn is lost. SIGUSR1 cuts the
line: from then on nothing comes through, and nobody is told.
"""
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 9000
QUEUE = 256 << 10
LATE = 0.005


def open_tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Line:
    def __init__(self, faults):
        self.delay, self.jitter = faults.get("delay", 0) / 1000, faults.get("jitter", 0) / 1000
        self.loss, self.reorder = faults.get("loss", 0) / 100, faults.get("reorder", 0) / 100
        self.rate = faults.get("rate", 0) * 1e6 / 8
        self.chance = random.Random(faults.get("seed", 1))
        self.free, self.waiting, self.count, self.cut = {}, [], 0, False

    def take(self, to, packet):
        """When it arrives, if it does."""
        now = time.monotonic()
        if self.cut or self.chance.random() < self.loss:
            return
        due = now
        if self.rate:
            due = max(now, self.free.get(to, 0))
            if (due - now) * self.rate > QUEUE:
                return
            due += len(packet) / self.rate
            self.free[to] = due
        due += self.delay + self.chance.uniform(-self.jitter, self.jitter)
        due += LATE if self.chance.random() < self.reorder else 0
        self.count += 1
        heapq.heappush(self.waiting, (due, self.count, to, packet))

    def give(self):
        """What is due; seconds until the next, or None."""
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(self.waiting)
            try:
                if not self.cut:
                    os.write(to, packet)
            except OSError:
                pass  # that side is down just now
        return max(0, self.waiting[0][0] - time.monotonic()) if self.waiting else None


def main():
    ends = [open_tun(name) for name in sys.argv[1:3]]
    line = Line({name: float(value) for name, value in (word.split("=") for word in sys.argv[3:])})
    signal.signal(signal.SIGUSR1, lambda *_: setattr(line, "cut", True))
    print("ready", flush=True)
    while True:
        for fd in select.select(ends, [], [], line.give())[0]:
            try:
                for _ in range(64):
                    line.take(ends[1 - ends.index(fd)], os.read(fd, MTU + 64))
            except OSError:
                pass  # that was all, or that side is down


main()
