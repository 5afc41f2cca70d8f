"""Parts of rows: each part to its carry (kernels.h), carries merged, each part finished.

For rows that are never in one piece: gathered a part at a time, or chunks on other machines.
"""

cimport numpy as cnp
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fastsoftmax._core cimport PART, table, type_of
from fastsoftmax._kernels cimport (
    FS_F32, FS_F64, fs_carry, fs_kernels, fs_lines, fs_loss_kernels, fs_part, fs_wanted,
)

import numpy as np

cnp.import_array()

ctypedef fused real:
    float
    double

ctypedef fused element:
    uint16_t
    uint32_t
    uint64_t

cdef enum:
    STRIP = 256  # rows turned together: a line of each in the first cache, or almost

LEAST_PART = 16  # elements

# An fs_carry, as arrays hold it and as it travels between processes.
CARRY = np.dtype([("top", "f8"), ("others", "f8"), ("sum", "f8"), ("sum_low", "f8")])


def nothing(shape):
    """The carries of rows that have no element yet."""
    carries = np.zeros(shape, CARRY)
    carries["top"] = -np.inf
    carries["others"] = -1
    return carries


def numbers(carries):
    """Contiguous carries as (rows, 4) numbers, in the same memory."""
    return carries.reshape(-1).view(np.float64).reshape(-1, 4)


cdef const fs_kernels *_kernels(int operation, int type) noexcept nogil:
    return &table().kernels[operation][type]


def reduce(int operation, const real[:, :] rows, double[:, ::1] carries):
    """Merge a part of each row, at least LEAST_PART adjacent elements, into the row's carry.

    `carries` are viewed as (rows, 4).
    """
    cdef const fs_kernels *kernels = _kernels(operation, FS_F32 if sizeof(real) == 4 else FS_F64)
    cdef Py_ssize_t n = rows.shape[1], row, start, count
    cdef fs_carry carry
    with nogil:
        for row in range(rows.shape[0]):
            start = 0
            while start < n:
                count = PART if n - start >= 2 * PART else n - start
                kernels.reduce(&rows[row, start], NULL, count, &carry, NULL)
                kernels.merge(<fs_carry *> &carries[row, 0], &carry)
                start += count


def merge(int type, double[:, ::1] into, const double[:, ::1] carries):
    """Merge carries into others, each (rows, 4); type 0 is float32, 1 float64."""
    cdef const fs_kernels *kernels = _kernels(0, type)
    cdef Py_ssize_t row
    with nogil:
        for row in range(into.shape[0]):
            kernels.merge(<fs_carry *> &into[row, 0], <const fs_carry *> &carries[row, 0])


def finish(
    int operation, const real[:, :] rows, real[:, :] results, const double[:, ::1] carries
):
    """Finish a part of each row, at least LEAST_PART adjacent elements, from the row's whole carry.

    `carries` are viewed as (rows, 4). `results` may be `rows`. For logsumexp it has one element a
    row, and `rows` do not matter.
    """
    cdef const fs_kernels *kernels = _kernels(operation, FS_F32 if sizeof(real) == 4 else FS_F64)
    cdef Py_ssize_t row
    cdef fs_part part
    with nogil:
        for row in range(rows.shape[0]):
            part = fs_part(&rows[row, 0], NULL, &results[row, 0],
                           <const fs_carry *> &carries[row, 0])
            kernels.finish(&part, rows.shape[1])


def turn(const element[:, :] x, element[:, :] y):
    """Copy (rows, n) elements of which those along rows are adjacent in x or in y, not in both.

    A strip of the one is spread over as many rows of the other, so that memory is met in runs.
    """
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1], first = 0, row, j
    with nogil:
        while first < rows:
            for j in range(n):
                for row in range(first, min(rows, first + STRIP)):
                    y[row, j] = x[row, j]
            first += STRIP


def weigh(
    cnp.ndarray x, cnp.ndarray p, weight, double keep, double share, const double[::1] references
):
    """Two sums over the classes of each line: of q * (reference - x), and of q.

    q is ``weight * (keep * p + share)``, without p ``weight * share``. Logits x are (N, C, K) and
    contiguous, none of these 0, and p lies as they do; there is a reference for each of the N * K
    lines.
    """
    cdef const fs_loss_kernels *kernels = &table().losses[type_of(x)]
    cdef Py_ssize_t samples = x.shape[0], n = x.shape[1], inner = x.shape[2], line, sample
    cdef Py_ssize_t size = n * inner * cnp.PyArray_ITEMSIZE(x)
    cdef const char *x_at = <const char *> cnp.PyArray_DATA(x)
    cdef const char *p_at = NULL
    cdef const double[::1] weights
    cdef double[:, ::1] parts = np.zeros((samples * inner, 2))
    cdef double[:, ::1] sums = np.empty((samples * inner, 2))
    cdef fs_lines lines
    cdef fs_wanted wanted
    for line in range(samples * inner):
        parts[line, 0] = references[line]
    wanted.keep, wanted.share, wanted.weight = keep, share, NULL
    if weight is not None:
        weights = weight
        wanted.weight = &weights[0]
    if p is not None:
        p_at = <const char *> cnp.PyArray_DATA(p)
    lines.n, lines.ahead, lines.samples, lines.apart = n, 0, 1, 0
    with nogil:
        if inner == 1:
            lines.count, lines.stride, lines.step = samples, n, 1
            kernels.weigh(x_at, p_at, &lines, &wanted, &parts[0, 0], &sums[0, 0])
        else:
            lines.count, lines.stride, lines.step = inner, 1, inner
            for sample in range(samples):
                kernels.weigh(x_at + sample * size, NULL if p_at == NULL else p_at + sample * size,
                              &lines, &wanted, &parts[sample * inner, 0], &sums[sample * inner, 0])
    return np.asarray(sums)
