"""Cross entropy, its gradient, and the negative log likelihood: torch.nn.functional's losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax import _arguments, _core, _layout, _loss_arguments, _loss_blocks, _loss_kernels
from fastsoftmax._arguments import Array
from fastsoftmax._loss_blocks import Problem

if TYPE_CHECKING:  # numpy.typing takes half a millisecond to import
    from numpy.typing import ArrayLike

__all__ = ["cross_entropy", "cross_entropy_backward", "nll_loss"]

CALLER = 3  # the stack level of whoever called a function of this module, seen where it warns


def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Cross entropy of logits with class indices or with probabilities.

    ``loss = w[t] * ((max - x[t]) + log1p(rest / exp(max)))`` for the class t of a row x of logits,
    where ``rest`` is the sum of all exponentials but one maximum's: neither the probabilities nor
    their logarithms are built, and nothing cancels. With ``-log_softmax`` for the parenthesis:
    ``sum(q * -log_softmax(x))`` for probabilities p, where
    ``q = w * ((1 - label_smoothing) * p + label_smoothing / C)``; smoothed class indices are
    ``(1 - label_smoothing) * loss + label_smoothing / C * sum(w * -log_softmax(x))``.

    Parameters
    ----------
    input : array_like
        Logits, of shape (C,), (N, C) or (N, C, d1, ..., dk) for C classes. A dask array, here or as
        `target`, gives a lazy result.
    target : array_like
        Class indices in [0, C), of any integer type, in the shape of `input` without its classes
        (or (1,) for (C,)); or probabilities, floating-point numbers in the shape of `input`.
    weight : array_like, optional
        A real weight for each class, of shape (C,).
    size_average, reduce : bool, optional
        PyTorch's former way to choose `reduction`, before which they go, with a warning:
        ``reduce=False`` is 'none', ``size_average=False`` is 'sum', else 'mean'.
    ignore_index : int, optional
        Rows of this class have the loss 0 and do not count in the mean. Need not be in [0, C); must
        be negative where `target` holds probabilities.
    reduction : {'mean', 'sum', 'none'}, optional
        'mean' divides the sum by that of the weights ``w[t]`` of the rows that count; by the number
        of rows where `target` holds probabilities.
    label_smoothing : float, optional
        From 0 to 1: how much of each row's target is spread evenly over the classes.

    Returns
    -------
    numpy.ndarray
        0-d for 'mean', 'sum' and an `input` of shape (C,), else in the shape of `input` without its
        classes. In the dtype of `input`, of the wider one where `target` holds probabilities;
        float64 for integers.

    Raises
    ------
    IndexError
        If a class index is out of range.
    RuntimeError
        For a target of the wrong shape or type, a weight of the wrong shape, probabilities with a
        class to ignore, or a `label_smoothing` out of range.
    TypeError
        For complex, object, string and date dtypes, masked arrays, and an `ignore_index` or
        `label_smoothing` that is no number.
    ValueError
        For an unknown `reduction`, or a target for another number of rows.

    Warns
    -----
    UserWarning
        If `size_average` or `reduce` is given.

    See Also
    --------
    cross_entropy_backward : its gradient with respect to `input`.
    nll_loss : the same from log-probabilities.

    Notes
    -----
    For float32 and float64 each loss of a class index without weights is within 3 ULP of the exact
    result; weighted, smoothed and probability ones are within 4 ULP of the sum of their absolute
    terms, and so are the sum and the mean, which are taken in a wider type. float16 and bfloat16
    are computed in float32 or wider and rounded once.

    All rows ignored: the mean is NaN, the sum 0. A row that holds NaN or +inf, or only -inf, is
    NaN, unless it is ignored; a class at -inf has the loss inf.

    Extra memory is less than 1 MiB a thread, or one row that is longer, for float16 and bfloat16
    two in float32. Signature and edge cases:
    `torch.nn.functional.cross_entropy`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> logits = np.array([[2.0, 1.0, 0.1], [60.0, 0.0, -60.0]])
    >>> F.cross_entropy(logits, np.array([0, 0]), reduction="none")
    array([4.17030016e-01, 8.75651076e-27])
    >>> loss = F.cross_entropy(logits, np.array([0, 2]), label_smoothing=0.1)
    >>> loss.shape, round(float(loss), 4)
    ((), 57.2568)
    """
    if size_average is None and reduce is None:
        direct = _loss_kernels.direct_loss(
            input, target, weight, ignore_index, reduction, label_smoothing, True
        )
        if direct is not None:
            return direct
    name = "cross_entropy"
    reduction = _loss_arguments.reduction_of(size_average, reduce, reduction, CALLER)
    if _arguments.is_dask(input) or _arguments.is_dask(target):
        from fastsoftmax import _dask_losses

        more = weight, ignore_index, label_smoothing
        lazy: Array = _dask_losses.loss(name, input, target, *more, reduction)
        return lazy
    with np.errstate(all="ignore"), _core._DefaultEnvironment():
        problem, _, shape = _problem(name, input, target, weight, ignore_index, label_smoothing)
        return _reduced(_loss_blocks.losses, problem, reduction, shape)


