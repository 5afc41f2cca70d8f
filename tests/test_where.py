"""Masks of every shape that broadcasts, of every layout, with every other argument."""

import itertools

import numpy as np
import pytest

import inputs
from checks import FLOATS, OPS, assert_exact, call, same_bits
from oracle import exact

pytestmark = pytest.mark.usefixtures("isa")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_masks_that_broadcast(op, dtype):
    x = inputs.normal(dtype, (4, 5, 33), seed=1)
    rng = np.random.default_rng(2)
    shapes = [(), (1,), (33,), (5, 1), (1, 33), (4, 1, 1), (4, 1, 33), (1, 5, 33), (4, 5, 33)]
    for shape, dim in itertools.product(shapes, (0, 1, 2, (0, 2))):
        for mask in (rng.random(shape) < 0.5, np.zeros(shape, bool), np.ones(shape, bool)):
            assert_exact(op, x, dim, where=mask)


@pytest.mark.parametrize("op", OPS)
def test_masks_of_any_layout(op):
    x = inputs.normal("float32", (12, 40), seed=1)
    base = np.random.default_rng(3).random((24, 80)) < 0.6
    masks = [base[::2, ::2], base[11::-1, 39::-1], np.asfortranarray(base[:12, :40])]
    masks += [np.broadcast_to(base[:1, :40], (12, 40)), base[:12, :40].tolist()]
    for mask, dim in itertools.product(masks, (0, 1)):
        result = call(op, x, dim, where=mask)
        assert_exact(op, x, dim, result=result, where=np.array(mask))


@pytest.mark.parametrize("op", OPS)
def test_scalars_as_masks(op):
    x = inputs.normal("float32", (3, 40), seed=1)
    for true in (True, np.True_, np.array(True)):
        assert same_bits(call(op, x, 1, where=true), call(op, x, 1, where=np.ones_like(x, bool)))
    nothing = call(op, x, 1, where=False)
    assert np.all(nothing == (0 if op in ("softmax", "softmin") else -np.inf))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_what_is_masked_does_not_matter(op, dtype):
    for shape, dim in (((30, 10), 1), ((9, 100), 1), ((70, 33), 0), ((2, 200_000), 1)):
        x = inputs.normal(dtype, shape, seed=3)
        mask = np.random.default_rng(4).random(shape) < 0.5
        wanted = call(op, x, dim, where=mask)
        for value in (np.nan, np.inf, -np.inf, 0.0, inputs.LARGEST[dtype]):
            spoiled = np.where(mask, x, np.array(value, dtype))
            assert same_bits(call(op, spoiled, dim, where=mask), wanted), value


@pytest.mark.parametrize("op", OPS)
def test_a_mask_with_out_and_dtype(op):
    x = inputs.normal("float32", (9, 70), seed=3)
    mask = np.random.default_rng(4).random(x.shape) < 0.5
    wanted = call(op, x, 1, where=mask)
    out = np.full_like(wanted, 7)
    assert call(op, x, 1, where=mask, out=out) is out
    assert same_bits(out, wanted)
    if op != "logsumexp":
        wide = call(op, x, 1, dtype=np.float64, where=mask)
        assert same_bits(wide, call(op, x.astype(np.float64), 1, where=mask))
        assert call(op, x, 1, where=mask, out=x) is x
        assert same_bits(x, wanted)
    else:
        kept = call(op, x, 1, where=mask, keepdim=True)
        assert same_bits(kept, wanted[:, np.newaxis])


def test_integers_with_a_mask():
    x = np.array([[1, 2, 250], [3, 4, 255]], np.uint8)
    mask = np.array([True, True, False])
    for op in OPS:
        wanted = call(op, x.astype(np.float64), 1, where=mask)
        assert same_bits(call(op, x, 1, where=mask), wanted)
        assert_exact(op, x.astype(np.float64), 1, result=wanted, where=mask)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(4,), (2, 1), (2, 3, 3), (3, 2), (1, 2, 3)])
def test_masks_that_do_not_broadcast_to_the_input(op, shape):
    with pytest.raises(ValueError, match="where"):
        call(op, np.zeros((3, 3), np.float32), 1, where=np.ones(shape, bool))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("mask", [np.ones(3), np.ones(3, np.int64), [0, 1, 1], "yes"])
def test_masks_that_are_not_bool(op, mask):
    with pytest.raises(TypeError, match="where"):
        call(op, np.zeros((3, 3), np.float32), 1, where=mask)


def test_a_mask_is_left_alone():
    mask = np.random.default_rng(4).random((9, 70)) < 0.5
    mask.setflags(write=False)
    x = inputs.normal("float32", mask.shape, seed=3)
    before = mask.copy()
    for op in OPS:
        result = call(op, x, 1, where=mask)
        assert_exact(op, x, 1, result=result, against=exact(op, x, 1, mask), where=mask)
    assert np.array_equal(mask, before)


def test_a_masked_mask_is_refused():
    where = np.ma.array(np.ones((2, 3), bool), mask=np.eye(2, 3, dtype=bool))
    with pytest.raises(TypeError, match="filled"):
        call("softmax", np.zeros((2, 3)), 1, where=where)
