"""The hot path: from checked arguments and a known layout to kernels over tiles.

Contiguous inputs go straight from here to the kernels, small ones in one call. The rest is
resolved by `_arguments` and `_layout` to typed memoryviews of rows or columns, which the loops
of ``_loops.pxi`` cut into tiles and share among threads.
"""

import os

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport SIZE_MAX, uint16_t, uintptr_t
from libc.string cimport memcpy

from fastsoftmax._kernels cimport (
    FS_BF16, FS_F16, FS_F32, FS_F64, FS_LOG_SOFTMAX, FS_LOGSUMEXP, FS_ROWS_SCRATCH,
    FS_SOFTMAX, FS_SOFTMIN, fpenv_enter, fpenv_leave, fs_available, fs_find, fs_fpenv,
    fs_operation, fs_rows_scratch, fs_table, fs_type,
)
from fastsoftmax._threads cimport begin_team, end_team

cnp.import_array()

cdef extern from *:
    """
    #if defined(__clang__)
    #define FS_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define FS_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define FS_STRING_(x) #x
    #define FS_STRING(x) FS_STRING_(x)
    #define FS_COMPILER "MSVC " FS_STRING(_MSC_VER)
    #else
    #define FS_COMPILER "unknown"
    #endif
    """
    const char *FS_COMPILER

cdef enum:
    PLACED = 65536     # bytes: results from here on are put where stores to them are quickest

# The table in use. Chosen once at import; tests switch it.
cdef const fs_table *_table = NULL


cdef const fs_table *table() noexcept nogil:
    return _table


def _isa_available():
    """Names of the instruction-set targets that this CPU runs, best first."""
    names = []
    cdef const fs_table **tables = fs_available()
    cdef int i = 0
    while tables[i] != NULL:
        names.append(tables[i].isa.decode())
        i += 1
    return tuple(names)


def _isa():
    """Name of the target in use."""
    return _table.isa.decode()


def _compiler():
    """Name and version of the compiler that built this module."""
    return FS_COMPILER.decode()


_SYMBOLS = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


def _kernel_names():
    """The kernel of each operation and dtype, as {operation: {dtype: symbol}}."""
    return {
        operation: {
            dtype: f"fs_{operation}_{symbol}"
            for dtype, symbol in _SYMBOLS.items()
        }
        for operation in ("softmax", "log_softmax", "softmin", "logsumexp")
    }


def _use_isa(name):
    """Use the kernels of another target, for tests; returns the name of the former one."""
    global _table
    cdef const fs_table *found = fs_find(name.encode())
    if found == NULL:
        has = ", ".join(_isa_available())
        raise ValueError(f"no kernels for {name!r} on this CPU: it has {has}")
    former = _isa()
    _table = found
    return former


cdef int _choose_table() except -1:
    global _table
    wanted = os.environ.get("FASTSOFTMAX_ISA")
    if wanted is None:
        _table = fs_available()[0]
        return 0
    _table = fs_find(wanted.encode())
    if _table == NULL:
        raise ImportError(
            f"FASTSOFTMAX_ISA is {wanted!r}, but this CPU and this build have kernels for "
            f"{', '.join(_isa_available())}: unset it, or set it to one of these"
        )
    return 0


_choose_table()


cdef class _DefaultEnvironment:
    """A block whose Python code computes as the kernels do, whatever mode the caller has set.

    ``with np.errstate(all="ignore"), _DefaultEnvironment():`` stands around what NumPy adds, casts
    or rounds; see ``kernels/body/fpenv.h``.
    """

    cdef fs_fpenv _callers

    def __enter__(self):
        self._callers = fpenv_enter()

    def __exit__(self, *exception):
        fpenv_leave(self._callers)


include "_loops.pxi"


# The number that NumPy gave ml_dtypes' bfloat16, once an array of it was seen; -1 before.
cdef int _bfloat16 = -1


def _know_bfloat16(cnp.dtype bfloat16):
    """Make arrays of ml_dtypes' bfloat16 known to the kernels, without importing ml_dtypes."""
    global _bfloat16
    _bfloat16 = bfloat16.num


cdef int type_of(cnp.ndarray x) noexcept:
    """The kernels' name of an array's type; -1 if they have none."""
    cdef int number = cnp.PyArray_TYPE(x)
    if number == cnp.NPY_FLOAT32:
        return FS_F32
    if number == cnp.NPY_FLOAT64:
        return FS_F64
    if number == cnp.NPY_FLOAT16:
        return FS_F16
    if number == _bfloat16:
        return FS_BF16
    return -1


cdef int _run_team(
    fs_operation operation, int type, cnp.ndarray x, cnp.ndarray y, int threads
) except -1:
    """`_compute` by a team of that size."""
    if type == FS_F32:
        return _run[float](operation, type, x, y, threads)
    if type == FS_F64:
        return _run[double](operation, type, x, y, threads)
    return _run[uint16_t](operation, type, x.view("u2"), y.view("u2"), threads)


