"""Softmax and its family for NumPy arrays: torch.nn.functional's names, exact to 3 ULP, fast."""

from fastsoftmax._config import show_config
from fastsoftmax._threads import get_num_threads, num_threads, set_num_threads
from fastsoftmax.functional import (
    cross_entropy,
    cross_entropy_backward,
    gumbel_softmax,
    log_softmax,
    log_softmax_backward,
    logsumexp,
    nll_loss,
    softmax,
    softmax_backward,
    softmin,
)

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "get_num_threads",
    "gumbel_softmax",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "nll_loss",
    "num_threads",
    "set_num_threads",
    "show_config",
    "softmax",
    "softmax_backward",
    "softmin",
]
