"""Dask arrays: lazy, refused where NumPy arrays are, and as exact for any chunks."""

import itertools
import math
import threading

import dask
import dask.array as da
import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import OPS, assert_exact, bits, call
from fastsoftmax import _dask, nn
from subprocesses import run_python


@pytest.fixture(autouse=True)
def one_by_one():
    with dask.config.set(scheduler="sync"):
        yield


def untouchable(shape, chunks, dtype="float32"):
    """A dask array that fails where one of its chunks is computed."""

    def fail():
        raise AssertionError("a chunk was computed")

    whole = da.from_delayed(dask.delayed(fail)(), shape, np.dtype(dtype))
    return whole.rechunk(chunks)


def computed(op, d, dim, **keywords):
    """The values, once all that the lazy array says of itself has proved right."""
    lazy = call(op, d, dim, **keywords)
    assert isinstance(lazy, da.Array)
    assert type(lazy._meta) is np.ndarray
    result, *blocks = dask.compute(lazy, *lazy.to_delayed().flat)
    assert isinstance(result, np.ndarray)
    assert result.dtype == lazy.dtype == lazy._meta.dtype
    assert (result.shape, result.ndim) == (lazy.shape, lazy._meta.ndim)
    assert [block.shape for block in blocks] == list(itertools.product(*lazy.chunks))
    return result


