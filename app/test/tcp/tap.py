# SPDX-License-Identifier: BSD-3-Clause
"""Tests as functions, results as TAP; see app/test/test.h for the same in C."""
import argparse
import sys
import traceback

import lab

tests = []


def test(fn):
    """Decorator: fn(net) is a test, its name the sentence it checks."""
    tests.append(fn)
    return fn


def parse_args(what):
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--server", required=True, help="the program tcp-server")
    parser.add_argument("--plugin", default="", help="net_wherry's plugin; without it, net_tap is used")
    parser.add_argument("--wherry", default="wherry", help="the command wherry")
    parser.add_argument("--wrapper", default="", help="run the server under this command")
    parser.add_argument("tests", nargs="*", help="only these")
    return parser.parse_args()


def run_one(fn, net):
    """One line; true if it passed."""
    try:
        fn(net)
        print("ok -", fn.__name__, flush=True)
        return True
    except Exception as e:  # whatever it was, the next test has its chance
        print("not ok -", fn.__name__, flush=True)
        text = traceback.format_exc() if not isinstance(e, AssertionError) else str(e)
        at = traceback.extract_tb(e.__traceback__)[-1]
        print("\n".join("# " + line for line in f"{at.name}:{at.lineno}: {text}".splitlines()))
        return False


def main(what, needs_plugin=False):
    args = parse_args(what)
    chosen = [t for t in tests if not args.tests or t.__name__ in args.tests]
    print("TAP version 13")
    why = "net_wherry was not built: run devtools/dpdk-sdk" if needs_plugin and not args.plugin else lab.isolate()
    if why:
        print(f"1..0 # SKIP {why}\n# 0 passed, 0 failed, {len(chosen)} skipped")
        return
    print(f"1..{len(chosen)}")
    passed = 0
    for fn in chosen:
        with lab.Lab(args) as net:
            passed += run_one(fn, net)
        lab.sh("ip", "link", "delete", "bridge")
    print(f"# {passed} passed, {len(chosen) - passed} failed, 0 skipped")
    sys.exit(passed != len(chosen))
