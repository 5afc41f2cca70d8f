/* What gradients of losses, smoothing and probabilities are made of, over lines as in losses.h.
 *
 * Included once for each type S that is computed in; see body.h. */

static NEVER_INLINE void S(scale_lines)(const S(elem) *x, S(elem) *y, const fs_lines *lines, const double *scale,
                                        void *scratch) {
    if (lines->step == 1)
        S(softmax_rows)(x, y, lines->count, lines->n, lines->stride, lines->stride, scratch, NULL, 0, scale);
    else
        S(softmax_columns)(x, y, lines->count, lines->n, lines->step, lines->step, scratch, 0, scale, lines->ahead);
}

/* Whether scale / sum may be subnormal. */
static ALWAYS_INLINE int S(is_small)(double scale, ptrdiff_t n) {
    return scale != 0 && fabs(scale) < (double)n * S(SMALL_SCALE);
}

/* Types: S. Max error: 3 ULP (half an ULP more where a small scale, which is raised, makes results subnormal) for
 *
 *     |scale| <= 2**37,    float64: 2**48.
 *
 * Larger ones do not raise what exp left out: |scale| * 2**-186 more (float64: 2**-1122). Range: scales to the
 * largest number (past it scale / sum may be infinite, and the line NaN or infinite, of either sign), lines as
 * softmax. Aliasing: y may be x. */
static void S(fs_scaled)(const void *from, void *to, const fs_lines *lines, const double *scale, void *scratch) {
    const fs_fpenv callers = fpenv_enter();
    const S(elem) *x = from;
    S(elem) *y = to;
    int small = 0;
    for (ptrdiff_t i = 0; i < lines->count; i++) small |= S(is_small)(scale[i], lines->n);
    if (!small) S(scale_lines)(x, y, lines, scale, scratch);
    /* one by one: a line's results are those it has among others */
    for (ptrdiff_t i = 0; small && i < lines->count; i++) {
        const fs_lines one = {1, lines->n, lines->stride, lines->step, 0, 1, 0};
        const int raised = S(is_small)(scale[i], lines->n);
        const double raised_scale = raised ? scale[i] * S(RAISE) : scale[i];
        S(elem) *line = y + i * lines->stride;
        S(scale_lines)(x + i * lines->stride, line, &one, &raised_scale, scratch);
        for (ptrdiff_t c = 0; raised && c < lines->n; c++) line[c * lines->step] *= 1 / S(RAISE);
    }
    fpenv_leave(callers);
}

/* What a class is wanted with: weight * (keep * p + share), where p is NULL for no probabilities, 0. */
static ALWAYS_INLINE double S(wanted)(const fs_wanted *wanted, const S(elem) *p, ptrdiff_t at, ptrdiff_t class) {
    const double q = p ? wanted->keep * (double)p[at] + wanted->share : wanted->share;
    return wanted->weight ? wanted->weight[class] * q : q;
}

/* Whether lines are weighed by vectors: where these are few registers, without weights of the classes. */
static ALWAYS_INLINE int S(by_vectors)(const fs_wanted *wanted) { return OPEN_ROW != 0 && !wanted->weight; }

static ALWAYS_INLINE void S(weighed_lanes)(const weighed *sums, double lane[2][S(LANES)]) {
    for (int k = 0; k < S(LANES) / LANES_f64; k++) {
        sum_lanes_f64(sums->gaps + k, lane[0] + k * LANES_f64);
        sum_lanes_f64(sums->weights + k, lane[1] + k * LANES_f64);
    }
}

/* Adds the lanes to a sum, by halves: a few steps that wait for each other, not one for each lane. (For turns_join,
 * at the end of short rows, one by one is quicker.) */
static ALWAYS_INLINE void S(add_each_lane)(double *hi, double *lo, double lane[S(LANES)]) {
    double low[S(LANES)] = {0};
    for (int half = S(LANES) / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++) {
            add_exactly(lane + k, low + k, lane[k + half]);
            low[k] += low[k + half];
        }
    add_exactly(hi, lo, lane[0]);
    *lo += low[0];
}

