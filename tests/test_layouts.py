"""Every dim of an array: last, first, middle, negative, several together; and every layout."""

import functools
import itertools

import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
import oracle
from checks import FLOATS, OPS, assert_exact, call, same_bits, taken_for_few
from fastsoftmax import _core, _layout

pytestmark = pytest.mark.usefixtures("isa")

LENGTHS = (1, 2, 3, 5, 17, 64, 100, 1000)
DIMS_OF_4D = [
    *range(-4, 4),
    *itertools.permutations(range(4), 2),
    (1, 2, 3),
    (-1, 0, 2),
    (0, 1, 2, 3),
]


@functools.cache
def _strips(op, dtype, length):
    """(outer, length, inner) arrays over their middle dim, with what is exact."""
    w = inputs.WIDTH[dtype]
    made = []
    for outer, inner in itertools.product((1, 3), (1, 2, w - 1, w, w + 1, 2 * w + 1, 4 * w, 100)):
        x = inputs.normal(dtype, (outer, length, inner), seed=outer * 1000 + inner, scale=6.0)
        made.append((x, oracle.exact(op, x, 1)))
    return tuple(made)


@functools.cache
def _exact_4d(op, dtype, dim):
    x = inputs.normal(dtype, (5, 4, 7, 6), seed=4, scale=8.0)
    return x, oracle.exact(op, x, dim)


@functools.cache
def _exact_tall(op, dtype, shape, dim):
    x = inputs.normal(dtype, shape, seed=9)
    return x, oracle.exact(op, x, dim)


def _views(x):
    """One array of these numbers for each way it may lie in memory."""
    for order in itertools.permutations(range(x.ndim)):
        back = np.argsort(order)
        for step in (1, -1, 2):
            shape = [x.shape[axis] * abs(step) for axis in order]
            y = np.empty(shape, x.dtype)[(slice(None, None, step),) * x.ndim].transpose(back)
            y[...] = x
            yield y


@pytest.mark.parametrize("dtype", [*FLOATS, "int32"])
@pytest.mark.parametrize("op", OPS)
def test_small_arrays_have_the_bits_of_large_ones(op, dtype, monkeypatch):
    for shape in ((7,), (5, 18), (3, 5, 40)):
        for x in _views(inputs.normal("float32", shape, seed=1, scale=30.0).astype(dtype)):
            for dim in (*range(x.ndim), tuple(range(x.ndim))):
                for options in ({}, {"where": x > -20}):
                    results = []
                    # straight from C, by one copy, and by the way of large ones
                    for few, size in ((x.size, x.size), (0, x.size), (0, 0)):
                        monkeypatch.setattr(_layout, "SMALL", size)
                        with taken_for_few(few):
                            results.append(call(op, x, dim, **options))
                    for other in results[1:]:
                        assert same_bits(results[0], other), (x.strides, dim)
                        assert results[0].strides == other.strides, (x.strides, dim)


