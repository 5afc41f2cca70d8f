"""The exact losses and gradients, unrounded, in double-double arithmetic.

    found = exact("cross_entropy", {"input": x, "target": t, "reduction": "sum"})
    error_ulp(result, found)      # the worst error of a result, in units of its last place

Everything is taken from `oracle.Rows`, in rows: the classes last, all other dimensions before them.
NaN and infinities follow the same formulas in float64. A unit is the last place of the exact result
or, where terms of both signs meet, of the sum of their absolute values.
"""

from typing import NamedTuple

import numpy as np

import dd
import oracle
import ulp

BIAS = oracle.BIAS

REDUCTIONS = {  # by (size_average, reduce)
    (None, False): "none",
    (True, False): "none",
    (False, False): "none",
    (False, None): "sum",
    (False, True): "sum",
    (True, None): "mean",
    (None, True): "mean",
    (True, True): "mean",
}


class Found(NamedTuple):
    """An exact result, and the sum of the absolute values of its terms."""

    value: oracle.Exact
    largest: np.ndarray


class Loss(NamedTuple):
    """The arguments of a loss, as rows of float64."""

    rows: np.ndarray  # logits (R, C)
    t: np.ndarray | None  # class indices (R,), 0 in rows to be ignored
    p: np.ndarray | None  # or probabilities (R, C)
    taken: np.ndarray  # (R,) of bool
    w: np.ndarray  # (C,)
    smoothing: float
    reduction: str
    shape: tuple[int, ...]  # of the rows


@oracle.remembered
def exact(op, arguments):
    """The exact result of `op` (a function's name) on its arguments, by name."""
    with np.errstate(all="ignore"):
        if op in ("softmax_backward", "log_softmax_backward"):
            return _BACKWARD[op](**arguments)
        arguments = dict(arguments)
        grad_output = arguments.pop("grad_output", None)
        loss = _loss(op, **arguments)
        if op == "cross_entropy_backward":
            return _gradient(loss, grad_output, np.shape(arguments["input"]))
        return _reduced(loss, *(_likelihood if op == "nll_loss" else _entropy)(loss))


def error_ulp(result, found):
    """The worst error of `result`, in units in the last place; inf for a wrong NaN or infinity."""
    assert result.shape == found.value.hi.shape, (result.shape, found.value.hi.shape)
    return float(np.max(ulp.error(result, found.value, found.largest), initial=0.0))


