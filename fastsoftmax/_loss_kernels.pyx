"""The losses and their gradients over contiguous (N, C, K) logits, by the kernels in use.

The same functions as in `_reference_losses`, for float16, bfloat16, float32 and float64. The lines
along C are cut into tiles at fixed places; each tile is summed on its own, and the sums are added
in the order of the tiles, so that no bit depends on the number of threads.
"""

import math

cimport numpy as cnp
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid
from libc.math cimport NAN, expm1, isfinite, isnan
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastsoftmax._core cimport (
    TILE, aligned, ceil_div, columns_of_tile, next_sample, overlap, rows_of_tile, scratch, table,
    type_of,
)
from fastsoftmax._kernels cimport (
    FS_ROWS_SCRATCH, FS_SCRATCH, fpenv_enter, fpenv_leave, fs_fpenv, fs_lines, fs_loss_kernels,
    fs_wanted,
)
from fastsoftmax._threads cimport begin_team, end_team

from fastsoftmax._core import _empty

cnp.import_array()

cdef enum:
    MOST_LINES = 1024  # in one call of a kernel
    TOGETHER = 128     # lines of small samples in one call
    BATCH = 4096       # tiles whose sums are kept at once
    PICKED = 8         # elements in the time that it takes to pick one
    ALIGNMENT = 64     # bytes: a vector, and a cache line

REDUCTIONS = ("mean", "none", "sum")

cdef struct Job:
    const fs_loss_kernels *kernels
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
    bint picks  # x are log-probabilities: all that is wanted of them is one in a line
    int64_t ignore
    double keep
    double weight_sum
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
    double *picked
    double *values
    double *parts
    double *sums
    char *scratch


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


cdef Job _job(cnp.ndarray x, object weight, double label_smoothing):
    cdef Job job
    cdef cnp.ndarray w
    job.kernels = &table().losses[type_of(x)]
    job.x = <const char *> cnp.PyArray_DATA(x)
    job.p = job.losses = job.out = NULL
    job.target = NULL
    job.scale = NULL
    job.picks = False
    job.one_scale = 1
    job.ignore = 0
    job.samples, job.n, job.inner = x.shape[0], x.shape[1], x.shape[2]
    job.itemsize = cnp.PyArray_ITEMSIZE(x)
    job.ahead = next_sample(job.samples, job.n, job.inner, job.itemsize)
    job.keep = 1 - label_smoothing
    job.wanted.keep = job.keep
    job.wanted.share = label_smoothing / job.n
    job.wanted.weight = NULL
    job.weight_sum = job.n
    if weight is not None:
        w = weight
        job.wanted.weight = <const double *> cnp.PyArray_DATA(w)
        job.weight_sum = math.fsum(weight) if label_smoothing else 0
    return job


