# What the other compiled modules need of _core: the kernels in use and their names of types, where
# rows and columns are cut, memory for a team, and whether arrays overlap.

cimport numpy as cnp

from fastsoftmax._kernels cimport FS_SCRATCH, fs_kernels, fs_table

cdef enum:
    LONG_ROW = 65536   # elements: a longer row is cut, so that threads may share it
    PART = 16384       # elements: where it is cut
    TILE = 16384       # elements: the least that one thread takes at a time
    GROUP = 4096       # elements: of rows that a kernel works on together
    ALIGNMENT = 64     # bytes: a vector, and a cache line
    FAR = 1048576      # bytes: what crosses more leaves the caches before it is wanted again
    NEXT_SAMPLE = 262144  # bytes: the most of columns that is fetched while others are worked on


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t rows_of_tile(
    Py_ssize_t rows, Py_ssize_t n, Py_ssize_t least, int threads
) noexcept nogil:
    """Rows of n elements to a tile: as many for each thread, of at least `least` elements.

    Whole groups of rows: a kernel works on up to 16 at once, of long ones on GROUP elements.
    """
    cdef Py_ssize_t group = max(<Py_ssize_t> 1, min(<Py_ssize_t> 16, GROUP // n))
    return max(ceil_div(ceil_div(rows, threads), group), ceil_div(least, n * group)) * group


cdef inline Py_ssize_t columns_of_tile(
    Py_ssize_t samples, Py_ssize_t n, Py_ssize_t inner, Py_ssize_t most, int threads
) noexcept nogil:
    """Columns of n elements to a tile, at most `most`, a multiple of 16: as many for each thread.

    Few samples are each cut into as many tiles as give every thread the same number of them.
    """
    cdef Py_ssize_t share = inner, a = samples, b = threads
    if threads == 1:
        return most
    if samples < 4 * threads:
        while b:
            a, b = b, a % b
        share = ceil_div(inner, threads // a)  # a divides both
    share = ceil_div(share, ceil_div(share, most))
    return min(most, max(ceil_div(share, 16), ceil_div(TILE, 16 * n)) * 16)


cdef inline Py_ssize_t strip_width(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Columns of n elements of `size` bytes that are worked on together."""
    return max(<Py_ssize_t> 16, FS_SCRATCH // ((n + 2) * max(size, <Py_ssize_t> 4)) // 16 * 16)


cdef inline Py_ssize_t strip_scratch(
    Py_ssize_t n, Py_ssize_t inner, Py_ssize_t size
) noexcept nogil:
    """Bytes of scratch memory for `inner` columns (kernels.h)."""
    cdef Py_ssize_t width = (inner + 15) // 16 * 16
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


# Rows longer than LONG_ROW, of adjacent elements of `size` bytes; strides are in bytes. They may be
# in place, or overlap nowhere.
cdef struct LongRows:
    const fs_kernels *kernels
    const char *x
    char *y
    Py_ssize_t rows, n, size, x_stride, y_stride
    bint one_result  # a row, for logsumexp


cdef void rows_by_parts(const LongRows *job, Py_ssize_t first, Py_ssize_t last) noexcept nogil
cdef const fs_table *table() noexcept nogil
cdef int type_of(cnp.ndarray x) noexcept
cdef void *scratch(int threads, Py_ssize_t size) except NULL
cdef char *aligned(void *memory) noexcept nogil
cdef bint overlap(cnp.ndarray x, cnp.ndarray y) noexcept
