# kernels/kernels.h, for Cython.

from libc.stdint cimport int64_t

cdef extern from "kernels.h" nogil:
    ctypedef enum fs_operation:
        FS_SOFTMAX
        FS_LOG_SOFTMAX
        FS_SOFTMIN
        FS_LOGSUMEXP

    ctypedef enum fs_backward:
        FS_SOFTMAX_BACKWARD
        FS_LOG_SOFTMAX_BACKWARD

    ctypedef enum fs_type:
        FS_F32
        FS_F64
        FS_F16
        FS_BF16
        FS_TYPES

    ctypedef struct fs_carry:
        double top
        double others
        double sum
        double sum_low

    ctypedef struct fs_part:
        const void *x
        const void *e
        void *y
        const fs_carry *carry

    ctypedef struct fs_fetch:
        const char *from_ "from"
        const char *again
        Py_ssize_t stride

    ctypedef struct fs_kernels:
        void (*rows)(const void *, void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                     void *, const fs_fetch *) noexcept nogil
        void (*columns)(const void *, void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                        void *, Py_ssize_t) noexcept nogil
        int (*reduce)(const void *, void *, Py_ssize_t, fs_carry *, const fs_part *) noexcept nogil
        void (*merge)(fs_carry *, const fs_carry *) noexcept nogil
        void (*finish)(const fs_part *, Py_ssize_t) noexcept nogil

    ctypedef struct fs_lines:
        Py_ssize_t count
        Py_ssize_t n
        Py_ssize_t stride
        Py_ssize_t step
        Py_ssize_t ahead
        Py_ssize_t samples
        Py_ssize_t apart

    ctypedef struct fs_wanted:
        const double *weight
        double keep
        double share

    ctypedef struct fs_runs:
        Py_ssize_t runs
        Py_ssize_t n
        Py_ssize_t stride
        Py_ssize_t wide_stride

    ctypedef struct fs_loss_kernels:
        void (*parts)(const void *, const fs_lines *, double *, void *) noexcept nogil
        void (*pick)(const void *, const fs_lines *, const int64_t *, double *) noexcept nogil
        void (*put)(const double *, Py_ssize_t, void *) noexcept nogil
        int (*check_classes)(int64_t *, Py_ssize_t, int64_t, int64_t, Py_ssize_t *) noexcept nogil
        void (*class_losses)(const double *, const double *, const int64_t *, Py_ssize_t,
                             double *) noexcept nogil
        void (*sum)(const double *, Py_ssize_t, double *, double *) noexcept nogil
        void (*weigh)(const void *, const void *, const fs_lines *, const fs_wanted *,
                      const double *, double *) noexcept nogil
        void (*scaled)(const void *, void *, const fs_lines *, const double *,
                       void *) noexcept nogil
        void (*place)(void *, const fs_lines *, const int64_t *, const double *) noexcept nogil
        void (*subtract)(void *, const void *, const fs_lines *, const fs_wanted *,
                         const int64_t *, const double *) noexcept nogil
        Py_ssize_t (*class_gradients)(void *, const fs_lines *, const int64_t *, const double *,
                                      double *) noexcept nogil
        void (*widen)(const void *, const fs_runs *, float *) noexcept nogil
        void (*narrow)(const float *, const fs_runs *, void *) noexcept nogil

    ctypedef void (*fs_backward_fn)(
        const void *, const void *, void *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
        Py_ssize_t, void *) noexcept nogil

    ctypedef struct fs_backward_kernels:
        fs_backward_fn rows
        fs_backward_fn columns

    ctypedef struct fs_table:
        const char *isa
        fs_kernels kernels[4][4]
        fs_loss_kernels losses[4]
        fs_backward_kernels backward[2][4]
        void (*gather)(const void *, Py_ssize_t, Py_ssize_t, void *, Py_ssize_t) noexcept nogil

    enum:
        FS_SCRATCH
        FS_ROWS_SCRATCH
        FS_BACKWARD_SCRATCH
    Py_ssize_t fs_rows_scratch(fs_operation, fs_type, Py_ssize_t)
    const fs_table **fs_available()
    const fs_table *fs_find(const char *isa)

cdef extern from "body/fpenv.h" nogil:
    ctypedef struct fs_fpenv:
        pass
    fs_fpenv fpenv_enter()
    void fpenv_leave(fs_fpenv)
