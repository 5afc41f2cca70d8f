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

/* What some classes are wanted with, a lane each: w * (keep * p + share), where p is 0 without probabilities, and w
 * is 1 without weights. */
static ALWAYS_INLINE v_f64 S(wanted)(const fs_wanted *wanted, v_f64 p, v_f64 w, const int has_p, const int has_w) {
    const v_f64 share = set1_f64(wanted->share);
    const v_f64 q = has_p ? add_f64(mul_f64(set1_f64(wanted->keep), p), share) : share;
    return has_w ? mul_f64(w, q) : q;
}

/* The sums of what is wanted times (top - x), and, of lines that have weights, of what is wanted; of others, of p. */
typedef struct {
    S(sum) gaps, weights;
} S(weighed);

static ALWAYS_INLINE void S(add_weighed)(S(weighed) *sums, const v_f64 *tops, S(v) x, S(v) p, const v_f64 *w,
                                         const fs_wanted *wanted, const int has_p, const int has_w) {
    v_f64 wide[S(HALVES)], wide_p[S(HALVES)];
    S(widen)(wide, x);
    S(widen)(wide_p, p);
    for (int k = 0; k < S(HALVES); k++) {
        const v_f64 q = S(wanted)(wanted, wide_p[k], w[k], has_p, has_w);
        S(add_product_to_half)(&sums->gaps, k, q, sub_f64(tops[k], wide[k]));
        if (has_w || has_p) S(add_to_half)(&sums->weights, k, has_w ? q : wide_p[k]);
    }
}

/* The second sum as it is wanted, from a line's n elements. */
static ALWAYS_INLINE double S(sum_of_wanted)(double sum, ptrdiff_t n, const fs_wanted *wanted, const int has_w) {
    return has_w ? sum : wanted->keep * sum + (double)n * wanted->share;
}

/* A row. The lanes past it have the maximum for x, and 0 for p and w: they add nothing. */
static ALWAYS_INLINE void S(weigh_row)(const S(elem) *x, const S(elem) *p, ptrdiff_t n, const fs_wanted *wanted,
                                       const double *last_w, double top, double *sums, const int has_p,
                                       const int has_w) {
    enum { W = S(LANES) };
    S(weighed) row = {S(sum_zero)(), S(sum_zero)()};
    v_f64 tops[S(HALVES)], w[S(HALVES)];
    for (int k = 0; k < S(HALVES); k++) tops[k] = set1_f64(top);
    for (ptrdiff_t c = 0; c < n; c += W) {
        const ptrdiff_t left = n - c;
        const double *const from = has_w && left >= W ? wanted->weight + c : last_w;
        S(v) xs = S(load_some)(x + c, left, 0);
        if (left < W) xs = S(add)(xs, S(keep)(S(lanes_from)(left), S(set1)((S(elem))top)));
        for (int k = 0; k < S(HALVES); k++) w[k] = has_w ? load_f64(from + k * LANES_f64) : set1_f64(1);
        S(add_weighed)(&row, tops, xs, has_p ? S(load_some)(p + c, left, 0) : S(set1)(0), w, wanted, has_p, has_w);
    }
    sums[0] = S(sum_of_lanes)(&row.gaps);
    sums[1] = S(sum_of_wanted)(has_p || has_w ? S(sum_of_lanes)(&row.weights) : 0, n, wanted, has_w);
}

static ALWAYS_INLINE void S(weigh_rows)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                        const fs_wanted *wanted, const double *parts, double *sums, const int has_p,
                                        const int has_w) {
    const ptrdiff_t n = lines->n, whole = n / S(LANES) *S(LANES);
    double last_w[S(LANES)] = {0};
    if (has_w) memcpy(last_w, wanted->weight + whole, (size_t)(n - whole) * sizeof *last_w);
    for (ptrdiff_t i = 0; i < lines->count; i++)
        S(weigh_row)(x + i * lines->stride, p + i * lines->stride, n, wanted, last_w, parts[2 * i], sums + 2 * i,
                     has_p, has_w);
}