@pytest.mark.parametrize("op", OPS)
def test_a_result_has_no_metadata(op):
    x = np.ones((4, 6), np.dtype("f4", metadata={"unit": "m"}))
    for given in (x, x[:, ::2], x.T):
        assert call(op, given, 1).dtype.metadata is None


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_middle_dim(op, dtype, length):
    for x, wanted in _strips(op, dtype, length):
        assert_exact(op, x, 1, against=wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_every_dim_and_tuple_of_dims(op, dtype):
    for dim in DIMS_OF_4D:
        x, wanted = _exact_4d(op, dtype, dim)
        assert_exact(op, x, dim, against=wanted)


@pytest.mark.parametrize("shape", [(200_003, 3), (70_000, 1, 2), (30_011, 33), (2, 20_000, 5)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_tall_and_narrow(dtype, shape):
    dim = int(np.argmax(shape))
    for op in ("softmax", "log_softmax", "logsumexp"):
        x, wanted = _exact_tall(op, dtype, shape, dim)
        assert_exact(op, x, dim, against=wanted)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_hard_inputs_as_columns(op, dtype):
    for name in (
        "two classes, any gap",
        "the largest numbers mixed",
        "-inf as a mask",
        "confident rows",
    ):
        for x in inputs.hard(name, dtype):
            columns = np.ascontiguousarray(x.T)
            assert_exact(op, columns, 0)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "shape", [(1000, 50, 16), (1500, 20, 21), (40, 300, 100), (70000, 3, 5), (9, 40, 1000)]
)
def test_many_samples_of_few_columns_have_the_bits_of_one(op, dtype, shape):
    """The next sample is fetched meanwhile, which must show nowhere."""
    x = inputs.normal(dtype, shape, seed=0)
    result = call(op, x, 1)
    for i in (0, 1, shape[0] // 2, shape[0] - 1):
        assert same_bits(result[i], call(op, x[i : i + 1].copy(), 1)[0])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(10, 30_000), (40, 10_007), (300, 1_104), (600, 500)])
def test_strips_of_columns_have_the_bits_of_few(op, dtype, shape):
    """One strip is written while the next is begun, where an array outgrows the caches."""
    x = inputs.normal(dtype, shape, seed=0)
    x[3, shape[1] // 2] = -np.inf  # a strip that is read twice, and those after it
    result = call(op, x, 0)
    for first in (0, 250, shape[1] // 2 - 5, shape[1] - 21):
        columns = np.s_[..., first : first + 21]
        assert same_bits(result[columns], call(op, x[columns].copy(), 0))
    if op != "logsumexp":
        assert same_bits(call(op, x, 0, out=x), result)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [64, 100, 1000, 4097])
def test_groups_of_rows_have_the_bits_of_one(op, dtype, n):
    """Rows are ended while those of the next group begin."""
    x = inputs.normal(dtype, (37, n), seed=0)
    x[20, 5] = -np.inf  # a group that is read twice, and those after it
    result = call(op, x, 1)
    for i in range(37):
        assert same_bits(result[i], call(op, x[i], 0))
    if op != "logsumexp":
        assert same_bits(call(op, x, 1, out=x), result)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_permuted_contiguous(op, dtype):
    for axes in itertools.permutations(range(3)):
        x = inputs.normal(dtype, (6, 9, 20), seed=3).transpose(axes)
        for dim in (0, 1, 2, (0, 2)):
            assert_exact(op, x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
def test_fortran_order(dtype):
    x = np.asfortranarray(inputs.normal(dtype, (40, 130), seed=3))
    for op, dim in itertools.product(OPS, (0, 1)):
        assert_exact(op, x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_dims_of_length_one(op, dtype):
    for shape in ((1,), (1, 1), (4, 1, 5), (1, 30), (30, 1)):
        x = inputs.normal(dtype, shape, seed=1)
        for dim in range(len(shape)):
            assert_exact(op, x, dim)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_any_strides_are_right(op, dtype):
    base = inputs.normal(dtype, (12, 40, 70), seed=8)
    views = [base[::2], base[:, ::3], base[..., ::2], base[..., 5:40], base[::-1, ::-2, ::-3]]
    views += [np.broadcast_to(base[0, :1], (9, 70)), np.broadcast_to(base[:1, :, :1], (3, 40, 6))]
    for x, dim in itertools.product(views, (0, 1, -1)):
        copied = np.ascontiguousarray(x)
        before = base.copy()
        assert_exact(op, x, dim, against=oracle.exact(op, copied, dim))
        assert np.array_equal(base, before)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_any_step_within_rows_gives_the_bits_of_a_copy(op, dtype):
    for n, step in itertools.product((1, 2, 17, 63, 64, 100, 5000), (2, 3, 7, -1, -2, -5, 0)):
        base = inputs.normal(dtype, (20, n * max(abs(step), 1)), seed=n)
        x = np.broadcast_to(base[:, :1], (20, n)) if step == 0 else base[:, ::step]
        wanted = call(op, np.ascontiguousarray(x), -1)
        assert np.array_equal(_bits(call(op, x, -1)), _bits(wanted))
        out = np.zeros((20, 2 * wanted.shape[-1]), wanted.dtype)[:, ::2] if n > 1 else wanted
        if op != "logsumexp":
            assert np.array_equal(_bits(call(op, x, -1, out=out)), _bits(wanted))


def _bits(array):
    return np.ascontiguousarray(array).view(np.uint8)


@pytest.mark.parametrize("op", OPS)
def test_keepdim_and_shapes(op):
    x = inputs.normal("float32", (3, 4, 5), seed=8)
    if op == "logsumexp":
        for dim in (0, 1, -1, (0, 2), (2, 0), [1, 2], (0, 1, 2)):
            axes = tuple(dim) if isinstance(dim, list) else dim
            kept = call(op, x, dim, keepdim=True)
            assert kept.shape == x.max(axis=axes, keepdims=True).shape
            assert call(op, x, dim).shape == x.max(axis=axes).shape
            assert np.array_equal(kept.reshape(-1), call(op, x, dim).reshape(-1))
    else:
        assert call(op, x, (0, 2)).shape == x.shape


@pytest.mark.parametrize(
    ("given", "offset", "wanted"),
    [
        ("i1", 1, "f8"),
        ("f2", 2, "f4"),
        ("f4", 4, "f8"),
        ("f4", 2, "f4"),
        ("f8", 4, "f8"),
        ("f4", 16, "f4"),
    ],
)
def test_results_are_aligned_as_their_type_must_be(given, offset, wanted):
    """Those of columns that cross much memory lie to cache lines as their input does, if it may."""
    n, inner = 512, 1024
    memory = np.zeros(n * inner * np.dtype(given).itemsize + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    x = memory[start : start + n * inner * np.dtype(given).itemsize].view(given).reshape(n, inner)
    x[:] = np.arange(inner) % 5
    for array, dim in ((x, 0), (x.T, 1)):
        result = F.softmax(array, dim, dtype=np.dtype(wanted))
        assert result.flags.aligned
        np.testing.assert_array_equal(result, np.asarray(1 / n, wanted))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_few_elements_have_the_bits_and_the_order_of_many(op, dtype):
    x = inputs.normal(dtype, (3, 5, 9), seed=6, scale=8.0)
    for y in _views(x):
        for dim in (*range(-3, 3), (0, 1), (1, 2), (0, 1, 2), (-2, -1), (2, 1), (0, 2), (1,)):
            of_int = y.astype(np.int16), dim
            calls = [(y, dim, {}), (*of_int, {})]
            if op != "logsumexp":
                calls += [(y, dim, {"dtype": np.float32}), (*of_int, {"dtype": np.float16})]
            for given, over, more in calls:
                found = call(op, given, over, **more)
                with taken_for_few(0):
                    many = call(op, given, over, **more)
                assert same_bits(found, many)
                assert found.strides == many.strides


def test_few_elements_go_straight_to_the_kernels(monkeypatch):
    """A call that asks Python what lies where takes 9 us, one that does not less than 1."""

    def refuse(*arguments):
        raise AssertionError("not straight")

    monkeypatch.setattr(_core, "apply", refuse)
    x = inputs.normal("float32", (4, 6, 5), seed=1)
    for op in OPS:
        for y in (x, x[::-1], x[:, ::2], x[..., ::3], x.T, x[0], x[0].T):
            call(op, y, 1)
        for dim in ((0, 1), (1, 2), (0, 1, 2), (-2, -1)):
            call(op, x, dim)
        for y in (x.astype(np.int64), x > 0, x.astype(">f8")):
            call(op, y, 1)
        if op != "logsumexp":
            call(op, x, 1, dtype=np.float64)
        with pytest.raises(AssertionError, match="not straight"):
            call(op, x, (0, 2))
