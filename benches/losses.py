"""The losses and the gradients beside PyTorch and NumPy's expression, interleaved, one thread.

    python benches/losses.py [--rounds N] [--threads N]

Microseconds (the least of the rounds), how many times as long each peer takes, and the largest
error of the losses of single rows, or of the gradient, in ULP. Exits with 1 where issue 5's ratios
are not met, or PyTorch is quicker at few classes. PyTorch's gradient is its backward pass alone, as
autograd runs it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import environment
import fastsoftmax
import fastsoftmax.functional as F

try:
    import torch
except ImportError:
    torch = None

SHAPES = ((4096, 1000), (32, 128256), (4096, 50, 16))
FEW_CLASSES = ((100000, 10), (16, 21, 64, 64))  # cross_entropy alone, no slower than PyTorch
EXACT_ROWS = 64  # of which errors are taken
Array = np.ndarray[Any, Any]


@dataclass
class Row:
    """One line of the table: what is timed, by whom, and what the issue asks of it."""

    name: str
    calls: dict[str, Callable[[], float]]
    errors: dict[str, float]
    wanted: dict[str, float]
    least: dict[str, float] = field(default_factory=dict)


def seconds(call: Callable[[], Any]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return timed


def exact_losses(x: Array, t: Array) -> Array:
    wide = x.astype(np.longdouble)
    top = wide.max(1, keepdims=True)
    here = np.take_along_axis(wide, t[:, None], 1)
    others = np.exp(wide - top)
    np.put_along_axis(others, wide.argmax(1)[:, None], 0, 1)
    return np.asarray(((top - here) + np.log1p(others.sum(1, keepdims=True)))[:, 0])


def exact_gradient(x: Array, t: Array) -> Array:
    wide = x.astype(np.longdouble)
    p = np.exp(wide - wide.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.put_along_axis(p, t[:, None], np.expm1(-exact_losses(x, t))[:, None], 1)
    return p


def worst(values: Any, exact: Array) -> float:
    """ULP of float32 at the exact value."""
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.longdouble)
    return float(np.max(np.abs(np.asarray(values, np.longdouble) - exact) / unit))


def numpy_loss(x: Array, t: Array) -> Any:
    top = x.max(1, keepdims=True)
    lse = np.log(np.exp(x - top).sum(1, keepdims=True)) + top
    return (lse - np.take_along_axis(x, t[:, None], 1))[:, 0]


def loss_row(x: Array, t: Array) -> Row:
    few, classes = x[:EXACT_ROWS], t[:EXACT_ROWS]
    exact = exact_losses(few, classes)
    row = Row(
        f"cross_entropy {x.shape}",
        {
            "fastsoftmax": seconds(lambda: F.cross_entropy(x, t)),
            "numpy": seconds(lambda: numpy_loss(x, t).mean()),
        },
        {
            "fastsoftmax": worst(F.cross_entropy(few, classes, reduction="none"), exact),
            "numpy": worst(numpy_loss(few, classes), exact),
        },
        {"torch": 3.0, "numpy": 8.0 if x.ndim == 2 else 0.0},
    )
    if torch:
        a, b = torch.from_numpy(x), torch.from_numpy(t)
        function = torch.nn.functional.cross_entropy
        row.calls["torch"] = seconds(lambda: function(a, b))
        row.errors["torch"] = worst(
            function(a[:EXACT_ROWS], b[:EXACT_ROWS], reduction="none").numpy(), exact
        )
    return row


def gradient_row(x: Array, t: Array) -> Row:
    few, classes = x[:EXACT_ROWS], t[:EXACT_ROWS]
    exact = exact_gradient(few, classes)
    out = np.empty_like(x)
    ours = F.cross_entropy_backward(1.0, few, classes, reduction="sum")
    row = Row(
        f"cross_entropy_backward {x.shape}",
        {"fastsoftmax": seconds(lambda: F.cross_entropy_backward(1.0, x, t, out=out))},
        {"fastsoftmax": worst(ours, exact)},
        {"torch": 1.5},
    )
    if torch:
        a, b = torch.from_numpy(x).requires_grad_(), torch.from_numpy(t)
        function = torch.nn.functional.cross_entropy

        def backward() -> float:
            a.grad = None
            loss = function(a, b)
            return seconds(loss.backward)()

        row.calls["torch"] = backward
        c = torch.from_numpy(few.copy()).requires_grad_()
        function(c, b[:EXACT_ROWS], reduction="sum").backward()
        row.errors["torch"] = worst(c.grad.numpy(), exact)
    return row


def backward_row(name: str, x: Array) -> Row:
    """softmax_backward or log_softmax_backward over the last dimension."""
    output = F.softmax(x, 1) if name == "softmax" else F.log_softmax(x, 1)
    g = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    ours = F.softmax_backward if name == "softmax" else F.log_softmax_backward
    out = np.empty_like(x)
    row = Row(
        f"{name}_backward {x.shape}",
        {"fastsoftmax": seconds(lambda: ours(g, output, 1, out=out))},
        {},
        {"torch": 1.5},
    )
    if torch:
        theirs = getattr(torch.ops.aten, f"_{name}_backward_data")
        a, b = torch.from_numpy(g), torch.from_numpy(output)
        row.calls["torch"] = seconds(lambda: theirs(a, b, 1, torch.float32))
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="(25)")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of PyTorch (1)")
    args = parser.parse_args(argv)
    fastsoftmax.set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    rows = []
    for shape in SHAPES:
        x = (3 * rng.normal(size=shape)).astype(np.float32)
        t = rng.integers(0, shape[1], shape[:1] + shape[2:])
        rows += [loss_row(x, t), gradient_row(x, t)]
        if len(shape) == 2:
            rows += [backward_row("softmax", x), backward_row("log_softmax", x)]
    for shape in FEW_CLASSES:
        x = (3 * rng.normal(size=shape)).astype(np.float32)
        t = rng.integers(0, shape[1], shape[:1] + shape[2:])
        for row in (loss_row(x, t), gradient_row(x, t)):
            row.wanted = {"torch": 1.0}
            rows.append(row)
    if torch:
        torch.set_num_threads(args.threads)
    print(environment.describe(), "PyTorch", torch.__version__ if torch else "missing")
    missed = False
    for row in rows:
        for _ in range(args.rounds):
            for who, call in row.calls.items():
                row.least[who] = min(row.least.get(who, float("inf")), call())
        ours = row.least["fastsoftmax"]
        cells = [
            f"{who} {t * 1e6:.0f} us"
            + (f" ({row.errors[who]:.2f} ULP)" if who in row.errors else "")
            + (f" {t / ours:.2f}x" if who != "fastsoftmax" else "")
            for who, t in row.least.items()
        ]
        failed = [w for w, r in row.wanted.items() if w in row.least and row.least[w] < r * ours]
        missed |= bool(failed)
        print(f"{row.name}: {', '.join(cells)}" + (f"  MISSED: {failed}" if failed else ""))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
