"""torch.nn.functional's softmax family on NumPy arrays: ``import fastsoftmax.functional as F``.

The positional arguments are PyTorch's; the keyword-only ones (`out`, `where`, `rng`) follow NumPy.
"""

from fastsoftmax._core import log_softmax, logsumexp, softmax, softmin
from fastsoftmax._gradients import log_softmax_backward, softmax_backward
from fastsoftmax._gumbel import gumbel_softmax
from fastsoftmax._losses import cross_entropy, cross_entropy_backward, nll_loss

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "gumbel_softmax",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "nll_loss",
    "softmax",
    "softmax_backward",
    "softmin",
]
