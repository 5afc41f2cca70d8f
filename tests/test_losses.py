"""Arguments of the losses: signatures, warnings, types of targets and weights, what is refused."""

import inspect

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
import oracle_losses
from checks import same_bits
from losses import NAMES, call, problem

NAN, INF = float("nan"), float("inf")
SHARED = "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, "
SIGNATURES = {
    "cross_entropy": SHARED + "reduction='mean', label_smoothing=0.0",
    "nll_loss": SHARED + "reduction='mean'",
    "cross_entropy_backward": f"grad_output, {SHARED}reduction='mean', label_smoothing=0.0, *, "
    "out=None",
}
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("module", [fastsoftmax, F])
@pytest.mark.parametrize("name", NAMES)
def test_signatures(name, module):
    function = getattr(module, name)
    parameters = inspect.signature(function).parameters.values()
    found = [str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters]
    keyword_only = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
    if keyword_only:
        found.insert(len(found) - len(keyword_only), "*")
    assert ", ".join(found) == SIGNATURES[name]
    assert name in module.__all__
    text = inspect.getdoc(function)
    assert all(word in text for word in ("Parameters", "Returns", "Raises", "Warns", "ULP"))


LEGACY = [(a, b) for a in (None, True, False) for b in (None, True, False)][1:]


@pytest.mark.parametrize(("size_average", "reduce"), LEGACY)
@pytest.mark.parametrize("name", NAMES)
def test_legacy_flags(name, size_average, reduce):
    x, t = problem("float32", (3, 5))
    reduction = oracle_losses.REDUCTIONS[size_average, reduce]
    g = () if name != "cross_entropy_backward" else (np.ones(3 if reduction == "none" else ()),)
    function = getattr(F, name)
    with pytest.warns(UserWarning) as caught:
        line = inspect.currentframe().f_lineno + 1
        result = function(*g, x, t, size_average=size_average, reduce=reduce, reduction="sum")
    text = "size_average and reduce args will be deprecated, please use reduction='{}' instead."
    assert [str(w.message) for w in caught] == [text.format(reduction)]
    assert caught[0].category is UserWarning
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    assert same_bits(result, function(*g, x, t, reduction=reduction))


def test_elementwise_mean_is_the_mean():
    x, t = problem("float32", (3, 5))
    with pytest.warns(UserWarning, match="reduction='elementwise_mean' is deprecated") as caught:
        result = F.cross_entropy(x, t, reduction="elementwise_mean")
    assert caught[0].filename == __file__
    assert same_bits(result, F.cross_entropy(x, t))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_class_indices_of_any_integer_type(dtype, name):
    for shape in ((9, 5), (4, 5, 3), (5,)):
        x, t = problem("float32", shape)
        wanted = call(name, x, t)
        narrow = t.astype(dtype)
        swapped = t.astype(np.dtype(dtype).newbyteorder())
        room = np.repeat(narrow, 2, axis=-1) if t.ndim else narrow
        strided = room[..., ::2] if t.ndim else narrow
        for given in (narrow, swapped, strided, t.tolist()):
            assert same_bits(call(name, x, given), wanted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "ignored", "stored"),
    [
        ("uint8", 255, 255),
        ("int8", -128, -128),
        ("uint16", 60_000, 60_000),
        ("int32", -100, -100),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("uint64", 2**63, 2**63),
        ("int64", -(2**63), -(2**63)),
        ("int64", 2, 2),
    ],
)
def test_ignored_rows_do_not_count(name, dtype, ignored, stored):
    x, t = problem("float64", (8, 5))
    t = np.where(t == 2, 3, t).astype(dtype)
    left = call(name, x[::2], t[::2])
    t[1::2] = np.array(stored).astype(dtype)
    x[1] = NAN
    result = call(name, x, t, ignore_index=ignored)
    if name == "cross_entropy_backward":
        assert not result[1::2].any()
        assert np.allclose(result[::2], left, rtol=1e-15, atol=0)
    else:
        assert float(result) == pytest.approx(float(left), rel=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dtype", "value", "ignored"),
    [
        ("uint8", 156, -100),  # the same bits as -100
        ("uint8", 44, 300),
        ("uint64", 2**64 - 100, -100),
        ("uint64", 2**63 + 1, -100),
        ("uint64", 2**32, 0),
        ("int64", 2**32 + 1, -100),
        ("int64", -1, -100),
        ("int64", -1, 2**64 - 1),
        ("int8", -1, 255),
        ("int16", 5, -100),
    ],
)
def test_indices_out_of_range_do_not_wrap(name, dtype, value, ignored):
    x = np.zeros((70_000, 5), np.float32)
    t = np.zeros(70_000, dtype)
    t[69_000] = np.array(value, object).astype(dtype)
    with pytest.raises(IndexError, match=f"Target {value} is out of bounds") as caught:
        call(name, x, t, ignore_index=ignored)
    assert "[0, 5)" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", ">f8", "g"])
