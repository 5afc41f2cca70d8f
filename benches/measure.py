"""Times the cells of a plan, every implementation in turn, in this one process.

Started by compare.py as `python measure.py PLAN RESULT`, with the environment and the CPUs of one
thread count. A round times every implementation once; a sample is as many calls as fill 0.2 ms. So
whatever else the machine does meets all of them alike, and minimum and median are comparable.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import environment
import peers
from cases import Case, Cell, make_input
from exact import Exact
from peers import OURS, Call, Missing

SAMPLE_NS = 200_000
# What an implementation may take of one cell: a call of more than 0.1 s gets fewer rounds.
_BUDGET_NS, _LEAST_ROUNDS = 2e9, 5
# A call this long finds the caches as it leaves them: no untimed call before it.
_LONG_NS = 1e7
# Shorter ones are timed alone when they fill a sample. Where the others' arrays went through the
# last cache between, such a call is as quick as it gets only after some of its kind: on a Xeon, the
# fifth. With fewer, whoever has most ways to be timed, one after another on the same arrays, would
# win.
_SETTLING_CALLS = 4
# With threads, the teams of other libraries spin for a while after their last region.
_SETTLE_S = 0.004


class Evictor:
    """Empties the caches by writing an array twice their size."""

    def __init__(self) -> None:
        size = min(max(environment.caches().values(), default=32 << 20), 256 << 20)
        self.buffer = np.zeros(2 * size, np.uint8)

    def __call__(self) -> None:
        self.buffer += np.uint8(1)


def implementations(cell: Cell, names: Iterable[str]) -> list[str]:
    """The peers asked for and what is timed beside them in such a cell."""
    found = [OURS, *names, "copy"]
    if cell.case.tiny:
        found += ["np_exp", "torch_tensor"] if "torch" in found else ["np_exp"]
    if cell.threads > 1:
        found.append(f"{OURS}@1")
    return list(dict.fromkeys(found))


def prepare(cell: Cell, name: str, x: np.ndarray) -> list[Call]:
    """The quickest ways of an implementation, its best guess first."""
    library, _, threads = name.partition("@")
    return peers.get(library).contenders(
        cell.op, x, cell.case.dim, int(threads or cell.threads), cell.output
    )


def sample(call: Call, number: int, warm: int, cell: Cell, evict: Evictor | None) -> float:
    """Nanoseconds per call of one sample."""
    if cell.threads > 1:
        time.sleep(_SETTLE_S)
    if evict:
        with call.context():
            evict()
            return call.timer.timeit(1)
    return call.nanoseconds(number, warm)


def interleave(
    calls: Sequence[Call], cell: Cell, rounds: int, evict: Evictor | None
) -> tuple[list[list[float]], list[int]]:
    """Samples of each call, in the order of the rounds, and how often each sample calls it."""
    numbers, least, warm = [], [], []
    for call in calls:
        once = max(call.nanoseconds(1, warm=0), 1.0)
        if once < _LONG_NS:
            once = max(call.nanoseconds(max(1, round(1e5 / once))), 1.0)
        numbers.append(max(1, round(SAMPLE_NS / once)))
        least.append(min(rounds, max(_LEAST_ROUNDS, int(_BUDGET_NS / once))))
        if once >= _LONG_NS:
            warm.append(int(cell.threads > 1))
        else:
            warm.append(_SETTLING_CALLS if numbers[-1] == 1 else 1)
    samples: list[list[float]] = [[] for _ in calls]
    gc.collect()
    gc.disable()
    try:
        for r in range(rounds):
            for j in range(len(calls)):
                # A different one starts each round: none always runs in another's wake.
                i = (r + j) % len(calls)
                if r < least[i]:
                    samples[i].append(sample(calls[i], numbers[i], warm[i], cell, evict))
    finally:
        gc.enable()
    return samples, numbers


def measure(
    cell: Cell, names: Sequence[str], rounds: int, x: np.ndarray, exact: Exact | None
) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {}
    entries: list[tuple[str, Call, float | None]] = []
    for name in implementations(cell, names):
        try:
            found = prepare(cell, name, x)
            entries += [(name, call, error(call, cell, name, exact)) for call in found]
        except Missing as reason:
            results[name] = {"missing": str(reason)}
        else:
            results[name] = {}
    evict = Evictor() if cell.cold else None
    samples, numbers = interleave([call for _, call, _ in entries], cell, rounds, evict)
    for (name, call, worst), times, number in zip(entries, samples, numbers, strict=True):
        # Of an implementation's ways, the quickest counts.
        if min(times) / 1e3 < results[name].get("min", float("inf")):
            results[name] = {
                "form": call.form,
                "max_ulp": worst,
                "min": min(times) / 1e3,
                "median": statistics.median(times) / 1e3,
                "rounds": len(times),
                "calls": number,
            }
    return cell.to_json() | {"implementations": results}


def error(call: Call, cell: Cell, name: str, exact: Exact | None) -> float | None:
    result = call()
    if exact is None or name in peers.FLOORS:
        return None
    worst = exact.max_ulp(call.read(result), cell.op, cell.dtype)
    return None if worst is None else round(worst, 3)


def run(plan: dict[str, Any]) -> dict[str, Any]:
    np.seterr(all="ignore")
    cells = [Cell.from_json(data) for data in plan["cells"]]
    kept: tuple[Case, str] | None = None
    measured = []
    for i, cell in enumerate(cells, 1):
        start = time.monotonic()
        if kept != (cell.case, cell.dtype):
            try:
                x = make_input(cell.case, cell.dtype)
            except ImportError as reason:
                print(f"{cell.case.name} {cell.dtype}: skipped, {reason}", file=sys.stderr)
                continue
            exact = Exact(x, cell.case.dim) if plan["errors"] else None
            kept = (cell.case, cell.dtype)
        names = list(plan["peers"])
        measured.append(measure(cell, names, plan["rounds"], x, exact))
        ours = measured[-1]["implementations"][OURS]
        took = f"{ours['min']:.2f} us" if "min" in ours else ours["missing"]
        what = f"{cell.case.name} {cell.op} {cell.dtype}, {cell.threads} threads"
        spent = f"{time.monotonic() - start:.1f} s"
        print(f"[{i}/{len(cells)}] {what}: {took}, {spent}", file=sys.stderr)
    return {"machine": machine(plan["peers"]), "cells": measured}


def machine(names: Sequence[str]) -> dict[str, Any]:
    """CPU, instruction sets and versions of a run."""
    found = environment.describe() | {"versions": peers.versions([OURS, *names])}
    found["versions"] |= {"numpy": np.__version__}
    try:
        config = peers.get(OURS).config()  # type: ignore[attr-defined]
        found |= {"isa": str(config.get("isa")), "isas": [str(i) for i in config.get("isas", ())]}
    except Missing:
        pass
    return found


if __name__ == "__main__":
    source, target = sys.argv[1:]
    answer = run(json.loads(Path(source).read_text()))
    Path(target).write_text(json.dumps(answer))