def _compute(int operation, cnp.ndarray x, cnp.ndarray y):
    """Run an operation on x of shape (outer, n, inner), none of them 0.

    y has that shape too, or (outer, 1, inner) for logsumexp. Both have one dtype. Where inner is 1,
    the elements along n are adjacent (in rows of up to `_layout.GATHERED_ROW` bytes, those of x may
    lie in any steps), else those along inner.
    """
    cdef int threads
    if (cnp.PyArray_SIZE(x) <= SMALL and cnp.PyArray_IS_C_CONTIGUOUS(x)
            and cnp.PyArray_IS_C_CONTIGUOUS(y)):
        _small(<fs_operation> operation, type_of(x), x, y, cnp.PyArray_DIM(x, 0),
               cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2))
        return
    threads = begin_team(cnp.PyArray_SIZE(x))
    try:
        _run_team(<fs_operation> operation, type_of(x), x, y, threads)
    finally:
        end_team(threads)


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


cdef object _direct(fs_operation operation, object input, object dim, bint keepdim, object out):
    """The result for a contiguous array over one dimension, the common case; else None.

    `out` is taken if it is contiguous too and nothing speaks against it; else all is left to
    `apply`, which says what.
    """
    cdef cnp.ndarray x, y
    cdef cnp.npy_intp shape[64]
    cdef Py_ssize_t outer = 1, n, inner = 1, size, last
    cdef int type, ndim, kept, i, threads, overflow = 0
    cdef long axis
    cdef bint whole_rows, one_tile
    cdef LongRows job
    if not cnp.PyArray_CheckExact(input) or not PyLong_CheckExact(dim):
        return None
    x = <cnp.ndarray> input
    type = type_of(x)
    if type < 0:
        return None
    ndim = cnp.PyArray_NDIM(x)
    axis = PyLong_AsLongAndOverflow(dim, &overflow)
    if overflow or not -ndim <= axis < ndim or not cnp.PyArray_ISCARRAY_RO(x):
        return None
    if axis < 0:
        axis += ndim
    memcpy(shape, cnp.PyArray_DIMS(x), ndim * sizeof(cnp.npy_intp))
    for i in range(axis):
        outer *= shape[i]
    n = shape[axis]
    for i in range(axis + 1, ndim):
        inner *= shape[i]
    size = outer * n * inner
    if size == 0:
        return None
    kept = ndim
    if operation == FS_LOGSUMEXP:
        shape[axis] = 1
        if not keepdim:
            kept = ndim - 1
            for i in range(axis, kept):
                shape[i] = shape[i + 1]
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


def softmax(input, dim=None, int _stacklevel=3, dtype=None, *, out=None, where=None):
    """Softmax over a dimension: the exponentials, scaled so that they sum to one.

    ``softmax(x)[i] = exp(x[i]) / sum(exp(x))``

    Parameters
    ----------
    input : array_like
        Of any shape; float16, bfloat16 (ml_dtypes), float32, float64, long double, integers, bool.
        A dask array gives a lazy result.
    dim : int or tuple of int, optional
        The dimension, or the dimensions together, over which the result sums to 1. None warns, as
        PyTorch does, and takes 0 for 0, 1 and 3 dimensions, else 1.
    dtype : dtype, optional
        Cast `input` to this type first. The default is its own type; float64 for integers and bool.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype; may be `input` itself.
    where : array_like of bool, optional
        Elements that take part, broadcast to the shape of `input`. The others get 0.

    Returns
    -------
    numpy.ndarray
        In the shape and dtype of `input`, or in `dtype`; float64 for integers and bool. `out` if
        that was given.

    Raises
    ------
    IndexError
        If `dim` is out of range.
    TypeError
        For complex, object, string and date dtypes, masked arrays, and an `out` of the wrong type.
    ValueError
        For an `out` of the wrong shape or read-only, a `where` that does not broadcast, or a
        repeated `dim`.

    Warns
    -----
    UserWarning
        If `dim` is None.

    See Also
    --------
    log_softmax : steadier where the logarithm is what is needed.
    softmax_backward : its gradient.

    Notes
    -----
    Within 3 ULP of the exact result for float32 and float64, subnormal results included; within
    0.51 ULP for float16 and bfloat16. A row that holds NaN or +inf, or only -inf, is NaN. A row's
    bits depend on the row alone: not on its neighbours, nor on the number of threads.

    The maximum only fixes a common power of two (see ``kernels/body/exp.h``); ``input - max`` is
    never rounded. Signature and edge cases: `torch.nn.functional.softmax`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> F.softmax(np.array([1.0, 2.0, 3.0, 4.0]), dim=0).round(4)
    array([0.0321, 0.0871, 0.2369, 0.6439])
    """
    if dtype is None and where is None:
        result = _direct(FS_SOFTMAX, input, dim, False, out)
        if result is not None:
            return result
    return apply(FS_SOFTMAX, input, dim, False, dtype, out, where, _stacklevel)


