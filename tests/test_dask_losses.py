"""Losses of dask arrays: lazy, refused where those of NumPy arrays are, as exact for any chunks."""

import itertools

import dask
import dask.array as da
import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
from bounds import CLASS_LOSS, bound
from checks import bits
from fastsoftmax import nn
from losses import assert_within, problem
from test_dask import one_by_one, untouchable  # noqa: F401

SHAPES = {
    "(N, C)": ((15, 40), (4, 11)),
    "(N, C), whole rows": ((15, 40), (4, -1)),
    "(N, C, K)": ((5, 30, 4), (2, 7, 3)),
    "(N, C, K), whole rows": ((5, 30, 4), (2, -1, 3)),
    "(N, C, J, K)": ((3, 6, 2, 3), 2),
    "(C,)": ((50,), 9),
    "(C,), whole row": ((50,), -1),
}


def computed(name, d, target, **keywords):
    lazy = getattr(F, name)(d, target, **keywords)
    assert isinstance(lazy, da.Array)
    assert type(lazy._meta) is np.ndarray
    result, *blocks = dask.compute(lazy, *lazy.to_delayed().flat)
    assert isinstance(result, np.ndarray)
    assert result.dtype == lazy.dtype == lazy._meta.dtype
    assert result.shape == lazy.shape
    assert [block.shape for block in blocks] == list(itertools.product(*lazy.chunks))
    return result


def assert_losses(name, x, chunks, target, lazy_target=True, **keywords):
    """Within the bound, the tighter one where it holds."""
    t = da.from_array(target, 3) if lazy_target else target
    result = computed(name, da.from_array(x, chunks), t, **keywords)
    of_a_class = name == "cross_entropy" and target.shape != x.shape
    alone = of_a_class and keywords == {"reduction": "none"}
    limit = bound(CLASS_LOSS, x.dtype) if alone else None
    assert_within(name, result, limit, input=x, target=target, **keywords)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_classes(name, dtype, shape):
    shape, chunks = SHAPES[shape]
    x, t = problem(dtype, shape, seed=4)
    if t.ndim:
        t.flat[::5] = -100
    weight = np.random.default_rng(3).random(shape[min(1, len(shape) - 1)])
    for lazy_target, keywords in (
        (True, {"reduction": "none"}),
        (False, {"reduction": "none", "weight": weight}),
        (True, {"reduction": "mean", "weight": weight, "ignore_index": 2}),
        (False, {"reduction": "sum"}),
    ):
        if keywords.get("ignore_index") == 2:
            t = np.where(t == -100, 2, t)
        assert_losses(name, x, chunks, t, lazy_target, **keywords)
        if name == "cross_entropy":
            assert_losses(name, x, chunks, t, lazy_target, label_smoothing=0.2, **keywords)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_probabilities(dtype, shape):
    shape, chunks = SHAPES[shape]
    x = inputs.normal(dtype, shape, seed=4)
    p = np.random.default_rng(2).random(shape).astype(inputs.DTYPES[dtype])
    weight = np.random.default_rng(3).random(shape[min(1, len(shape) - 1)])
    for lazy_target, keywords in (
        (True, {"reduction": "none", "weight": weight}),
        (False, {"reduction": "mean", "label_smoothing": 0.4}),
        (True, {"reduction": "sum"}),
    ):
        assert_losses("cross_entropy", x, chunks, p, lazy_target, **keywords)


