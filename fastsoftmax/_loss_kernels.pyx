"""The losses and their gradients over contiguous (N, C, K) logits, by the kernels in use.

The same functions as in `_reference_losses`, for float16, bfloat16, float32 and float64. The lines
along C are cut into tiles at fixed places; each tile is summed on its own, and the sums are added
in the order of the tiles, so that no bit depends on the number of threads.
"""

cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.math cimport NAN
from libc.stdint cimport int64_t

from fastsoftmax._core cimport next_sample, overlap, packed, table, type_of
from fastsoftmax._kernels cimport FS_BF16, FS_F16, FS_F64, fpenv_enter, fpenv_leave, fs_fpenv

import numpy as np

from fastsoftmax._arguments import is_bfloat16
from fastsoftmax._core import _empty, _know_bfloat16

include "_loss_calls.pxi"

cnp.import_array()

REDUCTIONS = ("mean", "none", "sum")
NUMBERS = (np.float64, np.float32, np.float16)

cdef Job _job(cnp.ndarray x, object weight, double label_smoothing):
    """That of logits (N, C, ...)."""
    cdef Job job
    cdef cnp.ndarray w
    cdef int axis
    job.kernels = &table().losses[type_of(x)]
    job.x = <const char *> cnp.PyArray_DATA(x)
    job.p = job.losses = job.out = NULL
    job.target = NULL
    job.scale = NULL
    job.picks = False
    job.wide = 0
    job.one_scale = 1
    job.ignore = 0
    job.samples, job.n, job.inner = x.shape[0], x.shape[1], 1
    for axis in range(2, cnp.PyArray_NDIM(x)):
        job.inner *= x.shape[axis]
    job.itemsize = cnp.PyArray_ITEMSIZE(x)
    job.ahead = next_sample(job.samples, job.n, job.inner, job.itemsize)
    job.keep = 1 - label_smoothing
    job.wanted.keep = job.keep
    job.wanted.share = label_smoothing / job.n
    job.weight, job.of_weight, job.wanted.weight = NULL, NULL, NULL
    job.weight_sum = job.n
    if weight is not None:
        w = weight
        job.weight = <const char *> cnp.PyArray_DATA(w)
        job.of_weight = &table().losses[type_of(w)]
        if cnp.PyArray_TYPE(w) == cnp.NPY_DOUBLE:
            job.wanted.weight = <const double *> job.weight
        job.weight_sum = 0
        if label_smoothing and job.wanted.weight != NULL:
            job.weight_sum = _value(_sum(&job, job.wanted.weight, job.n))
    return job


cdef bint _are_weights(object weight, Py_ssize_t n) except -1:
    """Whether these are the weights of n classes, as the kernels take them."""
    return (
        cnp.PyArray_CheckExact(weight)
        and cnp.PyArray_NDIM(<cnp.ndarray> weight) == 1
        and cnp.PyArray_DIM(<cnp.ndarray> weight, 0) == n
        and type_of(<cnp.ndarray> weight) >= 0
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> weight)
    )


cdef object _as_weights(object weight, object target, object label_smoothing):
    """Weights of a narrower type as float64, subnormal ones too.

    Those the kernels can take stay as they are where only those of the lines' classes count: these
    are widened as they are met.
    """
    cdef fs_fpenv callers
    cdef int type = type_of(weight) if cnp.PyArray_CheckExact(weight) else -1
    if type < 0 or type == FS_F64:
        return weight
    if (cnp.PyArray_CheckExact(target) and cnp.PyArray_TYPE(<cnp.ndarray> target) == cnp.NPY_INT64
            and PyFloat_CheckExact(label_smoothing) and PyFloat_AS_DOUBLE(label_smoothing) == 0
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> weight)):
        return weight
    callers = fpenv_enter()
    try:
        return weight.astype("f8")
    finally:
        fpenv_leave(callers)


