"""How far a result is from the exact one, in units of the result's last place (ULP).

The exact values come from long double with the rounding of `x - max` carried along, which is good
to about 0.002 ULP of a double where long double has 64 bits or more. Where it is no wider than a
double, errors of float64 are not judged. Rows are sampled, their sums are over every element.
"""

from __future__ import annotations

import numpy as np

from cases import dtype_of

WIDE = np.longdouble
# Elements judged for one array; a row longer than that is judged at evenly spaced places.
BUDGET = 200_000
_CHUNK = 1 << 20

# What the project promises, in ULP: of the result, or for logsumexp of the larger of |result| and
# |max|. float16 and bfloat16 are computed wide and rounded once.
BOUNDS = {"float32": 3.0, "float64": 3.0, "float16": 0.51, "bfloat16": 0.51}
LOGSUMEXP_BOUNDS = BOUNDS | {"float32": 2.0, "float64": 2.0}


def bound(op: str, dtype: str) -> float:
    return (LOGSUMEXP_BOUNDS if op == "logsumexp" else BOUNDS)[dtype]


def judges(dtype: str) -> bool:
    return dtype != "float64" or np.finfo(WIDE).nmant > np.finfo(np.float64).nmant + 8


class Exact:
    """The exact softmax, log_softmax, softmin and logsumexp of a sample of an array's rows."""

    def __init__(self, x: np.ndarray, dim: int) -> None:
        self.dim = dim
        rows = _rows(x, dim)
        count, n = rows.shape
        self.taken = np.linspace(0, count - 1, min(count, max(1, BUDGET // n))).astype(np.intp)
        self.columns = np.linspace(0, n - 1, min(n, BUDGET)).astype(np.intp)
        self.sample = _widen(rows[self.taken])
        self._carriers: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._values: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _carrier(self, sign: int) -> tuple[np.ndarray, np.ndarray]:
        """(m, R) of every sampled row: its maximum, and the sum of all other exp(x - m)."""
        if sign not in self._carriers:
            top = np.max(sign * self.sample, axis=-1, keepdims=True)
            at = np.argmax(sign * self.sample, axis=-1)
            rest = np.zeros(top.shape, WIDE)
            for start in range(0, self.sample.shape[-1], _CHUNK):
                part = sign * self.sample[:, start : start + _CHUNK]
                e = _exp_difference(part, top)
                mine = (at >= start) & (at < start + part.shape[-1])
                e[np.flatnonzero(mine), at[mine] - start] = 0
                rest[:, 0] += e.sum(axis=-1)
            self._carriers[sign] = (top.astype(WIDE), rest)
        return self._carriers[sign]

    def values(self, op: str) -> tuple[np.ndarray, np.ndarray]:
        """The exact results of the sample, and the magnitudes whose last place is the unit."""
        if op not in self._values:
            self._values[op] = self._work_out(op)
        return self._values[op]

    def _work_out(self, op: str) -> tuple[np.ndarray, np.ndarray]:
        sign = -1 if op == "softmin" else 1
        top, rest = self._carrier(sign)
        if op == "logsumexp":
            value = (top + np.log1p(rest))[:, 0]
            return value, np.maximum(abs(value), abs(top[:, 0]))
        x = sign * self.sample[:, self.columns]
        if op == "log_softmax":
            high, low = _difference(x, top)
            value = high + (low - np.log1p(rest))
        else:
            value = _exp_difference(x, top) / (1 + rest)
        return value, abs(value)

    def max_ulp(self, result: np.ndarray, op: str, dtype: str) -> float | None:
        """The largest error of `result` over the sample; inf for a NaN; None if not judged."""
        if not judges(dtype):
            return None
        expected, magnitude = self.values(op)
        if op == "logsumexp":
            got = _widen(np.asarray(result).reshape(-1)[self.taken])
        else:
            got = _widen(_rows(np.asarray(result), self.dim)[self.taken][:, self.columns])
        error = abs(got - expected) / _last_place(magnitude, dtype)
        return float(np.max(np.where(np.isnan(error), np.inf, error)))


def _rows(x: np.ndarray, dim: int) -> np.ndarray:
    return np.moveaxis(x, dim, -1).reshape(-1, x.shape[dim])


def _widen(x: np.ndarray) -> np.ndarray:
    # Every value of the narrow types is a double, so this is exact.
    return x.astype(np.float64) if x.dtype != WIDE else x


def _difference(x: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x - top as a long double and what its rounding lost (Knuth's two-sum)."""
    a, b = x.astype(WIDE), -top.astype(WIDE)
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


def _exp_difference(x: np.ndarray, top: np.ndarray) -> np.ndarray:
    high, low = _difference(x, top)
    return np.exp(high) * (1 + low)


def _last_place(magnitude: np.ndarray, dtype: str) -> np.ndarray:
    info = _finfo(dtype)
    _, exponent = np.frexp(magnitude)
    exponent = np.maximum(exponent - 1, info.minexp) - info.nmant
    return np.ldexp(WIDE(1), exponent)


def _finfo(dtype: str) -> np.finfo:
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.finfo(dtype_of(dtype))
    return np.finfo(dtype)
