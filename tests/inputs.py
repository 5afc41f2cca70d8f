"""Inputs shared by the tests and the accuracy table: sizes, and the hard cases.

A hard case is a function of (dtype, rng) that yields two-dimensional arrays, each row a problem of
its own.
"""

import functools

import numpy as np

try:
    import ml_dtypes
except ModuleNotFoundError:
    DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")}
else:
    DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")}
    DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)

# Lanes of the widest vector any target has; those of the narrower ones divide it.
WIDTH = {"float32": 16, "float64": 8, "float16": 16, "bfloat16": 16}

# Rows longer than this are cut into parts.
LONG_ROW = 65536

# Beyond this gap to the maximum an exponential rounds to 0.
LAST_GAP = {"float32": 104.0, "float64": 745.2, "float16": 17.4, "bfloat16": 93.0}

LARGEST = {
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
}


def tiny(dtype):
    """The least normal number."""
    return 2.0**-14 if dtype == "float16" else 2.0**-1022 if dtype == "float64" else 2.0**-126


def sizes(dtype):
    """Row lengths around the vector width, the short row and the blocks of 128 and 256."""
    w = WIDTH[dtype]
    around = {1, 2, 3, w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1, 97, 1000}
    around |= set(range(4, 7)) | set(range(62, 67)) | {127, 128, 129, 255, 256, 257}
    return sorted(around)


def long_sizes(dtype):
    """Row lengths around the long row, and past several blocks of it."""
    n = LONG_ROW
    return [n - 1, n, n + 1, 2 * n + 1, 3 * n + 12345]


def normal(dtype, shape, seed, scale=3.0, offset=0.0):
    """Normal numbers; what is beyond the dtype is its largest number."""
    values = np.random.default_rng(seed).normal(size=shape) * scale + offset
    return fit(values, dtype)


def fit(values, dtype):
    """`values` rounded to `dtype`, finite ones to finite ones."""
    limit = LARGEST[dtype]
    finite = np.isfinite(values)
    return np.where(finite, np.clip(values, -limit, limit), values).astype(DTYPES[dtype])


def short_rows(dtype, rng):
    for n in range(2, 17):
        for scale in (1, 5, 30):
            yield fit(rng.normal(size=(60, n)) * scale, dtype)


def one_outlier(dtype, rng):
    gaps = np.linspace(0, LAST_GAP[dtype] + 3, 40)[:, np.newaxis]
    for n in (3, 16, 61, 64, 1000):
        for sign in (1, -1):
            x = np.full((40, n), 0.7)
            x[np.arange(40), rng.integers(0, n, 40)] += sign * gaps[:, 0]
            yield fit(x, dtype)


def few_big_many_tiny(dtype, rng):
    for n, big in ((200, 1), (3000, 3), (50000, 2)):
        gaps = np.linspace(2, min(40, LAST_GAP[dtype] - 1), 12)[:, np.newaxis]
        x = -gaps + rng.uniform(-0.5, 0.5, size=(12, n))
        x[:, rng.choice(n, big, replace=False)] = rng.uniform(0, 0.5, size=(12, big))
        yield fit(x, dtype)


def two_classes(dtype, rng):
    gaps = np.linspace(0, LAST_GAP[dtype] + 5, 4000)
    base = rng.normal(size=4000)
    for sign in (1, -1):
        yield fit(np.stack([base, base + sign * gaps], axis=-1), dtype)
    yield fit(np.stack([0 * gaps, 2.0 ** rng.uniform(-30, 3, gaps.size)], axis=-1), dtype)


def offsets(dtype, rng):
    for offset in (1, -10, 100, -1e3, 1e4, -1e4):
        for n in (10, 100, 1000):
            yield fit(rng.normal(size=(10, n)) * 3 + offset, dtype)


def rounding_trick(dtype, rng):
    """Maxima around where adding 1.5 * 2**p to round to an integer loses its place."""
    for magnitude in 2.0 ** np.arange(12, 34):
        x = magnitude * (1 + rng.uniform(-1e-6, 1e-6, size=(4, 40)))
        x[1::2] *= -1
        x[:, ::3] += rng.normal(size=x[:, ::3].shape)
        yield fit(x, dtype)


