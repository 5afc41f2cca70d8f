"""Write the README's benchmark table, and the plots, from saved runs.

    python benches/table.py run.json                         print the table
    python benches/table.py run.json --readme README.md      replace what stands between the markers
    python benches/table.py run.json --curve lengths.json --plots docs/plots

run.json comes from compare.py, lengths.json from scan_lengths.py --curve.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import exact
import results
from peers import LABELS, LIBRARIES, OURS

START, END = "<!-- bench:start -->", "<!-- bench:end -->"


def markdown(run: dict[str, Any], op: str, dtype: str, stat: str) -> str:
    one = list(results.select(run, op=op, dtype=dtype, threads=1, cold=False))
    if not one:
        raise SystemExit(f"the run has no cell of {op} {dtype} with one thread")
    parts = [
        f"{op}, {dtype}, one thread: microseconds, and in parentheses the largest error in ULP.",
        table(one, stat),
        *losses(one, stat),
        "The other operations, element types and thread counts of the same run:",
        summary(run, stat),
        about(run, stat),
    ]
    return "\n\n".join(part for part in parts if part)


def table(cells: Sequence[dict[str, Any]], stat: str) -> str:
    names = [OURS, *LIBRARIES]
    shown = [n for n in names if any(results.time_of(c, n, stat) for c in cells)]
    rows = [["case", "copy", *(LABELS.get(n, n) for n in shown), "best peer / ours"]]
    rows.append(["---"] + ["--:"] * (len(rows[0]) - 1))
    for cell in cells:
        value = results.ratio(cell, "best", stat)
        times = [_entry(cell, n, stat) for n in shown]
        copied = results.number(results.time_of(cell, "copy", stat))
        last = f"{value:.2f}" if value else "-"
        rows.append([_case(cell), copied, *times, last])
    return _lines(rows)


def _entry(cell: dict[str, Any], name: str, stat: str) -> str:
    value = results.time_of(cell, name, stat)
    if value is None:
        return "-"
    found = cell["implementations"][name]
    best = results.best_peer(cell, [OURS, *LIBRARIES], stat)
    text = results.number(value)
    text = f"**{text}**" if best and best[0] == name else text
    return f"{text} ({results.ulp(found['max_ulp'])})"


def _case(cell: dict[str, Any]) -> str:
    forms = {"fresh": ", new result", "out": ", ready output"}
    return cell["name"].replace("**", r"\*\*") + forms.get(cell["output"], "")


def losses(cells: Sequence[dict[str, Any]], stat: str) -> Iterator[str]:
    """A sentence on the cells where another is quicker, if there are any."""
    lost = []
    for cell in cells:
        value, peer = results.ratio(cell, "best", stat), results.best_peer(cell, stat=stat)
        if value and peer and value < 1:
            lost.append(f"{_case(cell)} to {LABELS[peer[0]]} ({value:.2f})")
    if lost:
        yield f"It loses: {'; '.join(lost)}."


def summary(run: dict[str, Any], stat: str) -> str:
    """Geometric means by operation, element type and thread count."""
    rows = [
        [
            "operation",
            "type",
            "threads",
            "cells",
            "best peer / ours",
            "least",
            "NumPy / ours",
            "largest error (bound)",
        ]
    ]
    rows.append(["---", "---"] + ["--:"] * 6)
    kinds = dict.fromkeys((c["op"], c["dtype"], c["threads"]) for c in run["cells"])
    for op, dtype, threads in kinds:
        cells = list(results.select(run, op=op, dtype=dtype, threads=threads))
        best = [r for c in cells if (r := results.ratio(c, "best", stat)) is not None]
        numpy = [r for c in cells if (r := results.ratio(c, "numpy", stat)) is not None]
        errors = [c["implementations"].get(OURS, {}).get("max_ulp") for c in cells]
        worst = max((e for e in errors if e is not None), default=None)
        if best:
            rows.append(
                [
                    op,
                    dtype,
                    str(threads),
                    str(len(best)),
                    f"{results.geometric_mean(best):.2f}",
                    f"{min(best):.2f}",
                    f"{results.geometric_mean(numpy):.1f}" if numpy else "-",
                    f"{results.ulp(worst)} ({exact.bound(op, dtype):g})",
                ]
            )
    return _lines(rows)


def about(run: dict[str, Any], stat: str) -> str:
    machine = run["machine"]
    versions = [
        f"{LABELS.get(n, n)} {v}" for n, v in machine["versions"].items() if "missing" not in v
    ]
    lacking = [LABELS.get(n, n) for n, v in machine["versions"].items() if "missing" in v]
    text = (
        f"Measured on {machine['cpu']}, {machine['cpus']} CPUs, with the "
        f"{machine.get('isa', 'unknown')} kernels; {', '.join(versions)}. "
        f"All implementations take turns in one process; the {_stat(stat)} of the rounds is shown. "
        "Each library is in its quickest form (a ready output, its own arrays kept between calls); "
        "a call on 10 elements makes a new array from an array. Errors are of the same inputs, "
        "against the unrounded exact result; logsumexp's in units of the larger of |result| and "
        "|max|."
    )
    return text + (f" Not installed: {', '.join(lacking)}." if lacking else "")


def _stat(stat: str) -> str:
    return {"min": "minimum", "median": "median"}[stat]


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replace(path: Path, text: str) -> None:
    """Put `text` between the markers of a file."""
    before, start, rest = path.read_text().partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{path} lacks the lines {START} and {END}")
    path.write_text(f"{before}{START}\n{text}\n{END}{after}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", type=Path)
    add("--op", default="softmax", help="the operation of the large table (softmax)")
    add("--dtype", default="float32", help="its element type (float32)")
    add("--stat", choices=("min", "median"), default="min")
    add("--readme", type=Path, metavar="FILE")
    add("--plots", type=Path, metavar="FOLDER", help="write SVG plots there")
    add("--curve", type=Path, metavar="FILE", help="the run of scan_lengths.py --curve to plot")
    args = parser.parse_args(argv)

    run = results.load(args.run)
    text = markdown(run, args.op, args.dtype, args.stat)
    if args.readme:
        replace(args.readme, text)
    else:
        print(text)
    if args.plots:
        import plots

        cells = list(results.select(run, op=args.op, dtype=args.dtype, threads=1, cold=False))
        args.plots.mkdir(parents=True, exist_ok=True)
        plots.speedup(cells, args.plots / "speedup.svg", args.stat)
        plots.error(cells, args.plots / "error.svg", args.stat)
        if args.curve:
            plots.lengths(results.load(args.curve), args.plots / "lengths.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
