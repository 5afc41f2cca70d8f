"""What `fastsoftmax --selftest` runs: whether an installed package computes right on this CPU.

Every operation of every dtype, on every instruction-set target that the CPU has: rows, columns and
one long row, hard inputs among them, held to the promised bounds; then special values and threads.
"""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F
from fastsoftmax import _core, _decimal_oracle
from fastsoftmax._decimal_oracle import Exact

Array = np.ndarray[Any, Any]

# In units in the last place: of the result; of the larger of the result and the maximum for
# logsumexp; of the sum of the absolute terms for the gradients and for probabilities.
BOUNDS = {
    "softmax": 3.0,
    "log_softmax": 3.0,
    "softmin": 3.0,
    "logsumexp": 2.0,
    "cross_entropy": 3.0,
    "cross_entropy, probabilities": 4.0,
    "cross_entropy_backward": 4.0,
    "cross_entropy_backward, probabilities": 4.0,
    "softmax_backward": 4.0,
    "log_softmax_backward": 4.0,
}
HALF_BOUND = 0.51  # of float16 and bfloat16, which are rounded once
FUNCTIONS = tuple(BOUNDS)[:4]

LENGTHS = (1, 3, 10, 33, 64, 257)
COPIES = 5  # of the rows in one array: a whole group of short rows, and a part of one
LONG_ROW = 70_000  # rows of more than 2**16 elements go in parts
MOST_TOLD = 20  # failures


class Problem(NamedTuple):
    """A matrix of rows, what the losses take with it, and the exact results."""

    name: str
    x: Array
    targets: Array
    p: Array
    g: Array
    y: Array
    log_y: Array
    exact: dict[str, Exact]


def selftest(write: Callable[[str], Any] = print) -> bool:
    """Run everything, tell each worst error by `write`; return whether all is right."""
    start = time.perf_counter()
    write(
        f"fastsoftmax {fastsoftmax.show_config()['version']}, NumPy {np.__version__}, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    write(
        f"worst errors in units in the last place; allowed are 2 to 4, and {HALF_BOUND} of halves"
    )
    dtypes = [np.dtype(name) for name in ("float32", "float64", "float16")]
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        write("bfloat16 is left out: ml_dtypes is not installed")
    else:
        dtypes.append(np.dtype(ml_dtypes.bfloat16))
    problems = {dtype.name: [*_problems(dtype)] for dtype in dtypes}

    failures = []
    former = _core._isa()
    try:
        for isa in _core._isa_available():
            _core._use_isa(isa)
            write(isa)
            with fastsoftmax.num_threads(1):
                found = [*_accuracy(problems, write), *_special_values(dtypes)]
            found += _threads(dtypes)
            failures += [f"{isa}: {failure}" for failure in found]
    finally:
        _core._use_isa(former)
    for failure in failures[:MOST_TOLD]:
        write(f"FAILED {failure}")
    seconds = time.perf_counter() - start
    write(f"{f'{len(failures)} FAILED' if failures else 'all passed'} in {seconds:.1f} s")
    return not failures


def bound(operation: str, dtype: str) -> float:
    """The error that is promised at most."""
    return BOUNDS[operation] if dtype in ("float32", "float64") else HALF_BOUND


def _problems(dtype: np.dtype[Any]) -> Iterator[Problem]:
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        x = _rows(dtype, n, rng)
        targets = rng.integers(0, n, len(x))
        uniform: Array = rng.random((3, *x.shape))
        p, y, log_y = (uniform * [[[1 / n]], [[1.0]], [[-9.0]]]).astype(dtype)
        normal: Array = rng.normal(size=(len(x), n))
        g = normal.astype(dtype)
        found = [
            _decimal_oracle.functions(row[0]) | _decimal_oracle.losses(_decimal_oracle.Row(*row))
            for row in zip(x, targets, p, g, y, log_y, strict=True)
        ]
        exact = {
            name: Exact(*map(_copies, _decimal_oracle.stacked(row[name] for row in found)))
            for name in BOUNDS
        }
        x, targets, p, g, y, log_y = map(_copies, (x, targets, p, g, y, log_y))
        yield Problem(f"rows of {n}", x, targets, p, g, y, log_y, exact)
    values = (rng.normal(size=64) * 3).astype(dtype)
    x = rng.choice(values, LONG_ROW)[np.newaxis]
    single = _decimal_oracle.functions(x[0])
    none = np.zeros(0)
    exact = {name: Exact(*(part[np.newaxis] for part in single[name])) for name in FUNCTIONS}
    yield Problem("a long row", x, none, none, none, none, none, exact)


def _copies(rows: Array) -> Array:
    return np.concatenate([rows] * COPIES)


