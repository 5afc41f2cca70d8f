"""DuckDB: softmax as a function of SQL, on array columns; and on plain columns through NumPy.

python examples/duckdb_softmax.py       needs duckdb, pyarrow
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

import fastsoftmax.functional as F


def softmax_rows(logits: pa.ChunkedArray) -> pa.Array:
    """What DuckDB calls with a few thousand rows at a time."""
    column = logits.combine_chunks()
    rows = column.flatten().to_numpy().reshape(len(column), -1)
    return pa.FixedSizeListArray.from_arrays(F.softmax(rows, dim=1).reshape(-1), rows.shape[1])


def main() -> None:
    db = duckdb.connect()
    db.execute("""
        create table scores as
        select i as id, i % 3 as truth,
               [sin(i), cos(i), 5 * sin(i * 0.37)]::float[3] as logits
        from range(10000) t(i)
    """)

    db.create_function("softmax", softmax_rows, ["float[3]"], "float[3]", type="arrow")
    db.execute("create table answers as select id, logits, softmax(logits) as p from scores")
    print(db.sql("select id, p, list_position(p, list_max(p)) - 1 as label from answers limit 3"))

    # The same in SQL, in double precision
    worst, rows = db.execute("""
        select max(abs(p[c] - exp(logits[c]::double) / total) / p[c]), count(*)
        from (select *, list_sum(list_transform(logits::double[], lambda x: exp(x))) as total
              from answers), range(1, 4) classes(c)
    """).fetchone()
    print(f"largest relative difference from SQL's own arithmetic: {worst:.1e} of {rows} numbers")
    assert rows == 30000
    assert worst <= 3 * np.finfo(np.float32).eps

    # Columns as NumPy arrays: a loss over the whole table, without a row of Python objects
    query = "select logits[1] a, logits[2] b, logits[3] c, truth from scores"
    columns = db.execute(query).fetchnumpy()
    logits = np.stack([columns[name] for name in "abc"], axis=1)
    loss = F.cross_entropy(logits, columns["truth"])
    query = "select avg(-ln(p[truth + 1])) from answers join scores using (id)"
    (expected,) = db.execute(query).fetchone()
    print(f"cross entropy {loss:.6f}, in SQL {expected:.6f}")
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


if __name__ == "__main__":
    main()
