"""Softmax, log_softmax and logsumexp of C arrays, for `cimport` in other Cython packages.

    int softmax_float32(const float *x, float *out, Py_ssize_t outer, Py_ssize_t n,
                        Py_ssize_t inner) noexcept nogil

and so on. These names and signatures are frozen: a later release adds to them, and neither changes
nor removes one.

Shapes: `x` is a C-contiguous array of shape (outer, n, inner), and the operation is over `n`. Rows
of a matrix are (rows, n, 1), its columns (1, n, columns). `out` has the shape of `x`; for logsumexp
(outer, inner). Where one of `outer`, `n` and `inner` is 0, `x` is not read; logsumexp over no
elements is -inf.

Memory: both addresses are aligned to their element type, no further. `out` may be `x`, except for
logsumexp; otherwise they must not overlap. Nothing is checked.

Result: 0; or -1 where there was no memory for scratch space (at most 529 KiB, and only if `inner`
is above 1), with nothing written and no Python exception set.

Values: bit for bit those of `fastsoftmax.softmax(x, dim=1)` and so on, by the same kernels and
bounds: 3 ULP for softmax and log_softmax, subnormal results and results near 0 included; for
logsumexp 2 ULP of the larger of the result and the maximum by magnitude. A row that holds NaN or
+inf, or only -inf, is NaN; its logsumexp is NaN, +inf, or -inf. The caller's rounding mode and
flush-to-zero do not matter, and are as before afterwards.

Threads: all work is done in the calling thread, without the GIL. Any number of threads may call at
once (on results that do not overlap); a `prange` over blocks gives the bits of one call.
"""

cdef int softmax_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef int softmax_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef int log_softmax_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef int log_softmax_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef int logsumexp_float32(
    const float *x, float *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
cdef int logsumexp_float64(
    const double *x, double *out, Py_ssize_t outer, Py_ssize_t n, Py_ssize_t inner) noexcept nogil