@pytest.mark.parametrize("case", ["confident rows", "the largest numbers mixed", "-inf as a mask"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hard_rows(dtype, case):
    """float32 losses too small for its normal numbers keep their digits until they are weighted."""
    for x in inputs.hard(case, dtype)[1:4]:
        n = x.shape[1]
        t = np.argmax(x, axis=1)
        t[::7] = n - 1
        chunks = (-1, max(1, n // 3))
        assert_losses("cross_entropy", x, chunks, t, reduction="none")
        if case == "confident rows":
            assert_losses("cross_entropy", x, chunks, np.argmax(x, axis=1), reduction="sum")
            weight = np.full(n, 1e6)
            assert_losses("cross_entropy", x, chunks, t, reduction="none", weight=weight)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_special_numbers_come_out_as_of_numpy_arrays(dtype, label_smoothing):
    inf, nan = np.inf, np.nan
    x = inputs.normal(dtype, (14, 30), seed=1)
    t = np.arange(14) * 2
    for row, place, value in (
        (0, 0, nan), (1, 29, nan), (2, 15, inf), (3, 6, -inf), (4, 1, -inf), (5, slice(None), -inf),
        (6, slice(0, 10), -inf), (7, slice(10, 20), -inf), (8, slice(1), inf), (9, 5, inf),
        (10, slice(None), inf), (11, 7, nan), (12, slice(20, 30), -inf),
    ):  # fmt: skip
        x[row, place] = value
    t[[9, 11]] = -100
    for reduction in ("none", "sum", "mean"):
        more = {"reduction": reduction, "label_smoothing": label_smoothing}
        result = computed("cross_entropy", da.from_array(x, (5, 10)), t, **more)
        expected = F.cross_entropy(x, t, **more)
        assert np.array_equal(np.isnan(result), np.isnan(expected))
        assert np.array_equal(np.isinf(result), np.isinf(expected))
        if reduction == "none":
            fine = np.isfinite(x).all(axis=1)
            assert_within("cross_entropy", result[fine], input=x[fine], target=t[fine], **more)
    p = np.full(x.shape, 0.1, x.dtype)
    result = computed("cross_entropy", da.from_array(x, (5, 10)), p, reduction="none")
    expected = F.cross_entropy(x, p, reduction="none")
    assert np.array_equal(np.isnan(result), np.isnan(expected))
    assert np.array_equal(np.isinf(result), np.isinf(expected))


@pytest.mark.parametrize("chunks", [(3, -1), (3, 2)])
def test_no_rows_and_no_weights(chunks):
    x = inputs.normal("float64", (7, 5), seed=1)
    ignored = np.full(7, -100)
    for name in ("cross_entropy", "nll_loss"):
        d = da.from_array(x, chunks)
        assert np.isnan(computed(name, d, ignored))
        assert computed(name, d, ignored, reduction="sum") == 0
        none = computed(name, d[:0], ignored[:0], reduction="none")
        assert none.shape == (0,)
        assert np.isnan(computed(name, d[:0], ignored[:0]))


@pytest.mark.parametrize("chunks", [(2, -1), (2, 2)])
def test_long_double(chunks):
    x = inputs.normal("float64", (4, 5), seed=1).astype(np.longdouble)
    d, t = da.from_array(x, chunks), np.arange(4)
    if chunks[1] == 2:
        with pytest.raises(TypeError, match="whose classes are one chunk, but these are in 3"):
            F.cross_entropy(d, t)
    else:
        assert np.array_equal(computed("cross_entropy", d, t), F.cross_entropy(x, t))


@pytest.mark.parametrize("chunks", [(3, -1), (3, 2)])
def test_nothing_is_computed_before_it_is_asked_for(chunks):
    x, t = untouchable((8, 6), chunks), untouchable((8,), 3, int)
    for name in ("cross_entropy", "nll_loss"):
        y = getattr(F, name)(x, t)
        assert y.name == getattr(F, name)(x, t).name
        assert y.name != getattr(F, name)(x, t, ignore_index=1).name
        with pytest.raises(AssertionError, match="a chunk was computed"):
            y.compute()
    lazy_target_only = F.cross_entropy(np.ones((8, 6)), t)
    with pytest.raises(AssertionError, match="a chunk was computed"):
        lazy_target_only.compute()


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize(
    ("shape", "target", "more"),
    [
        ((4, 6), np.array([0, 1, 2, 6]), {}),
        ((4, 6), np.zeros(3, int), {}),
        ((4, 6), np.zeros((4, 1), int), {}),
        ((4, 6), np.zeros(4), {}),
        ((4, 6), np.array(list("abcd")), {}),
        ((4, 6, 2), np.zeros((4, 3), int), {}),
        ((4, 6), np.zeros(4, int), {"weight": np.ones(5)}),
        ((4, 6), np.zeros(4, int), {"weight": np.ones(6, "M8[s]")}),
        ((4, 6), np.zeros(4, int), {"reduction": "all"}),
        ((4, 6), np.zeros(4, int), {"ignore_index": 1.5}),
        ((), np.zeros((), int), {}),
    ],
)
def test_errors_are_those_of_numpy_arrays(name, shape, target, more):
    with pytest.raises((IndexError, RuntimeError, TypeError, ValueError)) as numpys:
        getattr(F, name)(np.ones(shape, "f4"), target, **more)
    with pytest.raises(numpys.type) as dasks:
        getattr(F, name)(untouchable(shape, 2), target, **more)
    assert str(dasks.value) == str(numpys.value)


@pytest.mark.parametrize("chunks", [(3, -1), (3, 2)])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_a_lazy_target_out_of_range_is_found_when_it_is_computed(name, chunks):
    y = getattr(F, name)(da.ones((8, 6), chunks=chunks), da.from_array(np.arange(8), 2))
    with pytest.raises(IndexError, match=r"Target 6 is out of bounds.*in \[0, 6\)"):
        y.compute()


def test_unknown_chunk_sizes_and_masked_arrays_are_refused():
    x = da.ones((8, 6), chunks=3)
    with pytest.raises(ValueError, match=r"chunk sizes are unknown.*compute_chunk_sizes"):
        F.cross_entropy(x[x[:, 0] > 0], np.zeros(8, int))
    with pytest.raises(TypeError, match="would ignore the mask of input"):
        F.cross_entropy(da.ma.masked_greater(x, 5), np.zeros(8, int))
    with pytest.raises(TypeError, match="would ignore the mask of target"):
        F.cross_entropy(x, da.ma.masked_greater(da.zeros(8, dtype=int), 5))


def test_modules_and_the_former_flags():
    x, t = problem("float32", (8, 6))
    d = da.from_array(x, 3)
    assert_within("cross_entropy", nn.CrossEntropyLoss()(d, t).compute(), input=x, target=t)
    assert_within("nll_loss", nn.NLLLoss()(d, t).compute(), input=x, target=t)
    with pytest.warns(UserWarning, match="reduction='sum' instead") as warned:
        F.cross_entropy(d, t, size_average=False)
    assert warned[0].filename == __file__


def test_many_chunks_add_up():
    x, t = problem("float64", (300, 40), seed=2)
    for chunks in ((4, 40), (30, 3)):
        assert_losses("cross_entropy", x, chunks, t, reduction="mean")


def test_the_bits_of_a_loss_do_not_depend_on_the_chunks_of_other_rows():
    x, t = problem("float32", (40, 60), seed=6)
    for classes in (-1, 13):
        by_forty, by_seven = (
            computed("cross_entropy", da.from_array(x, (rows, classes)), t, reduction="none")
            for rows in (40, 7)
        )
        assert np.array_equal(bits(by_forty), bits(by_seven))
