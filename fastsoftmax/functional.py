"""torch.nn.functional's softmax family on NumPy arrays: ``import fastsoftmax.functional as F``.

The positional arguments are PyTorch's; the keyword-only ones (`out`, `where`) follow NumPy.
"""

from fastsoftmax._core import log_softmax, logsumexp, softmax, softmin
from fastsoftmax._losses import cross_entropy, cross_entropy_backward, nll_loss

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "softmax",
    "softmin",
]
