"""From checked arguments of any layout to the losses' kernels, in bounded memory.

The kernels want logits as (N, C, K), contiguous and of one type, and everything else likewise.
Where the arrays lie so, in whatever order of their dimensions, they are worked on as they are and
in one piece; else in pieces, which are copied into scratch memory where they must be.

Everything here runs under ``np.errstate(all="ignore")`` and the default floating-point environment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _layout, _loss_kernels
from fastsoftmax._arguments import Array

PIECE = 1 << 18  # bytes of scratch memory, or one row where that is longer
REFERENCE_BYTES = 256  # that the long double twins take for each logit
GATHERED = 1 << 13  # rows that NumPy gathers together: indices, logits and weights

INT64 = np.dtype(np.int64)
Box = tuple[slice, ...]


def _primitives(work: np.dtype[Any]) -> ModuleType:
    """The module with class_losses, probability_losses and their gradients for this type."""
    if work.char != "g":
        return _loss_kernels
    from fastsoftmax import _reference_losses  # seldom wanted, and slow to import

    return _reference_losses


class Problem(NamedTuple):
    """A loss and its arguments, checked."""

    x: Array  # logits (N, C, ...)
    target: Array  # class indices (N, ...), or probabilities (N, C, ...)
    probabilities: bool
    weight: Array | None
    ignore_index: int
    label_smoothing: float
    work: np.dtype[Any]  # what is computed in


class Sum:
    """A running sum that keeps what rounding loses (Neumaier)."""

    def __init__(self, work: np.dtype[Any]) -> None:
        self.kind: Any = np.longdouble if work.char == "g" else float
        self.high = self.low = self.kind(0)

    def add(self, value: Any) -> None:
        value = self.kind(value)
        high = self.high + value
        if abs(self.high) >= abs(value):
            self.low += (self.high - high) + value
        else:
            self.low += (value - high) + self.high
        self.high = high

    def value(self) -> Any:
        return self.high + self.low if np.isfinite(self.high) else self.high


def wide(work: np.dtype[Any]) -> np.dtype[Any]:
    """The type of sums, weights and factors."""
    return np.dtype(np.longdouble if work.char == "g" else np.float64)


def losses(problem: Problem, each: Array | None) -> tuple[Any, Any]:
    """The sum of the losses, and that of the weights; `each` (N, ...) is filled with them."""
    total, weight_total = Sum(problem.work), Sum(problem.work)
    if not problem.x.size:  # where there is no class, all rows are ignored
        if each is not None:
            each[...] = 0
        return total.value(), weight_total.value()
    primitives = _primitives(problem.work)
    pieces = _Pieces(problem, each=each)
    for box in pieces:
        x, target = pieces.x.take(box), pieces.target.take(box)
        filled = pieces.each.place(box) if pieces.each else None
        rows = None if filled is None else filled[:, 0]
        if problem.probabilities:
            some = primitives.probability_losses(
                x, target, problem.weight, problem.label_smoothing, rows
            )
            some_weight: Any = x.shape[0] * x.shape[2]
        else:
            some, some_weight = primitives.class_losses(
                x, target[:, 0], problem.weight, pieces.ignore, problem.label_smoothing, rows
            )
        total.add(some)
        weight_total.add(some_weight)
        if pieces.each and filled is not None:
            pieces.each.put(box, filled)
    return total.value(), weight_total.value()


def gradients(problem: Problem, scale: Any, out: Array) -> None:
    """The gradient of ``sum(scale * loss)``; `scale` is (N, ...) or one number for all rows."""
    if not problem.x.size:
        return
    primitives = _primitives(problem.work)
    pieces = _Pieces(problem, scale=scale if isinstance(scale, np.ndarray) else None, out=out)
    for box in pieces:
        assert pieces.out
        x, target, result = pieces.x.take(box), pieces.target.take(box), pieces.out.place(box)
        factor = pieces.scale.take(box)[:, 0] if pieces.scale else scale
        if problem.probabilities:
            primitives.probability_gradients(
                x, target, problem.weight, problem.label_smoothing, factor, result
            )
        else:
            primitives.class_gradients(
                x,
                target[:, 0],
                problem.weight,
                pieces.ignore,
                problem.label_smoothing,
                factor,
                result,
            )
        pieces.out.put(box, result)


class _Operand:
    """An array of which pieces are taken, contiguous and of one type, or put back."""

    def __init__(self, array: Array, dtype: np.dtype[Any], order: list[int]) -> None:
        self.array, self.dtype = array.transpose(order), dtype
        self.outer = order.index(1)
        self.row_bytes = array.shape[1] * dtype.itemsize
        self.direct = self._is_direct(self.array)
        self._scratch: Array | None = None

    def _is_direct(self, array: Array) -> bool:
        return array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned

    def place(self, box: Box) -> Array:
        """A piece as (N, C, K), to be written: where it lies, or in scratch memory."""
        piece = self.array[box]
        n, c, k = (
            piece.shape[: self.outer],
            piece.shape[self.outer],
            piece.shape[self.outer + 1 :],
        )
        shape = (math.prod(n), c, math.prod(k))
        if self._is_direct(piece):
            return piece.reshape(shape)
        if self._scratch is None:  # the first piece is the largest
            self._scratch = np.empty(piece.size, self.dtype)
        return self._scratch[: piece.size].reshape(shape)

    def take(self, box: Box) -> Array:
        """A piece as (N, C, K), to be read."""
        place, piece = self.place(box), self.array[box]
        if not self._is_direct(piece):
            np.copyto(place.reshape(piece.shape), piece, casting="unsafe")
        return place

    def put(self, box: Box, place: Array) -> None:
        """Write a piece back, if it is not in its place."""
        piece = self.array[box]
        if self._is_direct(piece):
            return
        place = _loss_kernels.rounded(place, piece.dtype.newbyteorder("="))
        np.copyto(piece, place.reshape(piece.shape), casting="unsafe")


class _Pieces:
    """The operands of a problem, and the boxes of their axes that are worked on together."""

    def __init__(
        self,
        problem: Problem,
        each: Array | None = None,
        scale: Array | None = None,
        out: Array | None = None,
    ) -> None:
        x, work = problem.x, problem.work
        order = _layout._memory_order(x, (1,))

        def rows(array: Array, dtype: np.dtype[Any]) -> _Operand:
            return _Operand(array[:, np.newaxis], dtype, order)

        self.x = _Operand(x, work, order)
        if problem.probabilities:
            self.target = _Operand(problem.target, work, order)
        else:
            self.target = rows(problem.target, INT64)
        self.each = None if each is None else rows(each, work)
        self.scale = None if scale is None else rows(scale, wide(work))
        self.out = None if out is None else _Operand(out, work, order)
        # The same bits that the target has as int64.
        index = problem.ignore_index
        self.ignore = index if index < 2**63 else index - 2**64
        self._whole = _primitives(work) is _loss_kernels

    def __iter__(self) -> Iterator[Box]:
        operands = [self.x, self.target, self.each, self.scale, self.out]
        given = [operand for operand in operands if operand is not None]
        shape, outer = self.x.array.shape, self.x.outer
        if self._whole and all(operand.direct for operand in given):
            yield tuple(slice(0, size) for size in shape)
            return
        row = sum(operand.row_bytes for operand in given if not operand.direct)
        inner = math.prod(shape[outer + 1 :])
        if PIECE // max(row, 1) < inner:  # a piece of a sample does not lie in one place
            row = sum(operand.row_bytes for operand in given)
        if not self._whole:
            row = shape[outer] * REFERENCE_BYTES
        yield from _layout._boxes(shape, outer, outer + 1, max(1, PIECE // max(row, 1)))


def weight_total(problem: Problem) -> Any:
    """What the mean divides by: the number of rows, or the sum of their weights."""
    if problem.probabilities:
        return problem.x.size // problem.x.shape[1] if problem.x.size else 0
    total = Sum(problem.work)
    for box in _layout._boxes(problem.target.shape, 0, 0, GATHERED):
        part = problem.target[box]
        taken = part != problem.ignore_index
        if problem.weight is None:
            total.add(np.count_nonzero(taken))
        else:
            total.add(sum_of(problem.weight[part[taken].astype(np.intp)]))
    return total.value()


def gathered(problem: Problem, each: Array | None) -> tuple[Any, Any]:
    """As `losses`, of log-probabilities: minus that of each row's class."""
    kind = wide(problem.work)
    total, weights = Sum(problem.work), Sum(problem.work)
    for box in _layout._boxes(problem.target.shape, 0, 0, GATHERED):
        part = problem.target[box]
        taken = part != problem.ignore_index
        if problem.x.shape[1]:
            t = np.where(taken, part, 0).astype(np.intp)
            x = problem.x[(box[0], slice(None), *box[1:])]
            values = -np.take_along_axis(x, t[:, np.newaxis], axis=1)[:, 0].astype(kind)
        else:
            values = np.zeros(part.shape, kind)
        if problem.weight is None:
            weights.add(np.count_nonzero(taken))
        elif problem.x.shape[1]:
            w = problem.weight[t]
            values = values * w
            weights.add(sum_of(w[taken]))
        values = np.where(taken, values, 0)
        total.add(sum_of(values))
        if each is not None:
            each[box] = _loss_kernels.rounded(values, each.dtype)
    return total.value(), weights.value()


def sum_of(values: Array) -> Any:
    """The sum, by halves, with what each addition loses."""
    high = values.reshape(-1)
    low = high.dtype.type(0)
    while high.size > 1:
        half = high.size // 2
        a, b = high[:half], high[half : 2 * half]
        s = a + b
        b_seen = s - a
        low += np.sum((a - (s - b_seen)) + (b - b_seen))
        high = np.append(s, high[2 * half :])
    if not high.size:
        return low
    return high[0] + low if np.isfinite(high[0]) else high[0]
