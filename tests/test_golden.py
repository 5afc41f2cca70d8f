"""What PyTorch 2.13 and SciPy 1.17 answered, and where this package means to differ from them.

golden/golden.json has their results, made by golden/make_golden.py beside it. Ours agree in shape,
dtype and type of error, and in value: ours is within its bound of the exact result, theirs is off
it by what the file says, so that the two are no further apart than the sum.
"""

import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import oracle
from checks import OPS, assert_exact, call
from stored import unpacked

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "golden.json").read_text())
LIBRARIES = tuple(GOLDEN["versions"])
NAMES = sorted({record["name"] for record in GOLDEN["records"]})
ERRORS = {  # AxisError is an IndexError
    "AxisError": IndexError,
    "IndexError": IndexError,
    "TypeError": TypeError,
    "ValueError": ValueError,
}


class Difference(NamedTuple):
    """A deliberate difference: whose, in which records, and ours (a dtype or an error)."""

    library: str
    about: Callable[[dict], bool]
    ours: str | type[Exception]


DIFFERENCES = {
    "torch refuses integers, or computes them in float32": Difference(
        "torch", lambda r: r["name"] == "integers", "float64"
    ),
    "scipy computes small integers in float16 and wraps unsigned ones": Difference(
        "scipy", lambda r: r["input"]["dtype"] in ("uint8", "int8"), "float64"
    ),
    "scipy refuses bool in all but logsumexp": Difference(
        "scipy", lambda r: r["input"]["dtype"] == "bool" and r["op"] != "logsumexp", "float64"
    ),
    "scipy gives -inf beside NaN in log_softmax of a row with +inf": Difference(
        "scipy", lambda r: r["op"] == "log_softmax" and r["name"].startswith("+inf"), "as it came"
    ),
    "scipy refuses an empty dim": Difference(
        "scipy",
        lambda r: r["op"] != "logsumexp" and r["input"]["shape"][r["dim"] :][:1] == [0],
        "as it came",
    ),
    "torch raises NotImplementedError for complex numbers": Difference(
        "torch",
        lambda r: r["input"]["dtype"] == "complex64" and r["op"] != "logsumexp",
        TypeError,
    ),
    "torch raises RuntimeError for a repeated dim": Difference(
        "torch", lambda r: r["dim"] == [0, 0], ValueError
    ),
}


def _records(library, name):
    for record in GOLDEN["records"]:
        if record["name"] == name and library in record:
            dim = record["dim"]
            dim = tuple(dim) if isinstance(dim, list) else dim
            meant = [
                key
                for key, difference in DIFFERENCES.items()
                if difference.library == library and difference.about(record)
            ]
            yield record, unpacked(record["input"]), dim, meant


def _assert_ours_is_exact(op, x, dim, dtype):
    """Ours has this dtype and is within its bound of what is exact for `x` cast to it."""
    result = call(op, x, dim)
    assert result.dtype == dtype
    if result.size and dtype.kind != "c":
        assert_exact(op, x.astype(dtype), dim, result=result)
    return result


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_agrees(library, name):
    for record, x, dim, meant in _records(library, name):
        if meant:
            continue
        op, theirs = record["op"], record[library]
        if "error" in theirs:
            with pytest.raises(ERRORS[theirs["error"]]) as caught:
                call(op, x, dim)
            if theirs["error"] == "IndexError":
                assert str(caught.value) == theirs["text"]
            continue
        wanted = unpacked(theirs)
        result = _assert_ours_is_exact(op, x, dim, wanted.dtype)
        assert result.shape == wanted.shape
        if wanted.dtype.kind == "c":
            assert np.allclose(result, wanted)
        elif wanted.size:
            off = oracle.error_ulp(op, x.astype(wanted.dtype), wanted, dim)
            assert theirs["ulp"] is not None, (
                "neither exact in kind nor in the table of differences"
            )
            assert off == pytest.approx(theirs["ulp"], abs=1e-3)
        else:
            assert np.array_equal(result, wanted)


@pytest.mark.parametrize("reason", DIFFERENCES)
def test_differs_where_it_means_to(reason):
    library, _, ours = DIFFERENCES[reason]
    found = 0
    for name in NAMES:
        for record, x, dim, meant in _records(library, name):
            if reason not in meant:
                continue
            found += 1
            if isinstance(ours, str):
                dtype = x.dtype if ours == "as it came" else np.dtype(ours)
                result = _assert_ours_is_exact(record["op"], x, dim, dtype)
                assert list(result.shape) == record[library].get("shape", list(result.shape))
            else:
                assert record[library]["error"] != ours.__name__
                with pytest.raises(ours):
                    call(record["op"], x, dim)
    assert found, "the table has a row for no record"


def test_the_file_is_whole():
    assert GOLDEN["versions"] == {"torch": "2.13.0", "scipy": "1.17.1"}
    assert len(GOLDEN["records"]) > 400
    assert {record["op"] for record in GOLDEN["records"]} == set(OPS)
