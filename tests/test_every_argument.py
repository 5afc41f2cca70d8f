"""Every public function with every argument drawn at random, against the exact results.

`make fuzz-python` draws many more than the tests do.
"""

import contextlib
import math
import os
import warnings

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import fastsoftmax
import fastsoftmax.functional as F
import oracle_losses
from bounds import CLASS_LOSS, bound
from checks import OPS, assert_exact, same_bits
from fastsoftmax import _core, _reference
from inputs import DTYPES

ISAS = _core._isa_available()
INTEGERS = ("int8", "uint8", "int32", "uint64", "bool")
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6) | st.tuples(
    st.integers(1, 3), st.integers(30, 140)
)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan)


@contextlib.contextmanager
def somehow(data):
    """Any target of this CPU, or that of FASTSOFTMAX_ISA; any number of threads."""
    targets = [os.environ.get("FASTSOFTMAX_ISA")] if "FASTSOFTMAX_ISA" in os.environ else ISAS
    former = _core._use_isa(data.draw(st.sampled_from(targets)))
    try:
        with fastsoftmax.num_threads(data.draw(st.integers(1, 3))):
            yield
    finally:
        _core._use_isa(former)


@st.composite
def values(draw, dtype, shape, special=SPECIAL):
    """Numbers of a dtype: ordinary ones, from one of the scales that a dtype has, and special."""
    dtype = DTYPES.get(dtype) or np.dtype(dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind in "iub":
        low, high = (0, 2) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return rng.integers(
            low, min(high, 2**62), shape, np.int64 if high < 2**63 else np.uint64
        ).astype(dtype)
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 8.0, 40.0, 300.0, 1e4]))
    x = rng.normal(size=shape) * scale
    if special and draw(st.booleans()):
        x = np.where(rng.random(shape) < 0.1, rng.choice(special, shape), x)
    return x.astype(dtype)


@st.composite
def laid_out(draw, x):
    """The same values, somewhere else in memory."""
    if not draw(st.booleans()):
        return x
    order = draw(st.permutations(range(x.ndim)))
    steps = draw(st.lists(st.sampled_from([1, 1, 2, -1, -3]), min_size=x.ndim, max_size=x.ndim))
    byteorder = draw(st.sampled_from(["=", "S"])) if x.dtype.kind in "iuf" else "="
    room = np.zeros(
        [x.shape[axis] * abs(steps[axis]) for axis in order], x.dtype.newbyteorder(byteorder)
    )
    if draw(st.booleans()):
        room = np.zeros(room.nbytes + 1, np.uint8)[1:].view(room.dtype).reshape(room.shape)
    view = room[(*(slice(None, None, steps[axis]) for axis in order), ...)]
    view = view.transpose(np.argsort(order)) if x.ndim else view
    view = view[(*(slice(0, size) for size in x.shape), ...)]
    view[...] = x
    assert view.shape == x.shape
    view.flags.writeable = draw(st.booleans())
    return view


@st.composite
def dims(draw, ndim):
    span = max(ndim, 1)
    one = st.integers(-span, span - 1)
    if not ndim:
        return draw(one)
    several = st.lists(st.integers(0, ndim - 1), min_size=1, unique=True).map(tuple)
    return draw(one | several)


@st.composite
def places(draw, shape, dtype, *overlapping):
    """An `out` of that shape: new, one of the arrays it may overlap, or across one of them."""
    kinds = ["none", "new", "laid out"]
    kinds += ["itself"] if any(_fits(x, shape, dtype) for x in overlapping) else []
    kind = draw(st.sampled_from(kinds))
    if kind == "none":
        return None
    if kind == "itself":
        return next(x for x in overlapping if _fits(x, shape, dtype))
    out = np.zeros(shape, dtype)
    if kind == "laid out":
        laid = draw(laid_out(out))
        out = laid if laid.dtype == out.dtype else out
        out.flags.writeable = True
    return out


def _fits(x, shape, dtype):
    return x.shape == shape and x.dtype == dtype and x.flags.writeable


@st.composite
def shifted(draw, x):
    """An array and a place for a result that overlaps it, but not element by element."""
    room = np.zeros(x.size + 8, x.dtype)
    first, second = draw(st.integers(0, 8)), draw(st.integers(0, 8))
    inside = room[first : first + x.size].reshape(x.shape)
    inside[...] = x
    return inside, room[second : second + x.size].reshape(x.shape)


