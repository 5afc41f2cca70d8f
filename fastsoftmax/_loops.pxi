# The loops over tiles, included by _core.pyx: what is small, rows, rows to be gathered, columns,
# long rows.
#
# The views may have any row strides; the elements of a row, or the columns beside each other, are
# adjacent. A row's bits depend neither on its tile nor on its thread.
#
# They are called with the GIL, and each parallel loop lets go of it. In a function that is nogil as
# a whole Cython would ask PyGILState_Check, which says yes to everything once there is a
# sub-interpreter, and let go of the GIL a second time, which ends the process.

from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid
from libc.stdint cimport uint16_t, uintptr_t
from libc.stdlib cimport free, malloc

from fastsoftmax._kernels cimport (
    FS_LOGSUMEXP, FS_SOFTMAX, FS_SOFTMIN, fs_carry, fs_fetch, fs_kernels, fs_operation, fs_part,
    fs_rows_scratch, fs_type,
)

# What the loops run over: the type only tells them the size of an element.
ctypedef fused real:
    float
    double
    uint16_t  # float16 and bfloat16

cdef enum:
    GATHERED = 2048    # elements: of rows to be brought together; the first cache has the next too
    WINDOW = 4096      # parts whose carries are in memory at a time
    WAITING = 655360   # bytes: of rows that a cache keeps until the next is read (as OPEN_BYTES)
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


cdef void _one_tile(
    fs_operation operation, int type, cnp.ndarray x, cnp.ndarray y, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    """All rows in one call, where no team is worth it."""
    cdef char memory[FS_ROWS_SCRATCH + ALIGNMENT]
    _table.kernels[<int> operation][type].rows(
        cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), rows, n,
        n, 1 if operation == FS_LOGSUMEXP else n, aligned(memory), NULL)


cdef int _small(
    fs_operation operation, int type, cnp.ndarray x, cnp.ndarray y, Py_ssize_t outer, Py_ssize_t n,
    Py_ssize_t inner
) except -1:
    """At most SMALL elements that lie as (outer, n, inner), by the calling thread, with the GIL."""
    cdef const fs_kernels *kernels = &_table.kernels[<int> operation][type]
    cdef const char *from_ = <const char *> cnp.PyArray_DATA(x)
    cdef char *to = <char *> cnp.PyArray_DATA(y)
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(x), last = 1 if operation == FS_LOGSUMEXP else n
    cdef Py_ssize_t needed = fs_rows_scratch(operation, <fs_type> type, n), i
    cdef void *memory
    if inner == 1 and needed <= FS_ROWS_SCRATCH:
        _one_tile(operation, type, x, y, outer, n)
        return 0
    memory = scratch(1, needed if inner == 1 else strip_scratch(n, inner, size))
    if inner == 1:
        kernels.rows(from_, to, outer, n, n, last, aligned(memory), NULL)
    else:  # scratch memory has room for so few columns at once
        for i in range(outer):
            kernels.columns(from_ + i * n * inner * size, to + i * last * inner * size, inner, n,
                            inner, inner, aligned(memory), 0)
    free(memory)
    return 0


cdef int _rows(
    const fs_kernels *kernels, const real[:, :] x, real[:, :] y, Py_ssize_t needed, int threads
) except -1:
    """Rows of up to LONG_ROW elements: tiles of whole groups of them. `needed`: scratch memory."""
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1]
    cdef Py_ssize_t x_stride = x.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t y_stride = y.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t tile = rows_of_tile(rows, n, PY_SSIZE_T_MAX, threads)
    cdef Py_ssize_t tiles = ceil_div(rows, tile)
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, needed)
    for i in prange(tiles, num_threads=threads, use_threads_if=threads > 1,
                    schedule="static", nogil=True):
        kernels.rows(&x[i * tile, 0], &y[i * tile, 0], min(tile, rows - i * tile), n,
                     x_stride, y_stride, aligned(memory) + threadid() * needed, NULL)
    free(memory)
    return 0


