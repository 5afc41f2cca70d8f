from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from typing_extensions import disjoint_base

_Array = np.ndarray[Any, Any]

__pyx_capi__: dict[str, object]
_SMALL: int

def softmax(
    input: ArrayLike,
    dim: int | tuple[int, ...] | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Array | None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
def log_softmax(
    input: ArrayLike,
    dim: int | tuple[int, ...] | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Array | None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
def softmin(
    input: ArrayLike,
    dim: int | tuple[int, ...] | None = None,
    _stacklevel: int = 3,
    dtype: DTypeLike | None = None,
    *,
    out: _Array | None = None,
    where: ArrayLike | None = None,
) -> _Array: ...
def logsumexp(
    input: ArrayLike,
    dim: int | tuple[int, ...],
    keepdim: bool = False,
    *,
    out: _Array | None = None,
    where: ArrayLike | None = None,
) -> _Array: ...

@disjoint_base
class _DefaultEnvironment:
    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...

def _isa() -> str: ...
def _isa_available() -> tuple[str, ...]: ...
def _use_isa(name: str) -> str: ...
def _use_few(elements: int) -> int: ...
def _compiler() -> str: ...
def _kernel_names() -> dict[str, dict[str, str]]: ...
def _empty(
    shape: Sequence[int], dtype: np.dtype[Any], x: _Array, n: int = 1, inner: int = 1
) -> _Array: ...
def _know_bfloat16(bfloat16: np.dtype[Any]) -> None: ...
def _compute(operation: int, x: _Array, y: _Array) -> None: ...