def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Array:
    """Negative log likelihood: minus the target class's element of each row of log-probabilities.

    ``loss = -w[t] * x[t]`` for the class t of a row x.

    Parameters
    ----------
    input : array_like
        Log-probabilities, of shape (C,), (N, C) or (N, C, d1, ..., dk) for C classes. A dask
        array, here or as `target`, gives a lazy result.
    target : array_like
        Class indices in [0, C), of any integer type, in the shape of `input` without its classes
        (or (1,) for (C,)).
    weight : array_like, optional
        A real weight for each class, of shape (C,).
    size_average, reduce, ignore_index, reduction
        As for :func:`cross_entropy`.

    Returns
    -------
    numpy.ndarray
        As of :func:`cross_entropy`.

    Raises
    ------
    IndexError, RuntimeError, TypeError, ValueError
        As :func:`cross_entropy`.

    Warns
    -----
    UserWarning
        If `size_average` or `reduce` is given.

    See Also
    --------
    cross_entropy : the same from logits, without their log_softmax in memory.

    Notes
    -----
    Within 1 ULP of the exact result; the sum and the mean, taken in a wider type, within 2 ULP of
    the sum of the absolute terms. Extra memory is less than 1 MiB a thread. Signature and edge
    cases: `torch.nn.functional.nll_loss`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> logits = np.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.0]])
    >>> F.nll_loss(F.log_softmax(logits, dim=1), np.array([0, 1]), reduction="none").round(4)
    array([0.417 , 0.1967])
    """
    if size_average is None and reduce is None:
        direct = _loss_kernels.direct_loss(
            input, target, weight, ignore_index, reduction, 0.0, False
        )
        if direct is not None:
            return direct
    name = "nll_loss"
    reduction = _loss_arguments.reduction_of(size_average, reduce, reduction, CALLER)
    if _arguments.is_dask(input) or _arguments.is_dask(target):
        from fastsoftmax import _dask_losses

        more = weight, ignore_index, 0.0
        lazy: Array = _dask_losses.loss(name, input, target, *more, reduction)
        return lazy
    with np.errstate(all="ignore"), _core._DefaultEnvironment():
        problem, _, shape = _problem(name, input, target, weight, ignore_index, 0.0)
        return _reduced(_loss_blocks.gathered, problem, reduction, shape)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    out: Array | None = None,
) -> Array:
    """Gradient of :func:`cross_entropy` with respect to its logits.

    ``g * w[t] * softmax(x)[c]`` for the classes c other than the target t of a row x, and
    ``-g * w[t] * (1 - softmax(x)[t])``, taken without cancellation, for t, where g is the row's
    `grad_output`, divided by what the mean is divided by. With probabilities or smoothing
    ``g * (sum(q) * softmax(x) - q)``, where q is what :func:`cross_entropy` multiplies
    ``-log_softmax(x)`` with.

    Parameters
    ----------
    grad_output : array_like
        The gradient with respect to the loss, in the loss's shape: a number for 'mean' and 'sum'.
    input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As for :func:`cross_entropy`.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype; may be `input` itself.

    Returns
    -------
    numpy.ndarray
        In the shape and dtype of `input` (float64 for integers); `out` if that was given.

    Raises
    ------
    RuntimeError
        If `grad_output` has not the shape of the loss.
    IndexError, RuntimeError, TypeError, ValueError
        As :func:`cross_entropy`, and for an `out` of the wrong type or shape, or read-only. Nothing
        is written then.

    Warns
    -----
    UserWarning
        If `size_average` or `reduce` is given.

    Notes
    -----
    Within 4 ULP of the exact result; where probabilities or smoothing make terms of both signs
    meet, of the sum of their absolute values. (Except for a `grad_output` past 2**37 in
    magnitude, float64 2**48, whose elements of a probability below 2**-185, float64 2**-1121, may
    be 0, that at the class being less by as much; and where it is more than 1 and a float64 loss
    below 2**-1022, which has lost digits.)
    float16 and bfloat16 are computed in float32 or wider and rounded once. Rows to be ignored are
    0, whatever they hold; others that hold NaN or +inf, or only -inf, are NaN. Extra memory is
    less than 1 MiB a thread, or one row that is longer, for float16 and bfloat16 three in float32,
    unless `out` overlaps an argument other than by being `input`. Source: the derivative of
    `torch.nn.functional.cross_entropy`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> logits = np.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.0]])
    >>> F.cross_entropy_backward(1.0, logits, np.array([0, 1])).round(4)
    array([[-0.1705,  0.1212,  0.0493],
           [ 0.0556, -0.0893,  0.0337]])
    """
    if size_average is None and reduce is None:
        direct = _loss_kernels.direct_gradient(
            grad_output, input, target, weight, ignore_index, reduction, label_smoothing, out
        )
        if direct is not None:
            return direct
    name = "cross_entropy_backward"
    reduction = _loss_arguments.reduction_of(size_average, reduce, reduction, CALLER)
    with np.errstate(all="ignore"), _core._DefaultEnvironment():
        problem, dtype, shape = _problem(name, input, target, weight, ignore_index, label_smoothing)
        x = problem.x
        given_shape = x.shape if shape or x.ndim > 2 else x.shape[1:]
        loss_shape = shape if reduction == "none" else ()
        g = _loss_arguments.check_grad_output(name, grad_output, loss_shape)
        if out is None:
            order = _layout._memory_order(x, (1,))
            result = _core._empty([x.shape[axis] for axis in order], dtype, x)
            result = result.transpose(_layout._inverse(order))
        else:
            _arguments.check_out(name, out, given_shape, dtype)
            result = out.view(np.ndarray).reshape(x.shape)
            problem, g = _apart(problem, g, result)
        _loss_blocks.gradients(problem, _scale(problem, g, reduction), result)
    return result.reshape(given_shape) if out is None else out


