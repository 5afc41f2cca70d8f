"""Saved runs: reading, writing, and the ratios taken from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from peers import LIBRARIES, OURS

FORMAT = 1


def save(path: Path, run: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT} | run, indent=1, default=str) + "\n")


def load(path: Path) -> dict[str, Any]:
    """A run saved by compare.py, or by `pytest --benchmark-json`."""
    data = json.loads(path.read_text())
    if "benchmarks" in data:
        return _from_pytest(data)
    if data.get("format") != FORMAT:
        raise SystemExit(f"{path}: not a run saved by compare.py or pytest-benchmark")
    return data


def _from_pytest(data: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, dict[str, Any]] = {}
    machine: dict[str, Any] = {}
    for bench in data["benchmarks"]:
        info = bench["extra_info"]
        if "cell" not in info:
            continue
        cell = cells.setdefault(bench["group"], info["cell"] | {"implementations": {}})
        cell["implementations"][info["implementation"]] = {
            "form": info["form"],
            "max_ulp": info["max_ulp"],
            "min": bench["stats"]["min"] * 1e6,
            "median": bench["stats"]["median"] * 1e6,
            "rounds": bench["stats"]["rounds"],
        }
        machine |= info["machine"]
    return {"format": FORMAT, "machine": machine, "cells": list(cells.values())}


def key(cell: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two cells of different runs the same measurement."""
    return tuple(cell[part] for part in ("name", "op", "dtype", "threads", "output", "cold"))


def time_of(cell: dict[str, Any], name: str, stat: str = "min") -> float | None:
    """Microseconds of an implementation in a cell; None if it is missing there."""
    return cell["implementations"].get(name, {}).get(stat)


def best_peer(
    cell: dict[str, Any], among: Iterable[str] = LIBRARIES, stat: str = "min"
) -> tuple[str, float] | None:
    times = [(time_of(cell, name, stat), name) for name in among]
    known = [(t, name) for t, name in times if t is not None]
    return (min(known)[1], min(known)[0]) if known else None


def ratio(cell: dict[str, Any], against: str = "best", stat: str = "min") -> float | None:
    """The time of a peer, of the quickest one (best), or of the quickest but Numba (library), over
    ours."""
    ours = time_of(cell, OURS, stat)
    if against in ("best", "library"):
        among = [n for n in LIBRARIES if against == "best" or n != "numba"]
        found = best_peer(cell, among, stat)
        theirs = found[1] if found else None
    else:
        theirs = time_of(cell, against, stat)
    return theirs / ours if ours and theirs else None


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def select(run: dict[str, Any], **wanted: Any) -> Iterator[dict[str, Any]]:
    """The cells of a run with the given op, dtype, threads ..."""
    for cell in run["cells"]:
        if all(cell[name] == value for name, value in wanted.items()):
            yield cell


def number(value: float | None, digits: int = 3) -> str:
    """Three digits, never in exponents: 0.437, 78.1, 16501."""
    if value is None:
        return "-"
    if math.isinf(value) or math.isnan(value):
        return str(value)
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def ulp(value: float | None) -> str:
    """An error in ULP: two digits where they matter, none where they do not."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1e5 else f"{value:.0e}"