@pytest.mark.parametrize(
    ("shape", "dim", "chunks"),
    [
        ((30, 50), 1, (7, -1)),
        ((30, 50), 1, (7, 20)),
        ((30, 50), -1, (30, 1)),
        ((30, 50), 0, ((1, 29), (50,))),
        ((30, 50), 0, (30, 9)),
        ((30, 50), (0, 1), (8, 11)),
        ((30, 50), (1, 0), -1),
        ((6, 20, 9), 1, (2, 3, 4)),
        ((6, 20, 9), (0, 2), (4, 7, 2)),
        ((6, 20, 9), (2, 1), (1, 20, 5)),
        ((900,), 0, 50),
        ((1, 70_000), 1, (1, 30_000)),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("op", OPS)
def test_any_chunks(op, dtype, shape, dim, chunks):
    x = inputs.normal(dtype, shape, seed=7, scale=5.0)
    assert_exact(op, x, dim, result=computed(op, da.from_array(x, chunks), dim))


@pytest.mark.parametrize("chunks", [(9, 20), (9, -1)])
@pytest.mark.parametrize("lazy_mask", [True, False])
@pytest.mark.parametrize("op", OPS)
def test_masks(op, lazy_mask, chunks):
    x = inputs.normal("float32", (25, 50), seed=2)
    where = np.random.default_rng(1).random(x.shape) < 0.5
    where[3], where[5, :20] = False, False
    d = da.from_array(x, chunks)
    mask = da.from_array(where, (10, 10)) if lazy_mask else where
    assert_exact(op, x, 1, result=computed(op, d, 1, where=mask), where=where)
    column = mask[:, :1]
    assert_exact(op, x, 1, result=computed(op, d, 1, where=column), where=where[:, :1])
    only_the_mask = call(op, x, 1, where=da.from_array(where, (10, 10)))
    assert_exact(op, x, 1, result=only_the_mask.compute(), where=where)


@pytest.mark.parametrize("op", OPS)
def test_keepdim_dtype_and_integers(op):
    x = np.arange(60, dtype=np.uint8).reshape(6, 10) % 7
    d = da.from_array(x, (4, 3))
    assert_exact(op, x.astype(float), 1, result=computed(op, d, 1))
    if op == "logsumexp":
        kept = computed(op, d, (0, 1), keepdim=True)
        assert kept.shape == (1, 1)
        assert_exact(op, x.astype(float), (0, 1), result=kept.reshape(()))
        return
    assert_exact(op, x.astype("f4"), 1, result=computed(op, d, 1, dtype=np.float32))


@pytest.mark.parametrize("op", OPS)
def test_no_elements_and_no_dimensions(op):
    for shape, dim, chunks in (
        ((0, 5), 1, (0, 2)),
        ((0, 5), 0, (0, 2)),
        ((3, 0), 1, (2, 0)),
        ((4, 0), 1, ((4,), (0, 0))),
        ((5, 3), 1, ((0, 5, 0), (0, 2, 0, 1, 0))),
        ((), 0, ()),
        ((), -1, ()),
    ):
        x = inputs.normal("float64", shape, seed=1)
        result = computed(op, da.from_array(x, chunks), dim)
        assert_exact(op, x, dim, result=result)


@pytest.mark.parametrize("op", OPS)
def test_unknown_chunk_sizes(op):
    x = inputs.normal("float32", (40, 30), seed=3)
    taken = x[:, 0] > 0
    d = da.from_array(x, (9, 12))
    some = d[d[:, 0] > 0]
    assert math.isnan(some.shape[0])
    for dim in (0, 1, (0, 1)):
        result = call(op, some, dim).compute()
        assert_exact(op, x[taken], dim, result=result)
    with pytest.raises(ValueError, match=r"where chunk sizes are unknown.*compute_chunk_sizes"):
        call(op, some, 1, where=np.ones(30, bool))


@pytest.mark.parametrize("chunks", [(2, -1), (2, 3)])
@pytest.mark.parametrize("op", OPS)
def test_long_double_and_complex(op, chunks):
    x = inputs.normal("float64", (4, 9), seed=3).astype(np.longdouble)
    for y in [x, x + 1j] if op == "logsumexp" else [x]:
        d = da.from_array(y, chunks)
        if chunks[1] == 3:
            with pytest.raises(TypeError, match=r"dim=\(1,\) has 3: rechunk it, or convert"):
                call(op, d, 1)
        else:
            assert np.array_equal(call(op, d, 1).compute(), call(op, y, 1))


@pytest.mark.parametrize("op", OPS)
def test_nothing_is_computed_before_it_is_asked_for(op):
    for dim in (0, 1, (0, 1)):
        for x in (untouchable((40, 30), (10, -1)), untouchable((40, 30), (10, 7))):
            y = call(op, x, dim, where=untouchable((40, 1), 3, bool))
            with pytest.raises(AssertionError, match="a chunk was computed"):
                y.compute()


def test_tasks_are_few_and_their_names_last():
    x = da.zeros((2000, 2000), chunks=(100, 100))
    for op in OPS:
        y = call(op, x, 1)
        assert y.name == call(op, x, 1).name
        assert y.name.startswith(f"{op}-")
        assert y.name != call(op, x, 0).name
        assert y.name != call(op, x, 1, where=np.ones(2000, bool)).name
        (optimized,) = dask.optimize(y)
        # zeros, reduce, finish; and the tree, of 16 to one
        assert len(optimized.__dask_graph__()) <= 3.5 * x.npartitions


@pytest.mark.parametrize(
    ("dim", "more", "error"),
    [
        (2, {}, IndexError),
        (-3, {}, IndexError),
        ((0, 0), {}, ValueError),
        ((), {}, ValueError),
        (1.5, {}, TypeError),
        (1, {"where": np.ones((4, 6))}, TypeError),
        (1, {"where": np.ones((4, 5), bool)}, ValueError),
        (1, {"where": np.ma.masked_array(np.ones((4, 6), bool))}, TypeError),
    ],
)
@pytest.mark.parametrize("op", OPS)
def test_errors_are_those_of_numpy_arrays(op, dim, more, error):
    x = np.ones((4, 6), "f4")
    with pytest.raises(error) as numpys:
        call(op, x, dim, **more)
    with pytest.raises(error) as dasks:
        call(op, untouchable((4, 6), 3), dim, **more)
    assert str(dasks.value) == str(numpys.value)
    if "where" in more and not isinstance(more["where"], np.ma.MaskedArray):
        with pytest.raises(error) as dasks:
            call(op, untouchable((4, 6), 3), dim, where=da.from_array(more["where"]))
        assert str(dasks.value) == str(numpys.value)


@pytest.mark.parametrize("op", OPS)
def test_refused_inputs(op):
    masked = da.ma.masked_greater(da.ones((4, 6), chunks=3), 5)
    with pytest.raises(TypeError, match=r"would ignore the mask of a numpy\.ma\.MaskedArray"):
        call(op, masked, 1)
    with pytest.raises(TypeError, match="needs numbers, but got dtype datetime64"):
        call(op, untouchable((4, 6), 3, "M8[s]"), 1)
    with pytest.raises(TypeError, match="takes the arrays of dask, not its Delayed: convert it"):
        call(op, dask.delayed(np.ones)(3), 0)
    with pytest.raises(TypeError, match=r"cannot fill out: leave it out.*dask\.array\.store"):
        call(op, untouchable((4, 6), 3), 1, out=np.ones((4, 6), "f4"))
    if op == "logsumexp":
        with pytest.raises(TypeError, match="needs dim"):
            call(op, untouchable((4, 6), 3), None)
    else:
        with pytest.raises(TypeError, match="computes in floating point, but got dtype=int64"):
            call(op, untouchable((4, 6), 3), 1, dtype=np.int64)


def test_other_functions_ask_for_an_array_in_memory():
    d, x = untouchable((4, 6), 3), np.ones((4, 6), "f4")
    for refused in (
        lambda: F.gumbel_softmax(d, dim=1),
        lambda: F.softmax_backward(d, x, 1),
        lambda: F.log_softmax_backward(x, d, 1),
        lambda: F.cross_entropy_backward(1.0, d, np.zeros(4, int)),
        lambda: F.cross_entropy(x, np.zeros(4, int), weight=untouchable((6,), 3)),
        lambda: F.softmax(x, 1, out=d),
    ):
        with pytest.raises(TypeError, match=r"of dask where it needs an array|numpy\.ndarray"):
            refused()


@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin"])
def test_an_implicit_dim_warns_at_the_caller(op):
    d = untouchable((4, 6), 3)
    with pytest.warns(UserWarning, match=f"Implicit dimension choice for {op}") as warned:
        y = getattr(F, op)(d)
    assert warned[0].filename == __file__
    assert y.name == call(op, d, 1).name


def test_modules():
    x = inputs.normal("float32", (2, 3, 4, 5), seed=1)
    d = da.from_array(x, 2)
    for module, op, dim in (
        (nn.Softmax(dim=1), "softmax", 1),
        (nn.LogSoftmax(dim=(1, 2)), "log_softmax", (1, 2)),
        (nn.Softmin(dim=0), "softmin", 0),
        (nn.Softmax2d(), "softmax", 1),
    ):
        y = module(d)
        assert isinstance(y, da.Array)
        assert_exact(op, x, dim, result=y.compute())
    with pytest.raises(ValueError, match="Softmax2d: expected input to be 3D or 4D, got 2D"):
        nn.Softmax2d()(d[0, 0])


def test_a_task_takes_one_thread_and_leaves_the_setting(monkeypatch):
    seen = []

    def softmax(x, *arguments, **keywords):
        seen.append((threading.get_ident(), fastsoftmax.get_num_threads()))
        return x

    former = fastsoftmax.get_num_threads()
    fastsoftmax.set_num_threads(2)
    try:
        monkeypatch.setattr(_dask._core, "softmax", softmax)
        y = F.softmax(da.ones((100, 8), chunks=(1, 8)), 1)
        y.compute(scheduler="threads", num_workers=2)
        assert fastsoftmax.get_num_threads() == 2
    finally:
        fastsoftmax.set_num_threads(former)
    assert len(seen) == 100
    assert {threads for _, threads in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_the_bits_of_a_row_do_not_depend_on_the_chunks_of_other_dimensions():
    x = inputs.normal("float32", (60, 500), seed=9)
    for columns in (-1, 99):
        for op in OPS:
            by_sixty, by_seven = (
                call(op, da.from_array(x, (rows, columns)), 1).compute() for rows in (60, 7)
            )
            assert np.array_equal(bits(by_sixty), bits(by_seven))


def test_dask_is_imported_only_where_it_is_used():
    run_python(
        """
import sys
import numpy as np
import fastsoftmax.functional as F

x = np.ones((3, 4))
F.softmax(x, 1, where=x > 0), F.logsumexp(x.tolist(), 0), F.cross_entropy(x, [1, 2, 3])
assert "dask" not in sys.modules
"""
    )
