"""pandas: class scores in columns of a frame, and scores to be shared out within groups.

python examples/pandas_frame.py         needs pandas
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import fastsoftmax.functional as F

CLASSES = ["cat", "dog", "horse"]


def class_scores() -> pd.DataFrame:
    """A classifier's scores, one row an image; the last one has no score for horses."""
    frame = pd.DataFrame(
        [[2.0, 1.0, 0.1], [0.5, 0.0, 3.0], [60.0, 0.0, -60.0], [1.0, 2.0, np.nan]],
        index=["a.png", "b.png", "c.png", "d.png"],
        columns=CLASSES,
    )
    frame["truth"] = ["cat", "horse", "cat", "dog"]
    return frame


def main() -> None:
    frame = class_scores()
    scores = frame[CLASSES].to_numpy()

    # A missing score takes no part in its row: probability 0, the others sum to 1.
    probabilities = F.softmax(scores, dim=1, where=~np.isnan(scores))
    frame = frame.join(pd.DataFrame(probabilities, frame.index, CLASSES).add_prefix("p_"))
    frame["label"] = frame[[f"p_{name}" for name in CLASSES]].idxmax(axis=1).str.removeprefix("p_")
    truth = pd.Categorical(frame["truth"], CLASSES).codes
    frame["loss"] = F.cross_entropy(np.nan_to_num(scores, nan=-np.inf), truth, reduction="none")
    print(frame.round(4))

    weights = np.exp(frame[CLASSES])  # pandas leaves missing values out of its sums
    expected = weights.div(weights.sum(axis=1), axis=0).fillna(0)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-14)
    assert frame["label"].to_list() == frame["truth"].to_list()
    # The loss of a sure row keeps its digits: log(1 + exp(-60) + exp(-120)), not 0.
    np.testing.assert_allclose(frame.loc["c.png", "loss"], np.exp(-60.0), rtol=1e-15)

    # One softmax for each group of rows: how attention, or a click, is shared out in each query.
    ranking = pd.DataFrame(
        {
            "query": ["red", "blue", "red", "red", "blue"],
            "score": [1.0, 5.0, 3.0, 2.0, 5.0],
        }
    )
    ranking["share"] = ranking.groupby("query")["score"].transform(
        lambda score: F.softmax(score.to_numpy(), dim=0)
    )
    print(f"\n{ranking.round(4)}")
    # weights 1 : e**2 : e for red, equal ones for blue
    red = np.exp([0, 2, 1]) / np.exp([0, 2, 1]).sum()
    np.testing.assert_allclose(ranking["share"], [red[0], 0.5, red[1], red[2], 0.5], rtol=1e-14)


if __name__ == "__main__":
    main()
