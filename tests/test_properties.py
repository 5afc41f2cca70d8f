"""What holds for any input: drawn by hypothesis over shapes, dims, strides and values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bounds import bound
from checks import FLOATS, OPS, assert_exact, call, same_bits
from oracle import error_ulp, exact

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9)
ROW = st.integers(1, 150)


def finite(dtype, limit=None):
    width = np.dtype(dtype).itemsize * 8
    if limit is None:
        return st.floats(width=width, allow_nan=False, allow_infinity=False)
    return st.floats(-limit, limit, width=width)


def any_value(dtype):
    width = np.dtype(dtype).itemsize * 8
    ordinary = st.floats(-50, 50, width=width)
    return st.one_of(ordinary, ordinary, ordinary, st.floats(width=width))


@st.composite
def array_and_dim(draw, dtype, elements):
    shape = draw(SHAPES)
    x = draw(hnp.arrays(dtype, shape, elements=elements(dtype)))
    steps = draw(st.tuples(*[st.sampled_from([1, 1, 2, -1, -2])] * len(shape)))
    x = x[tuple(slice(None, None, step) for step in steps)]
    x = x.transpose(draw(st.permutations(range(len(shape)))))
    dims = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple)
    return x, draw(st.one_of(dims, several))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_any_finite_array_over_any_dim(op, dtype, data):
    x, dim = data.draw(array_and_dim(dtype, finite))
    assert_exact(op, x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_any_array_at_all(op, dtype, data):
    x, dim = data.draw(array_and_dim(dtype, any_value))
    assert_exact(op, x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@given(data=st.data())
def test_shifts_that_are_exact_change_nothing_but_the_rounding(op, dtype, data):
    whole = data.draw(hnp.arrays(np.int16, ROW, elements=st.integers(-1000, 1000)))
    shift = data.draw(st.sampled_from([2.0**k * sign for k in range(-6, 11) for sign in (1, -1)]))
    x = (whole / 64).astype(dtype)
    shifted = (x + shift).astype(dtype)
    assert np.array_equal(shifted.astype(np.float64) - shift, x)
    assert error_ulp(op, x, call(op, shifted), against=exact(op, x)) <= bound(op, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_a_permutation_of_the_row_permutes_the_result(op, dtype, data):
    x = data.draw(hnp.arrays(dtype, ROW, elements=finite(dtype, 30)))
    order = np.array(data.draw(st.permutations(range(len(x)))))
    wanted = exact(op, x)
    back = np.argsort(order)
    result = call(op, x[order])
    assert error_ulp(op, x, result if op == "logsumexp" else result[back], against=wanted) <= bound(
        op, dtype
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "softmin"])
@given(data=st.data())
def test_probabilities_sum_to_one(op, dtype, data):
    x = data.draw(hnp.arrays(dtype, ROW, elements=finite(dtype)))
    result = call(op, x)
    # Each term is within its bound of a share of 1; subnormal ones within as many of the least
    # number.
    slack = bound(op, dtype) * (
        np.finfo(dtype).eps + len(x) * float(np.finfo(dtype).smallest_subnormal)
    )
    assert abs(math.fsum(result) - 1) <= slack
    assert np.all(result >= 0)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_log_probabilities_are_never_positive(dtype, data):
    x = data.draw(hnp.arrays(dtype, ROW, elements=finite(dtype)))
    assert np.all(call("log_softmax", x) <= 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin"])
@given(data=st.data())
def test_equal_elements_of_a_row_have_equal_results(op, dtype, data):
    values = data.draw(st.lists(finite(dtype, 30), min_size=1, max_size=4))
    x = np.array(data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=150)), dtype)
    result = call(op, x)
    for value in values:
        assert len(set(result[x == value].tolist())) <= 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_a_row_does_not_know_its_batch(op, dtype, data):
    rows, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 80))
    x = np.random.default_rng(data.draw(st.integers(0, 2**32))).normal(size=(rows, n)).astype(dtype)
    i = data.draw(st.integers(0, rows - 1))
    assert same_bits(np.asarray(call(op, x)[i]), call(op, x[i].copy()))
