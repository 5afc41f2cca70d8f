# The loops over tiles, included by _core.pyx: rows, rows to be gathered, columns, long rows.
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
    FS_LOGSUMEXP, FS_ROWS_SCRATCH, fs_carry, fs_fetch, fs_kernels, fs_open_part, fs_operation,
)

# What the loops run over: the type only tells them the size of an element.
ctypedef fused real:
    float
    double
    uint16_t  # float16 and bfloat16

cdef enum:
    GATHERED = 2048    # elements: of rows to be brought together; the first cache has the next too
    WINDOW = 4096      # parts whose carries are in memory at a time
    WAITING = 655360   # bytes: of a row whose results may wait until the next is read
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
    """Rows of up to LONG_ROW elements: tiles of whole groups of them."""
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
                       y.shape[1] == 1, aligned(memory) + threadid() * room)
    free(memory)
    return 0


cdef void _gathered_tile(
    const fs_kernels *kernels, const char *x, char *y, Py_ssize_t tile, Py_ssize_t rows,
    Py_ssize_t n, Py_ssize_t x_stride, Py_ssize_t step, Py_ssize_t y_stride, Py_ssize_t size,
    bint one_result, char *memory
) noexcept nogil:
    """A tile of `rows` rows, x_stride bytes apart.

    Meanwhile the kernel fetches the beginning of each row of the next tile: as much as it reads of
    this one, and, where elements lie apart, again as much in its last stage, when memory is idle.
    """
    cdef char *gathered = _placed(memory + FS_ROWS_SCRATCH, y, False)
    cdef Py_ssize_t i
    cdef fs_fetch fetch
    cdef LongRows job
    for i in range(rows):
        _table.gather(x + i * x_stride, size, step, gathered + i * n * size, n)
    if n > LONG_ROW:
        job = LongRows(kernels, gathered, y, rows, n, size, n * size, y_stride * size, one_result)
        rows_by_parts(&job, 0, rows)
        return
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


cdef Py_ssize_t _part_size(const LongRows *job, Py_ssize_t part) noexcept nogil:
    """The last part of a row is up to twice as long."""
    return PART if part < job.n // PART - 1 else job.n - part * PART


cdef void rows_by_parts(const LongRows *job, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows `first` to `last`, by one thread; a part is finished while that of the next is reduced.

    Exponentials wait in y, unless it is x, or the kernel finds that they cannot.
    """
    cdef const char *x
    cdef char *y
    cdef Py_ssize_t row, i, place
    cdef bint waits = not job.one_result and job.n * job.size <= WAITING, kept
    cdef fs_carry part, whole, waiting  # the last is that of the row that waits, as `open` is
    cdef fs_open_part open
    cdef const char *open_x = NULL
    cdef char *open_y = NULL
    open.carry = &waiting
    for row in range(first, last):
        x = job.x + row * job.x_stride
        y = job.y + row * job.y_stride
        kept = not job.one_result and x != y
        for i in range(job.n // PART):
            place = i * PART * job.size
            if open_y != NULL:
                open.x = NULL if open_x == NULL else open_x + place
                open.y = open_y + place
            kept = job.kernels.reduce(x + place, y + place if kept else NULL, _part_size(job, i),
                                      &part, NULL if open_y == NULL else &open)
            if i == 0:
                whole = part
            else:
                job.kernels.merge(&whole, &part)
        if job.one_result:
            job.kernels.finish(x, y, 1, &whole)
        elif waits:
            open_x = NULL if kept else x
            open_y = y
            waiting = whole
        else:
            job.kernels.finish(NULL if kept else x, y, job.n, &whole)
    if open_y != NULL:
        job.kernels.finish(open_x, open_y, job.n, &waiting)


# A part of a row, or all of one: what one read told, and whether its exponentials are in y.
cdef struct Reduced:
    fs_carry carry
    bint kept


# Where a part is, and how many elements it has.
cdef struct Part:
    const char *x
    char *y
    Py_ssize_t n


cdef Part _part(const LongRows *job, Py_ssize_t part) noexcept nogil:
    """Part number `part` of those of all rows, one after the other."""
    cdef Py_ssize_t row = part // (job.n // PART), i = part % (job.n // PART)
    return Part(job.x + row * job.x_stride + i * PART * job.size,
                job.y + row * job.y_stride + i * PART * job.size, _part_size(job, i))


cdef void _reduce_part(const LongRows *job, Part part, Reduced *found) noexcept nogil:
    found.kept = job.kernels.reduce(part.x, NULL if job.one_result or part.x == part.y else part.y,
                                    part.n, &found.carry, NULL)


cdef void _finish_part(const LongRows *job, Part part, const Reduced *whole) noexcept nogil:
    job.kernels.finish(NULL if whole.kept else part.x, part.y, part.n, &whole.carry)


cdef int _share_rows(const LongRows *job, Py_ssize_t first, int threads) except -1:
    """The rows from `first` on, fewer than there are threads: these share the parts of all."""
    cdef Py_ssize_t parts = job.n // PART, start = first * parts, end = job.rows * parts
    cdef Py_ssize_t window = min(end - start, <Py_ssize_t> WINDOW), i, row
    cdef Reduced *rows = <Reduced *> malloc((job.rows - first + window) * sizeof(Reduced))
    cdef Reduced *found = rows + (job.rows - first)
    if rows == NULL:
        raise MemoryError(f"no memory for {window} parts of rows")
    while start < end:
        window = min(window, end - start)
        for i in prange(start, start + window, num_threads=threads, schedule="static", nogil=True):
            _reduce_part(job, _part(job, i), &found[i - start])
        for i in range(window):
            row = (start + i) // parts - first
            if (start + i) % parts == 0:
                rows[row] = found[i]
            else:
                job.kernels.merge(&rows[row].carry, &found[i].carry)
                rows[row].kept &= found[i].kept
        start += window
    if job.one_result:
        for row in range(first, job.rows):
            job.kernels.finish(job.x, job.y + row * job.y_stride, 1, &rows[row - first].carry)
    else:
        for i in prange(first * parts, end, num_threads=threads, schedule="static", nogil=True):
            _finish_part(job, _part(job, i), &rows[i // parts - first])
    free(rows)
    return 0


cdef int _long_rows(const LongRows *job, int threads) except -1:
    """As many rows for each thread; those that are left are shared."""
    cdef Py_ssize_t each = job.rows // threads, i
    if threads == 1:
        with nogil:
            rows_by_parts(job, 0, job.rows)
        return 0
    if each:
        for i in prange(threads, num_threads=threads, schedule="static", nogil=True):
            rows_by_parts(job, i * each, (i + 1) * each)
    if each * threads < job.rows:
        _share_rows(job, each * threads, threads)
    return 0


cdef int _run(
    fs_operation operation, int type, const real[:, :, :] x, real[:, :, :] y, int threads
) except -1:
    cdef const fs_kernels *kernels = &_table.kernels[<int> operation][type]
    cdef Py_ssize_t n = x.shape[1]
    cdef LongRows job
    if x.shape[2] > 1:
        _columns(kernels, x, y, threads)
    elif n > 1 and x.strides[1] != <Py_ssize_t> sizeof(real):
        _gathered_rows(kernels, x[:, :, 0], y[:, :, 0], threads)
    elif n <= LONG_ROW:
        _rows(kernels, x[:, :, 0], y[:, :, 0], threads)
    else:
        job = LongRows(kernels, <const char *> &x[0, 0, 0], <char *> &y[0, 0, 0], x.shape[0], n,
                       sizeof(real), x.strides[0], y.strides[0], operation == FS_LOGSUMEXP)
        _long_rows(&job, threads)
    return 0
