from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

NUMBERS: tuple[type[np.floating[Any]], ...]
REDUCTIONS: tuple[str, ...]

def direct_loss(
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    label_smoothing: Any,
    of_logits: bool,
) -> _Array | None: ...
def direct_gradient(
    grad_output: Any,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    label_smoothing: Any,
    out: _Array | None,
) -> _Array | None: ...
def class_losses(
    x: _Array,
    target: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    losses: _Array | None,
) -> tuple[float, float]: ...
def probability_losses(
    x: _Array,
    target: _Array,
    weight: _Array | None,
    label_smoothing: float,
    losses: _Array | None,
) -> float: ...
def class_gradients(
    x: _Array,
    target: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    scale: _Array | float,
    out: _Array,
) -> None: ...
def probability_gradients(
    x: _Array,
    target: _Array,
    weight: _Array | None,
    label_smoothing: float,
    scale: _Array | float,
    out: _Array,
) -> None: ...
def rounded(wide: _Array, dtype: np.dtype[Any]) -> _Array: ...
