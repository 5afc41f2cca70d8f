"""What a hostile array or file can do at most: see docs/security.md."""

import os
import pickle
import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import fastsoftmax.__main__ as cli
import fastsoftmax.functional as F
from checks import OPS, call

# Sizes whose product, in elements or in bytes of float64, is near 2**63


def giant(shape, dtype=bool):
    """An array of that shape in one element of memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


@pytest.mark.parametrize("shape", [(2**62,), (2**31, 2**31), (2**60, 1, 4), (3, 2**61), (2**59,)])
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin"])
def test_results_that_no_memory_holds(op, shape):
    for dim in (0, -1):
        with pytest.raises((ValueError, MemoryError)):
            call(op, giant(shape), dim)


@pytest.mark.parametrize("shape", [(2**62, 1), (2**60, 3)])
def test_other_results_that_no_memory_holds(shape):
    x = giant(shape)
    refused = pytest.raises((ValueError, MemoryError))
    with refused:
        F.logsumexp(x, 1)
    with refused:
        F.gumbel_softmax(x, rng=1)
    with refused:
        F.softmax_backward(x, x, 1)
    with refused:
        F.log_softmax_backward(x, x, 1)
    with refused:
        F.cross_entropy_backward(1.0, x, giant(shape, "f4"), reduction="sum")


@pytest.mark.parametrize("op", OPS)
def test_empty_arrays_of_giant_dimensions(op):
    x = np.zeros((2**40, 0), bool)
    if op == "logsumexp":  # one number for each of 2**40 rows
        with pytest.raises((ValueError, MemoryError)):
            call(op, x, 1)
    else:
        assert call(op, x, 1).shape == x.shape
    assert call(op, x, 0).shape == ((0,) if op == "logsumexp" else x.shape)


@pytest.mark.parametrize("op", OPS)
def test_as_many_dimensions_as_numpy_has(op):
    x = np.arange(4.0).reshape([1] * 62 + [2, 2])
    for dim in (0, -1, (0, 62), tuple(range(64))):
        expected = call(op, x, dim, where=True)
        assert np.array_equal(call(op, x, dim), expected)
    assert np.array_equal(np.squeeze(call(op, x, -1)), call(op, np.squeeze(x), -1))


@pytest.mark.parametrize("op", OPS)
def test_many_rows_in_one_element_of_memory(op):
    """Strides of 0, as as_strided and broadcast_to make them: read, never written."""
    x = giant((70_000, 50), "f4")
    wanted = call(op, np.zeros(50, "f4"))
    assert np.array_equal(call(op, x), np.broadcast_to(wanted, call(op, x).shape))


# Files


def npy(header, data=b"", version=(1, 0)):
    """A .npy file with any header."""
    text = header if isinstance(header, bytes) else header.encode()
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def described(shape, descr="'<f8'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


class Ran:
    """Pickled, it creates a folder when it is loaded."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


CRAFTED = {
    "a shape of 2**62": npy(described("(4611686018427387904,)")),
    "a shape whose product wraps to 0": npy(described("(4294967296, 4294967296)")),
    "a shape whose product wraps to 8": npy(described("(4294967297, 4294967296, 8)"), bytes(64)),
    "a shape beyond 2**64": npy(described("(340282366920938463463374607431768211456,)")),
    "a negative size": npy(described("(-1,)"), bytes(64)),
    "two negative sizes": npy(described("(-2, -4)"), bytes(64)),
    "sizes that are no numbers": npy(described("('a', 2.5)"), bytes(64)),
    "bools for sizes": npy(described("(True, False)"), bytes(64)),
    "no shape": npy("{'descr': '<f8', 'fortran_order': False}\n"),
    "too many dimensions": npy(described(str((1,) * 65)), bytes(8)),
    "less data than the shape says": npy(described("(100, 100)"), bytes(799)),
    "an element of a terabyte": npy(described("(1,)", "'|V1099511627776'")),
    "an element of nothing": npy(described("(5,)", "'|V0'")),
    "objects": npy(described("(1,)", "'|O'"), b"junk"),
    "objects in fields": npy(described("(1,)", "[('a', '|O')]"), b"junk"),
    "fields": npy(described("(1,)", "[('a', '<f8'), ('b', '<i4')]"), bytes(12)),
    "a type that is code": npy(described("(1,)", "__import__('os').getcwd()"), bytes(8)),
    "a header that is code": npy("__import__('os').abort()\n"),
    "a header of nested brackets": npy("(" * 9000 + ")" * 900 + "\n"),
    "a header of signs": npy("-" * 9900 + "1\n"),
    "a header that is long": npy(" " * 200_000 + described("(1,)"), bytes(8), (2, 0)),
    "a header that is cut": npy(described("(1,)"))[:40],
    "a header not of text": npy(b"\xff\xfe\x00" * 20),
    "a version of the future": npy(described("(1,)"), bytes(8), (9, 9)),
    "no header": b"\x93NUMPY",
}  # fmt: skip


def refused(path, tmp_path, capsys):
    """Both ways to use a file end in one sentence, and write nothing."""
    for arguments in ([], ["-o", str(tmp_path / "out.npy")]):
        assert cli.main([str(path), *arguments]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("fastsoftmax: error: ")
        assert captured.err.count("\n") == 1, captured.err
        assert len(captured.err) < 600
        assert captured.out == ""
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_is_one_sentence(tmp_path, capsys, name):
    path = tmp_path / "x.npy"
    path.write_bytes(CRAFTED[name])
    refused(path, tmp_path, capsys)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    place = tmp_path / "made"
    path = tmp_path / "x.npy"
    path.write_bytes(npy(described("(1,)", "'|O'"), pickle.dumps(np.array([Ran(place)], object))))
    refused(path, tmp_path, capsys)
    path.write_bytes(pickle.dumps(Ran(place)))
    refused(path, tmp_path, capsys)
    os.rmdir(pickle.loads(path.read_bytes()) or place)  # loaded, it would have made the folder


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_bytes_changed(tmp_path, capsys, data):
    whole = bytearray(npy(described("(3, 4)"), np.ones((3, 4)).tobytes()))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 97))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.npy"
    path.write_bytes(whole[: data.draw(st.integers(len(whole) - 9, len(whole)))])
    status = cli.main([str(path)])
    captured = capsys.readouterr()
    assert status in (0, 1)
    assert (captured.err == "") == (status == 0)
    assert captured.err.count("\n") == status
