/* The gradients (backward.h) of columns beside each other, a column a lane, and of short rows, brought here by the
 * transposes of short_groups.h. Some columns at a time take both passes, line by line: a few vectors, whose totals
 * and constants stay in registers; or, where lines are so many that no hardware fetches them early, a strip, whose
 * totals and constants are in scratch memory.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* How far ahead line j is fetched. Of few lines, those of the next columns: of both arrays, in the first pass. Of
 * many, some lines further on of these columns: of each array in the pass that reads it first. (For log_softmax the
 * first pass reads g alone.) */
static ALWAYS_INLINE ptrdiff_t S(gradients_ahead)(ptrdiff_t j, ptrdiff_t n, ptrdiff_t stride, ptrdiff_t columns) {
    return n < FEW_GRADIENT_LINES ? columns : S(lines_ahead)(j, n, stride, columns, 0);
}

/* The totals of `columns` columns in so many vectors. */
static ALWAYS_INLINE void S(column_totals)(const S(elem) *g, const S(elem) *y, ptrdiff_t columns, ptrdiff_t n,
                                           ptrdiff_t g_stride, ptrdiff_t y_stride, const ptrdiff_t vectors,
                                           T(sum) *sums, fs_backward op) {
    enum { W = T(LANES) };
    for (ptrdiff_t k = 0; k < vectors; k++) sums[k] = T(sum_zero)();
    for (ptrdiff_t j = 0; j < n; j++) {
        const ptrdiff_t g_ahead = S(gradients_ahead)(j, n, g_stride, vectors * W);
        const ptrdiff_t y_ahead = S(gradients_ahead)(j, n, y_stride, vectors * W);
        for (ptrdiff_t k = 0; k < vectors; k++) {
            const S(elem) *const from_g = g + j * g_stride + k * W, *const from_y = y + j * y_stride + k * W;
            prefetch(from_g + g_ahead);
            if (op == FS_SOFTMAX_BACKWARD || n < FEW_GRADIENT_LINES) prefetch(from_y + y_ahead);
            S(add_to_total)(sums + k, S(load_some)(from_g, columns - k * W, 0),
                            S(load_some)(from_y, columns - k * W, 0), op);
        }
    }
}

/* `columns` columns in so many vectors, each with room for a total and constants. */
static ALWAYS_INLINE void S(column_gradients)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                              ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                              ptrdiff_t gx_stride, const ptrdiff_t vectors, T(sum) *sums,
                                              T(constants) *constants, fs_backward op) {
    enum { W = T(LANES) };
    const T(reference) ref = T(outputs_reference)();
    S(column_totals)(g, y, columns, n, g_stride, y_stride, vectors, sums, op);
    for (ptrdiff_t k = 0; k < vectors; k++) constants[k] = T(make_constants)(sums + k, op);
    for (ptrdiff_t j = 0; j < n; j++) {
        const S(elem) *const from_g = g + j * g_stride, *const from_y = y + j * y_stride;
        S(elem) *const to = gx + j * gx_stride;
        const ptrdiff_t ahead = S(gradients_ahead)(j, n, y_stride, vectors * W);
        T(v) gs[T(TOGETHER)], ys[T(TOGETHER)];
        ptrdiff_t k = 0;
        for (; k + T(TOGETHER) <= vectors && (k + T(TOGETHER))*W <= columns; k += T(TOGETHER)) {
            for (int i = 0; i < T(TOGETHER); i++) {
                if (op == FS_LOG_SOFTMAX_BACKWARD && n >= FEW_GRADIENT_LINES) prefetch(from_y + (k + i) * W + ahead);
                gs[i] = S(load)(from_g + (k + i) * W);
                ys[i] = S(load)(from_y + (k + i) * W);
            }
            T(gradients)(gs, ys, T(TOGETHER), constants + k, 1, &ref, op);
            for (int i = 0; i < T(TOGETHER); i++) S(store)(to + (k + i) * W, gs[i]);
        }
        for (; k < vectors; k++) {
            gs[0] = S(load_some)(from_g + k * W, columns - k * W, 0);
            ys[0] = S(load_some)(from_y + k * W, columns - k * W, 0);
            T(gradients)(gs, ys, 1, constants + k, 1, &ref, op);
            S(store_some)(to + k * W, gs[0], columns - k * W);
        }
    }
}

/* Few lines, or a vector of columns at most. */
static ALWAYS_INLINE void S(few_gradients)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                           ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride,
                                           fs_backward op) {
    enum { W = T(LANES), BLOCK = W * T(TOGETHER) };
    T(sum) sums[T(TOGETHER)];
    T(constants) constants[T(TOGETHER)];
    ptrdiff_t i = 0;
    for (; T(TOGETHER) > 1 && i + BLOCK <= columns; i += BLOCK)
        S(column_gradients)(g + i, y + i, gx + i, BLOCK, n, g_stride, y_stride, gx_stride, T(TOGETHER), sums,
                            constants, op);
    for (; i < columns; i += W)
        S(column_gradients)(g + i, y + i, gx + i, columns - i < W ? columns - i : W, n, g_stride, y_stride, gx_stride,
                            1, sums, constants, op);
}

