# What goes straight from arguments to the kernels, and where its results go, included by _core.pyx:
# contiguous arrays, and few elements in other strides.

from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport PTRDIFF_MAX, SIZE_MAX
from libc.string cimport memcpy

cdef cnp.ndarray _result(
    int ndim, cnp.npy_intp *shape, int type, Py_ssize_t itemsize, cnp.ndarray x, bint alike
):
    """An array for the result; a large one is placed as `_placed` says.

    NumPy aligns to 16 bytes: each vector stored would cross a cache line, at 6 to 15 % of the time.
    It does not lie alike to an x that is not aligned as its own elements must be.
    """
    cdef cnp.ndarray memory, y
    cdef cnp.npy_intp room = itemsize
    cdef int i
    for i in range(ndim):
        if shape[i] > 0 and room > <cnp.npy_intp> (SIZE_MAX // 4) // shape[i]:
            return cnp.PyArray_EMPTY(ndim, shape, type, 0)  # which refuses it
        room *= shape[i]
    if room < PLACED:
        return cnp.PyArray_EMPTY(ndim, shape, type, 0)
    room += PAGE + ALIGNMENT
    memory = cnp.PyArray_EMPTY(1, &room, cnp.NPY_UINT8, 0)
    y = cnp.PyArray_SimpleNewFromData(
        ndim, shape, type,
        _placed(<char *> cnp.PyArray_DATA(memory) + ALIGNMENT, cnp.PyArray_DATA(x),
                alike and <uintptr_t> cnp.PyArray_DATA(x) % <uintptr_t> itemsize == 0))
    cnp.set_array_base(y, memory)
    return y


def _empty(shape, cnp.dtype dtype, cnp.ndarray x, Py_ssize_t n=1, Py_ssize_t inner=1):
    """`_result` for other modules; for columns, of n elements and so many beside each other."""
    cdef cnp.npy_intp dims[64]
    for i, extent in enumerate(shape):
        dims[i] = extent
    return _result(len(shape), dims, dtype.num, dtype.itemsize, x,
                   inner > 1 and _far_lines(n, inner * dtype.itemsize))


cdef bint overlap(cnp.ndarray x, cnp.ndarray y) noexcept:
    """Whether two contiguous arrays share memory."""
    cdef Py_ssize_t distance = <char *> cnp.PyArray_DATA(y) - <char *> cnp.PyArray_DATA(x)
    return -cnp.PyArray_NBYTES(y) < distance < cnp.PyArray_NBYTES(x)


cdef int axis_of(object dim, int ndim) except -2:
    """A dimension counted from the first; -1 for what is none."""
    cdef int overflow = 0
    cdef long axis
    if not PyLong_CheckExact(dim):
        return -1
    axis = PyLong_AsLongAndOverflow(dim, &overflow)
    if overflow or not -ndim <= axis < ndim:
        return -1
    return axis if axis >= 0 else axis + ndim


cdef int _axes(object dim, int ndim, int *after) except -2:
    """The first of one dimension, or of several side by side in order; -1 for whatever else."""
    cdef int first = -1, axis
    if not PyTuple_CheckExact(dim):
        first = axis_of(dim, ndim)
        after[0] = first + 1
        return first
    for each in dim:
        axis = axis_of(each, ndim)
        if axis < 0 or (first >= 0 and axis != after[0]):
            return -1
        first = axis if first < 0 else first
        after[0] = axis + 1
    return first


cdef object packed(cnp.ndarray x):
    """A contiguous copy of few elements in C's order with gaps, or backwards; None of any others.

    Steps that overlap, or are 0, are in that order too if none is longer than the one before. Then
    `_layout` has a result of theirs in C's order too.
    """
    cdef cnp.npy_intp step, last = PTRDIFF_MAX
    cdef cnp.ndarray copy
    cdef fs_fpenv callers
    cdef int i
    if cnp.PyArray_SIZE(x) > _most_few or not cnp.PyArray_ISNOTSWAPPED(x):
        return None
    for i in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(x, i) > 1:
            step = cnp.PyArray_STRIDE(x, i)
            step = step if step >= 0 else -step
            if step > last:
                return None
            last = step
    copy = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    callers = fpenv_enter()
    try:
        cnp.PyArray_CopyInto(copy, x)
    finally:
        fpenv_leave(callers)
    return copy


cdef bint is_turned(cnp.ndarray x) noexcept:
    """Whether these are few elements that lie in Fortran's order: transposed, they need no copy."""
    return cnp.PyArray_SIZE(x) <= _most_few and cnp.PyArray_ISFARRAY_RO(x)


cdef object _few(fs_operation operation, cnp.ndarray x, int axis, bint keepdim):
    """The result of few elements in other strides, in their order of memory; else None."""
    if cnp.PyArray_DIM(x, axis) == 1:  # `_layout` may have another order where dim has one element
        return None
    if is_turned(x):
        axis = cnp.PyArray_NDIM(x) - 1 - axis
        result = _direct(operation, cnp.PyArray_Transpose(x, NULL), axis, keepdim, None)
        return None if result is None else cnp.PyArray_Transpose(result, NULL)
    y = packed(x)
    return None if y is None else _of_copy(operation, y, axis, keepdim)


cdef object _of_copy(fs_operation operation, cnp.ndarray copy, object dim, bint keepdim):
    """The result of a copy of ours, in that very copy where it has room for it."""
    return _direct(operation, copy, dim, keepdim, None if operation == FS_LOGSUMEXP else copy)


cdef object _direct(fs_operation operation, object input, object dim, bint keepdim, object out):
    """The result for a contiguous array over one dimension, the common case; else None.

    Of few elements over several dimensions side by side too; or, over one and without `out`, in
    other strides. `out` is taken if it is contiguous too and nothing speaks against it; else all is
    left to `apply`, which says what.
    """
    cdef cnp.ndarray x, y
    cdef cnp.npy_intp shape[64]
    cdef Py_ssize_t outer = 1, n = 1, inner = 1, size, last
    cdef int type, ndim, kept, i, threads, axis, after
    cdef bint whole_rows, one_tile
    cdef LongRows job
    if not cnp.PyArray_CheckExact(input):
        return None
    x = <cnp.ndarray> input
    type = type_of(x)
    if type < 0:
        return None
    ndim = cnp.PyArray_NDIM(x)
    axis = _axes(dim, ndim, &after)
    if axis < 0:
        return None
    if not cnp.PyArray_ISCARRAY_RO(x):
        return _few(operation, x, axis, keepdim) if out is None and after == axis + 1 else None
    memcpy(shape, cnp.PyArray_DIMS(x), ndim * sizeof(cnp.npy_intp))
    for i in range(axis):
        outer *= shape[i]
    for i in range(axis, after):
        n *= shape[i]
    for i in range(after, ndim):
        inner *= shape[i]
    size = outer * n * inner
    if size == 0 or (size > _most_few and after > axis + 1):
        return None
    kept = ndim
    if operation == FS_LOGSUMEXP:
        for i in range(axis, after):
            shape[i] = 1
        if not keepdim:
            kept = ndim - (after - axis)
            for i in range(axis, kept):
                shape[i] = shape[i + (after - axis)]
    if out is None:
        y = _result(kept, shape, cnp.PyArray_TYPE(x), cnp.PyArray_ITEMSIZE(x), x,
                    inner > 1 and _far_lines(n, inner * cnp.PyArray_ITEMSIZE(x)))
    else:
        if not cnp.PyArray_CheckExact(out):
            return None
        y = <cnp.ndarray> out
        if (
            cnp.PyArray_TYPE(y) != cnp.PyArray_TYPE(x)
            or cnp.PyArray_NDIM(y) != kept
            or not cnp.PyArray_CompareLists(cnp.PyArray_DIMS(y), shape, kept)
            or not cnp.PyArray_ISCARRAY(y)
        ):
            return None
        if overlap(x, y) and (
            cnp.PyArray_DATA(x) != cnp.PyArray_DATA(y) or operation == FS_LOGSUMEXP
        ):
            return None
    if size <= SMALL:
        _small(operation, type, x, y, outer, n, inner)
        return y
    whole_rows = inner == 1 and n <= LONG_ROW
    # scratch memory on the stack does
    one_tile = whole_rows and fs_rows_scratch(operation, <fs_type> type, n) <= FS_ROWS_SCRATCH
    threads = begin_team(1 if whole_rows and outer == 1 else size)  # one row, one thread
    try:
        last = 1 if operation == FS_LOGSUMEXP else n
        if one_tile and threads == 1:
            with nogil:
                _one_tile(operation, type, x, y, outer, n)
        elif inner == 1 and n > LONG_ROW:
            job = LongRows(&_table.kernels[<int> operation][type],
                           <const char *> cnp.PyArray_DATA(x), <char *> cnp.PyArray_DATA(y), outer,
                           n, cnp.PyArray_ITEMSIZE(x), n * cnp.PyArray_ITEMSIZE(x),
                           last * cnp.PyArray_ITEMSIZE(x), operation)
            _long_rows(&job, threads)
        else:
            _run_team(operation, type, x.reshape(outer, n, inner), y.reshape(outer, last, inner),
                      threads)
    finally:
        end_team(threads)
    return y


cdef bint _is_plain(object dtype) except -1:
    """Whether nobody notices that a dtype is looked at here first, and in `apply` again."""
    return (dtype is None or isinstance(dtype, np.dtype)
            or (type(dtype) is type and dtype in (np.float16, np.float32, np.float64, float)))


cdef object _converted(
    fs_operation operation, object input, object dim, bint keepdim, object dtype
):
    """The result of few elements that NumPy converts first, to float64 or to `dtype`; else None."""
    cdef cnp.ndarray x, y
    cdef fs_fpenv callers
    cdef int after
    if not cnp.PyArray_CheckExact(input) or not _is_plain(dtype):
        return None
    x = input
    if (cnp.PyArray_SIZE(x) > _most_few or not cnp.PyArray_IS_C_CONTIGUOUS(x)
            or _axes(dim, cnp.PyArray_NDIM(x), &after) < 0):
        return None
    try:
        name = _arguments.NAMES[<int> operation]
        target = _arguments.result_dtype(name, x.dtype, dtype)
    except TypeError:  # `apply` says so, in its turn
        return None
    if target.char not in "efd" or (dtype is None and target == x.dtype):
        return None
    y = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), target.num, 0)
    with np.errstate(all="ignore"):
        callers = fpenv_enter()
        try:
            cnp.PyArray_CopyInto(y, x)
        finally:
            fpenv_leave(callers)
    return _of_copy(operation, y, dim, keepdim)


cdef object _at_once(
    fs_operation operation, object input, object dim, bint keepdim, object dtype, object out
):
    """The result of what needs no closer look; else None."""
    result = None
    if dtype is None:
        result = _direct(operation, input, dim, keepdim, out)
    if result is None and out is None:
        result = _converted(operation, input, dim, keepdim, dtype)
    return result
