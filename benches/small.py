"""Calls on small arrays in every form, beside PyTorch (to be installed: pip install torch==2.13.0).

    python benches/small.py [--rounds N]

Microseconds (the least of the rounds), one thread; each form takes turns with PyTorch. Of so few
elements a call costs what looks at its arguments.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import environment
import fastsoftmax
import fastsoftmax.functional as F

Form = tuple[str, Callable[[], Any], Callable[[], Any]]


def forms() -> list[Form]:
    """Ours and PyTorch's of the same numbers: (32, 10) unless the name says otherwise."""
    their = torch.nn.functional
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 10), dtype=np.float32)
    apart = rng.standard_normal((32, 20), dtype=np.float32)[:, ::2]
    turned = np.asfortranarray(x)
    whole = rng.integers(0, 9, (32, 10))
    samples = rng.standard_normal((2, 3, 4, 4), dtype=np.float32)
    classes, of_samples = rng.integers(0, 10, 32), rng.integers(0, 3, (2, 4, 4))
    tx, tapart, tturned, twhole, tsamples, tclasses, tof_samples = map(
        torch.from_numpy, (x, apart, turned, whole, samples, classes, of_samples)
    )
    wide, listed = torch.float64, classes.tolist()
    return [
        ("softmax", lambda: F.softmax(x, 1), lambda: their.softmax(tx, 1)),
        ("softmax, dim 0", lambda: F.softmax(x, 0), lambda: their.softmax(tx, 0)),
        (
            "softmax (2, 3, 4, 4), dim 1",
            lambda: F.softmax(samples, 1),
            lambda: their.softmax(tsamples, 1),
        ),
        ("softmax x[:, ::2]", lambda: F.softmax(apart, 1), lambda: their.softmax(tapart, 1)),
        ("softmax x.T", lambda: F.softmax(turned, 1), lambda: their.softmax(tturned, 1)),
        (
            "softmax of int64",
            lambda: F.softmax(whole, 1),
            lambda: their.softmax(twhole.double(), 1),
        ),
        (
            "softmax dtype=float64",
            lambda: F.softmax(x, 1, dtype=np.float64),
            lambda: their.softmax(tx, 1, dtype=wide),
        ),
        ("logsumexp", lambda: F.logsumexp(x, 1), lambda: torch.logsumexp(tx, 1)),
        (
            "logsumexp over both",
            lambda: F.logsumexp(x, (0, 1)),
            lambda: torch.logsumexp(tx, (0, 1)),
        ),
        (
            "cross_entropy",
            lambda: F.cross_entropy(x, classes),
            lambda: their.cross_entropy(tx, tclasses),
        ),
        (
            "cross_entropy x[:, ::2]",
            lambda: F.cross_entropy(apart, classes),
            lambda: their.cross_entropy(tapart, tclasses),
        ),
        (
            "cross_entropy (2, 3, 4, 4)",
            lambda: F.cross_entropy(samples, of_samples),
            lambda: their.cross_entropy(tsamples, tof_samples),
        ),
        (
            "cross_entropy (10,)",
            lambda: F.cross_entropy(x[0], 3),
            lambda: their.cross_entropy(tx[0], torch.tensor(3)),
        ),
        (
            "cross_entropy, a list",
            lambda: F.cross_entropy(x, listed),
            lambda: their.cross_entropy(tx, torch.tensor(listed)),
        ),
        (
            "nll_loss",
            lambda: F.nll_loss(x, classes),
            lambda: their.nll_loss(tx, tclasses),
        ),
        (
            "softmax_backward",
            lambda: F.softmax_backward(x, x, 1),
            lambda: torch._softmax_backward_data(tx, tx, 1, torch.float32),
        ),
        ("gumbel_softmax", lambda: F.gumbel_softmax(x), lambda: their.gumbel_softmax(tx)),
        (
            "gumbel_softmax, hard",
            lambda: F.gumbel_softmax(x, hard=True),
            lambda: their.gumbel_softmax(tx, hard=True),
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="(60)")
    rounds = parser.parse_args(argv).rounds
    fastsoftmax.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"{'call':28}{'fastsoftmax':>12}{'PyTorch':>9}{'ratio':>7}")
    for name, ours, theirs in forms():
        times = [
            [timeit.timeit(call, number=300) / 300 * 1e6 for call in (ours, theirs)]
            for _ in range(rounds)
        ]
        mine, other = (min(column) for column in zip(*times, strict=True))
        print(f"{name:28}{mine:12.2f}{other:9.2f}{other / mine:7.2f}")
    print(environment.describe())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
