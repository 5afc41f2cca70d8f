"""Arguments as users give them, to what the loops need: each refusal is here, with its sentence."""

from __future__ import annotations

import operator
import warnings
from typing import Any, NoReturn

import numpy as np

Array = np.ndarray[Any, Any]

NAMES = ("softmax", "log_softmax", "softmin", "logsumexp")
LOGSUMEXP = 3

# DLDeviceType of DLPack. Memory the CPU reads: its own, and what CUDA or ROCm pinned or manages.
CPU_DEVICES = (1, 3, 11, 13)
DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


def is_dask(value: Any) -> bool:
    """Whether this is of dask, told without importing dask."""
    kind = type(value)
    return kind is not np.ndarray and kind.__module__.partition(".")[0] == "dask"


def as_array(name: str, input: Any) -> Array:
    """Whatever is array-like, as a plain NumPy array that shares its memory where it can."""
    if type(input) is np.ndarray:
        return input
    if is_dask(input):
        raise TypeError(
            f"{name}() got a lazy {type(input).__name__} of dask where it needs an array in "
            "memory: call its compute() first (softmax, log_softmax, softmin, logsumexp, "
            "cross_entropy and nll_loss take dask arrays as their input)"
        )
    if isinstance(input, np.ma.MaskedArray):
        raise TypeError(
            f"{name}() would ignore the mask of a numpy.ma.MaskedArray: pass its data and "
            "where=~mask instead (numpy.ma.getmaskarray gives the mask)"
        )
    if not isinstance(input, (np.ndarray, np.generic)) and hasattr(input, "__dlpack__"):
        device = int(input.__dlpack_device__()[0])
        if device not in CPU_DEVICES:
            _refuse_device(name, input, DEVICES.get(device, f"DLPack device type {device}"))
        return np.from_dlpack(input)
    if hasattr(input, "__cuda_array_interface__") and not hasattr(input, "__array__"):
        _refuse_device(name, input, "CUDA")
    return np.asarray(input)


def _refuse_device(name: str, input: Any, device: str) -> NoReturn:
    raise TypeError(
        f"{name}() works on CPU memory, but got a {type(input).__name__} on {device}: "
        "copy it to the CPU first"
    )


def dims_of(name: str, dim: Any, shape: tuple[int, ...], stacklevel: int) -> tuple[int, ...]:
    """`dim` as a tuple of non-negative axes."""
    ndim = len(shape)
    if dim is None:
        if name == NAMES[LOGSUMEXP]:
            raise TypeError(f"{name}() needs dim, an int or a tuple of ints, but got None")
        warnings.warn(
            f"Implicit dimension choice for {name} has been deprecated. "
            "Change the call to include dim=X as an argument.",
            stacklevel=stacklevel,
        )
        dim = 0 if ndim in (0, 1, 3) else 1
    if not isinstance(dim, (tuple, list)):
        return (_one_dim(name, dim, ndim),)
    dims = tuple(_one_dim(name, one, ndim) for one in dim)
    if len(set(dims)) < len(dims):
        raise ValueError(f"{name}() got dim={tuple(dim)!r}, which names a dimension twice")
    if not dims:
        raise ValueError(f"{name}() got dim=(), which names no dimension: give at least one")
    return dims


def _one_dim(name: str, dim: Any, ndim: int) -> int:
    if isinstance(dim, bool) or not hasattr(type(dim), "__index__"):
        raise TypeError(
            f"{name}() needs dim to be an int or a tuple of ints, not {type(dim).__name__}"
        )
    dim = int(operator.index(dim))
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], "
            f"but got {dim})"
        )
    return int(dim % span)


def result_dtype(name: str, given: np.dtype[Any], wanted: Any) -> np.dtype[Any]:
    """The dtype of the result: the input's, or float64 for integers, or what the caller wants."""
    if given.kind not in "fiubc" and not is_bfloat16(given):
        raise TypeError(f"{name}() needs numbers, but got dtype {given}: convert it to float first")
    dtype = np.dtype(wanted) if wanted is not None else given
    if dtype.kind in "iub":
        if wanted is not None:
            raise TypeError(
                f"{name}() computes in floating point, but got dtype={dtype}: "
                "give a floating-point dtype"
            )
        dtype = np.dtype(np.float64)
    if dtype.kind == "c" or given.kind == "c":
        if name != NAMES[LOGSUMEXP]:
            raise TypeError(
                f"{name}() is not defined for complex numbers, but got dtype "
                f"{given if given.kind == 'c' else dtype}: take the real part first"
            )
    elif dtype.kind != "f" and not is_bfloat16(dtype):
        raise TypeError(f"{name}() computes in floating point, but got dtype={dtype}")
    return dtype.newbyteorder("=")


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether this is ml_dtypes' bfloat16, told without importing ml_dtypes."""
    return dtype.kind == "V" and dtype.type.__name__ == "bfloat16" and dtype.itemsize == 2


def check_out(name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`out` as given, once nothing speaks against it."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name}() needs out to be a numpy.ndarray, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(
            f"{name}() needs out to have dtype {dtype}, the dtype of the result, but it has "
            f"{out.dtype}"
        )
    if out.shape != shape:
        raise ValueError(
            f"{name}() needs out to have shape {shape}, the shape of the result, but it has "
            f"{out.shape}"
        )
    steps = zip(out.shape, out.strides, strict=True)
    if out.size and any(size > 1 and stride == 0 for size, stride in steps):
        raise ValueError(
            f"{name}() cannot write to out: its elements share memory (strides {out.strides}); "
            "give an array with memory for each element"
        )
    if not out.flags.writeable:
        raise ValueError(f"{name}() cannot write to out: it is read-only; give a writeable array")
    return out


def check_where(name: str, where: Any, shape: tuple[int, ...]) -> Array:
    """`where` as a boolean array broadcast to `shape`; a dask array stays one."""
    if isinstance(where, np.ma.MaskedArray):
        raise TypeError(
            f"{name}() would ignore the mask of where, a numpy.ma.MaskedArray: fill it first, "
            "where.filled(False)"
        )
    mask = where if is_dask(where) else np.asarray(where)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"{name}() needs where to be an array of bool, but it has dtype {mask.dtype}: "
            "compare it or convert it first"
        )
    if mask.shape == shape:
        return mask
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"{name}() needs where to broadcast to the shape {shape} of the input, but it has "
            f"shape {mask.shape}"
        ) from None
