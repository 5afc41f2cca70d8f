"""The losses on arrays of any layout, in bounded memory, by any number of threads, into `out`."""

import contextlib
import itertools
import json
import re
import sys

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import each_isa, same_bits, taken_for_few
from fastsoftmax import _loss_kernels
from losses import NAMES, assert_within, call, problem
from subprocesses import run_python


@contextlib.contextmanager
def by_blocks():
    """As if nothing went straight to the kernels, as small arrays in any strides do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("direct_loss", "direct_gradient"):
            patch.setattr(_loss_kernels, name, lambda *arguments: None)
        yield


WAYS = {"straight where it can": contextlib.nullcontext, "by blocks": by_blocks}


def _unaligned(x):
    room = np.empty(x.nbytes + 1, np.uint8)
    view = room[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def _read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


def _lying(*order):
    """Axes in this order in memory, outermost first; those that are not there are left out."""

    def lay(x):
        axes = [axis for axis in order if axis < x.ndim]
        axes += [axis for axis in range(x.ndim) if axis not in axes]
        return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))

    return lay


LAYOUTS = {
    "contiguous": np.array,
    "classes outermost": _lying(1, 0, 2, 3),
    "classes last": _lying(0, 2, 3, 1),
    "batch last": _lying(1, 2, 3, 0),
    "batch in the middle": _lying(2, 0, 1, 3),
    "rows apart": lambda x: np.repeat(x, 2, axis=0)[::2],
    "classes apart": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "last apart": lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
    "backwards": lambda x: np.array(x[::-1, ::-1])[::-1, ::-1],
    "unaligned": _unaligned,
    "read-only": _read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "subclass": lambda x: np.array(x).view(np.memmap),
}
SHAPES = ((9, 10), (70, 33), (5, 6, 7), (3, 4, 5, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(37, 11, 5), (300, 50, 16), (19, 3, 130), (9, 7, 64), (3, 5, 2, 3)]
)
def test_many_small_samples_have_the_losses_of_one(isa, dtype, shape):
    """Some of them go into one call of a kernel."""
    x = inputs.normal(dtype, shape, seed=0)
    target = np.random.default_rng(0).integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[::13] = -100
    losses = F.cross_entropy(x, target, reduction="none")
    for i in range(shape[0]):
        alone = F.cross_entropy(x[i : i + 1], target[i : i + 1], reduction="none")
        assert same_bits(losses[i], alone[0])
    total = np.sum(losses, dtype=np.longdouble)
    mean = F.cross_entropy(x.astype(np.float64), target)
    assert np.isclose(
        float(total) / np.sum(target >= 0), mean, rtol=1e-2 if x.itemsize == 2 else 1e-6
    )


def _laid(layout, dtype):
    if layout == "byte-swapped" and dtype == "bfloat16":
        pytest.skip("ml_dtypes' bfloat16 has one byte order")
    return LAYOUTS[layout]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_layout(name, dtype, layout, way):
    lay = _laid(layout, dtype)
    for shape in SHAPES:
        x, t = problem(dtype, shape)
        given = lay(x)
        assert np.array_equal(given, x)
        t[t == 1] = -100
        t_laid = lay(t[:, np.newaxis].astype(np.int32))[:, 0]
        for reduction in ("none", "mean"):
            found = {"input": given, "target": t_laid, "reduction": reduction}
            if name == "cross_entropy_backward" and reduction == "none":
                g = np.random.default_rng(1).normal(size=t.shape)
                found["grad_output"] = lay(g[:, np.newaxis])[:, 0]
            for _ in each_isa():
                with WAYS[way]():
                    result = call(name, **found)
                assert (type(result), result.dtype) == (np.ndarray, x.dtype)
                assert_within(name, result, **found)
        assert np.array_equal(given, x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_backward"])
def test_every_layout_of_probabilities(name, dtype, layout):
    lay = _laid(layout, dtype)
    for shape in SHAPES:
        x, _ = problem(dtype, shape)
        p = inputs.fit(np.random.default_rng(1).random(shape) / shape[1], dtype)
        for logits, target in ((x, lay(p)), (lay(x), p), (lay(x), lay(p))):
            found = {"input": logits, "target": target, "label_smoothing": 0.1}
            found["weight"] = np.linspace(0, 1, shape[1])
            assert_within(name, call(name, **found), **found)


@pytest.mark.parametrize("name", NAMES)
def test_broadcast_logits(name):
    row = inputs.normal("float32", (1, 7, 1), 1)
    for shape in ((6, 7, 1), (1, 7, 6), (6, 7, 6)):
        t = np.random.default_rng(1).integers(0, 7, size=(shape[0], shape[2]))
        found = {"input": np.broadcast_to(row, shape), "target": t}
        assert_within(name, call(name, **found), **found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(40_000, 3), (2, 3, 40_000), (3, 20_001), (2, 7, 90, 60)])
def test_arrays_that_are_worked_on_in_pieces(name, shape):
    x, t = problem("float64", shape)
    for given in (x, np.repeat(x, 2, axis=-1)[..., ::2], _lying(2, 1, 0)(x), x.astype(">f8")):
        for target in (t, t.astype(np.int32)):
            found = {"input": given, "target": target, "reduction": "mean"}
            assert_within(name, call(name, **found), **found)
            found["reduction"] = "none"
            if name == "cross_entropy_backward":
                found["grad_output"] = np.linspace(0, 1, t.size, dtype=np.float32).reshape(t.shape)
            assert_within(name, call(name, **found), **found)


@pytest.mark.parametrize("name", NAMES)
def test_further_dimensions_are_rows(name):
    x, t = problem("float32", (4, 5, 3, 2))
    each = {"reduction": "none"}
    if name == "cross_entropy_backward":
        each["grad_output"] = np.ones(t.shape)
    result = call(name, x, t, **each)
    if name == "cross_entropy_backward":
        each["grad_output"] = np.ones(t.size)
    rows = np.moveaxis(x, 1, -1).reshape(-1, 5)
    by_rows = call(name, np.ascontiguousarray(rows), t.reshape(-1), **each)
    if name == "cross_entropy_backward":
        result = np.moveaxis(result, 1, -1)
    assert np.allclose(result.reshape(by_rows.shape), by_rows, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_the_same_bits_from_any_number_of_threads(dtype, name):
    for shape in ((3000, 100), (2, 200_000), (30, 50, 400)):
        x, t = problem(dtype, shape)
        results = []
        for threads in (1, 2, 3, 8):
            with fastsoftmax.num_threads(threads):
                results.append([call(name, x, t), call(name, x, t, np.linspace(0, 1, shape[1]))])
                if name != "cross_entropy_backward":
                    results[-1].append(call(name, x, t, reduction="none"))
        for others in results[1:]:
            assert all(map(same_bits, others, results[0]))


@pytest.mark.parametrize("weight", [[np.inf, -np.inf, 1.0], [1e308, 1e308, -1.0]])
def test_weights_without_a_finite_sum(weight):
    x, t = problem("float64", (4, 3))
    for given in (weight, np.array(weight)):
        losses = F.cross_entropy(x, t, given, reduction="none", label_smoothing=0.1)
        assert not np.isfinite(losses).any() or np.isfinite(weight).all()
        gradient = F.cross_entropy_backward(1.0, x, t, given, reduction="sum", label_smoothing=0.1)
        assert not np.isfinite(gradient).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("shape", [(3, 1), (32, 10), (100, 33), (5, 7, 9), (4, 3000)])
def test_lists_of_weights_and_targets_give_the_same_bits(shape, dtype, reduction):
    x, t = problem(dtype, shape)
    t[0] = -100
    for weight in (None, np.linspace(0, 2, shape[1]), np.linspace(2, -1, shape[1], dtype="f4")):
        listed = None if weight is None else weight.tolist()
        for smoothing in (0.0, 0.1, 1.0):
            for name in NAMES:
                more = {"reduction": reduction}
                if name != "nll_loss":
                    more["label_smoothing"] = smoothing
                if name == "cross_entropy_backward":
                    more["grad_output"] = np.ones(t.shape) if reduction == "none" else 2.0
                found = call(name, x, t, weight, **more)
                assert same_bits(found, call(name, x, t.tolist(), listed, **more))


@pytest.mark.parametrize("weight_type", [None, *inputs.DTYPES])
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_what_goes_straight_to_the_kernels_has_the_same_bits(dtype, weight_type):
    for shape in ((32, 10), (3, 1000), (5, 7, 9)):
        x, t = problem(dtype, shape)
        t.flat[::3] = -100
        p = F.softmax(x[::-1], 1)
        w = np.linspace(0, 2, shape[1]).astype(inputs.DTYPES[weight_type or "float64"])
        targets = (t, t.astype("i1"), t.astype("i4"), np.abs(t).astype("u2") % shape[1], p)
        for target, reduction in itertools.product(targets, ("mean", "sum", "none")):
            more = {"weight": w if weight_type else None, "reduction": reduction}
            for smoothing in (0.0, 0.1):
                found = F.cross_entropy(x, target, label_smoothing=smoothing, **more)
                with by_blocks():
                    other = F.cross_entropy(x, target, label_smoothing=smoothing, **more)
                assert same_bits(found, other)
                g = inputs.normal("float32", t.shape, 7) if reduction == "none" else np.float32(3)
                given = g, x, target
                found = F.cross_entropy_backward(*given, label_smoothing=smoothing, **more)
                with by_blocks():
                    other = F.cross_entropy_backward(*given, label_smoothing=smoothing, **more)
                assert same_bits(found, other)
            if target is not p:
                found = F.nll_loss(x, target, **more)
                with by_blocks():
                    other = F.nll_loss(x, target, **more)
                assert same_bits(found, other)


@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_one_sample_and_classes_in_lists_go_straight_too(dtype):
    x, t = problem(dtype, (5, 7))
    row, p = x[0], F.softmax(x[1], 0)
    of_row = (3, np.int16(3), np.uint64(3), np.array(3), np.array([3]), [3], -100, p)
    for logits, target in [(row, target) for target in of_row] + [(x, t.tolist())]:
        for name, reduction in itertools.product(NAMES, ("mean", "sum", "none")):
            if (name == "nll_loss" and target is p) or (name, reduction) == (NAMES[2], "none"):
                continue
            for weight in (None, np.linspace(0, 2, 7), np.repeat(-0.0, 7)):
                more = {"weight": weight, "reduction": reduction}
                found = call(name, logits, target, **more)
                with by_blocks():
                    other = call(name, logits, target, **more)
                assert same_bits(found, other)
        if not isinstance(target, np.uint64):  # of which int64 has not all
            direct = logits, target, None, -100, "mean", 0.0, True
            assert _loss_kernels.direct_loss(*direct) is not None
            assert _loss_kernels.direct_gradient(1.0, *direct[:-1], None) is not None


def test_gradients_of_few_logits_that_lie_apart_go_straight_too():
    x, t = problem("float32", (6, 8))
    for apart in (x[::-1], x[::2], x[:, ::2], x[:, ::-1], x[:, 3:]):
        direct = apart, t[: len(apart)] % 3, None, -100, "mean", 0.0
        with taken_for_few():
            found = _loss_kernels.direct_gradient(1.0, *direct, None)
        with by_blocks():
            wanted = F.cross_entropy_backward(1.0, *direct[:2])
        assert same_bits(found, wanted)
        assert found.strides == wanted.strides
    assert _loss_kernels.direct_gradient(1.0, x.T, t[:8] % 6, *direct[2:], None) is None


class OddOne:
    """An element of a list that has a word of its own."""

    def __array__(self, *arguments, **keywords):
        raise KeyError("odd")


def test_a_list_that_only_begins_with_an_integer_is_looked_at_in_its_turn():
    x = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="nonsense is not a valid value"):
        F.cross_entropy(x, [0, OddOne()], reduction="nonsense")


@pytest.mark.parametrize("shape", [(7,), (5, 7)])
def test_what_looks_like_classes_and_is_not_is_refused(shape):
    x, _ = problem("float32", shape)
    given = [7], [1, [2]], [0, None], [0, 2**64], [0, -(2**63) - 1], 7, 2**64, True, [1.0]
    for target in (*given, [0, OddOne()]):
        with pytest.raises(
            (IndexError, RuntimeError, TypeError, ValueError, OverflowError, KeyError)
        ) as now:
            F.cross_entropy(x, target)
        with by_blocks(), pytest.raises(now.type, match=re.escape(str(now.value))):
            F.cross_entropy(x, target)


def test_a_reduction_that_only_equals_one():
    x, t = problem("float32", (4, 3))
    for name in NAMES:
        with pytest.raises(ValueError, match="sum is not a valid value for reduction"):
            call(name, x, t, reduction=np.array("sum"))


FIRST = """
import ml_dtypes
import numpy as np
from fastsoftmax import _loss_kernels
wide = np.array([1 + 2.0**-8 + 2.0**-50, 1 + 2.0**-8, 2.0**-134 + 2.0**-170])
print(_loss_kernels.rounded(wide, np.dtype(ml_dtypes.bfloat16)).view("u2").tolist())
"""


def test_bfloat16_is_rounded_once_from_the_first_call_on():
    assert run_python(FIRST).stdout.strip() == "[16257, 16256, 1]"


def test_no_other_class_is_meant_by_a_large_one():
    x = np.zeros((3, 4), np.float32)
    for large, ignore_index in ((2**64 - 100, -100), (2**64 - 1, -1)):
        t = np.array([0, 1, large], np.uint64)
        for name in NAMES:
            with pytest.raises(IndexError, match="out of bounds"):
                call(name, x, t, ignore_index=ignore_index)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape",
    [(400, 10), (70, 1000), (3, 40_000), (5, 21, 2000), (300, 50, 4), (2, 3000, 7), (2, 30_000, 3)],
)
def test_narrow_types_have_what_float32_has_rounded_once(isa, dtype, shape):
    x, t = problem(dtype, shape)
    t[0] = -100
    p = F.softmax(x, 1)
    wide, wide_p = x.astype(np.float32), p.astype(np.float32)
    weight = np.linspace(0, 2, shape[1])
    for more in ({}, {"weight": weight}, {"label_smoothing": 0.1}):
        for name in ("cross_entropy", "cross_entropy_backward"):
            for target, wide_target in ((t, t), (p, wide_p), (wide_p, wide_p)):
                keywords = {**more, "grad_output": 100.0} if name.endswith("backward") else more
                with fastsoftmax.num_threads(3):
                    found = call(name, x, target, **keywords)
                due = call(name, wide, wide_target, **keywords)
                due_type = dtype if name.endswith("backward") or target is not wide_p else "float32"
                assert same_bits(found, due.astype(inputs.DTYPES[due_type]))


@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_a_row_does_not_know_its_neighbours(dtype):
    for shape in ((300, 10), (50, 1000)):
        x, t = problem(dtype, shape)
        whole = F.cross_entropy(x, t, reduction="none")
        gradient = F.cross_entropy_backward(np.ones(len(x)), x, t, reduction="none")
        for i in (0, 1, 17, len(x) - 1):
            row, index = x[i : i + 1].copy(), t[i : i + 1]
            assert same_bits(F.cross_entropy(row, index, reduction="none"), whole[i : i + 1])
            found = F.cross_entropy_backward(1.0, row, index, reduction="sum")
            assert same_bits(found, gradient[i : i + 1])


# `out`.


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_out_of_every_layout_and_in_place(dtype, layout):
    lay = _laid(layout, dtype)
    if layout in ("read-only", "byte-swapped"):
        pytest.skip("refused as out")
    for shape in SHAPES:
        x, t = problem(dtype, shape)
        found = {"input": x, "target": t}
        out = lay(np.zeros_like(x))
        assert F.cross_entropy_backward(1.0, x, t, out=out) is out
        assert_within("cross_entropy_backward", np.asarray(out), **found)
        place = lay(x.copy())
        assert F.cross_entropy_backward(1.0, place, t, out=place) is place
        assert_within("cross_entropy_backward", np.asarray(place), **found)


def test_out_that_overlaps_an_argument():
    x, t = problem("float32", (40, 30))
    wanted = F.cross_entropy_backward(1.0, x, t)
    room = np.zeros(41 * 30 + 7, np.float32)
    for start in (1, 7, 30):
        logits = room[start : start + 1200].reshape(40, 30)
        logits[...] = x
        out = room[:1200].reshape(40, 30)
        assert same_bits(F.cross_entropy_backward(1.0, logits, t, out=out), wanted)
    p = inputs.fit(np.random.default_rng(1).random((40, 30)), "float32")
    wanted = F.cross_entropy_backward(1.0, x, p)
    assert same_bits(F.cross_entropy_backward(1.0, x, p, out=p), wanted)
    out = x.copy()
    g, weight = out[:, 3], out[5]
    wanted = F.cross_entropy_backward(g.copy(), x, t, weight.copy(), reduction="none")
    result = F.cross_entropy_backward(g, x, t, weight, reduction="none", out=out)
    assert same_bits(result, wanted)
    square = x[:30].copy()
    wanted = F.cross_entropy_backward(1.0, square.T, t[:30])
    assert same_bits(F.cross_entropy_backward(1.0, square.T, t[:30], out=square), wanted)


REFUSED = {
    "the target out of range": (IndexError, {"target": [0, 1, 9]}),
    "a batch of another size": (ValueError, {"target": [0, 1]}),
    "grad_output of another shape": (RuntimeError, {"grad_output": np.ones(3)}),
    "complex grad_output": (TypeError, {"grad_output": 1j}),
    "a wrong weight": (RuntimeError, {"weight": [1, 2]}),
    "a wrong reduction": (ValueError, {"reduction": "no"}),
    "a wrong smoothing": (RuntimeError, {"label_smoothing": 2}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_leave_out_untouched(case):
    error, wrong = REFUSED[case]
    out = np.full((3, 4), 7, np.float32)
    found = {"grad_output": 1.0, "input": np.zeros((3, 4), np.float32), "target": [0, 1, 2]}
    with pytest.raises(error):
        F.cross_entropy_backward(**(found | wrong), out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("place", [0, 511, 512, 1300, 1999])
@pytest.mark.parametrize("shape", [(2000, 3), (20, 3, 100), (125, 3, 16)])
def test_one_class_astray_among_many(shape, place):
    x = np.zeros(shape, np.float32)
    t = np.zeros(shape[:1] + shape[2:], np.int64)
    t.flat[place] = 3
    out = np.full(shape, 7, np.float32)
    for reduction in ("mean", "sum", "none"):
        with pytest.raises(IndexError, match="Target 3 is out of bounds"):
            F.cross_entropy(x, t, reduction=reduction)
    with pytest.raises(IndexError, match="Target 3 is out of bounds"):
        F.cross_entropy_backward(1.0, x, t, out=out)
    assert (out == 7).all()
    t.flat[place] = -100
    assert F.cross_entropy(x, t) == pytest.approx(np.log(3))
    assert np.count_nonzero(F.cross_entropy_backward(1.0, x, t, out=out)) == x.size - 3


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.full((4, 3), 7, np.float32), ValueError),
        (np.full((3, 4), 7, np.float64), TypeError),
        (np.full(4, 7, np.float32), ValueError),
        ([[0.0] * 4] * 3, TypeError),
        (np.broadcast_to(np.full(4, 7, np.float32), (3, 4)), ValueError),
        (_read_only(np.full((3, 4), 7, np.float32)), ValueError),
    ],
)
def test_out_that_is_refused(out, error):
    with pytest.raises(error, match="out"):
        F.cross_entropy_backward(1.0, np.zeros((3, 4), np.float32), [0, 1, 2], out=out)
    assert isinstance(out, list) or (out == 7).all()


def test_one_row_and_integers_into_out():
    out = np.zeros(3, np.float32)
    x = np.array([1, 2, 3], np.float32)
    assert F.cross_entropy_backward(1.0, x, 2, out=out) is out
    assert same_bits(out, F.cross_entropy_backward(1.0, x, 2))
    out = np.zeros((2, 3))
    whole = np.arange(6).reshape(2, 3)
    assert F.cross_entropy_backward(1.0, whole, [0, 1], out=out) is out
    assert same_bits(out, F.cross_entropy_backward(1.0, whole.astype(float), [0, 1]))


# Memory.

LIMIT = 1024  # KiB

SCRIPT = """
import json
import numpy as np
import fastsoftmax.functional as F

