"""Which dtype comes out, and which dtypes are refused by name."""

import re

import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
from checks import OPS, assert_exact, call, same_bits
from fastsoftmax import _reference

pytestmark = pytest.mark.usefixtures("small")

ELEMENTWISE = ("softmax", "log_softmax", "softmin")
INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
REFUSED = {
    "object": np.array([1.0, 2.0], object),
    "str": np.array(["a", "b"]),
    "bytes": np.array([b"a", b"b"]),
    "datetime64": np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
    "timedelta64": np.array([1, 2], "m8[s]"),
    "void": np.array([(1.0, 2.0)], [("a", "f4"), ("b", "f4")]),
}


def _whole(dtype, shape):
    """Integers from one end of the dtype to the other, with neighbours that differ little."""
    if dtype == "bool":
        return np.random.default_rng(0).random(shape) < 0.5
    limits = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(0, 20, shape, dtype=dtype)
    values[..., ::3] += limits.max - 20
    values[..., 1::3] = limits.min + values[..., 1::3]
    return values


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("op", OPS)
def test_integers_are_computed_as_float64(op, dtype):
    for shape, dim in (((4,), 0), ((9, 10), 1), ((3, 300), 1), ((70, 33), 0), ((4, 5, 6), (0, 2))):
        x = _whole(dtype, shape)
        wide = x.astype(np.float64)
        result = call(op, x, dim)
        assert same_bits(result, call(op, wide, dim)), shape
        assert_exact(op, wide, dim, result=result)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_integers_as_dtype_says(op, dtype):
    x = _whole(dtype, (5, 33))
    for target in inputs.DTYPES.values():
        # In float16 the larger ones overflow to infinity, as in a cast.
        with np.errstate(over="ignore"):
            cast = x.astype(target)
        assert same_bits(call(op, x, 1, dtype=target), call(op, cast, 1))


def test_unsigned_integers_do_not_wrap():
    result = F.softmin(np.array([0, 255], np.uint8), 0)
    assert result[0] == 1
    assert 0 < result[1] < 1e-100


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("source", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_floats_come_back_as_they_came(op, source):
    x = inputs.normal(source, (5, 33), seed=1)
    assert call(op, x, 1).dtype == x.dtype


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("target", inputs.DTYPES)
@pytest.mark.parametrize("source", inputs.DTYPES)
@pytest.mark.parametrize("op", ELEMENTWISE)
def test_dtype_casts_first(op, source, target):
    target = inputs.DTYPES[target]
    for shape, dim in (((5, 10), 1), ((5, 300), 1), ((40, 33), 0), ((1, 140_000), 1)):
        x = inputs.normal(source, shape, seed=1, scale=8.0)
        assert same_bits(call(op, x, dim, dtype=target), call(op, x.astype(target), dim))


@pytest.mark.parametrize("op", OPS)
def test_long_double_goes_through_the_reference(op):
    x = (np.random.default_rng(1).normal(size=(4, 5, 6)) * 9).astype(np.longdouble)
    x[0, 0, 0] = np.nan
    for dim in (0, 1, -1, (0, 2)):
        wanted = np.asarray(getattr(_reference, op)(x, dim))
        for form in (x, x[::1, ::-1][:, ::-1], x.astype(x.dtype.newbyteorder())):
            result = call(op, form, dim)
            assert result.dtype == np.longdouble
            assert np.array_equal(result, wanted, equal_nan=True)
    mask = np.random.default_rng(2).random(x.shape) < 0.6
    wanted = np.asarray(getattr(_reference, op)(x, 1, where=mask))
    assert np.array_equal(call(op, x, 1, where=mask), wanted, equal_nan=True)
    out = np.empty_like(wanted)
    assert call(op, x, 1, where=mask, out=out) is out
    assert np.array_equal(out, wanted, equal_nan=True)


def test_dtype_long_double():
    x = inputs.normal("float32", (3, 7), seed=1)
    result = F.softmax(x, 1, dtype=np.longdouble)
    assert result.dtype == np.longdouble
    assert np.array_equal(result, _reference.softmax(x, 1))


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "clongdouble"])
def test_complex_logsumexp(dtype):
    rng = np.random.default_rng(1)
    z = (rng.normal(size=(4, 9)) * 5 + 1j * rng.uniform(-3, 3, size=(4, 9))).astype(dtype)
    for dim in (0, 1, (0, 1)):
        result = F.logsumexp(z, dim)
        assert result.dtype == dtype
        wide = z.astype(np.clongdouble)
        wanted = np.log(np.exp(wide).sum(axis=dim))
        tolerance = 20 * np.finfo(np.complex128 if dtype != "complex64" else dtype).eps
        assert np.allclose(result, wanted, rtol=tolerance, atol=tolerance)
        assert F.logsumexp(z, dim, keepdim=True).ndim == 2


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_is_refused_by_name(op, dtype):
    with pytest.raises(TypeError, match=dtype):
        call(op, np.ones(3, dtype), 0)
    with pytest.raises(TypeError, match=dtype):
        call(op, np.ones(3, np.float32), 0, dtype=dtype)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("op", OPS)
def test_refused_by_name(op, kind):
    x = REFUSED[kind]
    name = f"{kind}|{re.escape(str(x.dtype))}"
    with pytest.raises(TypeError, match=name):
        call(op, x, 0)
    if op != "logsumexp":
        with pytest.raises(TypeError, match=name):
            call(op, x, 0, dtype=np.float32)


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["int32", "bool", "object", "datetime64[s]"])
def test_dtype_that_is_no_float(op, dtype):
    with pytest.raises(TypeError, match=dtype.partition("[")[0]):
        call(op, np.ones(3, np.float32), 0, dtype=dtype)


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["nonsense", 3, object()])
def test_dtype_that_is_no_dtype(op, dtype):
    with pytest.raises(TypeError):
        call(op, np.ones(3, np.float32), 0, dtype=dtype)


@pytest.mark.parametrize("op", OPS)
def test_masked_arrays_are_sent_to_where(op):
    x = np.ma.masked_array(np.ones(3, np.float32), mask=[True, False, False])
    with pytest.raises(TypeError, match="where="):
        call(op, x, 0)
    with pytest.raises(TypeError, match="where="):
        call(op, np.ma.masked_array(np.ones(3), mask=False), 0)


def test_complex_raises_no_floating_point_error():
    with np.errstate(all="raise"):
        result = call("logsumexp", np.array([0, -740 + 1j]), 0)
    assert abs(result) < 1e-300
