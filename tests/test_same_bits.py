"""A row's result depends on that row alone, to the last bit.

Not on its neighbours, its place among them, the alignment of the memory, the number of threads, or
whether the result overwrites the input. Different layouts (a last dim, another dim) may differ, so
each is compared with its like.
"""

import numpy as np
import pytest

import fastsoftmax
import inputs
from checks import FLOATS, OPS, call, same_bits
from subprocesses import run_python

pytestmark = pytest.mark.usefixtures("isa")

SIZES = (1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 33, 48, 63, 64, 65, 97, 128, 129, 1000)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_row_alone_and_in_a_batch(op, dtype):
    for n in SIZES:
        x = inputs.normal(dtype, (45, n), seed=n, scale=8.0)
        whole = call(op, x)
        for i in range(len(x)):
            assert same_bits(call(op, x[i].copy()), np.asarray(whole[i])), (n, i)
        for start, stop in ((0, 2), (1, 9), (3, 20), (7, 24), (13, 45)):
            part = call(op, x[start:stop].copy())
            assert same_bits(part, whole[start:stop]), (n, start, stop)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_row_among_any_neighbours(op, dtype):
    for n in SIZES:
        x = inputs.normal(dtype, (45, n), seed=n)
        whole = call(op, x)
        others = x.copy()
        others[::2] = inputs.normal(dtype, others[::2].shape, seed=1, scale=1000.0)
        others[::6] = np.inf
        assert same_bits(call(op, others)[1::2], whole[1::2]), n


