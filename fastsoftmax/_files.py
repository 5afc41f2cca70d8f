"""From one .npy file to another in bounded memory, along any dimensions.

Everything here is in the order of the file: the axes of an array stored in Fortran order are
reversed on the way in and on the way out. Files are read and written in pieces rather than mapped:
that is as fast, a disk that fails is an exception rather than a signal, and memory stays bounded
where mapped pages count, too.

Rows that fit a piece are finished in one reading. Others (a long row, or columns of many rows,
whose elements lie far apart) are read twice: once for the carries of their parts, once to finish.
"""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

import fastsoftmax.functional as F
from fastsoftmax import _carries, _carry, get_num_threads, num_threads
from fastsoftmax._arguments import LOGSUMEXP, NAMES, Array
from fastsoftmax._output import CommandError, appearing, checked_target, explaining, progress

Box = tuple[slice, ...]
# From a box, its elements and memory for a result to the box of the result and the result.
Work = Callable[[Box, Array, Array], tuple[Box, Array] | None]

OPERATIONS: dict[str, Callable[..., Array]] = {name: getattr(F, name) for name in NAMES}

PIECE = 1 << 20  # bytes read at a time, which stay in a cache until they are written
BLOCK = 1 << 22  # bytes of a piece of rows that are read twice, for a team
AHEAD = 4  # pieces that are read before they are needed, and results that wait to be written
WAITING = 1 << 23  # bytes of these pieces
ROW = 1 << 25  # bytes: a longer row is read twice
RUN = 1 << 14  # bytes: a row whose elements are in shorter runs is read twice
KEPT = 1 << 12  # rows read together: few enough that a part has many elements of each
PART = 1 << 18  # elements that one thread takes of such a piece
ALIASED = 512  # bytes: rows this far apart, or a multiple, fight for one cache set


