"""The bounds the package promises, in units in the last place: the tests have them from here.

The unit is the last place of the unrounded exact result, the spacing of the subnormal numbers below
the least normal one. For logsumexp, whose two parts may cancel, it is that of the larger of the
result and the maximum; for the losses and gradients, that of the sum of the absolute values of
their terms where terms of both signs meet.
"""

BOUNDS = {
    ("softmax", "float32"): 3.0,
    ("softmax", "float64"): 3.0,
    ("log_softmax", "float32"): 3.0,
    ("log_softmax", "float64"): 3.0,
    ("softmin", "float32"): 3.0,
    ("softmin", "float64"): 3.0,
    ("logsumexp", "float32"): 2.0,
    ("logsumexp", "float64"): 2.0,
}
# CLASS_LOSS is one loss of cross_entropy with a class index, no weights and no smoothing.
CLASS_LOSS = "cross_entropy of a class"
LOSSES = {
    CLASS_LOSS: 3.0,
    "cross_entropy": 4.0,
    "cross_entropy_backward": 4.0,
    "nll_loss": 2.0,
    "softmax_backward": 4.0,
    "log_softmax_backward": 4.0,
}
for _op, _bound in LOSSES.items():
    BOUNDS[_op, "float32"] = BOUNDS[_op, "float64"] = _bound
for _op in ("softmax", "log_softmax", "softmin", "logsumexp", *LOSSES):
    for _dtype in ("float16", "bfloat16"):
        BOUNDS[_op, _dtype] = 0.51


def bound(op, dtype):
    """The bound of `op` on `dtype` (anything with a name)."""
    return BOUNDS[op, getattr(dtype, "name", dtype)]
