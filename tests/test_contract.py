"""The contract's table of special values: a case a row, on every dtype, target and path.

Each case spoils or masks some rows of an ordinary problem and says what those rows become; all the
other rows must come out as if nothing had happened.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import inputs
from checks import OPS, assert_exact, call, each_isa, same_bits
from oracle import exact
from paths import PATHS

ELEMENTWISE = ("softmax", "log_softmax", "softmin")
NAN, INF = float("nan"), float("inf")
SPOILED = (1, -1)  # the rows a case is about


class Case(NamedTuple):
    """`spoil(row, mask)` writes one row in place; then what each operation makes of all of it.

    None stands for "whatever is exact": the row is held to its bound and nothing else is said.
    """

    spoil: Callable[[np.ndarray, np.ndarray], None]
    softmax: float | None
    log_softmax: float | None
    logsumexp: float | None
    masked: bool = False


def _put(*values, every=False):
    def spoil(row, mask):
        if every:
            row[:] = values[0]
        for k, value in enumerate(values):
            row[len(row) // 2 + k] = value

    return spoil


def _mask(keep):
    def spoil(row, mask):
        mask[:] = False
        mask[list(keep)] = True

    return spoil


def _both(*spoilers):
    def spoil(row, mask):
        for each in spoilers:
            each(row, mask)

    return spoil


CASES = {
    "NaN": Case(_put(NAN), NAN, NAN, NAN),
    "NaN and infinities": Case(_put(INF, NAN, -INF), NAN, NAN, NAN),
    "+inf": Case(_put(INF), NAN, NAN, INF),
    "+inf twice": Case(_put(INF, INF), NAN, NAN, INF),
    "+inf and -inf": Case(_put(INF, -INF), NAN, NAN, INF),
    "all -inf": Case(_put(-INF, every=True), NAN, NAN, -INF),
    "all +inf": Case(_put(INF, every=True), NAN, NAN, INF),
    "all NaN": Case(_put(NAN, every=True), NAN, NAN, NAN),
    "-inf among others": Case(_put(-INF, -INF), None, None, None),
    "part masked": Case(_mask([0, 3, -1]), None, None, None, masked=True),
    "one left": Case(_mask([4]), None, None, None, masked=True),
    "nothing left": Case(_mask([]), 0.0, -INF, -INF, masked=True),
    "NaN masked": Case(_both(_put(NAN), _mask([0, 1])), None, None, None, masked=True),
    "+inf masked": Case(_both(_put(INF), _mask([0, 1])), None, None, None, masked=True),
    "nothing left of NaN": Case(
        _both(_put(NAN, every=True), _mask([])), 0.0, -INF, -INF, masked=True
    ),
    "masked but for a -inf": Case(
        _both(_put(-INF, every=True), _mask([2])), None, None, -INF, masked=True
    ),
}


@functools.lru_cache(400)
def _undisturbed(op, dtype, path, masked, isa):
    """The result of a path's problem with nothing spoiled, and nothing masked by a mask."""
    path = PATHS[path]
    rows = path.problem(dtype)
    x = path.lay(-rows if op == "softmin" else rows)
    options = {"where": np.ones(x.shape, bool)} if masked else {}
    return path.back(call(op, x, path.dim, **options))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_special_values(name, dtype, path):
    way, case, path = path, CASES[name], PATHS[path]
    rows = path.problem(dtype)
    mask = np.ones(rows.shape, bool)
    for i in SPOILED:
        case.spoil(rows[i], mask[i])
    others = np.delete(np.arange(path.rows), [i % path.rows for i in SPOILED])
    spoiled = list(SPOILED)
    # Long arrays take most of the time; the other two finish the same sums.
    for op in OPS if rows.size < 100_000 else ("softmax", "logsumexp"):
        values = -rows if op == "softmin" else rows
        x = path.lay(values)
        before = x.copy()
        options = {"where": path.lay(mask)} if case.masked else {}
        wanted = getattr(case, op.replace("softmin", "softmax"))
        where = mask[spoiled] if case.masked else None
        against = exact(op, values[spoiled], -1, where) if wanted is None else None
        for isa in each_isa():
            result = path.back(call(op, x, path.dim, **options))
            assert same_bits(x, before), (op, isa)
            found = result[spoiled]
            if wanted is None:
                assert_exact(op, values[spoiled], result=found, against=against, where=where)
            else:
                constant = np.full_like(found, wanted)
                assert np.array_equal(found, constant, equal_nan=True), (op, isa)
            undisturbed = _undisturbed(op, dtype, way, case.masked, isa)
            assert same_bits(result[others], undisturbed[others]), (op, isa)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_ordinary_values(op, dtype, path):
    path = PATHS[path]
    rows = path.problem(dtype)
    against = exact(op, rows)
    for _ in each_isa():
        result = path.back(call(op, path.lay(rows), path.dim))
        assert_exact(op, rows, result=result, against=against)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_zero_dimensions(dtype):
    dtype = inputs.DTYPES[dtype]
    for dim in (0, -1):
        for value in (2.5, -1.0):
            x = np.array(value, dtype)
            for op, wanted in zip(OPS, (1, 0, 1, value), strict=True):
                result = call(op, x, dim)
                assert isinstance(result, np.ndarray)
                assert (result.shape, result.dtype) == ((), dtype)
                assert float(result) == wanted
                taken, left_out = (call(op, x, dim, where=w) for w in (True, False))
                assert float(taken) == wanted
                assert float(left_out) == (0 if op in ("softmax", "softmin") else -INF)
        for value in (NAN, INF, -INF):
            x = np.array(value, dtype)
            for op in ELEMENTWISE:
                assert np.isnan(call(op, x, dim))
            assert np.array_equal(float(call("logsumexp", x, dim)), value, equal_nan=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3), (2, 3, 0)])
def test_empty(dtype, shape):
    x = np.empty(shape, inputs.DTYPES[dtype])
    for dim in range(-len(shape), len(shape)):
        for options in ({}, {"where": True}, {"where": np.zeros(shape, bool)}):
            for op in ELEMENTWISE:
                result = call(op, x, dim, **options)
                assert (result.shape, result.dtype) == (shape, x.dtype)
            found = call("logsumexp", x, dim, **options)
            assert found.dtype == x.dtype
            assert np.array_equal(found, np.full(np.delete(shape, dim), -INF))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_a_mask_of_every_density(op, dtype, path):
    path = PATHS[path]
    rows = path.problem(dtype)
    rng = np.random.default_rng(1)
    density = np.linspace(0, 1, path.rows)[:, np.newaxis]
    mask = rng.random(rows.shape) < density
    against = exact(op, rows, -1, mask)
    for _ in each_isa():
        result = path.back(call(op, path.lay(rows), path.dim, where=path.lay(mask)))
        assert_exact(op, rows, result=result, against=against, where=mask)
        if op in ("softmax", "softmin"):
            assert not result[~mask].any()
        elif op == "log_softmax":
            assert np.isneginf(result[~mask]).all()