cdef int _gathered_rows(
    fs_operation operation, const fs_kernels *kernels, const real[:, :] x, real[:, :] y,
    Py_ssize_t needed, int threads
) except -1:
    """Rows, as those above, whose elements are not adjacent: a tile of them is brought together."""
    cdef Py_ssize_t rows = x.shape[0], n = x.shape[1]
    cdef Py_ssize_t step = x.strides[1] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t y_stride = y.strides[0] // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t tile = max(<Py_ssize_t> 1, GATHERED // n)
    cdef Py_ssize_t tiles = ceil_div(rows, tile)
    cdef Py_ssize_t size = n * <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t room = needed + (tile * size // ALIGNMENT + 1) * ALIGNMENT + PAGE
    cdef Py_ssize_t i
    cdef void *memory = scratch(threads, room)
    for i in prange(tiles, num_threads=threads, use_threads_if=threads > 1,
                    schedule="static", nogil=True):
        _gathered_tile(operation, kernels, <const char *> &x[i * tile, 0],
                       <char *> &y[i * tile, 0], tile, min(tile, rows - i * tile), n, x.strides[0],
                       step, y_stride, sizeof(real), aligned(memory) + threadid() * room, needed)
    free(memory)
    return 0


cdef void _gathered_tile(
    fs_operation operation, const fs_kernels *kernels, const char *x, char *y, Py_ssize_t tile,
    Py_ssize_t rows, Py_ssize_t n, Py_ssize_t x_stride, Py_ssize_t step, Py_ssize_t y_stride,
    Py_ssize_t size, char *memory, Py_ssize_t needed
) noexcept nogil:
    """A tile of `rows` rows, x_stride bytes apart, gathered behind the scratch memory `needed`.

    Meanwhile the kernel fetches the beginning of each row of the next tile: as much as it reads of
    this one, and, where elements lie apart, again as much in its last stage, when memory is idle.
    """
    cdef char *gathered = _placed(memory + needed, y, False)
    cdef Py_ssize_t i
    cdef fs_fetch fetch
    cdef LongRows job
    for i in range(rows):
        _table.gather(x + i * x_stride, size, step, gathered + i * n * size, n)
    if n > LONG_ROW:
        job = LongRows(kernels, gathered, y, rows, n, size, n * size, y_stride * size, operation)
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


cdef fs_part _part(const LongRows *job, const fs_part *row, Py_ssize_t i) noexcept nogil:
    """Part i of a row."""
    cdef Py_ssize_t place = i * PART * job.size
    cdef const char *x = <const char *> row.x
    cdef const char *e = <const char *> row.e
    if e != NULL:
        e += i * PART * _exponential_size(job)
    return fs_part(x + place, e, (<char *> row.y) + place, row.carry)


cdef bint _has_exponentials(const LongRows *job) noexcept nogil:
    return job.operation == FS_SOFTMAX or job.operation == FS_SOFTMIN


cdef Py_ssize_t _exponential_size(const LongRows *job) noexcept nogil:
    return max(job.size, <Py_ssize_t> sizeof(float))


cdef bint _needs_room(const LongRows *job) noexcept nogil:
    """Whether results have no room for exponentials: they are narrower, or in the rows' place."""
    return _has_exponentials(job) and (job.x == job.y or job.size < _exponential_size(job))


cdef char *_room_for(const LongRows *job, Py_ssize_t rows) noexcept nogil:
    """Memory for the exponentials of rows that need it, or NULL: without, they are taken twice."""
    cdef Py_ssize_t size = job.n * _exponential_size(job)
    if size > WAITING or not _needs_room(job):
        return NULL
    return <char *> malloc(rows * size)


cdef fs_part _row(
    const LongRows *job, Py_ssize_t row, char *room, Py_ssize_t slot
) noexcept nogil:
    """A row as it is to be reduced: e is where exponentials may go, y or a slot of `room`."""
    cdef const char *x = job.x + row * job.x_stride
    cdef char *y = job.y + row * job.y_stride
    cdef char *e = room
    if room != NULL:
        e += slot * job.n * _exponential_size(job)
    elif _has_exponentials(job) and not _needs_room(job):
        e = y
    return fs_part(x, e, y, NULL)


cdef void _finish_row(const LongRows *job, const fs_part *row) noexcept nogil:
    cdef Py_ssize_t i
    cdef fs_part part
    for i in range(job.n // PART):
        part = _part(job, row, i)
        job.kernels.finish(&part, _part_size(job, i))


cdef void rows_by_parts(const LongRows *job, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows `first` to `last`, by one thread.

    The results of a row small enough to stay in a cache are delayed: its part i is finished while
    part i of the next row is reduced. Where exponentials have memory of their own, a row counts
    twice.
    """
    cdef Py_ssize_t size = job.n * job.size * (2 if _needs_room(job) else 1)
    cdef bint waits = job.operation != FS_LOGSUMEXP and size <= WAITING
    cdef bint is_open = False, kept
    cdef Py_ssize_t row, i
    cdef char *room = _room_for(job, 2 if waits else 1)
    cdef fs_carry found, whole, whole_of_open
    cdef fs_part now, open, part, part_of_open
    for row in range(first, last):
        now = _row(job, row, room, (row - first) % 2 if waits else 0)
        kept = now.e != NULL
        for i in range(job.n // PART):
            part = _part(job, &now, i)
            if is_open:
                part_of_open = _part(job, &open, i)
            kept &= job.kernels.reduce(part.x, <void *> part.e, _part_size(job, i), &found,
                                       &part_of_open if is_open else NULL)
            if i == 0:
                whole = found
            else:
                job.kernels.merge(&whole, &found)
        now.carry = &whole
        if not kept:  # all of them, or none serve
            now.e = NULL
        if waits:
            open = now
            whole_of_open = whole
            open.carry = &whole_of_open
            is_open = True
        elif job.operation == FS_LOGSUMEXP:
            job.kernels.finish(&now, 1)
        else:
            _finish_row(job, &now)
    if is_open:
        _finish_row(job, &open)
    free(room)


# The carry of a part, or of a row's parts so far, and whether all their exponentials are there.
cdef struct Reduced:
    fs_carry carry
    bint kept


cdef fs_part _shared_part(
    const LongRows *job, Py_ssize_t first, Py_ssize_t part, char *room
) noexcept nogil:
    """Part number `part` of those of all rows from `first` on, one after the other."""
    cdef Py_ssize_t parts = job.n // PART
    cdef fs_part row = _row(job, first + part // parts, room, part // parts)
    return _part(job, &row, part % parts)


cdef void _reduce_shared(
    const LongRows *job, Py_ssize_t first, Py_ssize_t part, char *room, Reduced *found
) noexcept nogil:
    cdef fs_part here = _shared_part(job, first, part, room)
    found.kept = job.kernels.reduce(here.x, <void *> here.e,
                                    _part_size(job, part % (job.n // PART)),
                                    &found.carry, NULL)


cdef void _finish_shared(
    const LongRows *job, Py_ssize_t first, Py_ssize_t part, char *room, const Reduced *whole
) noexcept nogil:
    cdef fs_part here = _shared_part(job, first, part, room)
    here.carry = &whole.carry
    if not whole.kept:
        here.e = NULL
    job.kernels.finish(&here, _part_size(job, part % (job.n // PART)))


cdef int _share_rows(const LongRows *job, Py_ssize_t first, int threads) except -1:
    """The rows from `first` on, fewer than there are threads: these share the parts of all.

    Carries are merged in the order of the parts, for the same bits whoever found them; a window of
    them is in memory at a time.
    """
    cdef Py_ssize_t rows = job.rows - first, parts = job.n // PART, start = 0, i
    cdef Py_ssize_t window = min(rows * parts, <Py_ssize_t> WINDOW)
    cdef Reduced *whole = <Reduced *> malloc((rows + window) * sizeof(Reduced))
    cdef Reduced *found
    cdef char *room
    cdef fs_part row
    if whole == NULL:
        raise MemoryError(f"no memory for {window} parts of rows")
    found = whole + rows
    room = _room_for(job, rows)
    while start < rows * parts:
        window = min(window, rows * parts - start)
        for i in prange(start, start + window, num_threads=threads, schedule="static", nogil=True):
            _reduce_shared(job, first, i, room, &found[i - start])
        for i in range(start, start + window):
            if i % parts == 0:
                whole[i // parts] = found[i - start]
            else:
                job.kernels.merge(&whole[i // parts].carry, &found[i - start].carry)
                whole[i // parts].kept &= found[i - start].kept
        start += window
    if job.operation == FS_LOGSUMEXP:
        for i in range(rows):
            row = _row(job, first + i, NULL, 0)
            row.carry = &whole[i].carry
            job.kernels.finish(&row, 1)
    else:
        for i in prange(rows * parts, num_threads=threads, schedule="static", nogil=True):
            _finish_shared(job, first, i, room, &whole[i // parts])
    free(room)
    free(whole)
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
    cdef Py_ssize_t needed = fs_rows_scratch(operation, <fs_type> type, n)
    cdef LongRows job
    if x.shape[2] > 1:
        _columns(kernels, x, y, threads)
    elif n > 1 and x.strides[1] != <Py_ssize_t> sizeof(real):
        _gathered_rows(operation, kernels, x[:, :, 0], y[:, :, 0], needed, threads)
    elif n <= LONG_ROW:
        _rows(kernels, x[:, :, 0], y[:, :, 0], needed, threads)
    else:
        job = LongRows(kernels, <const char *> &x[0, 0, 0], <char *> &y[0, 0, 0], x.shape[0], n,
                       sizeof(real), x.strides[0], y.strides[0], operation)
        _long_rows(&job, threads)
    return 0
