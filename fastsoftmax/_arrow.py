"""A column of lists in a Parquet or Arrow file, each list a row, to the same in another file.

Batches of some rows go through one after the other. Lists of one size are one array, without a
copy; lists of several sizes are brought together size by size. Only this module needs pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastsoftmax._arguments import LOGSUMEXP, NAMES, Array
from fastsoftmax._files import OPERATIONS
from fastsoftmax._output import CommandError, appearing, checked_target, explaining, progress

PARQUET = (".parquet", ".pq")
BATCH = 1 << 23  # bytes of a batch, as it is in memory
ROW_GROUP = 1 << 25  # bytes of a row group that is written
MOST_ROWS = 1 << 16  # of a batch


class Source(NamedTuple):
    """An open table: its schema, its number of rows if that is known, and its batches."""

    schema: Any
    rows: int | None
    batches: Iterator[Any]
    compression: str


def convert(
    source: Path,
    target: Path,
    column: str | None,
    op: str,
    dtype: str | None = None,
    *,
    force: bool = False,
    show_progress: bool = False,
) -> None:
    """Write the table of `source` with the operation's result in that column, whole or not."""
    target = checked_target(target, force)
    with _opened(source) as table:
        index, result = _resolve(source, table.schema, column, op, dtype)
        schema = table.schema.set(index, result)
        with (
            appearing(target) as file,
            _writer(file, schema, target, table.compression) as write,
            progress(table.rows, " rows", show_progress) as done,
        ):
            for batch in _explained(source, table.batches):
                with _explaining(f"{source}, column {result.name!r}"):
                    values = _apply(batch.column(index), op, dtype, result.type)
                columns = [*batch.columns]
                columns[index] = values
                write(pa.RecordBatch.from_arrays(columns, schema=schema))
                done(batch.num_rows)


def preview(source: Path, column: str | None, op: str, dtype: str | None, rows: int) -> None:
    """Print the type of the result and its first rows, computing only those."""
    with _opened(source) as table:
        index, result = _resolve(source, table.schema, column, op, dtype)
        print(f"{source}: column {result.name!r}, {table.schema.field(index).type}")
        print(f"{op} of each list: {result.type}")
        batch = next(_explained(source, table.batches), None)
        first = [] if batch is None else batch.column(index).slice(0, rows)
        of = "" if table.rows is None else f" of {table.rows:,}"
        print(f"the first {len(first)}{of} rows (-o FILE writes them all):")
        if batch is not None:
            for row in _apply(first, op, dtype, result.type).to_pylist():
                print(f"  {_short(row)}")


def _short(row: Any) -> str:
    if not isinstance(row, list):
        return "null" if row is None else f"{row:.6g}"
    shown = [_short(item) for item in row]
    if len(shown) > 6:
        shown[3:-3] = ["..."]
    return f"[{' '.join(shown)}]"


def _resolve(
    source: Path, schema: Any, column: str | None, op: str, dtype: str | None
) -> tuple[int, Any]:
    """The place of the column, and the field of the result."""
    lists = [field.name for field in schema if _is_list(field.type)]
    if column is None:
        if len(lists) != 1:
            names = ", ".join(map(repr, lists)) or "none"
            raise CommandError(
                f"{source} has {len(lists)} columns of lists ({names}): choose one with --column"
            )
        column = lists[0]
    places = schema.get_all_field_indices(column)
    if len(places) != 1:
        raise CommandError(
            f"{source} has {len(places)} columns {column!r}; its columns are "
            f"{', '.join(map(repr, schema.names))}"
        )
    field = schema.field(places[0])
    if not _is_list(field.type):
        raise CommandError(
            f"{source}, column {column!r} is of type {field.type}, not of lists of numbers"
        )
    sample = np.zeros((1, 1), field.type.value_type.to_pandas_dtype())
    value_type = pa.from_numpy_dtype(_rows(op, sample, dtype, None).dtype)
    if op == NAMES[LOGSUMEXP]:
        return places[0], field.with_type(value_type)
    item = field.type.value_field.with_type(value_type)
    if pa.types.is_fixed_size_list(field.type):
        return places[0], field.with_type(pa.list_(item, field.type.list_size))
    large = pa.types.is_large_list(field.type)
    return places[0], field.with_type(pa.large_list(item) if large else pa.list_(item))


def _is_list(type: Any) -> bool:
    types = pa.types
    if not (types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type)):
        return False
    return bool(types.is_integer(type.value_type) or types.is_floating(type.value_type))


