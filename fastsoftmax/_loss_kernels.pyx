"""The losses and their gradients over contiguous (N, C, K) logits, by the kernels in use.

The same functions as in `_reference_losses`, for float16, bfloat16, float32 and float64. The lines
along C are cut into tiles at fixed places; each tile is summed on its own, and the sums are added
in the order of the tiles, so that no bit depends on the number of threads.
"""

import math

cimport numpy as cnp
from libc.math cimport NAN
from libc.stdint cimport int64_t

from fastsoftmax._core cimport next_sample, overlap, table, type_of
from fastsoftmax._kernels cimport fpenv_enter, fpenv_leave, fs_fpenv

from fastsoftmax._core import _empty

include "_loss_calls.pxi"

cnp.import_array()

REDUCTIONS = ("mean", "none", "sum")


cdef Job _job(cnp.ndarray x, object weight, double label_smoothing):
    cdef Job job
    cdef cnp.ndarray w
    job.kernels = &table().losses[type_of(x)]
    job.x = <const char *> cnp.PyArray_DATA(x)
    job.p = job.losses = job.out = NULL
    job.target = NULL
    job.scale = NULL
    job.picks = False
    job.wide = 0
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
        job.weight_sum = _sum_of(weight) if label_smoothing else 0
    return job


cdef double _sum_of(object weight) except? -1:
    """Rounded once; where fsum refuses it, infinite or NaN."""
    try:
        return math.fsum(weight)
    except (OverflowError, ValueError):
        return sum(weight.tolist())


cdef bint _are_weights(object weight, Py_ssize_t n) except -1:
    """Whether these are the weights of n classes, as the kernels take them."""
    return (
        cnp.PyArray_CheckExact(weight)
        and cnp.PyArray_NDIM(<cnp.ndarray> weight) == 1
        and cnp.PyArray_DIM(<cnp.ndarray> weight, 0) == n
        and cnp.PyArray_TYPE(<cnp.ndarray> weight) == cnp.NPY_DOUBLE
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> weight)
    )


cdef object _wide_weights(object weight):
    """Weights of float32 as float64, subnormal ones too."""
    cdef fs_fpenv callers
    if not (cnp.PyArray_CheckExact(weight)
            and cnp.PyArray_TYPE(<cnp.ndarray> weight) == cnp.NPY_FLOAT):
        return weight
    callers = fpenv_enter()
    try:
        return weight.astype("f8")
    finally:
        fpenv_leave(callers)


cdef bint _directly(
    object input, object target, object weight, object ignore_index, object reduction,
    object label_smoothing, Job *job
) except -1:
    """Whether these are contiguous logits and int64 classes, and weights; if so, the job.

    It has their addresses: the caller keeps them.
    """
    cdef cnp.ndarray x, t
    cdef fs_fpenv callers
    cdef int axis, ndim
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)
            and (<object> ignore_index).__class__ is int and reduction in REDUCTIONS
            and (<object> label_smoothing).__class__ is float and 0 <= label_smoothing <= 1):
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
    if weight is not None and not _are_weights(weight, x.shape[1]):
        return False
    callers = fpenv_enter()
    try:
        job[0] = _job(x.reshape(x.shape[0], x.shape[1], -1), weight, label_smoothing)
    finally:
        fpenv_leave(callers)
    job.target = <const int64_t *> cnp.PyArray_DATA(t)
    job.ignore = ignore_index
    return True


def direct_class_loss(
    object input, object target, object weight, object ignore_index, object reduction,
    object label_smoothing, bint of_logits,
):
    """cross_entropy, or nll_loss, of contiguous numbers with int64 classes.

    None for whatever else there is, for `_losses` to treat, or to refuse.
    """
    cdef cnp.ndarray y
    cdef Job job
    cdef Sums total
    cdef fs_fpenv callers
    cdef double value, weights
    cdef bint mean
    cdef int type
    weight = _wide_weights(weight)
    if not _directly(input, target, weight, ignore_index, reduction, label_smoothing, &job):
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
        weights = _value(total.weight)
        value = value / weights if weights != 0 else NAN
    fpenv_leave(callers)
    job.kernels.put(&value, 1, cnp.PyArray_DATA(y))
    return y


def direct_class_gradient(
    object grad_output, object input, object target, object ignore_index, object reduction,
    object label_smoothing, object out,
):
    """The same for cross_entropy_backward with one number for the whole gradient, unweighted."""
    cdef cnp.ndarray x, y
    cdef Job job
    cdef fs_fpenv callers
    cdef Py_ssize_t i, count
    if grad_output.__class__ is not float or reduction == "none":
        return None
    if not _directly(input, target, None, ignore_index, reduction, label_smoothing, &job):
        return None
    x = input
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


def narrow(cnp.ndarray wide, cnp.ndarray out):
    """Float32 numbers to as many of a narrower type, both contiguous.

    NumPy takes 60 ns for each that becomes subnormal.
    """
    table().losses[type_of(out)].narrow(
        <const float *> cnp.PyArray_DATA(wide), cnp.PyArray_SIZE(out), cnp.PyArray_DATA(out))


cdef int _differentiate(Job *job, object scale, cnp.ndarray out) except -1:
    if isinstance(scale, float):
        job.one_scale = scale
    else:
        job.scale = <const double *> cnp.PyArray_DATA(<cnp.ndarray> scale)
    job.out = <char *> cnp.PyArray_DATA(out)
    _by_team(job)
    return 0
