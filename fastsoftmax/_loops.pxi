# The loops over tiles, included by _core.pyx: rows, rows to be gathered, columns, one long row.
#
# The views may have any row strides; the elements of a row, or the columns beside each other, are
# adjacent. A row's bits depend neither on its tile nor on its thread.
#
# They are called with the GIL, and each parallel loop lets go of it. In a function that is nogil as
# a whole Cython would ask PyGILState_Check, which says yes to everything once there is a
# sub-interpreter, and let go of the GIL a second time, which ends the process.

from cython.parallel cimport prange, threadid
from libc.stdint cimport uint16_t, uintptr_t
from libc.stdlib cimport free, malloc

from fastsoftmax._kernels cimport (
    FS_ROWS_SCRATCH, fs_carry, fs_fetch, fs_kernels, fs_operation,
)

# What the loops run over: the type only tells them the size of an element.
ctypedef fused real:
    float
    double
    uint16_t  # float16 and bfloat16

cdef enum:
    GATHERED = 2048    # elements: of rows to be brought together; the first cache has the next too
    WINDOW = 4096      # parts whose carries are in memory at a time
    PAGE = 4096        # bytes: addresses that agree within a page hinder each other


cdef char *aligned(void *memory) noexcept nogil:
    return <char *> ((<size_t> memory + ALIGNMENT - 1) & ~<size_t> (ALIGNMENT - 1))


cdef char *_placed(char *memory, const void *other, bint alike) noexcept nogil:
    """A place within a page from `memory` on, half a page from `other` within a page.

    There no load waits for an earlier store whose last 12 address bits are the same. It is aligned
    to cache lines, or lies within one as `other` does (`alike`). It may be up to ALIGNMENT bytes
    before `memory`.
    """
    cdef uintptr_t place = <uintptr_t> memory
    place += (<uintptr_t> other + PAGE // 2 - place) % PAGE
    return <char *> (place if alike else place // ALIGNMENT * ALIGNMENT)


cdef void *scratch(int threads, Py_ssize_t size) except NULL:
    """Scratch memory for a team: `size` bytes each, a multiple of ALIGNMENT."""
    cdef void *memory = malloc(threads * size + ALIGNMENT)
    if memory == NULL:
        raise MemoryError(f"no memory for {threads} threads' scratch space of {size} bytes")
    return memory


cdef int _rows(
    const fs_kernels *kernels, const real[:, :] x, real[:, :] y, int threads
) except -1:
    """Rows of up to LONG_ROW: tiles of whole groups of rows."""
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1]
    cdef Py_ssize_t x_stride = x.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t y_stride = y.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t tile = rows_of_tile(rows, n, TILE, threads)
    cdef Py_ssize_t tiles = ceil_div(rows, tile)
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, FS_ROWS_SCRATCH)
    for i in prange(tiles, num_threads=threads, use_threads_if=threads > 1,
                    schedule="static", nogil=True):
        kernels.rows(&x[i * tile, 0], &y[i * tile, 0], min(tile, rows - i * tile), n,
                     x_stride, y_stride, aligned(memory) + threadid() * FS_ROWS_SCRATCH, NULL)
    free(memory)
    return 0


