"""What every test says of a result: within its bound, or bit for bit another one."""

import contextlib

import numpy as np

import fastsoftmax.functional as F
from bounds import bound
from fastsoftmax import _core
from oracle import OPS, error_ulp, exact

__all__ = [
    "FLOATS",
    "OPS",
    "assert_exact",
    "bits",
    "call",
    "each_isa",
    "same_bits",
    "taken_for_few",
]

FLOATS = ("float32", "float64")


def each_isa():
    """Every target of this CPU in turn, in use while it is handed out.

    For tests whose exact values cost more than the results: they are taken once for all targets.
    """
    for name in _core._isa_available():
        former = _core._use_isa(name)
        try:
            yield name
        finally:
            _core._use_isa(former)


@contextlib.contextmanager
def taken_for_few(elements=_core._SMALL):
    """As if so many elements were few, whatever a fixture of the module says."""
    former = _core._use_few(elements)
    try:
        yield
    finally:
        _core._use_few(former)


def call(op, x, dim=-1, **keywords):
    """``F.op(x, dim, ...)``."""
    return getattr(F, op)(x, dim, **keywords)


def assert_exact(op, x, dim=-1, *, result=None, against=None, where=None):
    """`result` (by default what the package computes) is within its bound of the exact result."""
    if result is None:
        result = call(op, x, dim) if where is None else call(op, x, dim, where=where)
    assert isinstance(result, np.ndarray)
    assert result.dtype == x.dtype
    against = exact(op, x, dim, where) if against is None else against
    error = error_ulp(op, x, result, dim, where, against)
    assert error <= bound(op, x.dtype), (
        f"{op} of {x.dtype}{x.shape} over {dim} is {error:.4g} ULP off"
    )


def bits(a):
    """The bit patterns of an array, in C order; every NaN is one pattern."""
    a = np.ascontiguousarray(a)
    pattern = a.view(f"u{a.dtype.itemsize}").copy()
    pattern[np.isnan(a)] = np.iinfo(pattern.dtype).max
    return pattern


def same_bits(a, b):
    """Whether two arrays have one shape, dtype and the same bits; NaNs count as equal."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    pattern = f"u{a.dtype.itemsize}"
    return np.array_equal(a.view(pattern), b.view(pattern)) or np.array_equal(bits(a), bits(b))
