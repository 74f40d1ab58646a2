#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Usage: traffic.py INTERFACE MAC SECONDS: numbered frames of random bytes to MAC, echoes counted.

Whoever has MAC sends them back. Ends after SECONDS, or with SIGTERM or Ctrl-C, with one line: sent, echoed,
damaged, the longest time without an echo in milliseconds, and how many echoes came after it.
"""
import os
import signal
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B5  # for experiments (IEEE 802)


class Echoes:
    """What came back: how much, whether it was damaged, and the longest silence."""

    def __init__(self):
        self.waiting, self.echoed, self.damaged, self.after = {}, 0, 0, 0
        self.gap, self.last = 0.0, None

    def sent(self, number, body):
        self.waiting[number] = body
        self.waiting.pop(number - 20000, None)

    def came(self, frame, now):
        body = self.waiting.pop(struct.unpack("!Q", frame[14:22])[0], None)
        if body is None:
            return  # twice, or from long ago
        self.echoed += 1
        self.damaged += frame[14:14 + len(body)] != body
        self.after += 1
        if self.last is not None and now - self.last > self.gap:
            self.gap, self.after = now - self.last, 1
        self.last = now


def receive(sock, echoes):
    while True:
        try:
            frame, where = sock.recvfrom(2048)
        except BlockingIOError:
            return
        if where[2] != socket.PACKET_OUTGOING and len(frame) >= 22:
            echoes.came(frame, time.monotonic())


def main():
    interface, mac, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.bind((interface, ETHERTYPE))
    sock.setblocking(False)
    head = bytes.fromhex(mac.replace(":", "")) + sock.getsockname()[4] + struct.pack("!H", ETHERTYPE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    echoes, sent, end = Echoes(), 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            body = struct.pack("!Q", sent) + os.urandom(64 + sent * 61 % 1300)
            try:
                sock.send(head + body)
                echoes.sent(sent, body)
                sent += 1
            except OSError:
                pass  # the queue is full, or the link is not up yet
            time.sleep(0.0005)
            receive(sock, echoes)
    except KeyboardInterrupt:
        pass
    print(f"sent {sent} echoed {echoes.echoed} damaged {echoes.damaged} longest_gap_ms {echoes.gap * 1000:.0f} after {echoes.after}")


main()
