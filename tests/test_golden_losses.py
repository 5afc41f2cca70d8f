"""What PyTorch 2.13 answered for the losses and gradients, and where this package means to differ.

golden/golden_losses.json has its results, made by golden/make_golden_losses.py beside it, for every
pair of levels of the arguments. Ours agree in shape, dtype and type of error, and in value: within
the bound of the exact result, and as far from PyTorch's as PyTorch's own recorded error says.
"""

import itertools
import json
import pathlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
import oracle
import oracle_losses
import ulp
from bounds import bound
from stored import unpacked

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "golden_losses.json").read_text())
GROUPS = GOLDEN["groups"]
MOST = 4.0  # ULP, in every group; the bound of an operation may be less
ERRORS = {
    "IndexError": IndexError,
    "RuntimeError": RuntimeError,
    "TypeError": TypeError,
    "ValueError": ValueError,
}


class Difference(NamedTuple):
    """A deliberate difference: in which records, and ours (a dtype or an error)."""

    about: Callable[[dict], bool]
    ours: str | type[Exception]


def _refused(record):
    return record["group"] == "refused"


def _dtype(record, argument):
    given = record["arguments"].get(argument)
    return given["dtype"] if isinstance(given, dict) else None


DIFFERENCES = {
    "rows to be ignored have the gradient 0, whatever they hold": Difference(
        lambda r: r["op"] == "cross_entropy_backward" and r["torch"].get("ulp", 0) is None,
        "float",
    ),
    "class indices of any integer type": Difference(
        lambda r: _refused(r) and _dtype(r, "target") in ("int32", "uint32"), "float32"
    ),
    "logits of integers and bool": Difference(
        lambda r: _refused(r) and _dtype(r, "input") in ("int64", "bool"), "float64"
    ),
    "weights of any real type": Difference(
        lambda r: (
            _refused(r)
            and _dtype(r, "weight") in ("float64", "int64")
            and "expected scalar type" in r["torch"]["text"]
        ),
        "float32",
    ),
    "complex logits are a TypeError": Difference(
        lambda r: _dtype(r, "input") == "complex64", TypeError
    ),
    "a negative label_smoothing is refused": Difference(
        lambda r: r["arguments"].get("label_smoothing") == -0.5, RuntimeError
    ),
    "where there is no class, a class index is out of range": Difference(
        lambda r: _refused(r) and r["arguments"]["input"]["shape"] == [2, 0, 2], IndexError
    ),
}


def _arguments(record):
    return {
        name: unpacked(value) if isinstance(value, dict) else value
        for name, value in record["arguments"].items()
    }


def _meant(record):
    return [reason for reason, difference in DIFFERENCES.items() if difference.about(record)]


def _records(group):
    return [record for record in GOLDEN["records"] if record["group"] == group]


def _ours(record, arguments):
    """What this package answers; None for a function that it does not have."""
    function = getattr(F, record["op"], None)
    if function is None:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "size_average and reduce args", UserWarning)
        return function(**arguments)


def _assert_exact(record, result, found):
    limit = bound(record["op"], result.dtype)
    assert limit <= MOST
    error = oracle_losses.error_ulp(result, found)
    assert error <= limit, f"{record['op']} of {record['levels']} is {error:.4g} ULP off"


@pytest.mark.parametrize("group", GROUPS)
def test_agrees(group):
    for record in _records(group):
        arguments, theirs = _arguments(record), unpacked(record["torch"])
        found = oracle_losses.exact(record["op"], arguments)
        recorded = record["torch"]["ulp"]
        off = oracle_losses.error_ulp(theirs, found)
        if _meant(record):
            assert not np.isfinite(off)
        else:
            assert recorded is not None, f"neither exact in kind nor meant: {record['levels']}"
            assert off == pytest.approx(recorded, rel=1e-4, abs=1e-3)
        result = _ours(record, arguments)
        if result is None:
            continue
        assert isinstance(result, np.ndarray)
        assert (result.shape, result.dtype) == (theirs.shape, theirs.dtype), record["levels"]
        _assert_exact(record, result, found)
        if not _meant(record) and theirs.size:
            # From PyTorch's value, in the same units, as far as both are from the exact one.
            as_exact = oracle.Exact(theirs.astype(np.float64), np.zeros(theirs.shape), 0)
            units = np.maximum(found.largest, np.abs(np.ldexp(found.value.hi, found.value.e)))
            apart = np.max(ulp.error(result, as_exact, units))
            assert apart <= recorded * (1 + 1e-4) + MOST, record["levels"]


def test_refusals_are_of_the_same_type():
    for record in _records("refused"):
        if _meant(record):
            continue
        with pytest.raises(ERRORS[record["torch"]["error"]]) as caught:
            _ours(record, _arguments(record))
        assert type(caught.value).__name__ == record["torch"]["error"]
        assert len(str(caught.value)) > 20


@pytest.mark.parametrize("reason", DIFFERENCES)
def test_differs_where_it_means_to(reason):
    ours = DIFFERENCES[reason].ours
    seen = 0
    for record in GOLDEN["records"]:
        if reason not in _meant(record):
            continue
        seen += 1
        arguments = _arguments(record)
        if not isinstance(ours, str):
            assert record["torch"].get("error") != ours.__name__
            with pytest.raises(ours):
                _ours(record, arguments)
            continue
        result = _ours(record, arguments)
        assert result.dtype == (inputs.DTYPES.get(ours) or arguments["input"].dtype)
        _assert_exact(record, result, oracle_losses.exact(record["op"], arguments))
    assert seen, "the table has a row for no record"


@pytest.mark.parametrize("group", GROUPS)
def test_every_pair_of_levels_is_there(group):
    factors = GROUPS[group]
    wanted = {
        ((a, one), (b, other))
        for a, b in itertools.combinations(factors, 2)
        for one, other in itertools.product(factors[a], factors[b])
    }
    found = set()
    for record in _records(group):
        assert record["levels"].keys() == factors.keys()
        found |= set(itertools.combinations([(f, record["levels"][f]) for f in factors], 2))
    assert found == wanted


def test_the_file_is_whole():
    assert GOLDEN["torch"] == "2.13.0"
    assert sum(not _refused(record) for record in GOLDEN["records"]) >= 500
    assert len(_records("refused")) > 150
