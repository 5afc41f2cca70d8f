/* The passes over one vector of columns, a column a lane, or of rows brought to a row a lane. Element j of them is
 * the vector at x + j * stride.
 *
 * Columns are read once if they turn out to be ordinary (exp.h): their maxima need not be known before, since the
 * reference of the largest ordinary one serves all. Any others are read twice, maxima first. Exponentials and sums
 * are then the same but for a power of two, and the results have the same bits; whether a column's neighbours are
 * ordinary does not show. So a caller's `once`, which turns 0 with the first columns that are not, since others may
 * follow, only saves time.
 *
 * Included once for each type T that is computed in; see body.h. */

static ALWAYS_INLINE T(bounds) T(column_bounds)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n) {
    T(bounds) bounds = {T(load)(x), T(load)(x)};
    for (ptrdiff_t j = 1; j < n; j++) bounds = T(widen_bounds)(bounds, T(load)(x + j * stride));
    return bounds;
}

static ALWAYS_INLINE int T(exp_once)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched, T(elem) *e,
                                     ptrdiff_t e_step, T(sum) *sum, T(open_lines) *open) {
    T(bounds) bounds;
    const T(how) how = {.ordinary = 1, .kept = 1, .checked = 1, .ends = FS_SOFTMAX};
    *sum = T(exp_sum_total)(T(exp_and_sum)(x, stride, e, e_step, n, 0, T(ordinary_reference)(), fetched, &bounds,
                                           T(no_row)(), open, how));
    return T(are_ordinary)(bounds.top);
}

/* The exponentials, `e_step` from line to line in e, and their sum, if all columns are ordinary; else 0. While it
 * reads x it fetches what is needed next. Aliasing: e may be x, but then x is lost. */
static NEVER_INLINE int T(column_exp_once)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched,
                                           T(elem) *e, ptrdiff_t e_step, T(sum) *sum) {
    return T(exp_once)(x, stride, n, fetched, e, e_step, sum, NULL);
}

/* And meanwhile as many results of another strip are written. */
static NEVER_INLINE int T(column_exp_open)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched,
                                           T(elem) *e, ptrdiff_t e_step, T(sum) *sum, T(open_lines) *open) {
    return T(exp_once)(x, stride, n, fetched, e, e_step, sum, open);
}

/* The same of any columns. */
static NEVER_INLINE void T(column_exp_twice)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(elem) *e,
                                             ptrdiff_t e_step, T(sum) *sum) {
    const T(bounds) bounds = T(column_bounds)(x, stride, n);
    const T(reference) ref = T(make_reference)(bounds.top);
    const T(how) how = {.kept = 1}, ordinary = {.ordinary = 1, .kept = 1};
    const T(fetched) again = {x, NULL};
    *sum = T(exp_sum_total)(
        T(is_ordinary)(bounds)
            ? T(exp_and_sum)(x, stride, e, e_step, n, 0, ref, again, NULL, T(no_row)(), NULL, ordinary)
            : T(exp_and_sum)(x, stride, e, e_step, n, 0, ref, again, NULL, T(no_row)(), NULL, how));
}

static ALWAYS_INLINE int T(rest_once)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched, T(v) *top,
                                      T(rest) *rest, T(open_lines) *open) {
    T(bounds) bounds;
    const T(how) how = {.ordinary = 1, .bounded = 1, .rest = 1, .ends = FS_LOG_SOFTMAX};
    rest->sum = T(exp_sum_total)(
        T(exp_and_sum)(x, stride, NULL, 0, n, 0, T(ordinary_reference)(), fetched, &bounds, T(no_row)(), open, how));
    if (!T(is_ordinary)(bounds)) return 0;
    T(set_ordinary_reference)(rest, bounds.top);
    T(others)(rest, T(set1)(0));
    *top = bounds.top;
    return 1;
}

/* For the logarithms: the maxima, and the sums of all but one maximum of each column. */
static NEVER_INLINE int T(column_rest_once)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched,
                                            T(v) *top, T(rest) *rest) {
    return T(rest_once)(x, stride, n, fetched, top, rest, NULL);
}

static NEVER_INLINE int T(column_rest_open)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched,
                                            T(v) *top, T(rest) *rest, T(open_lines) *open) {
    return T(rest_once)(x, stride, n, fetched, top, rest, open);
}

static NEVER_INLINE void T(column_rest_twice)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(v) *top,
                                              T(rest) *rest) {
    const T(reference) ref = T(make_reference)(T(column_bounds)(x, stride, n).top);
    T(bounds) bounds; /* again: what is left out is found on the way */
    rest->sum = T(exp_sum_total)(T(exp_and_sum)(x, stride, NULL, 0, n, 0, ref, (T(fetched)){x, NULL}, &bounds,
                                                T(no_row)(), NULL, (T(how)){.bounded = 1, .rest = 1}));
    T(set_reference_of_top)(rest, bounds.top);
    T(others)(rest, T(set1)(0));
    *top = bounds.top;
}

/* By reading once, while that goes well. Meanwhile as many results of `open`, unless it is NULL, are written. */
static ALWAYS_INLINE void T(column_rest)(const T(elem) *x, ptrdiff_t stride, ptrdiff_t n, T(fetched) fetched,
                                         T(open_lines) *open, int *once, T(v) *top, T(rest) *rest) {
    if (*once && open)
        *once = T(column_rest_open)(x, stride, n, fetched, top, rest, open);
    else if (*once)
        *once = T(column_rest_once)(x, stride, n, fetched, top, rest);
    if (!*once) T(column_rest_twice)(x, stride, n, top, rest);
}
