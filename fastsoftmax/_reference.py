"""The slow twin of every function, in plain NumPy long double.

It is the path of the dtypes that have no kernel (long double; complex for ``logsumexp``) and the
oracle of the tests for float32 and narrower. It is written to be read beside the formulas: no
blocks, no tiles, one pass per line.

Every function reduces a row to the pair ``(m, R)``: its largest element, and the sum of ``exp(x -
m)`` over all the others. Leaving exactly one maximum out lets ``log1p(R)`` keep its digits when the
row is confident.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["log_softmax", "logsumexp", "softmax", "softmin"]

Array = np.ndarray[Any, Any]
Dim = int | Sequence[int]


def softmax(x: Any, dim: Dim, where: Any = None) -> Array:
    """Softmax of `x` over `dim`.

    Parameters
    ----------
    x : array_like
        Real numbers.
    dim : int or tuple of int
        The dimension, or the dimensions taken together, over which the results sum to one.
    where : array_like of bool, optional
        Elements to take, broadcast to the shape of `x`. The others get 0.

    Returns
    -------
    numpy.ndarray of numpy.longdouble
        ``exp(x) / sum(exp(x))``, in the shape of `x`.
    """
    rows, taken, restore = _rows(x, dim, where)
    with np.errstate(all="ignore"):
        _, _, exps = _carry(rows, taken)
        # Every occurrence of the maximum counts here; a row of +inf has NaN for its exponential,
        # and so for its sum.
        result = exps / exps.sum(axis=1, keepdims=True)
    result[~taken] = 0
    return restore(result)


def log_softmax(x: Any, dim: Dim, where: Any = None) -> Array:
    """Logarithm of the softmax of `x` over `dim`.

    Parameters
    ----------
    x : array_like
        Real numbers.
    dim : int or tuple of int
        As in `softmax`.
    where : array_like of bool, optional
        Elements to take, broadcast to the shape of `x`. The others get -inf.

    Returns
    -------
    numpy.ndarray of numpy.longdouble
        ``(x - m) - log1p(R)``: both parts have one sign, so nothing cancels.
    """
    rows, taken, restore = _rows(x, dim, where)
    with np.errstate(all="ignore"):
        m, rest, _ = _carry(rows, taken)
        gap, lost = _difference(rows, m)
        result = (gap - np.log1p(rest)) + lost
    result[~taken] = -np.inf
    return restore(result)


def softmin(x: Any, dim: Dim, where: Any = None) -> Array:
    """Softmax of ``-x`` over `dim`.

    Parameters
    ----------
    x : array_like
        Real numbers.
    dim : int or tuple of int
        As in `softmax`.
    where : array_like of bool, optional
        As in `softmax`.

    Returns
    -------
    numpy.ndarray of numpy.longdouble
        ``exp(-x) / sum(exp(-x))``, in the shape of `x`.
    """
    # Cast first: the negative of an unsigned integer wraps, and bool has none.
    with np.errstate(all="ignore"):
        negative = -np.asarray(x).astype(np.longdouble)
    return softmax(negative, dim, where)


def logsumexp(x: Any, dim: Dim, keepdim: bool = False, where: Any = None) -> Array:
    """Logarithm of the sum of the exponentials of `x` over `dim`.

    Parameters
    ----------
    x : array_like
        Real or complex numbers.
    dim : int or tuple of int
        The dimensions to reduce.
    keepdim : bool, optional
        Keep the reduced dimensions, with length one.
    where : array_like of bool, optional
        Elements to take, broadcast to the shape of `x`.

    Returns
    -------
    numpy.ndarray of numpy.longdouble or numpy.clongdouble
        ``m + log1p(R)``; -inf where there is nothing to sum. A complex result has its principal
        value, with an imaginary part in [-pi, pi].
    """
    x = np.asarray(x)
    rows, taken, restore = _rows(x, dim, where)
    with np.errstate(all="ignore"):
        if x.dtype.kind == "c":
            result = _complex_logsumexp(rows, taken)
        else:
            m, rest, _ = _carry(rows, taken)
            result = np.where(np.isfinite(m), m + np.log1p(rest), m)[:, 0]
    result = restore(result)
    return np.expand_dims(result, _axes(dim, x.ndim)) if keepdim and x.ndim else result


def _axes(dim: Dim, ndim: int) -> tuple[int, ...]:
    """`dim` as a tuple of axes counted from the front."""
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    limit = max(ndim, 1)  # a 0-d array takes 0 and -1
    axes = []
    for d in map(operator.index, dims):
        if not -limit <= d < limit:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], "
                f"but got {d})"
            )
        axes.append(d % limit)
    if len(set(axes)) < len(axes):
        raise ValueError(f"a dim is repeated in {dims}")
    return tuple(axes)


def _rows(x: Any, dim: Dim, where: Any) -> tuple[Array, Array, Callable[[Array], Array]]:
    """`x` as long double in two dimensions, all of `dim` in the last; the mask alike; the way back.

    The way back takes rows of any length: full ones to the shape of `x`, single elements to the
    shape that is left without `dim`.
    """
    x = np.asarray(x)
    axes = _axes(dim, x.ndim)
    taken = np.broadcast_to(True if where is None else np.asarray(where, dtype=bool), x.shape)
    shape = x.shape or (1,)
    kept = [i for i in range(len(shape)) if i not in axes]
    order = kept + list(axes)
    sizes = [shape[i] for i in order]
    # The length is given rather than -1, which NumPy cannot guess when another axis is empty.
    flat = tuple(
        int(np.prod(part, dtype=np.intp)) for part in (sizes[: len(kept)], sizes[len(kept) :])
    )

    def together(a: Array) -> Array:
        # NumPy sums pairwise along a contiguous axis only.
        return np.ascontiguousarray(a.reshape(shape).transpose(order).reshape(flat))

    def restore(result: Array) -> Array:
        if result.ndim == 1:
            return result.reshape(sizes[: len(kept)])
        return result.reshape(sizes).transpose(np.argsort(order)).reshape(x.shape)

    with np.errstate(all="ignore"):  # a signalling NaN
        wide = x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble)
    return together(wide), together(taken), restore


def _carry(rows: Array, taken: Array) -> tuple[Array, Array, Array]:
    """Each row's maximum, the sum of the others' exponentials relative to it, all exponentials."""
    m = np.max(rows, axis=1, keepdims=True, initial=-np.inf, where=taken)
    gap, lost = _difference(rows, m)
    exps = np.exp(gap)
    exps = np.where(taken, exps + exps * lost, 0)
    others = exps.copy()
    if rows.shape[1]:
        first = np.argmax(taken & (rows == m), axis=1)[:, np.newaxis]
        # Without a finite maximum nothing is left out, and the row must come out NaN whatever its
        # other elements are.
        np.put_along_axis(others, first, np.where(np.isfinite(m), 0, np.nan), axis=1)
    return m, others.sum(axis=1, keepdims=True), exps


def _difference(a: Array, b: Array) -> tuple[Array, Array]:
    """``a - b`` and what its rounding lost (Knuth's TwoSum), 0 where the difference is not finite.

    The rounding of the difference alone would cost as many last places as the gap is long.
    """
    d = a - b
    b_seen = a - d
    lost = (a - (d + b_seen)) + (b_seen - b)
    return d, np.where(np.isfinite(d), lost, 0)


def _complex_logsumexp(rows: Array, taken: Array) -> Array:
    """The same for complex rows: the largest real part carries, the angle is that of the sum."""
    real = np.where(taken, rows.real, -np.inf)
    top = np.max(real, axis=1, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0)
    exps = np.where(taken, np.exp(rows - shift), 0)
    result = np.asarray(np.log(exps.sum(axis=1)) + shift[:, 0])
    if not rows.shape[1]:
        return result
    first = np.argmax((real == top) & taken, axis=1)[:, np.newaxis]
    leader = np.take_along_axis(rows, first, axis=1)
    others = np.where(taken, np.exp(rows - leader), 0)
    np.put_along_axis(others, first, 0, axis=1)
    rest = others.sum(axis=1)
    # |1 + R| from R itself, not from 1 + R: confident rows keep their digits.
    log_abs = np.log1p(2 * rest.real + rest.real**2 + rest.imag**2) / 2
    result.real = np.where(np.isfinite(top[:, 0]), leader[:, 0].real + log_abs, result.real)
    return result