def _problem(
    name: str, input: Any, target: Any, weight: Any, ignore_index: Any, label_smoothing: Any
) -> tuple[Problem, np.dtype[Any], tuple[int, ...]]:
    """The arguments, checked, as (N, C, ...); the dtype of the logits; the shape of the losses."""
    x, dtype = _loss_arguments.logits(name, input)
    t = _loss_arguments.target_of(name, target)
    problem, shape = checked(name, x, dtype, t, weight, ignore_index, label_smoothing)
    return problem, dtype, shape


def checked(
    name: str,
    x: Array,
    dtype: np.dtype[Any],
    t: Array,
    weight: Any,
    ignore_index: Any,
    label_smoothing: Any,
) -> tuple[Problem, tuple[int, ...]]:
    """The same of logits and a target that are arrays, dask's too; those are not looked into."""
    ignore = _loss_arguments.ignore_index_of(name, ignore_index)
    smoothing = _loss_arguments.smoothing_of(name, label_smoothing)
    probabilities = name != "nll_loss" and x.shape == t.shape
    work = dtype
    if probabilities:
        _loss_arguments.check_probabilities(x, t, ignore)
        work = _wider(dtype, t.dtype.newbyteorder("="))
    else:
        _loss_arguments.check_classes(name, x, t)
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    if x.ndim == 1:
        x = x[np.newaxis]
        t = t[np.newaxis] if probabilities else t.reshape(1)
    w = _loss_arguments.weight_of(name, weight, x.shape[1], _loss_blocks.wide(work))
    if not probabilities and not _arguments.is_dask(t):
        _loss_arguments.check_range(t, x.shape[1], ignore)
    if _arguments.is_bfloat16(dtype):
        _core._know_bfloat16(dtype)
    return Problem(x, t, probabilities, w, ignore, smoothing, work), shape


def _wider(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds both; float16 and bfloat16 meet in float32, as in PyTorch."""
    if a == b:
        return a
    if a.itemsize == b.itemsize == 2:
        return np.dtype(np.float32)
    return max(a, b, key=lambda dtype: dtype.itemsize)


def _reduced(compute: Any, problem: Problem, reduction: str, shape: tuple[int, ...]) -> Array:
    """The losses as `reduction` says, by `compute` (`_loss_blocks.losses` or `gathered`)."""
    if reduction == "none":
        each = np.empty(problem.x.shape[:1] + problem.x.shape[2:], problem.work)
        compute(problem, each)
        return each.reshape(shape)
    total, weight_total = compute(problem, None)
    return total_of(total, weight_total, reduction, problem.work)


def total_of(total: Any, weight_total: Any, reduction: str, work: np.dtype[Any]) -> Array:
    """The sum or the mean from the sum of the losses and that of the weights."""
    if reduction == "mean":
        # Where no weight is left PyTorch divides 0 by 0, whatever smoothing adds.
        total = _quotient(total, weight_total, work) if weight_total else np.nan
    return _loss_kernels.rounded(np.asarray(total, _loss_blocks.wide(work)), work)


def _scale(problem: Problem, g: Array, reduction: str) -> Any:
    """What each row's gradient is multiplied by: an array (N, ...), or one number."""
    if reduction == "none":
        return g.reshape(problem.x.shape[:1] + problem.x.shape[2:])
    divisor = _loss_blocks.weight_total(problem) if reduction == "mean" else 1
    return _quotient(g, divisor, problem.work)


def _quotient(a: Any, b: Any, work: np.dtype[Any]) -> Any:
    """``a / b`` in the wide type, NaN or an infinity where `b` is 0."""
    dtype = _loss_blocks.wide(work)
    quotient = np.asarray(a).astype(dtype) / np.asarray(b).astype(dtype)
    return quotient if dtype.char == "g" else float(quotient)


def _apart(problem: Problem, g: Array, out: Array) -> tuple[Problem, Array]:
    """Copies of what `out` would overwrite before it is read."""
    x, target, weight = problem.x, problem.target, problem.weight
    x = _layout.apart(x, out)
    if np.may_share_memory(target, out):
        target = target.copy()
    if weight is not None and np.may_share_memory(weight, out):
        weight = weight.copy()
    if np.may_share_memory(g, out):
        g = g.copy()
    return problem._replace(x=x, target=target, weight=weight), g
