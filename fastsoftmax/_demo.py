"""What `fastsoftmax` prints without a file: softmax and log_softmax compared on real logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from typing import Any

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F
from fastsoftmax import _reference

Array = np.ndarray[Any, Any]

BATCH_ROWS = 100_000
ROUNDS = 12


def demonstrate() -> None:
    """Print values, sums, limits, time and error on the embedded logits."""
    logits, labels = embedded("digits_logits.npy"), embedded("digits_labels.npy")
    ranked = np.sort(logits, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    torn, usual = (int(row) for row in margin.argsort()[[0, len(margin) // 2]])
    sure = int((ranked[:, -1] - ranked[:, 0]).argmax())

    config = fastsoftmax.show_config()
    threads = _threads(config["num_threads"])
    print(f"fastsoftmax {config['version']}, {config['isa']} kernels, {threads}")
    print(f"The logits: what a logistic regression says of {len(logits)} images of digits, float64")
    show_side_by_side(logits, labels, (torn, usual, sure))
    show_identities(logits, labels)
    show_limits(logits.astype(np.float32), sure)
    show_time_and_error(logits)


def embedded(name: str) -> Array:
    """Load an array that ships with the package."""
    with resources.files("fastsoftmax").joinpath("data", name).open("rb") as file:
        array: Array = np.load(file, allow_pickle=False)
    return array


def show_side_by_side(logits: Array, labels: Array, rows: Sequence[int]) -> None:
    """Print the logits and both results of a few rows, a class a line."""
    probabilities = F.softmax(logits, dim=1)
    logs = F.log_softmax(logits, dim=1)
    titles = "".join(f"{f'image {row}, which shows a {labels[row]}':>29}" for row in rows)
    print("\n1. softmax and log_softmax side by side\n")
    print(f"      {titles}")
    print("  class" + f"{'logit':>9} {'softmax':>8} {'log_softmax':>11}" * len(rows))
    for column in range(logits.shape[1]):
        cells = (
            f"{logits[row, column]:9.2f} {probabilities[row, column]:8.2g}"
            f" {_short(logs[row, column]):>11}"
            for row in rows
        )
        print(f"  {column:5}{''.join(cells)}")
    print("    sum" + "".join(f"{probabilities[row].sum():18.6f}{'':12}" for row in rows).rstrip())


def show_identities(logits: Array, labels: Array) -> None:
    """Print what holds over all rows: the sums, the tie between the two, the classes found."""
    probabilities = F.softmax(logits, dim=1)
    off = np.abs(probabilities.sum(axis=1) - 1).max()
    apart = np.abs(np.exp(F.log_softmax(logits, dim=1)) / probabilities - 1).max()
    right = np.mean(probabilities.argmax(axis=1) == labels)
    print(f"\n2. Over all {len(logits)} rows\n")
    print(f"  the sum of softmax      is 1 to within {off:.1e}")
    print(f"  exp(log_softmax)        equals softmax to a relative {apart:.1e}")
    print(f"  the likeliest class     is the digit shown in {right:.0%} of the images")


def show_limits(logits: Array, row: int) -> None:
    """Print where float32 softmax becomes 0 or 1 and log_softmax still holds the answer."""
    probabilities = F.softmax(logits, dim=1)
    logs = F.log_softmax(logits, dim=1)
    with np.errstate(divide="ignore"):
        naive = np.log(probabilities)
    print(f"\n3. In float32: where softmax runs out and log_softmax does not (image {row})\n")
    print(f"  class{'logit':>9}{'softmax':>12}{'log(softmax)':>15}{'log_softmax':>15}")
    for column in np.argsort(-logits[row]):
        print(
            f"  {column:5}{logits[row, column]:9.2f}{probabilities[row, column]:12.3g}"
            f"{naive[row, column]:15.4f}{_short(logs[row, column]):>15}"
        )
    zeros = np.sum(probabilities == 0)
    ones = np.sum((probabilities == 1) & (logs < 0))
    print(
        f"\n  Of all {logits.size:,} probabilities {zeros:,} are 0, too small for float32: the loss"
        f" -log(softmax)\n  is infinite there. {ones:,} are rounded to 1: the loss is 0 there."
        " log_softmax keeps its\n  digits in both. For a probability take softmax; for a loss take"
        " log_softmax."
    )


def show_time_and_error(logits: Array) -> None:
    """Print time on a batch, and worst error on the logits, beside the NumPy expressions."""
    counts = sorted({1, fastsoftmax.get_num_threads()})
    heads = "".join(f"{_threads(count):>12}" for count in counts)
    print("\n4. Time and error beside the NumPy expression")
    print(
        f"   (time: best of {ROUNDS} calls in turns, the logits repeated to ({BATCH_ROWS:,}, 10);"
    )
    print(
        "   error: of the logits, in ULP; where NumPy's is huge, it gives 0: no digit is right)\n"
    )
    print(f"  {'':20}{' time ':-^{12 + len(heads)}}  {' worst error ':-^24}")
    print(f"  {'':20}{'NumPy':>12}{heads}  {'NumPy':>12}{'fastsoftmax':>12}")
    for dtype in ("float32", "float64"):
        narrow = logits.astype(dtype)
        batch = np.resize(narrow, (BATCH_ROWS, narrow.shape[1]))
        for name, plain in (("softmax", numpy_softmax), ("log_softmax", numpy_log_softmax)):
            ours = getattr(F, name)
            calls: list[Callable[[], object]] = [partial(plain, batch)]
            calls += [partial(_with_threads, count, ours, batch) for count in counts]
            times = "".join(f"{1e3 * seconds:9.2f} ms" for seconds in fastest(calls))
            truth = getattr(_reference, name)(narrow, 1)
            errors = "".join(
                f"{worst_ulp(result, truth):12.3g}" for result in (plain(narrow), ours(narrow, 1))
            )
            print(f"  {dtype:8}{name:12}{times}  {errors}")


def numpy_softmax(x: Array) -> Array:
    """The expression everybody writes."""
    exponentials: Array = np.exp(x - x.max(axis=1, keepdims=True))
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def numpy_log_softmax(x: Array) -> Array:
    """The expression everybody writes."""
    shifted: Array = x - x.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def worst_ulp(result: Array, truth: Array) -> float:
    """The largest error in units of the result's last place; NaN if `truth` is no wider."""
    if np.finfo(truth.dtype).nmant <= np.finfo(result.dtype).nmant:
        return float("nan")
    return float((np.abs(result - truth) / np.spacing(np.abs(truth).astype(result.dtype))).max())


def fastest(calls: Sequence[Callable[[], object]]) -> list[float]:
    """The best time of each call, taken in turns so that a busy machine slows all alike."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def _with_threads(count: int, operation: Callable[..., Array], batch: Array) -> None:
    with fastsoftmax.num_threads(count):
        operation(batch, 1)


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.2g}"


def _threads(count: int) -> str:
    return f"{count} thread" + "s" * (count != 1)
