# SPDX-License-Identifier: BSD-3-Clause
"""What this machine has of hugepages of 2 MiB."""
import contextlib


def free_hugepages():
    """0 where the kernel knows of none, too."""
    with contextlib.suppress(FileNotFoundError), open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as number:
        return int(number.read())
    return 0