class Stored(NamedTuple):
    """Where a file holds an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def box_bytes(self, box: Box) -> int:
        """The size of a box of the array."""
        return math.prod(_sizes(box)) * self.dtype.itemsize

    def runs(self, box: Box) -> tuple[int, Iterator[int]]:
        """How many bytes of the box are adjacent in the file, and where each such run begins."""
        sizes = _sizes(box)
        steps = [math.prod(self.shape[axis + 1 :]) for axis in range(len(box))]
        lead = len(box)
        while lead and sizes[lead - 1] == self.shape[lead - 1]:
            lead -= 1
        lead = max(lead - 1, 0)
        first = sum(s.start * step for s, step in zip(box, steps, strict=True))
        places = (
            self.offset
            + self.dtype.itemsize
            * (first + sum(i * step for i, step in zip(index, steps[:lead], strict=True)))
            for index in np.ndindex(*sizes[:lead])
        )
        return math.prod(sizes[lead:]) * self.dtype.itemsize, places

    def read(self, file: BinaryIO, box: Box, memory: Array) -> Array:
        """The elements of a box, in `memory`."""
        memory = memory[: self.box_bytes(box)]
        run, places = self.runs(box)
        view = memory.data
        for i, place in enumerate(places):
            file.seek(place)
            rest = view[i * run : (i + 1) * run]
            while len(rest):
                count = file.readinto(rest)  # type: ignore[attr-defined]
                if not count:
                    raise OSError(f"it ends after {file.tell()} bytes, before the array does")
                rest = rest[count:]
        return _view(memory, self.dtype, box)

    def write(self, file: BinaryIO, box: Box, values: Array) -> None:
        """Put the elements of a box in their places."""
        run, places = self.runs(box)
        view = values.reshape(-1).view(np.uint8).data
        for i, place in enumerate(places):
            file.seek(place)
            file.write(view[i * run : (i + 1) * run])


def convert(
    source: Path,
    target: Path,
    op: str,
    dims: tuple[int, ...],
    dtype: str | None = None,
    *,
    force: bool = False,
    show_progress: bool = False,
) -> None:
    """Write the operation's result on `source` to `target`, whole or not at all."""
    target = checked_target(target, force)
    mapped = map_input(source)
    dims, shape, result_dtype = resolve(source, mapped, op, dims, dtype)
    fortran = mapped.flags.fnc
    stored = Stored(mapped.shape, mapped.dtype, mapped.offset)  # type: ignore[attr-defined]
    del mapped  # Windows replaces no file that is mapped
    if fortran:
        stored = stored._replace(shape=stored.shape[::-1])
        dims = tuple(len(stored.shape) - 1 - dim for dim in dims)
    with appearing(target) as output:
        header = {
            "descr": np.lib.format.dtype_to_descr(result_dtype),
            "fortran_order": fortran and len(shape) > 1,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(output, header)
        result = Stored(shape[::-1] if fortran else shape, result_dtype, output.tell())
        _reserve(output, result.offset + math.prod(shape) * result_dtype.itemsize)
        with explaining(f"cannot read {source}"):
            file = source.open("rb", buffering=0)
        with file:
            work = _Conversion((source, file, stored), (output, result), op, dims, dtype)
            with progress(work.total(), "B", show_progress) as work.done:
                work.run()


class _Conversion:
    """The work of `convert` once both files are open."""

    def __init__(
        self,
        source: tuple[Path, BinaryIO, Stored],
        result: tuple[BinaryIO, Stored],
        op: str,
        dims: tuple[int, ...],
        dtype: str | None,
    ) -> None:
        self.source, self.file, self.stored = source
        self.output, self.result = result
        self.op, self.dims, self.dtype = op, dims, dtype
        self.reduces = op == NAMES[LOGSUMEXP]
        self.done: Callable[[int], object] = lambda amount: None
        self.twice = self._reads_twice()

    def total(self) -> int:
        """Bytes to be read."""
        size = math.prod(self.stored.shape) * self.stored.dtype.itemsize
        return 2 * size if self.twice and not self.reduces else size

    def run(self) -> None:
        """Do it all; `done` is told of the bytes that were read and are dealt with."""
        with (
            ThreadPoolExecutor(1) as self.reader,
            ThreadPoolExecutor(1) as self.writer,
            ThreadPoolExecutor(get_num_threads()) as self.team,
        ):
            if self.twice:
                self._run_twice()
            else:
                # A piece is computed faster than a disk reads it; a team would have to wait.
                with num_threads(1):
                    self._each(pieces(self.stored.shape, self.dims, self._budget()), self._apply)

    def _reads_twice(self) -> bool:
        if self.result.dtype.char not in "efd":
            return False  # there are no carries of other types: a row of them is read as one
        most = self._elements(ROW)
        box = next(pieces(self.stored.shape, self.dims, most))
        short = self.stored.runs(box)[0] < min(self.stored.box_bytes(box), RUN)
        return short or math.prod(_sizes(box)) > most

    def _elements(self, size: int) -> int:
        """How many elements have that size, in the input and in the result."""
        return max(1, size // max(self.stored.dtype.itemsize, self.result.dtype.itemsize))

    def _budget(self) -> int:
        """Elements of a piece: more of them where a small piece would be read in short runs."""
        small = self._elements(PIECE)
        box = next(pieces(self.stored.shape, self.dims, small))
        scattered = self.stored.runs(box)[0] < min(self.stored.box_bytes(box), 4 * RUN)
        return self._elements(ROW) if scattered else small

    def _each(
        self,
        boxes: Iterator[Box],
        function: Work,
    ) -> None:
        """Give `function` each box, its elements and memory for a result; write what it returns.

        Meanwhile the next boxes are read and the last results written.
        """
        first = next(boxes, None)
        if first is None:
            return
        # The first box is the largest.
        kept = without(first, self.dims) if self.reduces else first
        room = math.prod(_sizes(kept)) * self.result.dtype.itemsize
        size = self.stored.box_bytes(first)
        ahead = max(1, min(AHEAD, WAITING // max(size, room, 1)))
        inputs = cycle([_memory(size) for _ in range(ahead + 1)])
        outputs = cycle([_memory(room) for _ in range(ahead + 1)])
        boxes = chain([first], boxes)
        reading = deque((box, self._read(box, next(inputs))) for box in islice(boxes, ahead))
        writing: deque[Future[None]] = deque()
        while reading:
            box, future = reading.popleft()
            with explaining(f"cannot read {self.source}"):
                x = future.result()
            reading.extend((box, self._read(box, next(inputs))) for box in islice(boxes, 1))
            if len(writing) == ahead:
                writing.popleft().result()
            result = function(box, x, next(outputs))
            if result is not None:
                writing.append(self.writer.submit(self.result.write, self.output, *result))
            self.done(x.nbytes)
        for one in writing:
            one.result()

    def _read(self, box: Box, memory: Array) -> Future[Array]:
        return self.reader.submit(self.stored.read, self.file, box, memory)

    def _apply(self, box: Box, x: Array, memory: Array) -> tuple[Box, Array]:
        if self.reduces:
            box = without(box, self.dims)
        y = _view(memory, self.result.dtype, box)
        apply(self.op, x, self.dims, self.dtype, out=y)
        return box, y

    def _run_twice(self) -> None:
        for band in _bands(self.stored.shape, self.dims):
            rows = _Rows(self.op, self.dims, self.result.dtype, band, self.team)
            budget = self._elements(BLOCK)
            self._each(_inside(band, budget), rows.reduce)
            if self.reduces:
                values = rows.logsumexp()
                self.result.write(self.output, without(band, self.dims), values)
            else:
                self._each(_inside(band, budget), rows.finish)


class _Rows:
    """Rows that are read twice, a box of the array at a time: their carries, then their results."""

    def __init__(
        self,
        op: str,
        dims: tuple[int, ...],
        dtype: np.dtype[Any],
        band: Box,
        team: ThreadPoolExecutor,
    ) -> None:
        self.dims, self.dtype = dims, dtype
        self.options: dict[str, Any] = {
            "operation": NAMES.index(op),
            "dims": dims,
            "target": dtype,
        }
        self.band, self.team = band, team
        kept = [1 if axis in dims else size for axis, size in enumerate(_sizes(band))]
        self.carries = _carry.nothing(tuple(kept))

    def reduce(self, box: Box, x: Array, memory: Array) -> None:
        """Merge the carries of a box into those of its rows."""
        parts = list(pieces(x.shape, (), PART))
        carries = self.team.map(lambda part: self._reduced(x[part]), parts)
        for part, carry in zip(parts, carries, strict=True):
            place = self._rows_of(box, part)
            both = np.concatenate([self.carries[place], carry], axis=self.dims[0])
            self.carries[place] = _carries.merged(both, self.dims, _carries.work_of(self.dtype))

    def finish(self, box: Box, x: Array, memory: Array) -> tuple[Box, Array]:
        """The results of a box, once all boxes are reduced."""
        y = _view(memory, self.dtype, box)

        def finish(part: Box) -> None:
            carries = self.carries[self._rows_of(box, part)]
            y[part] = _carries.finished(self._spread(x[part]), carries, **self.options)

        list(self.team.map(finish, pieces(x.shape, (), PART)))
        return box, y

    def logsumexp(self) -> Array:
        """The results of whole rows."""
        return _carries.logsumexp(self.carries, self.dtype)

    def _reduced(self, x: Array) -> Array:
        return _carries.reduced(self._spread(x), **self.options)

    def _spread(self, x: Array) -> Array:
        """The same, apart enough in memory that columns of it are gathered quickly."""
        width = x.shape[-1]
        if x.ndim - 1 in self.dims or width * x.itemsize % ALIASED:
            return x
        spread = np.empty((*x.shape[:-1], width + 64 // x.itemsize), x.dtype)[..., :width]
        np.copyto(spread, x)
        return spread

    def _rows_of(self, box: Box, part: Box) -> Box:
        """Where `carries` has the rows of a part of a box."""
        return tuple(
            slice(0, 1)
            if axis in self.dims
            else slice(b.start + p.start - whole.start, b.start + p.stop - whole.start)
            for axis, (whole, b, p) in enumerate(zip(self.band, box, part, strict=True))
        )


def _bands(shape: tuple[int, ...], dims: tuple[int, ...]) -> Iterator[Box]:
    """Boxes of whole rows, no more of them than have their carries in memory together."""
    first = min(dims)
    kept = tuple(1 if axis in dims else size for axis, size in enumerate(shape))
    for index in np.ndindex(*shape[:first]):
        for box in pieces(kept[first:], (), KEPT):
            outer = [slice(i, i + 1) for i in index]
            inner = [
                slice(0, shape[axis]) if axis in dims else s for axis, s in enumerate(box, first)
            ]
            yield (*outer, *inner)


def _inside(whole: Box, budget: int) -> Iterator[Box]:
    """Cut a box into boxes of at most `budget` elements."""
    for box in pieces(_sizes(whole), (), budget):
        yield tuple(
            slice(w.start + b.start, w.start + b.stop) for w, b in zip(whole, box, strict=True)
        )


def pieces(shape: Sequence[int], dims: Sequence[int], budget: int) -> Iterator[Box]:
    """Cut an array into boxes of about `budget` elements that are whole along `dims`.

    The first axes are cut first, so that a box is as contiguous as it can be. A row longer than the
    budget is a box of its own.
    """
    box = [slice(0, length) for length in shape]
    axes = [axis for axis in range(len(shape)) if axis not in dims]

    def cut(depth: int, size: int) -> Iterator[Box]:
        if depth == len(axes) or size <= budget:
            yield tuple(box)
            return
        axis = axes[depth]
        length = shape[axis]
        slab = size // length
        step = max(1, budget // slab)
        for start in range(0, length, step):
            box[axis] = slice(start, min(start + step, length))
            yield from cut(depth + 1, slab * step)
        box[axis] = slice(0, length)

    return cut(0, math.prod(shape))


# Parts of NumPy's sentences, and what they mean to who gave the file.
_REASONS = {
    "Python objects": "it holds Python objects, which can run code: save an array of numbers",
    "mmap length is greater": "it ends before its array does: it was cut, or is not yet written",
}


def map_input(source: Path) -> Array:
    """The array of a .npy file, mapped."""
    with explaining(f"cannot read {source}"):
        with source.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise CommandError(f"{source} is not a .npy file; numpy.save writes one")
        try:
            with np.errstate(all="ignore"):  # sizes in a header may overflow
                array: Array = np.load(source, mmap_mode="r", allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # whatever a broken header makes of NumPy's reader
            reason = " ".join(str(error).split()) or type(error).__name__
            for numpys, ours in _REASONS.items():
                if numpys in reason:
                    reason = ours
            raise CommandError(f"cannot read {source}: {reason:.400}") from error
    return array


def resolve(
    source: Path, logits: Array, op: str, dims: tuple[int, ...], dtype: str | None
) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Let the operation judge the dims and the dtype on no data; return dims, shape and dtype."""
    if logits.dtype == np.dtype("V2"):
        raise CommandError(
            f"{source} has elements of two bytes and no type, as bfloat16 has in a .npy file: "
            "save it as float32"
        )
    try:
        sample = np.zeros([min(1, length) for length in logits.shape], logits.dtype)
        result_dtype = apply(op, sample, dims, dtype).dtype
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise CommandError(f"{source} ({logits.dtype} {logits.shape}): {error}") from error
    dims = tuple(dim % max(logits.ndim, 1) for dim in dims)
    shape = logits.shape
    if op == NAMES[LOGSUMEXP]:
        shape = without(shape, dims)
    return dims, shape, result_dtype


def apply(
    op: str, logits: Array, dims: tuple[int, ...], dtype: str | None, out: Array | None = None
) -> Array:
    """The operation, with a cast before it where one is wanted."""
    dim = dims[0] if len(dims) == 1 else dims
    if op != NAMES[LOGSUMEXP]:
        return OPERATIONS[op](logits, dim, dtype=dtype, out=out)
    if dtype is not None:
        with np.errstate(all="ignore"):
            logits = logits.astype(dtype)
    return OPERATIONS[op](logits, dim, out=out)


def without(items: tuple[Any, ...], dims: tuple[int, ...]) -> tuple[Any, ...]:
    """What remains of shapes and boxes where `dims` are reduced."""
    return tuple(item for axis, item in enumerate(items) if axis not in dims)


def _sizes(box: Box) -> list[int]:
    return [s.stop - s.start for s in box]


def _memory(size: int) -> Array:
    return np.empty(size, np.uint8)


def _view(memory: Array, dtype: np.dtype[Any], box: Box) -> Array:
    sizes = _sizes(box)
    return memory[: math.prod(sizes) * dtype.itemsize].view(dtype).reshape(sizes)


def _reserve(file: BinaryIO, size: int) -> None:
    """Claim the file's blocks now: that the disk is too full is then not found out at the end."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
