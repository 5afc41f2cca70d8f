"""The loops someone would write by hand with Numba: fastmath off, one thread.

Each takes x as (outer, n, inner) and a ready output. Rows (inner == 1) go one after the other;
otherwise a slab is swept row by row, so that the inner axis stays contiguous.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit
def softmax_1d(x, out):
    top = x[0]
    for v in x:
        if v > top:
            top = v
    total = x.dtype.type(0)
    for i in range(x.size):
        e = math.exp(x[i] - top)
        out[i] = e
        total += e
    scale = x.dtype.type(1) / total
    for i in range(x.size):
        out[i] *= scale


@njit
def softmin_1d(x, out):
    low = x[0]
    for v in x:
        if v < low:
            low = v
    total = x.dtype.type(0)
    for i in range(x.size):
        e = math.exp(low - x[i])
        out[i] = e
        total += e
    scale = x.dtype.type(1) / total
    for i in range(x.size):
        out[i] *= scale


@njit
def logsumexp_1d(x):
    top = x[0]
    for v in x:
        if v > top:
            top = v
    total = x.dtype.type(0)
    for v in x:
        total += math.exp(v - top)
    return top + math.log(total)


@njit
def log_softmax_1d(x, out):
    shift = logsumexp_1d(x)
    for i in range(x.size):
        out[i] = x[i] - shift


@njit
def softmax_rows(x, out):
    for o in range(x.shape[0]):
        softmax_1d(x[o, :, 0], out[o, :, 0])


@njit
def softmin_rows(x, out):
    for o in range(x.shape[0]):
        softmin_1d(x[o, :, 0], out[o, :, 0])


@njit
def log_softmax_rows(x, out):
    for o in range(x.shape[0]):
        log_softmax_1d(x[o, :, 0], out[o, :, 0])


@njit
def logsumexp_rows(x, out):
    for o in range(x.shape[0]):
        out[o, 0] = logsumexp_1d(x[o, :, 0])


@njit
def _column_sums(x, out, o, sign, top, total):
    """The maximum and the sum of exponentials of every column of slab o; exps go to `out`."""
    n, inner = x.shape[1], x.shape[2]
    for i in range(inner):
        top[i] = sign * x[o, 0, i]
        total[i] = 0
    for j in range(1, n):
        for i in range(inner):
            v = sign * x[o, j, i]
            if v > top[i]:
                top[i] = v
    for j in range(n):
        for i in range(inner):
            e = math.exp(sign * x[o, j, i] - top[i])
            if out.size:
                out[o, j, i] = e
            total[i] += e


@njit
def _softmax_columns(x, out, sign):
    top, total = np.empty_like(x[0, 0]), np.empty_like(x[0, 0])
    for o in range(x.shape[0]):
        _column_sums(x, out, o, sign, top, total)
        for j in range(x.shape[1]):
            for i in range(x.shape[2]):
                out[o, j, i] /= total[i]


@njit
def softmax_columns(x, out):
    _softmax_columns(x, out, x.dtype.type(1))


@njit
def softmin_columns(x, out):
    _softmax_columns(x, out, x.dtype.type(-1))


@njit
def log_softmax_columns(x, out):
    top, total = np.empty_like(x[0, 0]), np.empty_like(x[0, 0])
    none = np.empty((0, 0, 0), x.dtype)
    for o in range(x.shape[0]):
        _column_sums(x, none, o, x.dtype.type(1), top, total)
        for i in range(x.shape[2]):
            top[i] += math.log(total[i])
        for j in range(x.shape[1]):
            for i in range(x.shape[2]):
                out[o, j, i] = x[o, j, i] - top[i]


@njit
def logsumexp_columns(x, out):
    top, total = np.empty_like(x[0, 0]), np.empty_like(x[0, 0])
    none = np.empty((0, 0, 0), x.dtype)
    for o in range(x.shape[0]):
        _column_sums(x, none, o, x.dtype.type(1), top, total)
        for i in range(x.shape[2]):
            out[o, i] = top[i] + math.log(total[i])


@njit
def softmax_fresh_1d(x):
    out = np.empty_like(x)
    softmax_1d(x, out)
    return out


@njit
def softmin_fresh_1d(x):
    out = np.empty_like(x)
    softmin_1d(x, out)
    return out


@njit
def log_softmax_fresh_1d(x):
    out = np.empty_like(x)
    log_softmax_1d(x, out)
    return out
