"""Time per element against row length: where a size just past a vector width would fall off.

    python benches/scan_lengths.py                      every length 2..300; exit 1 on a jump
    python benches/scan_lengths.py --curve --json lengths.json    1..4096 with peers, for table.py

Every array holds about 200 000 elements. Lengths are swept again and again, so that what else the
machine does meets neighbours alike; the minimum of the sweeps counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cases
import compare
import measure
import peers
import results
from peers import LIBRARIES, OURS, Call, Missing

ELEMENTS = 200_000
SAMPLE_NS = 100_000
_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 16, 17, 20, 24, 28)
_CURVE = sorted(
    {*_EDGES, 1000}
    | {2**k + d for k in range(5, 12) for d in (-1, 0, 1)}
    | {3 * 2**k for k in range(4, 11)}
    | {4096}
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--op", choices=cases.OPERATIONS, default="softmax")
    add("--dtype", choices=cases.DTYPES, default="float32")
    add("--lengths", type=int, nargs=2, default=[2, 300], metavar=("FIRST", "LAST"))
    add("--curve", action="store_true", help="selected lengths 1..4096, with peers and the copy")
    add("--peers", nargs="*", choices=LIBRARIES, default=list(LIBRARIES), help="of the curve")
    add("--limit", type=float, default=1.5, help="how much a length may cost over the one before")
    add("--rounds", type=int, default=25)
    add("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def prepare(name: str, op: str, x: np.ndarray, buffer: np.ndarray) -> Call:
    if name != OURS:
        return peers.get(name).prepare(op, x, -1, 1, "out")
    # All lengths share one output: its place in memory is no part of the comparison.
    out = buffer[: len(x)] if op == "logsumexp" else buffer[: x.size].reshape(x.shape)
    call = peers.get(name).forms(op, x[:1], -1, 1)[1]
    return Call(call.func, (x, -1), {"out": out}, form="out", context=call.context)


def scan(plan: dict[str, Any]) -> dict[str, Any]:
    """Nanoseconds per element by implementation and length."""
    np.seterr(all="ignore")
    whole = cases.make_input(cases.Case((ELEMENTS,)), plan["dtype"])
    buffer = np.zeros_like(whole)
    calls: dict[tuple[str, int], tuple[Call, int, int]] = {}
    missing: dict[str, str] = {}
    for n in plan["lengths"]:
        size = ELEMENTS // n * n
        x = whole[:size].reshape(-1, n)
        for name in plan["names"]:
            if name in missing:
                continue
            try:
                call = prepare(name, plan["op"], x, buffer)
                once = min(call.nanoseconds(1) for _ in range(2))
            except Missing as reason:
                missing[name] = str(reason)
            else:
                calls[name, n] = call, max(1, round(SAMPLE_NS / max(once, 1.0))), size
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(plan["rounds"]):
        for where, (call, number, size) in calls.items():
            best[where] = min(best[where], call.nanoseconds(number) / size)
    names = [n for n in plan["names"] if n not in missing]
    times = {name: [best[name, n] for n in plan["lengths"]] for name in names}
    return {"missing": missing, "times": times, "machine": measure.machine(names)}


def jumps(lengths: Sequence[int], times: Sequence[float]) -> list[tuple[float, int, int]]:
    """How the time per element rises from each length to the next, the steepest first."""
    steps = zip(lengths, lengths[1:], times, times[1:], strict=False)
    return sorted(((b / a, m, n) for m, n, a, b in steps), reverse=True)


def show(found: dict[str, Any], lengths: Sequence[int]) -> None:
    names = list(found["times"])
    rows = [["length", *names]]
    for i, n in enumerate(lengths):
        rows.append([str(n), *(results.number(found["times"][name][i]) for name in names)])
    compare.print_aligned(rows)
    for name, reason in found["missing"].items():
        print(f"missing: {name} ({reason})")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    first, last = args.lengths
    lengths = _CURVE if args.curve else list(range(first, last + 1))
    names = [OURS, *args.peers, "copy"] if args.curve else [OURS]
    plan = {
        "op": args.op,
        "dtype": args.dtype,
        "lengths": lengths,
        "names": names,
        "rounds": args.rounds,
    }
    found = plan | compare.run_plan("scan_lengths.py", plan, threads=1)
    if args.json:
        results.save(args.json, found)
    what = f"{args.op} {args.dtype}, one thread, rows of {lengths[0]} to {lengths[-1]}"
    print(f"{what}: ns an element")
    if args.curve:
        show(found, lengths)
        return 0
    if OURS not in found["times"]:
        raise SystemExit(f"{OURS}: {found['missing'][OURS]}")
    times = found["times"][OURS]
    for i in range(0, len(lengths), 10):
        row = " ".join(f"{t:6.3f}" for t in times[i : i + 10])
        print(f"{lengths[i]:5d}  {row}")
    steep = jumps(lengths, times)
    print("steepest:", ", ".join(f"{a}->{b} {r:.2f}x" for r, a, b in steep[:8]))
    failed = [step for step in steep if step[0] > args.limit]
    print(f"{'FAIL' if failed else 'pass'}  no length costs over {args.limit:g}x the one before")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].endswith("plan.json"):
        plan = json.loads(Path(sys.argv[1]).read_text())
        Path(sys.argv[2]).write_text(json.dumps(scan(plan)))
    else:
        sys.exit(main())
