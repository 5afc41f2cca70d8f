"""The ways an array can lie in memory, each of which takes another way through the kernels.

A `Path` lays out a problem given as rows (one problem a row) and turns a result back into rows, so
that one table of cases runs on every path.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import inputs


class Path(NamedTuple):
    """`rows` problems of `length(dtype)` elements; `lay` makes the array, over `dim`, of rows."""

    rows: int
    length: Callable[[str], int]
    lay: Callable[[np.ndarray], np.ndarray]
    dim: int | tuple[int, ...]
    back: Callable[[np.ndarray], np.ndarray]

    def problem(self, dtype, seed=11, scale=4.0):
        """Ordinary rows, to put a case's values into."""
        return inputs.normal(dtype, (self.rows, self.length(dtype)), seed, scale)


def _same(a):
    return a


def _turned(a):
    return np.moveaxis(a, 0, -1)


def _columns(rows):
    return np.ascontiguousarray(rows.T)


def _every_second(rows):
    base = np.zeros((rows.shape[0], 2 * rows.shape[1]), rows.dtype)
    base[:, ::2] = rows
    return base[:, ::2]


def _backwards(rows):
    return np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1]


def _unaligned(rows):
    room = np.empty(rows.nbytes + 1, np.uint8)
    view = room[1:].view(rows.dtype).reshape(rows.shape)
    view[...] = rows
    return view


def _middle(rows):
    """(2, n, rows / 2) over the middle."""
    return np.ascontiguousarray(np.moveaxis(rows.reshape(2, -1, rows.shape[1]), 1, 2))


def _from_middle(result):
    """The reverse for results with and without the dim."""
    if result.ndim == 3:
        return np.moveaxis(result, 1, 2).reshape(-1, result.shape[1])
    return result.reshape(-1)


def _two_dims(rows):
    """(n / 10, rows, 10) over the first and the last."""
    return np.ascontiguousarray(np.moveaxis(rows.reshape(rows.shape[0], -1, 10), 1, 0))


def _from_two_dims(result):
    if result.ndim == 3:
        return np.moveaxis(result, 0, 1).reshape(result.shape[1], -1)
    return result


PATHS = {
    "short rows": Path(21, lambda _: 10, _same, -1, _same),
    "rows": Path(7, lambda _: 300, _same, -1, _same),
    "columns": Path(37, lambda _: 65, _columns, 0, _turned),
    "middle dim": Path(38, lambda _: 21, _middle, 1, _from_middle),
    "long rows": Path(3, lambda dtype: inputs.LONG_ROW + 19, _same, -1, _same),
    "tall columns": Path(3, lambda _: 70_001, _columns, 0, _turned),
    "strided": Path(9, lambda _: 130, _every_second, -1, _same),
    "backwards": Path(9, lambda _: 33, _backwards, -1, _same),
    "unaligned": Path(9, lambda _: 33, _unaligned, -1, _same),
    "two dims": Path(12, lambda _: 30, _two_dims, (0, 2), _from_two_dims),
}