def _rows(dtype: np.dtype[Any], n: int, rng: np.random.Generator) -> Array:
    """Rows that are hard in different ways."""
    normal = rng.normal(size=n)
    most = {"float16": 6e4, "float64": 1e250}.get(dtype.name, 3e38)
    sure = np.where(np.arange(n) == n // 2, 80.0 if dtype.name != "float64" else 700.0, normal)
    masked = np.where(np.arange(n) % 3 == 1, -most, normal)
    return np.stack([normal * 3, normal * 0.01 + 1000, sure, masked]).astype(dtype)


def _accuracy(problems: dict[str, list[Problem]], write: Callable[[str], Any]) -> Iterator[str]:
    """Write a line for each operation; yield what is beyond its bound."""
    worst: dict[tuple[str, str], float] = {}
    for dtype, several in problems.items():
        for problem in several:
            for operation, layout, result in _results(problem):
                error = _decimal_oracle.error(result, problem.exact[operation])
                allowed = bound(operation, dtype)
                if result.dtype.name != dtype or not error <= allowed:
                    yield (
                        f"{operation} of {dtype}, {problem.name}, as {layout}: "
                        f"{error:.4g} units off, of {result.dtype}; allowed are {allowed}"
                    )
                worst[operation, dtype] = max(error, worst.get((operation, dtype), 0.0))
    for operation in BOUNDS:
        errors = (f"{dtype} {worst[operation, dtype]:.2f}" for dtype in problems)
        write(f"  {operation:38} {'   '.join(errors)}")


def _results(problem: Problem) -> Iterator[tuple[str, str, Array]]:
    """What the package computes of a problem: operation, layout, and its result by rows."""
    for name in FUNCTIONS:
        yield name, "rows", getattr(F, name)(problem.x, 1)
    if len(problem.x) == 1:
        return
    for name in FUNCTIONS:
        yield name, "columns", getattr(F, name)(np.ascontiguousarray(problem.x.T), 0).T
    one = np.ones(len(problem.x), problem.x.dtype)
    x, targets, p, g, y, log_y = problem[1:7]
    yield "cross_entropy", "rows", F.cross_entropy(x, targets, reduction="none")
    yield "cross_entropy, probabilities", "rows", F.cross_entropy(x, p, reduction="none")
    for name, target in ("", targets), (", probabilities", p):
        gradient = F.cross_entropy_backward(one, x, target, reduction="none")
        yield f"cross_entropy_backward{name}", "rows", gradient
    yield "softmax_backward", "rows", F.softmax_backward(g, y, 1)
    yield "log_softmax_backward", "rows", F.log_softmax_backward(g, log_y, 1)

    x, p, g, y, log_y = (np.ascontiguousarray(a.T)[np.newaxis] for a in (x, p, g, y, log_y))
    targets, one = targets[np.newaxis], one[np.newaxis]
    yield "cross_entropy", "columns", F.cross_entropy(x, targets, reduction="none")[0]
    yield "cross_entropy, probabilities", "columns", F.cross_entropy(x, p, reduction="none")[0]
    for name, target in ("", targets), (", probabilities", p):
        gradient = F.cross_entropy_backward(one, x, target, reduction="none")
        yield f"cross_entropy_backward{name}", "columns", gradient[0].T
    yield "softmax_backward", "columns", F.softmax_backward(g, y, 1)[0].T
    yield "log_softmax_backward", "columns", F.log_softmax_backward(g, log_y, 1)[0].T


def _special_values(dtypes: list[np.dtype[Any]]) -> Iterator[str]:
    """Yield where NaN, an infinity or a mask does not become what it should."""
    nan, inf = np.nan, np.inf
    for dtype, n, columns in itertools.product(dtypes, (3, 100), (False, True)):

        def of(function: Any, x: Array, columns: bool = columns) -> Array:
            result: Array = function(x.T.copy(), 0).T if columns else function(x, 1)
            return result

        x = np.tile(np.linspace(-1, 1, n), (5, 1)).astype(dtype)
        x[0, n // 2], x[1, n // 2], x[2], x[3, n // 2] = nan, inf, -inf, -inf
        softmax, log_softmax, sums = (of(f, x) for f in (F.softmax, F.log_softmax, F.logsumexp))
        none = np.zeros(x.T.shape if columns else x.shape, bool)
        right = {
            "NaN in a row": np.isnan([*softmax[0], *log_softmax[0], sums[0]]).all(),
            "+inf in a row": np.isnan([*softmax[1], *log_softmax[1]]).all() and sums[1] == inf,
            "a row of -inf": np.isnan([*softmax[2], *log_softmax[2]]).all() and sums[2] == -inf,
            "-inf in a row": softmax[3, n // 2] == 0 and log_softmax[3, n // 2] == -inf,
            "the row beside them": (softmax[4] == of(F.softmax, x[4:])[0]).all(),
            "a row masked out": (of(partial(F.softmax, where=none), x) == 0).all(),
        }
        layout = "columns" if columns else "rows"
        yield from (
            f"{what}: {dtype.name}, {layout} of {n}" for what, is_so in right.items() if not is_so
        )


def _threads(dtypes: list[np.dtype[Any]]) -> Iterator[str]:
    """Yield where the bits are others with a team of threads."""
    for dtype in dtypes:
        x = np.random.default_rng(1).normal(size=(200, 1000)).astype(dtype)
        for dim in (0, 1):
            team = F.softmax(x, dim)
            with fastsoftmax.num_threads(1):
                alone = F.softmax(x, dim)
            if team.tobytes() != alone.tobytes():
                yield f"other bits with more threads: {dtype.name}, dim {dim}"