/* A row of at least a vector, so. */
static ALWAYS_INLINE void S(weigh_row)(const S(elem) *x, const S(elem) *p, ptrdiff_t n, const fs_wanted *wanted,
                                       double top, double *sums) {
    enum { W = S(LANES) };
    const shares of = {set1_f64(wanted->keep), set1_f64(wanted->share)};
    const v_f64 tops[2] = {set1_f64(top), set1_f64(top)};
    weighed row = weighed_zero();
    double lane[2][W], hi[2] = {0}, lo[2] = {0};
    ptrdiff_t c = 0;
    for (; c + W <= n; c += W)
        S(add_weighed)(&row, tops, S(load)(x + c), p ? S(load)(p + c) : S(set1)(0), &of, p != NULL);
    for (; c < n; c++) {
        const double q = S(wanted)(wanted, p, c, c);
        add_exactly(hi, lo, q * (top - (double)x[c]));
        if (p) add_exactly(hi + 1, lo + 1, q);
    }
    S(weighed_lanes)(&row, lane);
    for (int k = 0; k < (p ? 2 : 1); k++) {
        S(add_each_lane)(hi + k, lo + k, lane[k]);
        sums[k] = exact_sum(hi[k], lo[k]);
    }
    if (!p) sums[1] = (double)n * wanted->share;
}

/* The sums of q * (top - x) and of q over each line. Max error, of the sum of the absolute terms: an ULP of float64
 * for each rounding of a term. These are keep * p, + share, * weight; and for the first sum top - x and the product:
 * 5 at most, of which lines seldom meet 2. Products below float64's normal numbers lose half of its least one each.
 * Range: where top - x is past float64 the sum is infinite. */
static ALWAYS_INLINE void S(weigh_rows)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                        const fs_wanted *wanted, const double *parts, double *sums) {
    const int by_vectors = S(by_vectors)(wanted) && lines->n >= S(LANES);
    for (ptrdiff_t i = 0; i < lines->count; i++) {
        const double top = parts[2 * i];
        const ptrdiff_t row = i * lines->stride;
        if (by_vectors) { /* known when this is compiled: whether there are probabilities */
            if (p)
                S(weigh_row)(x + row, p + row, lines->n, wanted, top, sums + 2 * i);
            else
                S(weigh_row)(x + row, NULL, lines->n, wanted, top, sums + 2 * i);
            continue;
        }
        turns gaps = {{0}, {0}}, weights = {{0}, {0}};
        ptrdiff_t c = 0;
        for (; c + TURNS <= lines->n; c += TURNS) {
            for (int k = 0; k < TURNS; k++) {
                const double q = S(wanted)(wanted, p, row + c + k, c + k);
                add_exactly(&gaps.hi[k], &gaps.lo[k], q * (top - (double)x[row + c + k]));
                add_exactly(&weights.hi[k], &weights.lo[k], q);
            }
        }
        for (int k = 0; c < lines->n; c++, k++) {
            const double q = S(wanted)(wanted, p, row + c, c);
            add_exactly(&gaps.hi[k], &gaps.lo[k], q * (top - (double)x[row + c]));
            add_exactly(&weights.hi[k], &weights.lo[k], q);
        }
        sums[2 * i] = turns_total(&gaps);
        sums[2 * i + 1] = turns_total(&weights);
    }
}

/* Columns, by vectors: those past the last whole one go as one that is filled up with 0, so that each has the same
 * bits wherever it lies. */
static ALWAYS_INLINE void S(weigh_vectors)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *parts, double *sums) {
    enum { W = S(LANES) };
    const shares of = {set1_f64(wanted->keep), set1_f64(wanted->share)};
    for (ptrdiff_t first = 0; first < lines->count; first += W) {
        const ptrdiff_t count = lines->count - first < W ? lines->count - first : W;
        weighed columns = weighed_zero();
        double top[W] = {0}, lane[2][W];
        v_f64 tops[W / LANES_f64];
        for (int k = 0; k < count; k++) top[k] = parts[2 * (first + k)];
        for (int k = 0; k < W / LANES_f64; k++) tops[k] = load_f64(top + k * LANES_f64);
        for (ptrdiff_t c = 0, at = first; c < lines->n; c++, at += lines->step) {
            const S(v) share = p ? S(load_some)(p + at, count, 0) : S(set1)(0);
            S(add_weighed)(&columns, tops, S(load_some)(x + at, count, 0), share, &of, p != NULL);
        }
        S(weighed_lanes)(&columns, lane);
        for (int k = 0; k < count; k++) {
            sums[2 * (first + k)] = lane[0][k];
            sums[2 * (first + k) + 1] = p ? lane[1][k] : (double)lines->n * wanted->share;
        }
    }
}

