/* Short rows (FS_SHORT_ROW, SHORT_LOG_ROW, SHORT_READ_ROW), some groups of them at a time: those of a narrow type by
 * way of the type they are computed in (short_groups.h).
 *
 * Included once for each element type S, computed in T; see body.h. */

/* Types: S, computed in T. Max error, range, aliasing: as for rows; n small enough for scratch memory. */
static ALWAYS_INLINE void S(short_rows)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,
                                        ptrdiff_t y_stride, T(elem) *scratch, const fs_fetch *fetch, fs_operation op,
                                        int negate, const double *scale) {
    enum { W = T(LANES) };
    const ptrdiff_t fit = FS_ROWS_SCRATCH / (2 * n * W * (ptrdiff_t)sizeof(T(elem))); /* packed, and wide */
    const ptrdiff_t together = (fit < GROUPS ? fit : GROUPS) * W;
    T(elem) *memory = scratch + together * n;
    int all_once = 1;
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const double *scales = scale ? scale + first : NULL;
        S(elem) *to = y + first * y_stride;
        ptrdiff_t stride = x_stride, result_stride = y_stride;
        const T(elem) *wide = S(wide_rows)(x + first * x_stride, count, n, &stride, memory);
        const ptrdiff_t length = op == FS_LOGSUMEXP ? 1 : n;
        T(elem) *result = S(wide_result)(to, length, &result_stride, memory);
        const int adjacent = op == FS_SOFTMAX && !scale && n < ADJACENT_ROW && stride == n && result_stride == n;
        /* Fetched as if elements were of T: of a narrower type the lines of as many rows more. Where results of
         * adjacent rows will be stored is fetched a turn early. */
        const S(elem) *later = adjacent ? to + count * y_stride : to;
        const T(fetched) fetched = {(const void *)S(next_of)(x + first * x_stride, count * x_stride, fetch, first),
                                    op == FS_LOGSUMEXP ? NULL : (const void *)later};
        if (op == FS_LOG_SOFTMAX)
            T(short_log_softmax)(wide, result, count, n, stride, result_stride, scratch, fetched);
        else if (op == FS_LOGSUMEXP)
            T(short_logsumexp)(wide, result, count, n, stride, result_stride, scratch, fetched);
        else
            T(short_softmax)(wide, result, count, n, stride, result_stride, scratch, fetched, negate, scales,
                             adjacent ? &all_once : NULL);
        S(narrow_rows)(result, to, count, length, y_stride);
    }
}
