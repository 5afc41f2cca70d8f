"""The slow twins of the gradients of softmax and log_softmax, in plain NumPy long double.

They are the path of long double inputs, and the tests' second opinion.
"""

from __future__ import annotations

import numpy as np

from fastsoftmax._reference import Array, Dim, _axes


def softmax_backward(g: Array, y: Array, dim: Dim) -> Array:
    """Gradient of the softmax over `dim` whose output is `y`: ``y * (g - sum(g * y))``.

    Parameters
    ----------
    g, y : arrays of real numbers, of one shape
    dim : int or tuple of int

    Returns
    -------
    numpy.ndarray of numpy.longdouble
    """
    with np.errstate(all="ignore"):
        g, y = g.astype(np.longdouble), y.astype(np.longdouble)
        return np.asarray(y * (g - _sum(g * y, dim)))


def log_softmax_backward(g: Array, y: Array, dim: Dim) -> Array:
    """Gradient of the log_softmax over `dim` whose output is `y`: ``g - exp(y) * sum(g)``.

    Parameters
    ----------
    g, y : arrays of real numbers, of one shape
    dim : int or tuple of int

    Returns
    -------
    numpy.ndarray of numpy.longdouble
    """
    with np.errstate(all="ignore"):
        g, y = g.astype(np.longdouble), y.astype(np.longdouble)
        return np.asarray(g - np.exp(y) * _sum(g, dim))


def _sum(x: Array, dim: Dim) -> Array:
    """Over `dim`, which stays with length one. The contiguous axis is the one summed pairwise."""
    axes = _axes(dim, x.ndim) if x.ndim else ()
    order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
    rows = np.ascontiguousarray(x.transpose(order))
    kept = rows.shape[: x.ndim - len(axes)]
    total = rows.reshape((*kept, -1) if rows.size else (*kept, 0)).sum(axis=-1)
    return np.expand_dims(np.asarray(total), axes)
