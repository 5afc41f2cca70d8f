"""NaN and infinity: what a row becomes wherever they stand in it, its neighbours untouched."""

import itertools

import numpy as np
import pytest

import inputs
from checks import FLOATS, OPS, assert_exact, call, same_bits

pytestmark = pytest.mark.usefixtures("isa")

SPECIAL = {
    "nan": [np.nan],
    "+inf": [np.inf],
    "+inf and -inf": [np.inf, -np.inf],
    "nan and +inf": [np.nan, np.inf],
}


def _sizes(dtype):
    w = inputs.WIDTH[dtype]
    return (1, 2, 3, 5, w - 1, w, w + 1, 2 * w + 1, 63, 64, 65, 97, 130)


def _expected(op, kind):
    """What a spoiled row becomes: all NaN, but for the sum, which can be infinite."""
    if op == "logsumexp":
        return np.nan if "nan" in kind else np.inf
    return np.nan


def _spoiled(op, dtype, n, kind):
    """A row spoiled at each position, and a clean one after each; the negative for softmin."""
    x = inputs.normal(dtype, (2 * n, n), seed=n)
    values = SPECIAL[kind]
    for position in range(n):
        for k, value in enumerate(values[:n]):
            x[2 * position, (position + k) % n] = -value if op == "softmin" else value
    return x


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_spoiled_row_leaves_its_neighbours_alone(op, dtype, kind):
    for n in _sizes(dtype):
        x = _spoiled(op, dtype, n, kind)
        result = call(op, x)
        spoiled, clean = result[::2], result[1::2]
        assert np.array_equal(
            spoiled, np.full_like(spoiled, _expected(op, kind)), equal_nan=True
        ), n
        assert same_bits(clean, call(op, x[1::2].copy())), n
        assert_exact(op, x[1::2], result=clean)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_spoiled_column_leaves_its_neighbours_alone(op, dtype, kind):
    for n in (1, 2, 3, 17, 65, 130):
        x = np.ascontiguousarray(_spoiled(op, dtype, n, kind).T)
        result = np.moveaxis(np.atleast_2d(call(op, x, 0)), -1, 0)
        spoiled, clean = result[::2], result[1::2]
        assert np.array_equal(
            spoiled, np.full_like(spoiled, _expected(op, kind)), equal_nan=True
        ), n
        x[:, ::2] = 1.0  # the neighbours' neighbours
        undisturbed = np.moveaxis(np.atleast_2d(call(op, x, 0)), -1, 0)[1::2]
        assert same_bits(np.ascontiguousarray(clean), np.ascontiguousarray(undisturbed)), n


@pytest.mark.parametrize("large", [100.0, 1e4, 1e5])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_spoiled_neighbour_hides_no_large_numbers(op, dtype, large):
    """Whether anything is large decides how exponentials are taken, of several rows at once."""

    def of_rows(x, dim):
        return np.ascontiguousarray(
            call(op, x, 1) if dim else call(op, np.asarray(x.T, order="C"), 0).T
        )

    for n in (2, 17, 65, 130):
        x = inputs.normal(dtype, (64, n), seed=n)
        x[32:] += large
        for dim, position in itertools.product((0, 1), (0, n // 2, n - 1)):
            spoiled = x.copy()
            spoiled[:32, position] = np.nan
            assert same_bits(of_rows(spoiled, dim)[32:], of_rows(x, dim)[32:]), (n, dim, position)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_spoiled_long_row(dtype, value):
    n = inputs.LONG_ROW + 19
    ordinary = inputs.normal(dtype, (2, n), seed=1)
    clean = call("softmax", ordinary[1:])
    for position in (0, n // 2, inputs.LONG_ROW, n - 1):
        x = ordinary.copy()
        x[0, position] = value
        for op in ("softmax", "log_softmax"):
            assert np.isnan(call(op, x)[0]).all()
        assert same_bits(call("softmax", x)[1:], clean)
        assert np.array_equal(call("logsumexp", x[:1]), np.array([value], dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_spoiled_tall_column(dtype):
    for value in (np.nan, np.inf):
        x = inputs.normal(dtype, (150_001, 3), seed=1)
        clean = call("softmax", x, 0)
        x[100_000, 1] = value
        result = call("softmax", x, 0)
        assert np.isnan(result[:, 1]).all()
        assert same_bits(result[:, [0, 2]], clean[:, [0, 2]])
        found = call("logsumexp", x, 0)
        assert np.isfinite(found[[0, 2]]).all()
        assert np.array_equal(found[1], np.array(value, dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [0, 1])
def test_rows_all_of_minus_infinity(dtype, dim):
    for n in (*_sizes(dtype), 1000):
        x = inputs.normal(dtype, (7, n), seed=n)
        x[[1, 4]] = -np.inf
        x = np.ascontiguousarray(x.T) if dim == 0 else x
        for op in ("softmax", "log_softmax"):
            result = call(op, x, dim).T if dim == 0 else call(op, x, dim)
            assert np.isnan(result[[1, 4]]).all()
            assert np.isfinite(result[[0, 2, 3, 5, 6]]).all()
        found = call("logsumexp", x, dim)
        assert np.array_equal(np.isneginf(found), np.arange(7) % 3 == 1)
        assert_exact("logsumexp", x, dim)
        result = call("softmin", x, dim).T if dim == 0 else call("softmin", x, dim)
        assert np.isnan(result[[1, 4]]).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
def test_minus_infinity_beside_finite_values(op, dtype):
    for n in _sizes(dtype)[1:]:
        x = np.full((n, n), -np.inf, dtype)
        np.fill_diagonal(x, 2.5)  # one finite element at each position
        result = call(op, x)
        assert_exact(op, x, result=result)
        if op == "softmax":
            assert np.array_equal(result, np.eye(n, dtype=dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_long_row_of_minus_infinity(dtype):
    n = 2 * inputs.LONG_ROW + 19
    x = np.full((1, n), -np.inf, dtype)
    assert np.isnan(call("softmax", x)).all()
    assert np.isneginf(call("logsumexp", x)).all()
    x[0, n // 2] = 0
    assert call("softmax", x)[0, n // 2] == 1
    assert np.count_nonzero(call("softmax", x)) == 1
    assert call("logsumexp", x)[0] == 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_infinities_of_every_mixture(op, dtype):
    values = np.array(
        [np.nan, np.inf, -np.inf, 0.0, 1.0, inputs.LARGEST[dtype], -inputs.LARGEST[dtype]], dtype
    )
    for n in (2, 3, 4):
        x = np.stack(np.meshgrid(*[values] * n), axis=-1).reshape(-1, n)
        assert_exact(op, x)
        assert_exact(op, np.ascontiguousarray(x.T), 0)
    wide = np.random.default_rng(2).choice(
        values, size=(300, 71), p=[0.002, 0.002, *[0.996 / 5] * 5]
    )
    assert_exact(op, wide)
    assert_exact(op, np.ascontiguousarray(wide.T), 0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_sum_that_overflows(dtype):
    largest = inputs.LARGEST[dtype]
    x = np.array([[largest, largest], [largest, -largest]], dtype)
    assert np.array_equal(call("softmax", x), np.array([[0.5, 0.5], [1, 0]], dtype))
    assert np.array_equal(call("logsumexp", x), np.array([largest, largest], dtype))
    assert np.array_equal(call("log_softmax", x)[1], np.array([0, -np.inf], dtype))
