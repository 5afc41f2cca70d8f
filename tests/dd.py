"""Double-double arithmetic over NumPy arrays: a number is a sum ``hi + lo`` of two float64.

No fused multiply-add is assumed, so the results are the same on every platform with IEEE doubles.
Every function is good to about 2**-95 relative to its result, for magnitudes between 2**-900 and
2**900; `exp` and `log1p` to 2**-72 or better, which is 2**-19 units in the last place of a float64.
`test_oracle.py` holds them to that.
"""

import decimal

import numpy as np

_SPLITTER = 2.0**27 + 1.0  # Dekker's, for 53 bits
_CHUNK = 1 << 14  # elements at a time, so that the temporaries stay in the cache
_TABLE = 1024  # exponentials 2**(j/1024) by table


def two_sum(a, b):
    """``a + b`` exactly (Knuth)."""
    s = a + b
    b_seen = s - a
    return s, (a - (s - b_seen)) + (b - b_seen)


def two_prod(a, b):
    """``a * b`` exactly (Dekker), barring overflow of the split at 2**996."""
    p = a * b
    a_hi, a_lo = _split(a)
    b_hi, b_lo = _split(b)
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


def add(x, y):
    """Sum of two double-doubles."""
    s, e = two_sum(x[0], y[0])
    t, f = two_sum(x[1], y[1])
    s, e = _fast_two_sum(s, e + t)
    return _fast_two_sum(s, e + f)


def mul(x, y):
    """Product of two double-doubles."""
    p, e = two_prod(x[0], y[0])
    return _fast_two_sum(p, e + (x[0] * y[1] + x[1] * y[0]))


def div(x, y):
    """Quotient of two double-doubles, by two corrections of the leading quotient."""
    q = x[0] / y[0]
    rest = add(x, neg(mul((q, 0.0), y)))
    q2 = rest[0] / y[0]
    rest = add(rest, neg(mul((q2, 0.0), y)))
    hi, lo = _fast_two_sum(q, q2)
    return add((hi, lo), (rest[0] / y[0], 0.0))


def neg(x):
    return -x[0], -x[1]


def scale(x, e):
    """``x * 2**e``, exact where nothing underflows."""
    return np.ldexp(x[0], e), np.ldexp(x[1], e)


def total(x):
    """Sum over the last axis, by halves."""
    hi, lo = x
    n = hi.shape[-1]
    if n == 0:
        return np.zeros(hi.shape[:-1]), np.zeros(hi.shape[:-1])
    while n > 1:
        half = n // 2
        s = add(
            (hi[..., :half], lo[..., :half]), (hi[..., half : 2 * half], lo[..., half : 2 * half])
        )
        if n % 2:
            s = tuple(
                np.concatenate([a, b[..., n - 1 : n]], axis=-1)
                for a, b in zip(s, (hi, lo), strict=True)
            )
        hi, lo = s
        n = hi.shape[-1]
    return hi[..., 0], lo[..., 0]


def exp(x, bias=0):
    """``exp(x) * 2**bias``; `bias` keeps small exponentials clear of the subnormals."""
    hi, lo = np.broadcast_arrays(*x)
    out_hi, out_lo = np.empty(hi.size), np.empty(hi.size)
    hi, lo = hi.ravel(), lo.ravel()
    for i in range(0, hi.size, _CHUNK):
        part = slice(i, i + _CHUNK)
        out_hi[part], out_lo[part] = _exp_chunk(hi[part], lo[part], bias)
    shape = np.shape(x[0])
    return out_hi.reshape(shape), out_lo.reshape(shape)


def _exp_chunk(hi, lo, bias):
    """With x = n * ln2/1024 + r, exp(x) = 2**(n // 1024) * 2**(n % 1024 / 1024) * exp(r)."""
    n = np.rint(hi * (1 / (_STEP[0] + _STEP[1])))
    # n has at most 21 bits and the first two parts of the step 32, so those two products are exact.
    r = add(two_sum(hi, -n * _STEP[0]), (-n * _STEP[1], lo - n * _STEP[2]))
    square, square_lo = two_prod(r[0], r[0])
    tail = r[0] * square * (1 / 6 + r[0] * (1 / 24 + r[0] * (1 / 120 + r[0] * (1 / 720))))
    q = add(r, two_sum(0.5 * square, (0.5 * square_lo + r[0] * r[1]) + tail))
    k = n.astype(np.int64)
    power = _POWER_HI[k % _TABLE], _POWER_LO[k % _TABLE]
    return scale(add(power, mul(power, q)), k // _TABLE + bias)


def log1p(x):
    """log(1 + x) for x >= 0."""
    hi = x[0]
    # One Newton step from the float64 logarithm y: y + ((1 + x) * exp(-y) - 1), whose error is the
    # square of y's.
    y = np.log1p(hi)
    step = add(
        mul(add((np.ones_like(hi), np.zeros_like(hi)), x), exp((-y, np.zeros_like(y)))), (-1.0, 0.0)
    )
    newton = add((y, np.zeros_like(y)), step)
    series = log1p_small(x, hi)
    small = hi < 2.0**-20
    return tuple(np.where(small, s, t) for s, t in zip(series, newton, strict=True))


def log1p_small(x, true_hi):
    """log(1 + t) for t < 2**-20, of which `true_hi` is the leading part and `x` any multiple.

    The result is the same multiple: x * (1 - t/2 + t**2/3 - t**3/4 + ...).
    """
    t = np.minimum(true_hi, 2.0**-20)
    return add(x, mul(x, two_sum(-0.5 * t, t * t * (1 / 3 - t * (1 / 4 - t * (1 / 5))))))


def _split(a):
    c = _SPLITTER * a
    hi = c - (c - a)
    return hi, a - hi


def _fast_two_sum(a, b):
    """``a + b`` exactly where |a| >= |b| or a is 0."""
    s = a + b
    return s, b - (s - a)


def _constants():
    """ln2/1024 in parts of 32, 32 and 53 bits, and all 2**(j/1024), from the decimal module."""
    with decimal.localcontext() as context:
        context.prec = 60
        step = decimal.Decimal(2).ln() / _TABLE
        parts = []
        for bits in (32, 32, 53):
            mantissa, exponent = np.frexp(float(step))
            parts.append(float(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)))
            step -= decimal.Decimal(parts[-1])
        powers = [(decimal.Decimal(2).ln() * j / _TABLE).exp() for j in range(_TABLE)]
        hi = [float(p) for p in powers]
        lo = [float(p - decimal.Decimal(h)) for p, h in zip(powers, hi, strict=True)]
    return parts, np.array(hi), np.array(lo)


_STEP, _POWER_HI, _POWER_LO = _constants()
