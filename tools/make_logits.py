"""Make the logits that ship with the package, and the probabilities its tests compare them with.

A multinomial logistic regression is trained on scikit-learn's digits (8 x 8 grey images, ten
classes) and applied to 300 images that it has not seen. It is hardly regularised, so it is as sure
of itself as an over-trained network: its logits lie up to 250 apart, more than float32 or float16
can turn into probabilities.

    python tools/make_logits.py

writes, whole and in this order, to the tree it stands in:

    fastsoftmax/data/digits_logits.npy      (300, 10) float64, decision_function of the 300 images
    fastsoftmax/data/digits_labels.npy      (300,) int8, the digits they show
    tests/data/digits_predict_proba.npy     (300, 10) float64, predict_proba of the same images

The committed files were made with Python 3.11.7, NumPy 2.4.6, SciPy 1.17.1, scikit-learn 1.9.1.
Another version, or another BLAS, stops at slightly different weights: make all three together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded logits (see the file's head).")
    parser.add_argument("--root", type=Path, default=ROOT, help="tree to write to (this one)")
    root = parser.parse_args().root

    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits, test_size=300, stratify=digits, random_state=0
    )
    model = LogisticRegression(C=1e4, tol=1e-6, max_iter=10_000).fit(train_x, train_y)
    logits = model.decision_function(test_x)

    for name, array in (
        ("fastsoftmax/data/digits_logits.npy", logits),
        ("fastsoftmax/data/digits_labels.npy", test_y.astype(np.int8)),
        ("tests/data/digits_predict_proba.npy", model.predict_proba(test_x)),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ascontiguousarray(array))
        print(f"{name}: {array.shape}, {path.stat().st_size:,} bytes")
    print(f"right on {model.score(test_x, test_y):.1%} of the 300 images")


if __name__ == "__main__":
    main()