cdef object _as_logits(object input):
    """Few logits, or probabilities, in another order of memory, as the kernels take them."""
    cdef cnp.ndarray x
    cdef fs_fpenv callers
    if not cnp.PyArray_CheckExact(input):
        return input
    x = input
    if (cnp.PyArray_ISCARRAY_RO(x) or type_of(x) < 0 or not cnp.PyArray_ISNOTSWAPPED(x)
            or cnp.PyArray_SIZE(x) > SMALL):
        return input
    callers = fpenv_enter()
    try:
        return input.copy()
    finally:
        fpenv_leave(callers)


cdef object _as_integers(object target):
    """A Python or NumPy integer, or a list of Python's, as int64; all else as it is."""
    cdef cnp.npy_intp count
    cdef cnp.ndarray classes
    cdef int64_t *place
    cdef int overflow
    if not PyList_CheckExact(target):
        if PyLong_CheckExact(target) or isinstance(target, np.integer):
            return np.asarray(target)
        return target
    count = len(target)
    if count > SMALL:
        return target
    classes = cnp.PyArray_EMPTY(1, &count, cnp.NPY_INT64, 0)
    place = <int64_t *> cnp.PyArray_DATA(classes)
    for each in target:
        if not PyLong_CheckExact(each):
            return target
        place[0] = PyLong_AsLongLongAndOverflow(each, &overflow)
        if overflow:
            return target
        place += 1
    return classes


cdef object _as_classes(object target):
    """Few classes of another type of integers, or that lie apart, as the kernels take them.

    Probabilities too. Not of uint64, of whose numbers int64 has not all: a larger one would become
    another class.
    """
    cdef cnp.ndarray t
    cdef int type
    cdef fs_fpenv callers
    if not cnp.PyArray_CheckExact(target):
        target = _as_integers(target)
        if not cnp.PyArray_CheckExact(target):
            return target
    t = target
    type = cnp.PyArray_TYPE(t)
    if not cnp.PyTypeNum_ISINTEGER(type):
        return _as_logits(target)
    if cnp.PyArray_SIZE(t) > SMALL:
        return target
    if cnp.PyTypeNum_ISUNSIGNED(type) and cnp.PyArray_ITEMSIZE(t) == sizeof(int64_t):
        return target
    if type == cnp.NPY_INT64 and cnp.PyArray_ISCARRAY_RO(t):
        return target
    callers = fpenv_enter()
    try:
        return target.astype("i8", "C")
    finally:
        fpenv_leave(callers)


cdef bint _is_row(object input) noexcept:
    """Whether these are the logits of one sample, (C,)."""
    return cnp.PyArray_CheckExact(input) and cnp.PyArray_NDIM(<cnp.ndarray> input) == 1


cdef tuple _as_sample(object row, object target):
    """Such logits as (1, C), and their target with them: a class (1,), or probabilities (1, C).

    A class of shape (1,) has it already. Where C is 1 it has that of the logits, and is refused as
    probabilities that are integers, here as by `_losses`.
    """
    cdef cnp.ndarray x = row, t
    if cnp.PyArray_CheckExact(target):
        t = target
        if cnp.PyArray_NDIM(t) == 0 or cnp.PyArray_SAMESHAPE(x, t):
            target = target[None]
    return row[None], target


cdef object _as_number(object value):
    """A float, from one or from NumPy's; None of anything else."""
    cdef fs_fpenv callers
    if PyFloat_CheckExact(value):
        return value
    if not (value.__class__ in NUMBERS or cnp.PyArray_CheckExact(value)
            and cnp.PyArray_NDIM(<cnp.ndarray> value) == 0 and type_of(value) >= 0):
        return None
    callers = fpenv_enter()
    try:
        return float(value)
    finally:
        fpenv_leave(callers)


