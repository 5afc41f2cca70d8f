"""Errors in units in the last place, against exact results that are not rounded to any format."""

from typing import NamedTuple

import numpy as np


class Format(NamedTuple):
    """A binary format: bits of precision, exponents of the least normal and the largest number."""

    precision: int
    least: int
    largest: int


FORMATS = {
    "float64": Format(53, -1022, 1023),
    "float32": Format(24, -126, 127),
    "bfloat16": Format(8, -126, 127),
    "float16": Format(11, -14, 15),
}


def error(result, exact, largest=None):
    """``|result - exact| / ulp`` of each element; the ulp is that of `exact` rounded to the format.

    Below the least normal number the ulp is the spacing of the subnormals. Where `largest` is
    given, the ulp is that of the larger of `exact` and `largest`. NaN against NaN and an infinity
    against the same infinity, or against a value that rounds to it, count 0; every other meeting
    with NaN or infinity counts inf.
    """
    fmt = FORMATS[result.dtype.name]
    got = np.asarray(result).astype(np.float64)
    hi, lo, e = (np.asarray(part) for part in exact)
    top = _exponent(hi, fmt) + e
    if largest is not None:
        top = np.maximum(top, _exponent(largest, fmt))
    last_place = np.clip(top, fmt.least, fmt.largest) - (fmt.precision - 1)
    with np.errstate(all="ignore"):
        finite = np.abs(np.ldexp(np.abs((np.ldexp(got, -e) - hi) - lo), e - last_place))
    rounds_to_inf = _exponent(hi, fmt) + e > fmt.largest
    right = np.where(rounds_to_inf, got == np.copysign(np.inf, hi), False)
    right |= (got == hi) | (np.isnan(got) & np.isnan(hi))
    special = ~np.isfinite(got) | ~np.isfinite(hi)
    return np.where(special, np.where(right, 0.0, np.inf), finite)


def _exponent(value, fmt):
    """The exponent of `value` rounded to the format; far below every format for 0, inf and NaN."""
    with np.errstate(invalid="ignore"):
        mantissa, exponent = np.frexp(np.abs(np.asarray(value)))
        carried = np.rint(np.ldexp(mantissa, fmt.precision)) == 2.0**fmt.precision
    return np.where(np.isfinite(value) & (mantissa > 0), exponent - 1 + carried, -100_000)
