"""Every operation on every target within its bound: rows of every length, the hard inputs."""

import functools

import numpy as np
import pytest

import inputs
import oracle
from checks import FLOATS, OPS, assert_exact, call

pytestmark = pytest.mark.usefixtures("isa")

SIZES = [(dtype, n) for dtype in FLOATS for n in inputs.sizes(dtype)]
LONG = [(dtype, n) for dtype in FLOATS for n in inputs.long_sizes(dtype)]


@functools.cache
def _rows(dtype, n):
    """Few and many rows of one length, scales 1 to 30, so that groups of rows are full and not."""
    counts = (1, 2, 19, 37) if n < 300 else (1, 3)
    scales = np.array([1, 3, 10, 30])
    arrays = []
    for count in counts:
        scale = scales[np.arange(count) % 4][:, np.newaxis]
        arrays.append(inputs.normal(dtype, (count, n), seed=count * 10000 + n, scale=scale))
    return tuple(arrays)


@functools.cache
def _exact_rows(op, dtype, n):
    return tuple(oracle.exact(op, x) for x in _rows(dtype, n))


@functools.cache
def _exact_hard(op, dtype, name):
    return tuple(oracle.exact(op, x) for x in inputs.hard(name, dtype))


@functools.cache
def _exact_long(op, dtype, n, scale):
    x = inputs.normal(dtype, (1, n), seed=n, scale=scale)
    return x, oracle.exact(op, x)


@pytest.mark.parametrize(("dtype", "n"), SIZES)
@pytest.mark.parametrize("op", OPS)
def test_rows(op, dtype, n):
    for x, wanted in zip(_rows(dtype, n), _exact_rows(op, dtype, n), strict=True):
        assert_exact(op, x, against=wanted)


@pytest.mark.parametrize("n", [64, 97, 128, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", OPS)
def test_rows_about_a_large_maximum(op, dtype, n):
    """The next lower numbers are so far away that the maximum less what is near rounds to one."""
    rng = np.random.default_rng(n)
    first = 20 if dtype == "float32" else 49
    top = np.array(2.0, dtype) ** np.arange(first, first + 12)[:, np.newaxis]
    behind = rng.integers(1, 400, (12, n)) * (rng.random((12, n)) < rng.random((12, 1)))
    behind[:, rng.integers(0, n, 2)] = 0, 1
    behind[::2][behind[::2] == 0] = 300
    behind[:, 0] = 0
    for x in (top - behind * np.spacing(top), -top - behind * np.spacing(top)):
        assert_exact(op, x.astype(dtype))


@pytest.mark.parametrize("name", inputs.HARD)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_hard_inputs(op, dtype, name):
    for x, wanted in zip(inputs.hard(name, dtype), _exact_hard(op, dtype, name), strict=True):
        assert_exact(op, x, against=wanted)


@pytest.mark.parametrize(("dtype", "n"), LONG)
@pytest.mark.parametrize("op", OPS)
def test_long_rows(op, dtype, n):
    x, wanted = _exact_long(op, dtype, n, 4.0)
    assert_exact(op, x, against=wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_long_rows_of_equal_values(op, dtype):
    n = inputs.LONG_ROW + 4321
    x = np.full((1, n), 0.3, dtype)
    result = call(op, x)
    assert_exact(op, x, result=result)
    assert np.all(result == result.flat[0])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("where", ["first", "last", "a block's edge"])
def test_long_rows_with_one_big_element(dtype, where):
    n = 2 * inputs.LONG_ROW + 77
    x = inputs.normal(dtype, (1, n), seed=5, scale=1.0)
    x[0, {"first": 0, "last": n - 1, "a block's edge": inputs.LONG_ROW}[where]] = 30
    for op in ("softmax", "log_softmax", "logsumexp"):
        assert_exact(op, x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_of_one_is_certain(dtype):
    x = inputs.normal(dtype, (300, 1), seed=1, scale=30.0)
    for shape, dim in (((300, 1), 1), ((1, 300), 0), ((3, 1, 100), 1)):
        rows = x.reshape(shape)
        assert np.all(call("softmax", rows, dim) == 1)
        assert np.all(call("softmin", rows, dim) == 1)
        assert np.all(call("log_softmax", rows, dim) == 0)
        assert np.array_equal(call("logsumexp", rows, dim).ravel(), x.ravel())


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmin_is_softmax_of_the_negative(dtype):
    for n in (1, 3, 10, 17, 100, 1000):
        x = inputs.normal(dtype, (21, n), seed=n, scale=10.0)
        assert np.array_equal(call("softmin", x), call("softmax", -x))