cdef void _divide(Job *job, int threads) noexcept nogil:
    """Cuts the lines: for losses, whose sums are added, at the same places for any `threads`.

    Small samples go into a call together, where it is only to take parts and to pick.
    """
    cdef Py_ssize_t n = 1 if job.picks else job.n  # elements of a line that are read
    cdef Py_ssize_t line = (n + 2) * max(job.itemsize, <Py_ssize_t> sizeof(float))
    cdef Py_ssize_t group = min(<Py_ssize_t> 16, ceil_div(TILE, n))  # rows read together
    cdef Py_ssize_t most = min(<Py_ssize_t> MOST_LINES, 16 * ceil_div(TILE, 16 * n))
    cdef bint is_gradient = job.out != NULL
    job.group = job.strips = 1
    if job.inner == 1:
        job.width = min(most, ceil_div(TILE, group * n) * group)
        if is_gradient:  # more long rows than one, so that one is begun while another is ended
            job.width = rows_of_tile(job.samples, n, PY_SSIZE_T_MAX, threads)
            job.width = ceil_div(job.width, ceil_div(job.width, most))
        job.calls = ceil_div(job.samples, job.width)
        job.scratch = FS_ROWS_SCRATCH
    else:
        job.width = max(16, min(<Py_ssize_t> MOST_LINES, FS_SCRATCH // line // 16 * 16))
        if is_gradient:
            job.width = columns_of_tile(job.samples, n, job.inner, job.width, threads)
        job.width = min(job.width, ceil_div(job.inner, 16) * 16)
        job.strips = ceil_div(job.inner, job.width)
        job.calls = job.samples * job.strips
        job.scratch = min(<Py_ssize_t> FS_SCRATCH, line * job.width)
    job.scratch = ceil_div(job.scratch, ALIGNMENT) * ALIGNMENT
    if (not is_gradient and job.p == NULL and job.wanted.share == 0
            and job.inner > 1 and job.strips == 1):
        job.group = max(<Py_ssize_t> 1, TOGETHER // job.width)
        job.calls = ceil_div(job.samples, job.group)
    job.together = 1 + TILE // (n * job.width * job.group)
    job.room = job.scratch + job.width * job.group * 7 * <Py_ssize_t> sizeof(double)


cdef Room _room(const Job *job, void *memory, int thread) noexcept nogil:
    cdef Room room
    cdef Py_ssize_t lines = job.width * job.group
    room.scratch = aligned(memory) + thread * job.room
    room.classes = <int64_t *> (room.scratch + job.scratch)
    room.picked = <double *> (room.classes + lines)
    room.values = room.picked + lines
    room.parts = room.values + lines
    room.sums = room.parts + 2 * lines
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


cdef Py_ssize_t _count_classes(const Job *job) noexcept nogil:
    """How many lines are not to be ignored, or -1 if a class is astray."""
    cdef int64_t classes[512]
    cdef Py_ssize_t first, count = 0, lines = job.samples * job.inner
    cdef bint astray = False
    for first in range(0, lines, 512):
        count += _classes(job, first, min(<Py_ssize_t> 512, lines - first), classes, &astray)
    return -1 if astray else count


cdef void _lose(const Job *job, Py_ssize_t call, Room room, Sums *sums) noexcept nogil:
    """The losses of one call's lines, written where they are wanted, and added to the sums."""
    cdef fs_lines lines
    cdef Py_ssize_t first, counted, i
    cdef Sum loss
    cdef Py_ssize_t place = _place(job, call, &lines, &first)
    cdef Py_ssize_t count = lines.count * lines.samples
    if job.picks:
        for i in range(2 * count):
            room.parts[i] = -0.0  # a loss is what is left of them: minus what is picked
    else:
        job.kernels.parts(job.x + place, &lines, room.parts, room.scratch)
    if job.p == NULL:
        counted = _classes(job, first, count, room.classes, &sums.astray)
        job.kernels.pick(job.x + place, &lines, room.classes, room.picked)
    if job.p == NULL and job.wanted.share == 0 and job.wanted.weight == NULL:
        job.kernels.class_losses(room.parts, room.picked, room.classes, count, room.values,
                                 &loss.hi, &loss.lo)
        _join(&sums.loss, loss)
        _add(&sums.weight, counted)
    else:
        _add_weighed(job, place, &lines, room, sums)
    if job.losses != NULL:
        job.kernels.put(room.values, count, job.losses + first * job.itemsize)


cdef void _add_weighed(
    const Job *job, Py_ssize_t place, const fs_lines *lines, Room room, Sums *sums
) noexcept nogil:
    """Losses with weights, smoothing or probabilities, to room.values and to the sums."""
    cdef Sums here = sums[0]  # in registers: stores through a pointer would be waited for
    cdef bint spread = job.p != NULL or job.wanted.share != 0
    cdef Py_ssize_t i
    cdef double w, loss
    if spread:
        job.kernels.weigh(job.x + place, NULL if job.p == NULL else job.p + place, lines,
                          &job.wanted, room.parts, room.sums)
    for i in range(lines.count * lines.samples):
        if job.p == NULL and room.classes[i] < 0:
            room.values[i] = 0
            continue
        loss = 0
        if spread:
            loss = room.sums[2 * i] + room.sums[2 * i + 1] * room.parts[2 * i + 1]
        if job.p == NULL:
            w = 1 if job.wanted.weight == NULL else job.wanted.weight[room.classes[i]]
            _add(&here.weight, w)
            loss += (w * job.keep) * ((room.parts[2 * i] - room.picked[i]) + room.parts[2 * i + 1])
        room.values[i] = loss
        _add(&here.loss, loss)
    sums[0] = here


cdef void _derive(const Job *job, Py_ssize_t call, Room room) noexcept nogil:
    """The gradients of one call's lines."""
    cdef fs_lines lines
    cdef Py_ssize_t first, i
    cdef Py_ssize_t place = _place(job, call, &lines, &first)
    cdef const char *x = job.x + place
    cdef const char *p = NULL if job.p == NULL else job.p + place
    cdef char *out = job.out + place
    cdef bint spread = p != NULL or job.wanted.share != 0
    cdef bint astray = False
    cdef double w, total
    if p != NULL:
        for i in range(2 * lines.count):
            room.parts[i] = 0
        job.kernels.weigh(x, p, &lines, &job.wanted, room.parts, room.sums)
    else:
        _classes(job, first, lines.count, room.classes, &astray)
    for i in range(lines.count):
        room.values[i] = job.one_scale if job.scale == NULL else job.scale[first + i]
        if p != NULL:
            total = room.sums[2 * i + 1]
        else:
            w = 1
            if job.wanted.weight != NULL and room.classes[i] >= 0:
                w = job.wanted.weight[room.classes[i]]
            total = w * job.keep
            if spread:
                total += job.weight_sum * job.wanted.share
        room.sums[i] = room.values[i] * total
    if not spread:
        _derive_of_classes(job, x, out, &lines, room)
        return
    job.kernels.scaled(x, out, &lines, room.sums, room.scratch)
    job.kernels.subtract(out, p, &lines, &job.wanted, NULL if p != NULL else room.classes,
                         room.values)


cdef void _derive_of_classes(
    const Job *job, const char *x, char *out, const fs_lines *lines, Room room
) noexcept nogil:
    """scale * (p - [c is the class]), the scales in room.sums.

    At the class that is -scale * (1 - p), from the other classes' p, or where these are too small,
    from the loss as scale * expm1(-loss): no digits cancel.
    """
    cdef bint have_losses = x == out  # in place the logits are gone afterwards
    cdef Py_ssize_t i, left = 0
    if have_losses:
        _surprises(job, x, lines, room, 0, lines.count)
    job.kernels.scaled(x, out, lines, room.sums, room.scratch)
    job.kernels.class_gradients(out, lines, room.classes, room.sums, room.values)
    for i in range(lines.count):
        left += isnan(room.values[i])
    # one call for all is quicker than one each for many, or for columns
    if not have_losses and left and (lines.step != 1 or 4 * left > lines.count):
        _surprises(job, x, lines, room, 0, lines.count)
        have_losses = True
    for i in range(lines.count if left else 0):
        if isnan(room.values[i]):
            if not have_losses:
                _surprises(job, x, lines, room, i, 1)
            room.values[i] = room.sums[i] * expm1(-room.picked[i])
    job.kernels.place(out, lines, room.classes, room.values)


cdef void _surprises(
    const Job *job, const char *x, const fs_lines *lines, Room room, Py_ssize_t first,
    Py_ssize_t count
) noexcept nogil:
    """The losses of some lines with their classes, in room.picked from `first` on."""
    cdef fs_lines some = lines[0]
    cdef Py_ssize_t i
    some.count = count
    x += first * lines.stride * job.itemsize
    job.kernels.parts(x, &some, room.parts, room.scratch)
    job.kernels.pick(x, &some, room.classes + first, room.picked + first)
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
    cdef Py_ssize_t call
    cdef fs_fpenv callers = fpenv_enter()
    sums[0] = Sums(Sum(0, 0), Sum(0, 0), False)
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


cdef bint _directly(
    object input, object target, object ignore_index, object reduction, Job *job
) except -1:
    """Whether these are contiguous logits and int64 classes; if so, the job."""
    cdef cnp.ndarray x, t
    cdef int axis, ndim
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)
            and (<object> ignore_index).__class__ is int and reduction in REDUCTIONS):
        return False
    x, t = input, target
    ndim = cnp.PyArray_NDIM(x)
    if not (type_of(x) >= 0 and ndim >= 2 and cnp.PyArray_NDIM(t) == ndim - 1
            and cnp.PyArray_SIZE(x) > 0 and cnp.PyArray_TYPE(t) == cnp.NPY_INT64
            and x.shape[0] == t.shape[0] and cnp.PyArray_ISCARRAY_RO(x)
            and cnp.PyArray_ISCARRAY_RO(t) and -2**63 <= ignore_index < 2**63):
        return False
    for axis in range(1, ndim - 1):
        if x.shape[axis + 1] != t.shape[axis]:
            return False
    job[0] = _job(x.reshape(x.shape[0], x.shape[1], -1), None, 0)
    job.target = <const int64_t *> cnp.PyArray_DATA(t)
    job.ignore = ignore_index
    return True


def direct_class_loss(
    object input, object target, object ignore_index, object reduction, bint of_logits
):
    """cross_entropy, or nll_loss, of contiguous numbers with int64 classes and nothing else.

    None for whatever else there is, for `_losses` to treat, or to refuse.
    """
    cdef cnp.ndarray y
    cdef Job job
    cdef Sums total
    cdef fs_fpenv callers
    cdef double value
    cdef bint mean
    cdef int type
    if not _directly(input, target, ignore_index, reduction, &job):
        return None
    job.picks = not of_logits
    type = cnp.PyArray_TYPE(<cnp.ndarray> input)
    if reduction == "none":
        y = <cnp.ndarray> target
        y = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(y), cnp.PyArray_DIMS(y), type, 0)
        job.losses = <char *> cnp.PyArray_DATA(y)
        total = _by_team(&job)
        return None if total.astray else y
    y = cnp.PyArray_EMPTY(0, NULL, type, 0)
    total = _by_team(&job)
    if total.astray:
        return None
    mean = reduction == "mean"
    callers = fpenv_enter()
    value = _value(total.loss)
    if mean:
        value = value / total.weight.hi if total.weight.hi > 0 else NAN  # a count: exact
    fpenv_leave(callers)
    job.kernels.put(&value, 1, cnp.PyArray_DATA(y))
    return y


