"""torch.nn.functional's softmax family on NumPy arrays: ``import fastsoftmax.functional as F``.

The positional arguments are PyTorch's; the keyword-only ones (`out`, `where`) follow NumPy.
"""

from fastsoftmax._core import log_softmax, logsumexp, softmax, softmin

__all__ = ["log_softmax", "logsumexp", "softmax", "softmin"]
