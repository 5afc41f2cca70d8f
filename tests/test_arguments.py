"""Signatures, dim, dtype and shapes as PyTorch has them: values, warnings, texts of errors."""

import inspect
import warnings

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import FLOATS, OPS, assert_exact, call, same_bits

ELEMENTWISE = ("softmax", "log_softmax", "softmin")


@pytest.mark.parametrize("module", [fastsoftmax, F])
def test_signatures(module):
    for op in ELEMENTWISE:
        found = str(inspect.signature(getattr(module, op)))
        assert found == "(input, dim=None, _stacklevel=3, dtype=None, *, out=None, where=None)"
    found = str(inspect.signature(module.logsumexp))
    assert found == "(input, dim, keepdim=False, *, out=None, where=None)"


def test_the_names_at_the_top_are_those_of_functional():
    for op in OPS:
        assert getattr(fastsoftmax, op) is getattr(F, op)
        assert op in F.__all__
        assert op in fastsoftmax.__all__


def test_functions_are_documented():
    for op in OPS:
        text = inspect.getdoc(getattr(F, op))
        assert "Parameters" in text
        assert "Returns" in text
        assert "ULP" in text  # the bound stands in the docstring


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize(("ndim", "dim"), [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1), (5, 1)])
def test_no_dim_warns_and_guesses(op, ndim, dim):
    x = inputs.normal("float32", (2, 3, 4, 2, 3)[:ndim], seed=1)
    text = (
        f"Implicit dimension choice for {op} has been deprecated. "
        "Change the call to include dim=X as an argument."
    )
    with pytest.warns(UserWarning) as caught:
        result = getattr(F, op)(x)
    assert [str(w.message) for w in caught] == [text]
    assert same_bits(result, call(op, x, dim))


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_the_warning_points_at_the_caller(op):
    x = np.zeros((2, 3), np.float32)
    with pytest.warns(UserWarning) as caught:
        line = inspect.currentframe().f_lineno + 1
        getattr(F, op)(x)
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_stacklevel_points_further_out(op):
    x = np.zeros((2, 3), np.float32)

    def face():
        getattr(F, op)(x, None, 4)

    with pytest.warns(UserWarning) as caught:
        line = inspect.currentframe().f_lineno + 1
        face()
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_the_warning_as_an_error(op):
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="Implicit dimension choice"):
        warnings.simplefilter("error")
        getattr(F, op)(np.zeros(3, np.float32))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("shape", "dim", "limits"),
    [
        ((2, 3), 2, "[-2, 1]"),
        ((2, 3), -3, "[-2, 1]"),
        ((4,), 1, "[-1, 0]"),
        ((), 1, "[-1, 0]"),
        ((), -2, "[-1, 0]"),
        ((0, 3), 2, "[-2, 1]"),
        ((0,), -2, "[-1, 0]"),
        ((2, 3, 4, 5), 100, "[-4, 3]"),
        ((2, 3), (0, 2), "[-2, 1]"),
    ],
)
def test_dim_out_of_range(op, shape, dim, limits):
    wrong = dim[1] if isinstance(dim, tuple) else dim
    with pytest.raises(IndexError) as caught:
        call(op, np.zeros(shape, np.float32), dim)
    assert str(caught.value) == (
        f"Dimension out of range (expected to be in range of {limits}, but got {wrong})"
    )


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dim", [(0, 0), (1, -1), (0, 1, 0)])
def test_a_repeated_dim(op, dim):
    with pytest.raises(ValueError, match="twice"):
        call(op, np.zeros((2, 2), np.float32), dim)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dim", [1.0, "1", 1.5, (0, 1.0), np.float64(0), [None]])
def test_dim_that_is_no_integer(op, dim):
    with pytest.raises(TypeError, match="dim"):
        call(op, np.zeros((2, 2), np.float32), dim)


@pytest.mark.parametrize("op", OPS)
def test_dim_that_acts_as_an_integer(op):
    x = inputs.normal("float32", (3, 4), seed=2)
    assert same_bits(call(op, x, np.int64(0)), call(op, x, 0))
    assert same_bits(call(op, x, (np.uint8(1),)), call(op, x, 1))


def test_logsumexp_needs_a_dim():
    with pytest.raises(TypeError):
        F.logsumexp(np.zeros(3))
    with pytest.raises(TypeError):
        F.logsumexp(np.zeros(3), None)


def test_arguments_by_position_and_by_name():
    x = inputs.normal("float32", (3, 4), seed=2)
    wide = call("softmax", x.astype(np.float64), 1)
    assert same_bits(F.softmax(x, 1, 3, np.float64), wide)
    assert same_bits(F.softmax(input=x, dim=1, _stacklevel=3, dtype="float64"), wide)
    assert same_bits(F.logsumexp(x, 1, True), F.logsumexp(input=x, dim=1, keepdim=True))
    with pytest.raises(TypeError):
        F.softmax(x, 1, 3, np.float64, x)
    with pytest.raises(TypeError):
        F.softmax(x, 1, axis=0)
    with pytest.raises(TypeError):
        F.softmax()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize(("source", "target"), [("float32", "float64"), ("float64", "float32")])
def test_dtype_casts_first(op, source, target):
    x = (np.random.default_rng(3).normal(size=(5, 33)) * 9).astype(source)
    for dtype in (target, np.dtype(target), getattr(np, target)):
        result = call(op, x, dtype=dtype)
        assert same_bits(result, call(op, x.astype(target)))
    assert call(op, x.astype(target), dtype=target).dtype == target


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", FLOATS)
def test_zero_dimensions(dtype):
    for value in (0.0, 3.5, -1e30):
        x = np.array(value, dtype)
        for dim in (0, -1):
            for op, wanted in (
                ("softmax", 1),
                ("log_softmax", 0),
                ("softmin", 1),
                ("logsumexp", value),
            ):
                result = call(op, x, dim)
                assert isinstance(result, np.ndarray)
                assert same_bits(np.abs(result), np.abs(np.array(wanted, dtype)))
    for value in (np.nan, np.inf, -np.inf):
        assert np.isnan(call("softmax", np.array(value, dtype), 0))
        assert np.array_equal(call("logsumexp", np.array(value, dtype), 0), value, equal_nan=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3), (0, 0), (5, 1, 0)])
def test_empty(dtype, shape):
    x = np.empty(shape, dtype)
    for dim in [*range(-len(shape), len(shape)), tuple(range(len(shape)))]:
        for op in ELEMENTWISE:
            result = call(op, x, dim)
            assert (result.shape, result.dtype) == (shape, x.dtype)
        for keepdim in (False, True):
            found = call("logsumexp", x, dim, keepdim=keepdim)
            wanted = np.max(x, axis=dim, keepdims=keepdim, initial=-np.inf)
            assert same_bits(found, np.asarray(wanted, dtype))


@pytest.mark.parametrize("op", OPS)
def test_the_input_is_left_alone(op):
    for shape, dim in (((40, 10), -1), ((5, 1000), -1), ((100, 40), 0), ((1, 400_000), -1)):
        x = inputs.normal("float32", shape, seed=4)
        before = x.copy()
        result = call(op, x, dim)
        assert not np.shares_memory(x, result)
        assert same_bits(x, before)
        assert result.flags.writeable


@pytest.mark.parametrize("op", OPS)
def test_read_only_input(op):
    x = inputs.normal("float64", (40, 10), seed=4)
    x.setflags(write=False)
    assert_exact(op, x)
    assert call(op, x).flags.writeable