def direct_class_gradient(
    object grad_output, object input, object target, object ignore_index, object reduction,
    object out,
):
    """The same for cross_entropy_backward with one number for the whole gradient."""
    cdef cnp.ndarray x, y
    cdef Job job
    cdef fs_fpenv callers
    cdef Py_ssize_t i, count
    if grad_output.__class__ is not float or reduction == "none":
        return None
    if not _directly(input, target, ignore_index, reduction, &job):
        return None
    x = input
    if job.itemsize == 2:
        return None
    if out is None:
        y = _empty(tuple(x.shape[i] for i in range(cnp.PyArray_NDIM(x))), x.dtype, x)
    else:
        if not cnp.PyArray_CheckExact(out):
            return None
        y = out
        if (cnp.PyArray_TYPE(y) != cnp.PyArray_TYPE(x) or not cnp.PyArray_ISCARRAY(y)
                or not cnp.PyArray_SAMESHAPE(x, y) or overlap(x, y) or overlap(target, y)):
            return None
    count = _count_classes(&job)
    if count < 0:
        return None
    job.one_scale = grad_output
    if reduction == "mean":
        callers = fpenv_enter()
        job.one_scale = job.one_scale / count if count else NAN
        fpenv_leave(callers)
    job.out = <char *> cnp.PyArray_DATA(y)
    _by_team(&job)
    return y


