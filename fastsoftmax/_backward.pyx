"""The loops of the gradients of softmax and log_softmax over tiles, as `_core` has its own.

The arrays come checked; what is contiguous goes straight to the kernels, the rest by way of
`_gradients`. A row's bits depend neither on its tile nor on its thread.
"""

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free

from fastsoftmax._core cimport (
    aligned, ceil_div, columns_of_tile, overlap, rows_of_tile, scratch, table, type_of,
)
from fastsoftmax._kernels cimport (
    FS_BACKWARD_SCRATCH,
    FS_ROWS_SCRATCH,
    fs_backward_fn,
    fs_backward_kernels,
)
from fastsoftmax._threads cimport begin_team, end_team

from fastsoftmax._core import _empty

cnp.import_array()

cdef enum:
    LARGE = 8 << 20     # bytes: results that few caches keep
    STREAMED = 1 << 20  # bytes: of tiles so large the kernels store the rows past the caches
    COLUMNS = 512       # the most columns of a tile

# An array (outer, n, inner): its memory, and the strides in bytes of the first two.
cdef struct view:
    char *data
    Py_ssize_t outer
    Py_ssize_t n


cdef view _view(cnp.ndarray x) noexcept:
    return view(<char *> cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x, 0), cnp.PyArray_STRIDE(x, 1))


cdef int _rows(
    fs_backward_fn kernel, view g, view y, view out, Py_ssize_t rows, Py_ssize_t n,
    Py_ssize_t itemsize, int threads
) except -1:
    """Tiles of whole groups of rows."""
    cdef bint is_large = rows * n * itemsize >= LARGE
    cdef Py_ssize_t most = PY_SSIZE_T_MAX if is_large else STREAMED // itemsize - 1
    cdef Py_ssize_t tile = rows_of_tile(rows, n, most, threads)
    cdef Py_ssize_t tiles = ceil_div(rows, tile)
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, FS_ROWS_SCRATCH)
    for i in prange(tiles, num_threads=threads, use_threads_if=threads > 1,
                    schedule="static", nogil=True):
        kernel(g.data + i * tile * g.outer, y.data + i * tile * y.outer,
               out.data + i * tile * out.outer, min(tile, rows - i * tile), n,
               g.outer // itemsize, y.outer // itemsize, out.outer // itemsize,
               aligned(memory) + threadid() * FS_ROWS_SCRATCH)
    free(memory)
    return 0


cdef int _columns(
    fs_backward_fn kernel, view g, view y, view out, Py_ssize_t outer, Py_ssize_t n,
    Py_ssize_t inner, Py_ssize_t itemsize, int threads
) except -1:
    """One strip of columns a tile."""
    cdef Py_ssize_t tile = columns_of_tile(outer, n, inner, COLUMNS, threads)
    cdef Py_ssize_t strips = ceil_div(inner, tile)
    cdef Py_ssize_t i, first
    cdef void *memory = scratch(threads, FS_BACKWARD_SCRATCH)
    for i in prange(
        outer * strips, num_threads=threads, use_threads_if=threads > 1, schedule="static",
        nogil=True
    ):
        first = i % strips * tile
        kernel(g.data + i // strips * g.outer + first * itemsize,
               y.data + i // strips * y.outer + first * itemsize,
               out.data + i // strips * out.outer + first * itemsize,
               min(tile, inner - first), n,
               g.n // itemsize, y.n // itemsize, out.n // itemsize,
               aligned(memory) + threadid() * FS_BACKWARD_SCRATCH)
    free(memory)
    return 0


def _compute(int operation, cnp.ndarray g, cnp.ndarray y, cnp.ndarray out):
    """Run a gradient on arrays of shape (outer, n, inner), none of them 0, and of one dtype.

    Where inner is 1, the elements along n are adjacent, else those along inner.
    """
    cdef const fs_backward_kernels *kernels = &table().backward[operation][type_of(y)]
    cdef Py_ssize_t outer = cnp.PyArray_DIM(y, 0), n = cnp.PyArray_DIM(y, 1)
    cdef Py_ssize_t inner = cnp.PyArray_DIM(y, 2), itemsize = cnp.PyArray_ITEMSIZE(y)
    cdef view of_g = _view(g), of_y = _view(y), of_out = _view(out)
    cdef int threads = begin_team(outer * n * inner)
    try:
        if inner == 1:
            _rows(kernels.rows, of_g, of_y, of_out, outer, n, itemsize, threads)
        else:
            _columns(kernels.columns, of_g, of_y, of_out, outer, n, inner, itemsize, threads)
    finally:
        end_team(threads)


cdef bint _apart(cnp.ndarray x, cnp.ndarray out) noexcept:
    """Whether contiguous arrays of one size share either no memory or all of it."""
    return cnp.PyArray_DATA(x) == cnp.PyArray_DATA(out) or not overlap(x, out)


cdef bint _alike(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Whether x is contiguous, and of the type and shape of y."""
    return (
        cnp.PyArray_TYPE(x) == cnp.PyArray_TYPE(y)
        and cnp.PyArray_NDIM(x) == cnp.PyArray_NDIM(y)
        and cnp.PyArray_CompareLists(cnp.PyArray_DIMS(x), cnp.PyArray_DIMS(y),
                                     cnp.PyArray_NDIM(y))
        and cnp.PyArray_ISCARRAY_RO(x)
    )


def _direct(int operation, object grad_output, object output, object dim, object out):
    """The gradient for contiguous arrays over one dimension, the common case; else None.

    None leaves all to `_gradients`, which says what is wrong with the arguments, if anything is.
    """
    cdef cnp.ndarray g, y, result
    cdef Py_ssize_t outer = 1, inner = 1
    cdef int ndim, i, overflow = 0
    cdef long axis
    if not (cnp.PyArray_CheckExact(grad_output) and cnp.PyArray_CheckExact(output)):
        return None
    if (<object> dim).__class__ is not int:
        return None
    g = <cnp.ndarray> grad_output
    y = <cnp.ndarray> output
    ndim = cnp.PyArray_NDIM(y)
    axis = PyLong_AsLongAndOverflow(dim, &overflow)
    if type_of(y) < 0 or overflow or not -ndim <= axis < ndim or cnp.PyArray_SIZE(y) == 0:
        return None
    if not (cnp.PyArray_ISCARRAY_RO(y) and _alike(g, y)):
        return None
    if out is None:
        result = _empty(output.shape, output.dtype, y)
    else:
        if not cnp.PyArray_CheckExact(out):
            return None
        result = <cnp.ndarray> out
        if not (_alike(result, y) and cnp.PyArray_ISCARRAY(result)):
            return None
        if not (_apart(g, result) and _apart(y, result)):
            return None
    if axis < 0:
        axis += ndim
    for i in range(axis):
        outer *= cnp.PyArray_DIM(y, i)
    for i in range(axis + 1, ndim):
        inner *= cnp.PyArray_DIM(y, i)
    shape = outer, cnp.PyArray_DIM(y, axis), inner
    _compute(operation, g.reshape(shape), y.reshape(shape), result.reshape(shape))
    return result
