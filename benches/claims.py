"""What the project promises of its speed, as data: which cells, against whom, how much.

`FOUNDATION` is issue 2's list, `SPEED` issue 4's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import exact
import results
from cases import TABLE, Case, Cell, find, grid
from peers import OURS

BOTH = ("softmax", "log_softmax")
_2_24 = find([f"1x{2**24}"])
_TEN = find(["(10,)"])


@dataclass(frozen=True)
class Claim:
    """A peer's time over ours is at least `each` in every cell and `mean` in the geometric mean.

    `against` is a peer's name, "best" (the quickest of all) or "library" (of all but a loop written
    by hand with Numba).
    """

    text: str
    cells: tuple[Cell, ...]
    against: str = "best"
    each: float | None = None
    mean: float | None = None


def _cells(
    cases: Sequence[Case], ops: Sequence[str] = BOTH, dtype: str = "float32", threads: int = 1
) -> tuple[Cell, ...]:
    return tuple(grid(cases, ops, [dtype], threads))


def foundation() -> list[Claim]:
    shapes = ["128x1000", "4096x64", "12288x128", "4096x1000", "1x128256"]
    last = _cells(find(shapes), ["softmax"])
    double = _cells(find(["128x1000"]), ["softmax"], "float64")
    small = _cells(_TEN, ["softmax"])
    return [
        Claim("float32 rows vs ONNX Runtime", last, "onnxruntime", each=1.0, mean=1.1),
        Claim("float32 rows vs PyTorch", last, "torch", each=2.0),
        Claim("float32 rows vs NumPy", last, "numpy", each=3.0),
        Claim("float32 rows vs SciPy", last, "scipy", each=3.0),
        Claim("float64 rows vs PyTorch", double, "torch", each=2.0),
        Claim("float64 rows vs NumPy", double, "numpy", each=4.0),
        Claim("a call on 10 elements vs PyTorch", small, "torch", each=6.0),
        Claim("a call on 10 elements vs SciPy", small, "scipy", each=20.0),
    ]


def speed(all_threads: int) -> list[Claim]:
    grid32 = _cells(TABLE)
    short = find(["(32, 10)", "(100000, 10)"])
    columns = [c for c in TABLE if not c.last_dim]
    rows = [c for c in TABLE if c.last_dim and c.shape[-1] >= 64 and c not in _2_24]
    sums = find(["128x1000", "32x128256", "100000x10"])
    claims = [
        Claim("every cell", grid32, each=1.0),
        Claim("short rows", _cells(short), each=3.0),
        Claim("a dim that is not the last", _cells(columns), each=2.0),
        Claim("rows of 64 and more", _cells(rows), each=1.2),
        Claim("one long row", _cells(_2_24), each=1.4),
        Claim("a call on 10 elements vs libraries", _cells(_TEN), "library", each=6.0),
        Claim("a call on 10 elements vs a Numba loop", _cells(_TEN), "numba", each=1.8),
        Claim("a call on 10 elements vs np.exp", _cells(_TEN), "np_exp", each=1.0),
        Claim("logsumexp", _cells(sums, ["logsumexp"]), each=3.0),
        Claim("float64", _cells(TABLE, BOTH, "float64"), each=1.0, mean=2.0),
        Claim("float16", _cells(TABLE, BOTH, "float16"), each=1.0, mean=2.0),
        Claim("the grid vs the best peer", grid32, mean=2.5),
        Claim("the grid vs NumPy", grid32, "numpy", mean=12.0),
    ]
    if all_threads > 1:
        copied = _cells(find(["4096x1000", "32x128256"]), ["softmax"], threads=2)
        threaded = _cells(TABLE, BOTH, threads=2)
        claims += [
            Claim("one long row, 2 threads", _cells(_2_24, threads=2), each=2.2),
            Claim("as quick as a copy, 2 threads", copied, "copy", each=1 / 1.15),
            Claim("2 threads no slower than 1", threaded, f"{OURS}@1", each=0.95),
        ]
    return claims


def cells_of(claims: Sequence[Claim]) -> list[Cell]:
    """Every cell the claims need once, those of one array next to each other."""
    found = list(dict.fromkeys(cell for claim in claims for cell in claim.cells))
    arrays = {(c.threads, c.dtype, c.case): i for i, c in enumerate(found)}
    return sorted(found, key=lambda c: arrays[c.threads, c.dtype, c.case])


def judge(claims: Sequence[Claim], run: dict[str, Any], stat: str) -> Iterator[tuple[bool, str]]:
    """Whether each claim holds in a run, with the figures; a cell not measured is a failure."""
    measured = {results.key(cell): cell for cell in run["cells"]}
    for claim in claims:
        ratios: dict[str, float] = {}
        lacking = []
        for cell in claim.cells:
            name = f"{cell.case.name} {cell.op}"
            found = measured.get(results.key(cell.to_json()))
            value = results.ratio(found, claim.against, stat) if found else None
            if value is None:
                lacking.append(name)
            else:
                ratios[name] = value
        mean = results.geometric_mean(ratios.values())
        low = min(ratios, key=ratios.__getitem__, default="")
        passed = not lacking
        parts = []
        if claim.each is not None and ratios:
            passed &= ratios[low] >= claim.each
            parts.append(f"least {ratios[low]:.2f} at {low}, wanted {claim.each:.2f}")
            below = [n for n, v in ratios.items() if v < claim.each and n != low]
            if below:
                parts.append(", ".join(f"{n} {ratios[n]:.2f}" for n in below))
        if claim.mean is not None and ratios:
            passed &= mean >= claim.mean
            parts.append(f"geometric mean {mean:.2f}, wanted {claim.mean:.2f}")
        if lacking:
            parts.append(f"not measured: {', '.join(lacking)}")
        yield passed, f"{claim.text}: {'; '.join(parts)}"
    yield _judge_errors(run)


def _judge_errors(run: dict[str, Any]) -> tuple[bool, str]:
    worst: dict[tuple[str, str], float] = {}
    for cell in run["cells"]:
        error = cell["implementations"].get(OURS, {}).get("max_ulp")
        if error is not None:
            kind = (cell["op"], cell["dtype"])
            worst[kind] = max(worst.get(kind, 0.0), error)
    over = [k for k, v in worst.items() if v > exact.bound(*k)]
    figures = ", ".join(f"{op} {dtype} {worst[op, dtype]:.2f}" for op, dtype in worst)
    return not over and bool(worst), f"max ULP on the same inputs: {figures or 'not measured'}"