def _apply(lists: Any, op: str, dtype: str | None, type: Any) -> Any:
    """The operation on each list of an array of lists, as an array of that type."""
    length = len(lists)
    if pa.types.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        first = lists.offset * size
        ends = np.arange(length + 1) * size
        values, present = _numbers(lists.values.slice(first, length * size))
    else:
        ends = lists.offsets.to_numpy()
        first = int(ends[0])
        values, present = _numbers(lists.values.slice(first, int(ends[-1]) - first))
        ends = ends - first
    sizes = np.diff(ends)
    null = lists.is_null() if lists.null_count else None
    reduces = op == NAMES[LOGSUMEXP]
    result = np.empty(length if reduces else len(values), _value_type(type).to_pandas_dtype())
    # Lists of one size are as rows of an array already.
    one_size = length > 0 and bool((sizes == sizes[0]).all())
    for size in sizes[:1] if one_size else np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        place = slice(None) if one_size else ends[chosen, None] + np.arange(size)
        shape = (len(chosen), int(size))
        where = None if present is None else present[place].reshape(shape)
        rows = _rows(op, values[place].reshape(shape), dtype, where)
        result[chosen if reduces else place] = rows if reduces or not one_size else rows.ravel()
    if reduces:
        return pa.array(result, type, mask=None if null is None else null.to_numpy(False))
    items = pa.array(result, type.value_type, mask=None if present is None else ~present)
    if pa.types.is_fixed_size_list(type) and type.list_size == 0:
        return pa.array(lists.to_pylist(), type)  # from_arrays divides by the size
    if pa.types.is_fixed_size_list(type):
        return pa.FixedSizeListArray.from_arrays(items, type=type, mask=null)
    array = pa.LargeListArray if pa.types.is_large_list(type) else pa.ListArray
    offsets = pa.array(ends, pa.int64() if array is pa.LargeListArray else pa.int32())
    return array.from_arrays(offsets, items, type=type, mask=null)


def _value_type(type: Any) -> Any:
    """The type of the numbers in a column of results."""
    return type.value_type if pa.types.is_nested(type) else type


def _numbers(values: Any) -> tuple[Array, Array | None]:
    """The numbers of an array, and where it is not null; at a null is a number of no meaning."""
    present = None
    if values.null_count:
        present = values.is_valid().to_numpy(zero_copy_only=False)
        values = pa.Array.from_buffers(
            values.type, len(values), [None, values.buffers()[1]], offset=values.offset
        )
    return values.to_numpy(), present


def _rows(op: str, rows: Array, dtype: str | None, where: Array | None) -> Array:
    if dtype is not None:
        with np.errstate(all="ignore"):
            rows = rows.astype(dtype)
    return OPERATIONS[op](rows, 1, where=where)


# Files


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    with explaining(what):
        try:
            yield
        except pa.ArrowException as error:  # not all of them are an OSError or a ValueError
            raise ValueError(str(error)) from error


def _explained(source: Path, batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        with _explaining(f"cannot read {source}"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _opened(source: Path) -> Iterator[Source]:
    with _explaining(f"cannot read {source}"):
        source.open("rb").close()  # which says in plain words if it cannot be
        if source.suffix.lower() in PARQUET:
            file = pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
            with_file = _parquet(file)
        else:
            file = pa.memory_map(str(source))
            with_file = _ipc(file)
    try:
        yield with_file
    finally:
        file.close()


def _parquet(file: Any) -> Source:
    metadata, schema = file.metadata, file.schema_arrow
    rows, compression = metadata.num_rows, "snappy"
    most = 1.0  # bytes of a row in memory
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        columns = [group.column(j) for j in range(group.num_columns)]
        values = sum(8 * column.num_values for column in columns)
        most = max(most, max(values, group.total_byte_size) / max(1, group.num_rows))
        compression = columns[0].compression.lower() if columns else compression
    batch = max(1, min(MOST_ROWS, int(BATCH / most)))
    compression = "none" if compression == "uncompressed" else compression
    return Source(schema, rows, file.iter_batches(batch), compression)


def _ipc(file: Any) -> Source:
    """The file format, with the number of rows, or the stream format."""
    try:
        reader = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        return Source(stream.schema, None, _cut(stream), "")
    groups = (reader.get_batch(i) for i in range(reader.num_record_batches))
    return Source(reader.schema, None, _cut(groups), "")


def _cut(batches: Iterator[Any]) -> Iterator[Any]:
    """Slices of batches that are no larger than a batch of ours; they share the memory."""
    for batch in batches:
        rows = max(1, min(MOST_ROWS, BATCH * batch.num_rows // max(1, batch.nbytes)))
        for first in range(0, batch.num_rows, rows):
            yield batch.slice(first, rows)


@contextmanager
def _writer(file: BinaryIO, schema: Any, target: Path, compression: str) -> Iterator[Any]:
    """What to call with each batch."""
    if target.suffix.lower() not in PARQUET:
        with pa.ipc.new_file(file, schema) as writer:
            yield writer.write_batch
        return
    waiting: list[Any] = []
    with pq.ParquetWriter(file, schema, compression=compression or "snappy") as writer:

        def flush() -> None:
            # write_batch would make a row group of each batch
            writer.write_table(pa.Table.from_batches(waiting, schema))
            waiting.clear()

        def write(batch: Any) -> None:
            waiting.append(batch)
            if sum(one.nbytes for one in waiting) >= ROW_GROUP:
                flush()

        yield write
        if waiting:
            flush()
