/* The gradient of a loss at each line's class, -scale * (1 - p), of which no digit may cancel where p is near 1.
 *
 * Included once for each type S that is computed in; see body.h. */

/* Adds to a sum: of float64 with what its additions lose; float32 needs no more than float64. */
static ALWAYS_INLINE void S(add_to)(double *hi, double *lo, double value) {
    if (sizeof(S(elem)) == sizeof(double))
        add_exactly(hi, lo, value);
    else
        *hi += value;
}

static ALWAYS_INLINE double S(short_total)(const S(elem) *y, ptrdiff_t n) {
    double hi = 0, lo = 0;
    for (ptrdiff_t c = 0; c < n; c++) S(add_to)(&hi, &lo, y[c]);
    return exact_sum(hi, lo);
}

static ALWAYS_INLINE double S(long_total)(const S(elem) *y, ptrdiff_t n) {
    enum { W = S(LANES) };
    S(sum) sum = S(sum_zero)();
    ptrdiff_t c = 0;
    for (; c + W <= n; c += W) S(sum_add)(&sum, S(load)(y + c));
    if (c < n) S(sum_add)(&sum, S(load_first)(y + c, n - c));
    return S(sum_of_lanes)(&sum);
}

/* Of `count` columns beside each other, at most a vector of them. */
static ALWAYS_INLINE void S(totals_of_columns)(const S(elem) *y, ptrdiff_t n, ptrdiff_t step, ptrdiff_t count,
                                               double *totals) {
    S(sum) sum = S(sum_zero)();
    for (ptrdiff_t c = 0; c < n; c++) S(sum_add)(&sum, S(load_some)(y + c * step, count, 0));
    S(sum_lanes)(&sum, totals);
}

/* The element at the line's class, which becomes 0; 0 if there is none. */
static ALWAYS_INLINE double S(take_own)(S(elem) *line, ptrdiff_t step, int64_t class) {
    if (class < 0) return 0;
    const double own = line[(ptrdiff_t)class * step];
    line[(ptrdiff_t)class * step] = 0;
    return own;
}

/* As kernels.h has it. Types: S. Max error: that of y's elements, and an ULP of float64. Range: all; NaN for a line
 * that holds one. */
static ptrdiff_t S(fs_class_gradients)(void *to, const fs_lines *lines, const int64_t *classes, const double *scale,
                                       double *values) {
    enum { W = S(LANES), SHORT = 8 };
    const fs_fpenv callers = fpenv_enter();
    const ptrdiff_t n = lines->n, step = lines->step, stride = lines->stride;
    ptrdiff_t unknown = 0;
    for (ptrdiff_t first = 0; first < lines->count; first += W) {
        const ptrdiff_t count = lines->count - first < W ? lines->count - first : W;
        S(elem) *y = (S(elem) *)to + first * stride;
        double own[W] = {0}, others[W] = {0}, scales[W] = {0}, value[W];
        int wanted[W], any = 0;
        for (ptrdiff_t k = 0; k < count; k++) {
            scales[k] = scale[first + k];
            own[k] = S(take_own)(y + k * stride, step, classes[first + k]);
            any |= wanted[k] = !p_is_small(own[k], scales[k], n);
        }
        if (any && step != 1) S(totals_of_columns)(y, n, step, count, others);
        for (ptrdiff_t k = 0; any && step == 1 && k < count; k++) {
            if (n < SHORT) /* quicker than a branch that is often mispredicted */
                others[k] = S(short_total)(y + k * stride, n);
            else if (wanted[k])
                others[k] = S(long_total)(y + k * stride, n);
        }
        values_at_classes(own, others, scales, W, n, S(LEAST_OTHERS), S(MOST_SCALE), value);
        for (ptrdiff_t k = 0; k < count; k++) {
            values[first + k] = classes[first + k] < 0 ? 0 : value[k];
            unknown += isnan(values[first + k]) != 0;
        }
    }
    fpenv_leave(callers);
    return unknown;
}