def log_softmax(input, dim=None, int _stacklevel=3, dtype=None, *, out=None, where=None):
    """Logarithm of the softmax over a dimension.

    ``log_softmax(x)[i] = x[i] - log(sum(exp(x)))``

    Taken as ``(x - max) - log1p(rest / exp(max))``, where ``rest`` is the sum of all exponentials
    but one maximum's: nothing overflows or cancels, and a confident row keeps its digits.

    Parameters
    ----------
    input : array_like
        Of any shape; dtypes as for :func:`softmax`. A dask array gives a lazy result.
    dim : int or tuple of int, optional
        The dimension, or the dimensions together, over which the exponentials of the result sum to
        1. None as for :func:`softmax`.
    dtype : dtype, optional
        Cast `input` to this type first.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype; may be `input` itself.
    where : array_like of bool, optional
        Elements that take part, broadcast to the shape of `input`. The others get -inf.

    Returns
    -------
    numpy.ndarray
        As of :func:`softmax`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As :func:`softmax`.

    Warns
    -----
    UserWarning
        If `dim` is None.

    See Also
    --------
    cross_entropy : the loss, without the log_softmax in memory.
    log_softmax_backward : its gradient.

    Notes
    -----
    Within 3 ULP of the exact result for float32 and float64, results near 0 included; within 0.51
    ULP for float16 and bfloat16. Special values, bits and source as for :func:`softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> F.log_softmax(np.array([1.0, 2.0, 3.0, 4.0]), dim=0).round(4)
    array([-3.4402, -2.4402, -1.4402, -0.4402])

    Where the softmax rounds to 1, its logarithm still tells how far it is from 1:

    >>> F.log_softmax(np.array([0.0, 100.0]), dim=0)
    array([-1.00000000e+02, -3.72007598e-44])
    """
    if dtype is None and where is None:
        result = _direct(FS_LOG_SOFTMAX, input, dim, False, out)
        if result is not None:
            return result
    return apply(FS_LOG_SOFTMAX, input, dim, False, dtype, out, where, _stacklevel)


def softmin(input, dim=None, int _stacklevel=3, dtype=None, *, out=None, where=None):
    """Softmin over a dimension: the softmax of ``-input``.

    ``softmin(x)[i] = exp(-x[i]) / sum(exp(-x))``

    Parameters
    ----------
    input, dim, dtype, out, where
        As for :func:`softmax`. Unsigned integers do not wrap: they are negated as float64.

    Returns
    -------
    numpy.ndarray
        As of :func:`softmax`.

    Raises
    ------
    IndexError, TypeError, ValueError
        As :func:`softmax`.

    Warns
    -----
    UserWarning
        If `dim` is None.

    Notes
    -----
    Within 3 ULP of the exact result for float32 and float64, 0.51 ULP for float16 and bfloat16.
    Special values (with -inf and +inf exchanged), bits and source as for :func:`softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> F.softmin(np.array([1.0, 2.0, 3.0, 4.0]), dim=0).round(4)
    array([0.6439, 0.2369, 0.0871, 0.0321])
    """
    if dtype is None and where is None:
        result = _direct(FS_SOFTMIN, input, dim, False, out)
        if result is not None:
            return result
    return apply(FS_SOFTMIN, input, dim, False, dtype, out, where, _stacklevel)


def logsumexp(input, dim, bint keepdim=False, *, out=None, where=None):
    """Logarithm of the sum of the exponentials over a dimension.

    ``logsumexp(x) = log(sum(exp(x))) = max + log1p(rest / exp(max))``

    where ``rest`` is the sum of all exponentials but one maximum's.

    Parameters
    ----------
    input : array_like
        Of any shape; dtypes as for :func:`softmax`, and complex. A dask array gives a lazy result.
    dim : int or tuple of int
        The dimension, or the dimensions together, to reduce.
    keepdim : bool, optional
        Keep the reduced dimensions, with size 1.
    out : numpy.ndarray, optional
        Where to put the result, of exactly its shape and dtype.
    where : array_like of bool, optional
        Elements that take part, broadcast to the shape of `input`.

    Returns
    -------
    numpy.ndarray
        In the shape of `input` without `dim`, 0-d if nothing is left, and in its dtype; float64
        for integers and bool. `out` if that was given.

    Raises
    ------
    IndexError, TypeError, ValueError
        As :func:`softmax`; complex dtypes are taken, a `dim` of None is not.

    See Also
    --------
    log_softmax : the input less this.

    Notes
    -----
    Within 2 ULP (float16, bfloat16: 0.51) of the larger of the result and the maximum by magnitude,
    since the two parts may cancel. -inf for a row that is empty, all -inf or masked out; +inf for
    one that holds +inf; NaN for one that holds NaN. Source: `torch.logsumexp`, PyTorch 2.13.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax.functional as F
    >>> F.logsumexp(np.array([[1000.0, 1000.0], [0.0, -1000.0]]), dim=1)
    array([1000.69314718,    0.        ])
    """
    if where is None:
        result = _direct(FS_LOGSUMEXP, input, dim, keepdim, out)
        if result is not None:
            return result
    return apply(FS_LOGSUMEXP, input, dim, keepdim, None, out, where, 3)


# At the end: these import this module's loops.
from fastsoftmax._layout import apply
