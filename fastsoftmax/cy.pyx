"""What other Cython packages cimport. The contract is in cy.pxd; docs/cython.md shows its use."""

from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc

from fastsoftmax._core cimport (
    ALIGNMENT, LONG_ROW, LongRows, aligned, next_sample, rows_by_parts, strip_scratch, table,
)
from fastsoftmax._kernels cimport (
    FS_F32, FS_F64, FS_LOG_SOFTMAX, FS_LOGSUMEXP, FS_ROWS_SCRATCH, FS_SOFTMAX, fs_kernels,
    fs_operation, fs_type,
)


cdef int softmax_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    return _run(FS_SOFTMAX, FS_F32, <const char *> x, <char *> out, outer, n, inner)


cdef int softmax_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    return _run(FS_SOFTMAX, FS_F64, <const char *> x, <char *> out, outer, n, inner)


cdef int log_softmax_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    return _run(FS_LOG_SOFTMAX, FS_F32, <const char *> x, <char *> out, outer, n, inner)


cdef int log_softmax_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    return _run(FS_LOG_SOFTMAX, FS_F64, <const char *> x, <char *> out, outer, n, inner)


cdef int logsumexp_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    cdef Py_ssize_t i
    if n == 0:
        for i in range(outer * inner):
            out[i] = -INFINITY
    return _run(FS_LOGSUMEXP, FS_F32, <const char *> x, <char *> out, outer, n, inner)


cdef int logsumexp_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    cdef Py_ssize_t i
    if n == 0:
        for i in range(outer * inner):
            out[i] = -INFINITY
    return _run(FS_LOGSUMEXP, FS_F64, <const char *> x, <char *> out, outer, n, inner)


# The same kernels as _core's loops call, cut at the same places: so the bits are the same.

cdef int _run(
    fs_operation operation, fs_type type, const char *x, char *y,
    Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner
) noexcept nogil:
    cdef const fs_kernels *kernels = &table().kernels[<int> operation][<int> type]
    cdef Py_ssize_t size = 4 if type == FS_F32 else 8
    cdef Py_ssize_t results = 1 if operation == FS_LOGSUMEXP else n
    cdef LongRows job
    cdef char memory[FS_ROWS_SCRATCH + ALIGNMENT]
    if outer == 0 or n == 0 or inner == 0:
        return 0
    if inner > 1:
        return _columns(kernels, x, y, outer, n, inner, results, size)
    if n <= LONG_ROW:
        kernels.rows(x, y, outer, n, n, results, aligned(memory), NULL)
    else:
        job = LongRows(kernels, x, y, outer, n, size, n * size, results * size, operation)
        rows_by_parts(&job, 0, outer)
    return 0


cdef int _columns(
    const fs_kernels *kernels, const char *x, char *y,
    Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner, Py_ssize_t results, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t ahead = next_sample(outer, n, inner, size)
    cdef Py_ssize_t i
    cdef void *memory = malloc(strip_scratch(n, inner, size) + ALIGNMENT)
    if memory == NULL:
        return -1
    for i in range(outer):
        kernels.columns(x + i * n * inner * size, y + i * results * inner * size, inner, n, inner,
                        inner, aligned(memory), ahead)
    free(memory)
    return 0
