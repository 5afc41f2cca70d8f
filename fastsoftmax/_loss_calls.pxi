# The calls of the losses' kernels, included by _loss_kernels.pyx: where lines are cut, what one
# call computes, and the tiles of a team.

from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid
from libc.math cimport expm1, isfinite, isnan
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastsoftmax._core cimport (
    SMALL, TILE, aligned, ceil_div, columns_of_tile, rows_of_tile, scratch, table,
)
from fastsoftmax._kernels cimport (
    FS_F32, FS_ROWS_SCRATCH, FS_SCRATCH, fpenv_enter, fpenv_leave, fs_fpenv, fs_lines,
    fs_loss_kernels, fs_runs, fs_wanted,
)
from fastsoftmax._threads cimport begin_team, end_team

cdef enum:
    MOST_LINES = 1024  # in one call of a kernel
    TOGETHER = 128     # lines of small samples in one call
    BATCH = 4096       # tiles whose sums are kept at once
    WIDENED = 16384    # elements of a narrower type in one call, where lines are widened
    PICKED = 8         # elements in the time that it takes to pick one
    ALIGNMENT = 64     # bytes: a vector, and a cache line

cdef struct Job:
    const fs_loss_kernels *kernels  # of the logits' type
    # logits (samples, n, inner), and what lies like them
    const char *x
    const char *p        # probabilities, or NULL
    char *out            # the gradient, or NULL
    # one for each line (samples, inner)
    const int64_t *target
    char *losses         # or NULL
    const double *scale  # or NULL: `one_scale` for all
    double one_scale
    Py_ssize_t samples, n, inner, itemsize
    # lines in one call; calls for a sample (inner > 1), or in all; calls in a tile
    Py_ssize_t width, strips, calls, together
    Py_ssize_t group  # samples in one call: more than one if they are small
    Py_ssize_t ahead  # see fs_lines
    # bytes of a thread's memory
    Py_ssize_t scratch, room
    # the float32 that each thread has for a call's lines, where they are widened, of x, p and out
    Py_ssize_t wide
    bint picks  # x are log-probabilities: all that is wanted of them is one in a line
    int64_t ignore
    double keep
    # the classes' weights and the kernels of their type, or NULL
    const char *weight
    const fs_loss_kernels *of_weight
    double weight_sum  # of all classes, for smoothing
    fs_wanted wanted

# A sum and what rounding it lost.
cdef struct Sum:
    double hi
    double lo

# What one tile adds to the result.
cdef struct Sums:
    Sum loss
    Sum weight
    bint astray  # whether a class was neither in range nor to be ignored

# The memory of one thread: `width` times `group` numbers, or pairs, each.
cdef struct Room:
    int64_t *classes
    double *picked  # of a line's class the logit, and after that the weight
    double *values
    double *parts
    double *sums
    char *scratch
    float *wide  # three times Job's

# What one call works on: some lines, in their type or widened, with the kernels for it.
cdef struct Call:
    const fs_loss_kernels *kernels
    fs_lines lines
    Py_ssize_t first  # the number of its first line
    Py_ssize_t place  # in bytes, of its first element in the job's arrays
    Py_ssize_t itemsize
    const char *x
    const char *p
    char *out
    fs_runs runs  # of the lines, where they are widened


cdef void _add(Sum *sum, double x) noexcept nogil:
    """Knuth's TwoSum."""
    cdef double hi = sum.hi + x
    cdef double x_part = hi - sum.hi
    sum.lo += (sum.hi - (hi - x_part)) + (x - x_part)
    sum.hi = hi


cdef void _join(Sum *sum, Sum other) noexcept nogil:
    _add(sum, other.hi)
    sum.lo += other.lo


cdef double _value(Sum sum) noexcept nogil:
    return sum.hi + sum.lo if isfinite(sum.hi) else sum.hi


