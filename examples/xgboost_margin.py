"""XGBoost: raw margins to probabilities and to the loss that it reports while it trains.

python examples/xgboost_margin.py       needs xgboost (or xgboost-cpu), scikit-learn
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from xgboost import XGBClassifier

import fastsoftmax.functional as F


def main() -> None:
    x, y = load_digits(return_X_y=True)
    model = XGBClassifier(n_estimators=20, max_depth=4, eval_metric="mlogloss", n_jobs=1)
    model.fit(x[:1000], y[:1000], eval_set=[(x[1000:], y[1000:])], verbose=False)

    margins = model.predict(x[1000:], output_margin=True)
    probabilities = F.softmax(margins, dim=1)
    expected = model.predict_proba(x[1000:])
    print(f"margins: {margins.dtype} {margins.shape}")
    print(f"softmax(margins) - predict_proba: {abs(probabilities - expected).max():.1e}")
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)

    loss = F.cross_entropy(margins, y[1000:])
    reported = model.evals_result()["validation_0"]["mlogloss"][-1]
    print(f"cross_entropy {loss:.6f}, mlogloss of the last round {reported:.6f}")
    np.testing.assert_allclose(loss, reported, rtol=1e-5)


if __name__ == "__main__":
    main()
