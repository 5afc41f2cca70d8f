"""Every public function as a case: the arrays it takes, and a call with them.

What must hold for all functions is tested by tables over `CASES`. Logits are (N, C) or (N, C, K),
and the dimension is 1 throughout.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import fastsoftmax.functional as F
import inputs


class Case(NamedTuple):
    """`call` takes the arrays of these names, and ``out=`` where `takes_out` says so."""

    names: tuple[str, ...]
    call: Callable[..., np.ndarray]
    takes_out: bool = False
    # the arguments that out= may be
    in_place: tuple[str, ...] = ()
    # whether each row's result depends on that row alone
    by_rows: bool = True


def _family(name, *in_place):
    function = getattr(F, name)
    return Case(("x",), lambda x, **out: function(x, 1, **out), True, in_place)


CASES = {
    "softmax": _family("softmax", "x"),
    "log_softmax": _family("log_softmax", "x"),
    "softmin": _family("softmin", "x"),
    "logsumexp": _family("logsumexp"),
    "gumbel_softmax": Case(("x",), lambda x: F.gumbel_softmax(x, 0.5, dim=1, rng=3), by_rows=False),
    "gumbel_softmax, hard": Case(
        ("x",), lambda x: F.gumbel_softmax(x, hard=True, dim=1, rng=3), by_rows=False
    ),
    "cross_entropy": Case(("x", "t"), lambda x, t: F.cross_entropy(x, t, reduction="none")),
    "cross_entropy, mean": Case(("x", "t"), F.cross_entropy, by_rows=False),
    "cross_entropy, weighted and smoothed": Case(
        ("x", "t", "w"),
        lambda x, t, w: F.cross_entropy(
            x, t, w, ignore_index=0, reduction="none", label_smoothing=0.1
        ),
    ),
    "cross_entropy of probabilities": Case(
        ("x", "p", "w"), lambda x, p, w: F.cross_entropy(x, p, w, reduction="none")
    ),
    "nll_loss": Case(("l", "t", "w"), lambda l, t, w: F.nll_loss(l, t, w, reduction="none")),  # noqa: E741
    "nll_loss, mean": Case(("l", "t", "w"), F.nll_loss, by_rows=False),
    "softmax_backward": Case(
        ("g", "y"), lambda g, y, **out: F.softmax_backward(g, y, 1, **out), True, ("g", "y")
    ),
    "log_softmax_backward": Case(
        ("g", "l"),
        lambda g, l, **out: F.log_softmax_backward(g, l, 1, **out),  # noqa: E741
        True,
        ("g", "l"),
    ),
    "cross_entropy_backward": Case(
        ("s", "x", "t"),
        lambda s, x, t, **out: F.cross_entropy_backward(s, x, t, reduction="none", **out),
        True,
        ("x",),
    ),
    "cross_entropy_backward, mean": Case(
        ("x", "t"),
        lambda x, t, **out: F.cross_entropy_backward(1.0, x, t, **out),
        True,
        ("x",),
        by_rows=False,
    ),
    "cross_entropy_backward, weighted and smoothed": Case(
        ("s", "x", "t", "w"),
        lambda s, x, t, w, **out: F.cross_entropy_backward(
            s, x, t, w, ignore_index=0, reduction="none", label_smoothing=0.1, **out
        ),
        True,
        ("x",),
    ),
    "cross_entropy_backward of probabilities": Case(
        ("s", "x", "p", "w"),
        lambda s, x, p, w, **out: F.cross_entropy_backward(s, x, p, w, reduction="none", **out),
        True,
        ("x",),
    ),
}


def arrays(dtype, shape, seed=0, scale=4.0):
    """Arguments by name, for all cases: logits, log-probabilities, targets, gradients, weights."""
    rng = np.random.default_rng(seed)
    rows = shape[:1] + shape[2:]

    def log_probabilities():
        z = rng.normal(size=shape) * scale
        z -= z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    logs = log_probabilities()
    found = {
        "x": rng.normal(size=shape) * scale,
        "l": logs,
        "y": np.exp(logs),
        "p": np.exp(log_probabilities()),
        "g": rng.normal(size=shape),
        "s": rng.normal(size=rows),
    }
    found = {name: inputs.fit(values, dtype) for name, values in found.items()}
    found["t"] = rng.integers(0, shape[1], rows)
    found["w"] = rng.uniform(0.5, 2, shape[1])
    return found


def taken(case, given):
    """Those of the arrays that a case takes, in its order."""
    return [given[name] for name in case.names]


def call(name, given, **out):
    """The result of a case on these arrays."""
    case = CASES[name]
    return case.call(*taken(case, given), **out)
