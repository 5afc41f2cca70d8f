"""More than 2**31 elements: `huge.py` writes them, here they are read.

An array of zeros that is only read takes no memory. A few large numbers, most of them beyond
element 2**31, decide the results: they show whether every element was met where it is.
"""

import math
import sys

import mpmath
import numpy as np
import pytest

import fastsoftmax
import oracle
import ulp
from bounds import bound
from checks import call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.maxsize < 2**32, reason="there is no array of 2**31 elements"),
]

SIZE = 2_148_000_000  # 2**31 and some parts of a long row
PLACES = {5: 21, 2**31 - 1: 22, 2**31: 23, 2**31 + 20_000: 24, SIZE - 1: 25}


def _numbers(dtype):
    x = np.zeros(SIZE, dtype)
    for place, number in PLACES.items():
        x[place] = number
    return x


def _expected(shape, dim):
    """{index: the exact logsumexp} of the rows that are not all zeros, and that of the others."""
    rows = {}
    for place, number in PLACES.items():
        index = [int(i) for i in np.unravel_index(place, shape)]
        del index[dim]
        rows.setdefault(tuple(index), []).append(number)
    rows[...] = []
    for index, numbers in rows.items():
        with mpmath.workdps(40):
            zeros = shape[dim] - len(numbers)
            value = mpmath.log(mpmath.fsum([zeros, *map(mpmath.exp, numbers)]))
            rows[index] = oracle.Exact(float(value), float(value - float(value)), 0)
    return rows, rows.pop(...)


def _assert_exact(result, exact):
    error = float(ulp.error(result, exact).max())
    assert error <= bound("logsumexp", result.dtype)


@pytest.mark.parametrize(
    ("shape", "dim", "threads"),
    [
        pytest.param((SIZE,), 0, 2, id="one row"),
        pytest.param((2, SIZE // 2), 1, 2, id="two rows"),
        pytest.param((SIZE // 1000, 1000), 1, 2, id="many rows"),
        pytest.param((SIZE // 1000, 1000), 1, 1, id="many rows, one thread"),
        pytest.param((SIZE // 1000, 1000), 0, 2, id="first dim"),
    ],
)
def test_every_element_is_read(shape, dim, threads):
    with fastsoftmax.num_threads(threads):
        result = call("logsumexp", _numbers("float16").reshape(shape), dim)
    rows, of_zeros = _expected(shape, dim)
    assert result.size == math.prod(shape) // shape[dim]
    for index, exact in rows.items():
        _assert_exact(result[index], exact)
        result[index] = 0
    others = result[result != 0]
    assert others.size == result.size - len(rows)
    if others.size:
        assert (others == others[0]).all()
        _assert_exact(others[0], of_zeros)


def test_every_element_is_gathered():
    x = _numbers("uint8")
    _assert_exact(call("logsumexp", x, 0), _expected(x.shape, 0)[0][()])
