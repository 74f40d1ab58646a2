# SPDX-License-Identifier: BSD-3-Clause
"""What a process holds: resident memory, file descriptors, mappings; and whether that stays as it is.

A server lives for two migrations, one that brings the state and one that takes it away. So the
same moment is looked at in one process after the other: when it waits for the state, when the
state has come and the clients are done. What leaks into the state moves along and adds up; what a
process leaks by itself shows between its two moments. See doc/demo.rst.
"""
import os
import statistics

MIB = 1 << 20
MOMENTS = ("waiting", "serving")


def of_process(pid):
    with open(f"/proc/{pid}/status") as lines:
        rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    with open(f"/proc/{pid}/maps") as lines:
        mappings = sum(1 for _ in lines)
    return {"rss": rss * 1024, "fds": len(os.listdir(f"/proc/{pid}/fd")), "mappings": mappings}


class Vitals:
    """One sample for each moment of each process; `trouble` says what has not stayed the same."""

    # How far the last quarter's median may lie above the first's: a leak of one in each migration
    # is far beyond it after 40. Mappings come and go with malloc's arenas, one for each thread.
    slack = {"rss": lambda first: max(4 * MIB, first // 50), "fds": lambda _: 0, "mappings": lambda _: 4}

    def __init__(self):
        self.samples = {moment: [] for moment in MOMENTS}

    def look(self, moment, server):
        self.samples[moment].append(of_process(server.pid))

    def ends(self, moment, what):
        """Medians of the first and of the last quarter."""
        values = [sample[what] for sample in self.samples[moment]]
        quarter = max(1, len(values) // 4)
        return int(statistics.median(values[:quarter])), int(statistics.median(values[-quarter:]))

    def trouble(self):
        found = []
        for moment in MOMENTS:
            for what, slack in self.slack.items():
                first, last = self.ends(moment, what)
                if last > first + slack(first):
                    found.append(f"{what} of a process that is {moment} grew from {first} to {last}")
        return found

    def report(self):
        def span(moment, what):
            values = [sample[what] for sample in self.samples[moment]]
            first, last = self.ends(moment, what)
            return {"first": first, "last": last, "min": min(values), "max": max(values)}

        return {moment: {what: span(moment, what) for what in self.slack} for moment in MOMENTS if self.samples[moment]}