/* Types, max error, range, aliasing: as for rows; last bits may differ from theirs. A column's depend neither on
 * those beside it nor on how many these are. scratch: FS_BACKWARD_SCRATCH bytes, none for a vector of columns. */
static ALWAYS_INLINE void S(backward_columns_of)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                                 ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                                 ptrdiff_t gx_stride, void *scratch, fs_backward op) {
    enum { W = T(LANES) };
    _Static_assert(BACKWARD_COLUMNS / W * (sizeof(T(sum)) + sizeof(T(constants))) <= FS_BACKWARD_SCRATCH, "a strip");
    if (n < FEW_GRADIENT_LINES || columns <= W) {
        S(few_gradients)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, op);
        return;
    }
    ptrdiff_t width = BACKWARD_STRIP / (2 * n * (ptrdiff_t)sizeof *g);
    width = width < STRIP_COLUMNS ? STRIP_COLUMNS : width > BACKWARD_COLUMNS ? BACKWARD_COLUMNS : width;
    width = width / W * W;
    T(sum) *const sums = scratch;
    T(constants) *const constants = (T(constants) *)(sums + width / W);
    for (ptrdiff_t i = 0; i < columns; i += width) {
        const ptrdiff_t count = columns - i < width ? columns - i : width;
        S(column_gradients)(g + i, y + i, gx + i, count, n, g_stride, y_stride, gx_stride, (count + W - 1) / W, sums,
                            constants, op);
    }
}

static NEVER_INLINE void S(backward_columns)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                             ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride,
                                             void *scratch, fs_backward op) {
    if (op == FS_SOFTMAX_BACKWARD)
        S(backward_columns_of)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, scratch, FS_SOFTMAX_BACKWARD);
    else
        S(backward_columns_of)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, scratch, FS_LOG_SOFTMAX_BACKWARD);
}

/* Types, max error, range, aliasing: as for rows; n < FS_SHORT_ROW. A group of LANES rows, packed a row a lane. */
static ALWAYS_INLINE void S(backward_short_rows)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t rows,
                                                 ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                                 ptrdiff_t gx_stride, char *scratch, fs_backward op) {
    enum { W = T(LANES) };
    T(elem) *packed_g = (T(elem) *)scratch, *packed_y = packed_g + FS_SHORT_ROW * W;
    T(elem) *wide = packed_y + FS_SHORT_ROW * W;
    const T(ending) as_it_is = {T(set1)(0), T(set1)(0)};
    for (ptrdiff_t first = 0; first < rows; first += W) {
        const ptrdiff_t count = rows - first < W ? rows - first : W;
        ptrdiff_t stride = g_stride;
        const T(elem) *from = S(wide_rows)(g + first * g_stride, count, n, &stride, wide);
        T(gather_rows)(from, count, n, stride, packed_g, 0);
        stride = y_stride;
        from = S(wide_rows)(y + first * y_stride, count, n, &stride, wide);
        T(gather_rows)(from, count, n, stride, packed_y, 0);
        T(backward_columns)(packed_g, packed_y, packed_g, count, n, W, W, W, NULL, op);
        S(elem) *to = gx + first * gx_stride;
        stride = gx_stride;
        T(elem) *result = S(wide_result)(to, n, &stride, wide);
        T(scatter_rows)(packed_g, result, count, n, stride, as_it_is, FS_LOG_SOFTMAX);
        S(narrow_rows)(result, to, count, n, gx_stride);
    }
}

#define DEFINE_BACKWARD(NAME, OP)                                                                                    \
    static void S(fs_##NAME##_backward_rows)(const void *g, const void *y, void *gx, ptrdiff_t rows, ptrdiff_t n,    \
                                             ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride,            \
                                             void *scratch) {                                                        \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        if (n < T(SHORT_GRADIENT_ROW))                                                                               \
            S(backward_short_rows)(g, y, gx, rows, n, g_stride, y_stride, gx_stride, scratch, OP);                   \
        else                                                                                                         \
            S(backward_rows)(g, y, gx, rows, n, g_stride, y_stride, gx_stride, OP);                                  \
        fpenv_leave(callers);                                                                                        \
    }                                                                                                                \
    static void S(fs_##NAME##_backward_columns)(const void *g, const void *y, void *gx, ptrdiff_t columns,           \
                                                ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,                 \
                                                ptrdiff_t gx_stride, void *scratch) {                                \
        const fs_fpenv callers = fpenv_enter();                                                                      \
        S(backward_columns)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, scratch, OP);                       \
        fpenv_leave(callers);                                                                                        \
    }

DEFINE_BACKWARD(softmax, FS_SOFTMAX_BACKWARD)
DEFINE_BACKWARD(log_softmax, FS_LOG_SOFTMAX_BACKWARD)
#undef DEFINE_BACKWARD
