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
    return (scale != 0) & (fabs(scale) < (double)n * S(SMALL_SCALE));
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

/* What some classes are wanted with, a lane each: w * (keep * p + share), where p is 0 without probabilities. */
static ALWAYS_INLINE void S(wanted)(const fs_wanted *wanted, const S(elem) *p, ptrdiff_t count, const v_f64 *w,
                                    v_f64 *q) {
    for (int k = 0; k < S(HALVES); k++) q[k] = set1_f64(wanted->share);
    if (p) {
        v_f64 wide[S(HALVES)];
        S(widen)(wide, S(load_some)(p, count, 0));
        for (int k = 0; k < S(HALVES); k++) q[k] = add_f64(mul_f64(set1_f64(wanted->keep), wide[k]), q[k]);
    }
    for (int k = 0; k < S(HALVES); k++) q[k] = mul_f64(w[k], q[k]);
}

/* The weights of a row's classes: those of its last vector, if that is not full, apart, and 0 past the row, so that
 * it adds nothing; 1 where there are none. */
typedef struct {
    const double *all; /* or NULL */
    ptrdiff_t whole;
    double last[S(LANES)];
} S(row_weights);

static ALWAYS_INLINE S(row_weights) S(make_row_weights)(const fs_wanted *wanted, ptrdiff_t n) {
    S(row_weights) weights = {wanted->weight, n / S(LANES) *S(LANES), {0}};
    for (ptrdiff_t c = weights.whole; c < n; c++) weights.last[c - weights.whole] = weights.all ? weights.all[c] : 1;
    return weights;
}

static ALWAYS_INLINE void S(weights_at)(const S(row_weights) *weights, ptrdiff_t c, v_f64 *w) {
    const double *const from = c == weights->whole ? weights->last : weights->all ? weights->all + c : NULL;
    for (int k = 0; k < S(HALVES); k++) w[k] = from ? load_f64(from + k * LANES_f64) : set1_f64(1);
}

/* Whether all classes of a line are wanted alike: that sum is known. */
static ALWAYS_INLINE int S(is_even)(const fs_wanted *wanted, const S(elem) *p) { return !p && !wanted->weight; }

/* The sums of what is wanted times (top - x), and of what is wanted, unless that is known. */
typedef struct {
    S(sum) gaps, wanted;
} S(weighed);

static ALWAYS_INLINE void S(add_weighed)(S(weighed) *sums, const v_f64 *tops, S(v) x, const v_f64 *q,
                                         const int is_even) {
    v_f64 wide[S(HALVES)];
    S(widen)(wide, x);
    for (int k = 0; k < S(HALVES); k++) {
        S(add_product_to_half)(&sums->gaps, k, q[k], sub_f64(tops[k], wide[k]));
        if (!is_even) S(add_to_half)(&sums->wanted, k, q[k]);
    }
}

static ALWAYS_INLINE void S(weigh_row)(const S(elem) *x, const S(elem) *p, ptrdiff_t n, const fs_wanted *wanted,
                                       const S(row_weights) *weights, double top, double *sums) {
    enum { W = S(LANES) };
    const int is_even = S(is_even)(wanted, p);
    S(weighed) row = {S(sum_zero)(), S(sum_zero)()};
    v_f64 tops[S(HALVES)], w[S(HALVES)], q[S(HALVES)];
    for (int k = 0; k < S(HALVES); k++) tops[k] = set1_f64(top);
    for (ptrdiff_t c = 0; c < n; c += W) {
        S(weights_at)(weights, c, w);
        S(wanted)(wanted, p ? p + c : NULL, n - c, w, q);
        S(add_weighed)(&row, tops, S(load_some)(x + c, n - c, 0), q, is_even);
    }
    sums[0] = S(sum_of_lanes)(&row.gaps);
    sums[1] = is_even ? (double)n * wanted->share : S(sum_of_lanes)(&row.wanted);
}

static ALWAYS_INLINE void S(weigh_rows)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                        const fs_wanted *wanted, const double *parts, double *sums) {
    const S(row_weights) weights = S(make_row_weights)(wanted, lines->n);
    for (ptrdiff_t i = 0, at = 0; i < lines->count; i++, at += lines->stride)
        S(weigh_row)(x + at, p ? p + at : NULL, lines->n, wanted, &weights, parts[2 * i], sums + 2 * i);
}

/* Columns: those past the last whole vector go as one that is filled up with 0. */
static ALWAYS_INLINE void S(weigh_columns)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *parts, double *sums) {
    enum { W = S(LANES) };
    const int is_even = S(is_even)(wanted, p);
    for (ptrdiff_t first = 0; first < lines->count; first += W) {
        const ptrdiff_t count = lines->count - first < W ? lines->count - first : W;
        S(weighed) columns = {S(sum_zero)(), S(sum_zero)()};
        double top[W] = {0}, lane[2][W];
        v_f64 tops[S(HALVES)], w[S(HALVES)], q[S(HALVES)];
        for (int k = 0; k < count; k++) top[k] = parts[2 * (first + k)];
        for (int k = 0; k < S(HALVES); k++) tops[k] = load_f64(top + k * LANES_f64);
        for (ptrdiff_t c = 0, at = first; c < lines->n; c++, at += lines->step) {
            for (int k = 0; k < S(HALVES); k++) w[k] = set1_f64(wanted->weight ? wanted->weight[c] : 1);
            S(wanted)(wanted, p ? p + at : NULL, count, w, q);
            S(add_weighed)(&columns, tops, S(load_some)(x + at, count, 0), q, is_even);
        }
        S(sum_lanes)(&columns.gaps, lane[0]);
        S(sum_lanes)(&columns.wanted, lane[1]);
        for (int k = 0; k < count; k++) {
            sums[2 * (first + k)] = lane[0][k];
            sums[2 * (first + k) + 1] = is_even ? (double)lines->n * wanted->share : lane[1][k];
        }
    }
}

