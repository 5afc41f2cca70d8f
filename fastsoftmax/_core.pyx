"""The hot path: from checked arguments and a known layout to kernels over tiles.

Contiguous inputs go straight from here to the kernels, small ones in one call. The rest is
resolved by `_arguments` and `_layout` to typed memoryviews of rows or columns, which the loops
of ``_loops.pxi`` cut into tiles and share among threads.
"""

import os

import numpy as np

cimport numpy as cnp
from libc.stdint cimport uint16_t

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


# Up to so many elements are few: of them a copy is quicker than a look at their strides.
_SMALL = SMALL
cdef Py_ssize_t _most_few = SMALL


def _use_few(Py_ssize_t elements):
    """Take another number of elements for few, for tests; returns the former one."""
    global _most_few
    former = _most_few
    _most_few = elements
    return former


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


include "_direct.pxi"


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
    if where is None:
        result = _at_once(FS_SOFTMAX, input, dim, False, dtype, out)
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
    if where is None:
        result = _at_once(FS_LOG_SOFTMAX, input, dim, False, dtype, out)
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
    if where is None:
        result = _at_once(FS_SOFTMIN, input, dim, False, dtype, out)
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
        result = _at_once(FS_LOGSUMEXP, input, dim, keepdim, None, out)
        if result is not None:
            return result
    return apply(FS_LOGSUMEXP, input, dim, keepdim, None, out, where, 3)


# At the end: these import this module's loops.
from fastsoftmax import _arguments
from fastsoftmax._layout import apply
