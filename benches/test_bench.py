"""The grid under pytest-benchmark: cases x operations x element types x threads x outputs x peers.

    pytest benches                                       small cases and one larger than L2
    pytest benches --grid-cases=all --grid-dtypes=float32,float64,float16,bfloat16
    pytest benches -k "fastsoftmax or torch" --benchmark-json=run.json

A library that is missing, or lacks an operation, shows as a skip with the reason (-rs). compare.py
interleaves the same cells round by round: take its ratios, not these, for a claim.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pytest_benchmark")

import cases
import environment
import measure
import peers
from exact import Exact
from peers import OURS, Missing

pytestmark = pytest.mark.filterwarnings("default")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return

    def option(name: str) -> list[str]:
        return metafunc.config.getoption(f"--grid-{name}").split(",")

    available = len(environment.cpus())
    counts = dict.fromkeys(available if t == "all" else int(t) for t in option("threads"))
    # An array's cells come one after the other, so that its exact results are worked out once.
    cells = dict.fromkeys(
        cell
        for case in cases.find(_names(option("cases")))
        for dtype in option("dtypes")
        for threads in counts
        for output in option("outputs")
        for cache in option("caches")
        for cell in cases.grid([case], option("ops"), [dtype], threads, output, cache == "cold")
    )
    names = [OURS, *option("peers"), "copy"]
    metafunc.parametrize(
        ("cell", "name"),
        [pytest.param(cell, name, id=f"{group(cell)}-{name}") for cell in cells for name in names],
    )


def _names(parts: list[str]) -> list[str]:
    """Undo the split of names such as (32, 10): shapes written 32x10 need no undoing."""
    joined: list[str] = []
    for part in parts:
        if joined and joined[-1].count("(") > joined[-1].count(")"):
            joined[-1] += f",{part}"
        else:
            joined.append(part)
    return joined


def group(cell: cases.Cell) -> str:
    cache = " cold" if cell.cold else ""
    plural = "s" if cell.threads > 1 else ""
    threads = f"{cell.threads} thread{plural}"
    return f"{cell.case.name} {cell.op} {cell.dtype} {threads} {cell.output}{cache}"


@functools.lru_cache(maxsize=1)
def array(case: cases.Case, dtype: str) -> tuple[np.ndarray, Exact]:
    x = cases.make_input(case, dtype)
    return x, Exact(x, case.dim)


@functools.cache
def machine(*names: str) -> dict[str, Any]:
    return measure.machine(names)


@pytest.mark.benchmark(max_time=0.2, min_rounds=15, disable_gc=True)
def test_grid(benchmark: Any, cell: cases.Cell, name: str) -> None:
    if name == "jax" and cell.threads != len(environment.cpus()):
        pytest.skip("JAX fixes its threads when imported; compare.py gives it a process")
    try:
        x, exact = array(cell.case, cell.dtype)
        with np.errstate(all="ignore"):
            call = measure.prepare(cell, name, x)[0]
            error = measure.error(call, cell, name, exact)
    except (Missing, ImportError) as reason:
        pytest.skip(f"{name}: {reason}")
    about = machine(*peers.LIBRARIES)
    benchmark.group = group(cell)
    benchmark.extra_info.update(
        cell=cell.to_json(),
        implementation=name,
        form=call.form,
        isa=about.get("isa"),
        threads=cell.threads,
        max_ulp=error,
        machine=about,
    )
    with call.context(), np.errstate(all="ignore"):
        if cell.cold:
            evict = measure.Evictor()
            benchmark.pedantic(call.func, call.args, call.kwargs, setup=evict, rounds=20)
        else:
            benchmark(call.func, *call.args, **call.kwargs)