/* Types: S, in float64. Max error, of the sum of the absolute terms: an ULP of float64 for each rounding of a term,
 * which are keep * p, + share, * weight, top - x and the product, 5 at most; and for float32, whose sums are not
 * compensated, n / 2 more. Products below float64's normal numbers lose half of its least one each. Range: where
 * top - x is past float64 the sum is infinite; where top is infinite or NaN, NaN. Aliasing: none. */
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

/* Some elements of y less scale * q, a lane each. */
static ALWAYS_INLINE void S(subtract_some)(S(elem) *y, ptrdiff_t count, const v_f64 *q, const v_f64 *scale) {
    v_f64 wide[S(HALVES)];
    S(widen)(wide, S(load_some)(y, count, 0));
    for (int k = 0; k < S(HALVES); k++) wide[k] = sub_f64(wide[k], mul_f64(scale[k], q[k]));
    S(store_some)(y, S(of_halves)(wide), count);
}

static ALWAYS_INLINE void S(subtract_rows)(S(elem) *y, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *scales) {
    const S(row_weights) weights = S(make_row_weights)(wanted, lines->n);
    for (ptrdiff_t i = 0; i < lines->count; i++) {
        v_f64 scale[S(HALVES)], w[S(HALVES)], q[S(HALVES)];
        for (int k = 0; k < S(HALVES); k++) scale[k] = set1_f64(scales[i]);
        for (ptrdiff_t c = 0, at = i * lines->stride; c < lines->n; c += S(LANES), at += S(LANES)) {
            S(weights_at)(&weights, c, w);
            S(wanted)(wanted, p ? p + at : NULL, lines->n - c, w, q);
            S(subtract_some)(y + at, lines->n - c, q, scale);
        }
    }
}

/* Columns whose lines lie closer than a vector is wide, one by one: a vector's load would wait for the store of the
 * line before, which it overlaps. The same bits, since no compiler may contract these operations. */
static ALWAYS_INLINE void S(subtract_close_columns)(S(elem) *y, const S(elem) *p, const fs_lines *lines,
                                                    const fs_wanted *wanted, const double *scales) {
    for (ptrdiff_t c = 0; c < lines->n; c++) {
        for (ptrdiff_t i = 0, at = c * lines->step; i < lines->count; i++, at++) {
            const double q = p ? wanted->keep * (double)p[at] + wanted->share : wanted->share;
            y[at] = (S(elem))((double)y[at] - scales[i] * (wanted->weight ? wanted->weight[c] * q : q));
        }
    }
}

static ALWAYS_INLINE void S(subtract_columns)(S(elem) *y, const S(elem) *p, const fs_lines *lines,
                                              const fs_wanted *wanted, const double *scales) {
    enum { W = S(LANES) };
    const ptrdiff_t columns = lines->count, whole = columns / W * W;
    double last[W] = {0};
    memcpy(last, scales + whole, (size_t)(columns - whole) * sizeof *last);
    for (ptrdiff_t c = 0; c < lines->n; c++) {
        v_f64 scale[S(HALVES)], w[S(HALVES)], q[S(HALVES)];
        for (int k = 0; k < S(HALVES); k++) w[k] = set1_f64(wanted->weight ? wanted->weight[c] : 1);
        for (ptrdiff_t i = 0, at = c * lines->step; i < columns; i += W, at += W) {
            const double *const from = i == whole ? last : scales + i;
            for (int k = 0; k < S(HALVES); k++) scale[k] = load_f64(from + k * LANES_f64);
            S(wanted)(wanted, p ? p + at : NULL, columns - i, w, q);
            S(subtract_some)(y + at, columns - i, q, scale);
        }
    }
}

/* As kernels.h has it. Types: S, in float64. Max error: half an ULP, at the line's class another of what is left
 * there first; and 4 ULP of float64 of scale * q, one for each of its roundings. Range: all, as IEEE arithmetic has
 * it. Aliasing: p is not y. */
static void S(fs_subtract)(void *from, const void *p, const fs_lines *lines, const fs_wanted *wanted,
                           const int64_t *classes, const double *scale) {
    const fs_fpenv callers = fpenv_enter();
    S(elem) *y = from;
    if (lines->step == 1)
        S(subtract_rows)(y, p, lines, wanted, scale);
    else if (lines->step < S(LANES))
        S(subtract_close_columns)(y, p, lines, wanted, scale);
    else
        S(subtract_columns)(y, p, lines, wanted, scale);
    for (ptrdiff_t i = 0; classes && i < lines->count; i++) {
        S(elem) *line = y + i * lines->stride;
        if (classes[i] < 0) {
            S(clear_line)(line, lines);
            continue;
        }
        S(elem) *own = line + classes[i] * lines->step;
        const double w = wanted->weight ? wanted->weight[classes[i]] : 1;
        *own = (S(elem))((double)*own - scale[i] * wanted->keep * w);
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