static ALWAYS_INLINE void S(weigh_columns)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *parts, double *sums) {
    if (S(by_vectors)(wanted)) {
        if (p)
            S(weigh_vectors)(x, p, lines, wanted, parts, sums);
        else
            S(weigh_vectors)(x, NULL, lines, wanted, parts, sums);
        return;
    }
    for (ptrdiff_t first = 0; first < lines->count; first += TURNS) {
        const ptrdiff_t count = lines->count - first < TURNS ? lines->count - first : TURNS;
        turns gaps = {{0}, {0}}, weights = {{0}, {0}};
        for (ptrdiff_t c = 0; c < lines->n; c++) {
            const ptrdiff_t at = c * lines->step + first;
            for (ptrdiff_t k = 0; k < count; k++) {
                const double q = S(wanted)(wanted, p, at + k, c);
                const double gap = parts[2 * (first + k)] - (double)x[at + k];
                add_exactly(&gaps.hi[k], &gaps.lo[k], q * gap);
                add_exactly(&weights.hi[k], &weights.lo[k], q);
            }
        }
        for (ptrdiff_t k = 0; k < count; k++) {
            sums[2 * (first + k)] = exact_sum(gaps.hi[k], gaps.lo[k]);
            sums[2 * (first + k) + 1] = exact_sum(weights.hi[k], weights.lo[k]);
        }
    }
}

static void S(fs_weigh)(const void *x, const void *p, const fs_lines *lines, const fs_wanted *wanted,
                        const double *parts, double *sums) {
    const fs_fpenv callers = fpenv_enter();
    if (lines->step == 1)
        S(weigh_rows)(x, p, lines, wanted, parts, sums);
    else
        S(weigh_columns)(x, p, lines, wanted, parts, sums);
    fpenv_leave(callers);
}

static ALWAYS_INLINE void S(clear_line)(S(elem) *line, const fs_lines *lines) {
    for (ptrdiff_t c = 0; c < lines->n; c++) line[c * lines->step] = 0;
}

/* y -= scale * q, for each line its scale. Max error: half an ULP, at the line's class another of what is left there
 * first; and 4 ULP of float64 of scale * q, one for each of its roundings. */
static ALWAYS_INLINE void S(subtract_at)(S(elem) *y, double value) { *y = (S(elem))((double)*y - value); }

static void S(fs_subtract)(void *from, const void *p, const fs_lines *lines, const fs_wanted *wanted,
                           const int64_t *classes, const double *scale) {
    const fs_fpenv callers = fpenv_enter();
    S(elem) *y = from;
    if (lines->step == 1) {
        for (ptrdiff_t i = 0; i < lines->count; i++)
            for (ptrdiff_t c = 0, at = i * lines->stride; c < lines->n; c++, at++)
                S(subtract_at)(y + at, scale[i] * S(wanted)(wanted, p, at, c));
    } else {
        for (ptrdiff_t c = 0; c < lines->n; c++)
            for (ptrdiff_t i = 0, at = c * lines->step; i < lines->count; i++, at++)
                S(subtract_at)(y + at, scale[i] * S(wanted)(wanted, p, at, c));
    }
    for (ptrdiff_t i = 0; classes && i < lines->count; i++) {
        S(elem) *line = y + i * lines->stride;
        if (classes[i] < 0)
            S(clear_line)(line, lines);
        else
            S(subtract_at)(line + classes[i] * lines->step,
                           scale[i] * wanted->keep * (wanted->weight ? wanted->weight[classes[i]] : 1));
    }
    fpenv_leave(callers);
}

/* One element of each line becomes the line's value; a line whose class is negative becomes 0. */
static void S(fs_place)(void *to, const fs_lines *lines, const int64_t *classes, const double *values) {
    const fs_fpenv callers = fpenv_enter();
    for (ptrdiff_t i = 0; i < lines->count; i++) {
        S(elem) *line = (S(elem) *)to + i * lines->stride;
        if (classes[i] < 0)
            S(clear_line)(line, lines);
        else
            line[classes[i] * lines->step] = (S(elem))values[i];
    }
    fpenv_leave(callers);
}