def test_weights_of_any_real_type(name, dtype):
    x, t = problem("float32", (9, 5))
    weight = np.array([0, 1, 2, 3, 1]).astype(dtype)
    wanted = call(name, x, t, weight.astype(np.float64))
    for given in (weight, np.repeat(weight, 2)[::2], weight.tolist()):
        assert same_bits(call(name, x, t, given), wanted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "uint64"])
def test_logits_of_integers_are_float64(name, dtype):
    x = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    result = call(name, x, [1, 0])
    assert result.dtype == np.float64
    assert same_bits(result, call(name, x.astype(np.float64), [1, 0]))


@pytest.mark.parametrize(
    ("input", "target", "wanted"),
    [
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float16", "float32", "float32"),
        ("float32", "float16", "float32"),
        ("int32", "float32", "float64"),
        ("float32", "longdouble", "longdouble"),
        ("bfloat16", "float16", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_probabilities_of_another_type(input, target, wanted):
    find = {name: inputs.DTYPES.get(name) or np.dtype(name) for name in (input, target, wanted)
            if name != "bfloat16" or name in inputs.DTYPES}  # fmt: skip
    if len(find) < len({input, target, wanted}):
        pytest.skip("no ml_dtypes")
    x = np.arange(12).reshape(3, 4).astype(find[input])
    p = np.full((3, 4), 0.25).astype(find[target])
    result = F.cross_entropy(x, p)
    assert result.dtype == find[wanted]
    each = F.log_softmax(x.astype(np.float64), 1)
    assert float(result) == pytest.approx(-each.mean(), rel=1e-2)
    gradient = F.cross_entropy_backward(np.ones((), find[wanted]), x, p)
    assert gradient.dtype == (x.dtype if x.dtype.kind != "i" else np.float64)


def test_long_double():
    x, t = problem("float64", (7, 9))
    wide = x.astype(np.longdouble)
    for name in NAMES:
        for keywords in ({}, {"weight": np.linspace(0, 1, 9)}):
            result = call(name, wide, t, **keywords)
            assert result.dtype == np.longdouble
            narrow = call(name, x, t, **keywords)
            assert np.allclose(result, narrow, rtol=1e-15, atol=0)
    each = F.cross_entropy(wide, t, reduction="none")
    assert np.array_equal(each, -F.log_softmax(wide, 1)[np.arange(7), t])
    p = np.full((7, 9), np.longdouble(1) / 9)
    assert F.cross_entropy(x, p).dtype == np.longdouble


TYPE_ERRORS = {
    "masked input": (np.ma.array(np.zeros((2, 3))), [0, 1], {}, "MaskedArray"),
    "masked target": (np.zeros((2, 3)), np.ma.array([0, 1]), {}, "target.filled"),
    "masked weight": (np.zeros((2, 3)), [0, 1], {"weight": np.ma.array(np.ones(3))}, "weight"),
    "object input": (np.zeros((2, 3), object), [0, 1], {}, "object"),
    "complex input": (np.zeros((2, 3), complex), [0, 1], {}, "complex128"),
    "dates": (np.zeros((2, 3), "M8[s]"), [0, 1], {}, "datetime64"),
    "strings": (np.zeros((2, 3), "U3"), [0, 1], {}, "<U3"),
    "object target": (np.zeros((2, 3)), np.array([0, 1], object), {}, "object"),
    "string target": (np.zeros((2, 3)), ["a", "b"], {}, "<U1"),
    "complex weight": (np.zeros((2, 3)), [0, 1], {"weight": np.ones(3, complex)}, "complex128"),
    "object weight": (np.zeros((2, 3)), [0, 1], {"weight": np.ones(3, object)}, "object"),
    "float ignore_index": (np.zeros((2, 3)), [0, 1], {"ignore_index": -100.0}, "float"),
    "bool ignore_index": (np.zeros((2, 3)), [0, 1], {"ignore_index": True}, "bool"),
}


@pytest.mark.parametrize("case", TYPE_ERRORS)
@pytest.mark.parametrize("name", NAMES)
def test_type_errors_name_what_is_wrong(name, case):
    x, t, keywords, text = TYPE_ERRORS[case]
    with pytest.raises(TypeError, match=text.replace("<", "").replace("[", "")):
        call(name, x, t, **keywords)


class OnGpu:
    def __dlpack__(self):
        raise AssertionError("not to be asked for")

    def __dlpack_device__(self):
        return (2, 0)


@pytest.mark.parametrize("name", NAMES)
def test_gpu_arrays_are_refused(name):
    for x, t in ((OnGpu(), [0]), (np.zeros((1, 2)), OnGpu())):
        with pytest.raises(TypeError, match="CUDA: copy it to the CPU first"):
            call(name, x, t)


TEXTS = [
    (np.zeros((3, 4)), [0, 1], {}, ValueError, r"batch_size \(3\).*\(2\)"),
    (np.zeros((3, 4, 2)), np.zeros((3, 5), int), {}, RuntimeError, r"\[3, 2\], got \[3, 5\]"),
    (np.zeros((3, 4)), np.zeros(3), {}, RuntimeError, "integer type, but got float64"),
    (np.zeros((3, 4)), np.zeros(3, int), {"weight": np.ones(5)}, RuntimeError, r"all 4 .*\[5\]"),
    (np.zeros((3, 4)), np.zeros(3, int), {"reduction": "avg"}, ValueError, "avg.*'mean'"),
    (np.zeros((3, 4)), np.zeros(3, int), {"ignore_index": 2**64}, ValueError, "18446744073709"),
    (np.zeros((3, 4)), np.zeros((3, 2), int), {}, RuntimeError, r"\[3, 2\].*\[3, 4\]"),
    (np.zeros(4), np.zeros(2, int), {}, ValueError, "target size: 2"),
]


@pytest.mark.parametrize(("x", "t", "keywords", "error", "text"), TEXTS)
@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_offending_value(name, x, t, keywords, error, text):
    with pytest.raises(error, match=text):
        call(name, x, t, **keywords)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_backward"])
def test_errors_of_smoothing_and_probabilities(name):
    x, p = np.zeros((3, 4)), np.full((3, 4), 0.25)
    for wrong in (-0.1, 1.1, NAN, INF):
        with pytest.raises(RuntimeError, match=f"between 0.0 and 1.0. Got: {wrong}"):
            call(name, x, p, label_smoothing=wrong)
    with pytest.raises(RuntimeError, match=r"ignore_index is not supported.* 2"):
        call(name, x, p, ignore_index=2)
    with pytest.raises(RuntimeError, match="got int64"):
        call(name, x, np.zeros((3, 4), int))
    assert float(np.sum(call(name, x, p, ignore_index=-7))) == pytest.approx(
        float(np.sum(call(name, x, p)))
    )


def test_lists_and_numbers():
    assert F.cross_entropy([[0, 0]], [1]) == np.log(2.0)
    assert F.cross_entropy([0.0, 0.0], 1).shape == ()
    assert F.cross_entropy([0.0, 0.0], [1], reduction="none").shape == ()
    assert F.nll_loss([[-1.0, -2.0]], [1]) == 2.0
    assert F.cross_entropy_backward(2, [[0, 0]], [1]).tolist() == [[1.0, -1.0]]
    assert F.cross_entropy([[0.0, 0.0]], np.array([1]), None, None, -100, None, "sum", 0.5) == (
        np.log(2.0)
    )
