from collections.abc import Sequence
from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

LEAST_PART: int
CARRY: np.dtype[Any]

def nothing(shape: int | Sequence[int]) -> _Array: ...
def numbers(carries: _Array) -> _Array: ...
def reduce(operation: int, rows: _Array, carries: _Array) -> None: ...
def merge(type: int, into: _Array, carries: _Array) -> None: ...
def finish(operation: int, rows: _Array, results: _Array, carries: _Array) -> None: ...
def weigh(
    x: _Array,
    p: _Array | None,
    weight: _Array | None,
    keep: float,
    share: float,
    references: _Array,
) -> _Array: ...
