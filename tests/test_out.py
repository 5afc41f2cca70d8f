"""out=: what is taken, what is refused before anything is written, and overlap with the input."""

import itertools

import numpy as np
import pytest

import inputs
from checks import OPS, call, same_bits

pytestmark = pytest.mark.usefixtures("small")

ELEMENTWISE = ("softmax", "log_softmax", "softmin")
LAYOUTS = {  # an array of a shape, made to lie in memory in some way
    "contiguous": lambda shape, dtype: np.empty(shape, dtype),
    "fortran": lambda shape, dtype: np.empty(shape[::-1], dtype).T,
    "every second": lambda shape, dtype: np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2],
    "rows apart": lambda shape, dtype: np.empty((*shape[:-1], shape[-1] + 3), dtype)[..., 3:],
    "backwards": lambda shape, dtype: np.empty(shape, dtype)[..., ::-1],
    "unaligned": lambda shape, dtype: (
        np.empty(int(np.prod(shape)) * dtype.itemsize + 1, np.uint8)[1:].view(dtype).reshape(shape)
    ),
}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_every_layout(op, dtype, layout):
    for shape, dim in (((9, 10), 1), ((5, 300), 1), ((70, 33), 0), ((4, 5, 6), 1)):
        x = inputs.normal(dtype, shape, seed=1)
        wanted = call(op, x, dim)
        out = LAYOUTS[layout](wanted.shape, x.dtype)
        out.fill(7)
        assert call(op, x, dim, out=out) is out
        assert np.allclose(out.astype(float), wanted.astype(float), rtol=2e-2, atol=1e-4)
        if layout == "contiguous":
            assert same_bits(out, wanted)


@pytest.mark.parametrize("op", OPS)
def test_zero_dimensions_and_empty(op):
    for shape in ((), (3, 0), (0, 3)):
        x = np.zeros(shape, np.float32)
        wanted = call(op, x, 0)
        out = np.full_like(wanted, 7)
        assert call(op, x, 0, out=out) is out
        assert same_bits(out, wanted)
    row = np.zeros(4, np.float32)
    out = np.array(7, np.float32)
    assert call("logsumexp", row, 0, out=out) is out
    assert same_bits(out, call("logsumexp", row, 0))


def test_keepdim():
    x = inputs.normal("float64", (5, 6), seed=1)
    out = np.empty((5, 1))
    assert call("logsumexp", x, 1, keepdim=True, out=out) is out
    assert same_bits(out[:, 0], call("logsumexp", x, 1))
    with pytest.raises(ValueError, match="shape"):
        call("logsumexp", x, 1, out=out)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_dtype_says_what_out_must_be(op):
    x = inputs.normal("float32", (5, 6), seed=1)
    out = np.empty((5, 6))
    assert call(op, x, 1, dtype=np.float64, out=out) is out
    assert same_bits(out, call(op, x.astype(np.float64), 1))
    whole = np.arange(6).reshape(2, 3)
    out = np.empty((2, 3))
    assert same_bits(call(op, whole, 1, out=out), call(op, whole, 1))


