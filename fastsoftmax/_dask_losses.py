"""The losses of dask arrays, lazily: see `_dask`.

Where the classes are one chunk, each chunk goes through the NumPy functions, else through its
pieces (`_loss_pieces`). The sums of the chunks are merged in a tree too.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from fastsoftmax import (
    _arguments,
    _core,
    _dask,
    _loss_arguments,
    _loss_blocks,
    _loss_kernels,
    _loss_pieces,
    _losses,
)
from fastsoftmax._arguments import Array
from fastsoftmax._dask import Lazy
from fastsoftmax._loss_blocks import Problem
from fastsoftmax._loss_pieces import Task
from fastsoftmax._threads import num_threads


def loss(
    name: str,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    label_smoothing: Any,
    reduction: str,
) -> Lazy:
    """The lazy twin of `_losses.cross_entropy` and `nll_loss`."""
    x: Lazy = _dask.lazy_array(name, input)
    t: Lazy = target
    _, dtype = _loss_arguments.logits(name, meta_from_array(x))
    if _arguments.is_dask(target):
        t = _dask.lazy_array(name, target)
        _loss_arguments.target_of(name, meta_from_array(t))
        _dask.known_shape(name, "match a target with the input", t)
    else:
        t = _loss_arguments.target_of(name, target)
    _dask.known_shape(name, "match a target with the input", x)
    problem, shape = _losses.checked(name, x, dtype, t, weight, ignore_index, label_smoothing)
    x = problem.x  # a single row is a batch of one now
    problem = problem._replace(target=_aligned(problem.target, x, problem.probabilities))
    in_sums = reduction != "none"
    y = (_by_whole_rows if x.numblocks[1] == 1 else _by_pieces)(name, problem, x, in_sums)
    if not in_sums:
        return _dask.without(y, (0, 1) if shape == () else (1,), name)
    axes = tuple(range(y.ndim))
    totals = _dask.merged(f"{name}-merge", _merge_sums, y, axes)
    total = functools.partial(_total, reduction=reduction, work=problem.work)
    return _dask.tasks(name, total, problem.work, (), totals, axes, concatenate=True)


def _aligned(target: Any, x: Lazy, probabilities: bool) -> Lazy:
    """The target in the chunks of the logits."""
    chunks = x.chunks if probabilities else x.chunks[:1] + x.chunks[2:]
    if not _arguments.is_dask(target):
        return da.from_array(target, chunks=chunks)
    return target.rechunk(chunks)


def _task(name: str, problem: Problem) -> Task:
    _, _, probabilities, _, ignore_index, label_smoothing, work = problem
    return Task(name, problem.x.shape[1], probabilities, ignore_index, label_smoothing, work)


def _axes(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the logits, and those that the target has of them."""
    axes = tuple(range(problem.x.ndim))
    return axes, axes if problem.probabilities else axes[:1] + axes[2:]


def _sums_type(work: np.dtype[Any]) -> np.dtype[Any]:
    wide = _loss_blocks.wide(work)
    return np.dtype([("loss", wide), ("weight", wide)])


def _sums(loss: Any, weight: Any, ndim: int, work: np.dtype[Any]) -> Array:
    """The sum of some losses and that of their weights, as a chunk of one element."""
    sums = np.empty((1,) * ndim, _sums_type(work))
    sums["loss"], sums["weight"] = loss, weight
    return sums


def _merge_sums(parts: Array, axis: Sequence[int], keepdims: bool) -> Array:
    work = parts.dtype["loss"]
    loss, weight = (_sum(parts[name], work) for name in ("loss", "weight"))
    return _sums(loss, weight, parts.ndim, work)


def _sum(values: Array, work: np.dtype[Any]) -> Any:
    total = _loss_blocks.Sum(work)
    with np.errstate(all="ignore"):
        for value in values.flat:
            total.add(value)
        return total.value()


def _total(sums: Array, *, reduction: str, work: np.dtype[Any]) -> Array:
    (sum_,) = sums.flat
    with np.errstate(all="ignore"):
        return _losses.total_of(sum_["loss"], sum_["weight"], reduction, work)


def _by_whole_rows(name: str, problem: Problem, x: Lazy, in_sums: bool) -> Lazy:
    axes, target_axes = _axes(problem)
    function = functools.partial(_whole_rows, task=_task(name, problem), in_sums=in_sums)
    return _dask.tasks(
        name,
        function,
        _sums_type(problem.work) if in_sums else problem.work,
        axes,
        *(x, axes, problem.target, target_axes),
        adjust_chunks=dict.fromkeys(axes if in_sums else (1,), 1),
        weight=problem.weight,
    )


def _whole_rows(
    x: Array, target: Array, *, weight: Array | None, task: Task, in_sums: bool
) -> Array:
    """The losses of a chunk of whole rows, or their sums."""
    _, _, probabilities, ignore_index, label_smoothing, work = task
    if not probabilities:
        _loss_arguments.check_range(target, task.classes, ignore_index)
    if _arguments.is_bfloat16(work):
        _core._know_bfloat16(work)
    problem = Problem(x, target, probabilities, weight, ignore_index, label_smoothing, work)
    compute = _loss_blocks.gathered if task.name == "nll_loss" else _loss_blocks.losses
    with np.errstate(all="ignore"), num_threads(1):
        if in_sums:
            return _sums(*compute(problem, None), x.ndim, work)
        each = np.empty(x.shape[:1] + x.shape[2:], work)
        compute(problem, each)
        return np.expand_dims(each, 1)


def _by_pieces(name: str, problem: Problem, x: Lazy, in_sums: bool) -> Lazy:
    work = problem.work
    if work.char == "g":
        raise TypeError(
            f"{name}() of {work} takes dask arrays whose classes are one chunk, but these are in "
            f"{x.numblocks[1]}: rechunk them, or convert the array to float64"
        )
    axes, target_axes = _axes(problem)
    task = _task(name, problem)
    first = da.from_array(np.cumsum([0, *x.chunks[1][:-1]]), chunks=1)
    weights: tuple[Any, ...] = (None, None)
    if problem.weight is not None:
        weights = da.from_array(problem.weight, chunks=x.chunks[1:2]), (1,)
    pieces = _dask.tasks(
        f"{name}-reduce",
        functools.partial(_loss_pieces.pieces, task=task),
        _loss_pieces.PIECE,
        axes,
        *(x, axes, first, (1,), problem.target, target_axes, *weights),
        adjust_chunks={1: 1},
    )
    whole = _dask.merged(f"{name}-merge", _merge_pieces, pieces, (1,))
    target = (None, None) if problem.probabilities else (problem.target, target_axes)
    return _dask.tasks(
        name,
        functools.partial(_end, task=task, in_sums=in_sums),
        _sums_type(work) if in_sums else work,
        axes,
        *(whole, axes, *target),
        adjust_chunks=dict.fromkeys(axes, 1) if in_sums else None,
        weight=problem.weight,
    )


def _merge_pieces(parts: Array, axis: Sequence[int], keepdims: bool) -> Array:
    return _loss_pieces.merged(parts)


def _end(
    whole: Array, target: Array | None, *, weight: Array | None, task: Task, in_sums: bool
) -> Array:
    losses, weights = _loss_pieces.losses(whole, target, weight=weight, task=task)
    with np.errstate(all="ignore"):
        if not in_sums:
            return _loss_kernels.rounded(losses, task.work)
        total, weight_total = _loss_blocks.sum_of(losses), _loss_blocks.sum_of(weights)
        return _sums(total, weight_total, losses.ndim, task.work)