/* Columns: those past the last whole vector go as one that is filled up with 0. */
static ALWAYS_INLINE void S(weigh_columns)(const S(elem) *x, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *parts, double *sums,
                                           const int has_p, const int has_w) {
    enum { W = S(LANES) };
    for (ptrdiff_t first = 0; first < lines->count; first += W) {
        const ptrdiff_t count = lines->count - first < W ? lines->count - first : W;
        S(weighed) columns = {S(sum_zero)(), S(sum_zero)()};
        double top[W] = {0}, gaps[W], weights[W];
        v_f64 tops[S(HALVES)], w[S(HALVES)];
        for (int k = 0; k < count; k++) top[k] = parts[2 * (first + k)];
        for (int k = 0; k < S(HALVES); k++) tops[k] = load_f64(top + k * LANES_f64);
        for (ptrdiff_t c = 0, at = first; c < lines->n; c++, at += lines->step) {
            for (int k = 0; k < S(HALVES); k++) w[k] = set1_f64(has_w ? wanted->weight[c] : 1);
            S(add_weighed)(&columns, tops, S(load_some)(x + at, count, 0),
                           has_p ? S(load_some)(p + at, count, 0) : S(set1)(0), w, wanted, has_p, has_w);
        }
        S(sum_lanes)(&columns.gaps, gaps);
        S(sum_lanes)(&columns.weights, weights);
        for (int k = 0; k < count; k++) {
            sums[2 * (first + k)] = gaps[k];
            sums[2 * (first + k) + 1] = S(sum_of_wanted)(weights[k], lines->n, wanted, has_w);
        }
    }
}

/* Types: S, in float64. Max error, of the sum of the absolute terms: an ULP of float64 for each rounding of a term,
 * which are keep * p, + share, * weight, top - x and the product, 5 at most; and for float32, whose sums are not
 * compensated, n / 2 more. Products below float64's normal numbers lose half of its least one each. Range: where
 * top - x is past float64 the sum is infinite. Aliasing: none. */
static ALWAYS_INLINE void S(weigh)(const S(elem) *x, const S(elem) *p, const fs_lines *lines, const fs_wanted *wanted,
                                   const double *parts, double *sums, const int has_p, const int has_w) {
    if (lines->step == 1)
        S(weigh_rows)(x, p, lines, wanted, parts, sums, has_p, has_w);
    else
        S(weigh_columns)(x, p, lines, wanted, parts, sums, has_p, has_w);
}

static void S(fs_weigh)(const void *x, const void *p, const fs_lines *lines, const fs_wanted *wanted,
                        const double *parts, double *sums) {
    const fs_fpenv callers = fpenv_enter();
    S(weigh)(x, p ? p : x, lines, wanted, parts, sums, p != NULL, wanted->weight != NULL);
    fpenv_leave(callers);
}

static ALWAYS_INLINE void S(clear_line)(S(elem) *line, const fs_lines *lines) {
    for (ptrdiff_t c = 0; c < lines->n; c++) line[c * lines->step] = 0;
}

/* y - scale * q, a lane each */
static ALWAYS_INLINE S(v) S(less_wanted)(S(v) y, S(v) p, const v_f64 *w, const v_f64 *scale, const fs_wanted *wanted,
                                         const int has_p, const int has_w) {
    v_f64 wide[S(HALVES)], wide_p[S(HALVES)];
    S(widen)(wide, y);
    S(widen)(wide_p, p);
    for (int k = 0; k < S(HALVES); k++)
        wide[k] = sub_f64(wide[k], mul_f64(scale[k], S(wanted)(wanted, wide_p[k], w[k], has_p, has_w)));
    return S(of_halves)(wide);
}

