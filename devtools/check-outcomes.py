#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who loses a write stands in five places; is it the same in all of them?

doc/model/run      what spin has to find in the model, row by row (stage model)
test_soft_dbit.c   what every schedule on the software IOMMU comes to (stage unit)
examples/race      what it prints (stage scripts compares it with its first comment)
doc/*.rst          what people are told

Where the model loses whatever the order, EXACT is refused by the code.
"""
import re
import sys
from pathlib import Path

ORDERS = ("snapshot", "seed", "exact")
DBITS = ("checked", "late", "stale")
ROOT = Path(__file__).resolve().parent.parent


def found(path, pattern):
    rows = [m.groups() for m in re.finditer(pattern, (ROOT / path).read_text(), re.M)]
    if not rows:
        sys.exit(f"{path}: no table of outcomes")
    return rows


def from_model():
    rows = found("doc/model/run", r"^(\w+?)_(checked|late|stale) +(keeps|loses) ")
    return {(order, dbit): outcome for order, dbit, outcome in rows if order in ORDERS}


def from_test():
    rows = found("app/test/iommu/test_soft_dbit.c",
                 r"\{ (SNAPSHOT|SEED|EXACT), \{ (\w+), (\w+), (\w+) \} \}")
    table = {(order.lower(), dbit): "loses" if cell == "true" else "keeps"
             for order, *cells in rows for dbit, cell in zip(DBITS, cells)}
    table["exact", "stale"] = "refused"  # the test leaves it out; another sees it refused
    return table


def from_race():
    rows = found("examples/race/main.c", r"^ \*\t(\w+) +(checked|late|stale) +(.*)$")
    return {(order, dbit): "loses" if text.endswith("LOST")
            else "refused" if text.startswith("refused") else "keeps"
            for order, dbit, text in rows}


def from_page(path):
    rows = found(path, r"^(SNAPSHOT|SEED|EXACT) +(\S+) +(\S+) +(\S+)$")
    return {(order.lower(), dbit): cell.strip("*").replace("exact", "keeps")
            for order, *cells in rows for dbit, cell in zip(DBITS, cells)}


def main():
    model = from_model()
    code = {key: "refused" if key == ("exact", "stale") and outcome == "loses" else outcome
            for key, outcome in model.items()}
    tables = {
        "app/test/iommu/test_soft_dbit.c": (from_test(), code),
        "examples/race/main.c": (from_race(), code),
        "doc/backends_soft.rst": (from_page("doc/backends_soft.rst"), code),
        "doc/unmap_dirty.rst": (from_page("doc/unmap_dirty.rst"), model),
    }
    bad = [f"doc/model/run: no row {order}_{dbit}"
           for order in ORDERS for dbit in DBITS if (order, dbit) not in model]
    for path, (table, want) in tables.items():
        bad += [f"{path}: {order} with {dbit}: {table.get((order, dbit))}, doc/model/run: {outcome}"
                for (order, dbit), outcome in want.items() if table.get((order, dbit)) != outcome]
    print("\n".join(bad) or f"{len(model)} outcomes, the same in {1 + len(tables)} places")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
