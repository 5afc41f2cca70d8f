"""The exact results, unrounded, that the tests measure against.

    exact("softmax", x, dim)               # hi + lo
    error_ulp("softmax", x, result, dim)   # the worst error of a result, in units of its last place
    rows = Rows(x, dim)                    # float64: one reduction, then rows.softmax() and so on

float64 goes through double-double arithmetic, whatever `long double` is on the platform. float32
and narrower go through the package's own long double reference, which is more than exact enough for
them (2**-53 at its worst, where long double is double); `test_oracle.py` holds both to 60-digit
arithmetic and to each other.
"""

import functools
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple

import numpy as np

import dd
import ulp
from fastsoftmax import _reference

OPS = ("softmax", "log_softmax", "softmin", "logsumexp")

# Exponentials are held times 2**600: those that round to subnormal numbers keep all their digits.
BIAS = 600
_LOWEST = -1200.0  # exp below this is under 2**-1731, and no float64 result depends on it
_TINY = 2.0**-40


class Exact(NamedTuple):
    """The numbers ``(hi + lo) * 2**e``; where one is inf or NaN, `hi` says so and `lo` is 0."""

    hi: np.ndarray
    lo: np.ndarray
    e: np.ndarray | int


def _key(argument):
    """What tells arguments apart by which a result may differ: not how an array lies in memory."""
    if isinstance(argument, dict):
        return tuple((name, _key(value)) for name, value in argument.items())
    if not isinstance(argument, np.ndarray):
        return type(argument), repr(argument)  # 0.0 equals -0.0
    numbers = np.ascontiguousarray(argument, argument.dtype.newbyteorder("="))
    return numbers.dtype.name, argument.shape, numbers.tobytes()


def remembered(function):
    """`function` with its latest results at hand: most tests ask for one of theirs several times.

    Every target, layout and thread count is measured against the same numbers.
    """
    results = OrderedDict()

    @functools.wraps(function)
    def remembering(*arguments):
        key = tuple(map(_key, arguments))
        if key in results:
            results.move_to_end(key)
            return results[key]
        results[key] = result = function(*arguments)
        if len(results) > 32:
            results.popitem(last=False)
        return result

    return remembering


@remembered
def exact(op, x, dim=-1, where=None):
    """The exact result of `op` on `x` over `dim` (an int or a tuple of ints), as an `Exact`."""
    if x.dtype == np.float64:
        rows = Rows(-x if op == "softmin" else x, dim, where)
        return getattr(rows, op.replace("softmin", "softmax"))()
    value = np.asarray(getattr(_reference, op)(x, dim, where=where))
    return _split(value)


def error_ulp(op, x, result, dim=-1, where=None, against=None):
    """The worst error of `result`, in units in the last place; inf for a wrong NaN or infinity.

    That of logsumexp is counted in last places of the larger of the result and the row's maximum.
    """
    against = exact(op, x, dim, where) if against is None else against
    if result.shape != against.hi.shape:
        raise AssertionError(f"shape {result.shape}, not {against.hi.shape}")
    largest = row_max(x, dim, where) if op == "logsumexp" else None
    return float(np.max(ulp.error(result, against, largest), initial=0.0))


def row_max(x, dim, where=None):
    """The absolute value of each row's maximum, as float64."""
    axes = _reference._axes(dim, x.ndim)
    taken = True if where is None else np.broadcast_to(where, x.shape)
    axes = axes if x.ndim else ()
    with np.errstate(invalid="ignore"):  # a signalling NaN
        wide = x.astype(np.float64)
    return np.abs(np.max(wide, axis=axes, initial=-np.inf, where=taken))


