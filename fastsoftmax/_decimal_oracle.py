"""Exact results from Python's decimal module, for the self-test of an installed package.

It shares nothing with the kernels, and is the same on every platform. Results are `Exact`, which
`error` compares with what a kernel gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Numbers = list[Decimal]

CONTEXT = Context(prec=50, Emin=MIN_EMIN, Emax=MAX_EMAX)
SERIES = Decimal("1e-15")  # below it log1p is three terms of its series

# Bits of precision, and the exponent of the least normal number.
FORMATS = {
    "float32": (24, -126),
    "float64": (53, -1022),
    "float16": (11, -14),
    "bfloat16": (8, -126),
}


class Exact(NamedTuple):
    """The numbers ``(hi + lo) * 2**unit``; 2**unit is what errors are counted in."""

    hi: Array
    lo: Array
    unit: Array


class Row(NamedTuple):
    """One row, and what the losses and gradients take with it."""

    x: Array
    target: int  # a class
    p: Array  # probabilities of the classes
    g: Array  # gradients with respect to the outputs
    y: Array  # outputs of softmax
    log_y: Array  # outputs of log_softmax


def error(result: Array, exact: Exact) -> float:
    """The worst error of `result` in units in the last place; inf where it is NaN or infinite."""
    with np.errstate(all="ignore"):
        off = np.abs((np.ldexp(result.astype(np.float64), -exact.unit) - exact.hi) - exact.lo)
    return float(np.max(np.where(np.isnan(off), np.inf, off)))


def stacked(results: Iterable[Exact]) -> Exact:
    """Several rows' results as a matrix's."""
    return Exact(*(np.stack(parts) for parts in zip(*results, strict=True)))


def functions(x: Array) -> dict[str, Exact]:
    """softmax, log_softmax, softmin and logsumexp of a row, whose equal elements cost one."""
    values, places, counts = np.unique(
        x.astype(np.float64), return_inverse=True, return_counts=True
    )
    with localcontext(CONTEXT):
        row, times = _decimals(values), counts.tolist()
        softmax, log_softmax, logsumexp = _reduced(row, times)
        softmin, _, _ = _reduced([-value for value in row], times)
        found = {"softmax": softmax, "log_softmax": log_softmax, "softmin": softmin}
        exact = {name: _rounded(result, x.dtype.name) for name, result in found.items()}
        largest = max(abs(logsumexp), abs(row[-1]))
        exact["logsumexp"] = _rounded([logsumexp], x.dtype.name, [largest])
    for name in found:
        exact[name] = Exact(*(part[places] for part in exact[name]))
    exact["logsumexp"] = Exact(*(part[0] for part in exact["logsumexp"]))
    return exact


def losses(row: Row) -> dict[str, Exact]:
    """The losses of a row and the gradients, those of the losses for a gradient of 1."""
    dtype = row.x.dtype.name
    with localcontext(CONTEXT):
        x, p, g, y, log_y = map(_decimals, (row.x, row.p, row.g, row.y, row.log_y))
        softmax, log_softmax, _ = _reduced(x, [1] * len(x))
        entropy = -_dot(p, log_softmax)
        class_gradient = list(softmax)
        class_gradient[row.target] = -sum(
            (value for i, value in enumerate(softmax) if i != row.target), Decimal(0)
        )
        wanted = sum(p)
        terms = [(softmax[i] * wanted, p[i]) for i in range(len(x))]
        products, absolute = _dot(g, y), _dot(map(abs, g), y)
        exps, total, absolute_total = [value.exp() for value in log_y], sum(g), sum(map(abs, g))
        return {
            "cross_entropy": _one(-log_softmax[row.target], dtype),
            "cross_entropy, probabilities": _one(entropy, dtype),
            "cross_entropy_backward": _rounded(class_gradient, dtype),
            "cross_entropy_backward, probabilities": _rounded(
                [a - b for a, b in terms], dtype, [a + b for a, b in terms]
            ),
            "softmax_backward": _rounded(
                [b * (a - products) for a, b in zip(g, y, strict=True)],
                dtype,
                [b * (abs(a) + absolute) for a, b in zip(g, y, strict=True)],
            ),
            "log_softmax_backward": _rounded(
                [a - b * total for a, b in zip(g, exps, strict=True)],
                dtype,
                [abs(a) + b * absolute_total for a, b in zip(g, exps, strict=True)],
            ),
        }


def _decimals(values: Array) -> Numbers:
    return [Decimal(value) for value in values.astype(np.float64).tolist()]


def _dot(a: Iterable[Decimal], b: Iterable[Decimal]) -> Decimal:
    return sum((first * second for first, second in zip(a, b, strict=True)), Decimal(0))


def _reduced(row: Numbers, times: Sequence[int]) -> tuple[Numbers, Numbers, Decimal]:
    """softmax, log_softmax and logsumexp of a row that holds each value so many times."""
    top = max(row)
    first = row.index(top)
    gaps = [value - top for value in row]
    exps = [gap.exp() for gap in gaps]
    others = [count - (i == first) for i, count in enumerate(times)]
    rest = _dot(map(Decimal, others), exps)
    log1p = rest * (1 - rest / 2 + rest * rest / 3) if rest < SERIES else (1 + rest).ln()
    return [exp / (1 + rest) for exp in exps], [gap - log1p for gap in gaps], top + log1p


def _one(value: Decimal, dtype: str) -> Exact:
    return Exact(*(part[0] for part in _rounded([value], dtype)))


def _rounded(values: Numbers, dtype: str, largest: Numbers | None = None) -> Exact:
    """The values in units of the last place, of their own or of those of `largest`."""
    precision, least = FORMATS[dtype]
    hi, lo, unit = [], [], []
    for value, large in zip(values, largest or values, strict=True):
        number = float(large)
        exponent = math.frexp(number)[1] - 1 if number else least
        unit.append(max(exponent, least) - precision + 1)
        scaled = value / _power_of_two(unit[-1])
        hi.append(float(scaled))
        lo.append(float(scaled - Decimal(hi[-1])))
    return Exact(np.array(hi), np.array(lo), np.array(unit))


@cache
def _power_of_two(exponent: int) -> Decimal:
    return Decimal(2) ** exponent
