#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Talk to pmd-app: send frames and read the counts it sends back.

Usage: frames.py INTERFACE one ADDRESS [N]    N frames (1), each waited for; prints the last count
       frames.py INTERFACE stream ADDRESS S   frames for S seconds; prints first and last count,
                                              sent, answered, how often the count went back
"""
import socket
import sys
import time

TYPE = 0x88B5  # for local experiments
own = bytes.fromhex(sys.argv[3].replace(":", ""))
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(TYPE))
sock.bind((sys.argv[1], 0))
sock.settimeout(0.05)


def send(number):
    head = b"\xff" * 6 + own + TYPE.to_bytes(2, "big")
    sock.send(head + bytes(4) + number.to_bytes(4, "big") + bytes(40))


def receive():
    """(count, number) of the next answer to this address, or None."""
    try:
        frame = sock.recv(2048)
    except TimeoutError:
        return None
    if frame[:6] != own or len(frame) < 22:
        return None
    return int.from_bytes(frame[14:18], "big"), int.from_bytes(frame[18:22], "big")


def one(frames):
    count = 0
    for number in range(frames):
        deadline = time.monotonic() + 5
        send(number)
        while True:
            got = receive()
            if got is not None and got[1] == number:
                break
            if time.monotonic() > deadline:
                sys.exit(f"no answer to frame {number}")
        count = got[0]
    print(count)


def stream(seconds):
    counts, sent, back = [], 0, 0
    end = time.monotonic() + seconds
    sock.settimeout(0.002)
    while time.monotonic() < end:
        send(sent)
        sent += 1
        got = receive()
        while got is not None:
            back += bool(counts) and got[0] < counts[-1]
            counts.append(got[0])
            got = receive()
    print(counts[0] if counts else 0, counts[-1] if counts else 0, sent, len(counts), back)


if sys.argv[2] == "one":
    one(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
else:
    stream(float(sys.argv[4]))