class Rows:
    """float64 rows over `dim`, reduced once to (m, R) in double-double."""

    def __init__(self, x, dim=-1, where=None):
        axes = _reference._axes(dim, x.ndim)
        self._given_shape = x.shape
        x, taken = (
            np.atleast_1d(a) for a in np.broadcast_arrays(x, True if where is None else where)
        )
        self._axes, self._shape = axes, x.shape
        self.x, self.taken = self._to_rows(x), self._to_rows(taken)
        self.m = np.max(self.x, axis=-1, keepdims=True, initial=-np.inf, where=self.taken)
        self.finite = np.isfinite(self.m)

    def _to_rows(self, a):
        kept = [i for i in range(a.ndim) if i not in self._axes]
        rest = [a.shape[i] for i in self._axes]
        return a.transpose(kept + list(self._axes)).reshape(
            [a.shape[i] for i in kept] + [int(np.prod(rest))]
        )

    def _from_rows(self, *parts):
        order = self._to_rows(np.arange(np.prod(self._shape, dtype=int)).reshape(self._shape))
        restored = []
        for part in parts:
            restored.append(np.empty(self._shape, part.dtype))
            restored[-1].reshape(-1)[order] = part
        return Exact(*(part.reshape(self._given_shape) for part in restored))

    @cached_property
    def gap(self):
        """``x - m`` exactly; -inf where it overflows or the element is not taken."""
        m = np.where(self.finite, self.m, 0.0)
        with np.errstate(all="ignore"):
            hi, lo = dd.two_sum(np.where(self.taken, self.x, -np.inf), -m)
        return hi, np.where(np.isfinite(hi), lo, 0.0)

    @cached_property
    def exps(self):
        """``exp(x - m) * 2**BIAS``, 0 where it does not matter to any float64."""
        hi, lo = self.gap
        counts = (hi > _LOWEST) & (hi <= 0)  # a gap above 0 is of a row with no finite maximum
        clamped = np.where(counts, hi, 0.0), np.where(counts, lo, 0.0)
        return tuple(np.where(counts, part, 0.0) for part in dd.exp(clamped, BIAS))

    @cached_property
    def rest(self):
        """R: the sum of the exponentials of all but one maximum, times 2**BIAS."""
        hi, lo = (part.copy() for part in self.exps)
        if hi.shape[-1]:
            first = np.argmax(self.taken & (self.x == self.m), axis=-1)[..., np.newaxis]
            np.put_along_axis(hi, first, 0.0, axis=-1)
            np.put_along_axis(lo, first, 0.0, axis=-1)
        hi, lo = dd.total((hi, lo))
        return hi[..., np.newaxis], lo[..., np.newaxis]

    @cached_property
    def log1p_rest(self):
        """log1p(R), and the same times 2**BIAS (right for R < 2**-40 only)."""
        rest = dd.scale(self.rest, -BIAS)
        return dd.log1p(rest), dd.log1p_small(self.rest, rest[0])

    def softmax(self):
        rest = dd.scale(self.rest, -BIAS)
        one = np.ones_like(rest[0]), np.zeros_like(rest[0])
        hi, lo = dd.div(self.exps, dd.add(one, rest))
        hi = np.where(self.taken, np.where(self.finite, hi, np.nan), 0.0)
        return self._from_rows(hi, np.where(np.isfinite(hi), lo, 0.0), np.full(hi.shape, -BIAS))

    def log_softmax(self):
        log, log_biased = self.log1p_rest
        with np.errstate(all="ignore"):
            hi, lo = dd.add(self.gap, dd.neg(log))
        # -inf elements have -inf; differences that overflow are beyond every float64 as well.
        hi = np.where(np.isneginf(self.gap[0]), -np.inf, hi)
        near_zero = (self.gap[0] == 0) & (self.rest[0] < _TINY * 2.0**BIAS)
        hi, lo = (np.where(near_zero, -b, a) for a, b in zip((hi, lo), log_biased, strict=True))
        hi = np.where(self.taken, np.where(self.finite, hi, np.nan), -np.inf)
        return self._from_rows(
            hi, np.where(np.isfinite(hi), lo, 0.0), np.where(near_zero, -BIAS, 0)
        )

    def logsumexp(self):
        log, log_biased = self.log1p_rest
        m = np.where(self.finite, self.m, 0.0)
        plain = dd.add((m, np.zeros_like(m)), log)
        tiny = (np.abs(m) < 2.0**-300) & (self.rest[0] < _TINY * 2.0**BIAS)
        biased = dd.add((np.where(tiny, m, 0.0) * 2.0**BIAS, np.zeros_like(m)), log_biased)
        hi, lo = (np.where(tiny, b, a) for a, b in zip(plain, biased, strict=True))
        hi, lo = np.where(self.finite, hi, self.m), np.where(self.finite, lo, 0.0)
        return Exact(hi[..., 0], lo[..., 0], np.where(tiny, -BIAS, 0)[..., 0])


def _split(value):
    """A long double array as an `Exact`."""
    with np.errstate(all="ignore"):
        hi = value.astype(np.float64)
        lo = (value - hi).astype(np.float64)
    return Exact(hi, np.where(np.isfinite(hi), lo, 0.0), 0)
