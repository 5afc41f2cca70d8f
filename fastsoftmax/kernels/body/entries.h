/* The kernels of one element type S as the contract has them (kernels.h): every entry takes the default
 * floating-point environment and leaves the caller's.
 *
 * Included once for each element type; see body.h. */

#define DEFINE_ENTRIES(NAME, OP, LONG_ENOUGH_ROWS)                                                                   \
    static void S(fs_##NAME##_rows)(const void *x, void *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,         \
                                    ptrdiff_t y_stride, void *scratch) {                                             \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        if (n < FS_SHORT_ROW)                                                                                        \
            S(short_rows)(x, y, rows, n, x_stride, y_stride, scratch, OP);                                           \
        else                                                                                                         \
            LONG_ENOUGH_ROWS;                                                                                        \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static void S(fs_##NAME##_columns)(const void *x, void *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,   \
                                       ptrdiff_t y_stride, void *scratch) {                                          \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        S(columns)(x, y, columns, n, x_stride, y_stride, scratch, OP);                                               \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static void S(fs_##NAME##_reduce)(const void *x, ptrdiff_t n, fs_carry *carry) {                                 \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        S(reduce_part)(x, n, carry, OP);                                                                             \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static void S(fs_##NAME##_finish)(const void *x, void *y, ptrdiff_t n, const fs_carry *carry) {                  \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        S(finish_part)(x, y, n, carry, OP);                                                                          \
        fpenv_leave(callers);                                                                                        \
    }

DEFINE_ENTRIES(softmax, FS_SOFTMAX, S(rows_softmax)(x, y, rows, n, x_stride, y_stride, scratch, 0))
DEFINE_ENTRIES(log_softmax, FS_LOG_SOFTMAX, S(rows_log_softmax)(x, y, rows, n, x_stride, y_stride))
DEFINE_ENTRIES(softmin, FS_SOFTMIN, S(rows_softmax)(x, y, rows, n, x_stride, y_stride, scratch, 1))
DEFINE_ENTRIES(logsumexp, FS_LOGSUMEXP, S(rows_logsumexp)(x, y, rows, n, x_stride, y_stride))
#undef DEFINE_ENTRIES

static void S(fs_merge)(fs_carry *into, const fs_carry *from) {
    const fs_fpenv callers = fpenv_enter();
    S(merge_parts)(into, from);
    fpenv_leave(callers);
}
