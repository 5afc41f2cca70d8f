"""The arguments of the losses: what a target, a weight or a reduction may be; each refusal's text.

Errors have PyTorch's types, which are RuntimeError for most shapes.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np

from fastsoftmax import _arguments
from fastsoftmax._arguments import Array

REDUCTIONS = ("none", "mean", "sum")
BLOCK = 1 << 16  # elements of a target looked at together where one may be out of range


def reduction_of(size_average: Any, reduce: Any, reduction: Any, stacklevel: int) -> str:
    """'none', 'mean' or 'sum'; the two old flags go before `reduction`, with a warning."""
    if size_average is not None or reduce is not None:
        mean = size_average is None or size_average
        found = "none" if reduce is not None and not reduce else "mean" if mean else "sum"
        warnings.warn(
            "size_average and reduce args will be deprecated, "
            f"please use reduction='{found}' instead.",
            stacklevel=stacklevel,
        )
        return found
    if reduction == "elementwise_mean":
        warnings.warn(
            "reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.",
            stacklevel=stacklevel,
        )
        return "mean"
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(
            f"{reduction} is not a valid value for reduction: give 'none', 'mean' or 'sum'"
        )
    return reduction


def ignore_index_of(name: str, value: Any) -> int:
    """`ignore_index` as an int that int64 or uint64 holds."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name}() needs ignore_index to be an int, not {type(value).__name__}")
    index = int(operator.index(value))
    if not -(2**63) <= index < 2**64:
        raise ValueError(
            f"{name}() got ignore_index={index}, which no integer type holds: choose an index "
            "that targets can have"
        )
    return index


def smoothing_of(name: str, value: Any) -> float:
    """`label_smoothing` as a float from 0 to 1."""
    if isinstance(value, (str, bytes)) or not hasattr(type(value), "__float__"):
        raise TypeError(
            f"{name}() needs label_smoothing to be a number, not {type(value).__name__}"
        )
    smoothing = float(value)
    if not 0 <= smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {value}")
    return smoothing


def plain_array(name: str, argument: str, value: Any, instead: str) -> Array:
    """`_arguments.as_array`; `instead` says what to do about the mask of a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}() would ignore the mask of {argument}, a numpy.ma.MaskedArray: {instead}"
        )
    return _arguments.as_array(name, value).view(np.ndarray)


def logits(name: str, input: Any) -> tuple[Array, np.dtype[Any]]:
    """`input` as an array of real numbers, and the dtype of its result."""
    x = plain_array(
        name, "input", input, "pass its data, and targets of ignore_index where a row is masked"
    )
    return x, _arguments.result_dtype(name, x.dtype, None)


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether it holds real numbers: floats, integers, bool."""
    return dtype.kind in "fiub" or _arguments.is_bfloat16(dtype)


def is_floating(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or _arguments.is_bfloat16(dtype)


def weight_of(name: str, weight: Any, classes: int, wide: np.dtype[Any]) -> Array | None:
    """`weight` as a contiguous array of the type `wide`, one for each class."""
    if weight is None:
        return None
    given = plain_array(name, "weight", weight, "fill it first, weight.filled(0)")
    if not is_real(given.dtype):
        raise TypeError(
            f"{name}() needs weight to be real numbers, but it has dtype {given.dtype}: convert "
            "it to float first"
        )
    if given.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(given.shape)}; give {name}() one weight for each "
            "class"
        )
    return np.ascontiguousarray(given, wide)


def target_of(name: str, target: Any) -> Array:
    """`target` as an array of integers or of floating-point numbers."""
    t = plain_array(name, "target", target, "fill it first, target.filled(ignore_index)")
    if t.dtype.kind not in "fiubc" and not _arguments.is_bfloat16(t.dtype):
        raise TypeError(
            f"{name}() needs target to be class indices or probabilities, but it has dtype "
            f"{t.dtype}"
        )
    return t


def check_probabilities(x: Array, target: Array, ignore_index: int) -> None:
    """A target of the input's shape holds probabilities."""
    if not is_floating(target.dtype):
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got "
            f"{target.dtype}: a target of the shape {list(x.shape)} of input holds a probability "
            "for each class; class indices have no dimension for the classes"
        )
    if x.ndim == 0:
        raise IndexError("input is a number, without a dimension for the classes: reshape it")
    if ignore_index >= 0:
        raise RuntimeError(
            "ignore_index is not supported for floating point target, but it is "
            f"{ignore_index}: leave it out, or give class indices"
        )


def check_classes(name: str, x: Array, target: Array) -> None:
    """A target of class indices: whole numbers, in the input's shape without its classes."""
    if x.ndim == 0:
        if name == "nll_loss":
            raise ValueError("Expected 1 or more dimensions (got 0): input needs its classes")
        raise IndexError(
            "Dimension out of range (expected to be in range of [-1, 0], but got 1): input is a "
            "number, without a dimension for the classes"
        )
    if x.ndim > 1:
        batch = target.shape[0] if target.ndim else 0
        if batch != x.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({batch})."
            )
    if x.ndim <= 2 and target.ndim > 1:
        raise RuntimeError(
            f"0D or 1D target tensor expected, multi-target not supported: got a target of shape "
            f"{list(target.shape)} for an input of shape {list(x.shape)}"
        )
    if x.ndim == 1 and target.ndim == 1 and target.shape[0] != 1:
        raise ValueError(
            "For 1D input, 1D target must have size 1, but got target size: "
            f"{target.shape[0]}; give one class index"
        )
    expected = x.shape[:1] + x.shape[2:]
    if x.ndim > 2 and target.shape != expected:
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    if target.dtype.kind not in "iu":
        raise RuntimeError(
            f"expected target dtype to be an integer type, but got {target.dtype}: class indices "
            "are integers, and class probabilities have the shape of input"
        )


def check_range(target: Array, classes: int, ignore_index: int) -> None:
    """Every class index is in [0, classes), or is to be ignored."""
    if not target.size:
        return
    # As unsigned numbers of the same bytes the negative ones are large: one pass tells it all.
    unsigned = target.view(target.dtype.str.replace("i", "u"))
    if unsigned.max() < classes:
        return
    flat = target.reshape(-1) if target.flags.c_contiguous else target.flat
    for start in range(0, target.size, BLOCK):
        block = flat[start : start + BLOCK]
        wrong = (block < 0) | (block >= classes)
        wrong &= block != ignore_index
        if wrong.any():
            first = block[wrong][0]
            raise IndexError(
                f"Target {first} is out of bounds: class indices of this input are in [0, "
                f"{classes}), and ignore_index is {ignore_index}"
            )


def check_grad_output(name: str, grad_output: Any, shape: tuple[int, ...]) -> Array:
    """`grad_output` as an array of real numbers, in the shape of the loss."""
    g = plain_array(name, "grad_output", grad_output, "fill it first, grad_output.filled(0)")
    if not is_real(g.dtype):
        raise TypeError(
            f"{name}() needs grad_output to be real numbers, but it has dtype {g.dtype}"
        )
    if g.shape != shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output has shape {list(g.shape)}, but the loss has shape "
            f"{list(shape)}; give {name}() the gradient with respect to that loss"
        )
    return g
