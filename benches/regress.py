"""Compare two saved runs; exit 1 if any cell became slower.

    python benches/regress.py OLD.json NEW.json [--threshold 1.10]

What is compared is our time over NumPy's of the same cell in the same run, so that the runs may
come from machines, or from hours, of different speed. Takes runs of compare.py and of
pytest-benchmark.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import results
from peers import OURS


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=1.10, help="slowdown that fails (1.10)")
    parser.add_argument("--against", default="numpy", help="the yardstick (numpy)")
    parser.add_argument("--stat", choices=("min", "median"), default="min")
    args = parser.parse_args(argv)

    before = {results.key(c): c for c in results.load(args.old)["cells"]}
    after = {results.key(c): c for c in results.load(args.new)["cells"]}
    changes: dict[str, float] = {}
    lost: list[str] = []
    for where, cell in before.items():
        was = results.ratio(cell, args.against, args.stat)
        if was is None or where not in after:
            continue
        name = f"{where[0]} {where[1]} {where[2]}, {where[3]} threads"
        now = results.ratio(after[where], args.against, args.stat)
        if now is not None:
            changes[name] = was / now
        elif results.time_of(after[where], OURS, args.stat) is None:
            lost.append(name)
    if not changes and not lost:
        raise SystemExit(f"the runs share no cell with {OURS} and {args.against} in both")

    slower = [n for n in sorted(changes, key=changes.__getitem__) if changes[n] > args.threshold]
    for name in slower[::-1]:
        print(f"FAIL  {name}: {changes[name]:.2f} times the time")
    for name in lost:
        print(f"FAIL  {name}: not measured any more")
    mean = results.geometric_mean(changes.values())
    print(
        f"{len(changes)} cells compared, {len(slower)} slower by more than "
        f"{args.threshold:.2f}x, geometric mean {mean:.3f} times the time"
    )
    return 1 if slower or lost else 0


if __name__ == "__main__":
    sys.exit(main())
