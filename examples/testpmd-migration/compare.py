#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Usage: compare.py PID PID SHADOWS: is the memory of two processes equal, page by page?

SHADOWS is ",shadow=NAME@ADDRESS+LENGTH" any number of times. Both processes stand still.
"""
import sys

PAGE = 4096


def spans(text):
    for item in text.split(",shadow=")[1:]:
        name, place = item.split("@")
        at, length = (int(n, 0) for n in place.split("+"))
        yield name, at, length


def main():
    pages = zero = 0
    different = []
    with open(f"/proc/{sys.argv[1]}/mem", "rb", 0) as a, open(f"/proc/{sys.argv[2]}/mem", "rb", 0) as b:
        for name, at, length in spans(sys.argv[3]):
            for page in range(at, at + length, PAGE):
                a.seek(page)
                b.seek(page)
                mine, shadow = a.read(PAGE), b.read(PAGE)
                pages += 1
                zero += not any(mine)
                if mine != shadow:
                    different.append(f"{name}+{page - at:#x}")
    print(f"shadow: {pages} pages compared, {zero} of them zero, {len(different)} differ {' '.join(different[:8])}")
    return 1 if different or pages == zero else 0


sys.exit(main())