# Logits of n * 4096 elements of 4 bytes.
LAYOUTS = {
    "contiguous": lambda n: np.ones((n * 4, 1024), "f4"),
    "short rows": lambda n: np.ones((n * 400, 10), "f4"),
    "further dims": lambda n: np.ones((n, 16, 16, 16), "f4"),
    "one sample": lambda n: np.ones((1, 16, n * 256), "f4"),
    "classes outermost": lambda n: np.ones((1024, n * 4), "f4").T,
    "classes last": lambda n: np.ones((n, 16, 16, 16), "f4").transpose(0, 3, 1, 2),
    "every second": lambda n: np.ones((n * 4, 2048), "f4")[:, ::2],
    "one sample apart": lambda n: np.ones((1, 16, n * 512), "f4")[:, :, ::2],
    "backwards": lambda n: np.ones((n * 4, 1024), "f4")[::-1, ::-1],
    "byte-swapped": lambda n: np.ones((n * 4, 1024), ">f4"),
    "unaligned": lambda n: np.ones(n * 16384 + 1, "u1")[1:].view("f4").reshape(n * 4, 1024),
    "broadcast": lambda n: np.broadcast_to(np.ones((1, 1024), "f4"), (n * 4, 1024)),
    "float16": lambda n: np.ones((n * 8, 1024), "f2"),
    "int32": lambda n: np.ones((n * 4, 1024), "i4"),
    "float64 apart": lambda n: np.ones((n * 2, 1024 * 2), "f8")[:, ::2],
}

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