@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_the_family(op, data):
    draw = data.draw
    dtype = draw(st.sampled_from([*DTYPES, *DTYPES, *INTEGERS, "longdouble"]))
    shape = draw(SHAPES)
    x = draw(laid_out(draw(values(dtype, shape))))
    keywords = {}
    if op != "logsumexp":
        wanted = draw(st.sampled_from([None, None, None, *DTYPES]))
        keywords["dtype"] = None if wanted is None else DTYPES[wanted]
    with np.errstate(all="ignore"):
        cast = x.astype(keywords.get("dtype") or (x.dtype if x.dtype.kind in "fV" else np.float64))
    cast = cast.astype(cast.dtype.newbyteorder("="))
    dim = draw(dims(x.ndim) | st.none()) if op != "logsumexp" else draw(dims(x.ndim))
    real = (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim
    if draw(st.booleans()):
        mask = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < 0.7
        keep = [size if draw(st.booleans()) else min(size, 1) for size in shape]
        keywords["where"] = mask[tuple(slice(0, size) for size in keep)]
    axes = _reference._axes(real, x.ndim) if x.ndim else ()
    result_shape = x.shape
    if op == "logsumexp":
        keywords["keepdim"] = keepdim = draw(st.booleans())
        result_shape = tuple(
            1 if axis in axes else size
            for axis, size in enumerate(x.shape)
            if keepdim or axis not in axes
        )
    overlapping = draw(st.booleans()) and x.dtype == cast.dtype and op != "logsumexp"
    if overlapping:
        x, keywords["out"] = draw(shifted(x))
    else:
        keywords["out"] = draw(places(result_shape, cast.dtype, x))
    given_to = {"dim": dim, **keywords}
    if op != "logsumexp" and draw(st.booleans()):
        given_to["_stacklevel"] = draw(st.integers(1, 5))
    with warnings.catch_warnings(), somehow(data):
        if dim is None:
            warnings.simplefilter("ignore", UserWarning)
        result = getattr(F, op)(x, **given_to)
    assert result.shape == result_shape
    assert keywords["out"] is None or result is keywords["out"]
    where = keywords.get("where")
    if op == "logsumexp" and result.ndim == cast.ndim and cast.ndim:
        result = result.squeeze(axes)
    if cast.dtype.char == "g":
        twin = np.asarray(getattr(_reference, op)(cast, real, where=where), np.longdouble)
        assert np.array_equal(result, twin, equal_nan=True)
    elif cast.ndim and cast.size:
        assert_exact(op, cast, real, result=np.asarray(result), where=where)
    elif cast.size:
        as_row = None if where is None else np.reshape(where, 1)
        row = np.reshape(result, 1 if op != "logsumexp" else ())
        assert_exact(op, cast.reshape(1), 0, result=np.asarray(row), where=as_row)
    else:
        assert np.all(np.isneginf(np.asarray(result)))  # of logsumexp; the others are empty


@pytest.mark.parametrize("op", ["softmax_backward", "log_softmax_backward"])
@given(data=st.data())
def test_gradients_of_the_family(op, data):
    draw = data.draw
    dtype, shape = (
        draw(st.sampled_from([*DTYPES])),
        draw(SHAPES.filter(lambda shape: 0 not in shape and shape)),
    )
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    x = draw(values(dtype, shape, special=()))
    y = draw(laid_out(getattr(F, op.removesuffix("_backward"))(x, dim)))
    g = draw(laid_out(draw(values(dtype, shape, special=()))))
    if draw(st.booleans()):
        g, out = draw(shifted(g.astype(DTYPES[dtype])))
    else:
        out = draw(places(shape, DTYPES[dtype], g, y))
    found = oracle_losses.exact(op, {"grad_output": g.copy(), "output": y.copy(), "dim": dim})
    with somehow(data):
        result = getattr(F, op)(g, y, dim=dim, out=out)
    assert out is None or result is out
    assert oracle_losses.error_ulp(np.asarray(result), found) <= bound(op, dtype)


@st.composite
def losses(draw, name):
    """Arguments of a loss by name, as the oracle takes them too."""
    dtype = draw(st.sampled_from([*DTYPES]))
    classes, rows = draw(st.integers(1, 9) | st.integers(60, 70)), draw(st.integers(1, 5))
    shape = draw(st.sampled_from([(classes,), (rows, classes), (rows, classes, 2, 3)]))
    x = draw(values(dtype, shape, special=()))
    if name == "nll_loss":
        x = F.log_softmax(x, 0 if x.ndim == 1 else 1)
    row_shape = shape[:1] + shape[2:] if len(shape) > 1 else ()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arguments = {"input": draw(laid_out(x))}
    probabilities = name != "nll_loss" and draw(st.booleans())
    if probabilities:
        target = rng.uniform(0, 1, shape).astype(draw(st.sampled_from([DTYPES[dtype], np.float32])))
    else:
        kinds = ["int64", "int64", "int8", "uint8", "int32", "uint16"]
        target = rng.integers(0, classes, row_shape).astype(draw(st.sampled_from(kinds)))
        arguments["ignore_index"] = draw(st.sampled_from([-100, 0, classes - 1, 2**40]))
    arguments["target"] = draw(laid_out(np.asarray(target)))
    if draw(st.booleans()):
        weight = rng.uniform(0.25, 4, classes)
        arguments["weight"] = draw(laid_out(weight.astype(draw(st.sampled_from(["f8", "f4"])))))
    if name != "nll_loss":
        arguments["label_smoothing"] = draw(st.sampled_from([0.0, 0.0, 0.125, 0.7, 1.0]))
    if draw(st.booleans()):
        arguments["reduction"] = draw(st.sampled_from(["none", "mean", "sum"]))
    else:
        flags = st.sampled_from([None, True, False])
        arguments["size_average"], arguments["reduce"] = draw(flags), draw(flags)
    return arguments


def _call(function, arguments):
    with warnings.catch_warnings():
        if (arguments.get("size_average"), arguments.get("reduce")) != (None, None):
            warnings.simplefilter("ignore", UserWarning)
        return np.asarray(function(**arguments))


def _limit(name, arguments, dtype):
    """The promise: 3 ULP of a loss of a class, 4 of what is weighted, smoothed or reduced."""
    plain = name == "cross_entropy" and arguments["target"].dtype.kind != "f"
    plain &= arguments.get("reduction") == "none" and arguments.get("weight") is None
    return bound(CLASS_LOSS if plain and not arguments["label_smoothing"] else name, dtype)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@given(data=st.data())
def test_losses(name, data):
    arguments = data.draw(losses(name))
    with somehow(data):
        result = _call(getattr(F, name), arguments)
    found = oracle_losses.exact(name, arguments)
    assert oracle_losses.error_ulp(result, found) <= _limit(name, arguments, result.dtype)


@given(data=st.data())
def test_the_gradient_of_the_loss(data):
    name = "cross_entropy_backward"
    arguments = data.draw(losses(name))
    x = arguments["input"]
    loss_shape = _call(F.cross_entropy, arguments).shape
    g = data.draw(values(x.dtype.name, loss_shape, special=()))
    arguments["grad_output"] = data.draw(laid_out(np.asarray(g)))
    found = oracle_losses.exact(name, {**arguments, "input": x.copy()})
    native = x.dtype.newbyteorder("=")
    if data.draw(st.booleans()):
        arguments["input"], out = data.draw(shifted(x.astype(native)))
    else:
        out = data.draw(places(x.shape, native, x))
    with somehow(data):
        result = _call(F.cross_entropy_backward, {**arguments, "out": out})
    assert oracle_losses.error_ulp(result, found) <= bound(name, result.dtype)


@given(data=st.data())
def test_gumbel_softmax(data):
    """The draws are the same for the same rng: what they are shows with logits of 0."""
    draw = data.draw
    dtype, shape = draw(st.sampled_from([*DTYPES])), draw(SHAPES)
    x = draw(values(dtype, shape, special=()))
    dim, seed = draw(dims(x.ndim)), draw(st.integers(0, 2**40))
    tau, hard = draw(st.floats(0.05, 20)), draw(st.booleans())
    laid = draw(laid_out(x))
    keywords = {"tau": tau, "hard": hard, "dim": dim}
    result = F.gumbel_softmax(laid, rng=np.random.default_rng(seed), **keywords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        again = F.gumbel_softmax(x, eps=1e-5, rng=seed, **keywords)
    assert same_bits(np.asarray(result), np.asarray(again))
    assert result.shape == shape
    assert result.dtype == DTYPES[dtype]
    if not x.size:
        return
    wide = np.asarray(result).astype(np.float64)
    axes = _reference._axes(dim, x.ndim) if x.ndim else ()
    rows = math.prod(shape[axis] for axis in axes)
    sums = wide.sum(axis=axes)
    if hard:
        assert np.array_equal(sums, np.ones_like(sums))
        assert set(np.unique(wide)) <= {0.0, 1.0}
    else:
        eps = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}.get(dtype, 2.0**-7)
        assert np.all(np.abs(sums - 1) <= eps * (1 + rows / 8))
    relaxed = F.gumbel_softmax(x.astype(np.float64), rng=seed, **{**keywords, "hard": False})
    same = F.gumbel_softmax(x.astype(np.float64), rng=seed, **{**keywords, "hard": True})
    top = relaxed.max(axis=axes, keepdims=True) if axes else relaxed
    assert np.all(relaxed[same == 1] == np.broadcast_to(top, relaxed.shape)[same == 1])
