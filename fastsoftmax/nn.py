"""torch.nn's softmax modules on NumPy arrays: ``import fastsoftmax.nn as nn``.

A module keeps the arguments of a function of :mod:`fastsoftmax.functional` and calls it. The
constructors, attributes, `repr` and warnings are PyTorch's; dtypes, errors and error bounds are
those of the function. Otherwise a module is a plain value: two of one class with equal attributes
are equal, and it is copied and pickled as it stands.

``eval()`` and ``train()`` return the module, which computes the same in either mode: an evaluation
script calls them. There is no ``to()`` or ``cuda()``, since nothing could be moved, nor
parameters, hooks or a ``state_dict()``: a line that asks for these should fail, not do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastsoftmax import _arguments
from fastsoftmax import functional as F
from fastsoftmax._arguments import Array
from fastsoftmax._loss_arguments import reduction_of

if TYPE_CHECKING:  # numpy.typing takes half a millisecond to import
    from numpy.typing import ArrayLike

__all__ = ["CrossEntropyLoss", "LogSoftmax", "NLLLoss", "Softmax", "Softmax2d", "Softmin"]

Dim = int | tuple[int, ...] | None

THE_CALLER = 5  # of a module, told to a function: that function, forward, __call__, the caller


class _Module:
    """What all modules have in common."""

    forward: Callable[..., Array]

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        return self.forward(*args, **kwargs)

    def eval(self) -> Self:
        """Return the module: there is no other mode."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Return the module: there is no other mode."""
        return self

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of `repr`."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return mine.keys() == theirs.keys() and all(
            _equal(value, theirs[name]) for name, value in mine.items()
        )

    def __hash__(self) -> int:
        # Attributes may be set later, as in PyTorch: a hash of them would lose the module in a set.
        return hash(type(self))


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=True)
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return False
    return bool(first == second)


class _AlongDim(_Module):
    if TYPE_CHECKING:

        def __call__(self, input: ArrayLike) -> Array: ...

    def __init__(self, dim: Dim = None) -> None:
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """Softmax over a dimension, as :func:`fastsoftmax.functional.softmax`.

    Parameters
    ----------
    dim : int or tuple of int, optional
        The dimension, or the dimensions together, over which the result sums to 1. None takes 0
        for 0, 1 and 3 dimensions, else 1.

    Warns
    -----
    UserWarning
        At each call, if `dim` is None, as PyTorch does.

    See Also
    --------
    LogSoftmax : what a loss needs.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> probabilities = nn.Softmax(dim=1)
    >>> probabilities
    Softmax(dim=1)
    >>> probabilities(np.array([[1.0, 2.0, 3.0]])).round(4)
    array([[0.09  , 0.2447, 0.6652]])
    """

    def forward(self, input: ArrayLike) -> Array:
        """Return the softmax of `input`."""
        return F.softmax(input, self.dim, THE_CALLER)


class LogSoftmax(_AlongDim):
    """Logarithm of the softmax, as :func:`fastsoftmax.functional.log_softmax`.

    Parameters
    ----------
    dim : int or tuple of int, optional
        As for :class:`Softmax`.

    Warns
    -----
    UserWarning
        As :class:`Softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> nn.LogSoftmax(dim=1)(np.array([[1.0, 2.0, 3.0]])).round(4)
    array([[-2.4076, -1.4076, -0.4076]])
    """

    def forward(self, input: ArrayLike) -> Array:
        """Return the logarithm of the softmax of `input`."""
        return F.log_softmax(input, self.dim, THE_CALLER)


class Softmin(_AlongDim):
    """Softmax of the negative, as :func:`fastsoftmax.functional.softmin`.

    Parameters
    ----------
    dim : int or tuple of int, optional
        As for :class:`Softmax`.

    Warns
    -----
    UserWarning
        As :class:`Softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> nn.Softmin(dim=1)(np.array([[1.0, 2.0, 3.0]])).round(4)
    array([[0.6652, 0.2447, 0.09  ]])
    """

    def forward(self, input: ArrayLike) -> Array:
        """Return the softmin of `input`."""
        return F.softmin(input, self.dim, THE_CALLER)