def huge(dtype, rng):
    largest = LARGEST[dtype]
    yield fit(np.array([[largest, -largest], [-largest, -largest], [largest, largest]]), dtype)
    x = rng.choice([largest, -largest, 0.0, 1.0, -1.0], size=(60, 33))
    yield fit(x, dtype)
    x = rng.normal(size=(60, 70))
    x[:, ::4] = -largest  # a finite mask
    x[::3, 5] = largest
    yield fit(x, dtype)
    top = min(1e30, largest / 2)
    yield fit(
        top * (1 + rng.integers(-3, 3, size=(30, 20)) * float(np.finfo(np.float32).eps)), dtype
    )
    yield fit(-top * rng.uniform(0.1, 1, size=(30, 20)), dtype)


def masked_by_infinity(dtype, rng):
    for n in (5, 40, 100, 700):
        x = rng.normal(size=(20, n)) * 3
        x[rng.random(x.shape) < 0.6] = -np.inf
        x[:, rng.integers(n)] = 1.0
        yield fit(x, dtype)


def subnormal_results(dtype, rng):
    gap = LAST_GAP[dtype]
    for n in (2, 9, 16, 70, 1000):
        x = -rng.uniform(
            gap - {"float64": 40.0, "float16": 9.0}.get(dtype, 18.0), gap, size=(40, n)
        )
        x[np.arange(40), rng.integers(0, n, 40)] = 0
        yield fit(x, dtype)


def confident(dtype, rng):
    """log_softmax close to 0, down to the subnormal numbers."""
    gap = LAST_GAP[dtype]
    for n in (2, 8, 30, 100, 2000):
        least = rng.uniform(0.5, gap, size=(60, 1))
        x = -least - rng.exponential(3, size=(60, n))
        x[np.arange(60), rng.integers(0, n, 60)] = 0
        yield fit(x + rng.choice([0, 1, -2.5, 40], size=(60, 1)), dtype)
    # each too small for a number of its own, many not
    for n in (500, 8192, 70_000):
        x = -gap - rng.exponential(2, size=(4, n)) - np.array([[0], [3], [5], [8]])
        x[:, n // 3] = 0
        yield fit(x, dtype)


def near_ties(dtype, rng):
    """Multiples of ln2/2 and their neighbours, where the exponential changes its integer."""
    gap = LAST_GAP[dtype]
    steps = np.arange(0, int(gap / np.log(2)) + 2) + 0.5
    x = fit(-np.concatenate([steps, steps + 0.5]) * np.log(2), dtype)
    around = (
        [np.nextafter(x, x.dtype.type(s)) for s in (-np.inf, np.inf)] if dtype != "bfloat16" else []
    )
    x = np.concatenate([x, *around])
    yield np.stack([np.zeros_like(x), x, np.zeros_like(x)], axis=-1)
    yield x[np.newaxis]


def cancelling(dtype, rng):
    """Rows whose logsumexp is close to 0: its two parts, m and log1p(R), all but cancel."""
    for n in (2, 3, 5, 16, 70, 500):
        rows = 10_000 // n
        x = rng.normal(size=(rows, n)) * rng.choice([0.1, 1, 3], size=(rows, 1))
        sums = np.log(np.sum(np.exp(x), axis=1, keepdims=True))
        yield fit(x - sums * rng.uniform(0.3, 1.2, size=(rows, 1)), dtype)
        yield fit(x - sums, dtype)


def small_inputs(dtype, rng):
    tiny = 2.0 ** rng.uniform(-140 if dtype != "float16" else -24, -1, size=(40, 25))
    yield fit(tiny * rng.choice([-1, 1], size=tiny.shape), dtype)
    yield fit(rng.choice([0.0, -0.0], size=(10, 11)), dtype)


HARD = {
    "rows of 2 to 16": short_rows,
    "constant and one outlier": one_outlier,
    "few big and many tiny": few_big_many_tiny,
    "two classes, any gap": two_classes,
    "offsets to 1e4": offsets,
    "maxima of 2**12 to 2**33": rounding_trick,
    "the largest numbers mixed": huge,
    "-inf as a mask": masked_by_infinity,
    "subnormal results": subnormal_results,
    "confident rows": confident,
    "multiples of ln2/2": near_ties,
    "logsumexp close to 0": cancelling,
    "small inputs": small_inputs,
}


@functools.cache
def hard(name, dtype):
    """The arrays of a hard case, read-only."""
    arrays = tuple(HARD[name](dtype, np.random.default_rng(sum(name.encode()))))
    for x in arrays:
        x.setflags(write=False)
    return arrays
