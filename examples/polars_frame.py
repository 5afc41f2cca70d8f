"""Polars: softmax as an expression, over columns, on an Array column, and within groups.

python examples/polars_frame.py         needs polars
"""

from __future__ import annotations

import numpy as np
import polars as pl

import fastsoftmax.functional as F

CLASSES = ["cat", "dog", "horse"]
SCORES = pl.Array(pl.Float32, len(CLASSES))


def softmax_rows(logits: pl.Series) -> pl.Series:
    """An Array column to one of probabilities.

    `to_numpy` copies nothing where the column is in one piece and has no nulls; a null row comes
    as NaN, and its probabilities are NaN.
    """
    return pl.Series(logits.name, F.softmax(logits.to_numpy(), dim=1), dtype=SCORES)


def main() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 4, (1000, len(CLASSES))).astype(np.float32)
    frame = pl.DataFrame(scores, schema=CLASSES)

    # Columns to one Array column, in a lazy query like any other expression.
    result = (
        frame.lazy()
        .with_columns(logits=pl.concat_arr(CLASSES))
        .with_columns(p=pl.col("logits").map_batches(softmax_rows, return_dtype=SCORES))
        .with_columns(
            label=pl.col("p").arr.arg_max().replace_strict(dict(enumerate(CLASSES))),
            sure=pl.col("p").arr.max(),
        )
        .collect()
    )
    print(result.select("logits", "p", "label", "sure").head(4))

    # The same in Polars' own expressions, in float64
    weights = [pl.col(name).cast(pl.Float64).exp() for name in CLASSES]
    expected = frame.select(w / pl.sum_horizontal(weights) for w in weights).to_numpy()
    np.testing.assert_allclose(result["p"].to_numpy(), expected, rtol=3 * np.finfo(np.float32).eps)
    assert result["label"].to_list() == [CLASSES[i] for i in scores.argmax(axis=1)]

    # One softmax for each group of rows.
    ranking = pl.DataFrame(
        {"query": ["red", "blue", "red", "red", "blue"], "score": [1.0, 5.0, 3.0, 2.0, 5.0]}
    )
    ranking = ranking.with_columns(
        share=pl.col("score")
        .map_batches(lambda s: pl.Series(F.softmax(s.to_numpy(), dim=0)), return_dtype=pl.Float64)
        .over("query")
    )
    print(ranking)
    # weights 1 : e**2 : e for red, equal ones for blue
    red = np.exp([0, 2, 1]) / np.exp([0, 2, 1]).sum()
    np.testing.assert_allclose(ranking["share"], [red[0], 0.5, red[1], red[2], 0.5], rtol=1e-14)


if __name__ == "__main__":
    main()
