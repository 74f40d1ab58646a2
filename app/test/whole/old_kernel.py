#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Run a command as on an older kernel: what it lacks is refused by a filter of system calls.

Usage: old_kernel.py PAGEMAP_SCAN[,userfaultfd] COMMAND [ARG...]

PAGEMAP_SCAN (Linux 6.7) is an ioctl that older kernels answer with ENOTTY, userfaultfd(2) a
call that may not be built in: ENOSYS. (Linux Documentation/userspace-api/seccomp_filter.rst)
"""
import ctypes
import errno
import os
import platform
import struct
import sys

# numbers of the calls, ioctl and userfaultfd
IOCTL, USERFAULTFD = {"x86_64": (16, 323), "aarch64": (29, 282)}[platform.machine()]
PAGEMAP_SCAN = 0xC0606610  # _IOWR('f', 16, 96 bytes)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of a word; jump if it is; with a constant
NR, REQUEST = 0, 24  # in struct seccomp_data: the call, the low half of its second argument
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def op(code, k, true=0, false=0):
    return struct.pack("<HBBI", code, true, false, k)


def refuse_scan():
    return [op(LOAD, NR), op(EQUAL, IOCTL, 0, 3), op(LOAD, REQUEST), op(EQUAL, PAGEMAP_SCAN, 0, 1),
            op(RETURN, ERRNO | errno.ENOTTY)]


def refuse_userfaultfd():
    return [op(LOAD, NR), op(EQUAL, USERFAULTFD, 0, 1), op(RETURN, ERRNO | errno.ENOSYS)]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main():
    parts = {"PAGEMAP_SCAN": refuse_scan, "userfaultfd": refuse_userfaultfd}
    code = b"".join(b"".join(parts[name]()) for name in sys.argv[1].split(",")) + op(RETURN, ALLOW)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, code)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.byref(program)) != 0:  # NO_NEW_PRIVS; SECCOMP, FILTER
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