cdef int _gathered_rows(
    const fs_kernels *kernels, const real[:, :] x, real[:, :] y, int threads
) except -1:
    """Rows, as those above, whose elements are not adjacent: a tile of them is brought together."""
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1]
    cdef Py_ssize_t step = x.strides[1] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t y_stride = y.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t tile = max(<Py_ssize_t> 1, GATHERED // n)
    cdef Py_ssize_t tiles = (rows + tile - 1) // tile
    cdef Py_ssize_t size = n * <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t room = FS_ROWS_SCRATCH + (tile * size // ALIGNMENT + 1) * ALIGNMENT + PAGE
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, room)
    for i in prange(tiles, num_threads=threads, use_threads_if=threads > 1,
                    schedule="static", nogil=True):
        _gathered_tile(kernels, <const char *> &x[i * tile, 0], <char *> &y[i * tile, 0], tile,
                       min(tile, rows - i * tile), n, x.strides[0], step, y_stride, sizeof(real),
                       aligned(memory) + threadid() * room)
    free(memory)
    return 0


cdef void _gathered_tile(
    const fs_kernels *kernels, const char *x, char *y, Py_ssize_t tile, Py_ssize_t rows,
    Py_ssize_t n, Py_ssize_t x_stride, Py_ssize_t step, Py_ssize_t y_stride, Py_ssize_t size,
    char *memory
) noexcept nogil:
    """A tile of `rows` rows, x_stride bytes apart.

    Meanwhile the kernel fetches the beginning of each row of the next tile: as much as it reads of
    this one, and, where elements lie apart, again as much in its last stage, when memory is idle.
    """
    cdef char *gathered = _placed(memory + FS_ROWS_SCRATCH, y, False)
    cdef Py_ssize_t i
    cdef fs_fetch fetch
    for i in range(rows):
        _table.gather(x + i * x_stride, size, step, gathered + i * n * size, n)
    fetch.from_ = x + tile * x_stride + (0 if step > 0 else (n - 1) * step * size)
    fetch.again = fetch.from_ + (0 if step == -1 else n * size)
    fetch.stride = x_stride
    kernels.rows(gathered, y, rows, n, n, y_stride, memory, &fetch)


cdef int _columns(
    const fs_kernels *kernels, const real[:, :, :] x, real[:, :, :] y, int threads
) except -1:
    """Columns (outer, n, inner): some strips of columns a tile, the first to a cache line's end."""
    cdef Py_ssize_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2]
    cdef Py_ssize_t x_stride = x.strides[1] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t y_stride = y.strides[1] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t width = strip_width(n, sizeof(real))
    # a kernel writes one strip while it begins the next; of many each thread has four tiles
    cdef Py_ssize_t strips = max(<Py_ssize_t> 1, inner // (4 * threads * width))
    cdef Py_ssize_t tile = columns_of_tile(outer, n, inner, strips * width, threads)
    cdef Py_ssize_t lead = _columns_before_a_line(x, y, tile)
    cdef Py_ssize_t tiles = 1 + ceil_div(inner - lead, tile)
    cdef Py_ssize_t i, first
    cdef Py_ssize_t needed = strip_scratch(n, inner, sizeof(real))
    cdef Py_ssize_t ahead = next_sample(outer, n, inner, sizeof(real))
    cdef Py_ssize_t sample = ahead * <Py_ssize_t> sizeof(real)
    cdef void *memory = scratch(threads, needed)
    # (of logsumexp no results are fetched)
    if x.strides[0] != sample or y.shape[1] > 1 and y.strides[0] != sample:
        ahead = 0
    for i in prange(
        outer * tiles, num_threads=threads, use_threads_if=threads > 1, schedule="static",
        nogil=True
    ):
        first = max(<Py_ssize_t> 0, lead + (i % tiles - 1) * tile)
        kernels.columns(&x[i // tiles, 0, first], &y[i // tiles, 0, first],
                        min(inner, lead + i % tiles * tile) - first, n, x_stride, y_stride,
                        aligned(memory) + threadid() * needed, ahead)
    free(memory)
    return 0


cdef bint _far_lines(Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """Whether columns of n elements, `stride` bytes apart, are worth to begin with a cache line."""
    return stride % ALIGNMENT == 0 and n * stride >= FAR


cdef Py_ssize_t _columns_before_a_line(
    const real[:, :, :] x, real[:, :, :] y, Py_ssize_t tile
) noexcept nogil:
    """How many columns the first tile has.

    The others then read and store whole cache lines, of arrays that lie alike to them. NumPy's own
    large ones lie 16 bytes behind.
    """
    cdef Py_ssize_t width = min(tile, x.shape[2])
    cdef uintptr_t place = <uintptr_t> &x[0, 0, 0]
    if not _far_lines(x.shape[1], x.strides[1]) or place % sizeof(real) != 0:
        return width
    if x.shape[0] > 1 and (x.strides[0] % ALIGNMENT != 0 or y.strides[0] % ALIGNMENT != 0):
        return width
    if y.shape[1] > 1 and (
        y.strides[1] % ALIGNMENT != 0 or (<uintptr_t> &y[0, 0, 0] - place) % ALIGNMENT != 0
    ):
        return width
    return min(width, <Py_ssize_t> (-place % ALIGNMENT // sizeof(real))) or width


cdef int _long_row(
    const fs_kernels *kernels, const real[:] x, real[:] y, int threads
) except -1:
    """One row in parts at fixed places, the last of them up to twice as long.

    Their exponentials wait in y, unless it is x, or the kernel finds that they cannot.
    """
    cdef Py_ssize_t parts = x.shape[0] // PART
    cdef Py_ssize_t window = min(parts, <Py_ssize_t> WINDOW)
    cdef Py_ssize_t i, first = 0, kept = 0
    cdef real *e = NULL if y.shape[0] == 1 or &x[0] == &y[0] else &y[0]
    cdef fs_carry whole
    cdef fs_carry *carries = <fs_carry *> malloc(window * sizeof(fs_carry))
    if carries == NULL:
        raise MemoryError(f"no memory for {window} parts of a row")
    while first < parts:
        window = min(window, parts - first)
        for i in prange(
            first, first + window, num_threads=threads, use_threads_if=threads > 1,
            schedule="static", nogil=True
        ):
            kept += kernels.reduce(&x[i * PART], NULL if e == NULL else e + i * PART,
                                   PART if i < parts - 1 else x.shape[0] - i * PART,
                                   &carries[i - first])
        if first == 0:
            whole = carries[0]
        for i in range(1 if first == 0 else 0, window):
            kernels.merge(&whole, &carries[i])
        first += window
    free(carries)
    if y.shape[0] == 1:
        kernels.finish(&x[0], &y[0], 1, &whole)
    else:
        for i in prange(parts, num_threads=threads, use_threads_if=threads > 1,
                        schedule="static", nogil=True):
            kernels.finish(NULL if kept == parts else &x[i * PART], &y[i * PART],
                           PART if i < parts - 1 else x.shape[0] - i * PART, &whole)
    return 0


cdef int _run(
    fs_operation operation, int type, const real[:, :, :] x, real[:, :, :] y, int threads
) except -1:
    cdef const fs_kernels *kernels = &_table.kernels[<int> operation][type]
    cdef Py_ssize_t i
    if x.shape[2] > 1:
        _columns(kernels, x, y, threads)
    elif x.shape[1] * <Py_ssize_t> sizeof(real) <= LONG_ROW:
        if x.shape[1] == 1 or x.strides[1] == <Py_ssize_t> sizeof(real):
            _rows(kernels, x[:, :, 0], y[:, :, 0], threads)
        else:
            _gathered_rows(kernels, x[:, :, 0], y[:, :, 0], threads)
    else:
        for i in range(x.shape[0]):
            _long_row(kernels, x[i, :, 0], y[i, :, 0], threads)
    return 0
