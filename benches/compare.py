"""Side by side: fastsoftmax and every library installed here, interleaved in one process.

    python benches/compare.py                        the table's cases, float32, one thread
    python benches/compare.py --cases all --ops softmax logsumexp --dtypes float64 --threads 1 all
    python benches/compare.py --cases 128x1000 1000x256@0 --peers torch onnxruntime
    python benches/compare.py --quick                small cases only
    python benches/compare.py --issue2               judge issue 2's promises; exit 1 on a failure
    python benches/compare.py --json run.json        save the run for table.py and regress.py

Each cell shows microseconds and, in parentheses, the largest error in ULP of the result. A library
is timed in its quickest form: a new result or a ready output, its own kind of array kept between
calls. The exception is a call on 10 elements: there a new NumPy array is made from a NumPy array.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cases
import claims
import environment
import results
from peers import LABELS, LIBRARIES

FORMS = {
    "best": "each in its quickest form",
    "fresh": "new results",
    "out": "ready outputs",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--cases",
        nargs="+",
        default=["table"],
        metavar="CASE",
        help="table, extra, all, quick, a case's name, or a shape and dim as 1000x256@0",
    )
    add("--ops", nargs="+", choices=cases.OPERATIONS, help="(softmax log_softmax)")
    add("--dtypes", nargs="+", choices=cases.DTYPES, help="(float32)")
    add("--threads", nargs="+", type=_threads, metavar="N", help="counts, or all (1)")
    add(
        "--peers",
        nargs="*",
        choices=LIBRARIES,
        default=list(LIBRARIES),
        metavar="PEER",
        help=f"of {', '.join(LIBRARIES)}",
    )
    add(
        "--output",
        choices=cases.OUTPUTS,
        default="best",
        help="fresh results, ready outputs, or each library's quicker of the two (default)",
    )
    add("--cold", action="store_true", help="evict the caches before every call")
    add("--rounds", type=int, default=21)
    add("--stat", choices=("min", "median"), default="min", help="what ratios are made of")
    add("--quick", action="store_true", help="small cases, 15 rounds")
    add("--no-errors", action="store_true", help="leave the ULP errors out")
    judged = "only what issue {} must show, of the --ops, --dtypes and --threads given; judge it"
    add("--issue2", action="store_true", help=judged.format(2))
    add("--issue4", action="store_true", help=judged.format(4))
    add("--json", type=Path, metavar="FILE", help="save the run")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds = min(args.rounds, 15)
        args.cases = ["quick"] if args.cases == ["table"] else args.cases
    return args


def _threads(text: str) -> int:
    return len(environment.cpus()) if text == "all" else int(text)


def plain_cells(args: argparse.Namespace) -> list[cases.Cell]:
    ops, dtypes = args.ops or ["softmax", "log_softmax"], args.dtypes or ["float32"]
    return [
        cell
        for n in dict.fromkeys(args.threads or [1])
        for cell in cases.grid(cases.find(args.cases), ops, dtypes, n, args.output, args.cold)
    ]


def promises(args: argparse.Namespace) -> list[claims.Claim]:
    """The claims asked for, cut down to the operations, element types and threads asked for."""
    every = claims.foundation() if args.issue2 else []
    every += claims.speed(len(environment.cpus())) if args.issue4 else []
    kept = []
    for claim in every:
        wanted = tuple(
            cell
            for cell in claim.cells
            if cell.op in (args.ops or cases.OPERATIONS)
            and cell.dtype in (args.dtypes or cases.DTYPES)
            and cell.threads in (args.threads or [cell.threads])
        )
        if wanted:
            kept.append(dataclasses.replace(claim, cells=wanted))
    return kept


def measure(cells: Sequence[cases.Cell], args: argparse.Namespace) -> dict[str, Any]:
    """One process for each thread count: most libraries fix theirs when imported."""
    run: dict[str, Any] = {"machine": {}, "cells": []}
    for threads in dict.fromkeys(cell.threads for cell in cells):
        plan = {
            "cells": [c.to_json() for c in cells if c.threads == threads],
            "peers": args.peers,
            "rounds": args.rounds,
            "errors": not args.no_errors,
        }
        part = run_plan("measure.py", plan, threads)
        run["machine"] |= part["machine"]
        run["cells"] += part["cells"]
    run["machine"] |= {"cpus": len(environment.cpus())}
    return run


def run_plan(script: str, plan: dict[str, Any], threads: int) -> dict[str, Any]:
    """What `script` makes of a plan, in a process with `threads` CPUs and a clean environment."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "plan.json"), Path(folder, "result.json")
        source.write_text(json.dumps(plan))
        with environment.pinned(threads):
            subprocess.run(
                [sys.executable, Path(__file__).with_name(script), source, target],
                env=environment.prepare(threads, dict(os.environ)),
                check=True,
            )
        return json.loads(target.read_text())


