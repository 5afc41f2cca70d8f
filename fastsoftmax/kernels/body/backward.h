/* The gradients of softmax and log_softmax with respect to their inputs, from g, the gradient with respect to their
 * outputs, and y, these outputs:
 *
 *     softmax_backward:     y * (g - total),       total = sum(g * y)
 *     log_softmax_backward: g - exp(y) * total,    total = sum(g)
 *
 * Two passes: the total, the elements. Rows of at least SHORT_GRADIENT_ROW elements are taken a few at a time, as in
 * rows.h, with a row's last vector as in row_passes.h; columns in strips, and short rows as columns, brought here by
 * the transposes of short_groups.h.
 *
 * Included once for each element type S, computed in T; see body.h. */

#ifdef COMPUTED_IN
/* What finishes the elements of LANES rows or columns. */
typedef struct {
    double total[T(LANES)];
    T(elem) factor[T(LANES)]; /* softmax: the total; log_softmax: what exponentials are multiplied by */
    T(elem) limit[T(LANES)];  /* log_softmax: the largest y that may take it; NaN if none may */
} T(constants);

static ALWAYS_INLINE void T(make_constants)(const T(sum) *sum, T(constants) *constants, fs_backward op) {
    T(sum_lanes)(sum, constants->total);
    for (int i = 0; i < T(LANES); i++) {
        const double total = constants->total[i], size = total < 0 ? -total : total;
        const int within = (size >= T(LEAST_TOTAL))&(size <= T(MOST_TOTAL));
        constants->factor[i] = (T(elem))(op == FS_SOFTMAX_BACKWARD ? total : total * T(FACTOR));
        constants->limit[i] = (within | (size == 0)) ? (T(elem))LAST_EXPONENT : (T(elem))NAN;
    }
}

/* A row's constants in all lanes. */
static ALWAYS_INLINE void T(spread)(const T(constants) *group, ptrdiff_t row, T(constants) *constants) {
    for (int i = 0; i < T(LANES); i++) {
        constants->total[i] = group->total[row];
        constants->factor[i] = group->factor[row];
        constants->limit[i] = group->limit[row];
    }
}

/* Gives the elements above their limits, or without one, their gradients the long way. A call: hardly any vector has
 * such elements. */
static MADE_SMALL void T(mend_gradients)(T(elem) *result, const T(elem) *g, const T(elem) *y,
                                         const T(constants) *constants) {
    T(elem) any[T(LANES)];
    T(store)(any, T(any_gradient)(T(load)(g), T(load)(y), constants->total));
    for (int i = 0; i < T(LANES); i++)
        if (!(y[i] <= constants->limit[i])) result[i] = any[i];
}

/* Of the exponentials of outputs. */
static ALWAYS_INLINE T(reference) T(outputs_reference)(void) {
    return T(make_reference)(T(set1)((T(elem))((T(BIAS) - T(REACH)) / LOG2_E)));
}

/* A few vectors of g become the gradients; vector k has constants[k * step]. Which way an element of log_softmax
 * takes is up to itself and its row's total, not to the other lanes. */
static ALWAYS_INLINE void T(gradients)(T(v) *g, const T(v) *y, const int vectors, const T(constants) *constants,
                                       const ptrdiff_t step, const T(reference) *ref, fs_backward op) {
    if (op == FS_SOFTMAX_BACKWARD) {
        for (int k = 0; k < vectors; k++) g[k] = T(mul)(y[k], T(sub)(g[k], T(load)(constants[k * step].factor)));
        return;
    }
    T(v) e[T(TOGETHER)], limit[T(TOGETHER)];
    int ordinary = 1;
    for (int k = 0; k < vectors; k++) {
        e[k] = y[k];
        limit[k] = T(load)(constants[k * step].limit);
        ordinary &= T(all)(T(ge)(limit[k], T(max)(T(neg)(y[k]), y[k])));
    }
    if (ordinary) {
        T(exp)(e, vectors, ref, 1);
        for (int k = 0; k < vectors; k++) g[k] = T(fma)(e[k], T(load)(constants[k * step].factor), g[k]);
        return;
    }
    T(exp)(e, vectors, ref, 0);
    for (int k = 0; k < vectors; k++) {
        const T(v) result = T(fma)(e[k], T(load)(constants[k * step].factor), g[k]);
        if (T(all)(T(ge)(limit[k], y[k]))) {
            g[k] = result;
        } else {
            T(elem) results[T(LANES)], gs[T(LANES)], ys[T(LANES)];
            T(store)(results, result);
            T(store)(gs, g[k]);
            T(store)(ys, y[k]);
            T(mend_gradients)(results, gs, ys, constants + k * step);
            g[k] = T(load)(results);
        }
    }
}
#endif