cdef void _divide(Job *job, int threads) noexcept nogil:
    """Cuts the lines: for losses, whose sums are added, at the same places for any `threads`.

    Small samples go into a call together, where it is only to take parts and to pick.
    """
    cdef Py_ssize_t n = 1 if job.picks else job.n  # elements of a line that are read
    cdef Py_ssize_t line = (n + 2) * max(job.itemsize, <Py_ssize_t> sizeof(float))
    cdef Py_ssize_t group = min(<Py_ssize_t> 16, ceil_div(TILE, n))  # rows read together
    cdef Py_ssize_t most = min(<Py_ssize_t> MOST_LINES, 16 * ceil_div(TILE, 16 * n))
    cdef bint is_gradient = job.out != NULL
    # kernels of narrow types take only parts, and pick
    cdef bint widens = job.itemsize == 2 and (is_gradient or _is_spread(job))
    if widens:
        most = min(most, ceil_div(WIDENED, n))
    job.group = job.strips = 1
    if job.inner == 1:
        job.width = min(most, ceil_div(TILE, group * n) * group,
                        ceil_div(job.samples, 16) * 16)  # whole vectors, as memory has them
        if is_gradient:  # more long rows than one, so that one is begun while another is ended
            job.width = rows_of_tile(job.samples, n, PY_SSIZE_T_MAX, threads)
            job.width = ceil_div(job.width, ceil_div(job.width, most))
        job.calls = ceil_div(job.samples, job.width)
        job.scratch = FS_ROWS_SCRATCH
    else:
        job.width = max(16, min(<Py_ssize_t> MOST_LINES, FS_SCRATCH // line // 16 * 16))
        if widens:  # whole vectors of columns, or of long ones as many as fit, at least one
            job.width = min(job.width, WIDENED // n // 16 * 16 or max(<Py_ssize_t> 1, WIDENED // n))
        if is_gradient:
            job.width = columns_of_tile(job.samples, n, job.inner, job.width, threads)
        job.width = min(job.width, ceil_div(job.inner, 16) * 16)
        job.strips = ceil_div(job.inner, job.width)
        job.calls = job.samples * job.strips
        job.scratch = min(<Py_ssize_t> FS_SCRATCH, line * (ceil_div(job.width, 16) * 16))
    job.scratch = ceil_div(job.scratch, ALIGNMENT) * ALIGNMENT
    if not is_gradient and not _is_spread(job) and job.inner > 1 and job.strips == 1:
        job.group = max(<Py_ssize_t> 1, TOGETHER // job.width)
        job.calls = ceil_div(job.samples, job.group)
    job.together = 1 + TILE // (n * job.width * job.group)
    job.room = job.scratch + job.width * job.group * 7 * <Py_ssize_t> sizeof(double)
    job.room = ceil_div(job.room, ALIGNMENT) * ALIGNMENT
    if widens:
        job.wide = n * (job.width if job.inner == 1 else _wide_step(job.width))
        job.wide = ceil_div(job.wide, ALIGNMENT) * ALIGNMENT
        job.room += 3 * job.wide * <Py_ssize_t> sizeof(float)


cdef bint _is_spread(const Job *job) noexcept nogil:
    """Whether a loss has terms of other classes than the line's own."""
    return job.p != NULL or job.wanted.share != 0


cdef Py_ssize_t _wide_step(Py_ssize_t columns) noexcept nogil:
    """How many elements lie between those of a widened column.

    Cache lines and one more: a power of two of them would contend for places in the cache. At least
    2, by which columns are known.
    """
    return ceil_div(columns, 16) * 16 + 16 if columns > 16 else max(columns, <Py_ssize_t> 2)


cdef Room _room(const Job *job, void *memory, int thread) noexcept nogil:
    cdef Room room
    cdef Py_ssize_t lines = job.width * job.group
    room.scratch = aligned(memory) + thread * job.room
    room.classes = <int64_t *> (room.scratch + job.scratch)
    room.picked = <double *> (room.classes + lines)
    room.values = room.picked + lines
    room.parts = room.values + lines
    room.sums = room.parts + 2 * lines
    room.wide = <float *> (room.scratch + job.room) - 3 * job.wide
    return room


cdef Py_ssize_t _place(
    const Job *job, Py_ssize_t call, fs_lines *lines, Py_ssize_t *first
) noexcept nogil:
    """The lines of one call: the place of their first element; their first number in `first`."""
    cdef Py_ssize_t sample = call // job.strips * job.group, column = call % job.strips * job.width
    lines.n, lines.ahead = job.n, job.ahead
    lines.samples, lines.apart = 1, job.n * job.inner
    if job.inner == 1:
        first[0] = call * job.width
        lines.count = min(job.width, job.samples - first[0])
        lines.stride = job.n
        lines.step = 1
        return first[0] * job.n * job.itemsize
    first[0] = sample * job.inner + column
    lines.count = min(job.width, job.inner - column)
    lines.samples = min(job.group, job.samples - sample)
    lines.stride = 1
    lines.step = job.inner
    return (sample * job.n * job.inner + column) * job.itemsize


cdef Call _call(const Job *job, Py_ssize_t number, Room room) noexcept nogil:
    """One call's lines, widened if they are to be."""
    cdef Call call
    call.place = _place(job, number, &call.lines, &call.first)
    call.kernels = job.kernels
    call.itemsize = job.itemsize
    call.x = job.x + call.place
    call.p = NULL if job.p == NULL else job.p + call.place
    call.out = NULL if job.out == NULL else job.out + call.place
    if job.wide:
        call.kernels = &table().losses[<int> FS_F32]
        call.itemsize = sizeof(float)
        call.runs = _runs_of(job, &call.lines)
        job.kernels.widen(call.x, &call.runs, room.wide)
        call.x = <const char *> room.wide
        if call.p != NULL:
            job.kernels.widen(call.p, &call.runs, room.wide + job.wide)
            call.p = <const char *> (room.wide + job.wide)
        call.out = <char *> (room.wide + 2 * job.wide)
        if job.inner > 1:
            call.lines.step = _wide_step(call.lines.count)
            call.lines.ahead = 0
    return call


cdef fs_runs _runs_of(const Job *job, const fs_lines *lines) noexcept nogil:
    """What is adjacent of some lines both as they are and widened."""
    cdef Py_ssize_t step = _wide_step(lines.count)
    if job.inner == 1:
        return fs_runs(1, lines.count * lines.n, 0, 0)
    if job.inner == lines.count == step:
        return fs_runs(1, lines.n * lines.count, 0, 0)
    return fs_runs(lines.n, lines.count, job.inner, step)


cdef Py_ssize_t _classes(
    const Job *job, Py_ssize_t first, Py_ssize_t count, int64_t *classes, bint *astray
) noexcept nogil:
    """The classes of some lines, negative where they are to be ignored; how many are not.

    Those that are astray, neither in range nor to be ignored, are made negative too, and told:
    whoever has not looked through them before refuses them then. Who has may take no notice, as if
    they were to be ignored: only another thread that writes to the target can bring that about. It
    is read once, so never is memory reached that is not a line's.
    """
    cdef Py_ssize_t counted
    memcpy(classes, job.target + first, count * sizeof(int64_t))
    astray[0] |= job.kernels.check_classes(classes, count, job.n, job.ignore, &counted)
    return counted


cdef void _weights(
    const Job *job, const int64_t *classes, Py_ssize_t count, double *weights
) noexcept nogil:
    """The weight of each line's class, 0 of a negative one; by the kernels of the weights' type."""
    cdef fs_lines lines = fs_lines(
        count=count, n=job.n, stride=0, step=1, ahead=0, samples=1, apart=0)  # all in one table
    job.of_weight.pick(job.weight, &lines, classes, weights)


cdef Sum _sum(const Job *job, const double *values, Py_ssize_t count) noexcept nogil:
    cdef Sum sum
    job.kernels.sum(values, count, &sum.hi, &sum.lo)
    return sum


cdef bint _weigh_classes(const Job *job, double *total) noexcept nogil:
    """What the mean is divided by; whether no class is astray."""
    cdef int64_t classes[512]
    cdef Py_ssize_t first, count, counted = 0, lines = job.samples * job.inner
    cdef double weights[512]
    cdef bint astray = False
    cdef Sum weight = Sum(0, 0)
    for first in range(0, lines if job.p == NULL else 0, 512):
        count = min(<Py_ssize_t> 512, lines - first)
        counted += _classes(job, first, count, classes, &astray)
        if job.weight != NULL:
            _weights(job, classes, count, weights)
            _join(&weight, _sum(job, weights, count))
    if job.p != NULL:
        total[0] = lines
    else:
        total[0] = counted if job.weight == NULL else _value(weight)
    return not astray


cdef void _lose(const Job *job, Py_ssize_t number, Room room, Sums *sums) noexcept nogil:
    """The losses of one call's lines, written where they are wanted, and added to the sums."""
    cdef Py_ssize_t counted, i
    cdef Call call = _call(job, number, room)
    cdef Py_ssize_t count = call.lines.count * call.lines.samples
    if not job.picks:
        call.kernels.parts(call.x, &call.lines, room.parts, room.scratch)
    if job.p == NULL:
        counted = _classes(job, call.first, count, room.classes, &sums.astray)
        call.kernels.pick(call.x, &call.lines, room.classes, room.picked)
        call.kernels.class_losses(room.parts, room.picked, room.classes, count, room.values)
        if job.weight == NULL:
            _add(&sums.weight, counted)
            for i in range(count if job.keep != 1 else 0):
                room.values[i] *= job.keep
        else:
            _weights(job, room.classes, count, room.picked)
            _join(&sums.weight, _sum(job, room.picked, count))
            for i in range(count):
                room.values[i] *= room.picked[i] * job.keep
    if _is_spread(job):
        _spread(job, &call, room)
    _join(&sums.loss, _sum(job, room.values, count))
    if job.losses != NULL:
        job.kernels.put(room.values, count, job.losses + call.first * job.itemsize)


cdef void _spread(const Job *job, const Call *call, Room room) noexcept nogil:
    """Losses of all classes, to room.values: by probabilities, or what smoothing adds to them."""
    cdef Py_ssize_t i
    cdef double loss
    call.kernels.weigh(call.x, call.p, &call.lines, &job.wanted, room.parts, room.sums)
    for i in range(call.lines.count * call.lines.samples):
        loss = room.sums[2 * i] + room.sums[2 * i + 1] * room.parts[2 * i + 1]
        if job.p != NULL:
            room.values[i] = loss
        elif room.classes[i] >= 0:
            room.values[i] += loss


cdef void _derive(const Job *job, Py_ssize_t number, Room room) noexcept nogil:
    """The gradients of one call's lines."""
    cdef Call call = _call(job, number, room)
    cdef bint spread = _is_spread(job)
    cdef bint astray = False
    cdef Py_ssize_t i
    cdef double shared = job.weight_sum * job.wanted.share if spread else 0
    if job.p != NULL:
        for i in range(2 * call.lines.count):
            room.parts[i] = 0
        call.kernels.weigh(call.x, call.p, &call.lines, &job.wanted, room.parts, room.sums)
    else:
        _classes(job, call.first, call.lines.count, room.classes, &astray)
        if job.weight != NULL:
            _weights(job, room.classes, call.lines.count, room.picked)
    for i in range(call.lines.count):
        room.values[i] = job.one_scale if job.scale == NULL else job.scale[call.first + i]
    if job.p != NULL:
        for i in range(call.lines.count):
            room.sums[i] = room.values[i] * room.sums[2 * i + 1]
    elif job.weight != NULL:
        for i in range(call.lines.count):
            room.sums[i] = room.values[i] * (room.picked[i] * job.keep + shared)
    else:
        for i in range(call.lines.count):
            room.sums[i] = room.values[i] * (job.keep + shared)
    if spread:
        call.kernels.scaled(call.x, call.out, &call.lines, room.sums, room.scratch)
        call.kernels.subtract(call.out, call.p, &call.lines, &job.wanted,
                              NULL if job.p != NULL else room.classes, room.values)
    else:
        _derive_of_classes(&call, room)
    if job.wide:
        job.kernels.narrow(<const float *> call.out, &call.runs, job.out + call.place)


cdef void _derive_of_classes(const Call *call, Room room) noexcept nogil:
    """scale * (p - [c is the class]), the scales in room.sums.

    At the class that is -scale * (1 - p), from the other classes' p, or where these are too small,
    from the loss as scale * expm1(-loss): no digits cancel.
    """
    cdef const fs_loss_kernels *kernels = call.kernels
    cdef const fs_lines *lines = &call.lines
    cdef bint have_losses = call.x == call.out  # in place the logits are gone afterwards
    cdef Py_ssize_t i, left
    if have_losses:
        _surprises(call, room, 0, lines.count)
    kernels.scaled(call.x, call.out, lines, room.sums, room.scratch)
    left = kernels.class_gradients(call.out, lines, room.classes, room.sums, room.values)
    # one call for all is quicker than one each for many, or for columns
    if not have_losses and left and (lines.step != 1 or 4 * left > lines.count):
        _surprises(call, room, 0, lines.count)
        have_losses = True
    for i in range(lines.count if left else 0):
        if isnan(room.values[i]):
            if not have_losses:
                _surprises(call, room, i, 1)
            room.values[i] = room.sums[i] * expm1(-room.picked[i])
    kernels.place(call.out, lines, room.classes, room.values)


cdef void _surprises(
    const Call *call, Room room, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """The losses of some lines with their classes, in room.picked from `first` on."""
    cdef fs_lines some = call.lines
    cdef const char *x = call.x + first * some.stride * call.itemsize
    cdef Py_ssize_t i
    some.count = count
    call.kernels.parts(x, &some, room.parts, room.scratch)
    call.kernels.pick(x, &some, room.classes + first, room.picked + first)
    for i in range(count):
        room.picked[first + i] = (
            (room.parts[2 * i] - room.picked[first + i]) + room.parts[2 * i + 1])


cdef int _run(Job *job, Sums *total, int threads) except -1:
    """All tiles, a batch of them at a time: the losses and their sums, or the gradients."""
    cdef Py_ssize_t tiles, batch = 0, tile, count
    cdef void *memory
    cdef fs_fpenv callers
    cdef Sums *sums
    _divide(job, threads)
    tiles = ceil_div(job.calls, job.together)
    memory = scratch(threads, job.room)
    if tiles == 1:  # no team, nor is the GIL let go for few: either takes longer than they do
        if job.samples * job.n * job.inner <= SMALL:
            _tile(job, 0, _room(job, memory, 0), total)
        else:
            with nogil:
                _tile(job, 0, _room(job, memory, 0), total)
        free(memory)
        return 0
    sums = <Sums *> malloc(min(tiles, <Py_ssize_t> BATCH) * sizeof(Sums))
    if sums == NULL:
        free(memory)
        raise MemoryError(f"no memory for the sums of {tiles} tiles")
    while batch < tiles:
        count = min(<Py_ssize_t> BATCH, tiles - batch)
        for tile in prange(
            count, num_threads=threads, use_threads_if=threads > 1, schedule="static",
            nogil=True
        ):
            _tile(job, batch + tile, _room(job, memory, threadid()), &sums[tile])
        callers = fpenv_enter()
        for tile in range(count):
            _join(&total.loss, sums[tile].loss)
            _join(&total.weight, sums[tile].weight)
            total.astray |= sums[tile].astray
        fpenv_leave(callers)
        batch += BATCH
    free(sums)
    free(memory)
    return 0


cdef void _tile(const Job *job, Py_ssize_t tile, Room room, Sums *sums) noexcept nogil:
    """The calls of one tile, in the default floating-point environment."""
    cdef Py_ssize_t call, i
    cdef fs_fpenv callers = fpenv_enter()
    sums[0] = Sums(Sum(0, 0), Sum(0, 0), False)
    for i in range(2 * job.width * job.group if job.picks else 0):
        room.parts[i] = -0.0  # a loss is what is left of them: minus what is picked
    for call in range(tile * job.together, min(job.calls, (tile + 1) * job.together)):
        if job.out == NULL:
            _lose(job, call, room, sums)
        else:
            _derive(job, call, room)
    fpenv_leave(callers)


cdef Sums _by_team(Job *job) except *:
    cdef Sums total = Sums(Sum(0, 0), Sum(0, 0), False)
    cdef Py_ssize_t lines = job.samples * job.inner
    cdef int threads = begin_team(lines * (PICKED if job.picks else job.n))
    try:
        _run(job, &total, threads)
    finally:
        end_team(threads)
    return total
