"""ONNX Runtime: a scikit-learn classifier exported with raw scores, probabilities by fastsoftmax.

The exported graph can end in a softmax of its own. Ended at the raw scores instead, it leaves the
choice to the caller: probabilities, log-probabilities that keep their digits, a loss.

python examples/onnx_runtime.py         needs onnxruntime, scikit-learn, skl2onnx
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import fastsoftmax.functional as F


def session(
    model: LogisticRegression, x: np.ndarray, **options: bool
) -> onnxruntime.InferenceSession:
    """The model as a graph whose outputs are the labels and a plain array."""
    graph = to_onnx(model, x[:1], options={id(model): {"zipmap": False, **options}})
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def main() -> None:
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    model = LogisticRegression(max_iter=5000).fit(x[:1000], y[:1000])

    raw = session(model, x, raw_scores=True)
    labels, scores = raw.run(None, {"X": x})
    probabilities = F.softmax(scores, dim=1)
    expected = model.predict_proba(x.astype(np.float64))
    error = abs(probabilities - expected).max()
    print(
        f"raw scores: {scores.dtype} {scores.shape}, from {scores.min():.1f} to {scores.max():.1f}"
    )
    print(f"largest difference of the probabilities from predict_proba: {error:.1e}")
    # What is left of the difference is the rounding of the scores, float32 numbers of some tens.
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=5e-6)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))

    _, graph_probabilities = session(model, x).run(None, {"X": x})
    np.testing.assert_allclose(probabilities, graph_probabilities, rtol=0, atol=1e-6)

    # How unsure is it of the label it gives? The graph's own float32 probability has rounded that
    # to nothing wherever it is 1; the raw scores still know.
    best = np.arange(len(x)), labels
    doubt = -F.log_softmax(scores, dim=1)[best]
    lost = np.log(graph_probabilities[best]) == 0
    exact = -model.predict_log_proba(x.astype(np.float64))[best]
    print(f"rows whose probability the graph gives as 1: {lost.sum()} of {len(x)}")
    print(f"of which log_softmax tells from 1: {(doubt[lost] > 0).sum()}")
    assert lost.any()
    assert (doubt > 0).all()
    np.testing.assert_allclose(doubt, exact, rtol=1e-4)


if __name__ == "__main__":
    main()