@pytest.mark.parametrize("special", [-np.inf, np.inf, np.nan, -np.nan])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_nan_alone_and_in_a_batch(op, dtype, special):
    for n in (8, 100, 5000):
        x = inputs.normal(dtype, (17, n), seed=n)
        x[3, n // 3] = special
        x[5] = special
        for i in (3, 5):
            row = np.asarray(call(op, x)[i])
            column = np.asarray(call(op, np.ascontiguousarray(x.T), dim=0)[..., i])
            assert np.asarray(call(op, x[i : i + 1].copy())[0]).tobytes() == row.tobytes(), (n, i)
            alone = call(op, np.ascontiguousarray(x[i : i + 1].T), dim=0)[..., 0]
            assert np.asarray(alone).tobytes() == column.tobytes(), (n, i)


def at_the_edge_of_the_ordinary(dtype, n):
    """Rows within 63 of 0, some of them as far as that."""
    drawn = inputs.normal(dtype, (4, n), seed=n, scale=20.0).clip(-63, 63)
    x = np.concatenate([drawn, np.full((8, n), 63, drawn.dtype)])
    x[5] = -63
    x[6, 1:] = -63
    x[7, 1:] = 62.5
    x[8:] = drawn / 2
    x[8::2, -1], x[9::2, -1] = 44, -44.5  # AVX2 takes only up to 44 for ordinary in float32
    return x


@pytest.mark.parametrize("odd", [None, 50.0, -np.inf, np.nan, 1e4])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_rows_end_to_end_and_apart(op, dtype, odd):
    """Some kernels take whole vectors of what lies end to end, whatever rows it is of, as they
    cannot of rows that lie apart."""
    for n in (1, 2, 3, 4, 5, 10, 15, 16, 17, 20, 21, 40, 79):
        for rows in (1, 2, 7, 16, 63, 64, 65, 150):
            apart = np.full((rows, n + 3), 7, dtype=dtype)
            apart[:, :n] = inputs.normal(dtype, (rows, n), seed=n, scale=3.0)
            if odd is not None:
                apart[rows // 2, n // 2] = odd
            result = np.asarray(call(op, apart[:, :n]))
            assert same_bits(call(op, apart[:, :n].copy()), result), (n, rows)
            if op != "logsumexp":
                x = apart[:, :n].copy()
                call(op, x, out=x)
                assert same_bits(x, result), (n, rows)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_signalling_nan_hides_nothing(op, dtype):
    """R's NA is one. An instruction that finds the larger of two numbers may return a NaN for it,
    and forget what it had: that a row far from this one holds -inf, say."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    quiet = np.full(1, np.nan, dtype=dtype).view(bits)
    mantissa = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[np.dtype(dtype).name]
    signalling = (quiet ^ (bits.type(1) << bits.type(mantissa - 1))) | bits.type(1)
    assert np.isnan(signalling.view(dtype)).all()
    for n in (2, 3, 5, 10, 20, 64):
        for first in (-247.0, -np.inf):
            for row in range(1, 70, 3):
                x = np.zeros((71, n), dtype=dtype)
                x[0, n - 1] = -first if op == "softmin" else first
                x.view(bits)[row, n // 2] = signalling[0]
                alone = np.asarray(call(op, x[:1].copy())[0])
                result = np.asarray(call(op, x))
                assert alone.tobytes() == result[0].tobytes(), (n, first, row)
                assert np.isnan(result[row]).all()
                assert not np.isnan(np.delete(result, row, axis=0)).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_row_at_the_edge_of_the_ordinary(op, dtype):
    """Rows within 63 of 0 are read once, but twice beside others (kernels/body/softmax_rows.h)."""
    short = (1, 2, 3, 4, 7, 10, 16, 33, 63)
    for n in (*short, 64, 100, 1000, 1024, 1025, 2048, 2049, 4096, 4097, 20000):
        x = at_the_edge_of_the_ordinary(dtype, n)
        once = call(op, x)
        beside = np.full((2 * len(x), n), -np.inf, x.dtype)
        beside[::2] = x
        assert same_bits(call(op, beside)[::2], once), n
        if op != "logsumexp":
            in_place = x.copy()
            call(op, in_place, out=in_place)
            assert same_bits(in_place, once), n


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_a_column_at_the_edge_of_the_ordinary(op, dtype):
    """The same for columns, of which so many are read together (kernels/body/column_passes.h)."""
    for n in (1, 2, 3, 4, 7, 10, 16, 33, 63, 64, 100, 1000):
        x = np.ascontiguousarray(np.tile(at_the_edge_of_the_ordinary(dtype, n).T, (1, 6)))
        once = call(op, x, 0)
        for strange in (-np.inf, -100, 64, np.inf):
            beside = np.full((n, 2 * x.shape[1]), strange, x.dtype)
            beside[:, ::2] = x
            found = call(op, beside, 0)
            assert same_bits(np.ascontiguousarray(found[..., ::2]), once), (n, strange)
        if op != "logsumexp":
            in_place = x.copy()
            call(op, in_place, 0, out=in_place)
            assert same_bits(in_place, once), n


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_columns_far_apart_at_any_alignment(op, dtype):
    """Lines a power of two apart share cache sets: they are packed, unless they are aligned."""
    n, columns = 40, 16384
    drawn = inputs.normal(dtype, (n, columns), seed=7)
    found = []
    for offset in (0, 4, 1):
        x, y = (np.empty(n * columns + 64 + offset, drawn.dtype) for _ in range(2))
        x, y = (
            room[-room.ctypes.data % 64 // room.itemsize + offset :][: n * columns]
            for room in (x, y)
        )
        x, y = x.reshape(n, columns), y.reshape(n, columns)
        assert (x.ctypes.data % 64 == 0) == (offset == 0)
        x[...] = drawn
        found.append(call(op, x, 0) if op == "logsumexp" else call(op, x, 0, out=y))
    assert same_bits(found[1], found[0])
    assert same_bits(found[2], found[0])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("odd", [None, 90.0, -np.inf, np.nan])
def test_a_long_row_alone_and_in_a_batch(op, dtype, odd):
    """Each waits while the next is read; also beside one that cannot be read once, and in place."""
    for n in (inputs.LONG_ROW + 19, 2 * inputs.LONG_ROW + 333):
        x = inputs.normal(dtype, (4, n), seed=2)
        if odd is not None:
            x[1, n - 5] = odd
        whole = call(op, x)
        for i in range(4):
            assert same_bits(call(op, x[i].copy()), np.asarray(whole[i])), (n, i)
        if op != "logsumexp":
            assert same_bits(call(op, x, out=x), whole), n


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_columns_alone_and_in_a_batch(op, dtype):
    for length in (1, 2, 3, 17, 100, 1000):
        x = inputs.normal(dtype, (3, length, 70), seed=length, scale=8.0)
        whole = call(op, x, 1)
        assert same_bits(call(op, x[1:2].copy(), 1), whole[1:2]), length
        for start, stop in ((0, 2), (1, 4), (5, 13), (16, 33), (3, 68)):
            part = call(op, x[..., start:stop].copy(), 1)
            assert same_bits(part, np.ascontiguousarray(whole[..., start:stop])), (
                length,
                start,
                stop,
            )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_any_alignment(op, dtype):
    itemsize = np.dtype(dtype).itemsize
    for shape, dim in (
        ((5, 10), -1),
        ((3, 70), -1),
        ((2, 1000), -1),
        ((70, 30), 0),
        ((1, 70001), -1),
    ):
        x = inputs.normal(dtype, shape, seed=6)
        wanted = call(op, x, dim)
        room = np.empty(x.nbytes + 128, np.uint8)
        room = room[-room.ctypes.data % 64 :]
        for shift in range(0, 64, itemsize):
            moved = room[shift : shift + x.nbytes].view(dtype).reshape(shape)
            moved[...] = x
            assert same_bits(call(op, moved, dim), wanted), (shape, shift)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin"])
def test_in_place(op, dtype):
    shapes = [((1,), 0), ((45, 3), -1), ((45, 10), -1), ((7, 64), -1), ((3, 1000), -1)]
    shapes += [
        ((1, 3 * inputs.LONG_ROW + 5), -1),
        ((100, 33), 0),
        ((3, 17, 40), 1),
        ((150_001, 3), 0),
    ]
    for shape, dim in shapes:
        x = inputs.normal(dtype, shape, seed=6)
        wanted = call(op, x, dim)
        assert call(op, x, dim, out=x) is x
        assert same_bits(x, wanted), (shape, dim)


THREADS = """
import sys
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F
from fastsoftmax import _core

_core._use_isa(sys.argv[1])
parallel = fastsoftmax.show_config()["openmp"] != "no"
rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for shape, dim in [((1000, 257), -1), ((20011, 10), -1), ((1, 500003), -1), ((2, 200001), -1),
                       ((1, 65537), -1), ((5, 70001), -1), ((3, 131073), -1), ((7, 9000), -1),
                       ((3, 257, 300), 1), ((257, 1000), 0), ((150001, 3), 0),
                       ((1000, 40, 30), (0, 2))]:
        x = rng.normal(size=shape).astype(dtype)
        spoiled = x.copy()
        spoiled.reshape(-1)[: x.size // 3] = np.nan
        for op in ("softmax", "log_softmax", "softmin", "logsumexp"):
            # (the sign of log_softmax's NaN depends on whether rows before it could be read once)
            for given in (x,) if op == "log_softmax" else (x, spoiled):
                first = None
                for threads in (1, 2, 3):
                    with fastsoftmax.num_threads(threads):
                        assert fastsoftmax.get_num_threads() == (threads if parallel else 1)
                        found = getattr(F, op)(given, dim).view(dtype.replace("float", "uint"))
                    first = found if first is None else first
                    assert np.array_equal(found, first), (dtype, shape, dim, op)
print("the same")
"""


def test_any_number_of_threads(isa):
    result = run_python(THREADS, isa, environment={"OMP_NUM_THREADS": "4"})
    assert result.stdout.strip() == "the same"


def test_large_results_lie_where_stores_are_quick():
    large = [("float32", shape) for shape in ((128, 1000), (7, 9973), (3, 50_000), (128, 128))]
    large += [("float64", (64, 128)), ("float16", (256, 128))]
    for dtype, shape in large:
        x = inputs.normal(dtype, shape, seed=0)
        y = fastsoftmax.softmax(x, -1)
        assert y.ctypes.data % 64 == 0
        assert y.flags.c_contiguous
        assert y.flags.writeable
        assert y.dtype == x.dtype
        assert not np.shares_memory(x, y)
        apart = (y.ctypes.data - x.ctypes.data) % 4096
        assert 1024 <= apart <= 3072, apart


def test_a_result_too_large_for_any_memory_is_refused():
    x = np.broadcast_to(np.zeros(1, bool), (2**31, 2**31))  # 2**62 bytes, 2**65 as float64
    with pytest.raises(ValueError, match="too big"):
        fastsoftmax.softmax(x, -1)