REFUSED = {
    "another shape": (ValueError, "shape", lambda x: np.empty((4, 5), x.dtype)),
    "a shape that broadcasts": (ValueError, "shape", lambda x: np.empty((1, *x.shape), x.dtype)),
    "the shape transposed": (ValueError, "shape", lambda x: np.empty(x.shape[::-1], x.dtype)),
    "a wider dtype": (TypeError, "dtype", lambda x: np.empty(x.shape, np.float64)),
    "a narrower dtype": (TypeError, "dtype", lambda x: np.empty(x.shape, np.float16)),
    "an integer dtype": (TypeError, "dtype", lambda x: np.empty(x.shape, np.int32)),
    "read-only": (ValueError, "read-only|writ", lambda x: np.broadcast_to(x[:1] * 0, x.shape)),
    "no array": (TypeError, "out", lambda x: [[0.0] * 6] * 5),
    "a number": (TypeError, "out", lambda x: 3.0),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_refused(op, name):
    error, text, make = REFUSED[name]
    x = inputs.normal("float32", (5, 6), seed=1)
    out = make(x)
    before = np.array(out)
    with pytest.raises(error, match=text):
        call(op, x, 1, out=out)
    assert np.array_equal(np.array(out), before, equal_nan=True)


def test_refused_by_logsumexp():
    x = inputs.normal("float32", (5, 6), seed=1)
    for error, out in (
        (ValueError, np.full(6, 7, np.float32)),
        (ValueError, np.full((5, 6), 7, np.float32)),
        (TypeError, np.full(5, 7, np.float64)),
    ):
        with pytest.raises(error):
            call("logsumexp", x, 1, out=out)
        assert np.all(out == 7)


def test_nothing_is_written_when_another_argument_is_wrong():
    x = inputs.normal("float32", (5, 6), seed=1)
    out = np.full((5, 6), 7, np.float32)
    for options in ({"dim": 2}, {"dim": (0, 0)}, {"dim": 1, "where": np.ones(5, bool)}):
        with pytest.raises((IndexError, ValueError)):
            call("softmax", x, out=out, **options)
    assert np.all(out == 7)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_in_place(op, dtype):
    shapes = (((45, 10), 1), ((7, 300), 1), ((70, 33), 0), ((3, 17, 40), 1), ((1, 150_001), 1))
    for shape, dim in shapes:
        x = inputs.normal(dtype, shape, seed=6)
        wanted = call(op, x, dim)
        assert call(op, x, dim, out=x) is x
        assert same_bits(x, wanted), shape


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_overlap_in_part(op, dtype):
    dtype = inputs.DTYPES[dtype]
    for shape, dim in (((6, 10), 1), ((4, 100), 1), ((40, 33), 0), ((1, 140_000), 1)):
        size = int(np.prod(shape))
        some = (-3, 1) if size > 100_000 else (-shape[1], -3, -1, 1, 2, shape[1], shape[1] + 1)
        for shift in some:
            room = np.zeros(size + 2 * abs(shift), dtype)
            start = abs(shift)
            x = room[start : start + size].reshape(shape)
            x[...] = inputs.normal(dtype.name, shape, seed=2)
            wanted = call(op, x.copy(), dim)
            out = room[start + shift :][: wanted.size].reshape(wanted.shape)
            assert call(op, x, dim, out=out) is out
            assert same_bits(out, wanted), (shape, shift)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_overlap_of_other_orders(op):
    views = {
        "reversed": lambda a: (a, a[::-1]),
        "transposed": lambda a: (a, a.T),
        "interleaved": lambda a: (a[:, ::2], a[:, 1::2]),
        "crossing": lambda a: (a[:, :20], a[:, 10:30]),
        "the same, backwards": lambda a: (a[::-1, ::-1], a[::-1, ::-1]),
    }
    for (name, view), dim in itertools.product(views.items(), (0, 1)):
        x, out = view(inputs.normal("float32", (40, 40), seed=2))
        wanted = call(op, x.copy(), dim)
        assert call(op, x, dim, out=out) is out
        assert np.allclose(out, wanted, rtol=1e-6, atol=1e-7), (name, dim)


def test_the_mask_may_overlap_as_well():
    room = np.zeros((8, 40), np.float32)
    mask = room.view(bool)[:, :40]
    room[...] = inputs.normal("float32", room.shape, seed=2)
    mask[...] = np.random.default_rng(0).random(mask.shape) < 0.5
    kept, x = mask.copy(), room.copy()
    wanted = call("softmax", x, 1, where=kept)
    found = call("softmax", x, 1, where=mask, out=room)
    assert same_bits(found, wanted)


def test_out_of_a_subclass_is_filled_and_returned():
    class Flat(np.ndarray):
        def reshape(self, *shape, **options):
            raise AssertionError("shaped in its own way")

    x = inputs.normal("float64", (3, 5), seed=2)
    out = np.zeros((3, 5)).view(Flat)
    assert call("softmax", x, 1, out=out) is out
    assert same_bits(out.view(np.ndarray), call("softmax", x, 1))


@pytest.mark.parametrize("op", OPS)
def test_out_whose_elements_share_memory_is_refused(op):
    x = inputs.normal("float64", (3, 3), seed=2)
    shape, strides = ((3, 3), (0, 8)) if op != "logsumexp" else ((3,), (0,))
    base = np.zeros(9)
    out = np.lib.stride_tricks.as_strided(base, shape, strides)
    with pytest.raises(ValueError, match="share memory"):
        call(op, x, 1, out=out)
    assert not base.any()
