"""The types of the public functions, narrower than those of the modules that define them.

Of each: with out=, of a type that the result has too, of integers, with dtype=, and of all else.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

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

_Array = np.ndarray[Any, Any]
_Dim = int | tuple[int, ...]
_Integer = np.integer[Any] | np.bool_
_Shape = TypeVar("_Shape", bound=tuple[Any, ...])
_Float = TypeVar("_Float", bound=np.floating[Any])
_Inexact = TypeVar("_Inexact", bound=np.inexact[Any])
_Scalar = TypeVar("_Scalar", bound=np.generic)
_Out = TypeVar("_Out", bound=_Array)
_RNG = (
    int
    | Sequence[int]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | np.random.RandomState
    | None
)

@overload
def softmax(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Out,
    where: ArrayLike | None = None,
) -> _Out: ...
@overload
def softmax(
    input: np.ndarray[_Shape, np.dtype[_Float]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def softmax(
    input: np.ndarray[_Shape, np.dtype[_Integer]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def softmax(
    input: np.ndarray[_Shape, Any],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    *,
    dtype: type[_Scalar] | np.dtype[_Scalar],
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Scalar]]: ...
@overload
def softmax(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
@overload
def log_softmax(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Out,
    where: ArrayLike | None = None,
) -> _Out: ...
@overload
def log_softmax(
    input: np.ndarray[_Shape, np.dtype[_Float]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def log_softmax(
    input: np.ndarray[_Shape, np.dtype[_Integer]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def log_softmax(
    input: np.ndarray[_Shape, Any],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    *,
    dtype: type[_Scalar] | np.dtype[_Scalar],
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Scalar]]: ...
@overload
def log_softmax(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
@overload
def softmin(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Out,
    where: ArrayLike | None = None,
) -> _Out: ...
@overload
def softmin(
    input: np.ndarray[_Shape, np.dtype[_Float]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def softmin(
    input: np.ndarray[_Shape, np.dtype[_Integer]],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def softmin(
    input: np.ndarray[_Shape, Any],
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    *,
    dtype: type[_Scalar] | np.dtype[_Scalar],
    out: None = None,
    where: ArrayLike | None = None,
) -> np.ndarray[_Shape, np.dtype[_Scalar]]: ...
@overload
def softmin(
    input: ArrayLike,
    dim: _Dim | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
@overload
def logsumexp(
    input: ArrayLike,
    dim: _Dim,
    keepdim: bool = False,
    *,
    out: _Out,
    where: ArrayLike | None = None,
) -> _Out: ...
@overload
def logsumexp(
    input: NDArray[_Inexact],
    dim: _Dim,
    keepdim: bool = False,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> NDArray[_Inexact]: ...
@overload
def logsumexp(
    input: NDArray[_Integer],
    dim: _Dim,
    keepdim: bool = False,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> NDArray[np.float64]: ...
@overload
def logsumexp(
    input: ArrayLike,
    dim: _Dim,
    keepdim: bool = False,
    *,
    out: None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
@overload
def gumbel_softmax(
    logits: np.ndarray[_Shape, np.dtype[_Float]],
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: _Dim = -1,
    *,
    rng: _RNG = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def gumbel_softmax(
    logits: np.ndarray[_Shape, np.dtype[_Integer]],
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: _Dim = -1,
    *,
    rng: _RNG = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def gumbel_softmax(
    logits: ArrayLike,
    tau: float = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: _Dim = -1,
    *,
    rng: _RNG = None,
) -> _Array: ...
@overload
def softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, dim: _Dim, *, out: _Out
) -> _Out: ...
@overload
def softmax_backward(
    grad_output: ArrayLike,
    output: np.ndarray[_Shape, np.dtype[_Float]],
    dim: _Dim,
    *,
    out: None = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def softmax_backward(
    grad_output: ArrayLike,
    output: np.ndarray[_Shape, np.dtype[_Integer]],
    dim: _Dim,
    *,
    out: None = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, dim: _Dim, *, out: None = None
) -> _Array: ...
@overload
def log_softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, dim: _Dim, *, out: _Out
) -> _Out: ...
@overload
def log_softmax_backward(
    grad_output: ArrayLike,
    output: np.ndarray[_Shape, np.dtype[_Float]],
    dim: _Dim,
    *,
    out: None = None,
) -> np.ndarray[_Shape, np.dtype[_Float]]: ...
@overload
def log_softmax_backward(
    grad_output: ArrayLike,
    output: np.ndarray[_Shape, np.dtype[_Integer]],
    dim: _Dim,
    *,
    out: None = None,
) -> np.ndarray[_Shape, np.dtype[np.float64]]: ...
@overload
def log_softmax_backward(
    grad_output: ArrayLike, output: ArrayLike, dim: _Dim, *, out: None = None
) -> _Array: ...
def cross_entropy(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> _Array: ...
def nll_loss(
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> _Array: ...
@overload
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
    out: _Out,
) -> _Out: ...
@overload
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
    out: None = None,
) -> _Array: ...
