"""From any array to the (outer, dim, inner) views that the loops of `_core` run over.

An array whose dimensions collapse to (outer, dim, inner), in the order of its strides, is worked on
where it is. Anything else (other strides, byte order, types without a kernel, `where=`) goes
through one tile of scratch memory, gathered and scattered by NumPy: memory stays bounded whatever
the size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastsoftmax import _arguments, _carry, _core
from fastsoftmax._arguments import LOGSUMEXP, NAMES, Array

SOFTMAX, LOG_SOFTMAX, SOFTMIN = range(3)

FILLS = {SOFTMAX: 0.0, SOFTMIN: 0.0, LOG_SOFTMAX: -np.inf}  # what results of absent elements are

Box = tuple[slice, ...]

TILE_BYTES = 1 << 19
PART = 1 << 14  # elements, as in _core
SMALL = _core._SMALL  # elements: of these a copy is quicker than a look at their strides
GATHERED_ROW = 1 << 19  # bytes: the longest row that the kernels gather
LEAST_PART = 64  # a part of a row is padded to this many elements


def apply(
    operation: int,
    input: Any,
    dim: Any,
    keepdim: bool,
    dtype: Any,
    out: Any,
    where: Any,
    stacklevel: int,
) -> Any:
    """The general path of every function: check, choose the way, compute."""
    if _arguments.is_dask(input) or _arguments.is_dask(where):
        from fastsoftmax import _dask

        return _dask.apply(operation, input, dim, keepdim, dtype, out, where, stacklevel)
    name = NAMES[operation]
    x = _arguments.as_array(name, input)
    # Level 3 is the caller, as in PyTorch: dims_of, apply, caller; what is compiled has no frame.
    dims = _arguments.dims_of(name, dim, x.shape, stacklevel)
    target = _arguments.result_dtype(name, x.dtype, dtype)
    bfloat16 = _arguments.is_bfloat16(target)
    if bfloat16:
        _core._know_bfloat16(target)
    if x.ndim == 0:
        return _zero_dimensional(operation, x, target, out, where)
    shape = x.shape
    if operation == LOGSUMEXP:
        shape = tuple(
            1 if axis in dims else size
            for axis, size in enumerate(x.shape)
            if keepdim or axis not in dims
        )
    if out is not None:
        out = _arguments.check_out(name, out, shape, target)
    if where is not None:
        where = _arguments.check_where(name, where, x.shape)

    has_kernels = target.char in "efd" or bfloat16
    if has_kernels and 0 < x.size <= SMALL:
        with np.errstate(all="ignore"), _core._DefaultEnvironment():
            y = _compute_small(operation, x, dims, target, where).reshape(shape)
            if out is not None:
                out.view(np.ndarray)[...] = y
        return y if out is None else out

    given = out
    if out is not None:
        out = out.view(np.ndarray)  # a subclass may reshape and slice in its own way
        where_it_is = (out.ctypes.data, out.strides) == (x.ctypes.data, x.strides)
        if not (where_it_is and out.shape == x.shape) and np.may_share_memory(x, out):
            x = x.copy()
        if where is not None and np.may_share_memory(where, out):
            where = where.copy()
    if target.kind == "c" or target.char == "g":
        with np.errstate(all="ignore"), _core._DefaultEnvironment():
            values = _by_reference(operation, x, dims, keepdim, where, target)
            if out is None:
                return values
            out[...] = values
        return given

    full = x.shape if operation != LOGSUMEXP else _kept(x.shape, dims)
    order = _memory_order(x, dims)
    if out is None:
        sizes = [full[axis] for axis in order]
        first, last = _groups(order, dims)
        n, inner = math.prod(sizes[first:last]), math.prod(sizes[last:])
        y = _core._empty(sizes, target, x, n, inner).transpose(_inverse(order))
    else:
        y = out
        if operation == LOGSUMEXP and not keepdim:
            y = np.expand_dims(out, dims)
    if x.size:
        direct = (
            where is None
            and x.dtype == target
            and y.dtype == target
            and has_kernels
            and _compute_in_place(operation, x, y, dims, order)
        )
        if not direct:
            with np.errstate(all="ignore"), _core._DefaultEnvironment():
                _compute_by_tiles(operation, x, y, dims, order, where)
    elif y.size:
        y[...] = -np.inf  # logsumexp over an empty dimension
    if given is not None:
        return given
    if operation == LOGSUMEXP and not keepdim:
        return y.reshape(shape)
    return y


def _compute_small(
    operation: int, x: Array, dims: tuple[int, ...], target: np.dtype[Any], where: Array | None
) -> Array:
    """The result of a few elements, in the order of theirs, by way of a copy; `dims` are kept."""
    order = _memory_order(x, dims)
    in_order = order == list(range(x.ndim))
    xt = x if in_order else x.transpose(order)
    absent = None
    source = copied(xt, target)
    if where is not None:
        absent = ~(where if in_order else where.transpose(order))
        np.copyto(source, np.inf if operation == SOFTMIN else -np.inf, where=absent)
    first, last = _groups(order, dims)
    sizes = source.shape
    shape = joined(sizes, first, last)
    if operation == LOGSUMEXP:
        kept = (*sizes[:first], *(1,) * len(dims), *sizes[last:])
        result: Array = _core._empty(kept, target, xt)
        _core._compute(operation, source.reshape(shape), result.reshape(shape[0], 1, shape[2]))
    else:
        result, rows = source, source.reshape(shape)
        _core._compute(operation, rows, rows)
        if absent is not None:
            np.copyto(result, FILLS[operation], where=absent)
    return result if in_order else result.transpose(_inverse(order))


def _zero_dimensional(operation: int, x: Array, target: np.dtype[Any], out: Any, where: Any) -> Any:
    """A number is a row of one."""
    name = NAMES[operation]
    if where is not None:
        where = _arguments.check_where(name, where, ()).reshape(1)
    if out is not None:
        _arguments.check_out(name, out, (), target)
    value = apply(operation, x.reshape(1), 0, False, target, None, where, 0)
    if out is not None:
        out[()] = value.reshape(())
        return out
    return value.reshape(())


def apart(x: Array, out: Array) -> Array:
    """A copy of x where writing to `out` would change what is yet to be read."""
    in_place = (x.ctypes.data, x.strides, x.dtype) == (out.ctypes.data, out.strides, out.dtype)
    return x.copy() if not in_place and np.may_share_memory(x, out) else x


def copied(x: Array, dtype: np.dtype[Any]) -> Array:
    """A copy, contiguous and of that type."""
    copy: Array = _core._empty(x.shape, dtype, x)
    np.copyto(copy, x, casting="unsafe")
    return copy


def joined(shape: Sequence[int], first: int, last: int) -> tuple[int, int, int]:
    """The shape (outer, n, inner) of a contiguous array whose axes first to last - 1 are n."""
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])


def _inverse(order: Sequence[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _kept(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 if axis in dims else size for axis, size in enumerate(shape))


def _by_reference(
    operation: int,
    x: Array,
    dims: tuple[int, ...],
    keepdim: bool,
    where: Array | None,
    target: np.dtype[Any],
) -> Array:
    from fastsoftmax import _reference  # here: seldom wanted

    x = x.astype(target)
    function = getattr(_reference, NAMES[operation])
    options = {"keepdim": keepdim} if operation == LOGSUMEXP else {}
    values: Array = np.asarray(function(x, dims, where=where, **options))
    return values.astype(target)


def _memory_order(x: Array, dims: Sequence[int]) -> list[int]:
    """The axes as they lie in memory, outermost first; `dims` side by side, last if need be."""
    order = sorted(range(x.ndim), key=[-abs(stride) for stride in x.strides].__getitem__)
    if len(dims) == 1 and x.shape[dims[0]] > 1:
        return order
    places = [place for place, axis in enumerate(order) if axis in dims and x.shape[axis] > 1]
    between = order[places[0] : places[-1] + 1] if places else []
    if any(axis not in dims and x.shape[axis] > 1 for axis in between):
        return [axis for axis in order if axis not in dims] + [a for a in order if a in dims]
    # axes of size 1 may lie anywhere: put those of dims with dims
    if not places:
        return [axis for axis in order if axis not in dims] + [a for a in order if a in dims]
    middle = [axis for axis in order if axis in dims]
    before = [axis for axis in order[: places[0]] if axis not in dims]
    after = [axis for axis in order[places[0] :] if axis not in dims]
    return before + middle + after


def _groups(order: Sequence[int], dims: Sequence[int]) -> tuple[int, int]:
    """How many axes of `order` are outer, and how many outer or in dims."""
    outer = min(map(order.index, dims))
    return outer, outer + len(dims)


def _collapsed(array: Array, first: int, last: int) -> bool:
    """Whether axes first to last - 1 step through memory like one axis."""
    sizes = [
        (array.shape[axis], array.strides[axis])
        for axis in range(first, last)
        if array.shape[axis] > 1
    ]
    return all(outer[1] == inner[0] * inner[1] for outer, inner in itertools.pairwise(sizes))


def _innermost_stride(array: Array, first: int, last: int) -> int:
    strides = [array.strides[axis] for axis in range(first, last) if array.shape[axis] > 1]
    return strides[-1] if strides else array.itemsize


def _compute_in_place(
    operation: int, x: Array, y: Array, dims: Sequence[int], order: Sequence[int]
) -> bool:
    """Run the kernels on the arrays themselves; False if their layout does not allow it."""
    if not (x.flags.aligned and y.flags.aligned and x.dtype.isnative and y.dtype.isnative):
        return False
    outer, inner = _groups(order, dims)
    xt, yt = x.transpose(order), y.transpose(order)
    last = inner if math.prod(xt.shape[inner:]) == 1 else x.ndim
    first = outer if last == inner else inner
    for array in (xt, yt):
        if any(
            size > 1 and stride % array.itemsize
            for size, stride in zip(array.shape, array.strides, strict=True)
        ):
            return False
        if not _collapsed(array, outer, inner) or not _collapsed(array, inner, x.ndim):
            return False
        adjacent = _innermost_stride(array, first, last) == array.itemsize
        size = math.prod(array.shape[outer:inner]) * array.itemsize
        gathered = array is xt and last == inner and size <= GATHERED_ROW
        if not (adjacent or gathered):
            return False
    # Leading axes that do not join the others are walked through one by one.
    walked = 0
    while not (_collapsed(xt, walked, outer) and _collapsed(yt, walked, outer)):
        walked += 1
    if walked and math.prod(xt.shape[walked:]) < 4096:
        return False
    for index in np.ndindex(xt.shape[:walked]):
        views = [
            array[index].reshape(joined(array.shape[walked:], outer - walked, inner - walked))
            for array in (xt, yt)
        ]
        _core._compute(operation, *views)
    return True


def _compute_by_tiles(
    operation: int,
    x: Array,
    y: Array,
    dims: Sequence[int],
    order: Sequence[int],
    where: Array | None,
) -> None:
    """Gather a tile into scratch memory, run the kernels on it, scatter it; and the next."""
    work = np.dtype(np.float64 if y.dtype == np.float64 else np.float32)
    outer, inner = _groups(order, dims)
    xt, yt = x.transpose(order), y.transpose(order)
    wt = None if where is None else where.transpose(order)
    room = TILE_BYTES // work.itemsize
    n = math.prod(xt.shape[outer:inner])
    absent = np.inf if operation == SOFTMIN else -np.inf
    fill = FILLS.get(operation)
    tile = np.empty(max(room, LEAST_PART), work)
    if n > room:
        for box in _boxes(xt.shape, outer, inner, 1):
            parts = xt[box], yt[box], None if wt is None else wt[box]
            _long_row_by_parts(operation, *parts, tile, absent, fill)
        return
    for box in _boxes(xt.shape, outer, inner, room // n):
        part = xt[box]
        gathered = _gather(tile, part, None if wt is None else wt[box], absent, y.dtype)
        shape = joined(part.shape, outer, inner)
        source = gathered.reshape(shape)
        if operation == LOGSUMEXP:
            shape = (shape[0], 1, shape[2])
        place = yt[box]
        if y.dtype == work and place.flags.c_contiguous and place.flags.aligned:
            _core._compute(operation, source, place.reshape(shape))
        else:
            result = np.empty(shape, work) if operation == LOGSUMEXP else source
            _core._compute(operation, source, result)
            np.copyto(place, result.reshape(place.shape), casting="unsafe")
        if wt is not None and fill is not None:
            np.copyto(place, fill, where=~wt[box])


def _gather(
    tile: Array, part: Array, where: Array | None, absent: float, target: np.dtype[Any]
) -> Array:
    """The part in the first elements of the tile, cast to the target type on the way."""
    gathered = tile[: part.size].reshape(part.shape)
    if part.dtype != target and target != tile.dtype:
        part = part.astype(target)  # dtype= casts first, and may round or overflow
    np.copyto(gathered, part, casting="unsafe")
    if where is not None:
        np.copyto(gathered, absent, where=~where)
    return gathered


def _boxes(shape: Sequence[int], first: int, last: int, room: int) -> Iterator[Box]:
    """Boxes of at most `room` elements over the axes outside [first, last), last axes first.

    The axes inside are taken whole.
    """
    if 0 not in shape and math.prod(shape[:first]) * math.prod(shape[last:]) <= room:
        yield tuple(slice(0, size) for size in shape)
        return
    steps = [0] * len(shape)
    for axis in reversed(range(len(shape))):
        if first <= axis < last:
            steps[axis] = max(shape[axis], 1)
            continue
        steps[axis] = max(1, min(shape[axis], room))
        room //= steps[axis]
    ranges = [range(0, size, step) for size, step in zip(shape, steps, strict=True)]
    for starts in itertools.product(*ranges):
        yield tuple(slice(start, start + step) for start, step in zip(starts, steps, strict=True))


def _parts(shape: Sequence[int]) -> Iterator[Box]:
    """Where a long row is cut: as `_core` does where it lies along one axis, for the same bits."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if len(long) > 1:
        yield from _boxes(shape, 0, 0, PART)
        return
    size = shape[long[0]]
    for part in range(size // PART):
        end = (part + 1) * PART if part < size // PART - 1 else size
        yield tuple(
            slice(part * PART, end) if axis == long[0] else slice(None)
            for axis in range(len(shape))
        )


def _long_row_by_parts(
    operation: int,
    x: Array,
    y: Array,
    where: Array | None,
    tile: Array,
    absent: float,
    fill: float | None,
) -> None:
    """One row that is longer than the tile: each part to its carry, then each part finished."""
    whole = _carry.numbers(_carry.nothing(1))

    def gathered(box: Box) -> tuple[Array, int]:
        part = x[box]
        _gather(tile, part, None if where is None else where[box], absent, y.dtype)
        padded = max(part.size, LEAST_PART)
        tile[part.size : padded] = absent
        return tile[:padded], part.size

    for box in _parts(x.shape):
        _carry.reduce(operation, gathered(box)[0][np.newaxis], whole)
    if operation == LOGSUMEXP:
        result = np.empty((1, 1), tile.dtype)
        _carry.finish(operation, result, result, whole)
        np.copyto(y, result.reshape(y.shape), casting="unsafe")
        return
    for box in _parts(x.shape):
        part, size = gathered(box)
        _carry.finish(operation, part[np.newaxis], part[np.newaxis], whole)
        np.copyto(y[box], part[:size].reshape(y[box].shape), casting="unsafe")
        if where is not None and fill is not None:
            np.copyto(y[box], fill, where=~where[box])