cdef bint _is_target(
    cnp.ndarray x, cnp.ndarray t, bint of_logits, int64_t ignore_index
) noexcept:
    """Whether t are probabilities, of x's shape and type, or int64 classes of its lines."""
    cdef int axis, ndim = cnp.PyArray_NDIM(x)
    if cnp.PyArray_NDIM(t) == ndim:
        return (of_logits and cnp.PyArray_TYPE(t) == cnp.PyArray_TYPE(x)
                and cnp.PyArray_SAMESHAPE(x, t) and ignore_index < 0)
    if not (cnp.PyArray_NDIM(t) == ndim - 1 and cnp.PyArray_TYPE(t) == cnp.NPY_INT64
            and x.shape[0] == t.shape[0]):
        return False
    for axis in range(1, ndim - 1):
        if x.shape[axis + 1] != t.shape[axis]:
            return False
    return True


cdef bint _directly(
    object input, object target, object weight, object ignore_index, object reduction,
    object label_smoothing, bint of_logits, Job *job
) except -1:
    """Whether these are contiguous logits, classes or probabilities, and weights; if so, the job.

    It has their addresses: the caller keeps them.
    """
    cdef cnp.ndarray x, t
    cdef fs_fpenv callers
    cdef int overflow
    cdef int64_t ignored
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)
            and PyLong_CheckExact(ignore_index)
            and PyUnicode_CheckExact(reduction) and reduction in REDUCTIONS
            and PyFloat_CheckExact(label_smoothing)
            and 0 <= PyFloat_AS_DOUBLE(label_smoothing) <= 1):
        return False
    ignored = PyLong_AsLongLongAndOverflow(ignore_index, &overflow)
    x, t = input, target
    if not (not overflow and type_of(x) >= 0
            and cnp.PyArray_NDIM(x) >= 2 and cnp.PyArray_SIZE(x) > 0
            and cnp.PyArray_ISCARRAY_RO(x) and cnp.PyArray_ISCARRAY_RO(t)
            and _is_target(x, t, of_logits, ignored)):
        return False
    if weight is not None and not _are_weights(weight, x.shape[1]):
        return False
    callers = fpenv_enter()
    try:
        job[0] = _job(x, weight, PyFloat_AS_DOUBLE(label_smoothing))
    finally:
        fpenv_leave(callers)
    if cnp.PyArray_NDIM(t) == cnp.PyArray_NDIM(x):
        job.p = <const char *> cnp.PyArray_DATA(t)
    else:
        job.target = <const int64_t *> cnp.PyArray_DATA(t)
        job.ignore = ignored
    job.picks = not of_logits
    # what all classes are weighed by is float64, or NULL: see _as_weights
    return weight is None or job.wanted.weight != NULL or not _is_spread(job)


def direct_loss(
    object input, object target, object weight, object ignore_index, object reduction,
    object label_smoothing, bint of_logits,
):
    """cross_entropy, or nll_loss, of contiguous numbers.

    None for whatever else there is, for `_losses` to treat, or to refuse.
    """
    cdef cnp.npy_intp dims[cnp.NPY_MAXDIMS]
    cdef cnp.ndarray y
    cdef Job job
    cdef Sums total
    cdef fs_fpenv callers
    cdef double value, weights
    cdef bint mean, each, is_row
    cdef int type, axis, ndim = 0
    input, target = _as_logits(input), _as_classes(target)
    weight = _as_weights(weight, target, label_smoothing)
    is_row = _is_row(input)
    if is_row:
        input, target = _as_sample(input, target)
    if not _directly(input, target, weight, ignore_index, reduction, label_smoothing, of_logits,
                     &job):
        return None
    type = cnp.PyArray_TYPE(<cnp.ndarray> input)
    each = reduction == "none"
    if each and not is_row:
        ndim = cnp.PyArray_NDIM(<cnp.ndarray> input) - 1
        for axis in range(ndim):
            dims[axis] = cnp.PyArray_DIM(<cnp.ndarray> input, axis + (axis > 0))
    y = cnp.PyArray_EMPTY(ndim, dims, type, 0)
    job.losses = <char *> cnp.PyArray_DATA(y) if each else NULL
    total = _by_team(&job)
    if total.astray:
        return None
    if each:
        return y
    mean = reduction == "mean"
    callers = fpenv_enter()
    value = _value(total.loss)
    if mean:
        weights = _value(total.weight) if job.p == NULL else job.samples * job.inner
        value = value / weights if weights != 0 else NAN
    fpenv_leave(callers)
    job.kernels.put(&value, 1, cnp.PyArray_DATA(y))
    return y