class Softmax2d(_Module):
    """Softmax over the channels of images, at each place of them.

    The shape of an input is (N, C, H, W) or (C, H, W); the result, in that shape, sums to 1 over C,
    as by :func:`fastsoftmax.functional.softmax`.

    Raises
    ------
    ValueError
        When called with an input of other than 3 or 4 dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> nn.Softmax2d()(np.ones((4, 3, 2))).sum(axis=0)
    array([[1., 1.],
           [1., 1.],
           [1., 1.]])
    """

    if TYPE_CHECKING:

        def __call__(self, input: ArrayLike) -> Array: ...

    def forward(self, input: ArrayLike) -> Array:
        """Return the softmax of `input` over its third dimension from the end."""
        x: Any = input
        if not _arguments.is_dask(input):
            x = _arguments.as_array("Softmax2d", input)
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {x.ndim}D instead")
        return F.softmax(x, -3)


def _reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the former arguments stand for, if given; a call checks `reduction`."""
    if size_average is None and reduce is None:
        return reduction
    return reduction_of(size_average, reduce, reduction, 4)  # of here, __init__ and its caller


def _weight(weight: ArrayLike | None) -> Array | None:
    """The weights in the array that they are in, if they are; the functions check them."""
    return None if weight is None else np.asanyarray(weight)


class CrossEntropyLoss(_Module):
    """Cross entropy of logits and targets, as :func:`fastsoftmax.functional.cross_entropy`.

    Parameters
    ----------
    weight : array_like, optional
        A weight for each class.
    size_average, reduce : bool, optional
        What `reduction` replaced: they warn, as in PyTorch.
    ignore_index : int, optional
        Targets of this class do not count.
    reduction : {'mean', 'sum', 'none'}, optional
        What becomes of the losses of a batch; checked at each call.
    label_smoothing : float, optional
        From 0 to 1: how much of the target is spread over all classes evenly.

    Attributes
    ----------
    weight, ignore_index, reduction, label_smoothing
        As given, `weight` as an array. The next call goes by what they are then.

    Warns
    -----
    UserWarning
        If `size_average` or `reduce` is given.

    See Also
    --------
    NLLLoss : of log-probabilities instead of logits.
    fastsoftmax.functional.cross_entropy_backward : the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> loss = nn.CrossEntropyLoss(reduction="none").eval()
    >>> loss(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), np.array([2, 2])).round(4)
    array([0.4076, 2.4076])
    """

    if TYPE_CHECKING:

        def __call__(self, input: ArrayLike, target: ArrayLike) -> Array: ...

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight: Array | None = _weight(weight)
        self.ignore_index = ignore_index
        self.reduction: str = _reduction(size_average, reduce, reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input: ArrayLike, target: ArrayLike) -> Array:
        """Return the loss of the logits `input` for class indices or probabilities `target`."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_Module):
    """Negative log likelihood, as :func:`fastsoftmax.functional.nll_loss`.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction
        As for :class:`CrossEntropyLoss`.

    Attributes
    ----------
    weight, ignore_index, reduction
        As given, `weight` as an array. The next call goes by what they are then.

    Warns
    -----
    UserWarning
        If `size_average` or `reduce` is given.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.nn as nn
    >>> log_probabilities = nn.LogSoftmax(dim=1)(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    >>> nn.NLLLoss(reduction="none")(log_probabilities, np.array([2, 2])).round(4)
    array([0.4076, 2.4076])
    """

    if TYPE_CHECKING:

        def __call__(self, input: ArrayLike, target: ArrayLike) -> Array: ...

    def __init__(
        self,
        weight: ArrayLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        self.weight: Array | None = _weight(weight)
        self.ignore_index = ignore_index
        self.reduction: str = _reduction(size_average, reduce, reduction)

    def forward(self, input: ArrayLike, target: ArrayLike) -> Array:
        """Return the loss of the log-probabilities `input` for the class indices `target`."""
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )
