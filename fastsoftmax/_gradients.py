"""Gradients of softmax and log_softmax with respect to their inputs, from their outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax import _arguments, _backward, _core, _layout, _loss_arguments
from fastsoftmax._arguments import Array

if TYPE_CHECKING:  # numpy.typing takes half a millisecond to import
    from numpy.typing import ArrayLike

__all__ = ["log_softmax_backward", "softmax_backward"]

NAMES = ("softmax_backward", "log_softmax_backward")
SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD = range(2)

TILE_BYTES = 1 << 18  # of each of the two tiles of scratch memory, or one row where that is longer


def softmax_backward(
    grad_output: ArrayLike,
    output: ArrayLike,
    dim: int | tuple[int, ...],
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`softmax` with respect to its input, from its output.

    ``y * (g - sum(g * y))`` for the rows y of `output` and g of `grad_output` over `dim`.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to `output`, in its shape and dtype.
    output : array_like
        What :func:`softmax` returned.
    dim : int or tuple of int
        The dimension, or the dimensions together, that the softmax was taken over.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype; may be `grad_output` or `output`
        itself.

    Returns
    -------
    numpy.ndarray
        In the shape and dtype of `output` (float64 for integers); `out` if that was given.

    Raises
    ------
    IndexError
        If `dim` is out of range.
    RuntimeError
        If `grad_output` and `output` differ in shape.
    TypeError
        If they differ in dtype; for complex, object, string and date dtypes, masked arrays, and an
        `out` of the wrong type.
    ValueError
        For an `out` of the wrong shape or read-only, or a repeated `dim`. Nothing is written then.

    See Also
    --------
    log_softmax_backward : steadier where the loss is a function of the logarithm.
    cross_entropy_backward : of that loss, without the softmax in memory.

    Notes
    -----
    Within 4 ULP of the exact result for float32 and float64, 0.51 ULP for float16 and bfloat16, ULP
    of the sum of the absolute terms ``y * (abs(g) + sum(abs(g * y)))``; float64 products ``g * y``
    below 2**-969 may lose digits. `output` need not be a softmax: NaN, infinities and overflow are
    what the formula makes of them. A row's bits depend on the row alone: not on its neighbours, nor
    on the number of threads. Nothing of the arrays' size is built beside the result, but copies of
    up to 16384 elements that do not lie end to end. Source: the derivative of
    `torch.nn.functional.softmax`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> y = F.softmax(np.array([1.0, 2.0, 3.0]), dim=0)
    >>> F.softmax_backward(np.array([1.0, 0.0, 0.0]), y, dim=0).round(4)
    array([ 0.0819, -0.022 , -0.0599])
    """
    result = _backward._direct(SOFTMAX_BACKWARD, grad_output, output, dim, out)
    if result is not None:
        return result
    return _apply(SOFTMAX_BACKWARD, grad_output, output, dim, out)


