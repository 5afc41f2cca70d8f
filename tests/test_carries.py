"""Rows in chunks that are never together: as exact as in one piece, however they are cut."""

import itertools

import numpy as np
import pytest

import inputs
from checks import FLOATS, OPS, assert_exact, call, same_bits
from fastsoftmax import _arguments, _carries

MOST_ROWS = 50  # of one hard array


def in_chunks(op, x, dims, cuts, where=None):
    """`op` over `dims` from carries, x cut along its axes at {axis: places}."""
    operation = _arguments.NAMES.index(op)
    rows = {"operation": operation, "dims": dims, "target": x.dtype}
    ranges = []
    for axis, size in enumerate(x.shape):
        places = [0, *cuts.get(axis, ()), size]
        ranges.append([slice(*ends) for ends in itertools.pairwise(places)])
    boxes = list(itertools.product(*ranges))
    masks = [() if where is None else (where[box],) for box in boxes]
    parts = np.empty([len(some) for some in ranges], object)
    for index, box, mask in zip(np.ndindex(parts.shape), boxes, masks, strict=True):
        parts[index] = _carries.reduced(x[box], *mask, **rows)
    whole = _carries.merged(np.block(parts.tolist()), dims, _carries.work_of(x.dtype))
    if op == "logsumexp":
        return _carries.logsumexp(whole, x.dtype).squeeze(axis=dims)
    result = np.empty_like(x)
    for box, mask in zip(boxes, masks, strict=True):
        kept = tuple(slice(None) if i in dims else one for i, one in enumerate(box))
        result[box] = _carries.finished(x[box], whole[kept], *mask, **rows)
    return result


@pytest.mark.parametrize("case", inputs.HARD)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_hard_rows_are_as_exact_in_chunks(op, dtype, case):
    for x in inputs.hard(case, dtype):
        x = x[:: -(-len(x) // MOST_ROWS)]
        n = x.shape[1]
        cuts = sorted({n // 3, n // 2, max(n - 1, 0)})
        assert_exact(op, x, 1, result=in_chunks(op, x, (1,), {1: cuts}))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33, 100, 140_000])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_any_length_of_a_chunk(op, dtype, n):
    """Shorter than a kernel takes, longer than a tile; beside one of another size, and alone."""
    x = inputs.normal(dtype, (2, n + 7), seed=n)
    assert_exact(op, x, 1, result=in_chunks(op, x, (1,), {1: [7]}))
    assert_exact(op, x, 1, result=in_chunks(op, x, (1,), {}))


@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (0, 1), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_any_dimensions_masked_or_not(op, dtype, dims):
    x = inputs.normal(dtype, (19, 23, 21), seed=3)
    cuts = {0: [4, 10], 1: [22], 2: [1, 2, 20]}
    assert_exact(op, x, dims, result=in_chunks(op, x, dims, cuts))
    where = np.random.default_rng(5).random(x.shape) < 0.4
    where[:, 3], where[2, 5:9], where[4] = False, False, False
    result = in_chunks(op, x, dims, cuts, where)
    assert_exact(op, x, dims, result=result, where=where)


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_special_numbers_spoil_their_row_only(op, dtype):
    """In any chunk, beside chunks of infinities; NaN where the row in one piece is."""
    inf, nan = np.inf, np.nan
    special = [nan], [inf], [-inf], [inf, -inf], [nan, inf], [-inf, -inf], [nan, -inf], [inf, inf]
    x = inputs.normal(dtype, (2 * 3 * len(special) + 2, 60), seed=8)
    for i, values in enumerate(special):
        for k, place in enumerate((0, 29, 58)):
            x[6 * i + 2 * k, place : place + len(values)] = values
    x[-2], x[-1] = -inf, inf
    x[:6, 20:40] = -inf  # a chunk that adds nothing
    result = in_chunks(op, x, (1,), {1: [20, 40]})
    assert np.array_equal(np.isnan(result), np.isnan(call(op, x, 1)))
    assert_exact(op, x, 1, result=result)


@pytest.mark.parametrize("dims", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_any_layout_of_a_chunk_and_no_input_is_changed(op, dtype, dims):
    x = inputs.normal(dtype, (90, 200), seed=4)
    for given in (
        x.copy(),
        np.asfortranarray(x),
        np.repeat(x, 2, axis=1)[:, ::2],
        x[::-1, ::-1].copy()[::-1, ::-1],
        x.astype(x.dtype.newbyteorder()) if dtype != "bfloat16" else x.copy(),
    ):
        given.flags.writeable = False
        rows = {"operation": OPS.index(op), "dims": dims, "target": x.dtype}
        carries = _carries.reduced(given, **rows)
        if op == "logsumexp":
            result = _carries.logsumexp(carries, x.dtype).squeeze(axis=dims)
        else:
            result = _carries.finished(given, carries, **rows)
        assert_exact(op, x, dims, result=result)


@pytest.mark.parametrize("op", OPS)
def test_what_rounds_to_infinity_does_not_warn(op):
    x = np.full((3, 40), 65504, np.float16)
    assert_exact(op, x, 1, result=in_chunks(op, x, (1,), {1: [10]}))
    rows = {"operation": OPS.index(op), "dims": (1,), "target": np.dtype(np.float16)}
    assert _carries.reduced(np.full((3, 40), 1e6), **rows)["top"].tolist() == (
        [[-np.inf]] * 3 if op == "softmin" else [[np.inf]] * 3
    )


def test_the_order_of_the_chunks_of_other_dimensions_changes_no_bit():
    x = inputs.normal("float32", (40, 300), seed=4)
    for op in OPS:
        one = in_chunks(op, x, (1,), {1: [100, 200]})
        assert same_bits(one, in_chunks(op, x, (1,), {0: [1, 17, 30], 1: [100, 200]}))


@pytest.mark.parametrize("dtype", FLOATS)
def test_tails_keep_their_digits(dtype):
    gaps = np.linspace(1, 700 if dtype == "float64" else 80, 30)
    x = np.stack([np.zeros(30), -gaps], axis=1).astype(dtype)
    carries = _carries.reduced(x, operation=3, dims=(1,), target=np.dtype(dtype))
    expected = np.log1p(np.exp(x[:, 1].astype(np.float64)))
    eps = np.finfo(dtype).eps
    assert np.allclose(
        _carries.tails(carries, np.dtype(dtype))[:, 0], expected, rtol=2 * eps, atol=0
    )
    x[3, 1], x[4], x[5, 0] = np.nan, -np.inf, np.inf
    carries = _carries.reduced(x, operation=3, dims=(1,), target=np.dtype(dtype))
    tails = _carries.tails(carries, np.dtype(dtype))[:, 0]
    assert np.flatnonzero(np.isnan(tails)).tolist() == [3, 4, 5]