def beyond(layout, name, n):
    x = LAYOUTS[layout](n)
    rows = x.shape[:1] + x.shape[2:]
    more, target = {}, np.ones(rows, "i8")
    if name == "int32 targets, some ignored":
        target, more = np.where(np.arange(target.size).reshape(rows) % 3, 1, -100).astype("i4"), {}
    elif name == "probabilities":
        target = np.broadcast_to(np.ones((1,) * x.ndim, "f4"), x.shape)
    elif name == "backward":
        kind = "f8" if x.dtype.kind == "i" else x.dtype.newbyteorder("=")
        more = {"out": np.full(x.shape, 7, kind)}
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    if name == "backward":
        F.cross_entropy_backward(1.0, x, target, np.ones(x.shape[1]), **more)
    elif name == "nll_loss":
        F.nll_loss(x, target)
    else:
        F.cross_entropy(x, target)
    return status("VmHWM") - before

NAMES = ("cross_entropy", "int32 targets, some ignored", "probabilities", "backward", "nll_loss")
for name in NAMES:
    for layout in LAYOUTS:
        beyond(layout, name, 16)
        print(json.dumps([layout, name, beyond(layout, name, 256)]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_peak_memory():
    # glibc hands every larger block back at once: no call lives off what an earlier one left.
    environment = {
        "OMP_NUM_THREADS": "1",  # the bound is that of a thread
        "MALLOC_MMAP_THRESHOLD_": "32768",
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    lines = run_python(SCRIPT, environment=environment).stdout.splitlines()
    used = {(layout, name): kib for layout, name, kib in map(json.loads, lines)}
    assert len(used) == 5 * 15
    assert {key: kib for key, kib in used.items() if kib >= LIMIT} == {}
