# SPDX-License-Identifier: BSD-3-Clause
"""A tiny TAP runner for whole-path tests: functions in, one line per function out."""
import sys
import traceback


class Skip(Exception):
    """Why a test cannot run here, and what would enable it."""


def expect(true, text):
    if not true:
        raise AssertionError(text)


def run(tests, wanted=()):
    """Run each test whose name starts with one of `wanted` (all, if empty); exit status."""
    chosen = [t for t in tests if not wanted or t.__name__.startswith(tuple(wanted))]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    for number, test in enumerate(chosen, 1):
        try:
            test()
            counts["passed"] += 1
            print(f"ok {number} - {test.__name__}", flush=True)
        except Skip as reason:
            counts["skipped"] += 1
            print(f"ok {number} - {test.__name__} # SKIP {reason}", flush=True)
        except Exception as problem:  # pylint: disable=broad-except
            counts["failed"] += 1
            print(f"not ok {number} - {test.__name__}", flush=True)
            where = traceback.extract_tb(problem.__traceback__)[-1]
            for line in f"{where.filename}:{where.lineno}: {type(problem).__name__}: {problem}".splitlines():
                print(f"# {line}", flush=True)
    print("# {passed} passed, {failed} failed, {skipped} skipped".format(**counts), flush=True)
    return 1 if counts["failed"] else 0


def skip_all(reason):
    print(f"1..0 # SKIP {reason}\n# 0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def main(tests):
    sys.exit(run(tests, sys.argv[1:]))
