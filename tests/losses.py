"""Calls of the losses, alike for all three, and what the tests say of a result."""

import numpy as np

import fastsoftmax.functional as F
import inputs
import oracle_losses
from bounds import bound

NAMES = ("cross_entropy", "nll_loss", "cross_entropy_backward")


def call(name, input, target, *more, **keywords):
    """The function of that name, with a grad_output of 1 where it takes one."""
    if name == "cross_entropy_backward":
        more = (input, target, *more)
        return F.cross_entropy_backward(keywords.pop("grad_output", 1.0), *more, **keywords)
    return getattr(F, name)(input, target, *more, **keywords)


def problem(dtype, shape, seed=1, classes=None):
    """Logits and a class for each row, in [0, classes)."""
    x = inputs.normal(dtype, shape, seed)
    rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
    high = classes or shape[min(1, len(shape) - 1)]
    return x, np.asarray(np.random.default_rng(seed).integers(0, high, size=rows))


def assert_within(name, result, limit=None, **arguments):
    """`result` is within its bound of the exact result."""
    if name == "cross_entropy_backward":
        arguments = {"grad_output": np.ones(())} | arguments
    error = oracle_losses.error_ulp(result, oracle_losses.exact(name, arguments))
    limit = bound(name, result.dtype) if limit is None else limit
    assert error <= limit, f"{name} is {error:.4g} ULP off"
