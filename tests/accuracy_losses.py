"""The worst error of the losses and gradients by kind of input, in units in the last place (ULP).

    python tests/accuracy_losses.py             # some minutes
    python tests/accuracy_losses.py --quick     # fewer and shorter rows, some seconds

Exits with 1 if an error is over its bound (bounds.py). Where terms of both signs meet, errors are
in last places of the sum of their absolute values (oracle_losses.py).
"""

import argparse
import sys

import numpy as np

import accuracy
import fastsoftmax.functional as F
import inputs
import oracle_losses
from bounds import CLASS_LOSS, bound
from fastsoftmax import _core

GRADIENTS = ("softmax_backward", "log_softmax_backward")
COLUMNS = (CLASS_LOSS, "cross_entropy", "cross_entropy_backward", "nll_loss", *GRADIENTS)
HEADS = ("of a class", "other forms", "its gradient", "nll_loss", "softmax'", "log_softmax'")
SHAPES = ((300, 10), (200, 97), (60, 1000), (2, 70_000))
QUICK_SHAPES = ((100, 10), (40, 97), (10, 1000))


def kinds(dtype, quick):
    """(name, arrays of logits) of every row of the table."""
    shapes = QUICK_SHAPES if quick else SHAPES
    for k, (rows, n) in enumerate(shapes):
        yield f"rows of {n}", [inputs.normal(dtype, (rows, n), k, scale) for scale in (1, 3, 10)]
    rows, n = (20, 500) if quick else (200, 5000)
    for name in inputs.HARD:
        yield name, [x[:rows, :n] for x in inputs.hard(name, dtype)]


def problems(name, x, rng):
    """(column, function, arguments) of all that is tried on rows of logits."""
    rows, n = x.shape
    order = np.argsort(x.astype(np.float64), axis=1)
    classes = {
        "input": np.concatenate([x, x, x]),  # with the likeliest class, the least likely, any
        "target": np.concatenate([order[:, -1], order[:, 0], rng.integers(0, n, rows)]),
    }
    each = {"reduction": "none"}
    yield CLASS_LOSS, "cross_entropy", classes | each
    slopes = {"grad_output": rng.normal(size=3 * rows)}
    yield "cross_entropy_backward", "cross_entropy_backward", slopes | classes | each
    if name != "the largest numbers mixed" or x.dtype != np.float64:  # those sum past every number
        w, p = rng.uniform(0, 2, n), inputs.fit(rng.dirichlet(np.ones(n), rows), x.dtype.name)
        yield "cross_entropy", "cross_entropy", classes | {"weight": w}
        for target, eps, weight in ((order[:, 0], 0.1, None), (p, 0.25, w)):
            more = {"input": x, "target": target, "weight": weight, "label_smoothing": eps}
            slope = {"grad_output": np.array(0.5)}
            yield "cross_entropy", "cross_entropy", more | each
            yield "cross_entropy_backward", "cross_entropy_backward", slope | more
    logs = F.log_softmax(classes["input"], dim=1)
    if np.isfinite(logs).all():
        for reduction in ("mean", "none"):
            more = {"input": logs, "reduction": reduction}
            yield "nll_loss", "nll_loss", classes | more
    for op in GRADIENTS:
        output = getattr(F, op.removesuffix("_backward"))(x, dim=1)
        if np.isfinite(output).all():
            g = inputs.normal(x.dtype.name, x.shape, rows)
            yield op, op, {"grad_output": g, "output": output, "dim": 1}


def table(dtype, quick):
    """{kind: {column: worst error}}"""
    found = {}
    for name, arrays in kinds(dtype, quick):
        row = found.setdefault(name, {})
        rng = np.random.default_rng(1)
        for x in arrays:
            for column, function, arguments in problems(name, x, rng):
                result = getattr(F, function)(**arguments)
                error = oracle_losses.error_ulp(result, oracle_losses.exact(function, arguments))
                row[column] = max(error, row.get(column, 0.0))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    targets = _core._isa_available()
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rows")
    parser.add_argument("--isa", nargs="+", choices=targets, default=targets[:1])
    options = parser.parse_args()
    failures = []
    for isa in options.isa:
        former = _core._use_isa(isa)
        for dtype in inputs.DTYPES:
            title = f"losses and gradients of {dtype} on {isa}"
            foot = accuracy.show(title, table(dtype, options.quick), COLUMNS, HEADS)
            failures += [
                f"{column} of {dtype} on {isa}: {foot[column]:.4g} ULP is over its bound"
                for column in COLUMNS
                if not foot[column] <= bound(column, dtype)
            ]
        _core._use_isa(former)
    print()
    print("\n".join(failures) or "every bound holds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
