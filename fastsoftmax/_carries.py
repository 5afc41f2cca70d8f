"""Arrays cut along the reduced dimensions: chunks to carries, which finish chunks when merged.

The carries of a chunk have its shape, with 1 for the reduced dimensions. They are records of four
numbers (`_carry.CARRY`), from which any chunk of the same rows can be finished, anywhere.

Rows are gathered a tile at a time, as in `_layout`, unless they lie in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastsoftmax import _carry, _layout, _loss_kernels
from fastsoftmax._arguments import LOGSUMEXP, Array
from fastsoftmax._layout import LOG_SOFTMAX, SOFTMIN


def work_of(target: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the kernels that make a result of that type."""
    return np.dtype(np.float64 if target == np.float64 else np.float32)


@np.errstate(all="ignore")
def reduced(
    x: Array,
    where: Array | None = None,
    *,
    operation: int,
    dims: Sequence[int],
    target: np.dtype[Any],
) -> Array:
    """The carries of a chunk's rows, for results of the type `target`."""
    carries = _carry.nothing([1 if axis in dims else size for axis, size in enumerate(x.shape)])
    chunk = _Chunk(operation, x, where, dims, target)
    for box in chunk.boxes():
        rows, _ = chunk.rows(box)
        _carry.reduce(operation, rows, chunk.rows_of(carries, box))
    return carries


def merged(carries: Array, dims: Sequence[int], work: np.dtype[Any]) -> Array:
    """The carries of whole rows from those of their parts, which lie along `dims`."""
    axes = list(range(len(dims)))
    parts = np.moveaxis(carries, dims, axes)
    kept = parts.shape[len(axes) :]
    whole = _carry.nothing(kept)
    for index in np.ndindex(parts.shape[: len(axes)]):
        part = np.ascontiguousarray(parts[index])
        _carry.merge(int(work == np.float64), _carry.numbers(whole), _carry.numbers(part))
    return np.expand_dims(whole, tuple(dims))


@np.errstate(all="ignore")
def finished(
    x: Array,
    carries: Array,
    where: Array | None = None,
    *,
    operation: int,
    dims: Sequence[int],
    target: np.dtype[Any],
) -> Array:
    """The results of a chunk, from the carries of whole rows."""
    chunk = _Chunk(operation, x, where, dims, target)
    fill = -np.inf if operation == LOG_SOFTMAX else 0
    carries = np.ascontiguousarray(carries)
    y = np.empty(x.shape, target)
    for box in chunk.boxes():
        rows, n = chunk.rows(box)
        place = y.transpose(chunk.order)[box]
        direct = target == rows.dtype and place.flags.c_contiguous and n == rows.shape[1]
        if direct:
            results = place.reshape(rows.shape)
        else:
            results = rows if chunk.gathered else np.empty_like(rows)  # not the input's memory
        _carry.finish(operation, rows, results, chunk.rows_of(carries, box))
        if not direct:
            _put(place, results[:, :n], chunk.kept)
        if chunk.where is not None:
            np.copyto(place, fill, where=~chunk.where[box])
    return y


@np.errstate(all="ignore")
def logsumexp(carries: Array, target: np.dtype[Any]) -> Array:
    """The logarithms of the sums, from the carries of whole rows."""
    work = work_of(target)
    results = np.empty((carries.size, 1), work)
    _carry.finish(LOGSUMEXP, np.zeros_like(results), results, _carry.numbers(carries))
    return _loss_kernels.rounded(results.reshape(carries.shape), target)


def tails(carries: Array, work: np.dtype[Any]) -> Array:
    """``log(sum(exp(x - max)))`` of whole rows, in float64: NaN for rows without a softmax.

    Minus the log_softmax of the maximum, which the kernels give to half a last place of `work`.
    """
    tops = carries["top"].reshape(-1, 1).astype(work)
    rows = np.repeat(tops, _carry.LEAST_PART, axis=1)
    _carry.finish(LOG_SOFTMAX, rows, rows, _carry.numbers(carries))
    return -rows[:, 0].reshape(carries.shape).astype(np.float64)