def show_machine(run: dict[str, Any]) -> None:
    machine = run["machine"]
    features = " ".join(machine["features"])
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}; {features}")
    print(f"kernels {machine.get('isa', '?')} of {', '.join(machine.get('isas', []))}")
    versions = machine["versions"] | {"Python": machine["python"]}
    print(", ".join(f"{LABELS.get(name, name)} {value}" for name, value in versions.items()))


def show_table(run: dict[str, Any], stat: str) -> None:
    kinds = dict.fromkeys((c["op"], c["dtype"], c["threads"], c["cold"]) for c in run["cells"])
    for op, dtype, threads, cold in kinds:
        group = list(results.select(run, op=op, dtype=dtype, threads=threads, cold=cold))
        plural = "thread" if threads == 1 else "threads"
        outputs = [c["output"] for c in group if not _tiny(c)] or ["fresh"]
        form = FORMS[outputs[0]]
        caches = ", caches evicted" if cold else ""
        print(f"\n{op} {dtype}, {threads} {plural}, {form}{caches}: {stat} us (max ULP)")
        names = dict.fromkeys(n for c in group for n in c["implementations"])
        shown = [n for n in names if any(results.time_of(c, n) for c in group)]
        header = ["case", *(LABELS.get(n, n) for n in shown), "best peer", "ratio"]
        rows = [[c["name"], *(entry(c, n, stat) for n in shown), *_best(c, stat)] for c in group]
        print_aligned([header, *rows])
        means = {n: _means(group, n, stat) for n in ("best", *LIBRARIES)}
        parts = [f"{LABELS.get(n, n)} {m:.2f}" for n, m in means.items() if m == m]
        print(f"geometric means of the ratios: {', '.join(parts) or '-'}")
        show_missing(group)


def _tiny(cell: dict[str, Any]) -> bool:
    return math.prod(cell["case"]["shape"]) <= 64


def entry(cell: dict[str, Any], name: str, stat: str) -> str:
    found = cell["implementations"].get(name, {})
    if stat not in found:
        return "-"
    error = found["max_ulp"]
    return results.number(found[stat]) + (f" ({results.ulp(error)})" if error is not None else "")


def _best(cell: dict[str, Any], stat: str) -> tuple[str, str]:
    found, value = results.best_peer(cell, stat=stat), results.ratio(cell, "best", stat)
    return (LABELS[found[0]] if found else "-", f"{value:.2f}" if value else "-")


def _means(group: Sequence[dict[str, Any]], name: str, stat: str) -> float:
    ratios = (results.ratio(c, name, stat) for c in group)
    return results.geometric_mean(r for r in ratios if r is not None)


def show_missing(group: Sequence[dict[str, Any]]) -> None:
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in group:
        for name, found in cell["implementations"].items():
            if "missing" in found:
                reasons.setdefault((name, found["missing"]), []).append(cell["name"])
    for (name, reason), names in reasons.items():
        where = "" if len(names) == len(group) else f" at {', '.join(names)}"
        print(f"missing{where}: {LABELS.get(name, name)} ({reason})")


def print_aligned(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    judged = promises(args)
    cells = claims.cells_of(judged) if args.issue2 or args.issue4 else plain_cells(args)
    run = measure(cells, args)
    show_machine(run)
    show_table(run, args.stat)
    if args.json:
        results.save(args.json, run)
    failed = 0
    if judged:
        print()
        for passed, text in claims.judge(judged, run, args.stat):
            failed += not passed
            print(f"{'pass' if passed else 'FAIL'}  {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
