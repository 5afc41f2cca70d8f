"""Arrow: a column of fixed-size lists to NumPy and back without a copy, sliced and with nulls.

python examples/arrow_table.py          needs pyarrow
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import fastsoftmax.functional as F


def to_numpy(column: pa.FixedSizeListArray) -> np.ndarray:
    """(rows, width) over the column's own memory.

    `values` holds the whole buffer, null rows too; the offset says where a slice of it starts.
    Only where numbers are null does `to_numpy` copy, with NaN in their place.
    """
    width = column.type.list_size
    rows = column.values.to_numpy(zero_copy_only=False).reshape(-1, width)
    return rows[column.offset : column.offset + len(column)]


def from_numpy(rows: np.ndarray, mask: pa.BooleanArray | None = None) -> pa.FixedSizeListArray:
    """Back over the array's memory; where `mask` is true the row is null."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1], mask=mask)


def main() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (100_000, 10)).astype(np.float32)
    table = pa.table({"id": np.arange(len(logits)), "logits": from_numpy(logits)})

    # A column of a table is in chunks; a batch has it in one piece.
    batches = []
    for batch in table.to_batches(max_chunksize=30_000):
        rows = to_numpy(batch["logits"])
        assert np.shares_memory(rows, logits), "Arrow's memory is that of the first array"
        probabilities = F.softmax(rows, dim=1)
        column = from_numpy(probabilities)
        assert np.shares_memory(to_numpy(column), probabilities)
        batches.append(batch.append_column("p", column))
    result = pa.Table.from_batches(batches)
    print(f"{result.num_rows} rows in {len(batches)} batches")
    print(result.schema)

    weights = np.exp(logits.astype(np.float64))
    expected = weights / weights.sum(axis=1, keepdims=True)
    got = result["p"].combine_chunks()
    np.testing.assert_allclose(to_numpy(got), expected, rtol=3 * np.finfo(np.float32).eps)
    assert result["id"].to_pylist() == list(range(len(logits)))

    # A null row comes as NaN and is NaN after the softmax; the mask makes it null again.
    column = pa.array([[1, 2, 3], None, [4, 4, 4]], pa.list_(pa.float64(), 3))
    answer = from_numpy(F.softmax(to_numpy(column), dim=1), mask=column.is_null())
    print(answer.to_pylist())
    assert answer.null_count == 1
    assert answer[1].as_py() is None
    np.testing.assert_allclose(answer[0].as_py(), np.exp([-2, -1, 0]) / np.exp([-2, -1, 0]).sum())
    np.testing.assert_allclose(answer[2].as_py(), [1 / 3] * 3, rtol=1e-15)


if __name__ == "__main__":
    main()