def class_losses(
    cnp.ndarray x, cnp.ndarray target, weight, int64_t ignore_index, double label_smoothing, losses
):
    """See `_reference_losses.class_losses`."""
    cdef Job job = _job(x, weight, label_smoothing)
    cdef Sums total
    job.target = <const int64_t *> cnp.PyArray_DATA(target)
    job.ignore = ignore_index
    if losses is not None:
        job.losses = <char *> cnp.PyArray_DATA(<cnp.ndarray> losses)
    total = _by_team(&job)
    return _value(total.loss), _value(total.weight)


def probability_losses(
    cnp.ndarray x, cnp.ndarray target, weight, double label_smoothing, losses
):
    """See `_reference_losses.probability_losses`."""
    cdef Job job = _job(x, weight, label_smoothing)
    job.p = <const char *> cnp.PyArray_DATA(target)
    if losses is not None:
        job.losses = <char *> cnp.PyArray_DATA(<cnp.ndarray> losses)
    return _value(_by_team(&job).loss)


def class_gradients(
    cnp.ndarray x, cnp.ndarray target, weight, int64_t ignore_index, double label_smoothing,
    scale, cnp.ndarray out,
):
    """See `_reference_losses.class_gradients`."""
    cdef Job job = _job(x, weight, label_smoothing)
    job.target = <const int64_t *> cnp.PyArray_DATA(target)
    job.ignore = ignore_index
    _differentiate(&job, scale, out)


def probability_gradients(
    cnp.ndarray x, cnp.ndarray target, weight, double label_smoothing, scale, cnp.ndarray out
):
    """See `_reference_losses.probability_gradients`."""
    cdef Job job = _job(x, weight, label_smoothing)
    job.p = <const char *> cnp.PyArray_DATA(target)
    _differentiate(&job, scale, out)


cdef int _differentiate(Job *job, object scale, cnp.ndarray out) except -1:
    if isinstance(scale, float):
        job.one_scale = scale
    else:
        job.scale = <const double *> cnp.PyArray_DATA(<cnp.ndarray> scale)
    job.out = <char *> cnp.PyArray_DATA(out)
    _by_team(job)
    return 0