static ALWAYS_INLINE void S(add_to_total)(T(sum) *sum, T(v) g, T(v) y, fs_backward op) {
    if (op == FS_SOFTMAX_BACKWARD)
        T(sum_add_product)(sum, g, y);
    else
        T(sum_add)(sum, g);
}

static ALWAYS_INLINE void S(add_two_to_total)(T(sum) *sum, const T(v) *g, const T(v) *y, fs_backward op) {
    if (op == FS_SOFTMAX_BACKWARD)
        T(sum_add_two_products)(sum, g, y);
    else
        T(sum_add_two)(sum, g[0], g[1]);
}

/* What is fetched early of rows: the next group of them, or as much of a long one. One pass sees to it: for softmax,
 * where stores past the caches take all that the last pass could fetch with, the first; for log_softmax, where the
 * last computes meanwhile, the last. */
typedef struct {
    ptrdiff_t g, y;
} S(ahead);

static ALWAYS_INLINE S(ahead) S(group_ahead)(ptrdiff_t count, ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride) {
    if (n >= LONG_GRADIENT_ROW) return (S(ahead)){T(READ_AHEAD), T(READ_AHEAD)};
    return (S(ahead)){count * g_stride, count * y_stride};
}

/* The total of a row, by lanes. */
static ALWAYS_INLINE T(sum)
    S(row_total)(const S(elem) *g, const S(elem) *y, ptrdiff_t n, S(ahead) ahead, fs_backward op) {
    enum { W = T(LANES) };
    T(sum) sums[2] = {T(sum_zero)(), T(sum_zero)()};
    T(v) gs[4], ys[4];
    ptrdiff_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
        for (int k = 0; k < 4; k++) {
            if (op == FS_SOFTMAX_BACKWARD) {
                prefetch(g + i + k * W + ahead.g);
                prefetch(y + i + k * W + ahead.y);
            }
            gs[k] = S(load)(g + i + k * W);
            ys[k] = S(load)(y + i + k * W);
        }
        for (int k = 0; k < 2; k++) S(add_two_to_total)(sums + k, gs + 2 * k, ys + 2 * k, op);
    }
    for (; i + W <= n; i += W) S(add_to_total)(sums, S(load)(g + i), S(load)(y + i), op);
    if (i < n) {
        const T(m) fresh = S(lanes_from)(i - (n - W));
        S(add_to_total)(sums + 1, T(keep)(fresh, S(load)(g + n - W)), T(keep)(fresh, S(load)(y + n - W)), op);
    }
    T(sum_join)(sums, sums[1]);
    return sums[0];
}

/* The same where that was too coarse: vectors are taken one by one. */
static MADE_SMALL void S(exact_row_total)(const S(elem) *g, const S(elem) *y, ptrdiff_t n, fs_backward op,
                                          T(sum) *sum) {
    enum { W = T(LANES) };
    *sum = T(sum_zero)();
    for (ptrdiff_t i = 0; i < n; i += W) {
        const ptrdiff_t at = i + W <= n ? i : n - W;
        const T(m) fresh = S(lanes_from)(i - at); /* what the last vector shares with the one before is 0 */
        S(add_to_total)(sum, T(keep)(fresh, S(load)(g + at)), T(keep)(fresh, S(load)(y + at)), op);
    }
}

/* Lanes first to last - 1, to where they belong of a vector at p. */
static ALWAYS_INLINE void S(store_lanes)(S(elem) *p, T(v) value, ptrdiff_t first, ptrdiff_t last) {
    S(elem) lanes[T(LANES)];
    S(store)(lanes, value);
    for (ptrdiff_t i = first; i < last; i++) p[i] = lanes[i];
}

/* The elements of a row; `stream`: stored past the caches, for which gx must not be g or y. A line is written in one
 * way only: one that was stored into a cache would have to leave it first. */
