"""float16 and bfloat16: computed wide and rounded once, so within 0.51 of a last place."""

import functools
import itertools

import numpy as np
import pytest

import inputs
import oracle
import ulp
from bounds import bound
from checks import OPS, assert_exact, call, each_isa, same_bits

HALVES = ("float16", "bfloat16")


@functools.cache
def _exact(op, dtype, shape, dim, scale):
    x = inputs.normal(dtype, shape, seed=sum(shape), scale=scale)
    return x, oracle.exact(op, x, dim)


@functools.cache
def _exact_hard(op, dtype, name):
    return tuple(oracle.exact(op, x) for x in inputs.hard(name, dtype))


def _every_value(dtype):
    return np.arange(2**16, dtype=np.uint16).view(inputs.DTYPES[dtype])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("dtype", "n"), [(d, n) for d in HALVES for n in inputs.sizes(d)])
@pytest.mark.parametrize("op", OPS)
def test_rows(op, dtype, n):
    for count, scale in itertools.product((1, 2, 35), (1.0, 10.0)):
        x, wanted = _exact(op, dtype, (count, n), -1, scale)
        assert_exact(op, x, against=wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
def test_dims(op, dtype):
    for outer, length, inner in itertools.product((1, 3), (1, 2, 17, 100, 1000), (2, 15, 16, 40)):
        x, wanted = _exact(op, dtype, (outer, length, inner), 1, 4.0)
        assert_exact(op, x, 1, against=wanted)
    for dim in (0, 1, 2, (0, 2), (0, 1, 2)):
        x, wanted = _exact(op, dtype, (5, 6, 7), dim, 4.0)
        assert_exact(op, x, dim, against=wanted)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", inputs.HARD)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
def test_hard_inputs(op, dtype, name):
    for x, wanted in zip(inputs.hard(name, dtype), _exact_hard(op, dtype, name), strict=True):
        assert_exact(op, x, against=wanted)
        if x.size < 100_000:
            columns = np.ascontiguousarray(x.T)
            assert_exact(op, columns, 0, against=wanted if op == "logsumexp" else _turned(wanted))


def _turned(exact):
    return oracle.Exact(exact.hi.T, exact.lo.T, exact.e)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("n", [70_000, 131_073, 300_001])
def test_long_rows(op, dtype, n):
    x, wanted = _exact(op, dtype, (1, n), -1, 3.0)
    assert_exact(op, x, against=wanted)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("n", [2_000, 70_000, 400_000])
def test_rows_of_equal_values(dtype, n):
    """In float16 the sum is beyond the largest number from 65520 values on."""
    x = inputs.fit(np.full((1, n), 0.3), dtype)
    for op in OPS:
        against = oracle.exact(op, x)
        for _ in each_isa():
            assert_exact(op, x, against=against)
    for _ in each_isa():
        assert np.isfinite(call("log_softmax", x).astype(np.float32)).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
def test_four_million_equal_values(op, dtype):
    """One result stands for all: they have its bits."""
    n = 4_000_000
    x = inputs.fit(np.full((1, n), 0.3), dtype)
    result = call(op, x).reshape(-1)
    assert result.size == (1 if op == "logsumexp" else n)
    assert same_bits(result, np.broadcast_to(result[:1], result.shape))
    value = x[0, :1].astype(np.float64)
    exact = {"log_softmax": -np.log(n), "logsumexp": value + np.log(n)}.get(op, 1 / n)
    wanted = oracle.Exact(np.broadcast_to(exact, (1,)), 0.0, 0)
    largest = value if op == "logsumexp" else None
    assert ulp.error(result[:1], wanted, largest).max() <= bound(op, dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
def test_every_value_alone(op, dtype):
    x = _every_value(dtype)[:, np.newaxis]
    assert_exact(op, x)
    assert_exact(op, np.ascontiguousarray(x.T), 0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("op", OPS)
def test_every_value_beside_another(op, dtype):
    values = _every_value(dtype)
    others = inputs.fit(np.array([0.0, -0.7, 5.0, -17.0, 300.0]), dtype)
    for other in others:
        pairs = np.stack([values, np.full_like(values, other)], axis=-1)
        against = oracle.exact(op, pairs)
        for _ in each_isa():
            assert_exact(op, pairs, against=against)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_results_on_the_way_to_subnormal_numbers(op):
    """Every gap at which a float16 probability is subnormal, in steps below its rounding."""
    gaps = np.arange(0, 18, 1 / 256).astype(np.float16)
    x = np.stack([np.zeros_like(gaps), -gaps], axis=-1)
    assert_exact(op, x)
    assert_exact(op, np.ascontiguousarray(x.T), 0)
