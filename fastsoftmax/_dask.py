"""Dask arrays to lazy results; imported only when a dask array comes in.

Where every reduced dimension is one chunk, each chunk goes through the NumPy functions. Where one
is not, each chunk is reduced to the carries of its rows (`_carries`), these are merged in a tree,
and each chunk is finished from the carries of the whole rows: no task holds more than a chunk.

A task computes on one thread: dask's own threads and processes share the CPUs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from fastsoftmax import _arguments, _carries, _carry, _core
from fastsoftmax._arguments import LOGSUMEXP, NAMES, Array
from fastsoftmax._threads import num_threads

Lazy = Any  # a dask.array.Array: dask has no types of its own


def apply(
    operation: int,
    input: Any,
    dim: Any,
    keepdim: bool,
    dtype: Any,
    out: Any,
    where: Any,
    stacklevel: int,
) -> Lazy:
    """The lazy twin of `_layout.apply`; `input` or `where` is a dask array."""
    name = NAMES[operation]
    x = lazy_array(name, input)
    _arguments.as_array(name, meta_from_array(x))  # refuses masked arrays and other devices
    # Level 3 is the caller, as in PyTorch: dims_of, apply, apply of _layout, caller.
    dims = _arguments.dims_of(name, dim, x.shape, stacklevel + 1)
    target = _arguments.result_dtype(name, x.dtype, dtype)
    if out is not None:
        raise TypeError(
            f"{name}() of a dask array is lazy and cannot fill out: leave it out, and store the "
            "result with dask.array.store"
        )
    mask = None if where is None else _mask(name, where, x)
    shape = x.shape
    if not shape:
        x, mask = x.reshape(1), None if mask is None else mask.reshape(1)
    y = _apply(operation, x, mask, dims, target)
    if operation == LOGSUMEXP and not keepdim:
        return without(y, dims, name)
    return y if shape else y.reshape(())


def _apply(
    operation: int, x: Lazy, mask: Lazy | None, dims: Sequence[int], target: np.dtype[Any]
) -> Lazy:
    name = NAMES[operation]
    axes = tuple(range(x.ndim))
    masks = () if mask is None else (mask, axes)
    rows = {"operation": operation, "dims": dims, "target": target}
    if all(x.numblocks[axis] == 1 for axis in dims):
        ones = dict.fromkeys(dims, 1) if operation == LOGSUMEXP else None
        return tasks(name, _whole_rows, target, axes, x, axes, *masks, adjust_chunks=ones, **rows)
    if target.kind == "c" or target.char == "g":
        raise TypeError(
            f"{name}() of {target} takes dask arrays whose dim is one chunk, but dim={dims} has "
            f"{math.prod(x.numblocks[axis] for axis in dims)}: rechunk it, or convert it to float64"
        )
    parts = tasks(
        f"{name}-reduce", _carries.reduced, _carry.CARRY, axes, x, axes, *masks,
        adjust_chunks=dict.fromkeys(dims, 1), **rows,
    )  # fmt: skip
    merge = functools.partial(_merge, work=_carries.work_of(target))
    whole = merged(f"{name}-merge", merge, parts, dims)
    if operation == LOGSUMEXP:
        return tasks(name, _carries.logsumexp, target, axes, whole, axes, target=target)
    return tasks(name, _carries.finished, target, axes, x, axes, whole, axes, *masks, **rows)


def lazy_array(name: str, input: Any) -> Lazy:
    """`input` as a dask array."""
    if not _arguments.is_dask(input):
        return da.from_array(_arguments.as_array(name, input))
    if not isinstance(input, da.Array):
        raise TypeError(
            f"{name}() takes the arrays of dask, not its {type(input).__name__}: convert it first, "
            "a DataFrame with to_dask_array(lengths=True), a Delayed with dask.array.from_delayed"
        )
    return input


def known_shape(name: str, why: str, x: Lazy) -> None:
    """Refuse an array whose chunks have unknown sizes."""
    if any(math.isnan(size) for size in x.shape):
        raise ValueError(
            f"{name}() cannot {why} where chunk sizes are unknown, in the shape {x.shape}: call "
            "compute_chunk_sizes() on the array first"
        )


def tasks(
    name: str, function: Any, dtype: np.dtype[Any], axes: Sequence[int], *args: Any, **options: Any
) -> Lazy:
    """One task for each chunk; `args` are arrays and their axes, the array with all chunks first.

    Nothing is called to learn what it returns: it is an array of `dtype`.
    """
    meta = np.empty((0,) * len(axes), dtype)
    return da.blockwise(function, axes, *args, align_arrays=False, token=name, meta=meta, **options)


def merged(name: str, merge: Any, parts: Lazy, dims: Sequence[int]) -> Lazy:
    """The tree: the parts along `dims` to one, a few chunks in each task."""
    meta = np.empty((0,) * parts.ndim, parts.dtype)
    return da.reduction(
        parts, _same, merge, axis=dims, keepdims=True, dtype=parts.dtype, meta=meta, name=name
    )


def without(x: Lazy, dims: Sequence[int], name: str) -> Lazy:
    """Without dimensions of size 1; a number stays an array, which `x.squeeze` does not see to."""
    axes = tuple(range(x.ndim))
    kept = tuple(axis for axis in axes if axis not in dims)
    return tasks(name, _squeeze, x.dtype, kept, x, axes, concatenate=True, dims=tuple(dims))


def _squeeze(x: Array, *, dims: tuple[int, ...]) -> Array:
    return x.squeeze(axis=dims)


def _same(parts: Array, axis: Sequence[int], keepdims: bool) -> Array:
    return parts


def _merge(parts: Array, axis: Sequence[int], keepdims: bool, work: np.dtype[Any]) -> Array:
    return _carries.merged(parts, axis, work)


def _whole_rows(
    x: Array,
    where: Array | None = None,
    *,
    operation: int,
    dims: Sequence[int],
    target: np.dtype[Any],
) -> Array:
    dim: Any = dims[0] if len(dims) == 1 else tuple(dims)
    with num_threads(1):
        if operation == LOGSUMEXP:
            return _core.logsumexp(x, dim, True, where=where)
        dtype = None if x.dtype == target else target
        function: Callable[..., Array] = getattr(_core, NAMES[operation])
        return function(x, dim, dtype=dtype, where=where)


def _mask(name: str, where: Any, x: Lazy) -> Lazy:
    """`where` in the shape and chunks of x."""
    known_shape(name, "match where with the input", x)
    if not _arguments.is_dask(where):
        _arguments.check_where(name, where, x.shape)
        where = da.from_array(np.asarray(where))
    mask: Lazy = _arguments.check_where(name, lazy_array(name, where), x.shape)
    return mask.rechunk(x.chunks)