static ALWAYS_INLINE void S(row_gradients)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t n,
                                           S(ahead) ahead, const T(constants) *constants, const int stream,
                                           fs_backward op) {
    enum { W = T(LANES), STEP = W * T(TOGETHER) };
    const T(reference) ref = T(outputs_reference)();
    T(v) last_g = S(load)(g + n - W), last_y = S(load)(y + n - W);
    T(v) gs[T(TOGETHER)], ys[T(TOGETHER)];
    ptrdiff_t i = 0;
    if (stream) { /* up to where vectors of gx are aligned */
        gs[0] = S(load)(g);
        ys[0] = S(load)(y);
        T(gradients)(gs, ys, 1, constants, 0, &ref, op);
        i = (ptrdiff_t)(-(uintptr_t)gx % 64 / sizeof *gx);
        S(store_lanes)(gx, gs[0], 0, i);
    }
    for (; i + STEP <= n; i += STEP) {
        for (int k = 0; k < T(TOGETHER); k++) {
            if (op == FS_LOG_SOFTMAX_BACKWARD) {
                prefetch(g + i + k * W + ahead.g);
                prefetch(y + i + k * W + ahead.y);
            }
            gs[k] = S(load)(g + i + k * W);
            ys[k] = S(load)(y + i + k * W);
        }
        T(gradients)(gs, ys, T(TOGETHER), constants, 0, &ref, op);
        for (int k = 0; k < T(TOGETHER); k++) {
            if (stream)
                S(stream)(gx + i + k * W, gs[k]);
            else
                S(store)(gx + i + k * W, gs[k]);
        }
    }
    for (; i + W <= n; i += W) {
        gs[0] = S(load)(g + i);
        ys[0] = S(load)(y + i);
        T(gradients)(gs, ys, 1, constants, 0, &ref, op);
        if (stream)
            S(stream)(gx + i, gs[0]);
        else
            S(store)(gx + i, gs[0]);
    }
    if (i < n) {
        T(gradients)(&last_g, &last_y, 1, constants, 0, &ref, op);
        if (stream)
            S(store_lanes)(gx + n - W, last_g, i - (n - W), W);
        else
            S(store)(gx + n - W, last_g);
    }
}

/* The constants of `count` rows. */
static ALWAYS_INLINE void S(group_constants)(const S(elem) *g, const S(elem) *y, ptrdiff_t count, ptrdiff_t n,
                                             ptrdiff_t g_stride, ptrdiff_t y_stride, S(ahead) ahead,
                                             T(constants) *group, fs_backward op) {
    T(row_sums) sums;
    for (ptrdiff_t i = 0; i < count; i++)
        T(put_row_sum)(&sums, i, S(row_total)(g + i * g_stride, y + i * y_stride, n, ahead, op));
    T(sum) totals = T(row_sums_total)(&sums, count);
    T(sum_lanes)(&totals, group->total);
    int doubtful = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        if (!T(is_doubtful)(group->total[i], n)) continue;
        T(sum) exact;
        S(exact_row_total)(g + i * g_stride, y + i * y_stride, n, op, &exact);
        T(put_row_sum)(&sums, i, exact);
        doubtful = 1;
    }
    if (doubtful) totals = T(row_sums_total)(&sums, count);
    T(make_constants)(&totals, group, op);
}

/* Types: S, computed in T. Max error: 4 ULP of the sum of the absolute terms, |y| * (|g| + sum |g * y|) or
 * |g| + exp(y) * sum |g|, subnormal ones included where no product g * y of float64 that counts is below 2**-969; and
 * |y| * 2**-150 where the sum g * y of float32 is below 2**-126, which no y of softmax makes count. Range: all, also
 * outputs that are none; NaN, infinities and overflow as IEEE arithmetic has the formulas. Aliasing: gx may be g or
 * y. */
static ALWAYS_INLINE void S(backward_rows)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t rows,
                                           ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride,
                                           fs_backward op) {
    const ptrdiff_t fit = S(rows_together)(2 * n, FS_ROWS_SCRATCH / (ptrdiff_t)sizeof(T(elem)));
    /* One row alone has none of what a group costs: better than the two or three that fit, of 512 elements and more,
     * for softmax, which computes little. */
    const ptrdiff_t together = op == FS_SOFTMAX_BACKWARD && fit < 4 ? 1 : fit;
    const int whole_lines = sizeof *gx * T(LANES) == 64, few_lines = n < STREAMED_LINES * T(LANES);
    const int is_large = rows * n * (ptrdiff_t)sizeof *gx >= STREAM_FROM;
    const int stream = whole_lines && !few_lines && is_large && gx != g && gx != y;
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(ahead) ahead = S(group_ahead)(count, n, g_stride, y_stride);
        T(constants) group, constants;
        S(group_constants)(g + first * g_stride, y + first * y_stride, count, n, g_stride, y_stride, ahead, &group,
                           op);
        for (ptrdiff_t i = first; i < first + count; i++) {
            T(spread)(&group, i - first, &constants);
            S(row_gradients)(g + i * g_stride, y + i * y_stride, gx + i * gx_stride, n, ahead, &constants, stream,
                             op);
        }
    }
    if (stream) stream_end();
}

