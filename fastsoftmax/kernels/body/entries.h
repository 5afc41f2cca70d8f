/* The kernels of one element type S as the contract has them (kernels.h): every entry takes the default
 * floating-point environment and leaves the caller's.
 *
 * Included once for each element type; see body.h. */

/* Shared by softmax, softmin (`negate`) and scaled softmax, not to be there three times. */
static NEVER_INLINE void S(softmax_rows)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                         ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch,
                                         const fs_fetch *fetch, int negate, const double *scale) {
    if (n < FS_SHORT_ROW)
        S(short_rows)(x, y, rows, n, x_stride, y_stride, scratch, fetch, FS_SOFTMAX, negate, scale);
    else
        S(rows_softmax)(x, y, rows, n, x_stride, y_stride, scratch, fetch, negate, scale);
}

static NEVER_INLINE void S(softmax_columns)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n,
                                            ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch, int negate,
                                            const double *scale, ptrdiff_t ahead) {
    S(columns)(x, y, columns, n, x_stride, y_stride, scratch, FS_SOFTMAX, negate, scale, ahead);
}

#define SHORT_OR(OP, SHORTER_THAN, LONG_ENOUGH_ROWS)                                                                 \
    do {                                                                                                             \
        if (n < T(SHORTER_THAN))                                                                                     \
            S(short_rows)(x, y, rows, n, x_stride, y_stride, scratch, fetch, OP, 0, NULL);                           \
        else                                                                                                         \
            LONG_ENOUGH_ROWS;                                                                                        \
    } while (0)
#define COLUMNS(OP) S(columns)(x, y, columns, n, x_stride, y_stride, scratch, OP, 0, NULL, ahead)

#define DEFINE_ENTRIES(NAME, OP, ROWS, COLUMNS)                                                                      \
    static void S(fs_##NAME##_rows)(const void *x, void *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,         \
                                    ptrdiff_t y_stride, void *scratch, const fs_fetch *fetch) {                      \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        ROWS;                                                                                                        \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static void S(fs_##NAME##_columns)(const void *x, void *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,   \
                                       ptrdiff_t y_stride, void *scratch, ptrdiff_t ahead) {                         \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        COLUMNS;                                                                                                     \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static int S(fs_##NAME##_reduce)(const void *x, void *e, ptrdiff_t n, fs_carry *carry, const fs_part *open) {    \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        const int kept = S(reduce_part)(x, e, n, carry, open, OP);                                                   \
        fpenv_leave(callers);                                                                                        \
        return kept;                                                                                                 \
    }                                                                                                                \
    static void S(fs_##NAME##_finish)(const fs_part *part, ptrdiff_t n) {                                            \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        S(finish)(part, n, OP);                                                                                      \
        fpenv_leave(callers);                                                                                        \
    }

DEFINE_ENTRIES(softmax, FS_SOFTMAX, S(softmax_rows)(x, y, rows, n, x_stride, y_stride, scratch, fetch, 0, NULL),
               S(softmax_columns)(x, y, columns, n, x_stride, y_stride, scratch, 0, NULL, ahead))
DEFINE_ENTRIES(log_softmax, FS_LOG_SOFTMAX,
               SHORT_OR(FS_LOG_SOFTMAX, SHORT_LOG_ROW, S(rows_log_softmax)(x, y, rows, n, x_stride, y_stride, fetch)),
               COLUMNS(FS_LOG_SOFTMAX))
DEFINE_ENTRIES(softmin, FS_SOFTMIN, S(softmax_rows)(x, y, rows, n, x_stride, y_stride, scratch, fetch, 1, NULL),
               S(softmax_columns)(x, y, columns, n, x_stride, y_stride, scratch, 1, NULL, ahead))
DEFINE_ENTRIES(logsumexp, FS_LOGSUMEXP,
               SHORT_OR(FS_LOGSUMEXP, SHORT_READ_ROW, S(rows_logsumexp)(x, y, rows, n, x_stride, y_stride, fetch)),
               COLUMNS(FS_LOGSUMEXP))
#undef DEFINE_ENTRIES
#undef COLUMNS
#undef SHORT_OR

static void S(fs_merge)(fs_carry *into, const fs_carry *from) {
    const fs_fpenv callers = fpenv_enter();
    S(merge_parts)(into, from);
    fpenv_leave(callers);
}