def _loss(
    op,
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    if (size_average, reduce) != (None, None):
        reduction = REDUCTIONS[size_average, reduce]
    x, target = np.asarray(input), np.asarray(target)
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    probabilities = x.shape == target.shape and op != "nll_loss"
    classes = x.shape[1] if x.ndim > 1 else x.shape[0]
    w = np.ones(classes) if weight is None else np.asarray(weight).astype(np.float64)
    rows = _to_rows(x)
    if probabilities:
        taken = np.ones(len(rows), bool)
        return Loss(rows, None, _to_rows(target), taken, w, label_smoothing, reduction, shape)
    t = target.reshape(-1)
    taken = np.array([int(index) != ignore_index for index in t], bool)
    t = np.where(taken, t, 0).astype(np.int64)
    return Loss(rows, t, None, taken, w, label_smoothing, reduction, shape)


def _to_rows(x):
    x = x.astype(np.float64)
    x = x[np.newaxis] if x.ndim == 1 else np.moveaxis(x, 1, -1)
    return np.ascontiguousarray(x).reshape(int(np.prod(x.shape[:-1])), x.shape[-1])


def _from_rows(rows, shape):
    if len(shape) == 1:
        return rows.reshape(shape)
    return np.moveaxis(rows.reshape(shape[:1] + shape[2:] + shape[1:2]), -1, 1)


def _plain(x):
    return x, np.zeros_like(x)


def _at(loss, pair):
    """The elements of (R, C) pairs at the rows' classes."""
    if not loss.rows.shape[1]:  # then all are ignored
        return _plain(np.zeros(len(loss.rows)))
    return tuple(part[np.arange(len(part)), loss.t] for part in pair)


def _likelihood(loss):
    """Each row's negative log likelihood, and its absolute value."""
    value = dd.mul(_plain(-_at(loss, (loss.rows,))[0]), _of_classes(loss))
    value = _mended(value, -_at(loss, (loss.rows,))[0] * _of_classes(loss)[0])
    return value, np.abs(value[0])


def _of_classes(loss):
    """The weights of the rows' classes."""
    if not loss.w.size:
        return _plain(np.zeros(len(loss.rows)))
    return _plain(loss.w[loss.t])


def _mended(pair, plain):
    """A pair with the NaN and infinities of `plain`, the same in float64."""
    hi, lo = np.broadcast_arrays(*pair)
    fine = np.isfinite(plain) & np.isfinite(hi)
    return np.where(fine, hi, plain), np.where(fine, lo, 0.0)


def _wanted(loss):
    """q, what -log_softmax is multiplied by, as pairs (R, C); and its absolute terms."""
    rows, classes = loss.rows.shape
    eps = loss.smoothing
    rest = dd.two_sum(np.float64(1.0), np.float64(-eps))
    share = dd.div(_plain(np.float64(eps)), _plain(np.float64(max(classes, 1))))
    p = loss.p
    if p is None:
        p = np.zeros((rows, classes))
        if classes:
            p[np.arange(rows), loss.t] = 1.0
    q = dd.mul(rest, _plain(p))
    if eps:
        q = dd.add(q, tuple(np.broadcast_to(part, p.shape) for part in share))
    plain = ((1 - eps) * p + eps / max(classes, 1)) * loss.w
    return _mended(dd.mul(q, _plain(np.broadcast_to(loss.w, p.shape))), plain)


def _entropy(loss):
    """Each row's cross entropy as a pair, and the sum of its absolute terms."""
    hi, lo, e = oracle.Rows(loss.rows).log_softmax()
    surprise = -np.ldexp(hi, e), -np.ldexp(lo, e)
    if loss.t is not None and not loss.smoothing:
        w = _of_classes(loss)
        at = _at(loss, surprise)
        value = _mended(dd.mul(at, w), at[0] * w[0])
        return value, np.abs(value[0])
    q = _wanted(loss)
    terms = dd.mul(surprise, q)
    plain = (surprise[0] * q[0]).sum(axis=-1)
    if loss.t is not None:
        # As PyTorch has it: the class's own term apart, which is NaN where all is spread and its
        # loss infinite.
        own = (1 - loss.smoothing) * (_of_classes(loss)[0] * _at(loss, surprise)[0])
        share = loss.smoothing / max(loss.rows.shape[1], 1)
        plain = own + share * (surprise[0] * loss.w).sum(axis=-1)
    return _mended(dd.total(terms), plain), np.abs(surprise[0] * q[0]).sum(axis=-1)


def _divisor(loss):
    """What the mean is divided by, as a pair."""
    if loss.t is None:
        return _plain(np.float64(len(loss.rows) if loss.rows.shape[1] else 0))
    return dd.total(tuple(np.where(loss.taken, part, 0.0) for part in _of_classes(loss)))


def _reduced(loss, each, largest):
    each = tuple(np.where(loss.taken, part, 0.0) for part in each)
    largest = np.where(loss.taken, largest, 0.0)
    if loss.reduction == "none":
        parts = (part.reshape(loss.shape) for part in (*each, largest))
        hi, lo, largest = parts
        return Found(oracle.Exact(hi, lo, 0), largest)
    plain, largest = each[0].sum(), np.asarray(largest.sum())
    value = dd.total(each)
    if loss.reduction == "mean":
        divisor = _divisor(loss)
        value, plain = dd.div(value, divisor), plain / divisor[0]
        largest = largest / np.abs(divisor[0])
    return Found(oracle.Exact(*_mended(value, plain), 0), largest)


def _gradient(loss, grad_output, shape):
    """With a bias of 2**BIAS, as the oracle's softmax has."""
    rows = oracle.Rows(loss.rows)
    p_hi, p_lo, e = rows.softmax()
    p = p_hi, p_lo
    p_plain = np.ldexp(p_hi, e)
    g = np.asarray(grad_output).astype(np.float64)
    if loss.reduction == "none":
        scale = _plain(g.reshape(-1))
        plain_scale = scale[0]
    else:
        scale = _plain(np.full(len(loss.rows), float(g)))
        plain_scale = scale[0]
        if loss.reduction == "mean":
            divisor = tuple(np.broadcast_to(part, scale[0].shape) for part in _divisor(loss))
            scale, plain_scale = dd.div(scale, divisor), scale[0] / divisor[0]
    taken = loss.taken[:, np.newaxis]
    if loss.t is not None and not loss.smoothing:
        factor = dd.mul(scale, _of_classes(loss))
        plain_factor = plain_scale * _of_classes(loss)[0]
        largest = np.zeros(loss.rows.shape)
        shares, plain_shares = tuple(part.copy() for part in p), p_plain.copy()
        if loss.rows.size:
            here = np.arange(len(loss.rows)), loss.t
            minus = dd.neg(_one_minus(rows, p, loss.t))
            for part, own in zip(shares, minus, strict=True):
                part[here] = own
            plain_shares[here] = -(1 - p_plain[here])
    else:
        factor, plain_factor = scale, plain_scale
        q = _wanted(loss)
        q_sum = tuple(part[:, np.newaxis] for part in dd.total(q))
        plain_shares = q[0].sum(axis=1, keepdims=True) * p_plain - q[0]
        shares = dd.add(dd.mul(p, q_sum), dd.neg(dd.scale(q, BIAS)))
        absolute = np.abs(q[0])
        largest = p_plain * absolute.sum(axis=1, keepdims=True) + absolute
        largest = largest * np.abs(factor[0][:, np.newaxis])
    factor = tuple(part[:, np.newaxis] for part in factor)
    hi, lo = dd.mul(shares, factor)
    plain = plain_shares * plain_factor[:, np.newaxis]
    fine = np.isfinite(plain) & np.isfinite(hi)
    hi, lo = np.where(fine, hi, plain), np.where(fine, lo, 0.0)
    parts = (_from_rows(np.where(taken, part, 0.0), shape) for part in (hi, lo, largest))
    hi, lo, largest = parts
    return Found(oracle.Exact(hi, lo, np.full(shape, -BIAS)), largest)


def _one_minus(rows, p, t):
    """1 - p[t], times 2**BIAS: of a maximum the others' share, which keeps its digits."""
    here = np.arange(len(t)), t
    rest = tuple(part[:, 0] for part in rows.rest)
    others = dd.div(rest, dd.add(_plain(np.ones(len(t))), dd.scale(rest, -BIAS)))
    direct = dd.add(_plain(np.full(len(t), 2.0**BIAS)), dd.neg(tuple(part[here] for part in p)))
    top = rows.gap[0][here] == 0
    return tuple(np.where(top, a, b) for a, b in zip(others, direct, strict=True))


def _softmax_backward(grad_output, output, dim):
    """``output * (g - sum(g * output))``."""
    g, y = (np.moveaxis(a.astype(np.float64), dim, -1) for a in (grad_output, output))
    products = dd.two_prod(g, y)
    total = tuple(part[..., np.newaxis] for part in dd.total(products))
    value = dd.mul(_plain(y), dd.add(_plain(g), dd.neg(total)))
    plain = y * (g - (g * y).sum(axis=-1, keepdims=True))
    largest = np.abs(y) * (np.abs(g) + np.abs(g * y).sum(axis=-1, keepdims=True))
    return _found(_mended(value, plain), largest, dim)


def _log_softmax_backward(grad_output, output, dim):
    """``g - exp(output) * sum(g)``."""
    g, y = (np.moveaxis(a.astype(np.float64), dim, -1) for a in (grad_output, output))
    total = tuple(part[..., np.newaxis] for part in dd.total(_plain(g)))
    counts = y > -700
    exps = dd.exp(_plain(np.where(counts, y, 0.0)))
    exps = tuple(np.where(counts, part, 0.0) for part in exps)
    value = dd.add(_plain(g), dd.neg(dd.mul(exps, total)))
    plain = g - np.exp(y) * g.sum(axis=-1, keepdims=True)
    largest = np.abs(g) + np.exp(y) * np.abs(g).sum(axis=-1, keepdims=True)
    return _found(_mended(value, plain), largest, dim)


def _found(value, largest, dim):
    hi, lo, largest = (np.moveaxis(part, -1, dim) for part in (*value, largest))
    return Found(oracle.Exact(hi, lo, 0), largest)


_BACKWARD = {"softmax_backward": _softmax_backward, "log_softmax_backward": _log_softmax_backward}
