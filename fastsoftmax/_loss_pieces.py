"""Losses of logits that are cut along the classes: each chunk to its pieces, these merged, the end.

Pieces lie as the logits do, with 1 for the classes. Of every row a piece has the carry of the
chunk's logits; the logit of the row's class, where it is the chunk's, else 0; and, for smoothing
and probabilities, the sums over the chunk's classes of ``q * (reference - x)`` and of q, as
`_loss_kernels` has them, the reference being the chunk's maximum. A merge moves the reference.

All is taken in float64: losses of float32 that are tiny keep their digits until they are weighted
and summed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _carries, _carry, _loss_arguments
from fastsoftmax._arguments import LOGSUMEXP, Array

FLOAT64 = np.dtype(np.float64)
SUMS = ("gaps", "wanted")
PIECE = np.dtype(
    [("carry", _carry.CARRY), ("picked", "f8")]
    + [(name, "f8") for sums in SUMS for name in (sums, f"{sums}_low")]
)


class Task(NamedTuple):
    """What all chunks have in common."""

    name: str
    classes: int
    probabilities: bool
    ignore_index: int
    label_smoothing: float
    work: np.dtype[Any]

    @property
    def keep(self) -> float:
        return 1 - self.label_smoothing

    @property
    def share(self) -> float:
        return self.label_smoothing / self.classes

    @property
    def spread(self) -> bool:
        """Whether a loss has terms of other classes than the row's own."""
        return self.probabilities or self.share != 0


@np.errstate(all="ignore")
def pieces(x: Array, first: Array, target: Array, weight: Array | None, *, task: Task) -> Array:
    """The pieces of the classes from `first` on, whose weights are given."""
    found = np.zeros((x.shape[0], 1, *x.shape[2:]), PIECE)
    if task.name != "nll_loss":
        found["carry"] = _carries.reduced(x, operation=LOGSUMEXP, dims=(1,), target=FLOAT64)
    if not x.size:
        return found
    if not task.probabilities:
        t = np.expand_dims(target.astype(np.int64), 1) - first[0]
        here = np.expand_dims(target != task.ignore_index, 1) & (t >= 0) & (t < x.shape[1])
        picked = np.take_along_axis(x, np.where(here, t, 0), axis=1)
        found["picked"] = np.where(here, picked, 0)
    if task.spread:
        _weigh(found, x, target if task.probabilities else None, weight, task)
    return found


def merged(parts: Array) -> Array:
    """The pieces of some chunks beside each other as those of one."""
    whole = np.zeros((parts.shape[0], 1, *parts.shape[2:]), PIECE)
    whole["carry"] = _carries.merged(np.ascontiguousarray(parts["carry"]), (1,), FLOAT64)
    with np.errstate(all="ignore"):
        whole["picked"] = parts["picked"].sum(axis=1, keepdims=True)
        reference = _reference(whole)
        for c in range(parts.shape[1]):
            part = parts[:, c : c + 1]
            moved = (reference - _reference(part)) * part["wanted"]
            _add(whole, "gaps", moved)
            for name in SUMS:
                _add(whole, name, part[name])
                whole[f"{name}_low"] += part[f"{name}_low"]
    return whole


def losses(
    whole: Array, target: Array | None, *, weight: Array | None, task: Task
) -> tuple[Array, Array]:
    """The losses of whole rows and the weights of those that count, in float64."""
    with np.errstate(all="ignore"):
        top = whole["carry"]["top"]
        tail = _carries.tails(np.ascontiguousarray(whole["carry"]), FLOAT64)
        loss = np.zeros(whole.shape)
        if task.spread:
            loss += _value(whole, "gaps") + _value(whole, "wanted") * tail
        if target is None:
            return loss, np.ones(loss.shape)
        _loss_arguments.check_range(target, task.classes, task.ignore_index)
        target = np.expand_dims(target, 1)
        taken = target != task.ignore_index
        w: Any = 1.0
        if weight is not None:
            w = weight[np.where(taken, target, 0).astype(np.intp)]
        if task.name == "nll_loss":
            loss = -whole["picked"] * w
        else:
            loss += (w * task.keep) * ((top - whole["picked"]) + tail)
        return np.where(taken, loss, 0), np.where(taken, w, 0)


def _weigh(found: Array, x: Array, p: Array | None, weight: Array | None, task: Task) -> None:
    """Fill in the sums over the classes."""
    work = np.dtype(np.float32) if task.work.itemsize == 2 else task.work
    shape = (x.shape[0], x.shape[1], -1)
    sums = _carry.weigh(
        np.ascontiguousarray(x, work).reshape(shape),
        None if p is None else np.ascontiguousarray(p, work).reshape(shape),
        weight,
        task.keep,
        task.share,
        _reference(found).reshape(-1),
    )
    for i, name in enumerate(SUMS):
        found[name] = sums[:, i].reshape(found.shape)


def _reference(found: Array) -> Array:
    """What the gaps are taken from: 0 where there is no finite maximum."""
    top = found["carry"]["top"]
    return np.where(np.isfinite(top), top, 0.0)


def _add(whole: Array, name: str, value: Array) -> None:
    """Knuth's TwoSum."""
    high = whole[name] + value
    seen = high - whole[name]
    whole[f"{name}_low"] += (whole[name] - (high - seen)) + (value - seen)
    whole[name] = high


def _value(whole: Array, name: str) -> Array:
    high = whole[name]
    return np.where(np.isfinite(high), high + whole[f"{name}_low"], high)