static ALWAYS_INLINE void S(backward_strip_of)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                               ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                               ptrdiff_t gx_stride, void *scratch, fs_backward op) {
    enum { W = T(LANES) };
    const ptrdiff_t vectors = (columns + W - 1) / W;
    const T(reference) ref = T(outputs_reference)();
    T(sum) *sums = scratch;
    T(constants) *constants = (T(constants) *)(sums + vectors);
    for (ptrdiff_t k = 0; k < vectors; k++) sums[k] = T(sum_zero)();
    for (ptrdiff_t j = 0; j < n; j++)
        for (ptrdiff_t k = 0; k < vectors; k++)
            S(add_to_total)(sums + k, S(load_some)(g + j * g_stride + k * W, columns - k * W, 0),
                            S(load_some)(y + j * y_stride + k * W, columns - k * W, 0), op);
    for (ptrdiff_t k = 0; k < vectors; k++) T(make_constants)(sums + k, constants + k, op);
    for (ptrdiff_t j = 0; j < n; j++) {
        T(v) gs[T(TOGETHER)], ys[T(TOGETHER)];
        ptrdiff_t k = 0;
        for (; k + T(TOGETHER) <= columns / W; k += T(TOGETHER)) {
            for (int i = 0; i < T(TOGETHER); i++) {
                gs[i] = S(load)(g + j * g_stride + (k + i) * W);
                ys[i] = S(load)(y + j * y_stride + (k + i) * W);
            }
            T(gradients)(gs, ys, T(TOGETHER), constants + k, 1, &ref, op);
            for (int i = 0; i < T(TOGETHER); i++) S(store)(gx + j * gx_stride + (k + i) * W, gs[i]);
        }
        for (; k < vectors; k++) {
            gs[0] = S(load_some)(g + j * g_stride + k * W, columns - k * W, 0);
            ys[0] = S(load_some)(y + j * y_stride + k * W, columns - k * W, 0);
            T(gradients)(gs, ys, 1, constants + k, 1, &ref, op);
            S(store_some)(gx + j * gx_stride + k * W, gs[0], columns - k * W);
        }
    }
}

/* A strip of `columns` columns. scratch: T(sum) and T(constants) for each vector of them. */
static NEVER_INLINE void S(backward_strip)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                           ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride,
                                           void *scratch, fs_backward op) {
    if (op == FS_SOFTMAX_BACKWARD)
        S(backward_strip_of)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, scratch, FS_SOFTMAX_BACKWARD);
    else
        S(backward_strip_of)(g, y, gx, columns, n, g_stride, y_stride, gx_stride, scratch, FS_LOG_SOFTMAX_BACKWARD);
}

/* Types, max error, range, aliasing: as for rows; last bits may differ from theirs. */
static ALWAYS_INLINE void S(backward_columns)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t columns,
                                              ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                              ptrdiff_t gx_stride, void *scratch, fs_backward op) {
    ptrdiff_t width = BACKWARD_STRIP / (2 * n * (ptrdiff_t)sizeof *g);
    width = width < STRIP_COLUMNS ? STRIP_COLUMNS : width > BACKWARD_COLUMNS ? BACKWARD_COLUMNS : width;
    width = width / T(LANES) *T(LANES);
    for (ptrdiff_t first = 0; first < columns; first += width)
        S(backward_strip)(g + first, y + first, gx + first, columns - first < width ? columns - first : width, n,
                          g_stride, y_stride, gx_stride, scratch, op);
}

/* Types, max error, range, aliasing: as for rows; n < FS_SHORT_ROW. A group of LANES rows, packed a row a lane. */
static ALWAYS_INLINE void S(backward_short_rows)(const S(elem) *g, const S(elem) *y, S(elem) *gx, ptrdiff_t rows,
                                                 ptrdiff_t n, ptrdiff_t g_stride, ptrdiff_t y_stride,
                                                 ptrdiff_t gx_stride, char *scratch, fs_backward op) {
    enum { W = T(LANES) };
    T(elem) *packed_g = (T(elem) *)scratch, *packed_y = packed_g + FS_SHORT_ROW * W;
    T(elem) *wide = packed_y + FS_SHORT_ROW * W;
    void *rest = wide + FS_SHORT_ROW * W;
    const T(ending) as_it_is = {T(set1)(0), T(set1)(0)};
    for (ptrdiff_t first = 0; first < rows; first += W) {
        const ptrdiff_t count = rows - first < W ? rows - first : W;
        ptrdiff_t stride = g_stride;
        const T(elem) *from = S(wide_rows)(g + first * g_stride, count, n, &stride, wide);
        T(gather_rows)(from, count, n, stride, packed_g, 0);
        stride = y_stride;
        from = S(wide_rows)(y + first * y_stride, count, n, &stride, wide);
        T(gather_rows)(from, count, n, stride, packed_y, 0);
        T(backward_strip)(packed_g, packed_y, packed_g, W, n, W, W, W, rest, op);
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
