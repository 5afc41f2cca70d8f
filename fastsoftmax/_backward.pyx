"""The loops of the gradients of softmax and log_softmax over tiles, as `_core` has its own.

The arrays come checked; what is contiguous goes straight to the kernels, the rest by way of
`_gradients`. A row's bits depend neither on its tile nor on its thread.
"""

cimport numpy as cnp
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free

from fastsoftmax._core cimport (
    SMALL, aligned, axis_of, ceil_div, columns_of_tile, is_turned, overlap, packed, rows_of_tile,
    scratch, table, type_of,
)
from fastsoftmax._kernels cimport (
    FS_BACKWARD_SCRATCH,
    FS_ROWS_SCRATCH,
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

# What a call computes.
cdef struct Job:
    const fs_backward_kernels *kernels
    view g
    view y
    view out
    Py_ssize_t outer, n, inner, itemsize


cdef view _view(cnp.ndarray x) noexcept:
    return view(<char *> cnp.PyArray_DATA(x), cnp.PyArray_STRIDE(x, 0), cnp.PyArray_STRIDE(x, 1))


cdef void _tile_of_rows(
    const Job *job, Py_ssize_t first, Py_ssize_t rows, void *memory
) noexcept nogil:
    job.kernels.rows(
        job.g.data + first * job.g.outer, job.y.data + first * job.y.outer,
        job.out.data + first * job.out.outer, rows, job.n, job.g.outer // job.itemsize,
        job.y.outer // job.itemsize, job.out.outer // job.itemsize, memory)


cdef int _rows(const Job *job, int threads) except -1:
    """Tiles of whole groups of rows."""
    cdef bint is_large = job.outer * job.n * job.itemsize >= LARGE
    cdef Py_ssize_t most = PY_SSIZE_T_MAX if is_large else STREAMED // job.itemsize - 1
    cdef Py_ssize_t rows = job.outer
    cdef Py_ssize_t tile = rows_of_tile(rows, job.n, most, threads)
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, FS_ROWS_SCRATCH)
    if rows * job.n <= SMALL:
        _tile_of_rows(job, 0, rows, aligned(memory))
    else:
        for i in prange(ceil_div(rows, tile), num_threads=threads, use_threads_if=threads > 1,
                        schedule="static", nogil=True):
            _tile_of_rows(job, i * tile, min(tile, rows - i * tile),
                          aligned(memory) + threadid() * FS_ROWS_SCRATCH)
    free(memory)
    return 0


cdef void _tile_of_columns(
    const Job *job, Py_ssize_t sample, Py_ssize_t first, Py_ssize_t columns, void *memory
) noexcept nogil:
    cdef Py_ssize_t place = first * job.itemsize
    job.kernels.columns(
        job.g.data + sample * job.g.outer + place, job.y.data + sample * job.y.outer + place,
        job.out.data + sample * job.out.outer + place, columns, job.n, job.g.n // job.itemsize,
        job.y.n // job.itemsize, job.out.n // job.itemsize, memory)


cdef int _columns(const Job *job, int threads) except -1:
    """One strip of columns a tile."""
    cdef Py_ssize_t inner = job.inner
    cdef Py_ssize_t tile = columns_of_tile(job.outer, job.n, inner, COLUMNS, threads)
    cdef Py_ssize_t strips = ceil_div(inner, tile)
    cdef Py_ssize_t i, first
    cdef void *memory = scratch(threads, FS_BACKWARD_SCRATCH)
    if strips == 1 and job.outer * job.n * inner <= SMALL:
        for i in range(job.outer):
            _tile_of_columns(job, i, 0, inner, aligned(memory))
    else:
        for i in prange(
            job.outer * strips, num_threads=threads, use_threads_if=threads > 1,
            schedule="static", nogil=True
        ):
            first = i % strips * tile
            _tile_of_columns(job, i // strips, first, min(tile, inner - first),
                             aligned(memory) + threadid() * FS_BACKWARD_SCRATCH)
    free(memory)
    return 0


cdef int _run(const Job *job) except -1:
    cdef int threads = begin_team(job.outer * job.n * job.inner)
    try:
        if job.inner == 1:
            _rows(job, threads)
        else:
            _columns(job, threads)
    finally:
        end_team(threads)
    return 0


def _compute(int operation, cnp.ndarray g, cnp.ndarray y, cnp.ndarray out):
    """Run a gradient on arrays of shape (outer, n, inner), none of them 0, and of one dtype.

    Where inner is 1, the elements along n are adjacent, else those along inner.
    """
    cdef Job job = Job(
        &table().backward[operation][type_of(y)], _view(g), _view(y), _view(out),
        cnp.PyArray_DIM(y, 0), cnp.PyArray_DIM(y, 1), cnp.PyArray_DIM(y, 2),
        cnp.PyArray_ITEMSIZE(y))
    _run(&job)


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

    Or for few elements in other strides. None leaves all to `_gradients`, which says what is wrong
    with the arguments, if anything is.
    """
    cdef cnp.ndarray g, y, result
    cdef Job job
    cdef Py_ssize_t outer = 1, inner = 1, n, itemsize
    cdef int ndim, axis, i
    if not (cnp.PyArray_CheckExact(grad_output) and cnp.PyArray_CheckExact(output)):
        return None
    g = <cnp.ndarray> grad_output
    y = <cnp.ndarray> output
    ndim = cnp.PyArray_NDIM(y)
    axis = axis_of(dim, ndim)
    if type_of(y) < 0 or axis < 0 or cnp.PyArray_SIZE(y) == 0:
        return None
    # (as _core's `_few` has it; where dim has one element `_gradients` may have another order)
    if out is None and cnp.PyArray_DIM(y, axis) > 1 and type_of(g) == type_of(y):
        if is_turned(y) and is_turned(g) and not cnp.PyArray_ISCARRAY_RO(y):
            turned = _direct(operation, cnp.PyArray_Transpose(g, NULL),
                             cnp.PyArray_Transpose(y, NULL), ndim - 1 - axis, None)
            return None if turned is None else cnp.PyArray_Transpose(turned, NULL)
        near_y = y if cnp.PyArray_ISCARRAY_RO(y) else packed(y)
        near_g = g if cnp.PyArray_ISCARRAY_RO(g) else packed(g)
        if near_y is None or near_g is None:
            return None
        g, y = near_g, near_y
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
    for i in range(axis):
        outer *= cnp.PyArray_DIM(y, i)
    for i in range(axis + 1, ndim):
        inner *= cnp.PyArray_DIM(y, i)
    itemsize, n = cnp.PyArray_ITEMSIZE(y), cnp.PyArray_DIM(y, axis)
    job = Job(
        &table().backward[operation][type_of(y)],
        view(<char *> cnp.PyArray_DATA(g), n * inner * itemsize, inner * itemsize),
        view(<char *> cnp.PyArray_DATA(y), n * inner * itemsize, inner * itemsize),
        view(<char *> cnp.PyArray_DATA(result), n * inner * itemsize, inner * itemsize),
        outer, n, inner, itemsize)
    _run(&job)
    return result