def _turned(part: Array, kept: int) -> Array | None:
    """A part as (rows, n) in its own memory, if the elements along rows are adjacent there."""
    if not (
        part.dtype.itemsize in (2, 4, 8)
        and part.dtype.isnative
        and part.flags.aligned
        and _layout._collapsed(part, 0, kept)
        and _layout._collapsed(part, kept, part.ndim)
        and _layout._innermost_stride(part, 0, kept) == part.itemsize
    ):
        return None
    rows = math.prod(part.shape[:kept])
    return part.reshape(rows, -1) if rows > 1 else None


def _turn(x: Array, y: Array) -> None:
    bits = f"u{x.itemsize}"
    _carry.turn(x.view(bits), y.view(bits))


def _put(place: Array, rows: Array, kept: int) -> None:
    """Rows to where they belong, cast to its type."""
    rows = _loss_kernels.rounded(rows, place.dtype.newbyteorder("="))
    turned = _turned(place, kept)
    if turned is None:
        np.copyto(place, rows.reshape(place.shape), casting="unsafe")
        return
    _turn(rows, turned)


class _Chunk:
    """A chunk of an array with the reduced dimensions last, and the rows of any box of it."""

    def __init__(
        self,
        operation: int,
        x: Array,
        where: Array | None,
        dims: Sequence[int],
        target: np.dtype[Any],
    ) -> None:
        work = work_of(target)
        self.order = [axis for axis in range(x.ndim) if axis not in dims] + list(dims)
        self.kept = x.ndim - len(dims)
        self.x = x.transpose(self.order)
        self.where = None if where is None else where.transpose(self.order)
        self.target, self.absent = target, np.inf if operation == SOFTMIN else -np.inf
        self.n = math.prod(self.x.shape[self.kept :])
        self.room = _layout.TILE_BYTES // work.itemsize
        self.gathered = not (
            where is None
            and x.dtype == work == target
            and self.x.flags.c_contiguous
            and self.x.flags.aligned
            and self.n >= _carry.LEAST_PART
        )
        self.tile = np.empty(self.room if self.gathered else 0, work)
        self.lines: Array | None = None

    def boxes(self) -> Iterator[_layout.Box]:
        """Some rows each, or part of one that does not fit a tile."""
        if not self.x.size:
            return iter(())
        if self.n <= self.room:
            return _layout._boxes(self.x.shape, self.kept, self.x.ndim, self.room // self.n)
        return _layout._boxes(self.x.shape, 0, 0, self.room)

    def rows(self, box: _layout.Box) -> tuple[Array, int]:
        """The elements of a box as rows of `LEAST_PART` or more, and how many are the box's own."""
        part = self.x[box]
        n = math.prod(part.shape[self.kept :])
        if self.gathered:
            where = None if self.where is None else self.where[box]
            turned = _turned(part, self.kept)
            if turned is not None:
                part = self._brought(turned)
                where = None if where is None else where.reshape(part.shape)
            same_type = part.dtype == self.target == self.tile.dtype
            if turned is None or where is not None or not same_type:
                part = _layout._gather(self.tile, part, where, self.absent, self.target)
        rows = part.reshape(-1, n)
        if n >= _carry.LEAST_PART:
            return rows, n
        padded = np.full((len(rows), _carry.LEAST_PART), self.absent, rows.dtype)
        padded[:, :n] = rows
        return padded, n

    def _brought(self, turned: Array) -> Array:
        """Its rows, each in one piece, an odd number of cache lines apart: they share a cache."""
        rows, n = turned.shape
        in_line = 64 // turned.itemsize
        step = (-(-n // in_line) | 1) * in_line
        if self.lines is None or self.lines.size < rows * step:
            self.lines = np.empty(rows * step, turned.dtype)
        lines = self.lines[: rows * step].reshape(rows, step)[:, :n]
        _turn(turned, lines)
        return lines

    def rows_of(self, carries: Array, box: _layout.Box) -> Array:
        """The carries of the rows of a box, as (rows, 4) numbers that are shared with `carries`."""
        return _carry.numbers(carries.transpose(self.order)[box[: self.kept]])