static ALWAYS_INLINE void S(subtract_rows)(S(elem) *y, const S(elem) *p, const fs_lines *lines,
                                           const fs_wanted *wanted, const double *scales, const int has_p,
                                           const int has_w) {
    enum { W = S(LANES) };
    const ptrdiff_t n = lines->n, whole = n / W * W;
    double last_w[W] = {0};
    if (has_w) memcpy(last_w, wanted->weight + whole, (size_t)(n - whole) * sizeof *last_w);
    for (ptrdiff_t i = 0; i < lines->count; i++) {
        v_f64 scale[S(HALVES)], w[S(HALVES)];
        for (int k = 0; k < S(HALVES); k++) scale[k] = set1_f64(scales[i]);
        for (ptrdiff_t c = 0, at = i * lines->stride; c < n; c += W, at += W) {
            const double *const from = has_w && c != whole ? wanted->weight + c : last_w;
            const S(v) ps = has_p ? S(load_some)(p + at, n - c, 0) : S(set1)(0);
            for (int k = 0; k < S(HALVES); k++) w[k] = has_w ? load_f64(from + k * LANES_f64) : set1_f64(1);
            S(store_some)(y + at, S(less_wanted)(S(load_some)(y + at, n - c, 0), ps, w, scale, wanted, has_p, has_w),
                          n - c);
        }
    }
}

static ALWAYS_INLINE void S(subtract_columns)(S(elem) *y, const S(elem) *p, const fs_lines *lines,
                                              const fs_wanted *wanted, const double *scales, const int has_p,
                                              const int has_w) {
    enum { W = S(LANES) };
    const ptrdiff_t columns = lines->count, whole = columns / W * W;
    double last[W] = {0};
    if (lines->step < W) { /* a vector's load would wait for the store of the line before, which it overlaps */
        for (ptrdiff_t c = 0; c < lines->n; c++) {
            const double w = has_w ? wanted->weight[c] : 1;
            for (ptrdiff_t i = 0, at = c * lines->step; i < columns; i++, at++) {
                const double q = has_p ? wanted->keep * (double)p[at] + wanted->share : wanted->share;
                y[at] = (S(elem))((double)y[at] - scales[i] * (has_w ? w * q : q));
            }
        }
        return;
    }
    memcpy(last, scales + whole, (size_t)(columns - whole) * sizeof *last);
    for (ptrdiff_t c = 0; c < lines->n; c++) {
        v_f64 scale[S(HALVES)], w[S(HALVES)];
        for (int k = 0; k < S(HALVES); k++) w[k] = set1_f64(has_w ? wanted->weight[c] : 1);
        for (ptrdiff_t i = 0, at = c * lines->step; i < columns; i += W, at += W) {
            const double *const from = i == whole ? last : scales + i;
            const S(v) ps = has_p ? S(load_some)(p + at, columns - i, 0) : S(set1)(0);
            for (int k = 0; k < S(HALVES); k++) scale[k] = load_f64(from + k * LANES_f64);
            S(store_some)(y + at,
                          S(less_wanted)(S(load_some)(y + at, columns - i, 0), ps, w, scale, wanted, has_p, has_w),
                          columns - i);
        }
    }
}

static ALWAYS_INLINE void S(subtract)(S(elem) *y, const S(elem) *p, const fs_lines *lines, const fs_wanted *wanted,
                                      const double *scales, const int has_p, const int has_w) {
    if (lines->step == 1)
        S(subtract_rows)(y, p, lines, wanted, scales, has_p, has_w);
    else
        S(subtract_columns)(y, p, lines, wanted, scales, has_p, has_w);
}

/* As kernels.h has it. Types: S, in float64. Max error: half an ULP, at the line's class another of what is left
 * there first; and 4 ULP of float64 of scale * q, one for each of its roundings. Range: all, as IEEE arithmetic has
 * it. Aliasing: p is not y. */
static void S(fs_subtract)(void *from, const void *p, const fs_lines *lines, const fs_wanted *wanted,
                           const int64_t *classes, const double *scale) {
    const fs_fpenv callers = fpenv_enter();
    S(elem) *y = from;
    S(subtract)(y, p ? p : y, lines, wanted, scale, p != NULL, wanted->weight != NULL);
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
