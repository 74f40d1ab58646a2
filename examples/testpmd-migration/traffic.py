#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Usage: traffic.py INTERFACE MAC SECONDS: numbered frames of random bytes to MAC, echoes counted.

Whoever has MAC swaps the addresses and sends them back (testpmd's macswap). Ends with one line:
sent, echoed, damaged, and the longest time without an echo, in milliseconds.
"""
import os
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B5  # for experiments (IEEE 802)


def main():
    interface, mac, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.bind((interface, ETHERTYPE))
    sock.setblocking(False)
    head = bytes.fromhex(mac.replace(":", "")) + sock.getsockname()[4] + struct.pack("!H", ETHERTYPE)
    waiting, sent, echoed, damaged, gap = {}, 0, 0, 0, 0.0
    begin = now = last = time.monotonic()
    while now < begin + seconds:
        body = struct.pack("!Q", sent) + os.urandom(64 + sent * 61 % 1300)
        try:
            sock.send(head + body)
            waiting[sent] = body
            waiting.pop(sent - 20000, None)
            sent += 1
        except OSError:
            pass  # the queue is full
        time.sleep(0.0005)
        now = time.monotonic()
        while True:
            try:
                frame, where = sock.recvfrom(2048)
            except BlockingIOError:
                break
            if where[2] == socket.PACKET_OUTGOING:
                continue
            body = waiting.pop(struct.unpack("!Q", frame[14:22])[0], None)
            if body is None:
                continue  # twice, or from long ago
            echoed += 1
            damaged += frame[14:14 + len(body)] != body
            if echoed > 1:
                gap = max(gap, now - last)
            last = now
    print(f"sent {sent} echoed {echoed} damaged {damaged} longest_gap_ms {max(gap, now - last) * 1000:.0f}")


main()