cdef bint _may_take(cnp.ndarray out, cnp.ndarray x, object target, object weight) noexcept:
    """Whether the gradients may go to `out` at once: what they are taken of is not overwritten."""
    return (
        cnp.PyArray_TYPE(out) == cnp.PyArray_TYPE(x) and cnp.PyArray_ISCARRAY(out)
        and cnp.PyArray_SAMESHAPE(x, out)
        and (cnp.PyArray_DATA(x) == cnp.PyArray_DATA(out) or not overlap(x, out))
        and not overlap(target, out) and (weight is None or not overlap(weight, out))
    )


def direct_gradient(
    object grad_output, object input, object target, object weight, object ignore_index,
    object reduction, object label_smoothing, object out,
):
    """The same for cross_entropy_backward with one number for the whole gradient."""
    cdef cnp.ndarray x, y
    cdef Job job
    cdef fs_fpenv callers
    cdef double total
    cdef bint mean, in_range
    cdef object logits, scale = _as_number(grad_output)
    if scale is None:
        return None
    if (out is None and cnp.PyArray_CheckExact(input) and type_of(input) >= 0
            and not cnp.PyArray_ISCARRAY_RO(input)):
        input = packed(input)  # or None, which is refused below
    target, logits = _as_classes(target), input
    weight = _as_weights(weight, target, label_smoothing)
    if _is_row(input):
        logits, target = _as_sample(input, target)
    if not _directly(logits, target, weight, ignore_index, reduction, label_smoothing, True, &job):
        return None
    if reduction == "none":
        return None
    x = input
    if out is None:
        y = _empty(input.shape, input.dtype, x)
    else:
        if not (cnp.PyArray_CheckExact(out) and _may_take(out, x, target, weight)):
            return None
        y = out
    job.one_scale = scale
    mean = reduction == "mean"
    callers = fpenv_enter()
    in_range = _weigh_classes(&job, &total)
    if mean:
        job.one_scale /= total
    fpenv_leave(callers)
    if not in_range:
        return None
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


def rounded(cnp.ndarray wide, object dtype):
    """Numbers in a narrower type, each rounded once; in a type without kernels as NumPy has them.

    NumPy takes 60 ns for each that becomes a subnormal float16, and ml_dtypes rounds float64 twice.
    """
    if wide.dtype == dtype:
        return wide
    if not cnp.PyArray_ISCARRAY_RO(wide):
        wide = (<object> wide).copy()
    if is_bfloat16(dtype):
        _know_bfloat16(dtype)
    cdef cnp.ndarray out = np.empty((<object> wide).shape, dtype)
    cdef int type = type_of(out), given = type_of(wide)
    cdef fs_runs whole = fs_runs(1, cnp.PyArray_SIZE(out), 0, 0)
    cdef const void *x = cnp.PyArray_DATA(wide)
    cdef bint is_narrow = (
        (type == FS_F16 or type == FS_BF16)
        and cnp.PyArray_ISCARRAY(out) and cnp.PyArray_ISCARRAY_RO(wide)
    )
    if is_narrow and given == FS_F64:
        table().losses[type].put(<const double *> x, whole.n, cnp.PyArray_DATA(out))
    elif is_narrow and given == FS_F32:
        table().losses[type].narrow(<const float *> x, &whole, cnp.PyArray_DATA(out))
    else:
        out[...] = wide
    return out


cdef int _differentiate(Job *job, object scale, cnp.ndarray out) except -1:
    if isinstance(scale, float):
        job.one_scale = scale
    else:
        job.scale = <const double *> cnp.PyArray_DATA(<cnp.ndarray> scale)
    job.out = <char *> cnp.PyArray_DATA(out)
    _by_team(job)
    return 0