def log_softmax_backward(
    grad_output: ArrayLike,
    output: ArrayLike,
    dim: int | tuple[int, ...],
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`log_softmax` with respect to its input, from its output.

    ``g - exp(y) * sum(g)`` for the rows y of `output` and g of `grad_output` over `dim`.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to `output`, in its shape and dtype.
    output : array_like
        What :func:`log_softmax` returned.
    dim : int or tuple of int
        The dimension, or the dimensions together, that the log_softmax was taken over.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype; may be `grad_output` or `output`
        itself.

    Returns
    -------
    numpy.ndarray
        In the shape and dtype of `output` (float64 for integers); `out` if that was given.

    Raises
    ------
    IndexError, RuntimeError, TypeError, ValueError
        As :func:`softmax_backward`.

    See Also
    --------
    cross_entropy_backward : of that loss, without the log_softmax in memory.

    Notes
    -----
    Within 4 ULP of the exact result for float32 and float64, 0.51 ULP for float16 and bfloat16, ULP
    of the sum of the absolute terms ``abs(g) + exp(y) * sum(abs(g))``. Special values, bits and
    memory as for :func:`softmax_backward`. Source: the derivative of
    `torch.nn.functional.log_softmax`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> y = F.log_softmax(np.array([1.0, 2.0, 3.0]), dim=0)
    >>> F.log_softmax_backward(np.array([1.0, 0.0, 0.0]), y, dim=0).round(4)
    array([ 0.91  , -0.2447, -0.6652])
    """
    result = _backward._direct(LOG_SOFTMAX_BACKWARD, grad_output, output, dim, out)
    if result is not None:
        return result
    return _apply(LOG_SOFTMAX_BACKWARD, grad_output, output, dim, out)


def _apply(operation: int, grad_output: Any, output: Any, dim: Any, out: Any) -> Array:
    """The general path of both: check, choose the way, compute."""
    name = NAMES[operation]
    g, g_dtype = _operand(name, "grad_output", grad_output)
    y, dtype = _operand(name, "output", output)
    if dim is None:
        raise TypeError(f"{name}() needs dim, an int or a tuple of ints, but got None")
    dims = _arguments.dims_of(name, dim, y.shape, 0)
    if g.shape != y.shape:
        raise RuntimeError(
            f"{name}() needs grad_output in the shape of output, {y.shape}, but it has {g.shape}"
        )
    if g_dtype != dtype:
        raise TypeError(
            f"{name}() needs grad_output and output of one dtype, but got {g.dtype} and {y.dtype}: "
            "convert one of them"
        )
    if _arguments.is_bfloat16(dtype):
        _core._know_bfloat16(dtype)
    if out is not None:
        _arguments.check_out(name, out, y.shape, dtype)
    if y.ndim == 0:
        g, y = g.reshape(1), y.reshape(1)
    order = _layout._memory_order(y, dims)
    if 0 < y.size <= _layout.SMALL and dtype.char != "g":
        with np.errstate(all="ignore"), _core._DefaultEnvironment():
            result = _compute_small(operation, g, y, dims, order, dtype).reshape(np.shape(output))
            if out is not None:
                out.view(np.ndarray)[...] = result
        return result if out is None else out
    if out is None:
        empty = _core._empty([y.shape[axis] for axis in order], dtype, y)
        result = empty.transpose(_layout._inverse(order))
    else:
        result = out.view(np.ndarray).reshape(y.shape)
        g, y = _layout.apart(g, result), _layout.apart(y, result)
    if y.size:
        with np.errstate(all="ignore"), _core._DefaultEnvironment():
            if dtype.char == "g":
                from fastsoftmax import _reference_gradients  # here: seldom wanted

                result[...] = getattr(_reference_gradients, name)(g, y, dims)
            elif not _compute_in_place(operation, g, y, result, dims, order):
                _compute_by_tiles(operation, g, y, result, dims, order)
    return result.reshape(np.shape(output)) if out is None else out


def _operand(name: str, argument: str, value: Any) -> tuple[Array, np.dtype[Any]]:
    """An argument as an array, and the dtype that it is computed as."""
    array = _loss_arguments.plain_array(
        name, argument, value, f"fill it first, {argument}.filled(0)"
    )
    return array, _arguments.result_dtype(name, array.dtype, None)


def _compute_small(
    operation: int,
    g: Array,
    y: Array,
    dims: tuple[int, ...],
    order: list[int],
    dtype: np.dtype[Any],
) -> Array:
    """The gradient of a few elements by way of copies, in the order of y, as `_layout` has it."""
    gathered, source = (_layout.copied(array.transpose(order), dtype) for array in (g, y))
    shape = _layout.joined(source.shape, *_layout._groups(order, dims))
    rows = gathered.reshape(shape)
    _backward._compute(operation, rows, source.reshape(shape), rows)
    return gathered.transpose(_layout._inverse(order))


def _compute_in_place(
    operation: int, g: Array, y: Array, out: Array, dims: tuple[int, ...], order: list[int]
) -> bool:
    """Run the kernels on the arrays themselves; False if their layout does not allow it."""
    outer, inner = _layout._groups(order, dims)
    groups = ((0, outer), (outer, inner), (inner, y.ndim))
    rows = math.prod(y.shape[axis] for axis in order[inner:]) == 1
    views = []
    for array in (g, y, out):
        if array.dtype != out.dtype or not (array.flags.aligned and array.dtype.isnative):
            return False
        array = array.transpose(order)
        if any(
            size > 1 and stride % array.itemsize
            for size, stride in zip(array.shape, array.strides, strict=True)
        ):
            return False
        if not all(_layout._collapsed(array, first, last) for first, last in groups):
            return False
        first, last = groups[1 if rows else 2]
        if _layout._innermost_stride(array, first, last) != array.itemsize:
            return False
        shape = [math.prod(array.shape[first:last]) for first, last in groups]
        views.append(array.reshape(shape))
    _backward._compute(operation, views[0], views[1], views[2])
    return True


def _compute_by_tiles(
    operation: int, g: Array, y: Array, out: Array, dims: tuple[int, ...], order: list[int]
) -> None:
    """Gather a tile of each into scratch memory, run the kernels on them, scatter; and the next."""
    outer, inner = _layout._groups(order, dims)
    g, y, target = g.transpose(order), y.transpose(order), out.transpose(order)
    n = math.prod(y.shape[outer:inner])
    room = max(TILE_BYTES // out.itemsize, n)
    tiles = np.empty((2, min(room, y.size)), out.dtype)
    for box in _layout._boxes(y.shape, outer, inner, max(1, room // n)):
        part = target[box]
        shape = _layout.joined(part.shape, outer, inner)
        gathered = []
        for tile, array in zip(tiles, (g, y), strict=True):
            gathered.append(tile[: part.size].reshape(shape))
            np.copyto(gathered[-1].reshape(part.shape), array[box], casting="unsafe")
        _backward._compute(operation, gathered[0], gathered[1], gathered[0])
        np.copyto(part, gathered[0].reshape(part.shape))
