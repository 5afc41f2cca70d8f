"""The slow twins of the losses' kernels, in plain NumPy long double.

They are the path of long double inputs, and the tests' second opinion. Logits lie as (N, C, K),
classes in the middle. A row is reduced to ``(m, R)`` as in `_reference`, and what every loss is
made of, ``-log_softmax``, is ``(m - x) + log1p(R)``: two terms that are never negative.

float16, bfloat16, float32 and float64 give sums as Python floats, long double as itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastsoftmax import _reference
from fastsoftmax._reference import Array


class Rows(NamedTuple):
    """Logits as rows of long double: the softmax and minus its logarithm; the way back."""

    probabilities: Array
    surprises: Array
    restore: Callable[[Array], Array]


def class_losses(
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    losses: Array | None,
) -> tuple[Any, Any]:
    """The cross entropy of each row with its class, summed; and the sum of the weights.

    ``(1 - eps) * w[t] * s[t] + eps / C * sum(w * s)`` where ``s = -log_softmax(x)``; 0 in rows
    whose class is `ignore_index`, whose weights do not count.

    Parameters
    ----------
    x : (N, C, K) array
        Logits.
    target : (N, K) array of int64
        Class indices, each in [0, C) or `ignore_index`.
    weight : (C,) array or None
        A weight for each class.
    ignore_index : int
    label_smoothing : float
        eps, from 0 to 1.
    losses : (N, K) array or None
        To be filled with each row's loss, in its own dtype.

    Returns
    -------
    total, weight_total : float, or long double for such an `x`
    """
    rows = _rows(x)
    t, taken = _classes(target, ignore_index)
    w = _weights(weight, x.shape[1])
    with np.errstate(all="ignore"):
        each = w[t] * np.take_along_axis(rows.surprises, t[:, np.newaxis], axis=1)[:, 0]
        if label_smoothing:
            share = np.longdouble(label_smoothing) / x.shape[1]
            each = (1 - np.longdouble(label_smoothing)) * each
            each += share * np.sum(w * rows.surprises, axis=1)
        each = np.where(taken, each, 0)
        if losses is not None:
            losses[...] = each.reshape(losses.shape).astype(losses.dtype)
        return _scalar(each.sum(), x), _scalar(np.sum(w[t], where=taken), x)


def probability_losses(
    x: Array,
    target: Array,
    weight: Array | None,
    label_smoothing: float,
    losses: Array | None,
) -> Any:
    """The cross entropy of each row with a distribution over the classes, summed.

    ``sum(q * s)`` where ``q = w * ((1 - eps) * p + eps / C)`` and ``s = -log_softmax(x)``.
    Parameters are those of `class_losses`, but `target` is an (N, C, K) array of probabilities p.
    """
    rows = _rows(x)
    with np.errstate(all="ignore"):
        each = np.sum(_wanted(target, weight, label_smoothing) * rows.surprises, axis=1)
        if losses is not None:
            losses[...] = each.reshape(losses.shape).astype(losses.dtype)
        return _scalar(each.sum(), x)


def class_gradients(
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    scale: Any,
    out: Array,
) -> None:
    """The gradient of ``sum(scale * loss)`` of `class_losses` with respect to the logits.

    `scale` is an (N, K) array or one number for all rows, `out` an array like `x`, which it may be.
    Rows that are ignored get 0. Without smoothing the gradient at the target is
    ``-scale * w[t] * (1 - p[t])``, in which nothing cancels.
    """
    rows = _rows(x)
    t, taken = _classes(target, ignore_index)
    w = _weights(weight, x.shape[1])
    here = t[:, np.newaxis]
    with np.errstate(all="ignore"):
        factor = _factors(scale, t.size)
        if label_smoothing:
            eps = np.longdouble(label_smoothing)
            wanted = np.broadcast_to(eps / x.shape[1] * w, rows.surprises.shape).copy()
            at_target = np.take_along_axis(wanted, here, axis=1) + (1 - eps) * w[here]
            np.put_along_axis(wanted, here, at_target, axis=1)
            gradient = factor * (wanted.sum(axis=1, keepdims=True) * rows.probabilities - wanted)
        else:
            factor = factor * w[here]
            gradient = factor * rows.probabilities
            surprise = np.take_along_axis(rows.surprises, here, axis=1)
            np.put_along_axis(gradient, here, factor * np.expm1(-surprise), axis=1)
        gradient = np.where(taken[:, np.newaxis], gradient, 0)
        out[...] = rows.restore(gradient).astype(out.dtype)


def probability_gradients(
    x: Array,
    target: Array,
    weight: Array | None,
    label_smoothing: float,
    scale: Any,
    out: Array,
) -> None:
    """The gradient of ``sum(scale * loss)`` of `probability_losses` with respect to the logits.

    ``scale * (sum(q) * softmax(x) - q)``; parameters as for `class_gradients`.
    """
    rows = _rows(x)
    with np.errstate(all="ignore"):
        q = _wanted(target, weight, label_smoothing)
        gradient = q.sum(axis=1, keepdims=True) * rows.probabilities - q
        gradient *= _factors(scale, len(q))
        out[...] = rows.restore(gradient).astype(out.dtype)


def _rows(x: Array) -> Rows:
    rows, taken, restore = _reference._rows(x, 1, None)
    with np.errstate(all="ignore"):
        m, rest, exps = _reference._carry(rows, taken)
        gap, lost = _reference._difference(rows, m)
        surprises = (np.log1p(rest) - gap) - lost
        return Rows(exps / exps.sum(axis=1, keepdims=True), surprises, restore)


def _classes(target: Array, ignore_index: int) -> tuple[Array, Array]:
    """Each row's class, 0 if it is to be ignored; and whether it is not."""
    taken = target.reshape(-1) != ignore_index
    return np.where(taken, target.reshape(-1), 0), taken


def _weights(weight: Array | None, classes: int) -> Array:
    return np.ones(classes, np.longdouble) if weight is None else weight.astype(np.longdouble)


def _wanted(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """q, as rows."""
    with np.errstate(all="ignore"):
        q, _, _ = _reference._rows(target, 1, None)
        if label_smoothing:
            eps = np.longdouble(label_smoothing)
            q = (1 - eps) * q + eps / target.shape[1]
        return q * _weights(weight, target.shape[1])


def _factors(scale: Any, rows: int) -> Array:
    """`scale` as a column."""
    wide = np.asarray(scale).astype(np.longdouble)
    return np.broadcast_to(wide.reshape(-1, 1), (rows, 1))


def _scalar(value: Any, x: Array) -> Any:
    return value if x.dtype.char == "g" else float(value)
