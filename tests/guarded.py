"""Memory between two pages that nobody may touch: an element read or written too far is a SIGSEGV.

x = lay(array, "end")          # its last byte is the last before the page
lay(array, "start", step=2)    # every second element of a guarded block, from its first byte on
"""

import ctypes
import mmap
import weakref

import numpy as np

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE
PLACES = ("start", "end")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def block(nbytes, place):
    """`nbytes` bytes beside a page without access at one side, and near one at the other."""
    pages = -(-nbytes // PAGE) + 2
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = _libc.mmap(None, pages * PAGE, NO_ACCESS, flags, -1, 0)
    assert start not in (None, ctypes.c_void_p(-1).value)
    inside = (pages - 2) * PAGE
    if inside:
        allowed = mmap.PROT_READ | mmap.PROT_WRITE
        assert _libc.mprotect(start + PAGE, inside, allowed) == 0
    first = start + PAGE + (inside - nbytes if place == "end" else 0)
    memory = (ctypes.c_uint8 * nbytes).from_address(first)
    weakref.finalize(memory, _libc.munmap, start, pages * PAGE)
    return np.frombuffer(memory, np.uint8)


def lay(array, place, step=1, order="C"):
    """A copy of an array in such memory, `step` elements from one to the next."""
    axes = range(array.ndim) if order == "F" else reversed(range(array.ndim))
    strides, stride = [0] * array.ndim, step * array.itemsize
    for axis in axes:
        strides[axis] = stride
        stride *= array.shape[axis]
    extent = array.itemsize + sum(
        (size - 1) * one for size, one in zip(array.shape, strides, strict=True)
    )
    memory = block(extent, place)
    memory[:] = 0xAA
    laid = np.ndarray(array.shape, array.dtype, memory, 0, strides)
    laid[...] = array
    return laid
