# What the other compiled modules need of _core: the kernels in use and their names of types, where
# rows and columns are cut, memory for a team, whether arrays overlap, which dimension is meant, and
# copies of few elements.

cimport numpy as cnp

from fastsoftmax._kernels cimport FS_SCRATCH, fs_kernels, fs_operation, fs_table

cdef enum:
    LONG_ROW = 65536   # elements: a longer row is cut, so that threads may share it
    PART = 16384       # elements: where it is cut
    TILE = 16384       # elements: the least that one thread takes at a time
    GROUP = 4096       # elements: of rows that a kernel works on together
    ALIGNMENT = 64     # bytes: a vector, and a cache line
    SMALL = 16384      # elements: a few microseconds, in which the GIL may stay
    FAR = 1048576      # bytes: what crosses more leaves the caches before it is wanted again
    NEXT_SAMPLE = 262144  # bytes: the most of columns that is fetched while others are worked on


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t rows_of_tile(
    Py_ssize_t rows, Py_ssize_t n, Py_ssize_t most, int threads
) noexcept nogil:
    """Rows of n elements to a tile: an equal share for each thread, of TILE to `most` elements.

    Rounded up to whole groups of rows: a kernel works on up to 16 at once, of long ones on GROUP
    elements. One group may have more than `most`.
    """
    cdef Py_ssize_t group = max(<Py_ssize_t> 1, min(<Py_ssize_t> 16, GROUP // n))
    cdef Py_ssize_t share = ceil_div(ceil_div(rows, threads), group)
    cdef Py_ssize_t cap = max(<Py_ssize_t> 1, most // (n * group))
    share = ceil_div(share, ceil_div(share, cap))  # as many tiles for each thread
    return group * min(max(share, ceil_div(TILE, n * group)), cap)


cdef inline Py_ssize_t columns_of_tile(
    Py_ssize_t samples, Py_ssize_t n, Py_ssize_t inner, Py_ssize_t most, int threads
) noexcept nogil:
    """Columns of n elements to a tile: an equal share for each thread, at most `most`.

    Both are multiples of 16, unless `most` is less. Samples that are less than four for each thread
    are cut into the fewest pieces of which every thread gets the same number; of more, some threads
    just get one more than others.
    """
    cdef Py_ssize_t share = inner, gcd = samples, other = threads
    if threads == 1:
        return most
    if samples < 4 * threads:
        while other:
            gcd, other = other, gcd % other
        share = ceil_div(inner, threads // gcd)  # samples * (threads // gcd): a multiple of threads
    share = ceil_div(share, ceil_div(share, most))
    return min(most, max(ceil_div(share, 16), ceil_div(TILE, 16 * n)) * 16)


cdef inline Py_ssize_t strip_width(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Columns of n elements of `size` bytes that are worked on together."""
    return max(<Py_ssize_t> 16, FS_SCRATCH // ((n + 2) * max(size, <Py_ssize_t> 4)) // 16 * 16)


cdef inline Py_ssize_t strip_scratch(
    Py_ssize_t n, Py_ssize_t inner, Py_ssize_t size
) noexcept nogil:
    """Bytes of scratch memory for `inner` columns (kernels.h)."""
    cdef Py_ssize_t width = ceil_div(inner, 16) * 16
    return min(<Py_ssize_t> FS_SCRATCH, (n + 2) * width * max(size, <Py_ssize_t> 4))


cdef inline Py_ssize_t next_sample(
    Py_ssize_t samples, Py_ssize_t n, Py_ssize_t inner, Py_ssize_t size
) noexcept nogil:
    """How many elements further on the next sample is, if it should be fetched meanwhile; else 0.

    It should where samples are small, so that a cache has room for two, and where all of them are
    too large to be in one already. They lie one after the other.
    """
    cdef Py_ssize_t sample = n * inner
    return sample if sample * size <= NEXT_SAMPLE and samples * sample * size >= FAR else 0


# Rows longer than LONG_ROW, of adjacent elements of `size` bytes; strides are in bytes. y is x,
# with equal strides, or shares no memory with it.
cdef struct LongRows:
    const fs_kernels *kernels
    const char *x
    char *y
    Py_ssize_t rows, n, size, x_stride, y_stride
    fs_operation operation


cdef void rows_by_parts(const LongRows *job, Py_ssize_t first, Py_ssize_t last) noexcept nogil
cdef const fs_table *table() noexcept nogil
cdef int type_of(cnp.ndarray x) noexcept
cdef void *scratch(int threads, Py_ssize_t size) except NULL
cdef char *aligned(void *memory) noexcept nogil
cdef bint overlap(cnp.ndarray x, cnp.ndarray y) noexcept
cdef int axis_of(object dim, int ndim) except -2
cdef object packed(cnp.ndarray x)
cdef bint is_turned(cnp.ndarray x) noexcept
