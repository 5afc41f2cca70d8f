from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

def _compute(operation: int, g: _Array, y: _Array, out: _Array) -> None: ...
def _direct(operation: int, grad_output: Any, output: Any, dim: Any, out: Any) -> _Array | None: ...
