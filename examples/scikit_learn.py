"""scikit-learn: decision_function to probabilities, log_loss, calibration by a temperature.

python examples/scikit_learn.py         needs scikit-learn 1.8 or newer
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import fastsoftmax.functional as F


def main() -> None:
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    train, held_out, test = np.split(rng.permutation(len(x)), [300, 1000])
    model = LogisticRegression(C=100, max_iter=10000).fit(x[train], y[train])

    logits = model.decision_function(x[test])
    probabilities = F.softmax(logits, dim=1)
    expected = model.predict_proba(x[test])
    print(f"softmax(decision_function) - predict_proba: {abs(probabilities - expected).max():.1e}")
    np.testing.assert_allclose(probabilities, expected, rtol=1e-13)

    loss = F.cross_entropy(logits, y[test])
    print(f"cross_entropy {loss:.6f}, log_loss {log_loss(y[test], expected):.6f}")
    np.testing.assert_allclose(loss, log_loss(y[test], expected), rtol=1e-12)

    # The model is too sure of itself: it was fitted to 300 images almost without a penalty.
    # The temperature that the held-out images ask for makes up for it.
    held_out_logits = model.decision_function(x[held_out])

    def held_out_loss(temperature: float) -> float:
        return float(F.cross_entropy(held_out_logits / temperature, y[held_out]))

    temperature = minimize_scalar(held_out_loss, bounds=(0.1, 20), method="bounded").x
    calibrated = F.softmax(logits / temperature, dim=1)
    calibrated_loss = F.cross_entropy(logits / temperature, y[test])
    print(f"temperature {temperature:.3f}: cross_entropy {loss:.4f} -> {calibrated_loss:.4f}")
    assert temperature > 1
    assert calibrated_loss < 0.9 * loss
    np.testing.assert_array_equal(calibrated.argmax(axis=1), model.predict(x[test]))

    # scikit-learn's own way to the same
    peer = CalibratedClassifierCV(FrozenEstimator(model), method="temperature", ensemble=False)
    peer.fit(x[held_out], y[held_out])
    difference = abs(calibrated - peer.predict_proba(x[test])).max()
    print(f"difference from CalibratedClassifierCV(method='temperature'): {difference:.1e}")
    assert difference < 1e-4


if __name__ == "__main__":
    main()
