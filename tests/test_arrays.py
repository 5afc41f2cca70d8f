"""Whatever holds numbers is taken, whatever its strides, byte order, alignment or owner."""

import array
import itertools

import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
import oracle
from checks import OPS, assert_exact, call, each_isa, same_bits

pytestmark = pytest.mark.usefixtures("small")

SIMPLE = ("float32", "float64", "float16")


class Producer:
    """An array of another library: no buffer, no __array__, DLPack only."""

    def __init__(self, values, device=(1, 0)):
        self.values, self.device = values, device

    def __dlpack__(self, **options):
        if self.device[0] != 1:
            raise AssertionError("asked for the data of an array it cannot read")
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


class OnGpu:
    """An array that offers only the CUDA array interface."""

    __cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (1, False), "version": 3}  # noqa: RUF012


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_strides(op, dtype):
    base = inputs.normal(dtype, (9, 21, 45), seed=8)
    views = [base[::2], base[:, ::3], base[..., ::2], base[..., 5:40], base[:, 1:, 1:]]
    views += [base[::-1], base[:, ::-2], base[..., ::-3], base[::-1, ::-1, ::-1]]
    views += [np.broadcast_to(base[0, :1], (9, 45)), np.broadcast_to(base[:1, :, :1], (3, 21, 6))]
    views += [np.lib.stride_tricks.sliding_window_view(base[0, 0], 20), base.diagonal()]
    views += [base.transpose(2, 0, 1)[::3], base.swapaxes(0, 1)[:, ::-1, :33]]
    before = base.copy()
    for x, dim in itertools.product(views, (0, 1, -1, (0, -1))):
        against = oracle.exact(op, np.ascontiguousarray(x), dim)
        for _ in each_isa():
            assert_exact(op, x, dim, against=against)
    assert same_bits(base, before)


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_read_only_and_unaligned(op, dtype):
    dtype = inputs.DTYPES[dtype]
    for shape, dim in (((9, 10), 1), ((5, 300), 1), ((70, 33), 0), ((1, 140_000), 1)):
        x = inputs.normal(dtype.name, shape, seed=1)
        wanted = call(op, x, dim)
        for shift in (0, 1, 3):
            room = np.empty(x.nbytes + shift, np.uint8)
            moved = room[shift:].view(dtype).reshape(shape)
            moved[...] = x
            moved.setflags(write=False)
            assert same_bits(call(op, moved, dim), wanted), (shape, shift)


@pytest.mark.parametrize("dtype", [*SIMPLE, "int32", "uint64"])
@pytest.mark.parametrize("op", OPS)
def test_byte_swapped(op, dtype):
    for shape, dim in (((9, 10), 1), ((5, 300), 1), ((70, 33), 0), ((1, 140_000), 1)):
        x = (np.random.default_rng(1).normal(size=shape) * 5).clip(0).astype(dtype)
        swapped = x.astype(x.dtype.newbyteorder())
        result = call(op, swapped, dim)
        assert result.dtype.isnative
        assert same_bits(result, call(op, x, dim))
        assert same_bits(call(op, swapped[..., ::-1], dim), call(op, x[..., ::-1], dim))


@pytest.mark.parametrize("dtype", SIMPLE)
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memmap(dtype, mode, tmp_path):
    x = inputs.normal(dtype, (50, 70), seed=1)
    x.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", dtype, mode, shape=x.shape)
    for op, dim in itertools.product(OPS, (0, 1)):
        result = call(op, mapped, dim)
        assert type(result) is np.ndarray
        assert same_bits(result, call(op, x, dim))
    assert (tmp_path / "x.bin").read_bytes() == x.tobytes()


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin"])
def test_permuted_contiguous_input_keeps_its_order(op, dtype):
    x = inputs.normal(dtype, (6, 9, 20), seed=3)
    for axes in itertools.permutations(range(3)):
        view = x.transpose(axes)
        for dim in (0, 1, 2):
            result = call(op, view, dim)
            assert result.strides == view.strides, (axes, dim)
            assert_exact(op, view, dim, result=result)
    assert call(op, np.asfortranarray(x), 0).flags.f_contiguous


@pytest.mark.parametrize("op", OPS)
def test_sequences_and_scalars(op):
    wanted = call(op, np.array([[1.0, 2.0], [3.0, 5.0]]), 1)
    for x in ([[1.0, 2.0], [3.0, 5.0]], ((1, 2), (3, 5)), [np.array([1, 2]), (3.0, 5)]):
        assert same_bits(call(op, x, 1), wanted)
    for x in (2.5, 2, True, np.float32(2.5), np.int8(2)):
        result = call(op, x, 0)
        assert type(result) is np.ndarray
        assert result.shape == ()
        assert result.dtype == (np.float32 if isinstance(x, np.float32) else np.float64)
    assert call(op, [], 0).dtype == np.float64


@pytest.mark.parametrize("code", "fdbBhHiIlLqQ")
@pytest.mark.parametrize("op", OPS)
def test_the_buffer_protocol(op, code):
    values = array.array(code, [1, 2, 5, 3])
    wanted = call(op, np.array(values), 0)
    for x in (values, memoryview(values), memoryview(values).toreadonly()):
        assert same_bits(call(op, x, 0), wanted)
    assert values == array.array(code, [1, 2, 5, 3])


@pytest.mark.parametrize("dtype", [*SIMPLE, "int32", "bool"])
@pytest.mark.parametrize("op", OPS)
def test_dlpack(op, dtype):
    x = (np.random.default_rng(1).normal(size=(5, 33)) * 5).astype(dtype)
    for form in (x, x[:, ::2], x.T):
        result = call(op, Producer(form), 1)
        assert type(result) is np.ndarray
        assert same_bits(result, call(op, form, 1))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("device", "name"), [((2, 0), "CUDA"), ((10, 0), "ROCm"), ((8, 1), "Metal")]
)
def test_arrays_on_another_device_are_refused_by_name(op, device, name):
    with pytest.raises((TypeError, ValueError, BufferError), match=f"(?i){name}"):
        call(op, Producer(np.ones(3, np.float32), device), 0)


@pytest.mark.parametrize("op", OPS)
def test_the_cuda_array_interface_is_refused_by_name(op):
    with pytest.raises((TypeError, ValueError, BufferError), match=r"(?i)cuda"):
        call(op, OnGpu(), 0)


@pytest.mark.parametrize("op", OPS)
def test_the_array_protocol_and_subclasses(op):
    class Holder:
        def __array__(self, dtype=None, copy=None):
            return np.array([1.0, 2.0, 4.0], np.float32)

    class Sub(np.ndarray):
        pass

    wanted = call(op, np.array([1.0, 2.0, 4.0], np.float32), 0)
    assert same_bits(call(op, Holder(), 0), wanted)
    result = call(op, np.array([1.0, 2.0, 4.0], np.float32).view(Sub), 0)
    assert type(result) is np.ndarray
    assert same_bits(result, wanted)


@pytest.mark.parametrize("wrong", [None, object(), {"a": 1}, "text", [[1.0], [1.0, 2.0]], {1.0}])
@pytest.mark.parametrize("op", OPS)
def test_what_is_no_array(op, wrong):
    with pytest.raises((TypeError, ValueError)):
        call(op, wrong, 0)


def test_many_dimensions():
    x = inputs.normal("float32", (2,) * 12, seed=1)
    for dim in (0, 5, 11, (0, 5, 11), tuple(range(12))):
        for op in OPS:
            assert_exact(op, x, dim)
    assert F.softmax(np.zeros((1,) * 64, np.float32), 63).shape == (1,) * 64
