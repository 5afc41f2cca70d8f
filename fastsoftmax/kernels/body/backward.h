/* The gradients of softmax and log_softmax with respect to their inputs, from g, the gradient with respect to their
 * outputs, and y, these outputs:
 *
 *     softmax_backward:     y * (g - total),       total = sum(g * y)
 *     log_softmax_backward: g - exp(y) * total,    total = sum(g)
 *
 * Two passes: the total, the elements. Here are rows of at least SHORT_GRADIENT_ROW elements, a few at a time, as in
 * rows.h, with a row's last vector as in row_passes.h; the rest is in backward_columns.h.
 *
 * Included once for each element type S, computed in T; see body.h. */

#ifdef COMPUTED_IN
/* What finishes the elements of LANES rows or columns, a lane each. */
typedef struct {
    v_f64 total[T(HALVES)];
    T(v) factor; /* softmax: the total; log_softmax: what exponentials are multiplied by */
    T(v) limit;  /* log_softmax: the largest y that may take it; NaN if none may */
} T(constants);

static ALWAYS_INLINE T(constants) T(make_constants)(const T(sum) *sum, fs_backward op) {
    T(constants) constants;
    v_f64 factor[T(HALVES)], limit[T(HALVES)];
    T(sum_halves)(sum, constants.total);
    for (int k = 0; k < T(HALVES); k++) {
        const v_f64 total = constants.total[k], size = max_f64(total, neg_f64(total)), nan = set1_f64(NAN);
        const m_f64 within = ge_f64(set1_f64(T(MOST_TOTAL)), size);
        const m_f64 is_normal = ge_f64(size, set1_f64(T(LEAST_TOTAL))), is_zero = eq_f64(size, set1_f64(0));
        factor[k] = op == FS_SOFTMAX_BACKWARD ? total : mul_f64(total, set1_f64(T(FACTOR)));
        limit[k] = add_f64(keep_f64(within, set1_f64(LAST_EXPONENT)), drop_f64(within, nan));
        limit[k] = add_f64(limit[k], drop_f64(is_zero, drop_f64(is_normal, nan)));
    }
    constants.factor = T(of_halves)(factor);
    constants.limit = T(of_halves)(limit);
    return constants;
}

/* Those of LANES rows in memory, and of one of them in all lanes. */
typedef struct {
    double total[T(LANES)];
    T(elem) factor[T(LANES)], limit[T(LANES)];
} T(rows_constants);

static ALWAYS_INLINE void T(put_constants)(const T(constants) *constants, T(rows_constants) *rows) {
    for (int k = 0; k < T(HALVES); k++) store_f64(rows->total + k * LANES_f64, constants->total[k]);
    T(store)(rows->factor, constants->factor);
    T(store)(rows->limit, constants->limit);
}

static ALWAYS_INLINE T(constants) T(spread)(const T(rows_constants) *rows, ptrdiff_t row) {
    T(constants) constants = {.factor = T(set1)(rows->factor[row]), .limit = T(set1)(rows->limit[row])};
    for (int k = 0; k < T(HALVES); k++) constants.total[k] = set1_f64(rows->total[row]);
    return constants;
}

/* Gives the elements above their limits, or without one, their gradients the long way. A call: hardly any vector has
 * such elements. */
static MADE_SMALL void T(mend_gradients)(T(elem) *result, const T(elem) *g, const T(elem) *y,
                                         const T(constants) *constants) {
    T(elem) any[T(LANES)], limit[T(LANES)];
    T(store)(any, T(any_gradient)(T(load)(g), T(load)(y), constants->total));
    T(store)(limit, constants->limit);
    for (int i = 0; i < T(LANES); i++)
        if (!(y[i] <= limit[i])) result[i] = any[i];
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
        for (int k = 0; k < vectors; k++) g[k] = T(mul)(y[k], T(sub)(g[k], constants[k * step].factor));
        return;
    }
    T(v) e[T(TOGETHER)], limit[T(TOGETHER)];
    int ordinary = 1;
    for (int k = 0; k < vectors; k++) {
        e[k] = y[k];
        limit[k] = constants[k * step].limit;
        ordinary &= T(all)(T(ge)(limit[k], T(max)(T(neg)(y[k]), y[k])));
    }
    if (ordinary) {
        T(exp)(e, vectors, ref, 1);
        for (int k = 0; k < vectors; k++) g[k] = T(fma)(e[k], constants[k * step].factor, g[k]);
        return;
    }
    T(exp)(e, vectors, ref, 0);
    for (int k = 0; k < vectors; k++) {
        const T(v) result = T(fma)(e[k], constants[k * step].factor, g[k]);
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
                                             T(rows_constants) *group, fs_backward op) {
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
    const T(constants) constants = T(make_constants)(&totals, op);
    T(put_constants)(&constants, group);
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
        T(rows_constants) group;
        S(group_constants)(g + first * g_stride, y + first * y_stride, count, n, g_stride, y_stride, ahead, &group,
                           op);
        for (ptrdiff_t i = first; i < first + count; i++) {
            const T(constants) constants = T(spread)(&group, i - first);
            S(row_gradients)(g + i * g_stride, y + i * y_stride, gx + i * gx_stride, n, ahead, &constants, stream,
                             op);
        }
    }
    if (stream) stream_end();
}
