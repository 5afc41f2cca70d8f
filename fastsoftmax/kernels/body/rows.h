/* Whole rows of at least FS_SHORT_ROW elements: maximum; exponentials, stored and summed; scale (softmax does without
 * the first where it can). A few rows pass each stage together, few enough to stay in a cache, so that the
 * constants of all of them are finished in one go, a row a lane. Here are the stages (row_passes.h has what they do
 * with one row), and the logarithms; softmax_rows.h has softmax.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* LANES rows of LANES elements: their maxima, a row a lane. */
static ALWAYS_INLINE T(v) S(max_across)(const T(elem) rows[T(LANES)][T(LANES)]) {
    T(v) top = T(set1)(-(T(elem))INFINITY);
    for (int i = 0; i < T(LANES); i += T(BLOCK)) {
        T(v) block[T(BLOCK)];
        T(load_transposed)(rows[0] + i, T(LANES), block);
        for (int k = 0; k < T(BLOCK); k++) top = T(max)(block[k], top);
    }
    return top;
}

/* Of these rows, how many lanes each has within `reach` of its top. */
static ALWAYS_INLINE T(v) S(near_across)(const T(elem) rows[T(LANES)][T(LANES)], T(v) top, T(elem) reach) {
    const T(v) least = T(sub)(top, T(set1)(reach));
    T(v) near = T(set1)(0);
    for (int i = 0; i < T(LANES); i += T(BLOCK)) {
        T(v) block[T(BLOCK)];
        T(load_transposed)(rows[0] + i, T(LANES), block);
        for (int k = 0; k < T(BLOCK); k++) near = T(add)(near, T(keep)(T(ge)(block[k], least), T(set1)(1)));
    }
    return near;
}

static ALWAYS_INLINE T(v) S(count_across)(T(elem) rows[T(LANES)][T(LANES)]) {
    T(v) count = T(set1)(0);
    for (int i = 0; i < T(LANES); i += T(BLOCK)) {
        T(v) block[T(BLOCK)];
        T(load_transposed)(rows[0] + i, T(LANES), block);
        for (int k = 0; k < T(BLOCK); k++) count = T(add)(count, block[k]);
    }
    return count;
}

/* The reference of each row of a group, to be spread over a vector again. */
typedef struct {
    T(elem) top[T(LANES)], shift[T(LANES)], floor[T(LANES)], rounder[T(LANES)];
    int ordinary;                     /* all of them */
    T(elem) tops[T(LANES)][T(LANES)]; /* the maxima of each row's lanes */
} S(references);

static ALWAYS_INLINE T(reference) S(reference_of)(const S(references) *group, ptrdiff_t row) {
    T(reference) ref;
    ref.shift = T(set1)(group->shift[row]);
    ref.floor = T(set1)(group->floor[row]);
    ref.rounder = T(set1)(group->rounder[row]);
    ref.n_top = T(set1)(0); /* only the ends of a row need it */
    ref.constants = T(make_exp_constants)();
    return ref;
}

/* The result for an infinite maximum, where the sum is NaN for certain: a NaN wins over +inf. */
static T(elem) S(infinite_logsumexp)(const S(elem) *x, ptrdiff_t n, ptrdiff_t step, T(elem) top) {
    for (ptrdiff_t i = 0; i < n; i++) {
        T(elem) value = S(widen_one)(x[i * step]);
        if (value != value) return value;
    }
    return top;
}

static ALWAYS_INLINE int S(is_infinite)(T(elem) x) { return x - x != 0 && x == x; }

/* As many rows as have so many elements, a lane each, pass each stage together. */
static ALWAYS_INLINE ptrdiff_t S(rows_together)(ptrdiff_t n, ptrdiff_t elements) {
    const ptrdiff_t rows = elements / n;
    return rows < 1 ? 1 : rows > T(LANES) ? T(LANES) : rows;
}

/* The sum of all exponentials less that of the maximum has the digits of the rest where that is more than about
 * sqrt(n) * 2**-13 of the maximum's, since the low part of a run is rounded at 2**-40 (sum.h): 2**-(half_bits / 2).
 */
static ALWAYS_INLINE int S(near_half_bits)(ptrdiff_t n) {
    int bits = 0;
    while (bits < 25 && n >> bits > 1) bits++;
    return 25 - bits;
}

/* It is, where some other element is so near the maximum. */
static ALWAYS_INLINE T(elem) S(near_reach)(ptrdiff_t n) { return (T(elem))(0.6931 / 2 * S(near_half_bits)(n)); }

/* First stage: the maxima and references of `count` rows. The lanes of absent rows stay finite. */
static NEVER_INLINE T(v)
    S(group_tops)(const S(elem) *x, ptrdiff_t count, ptrdiff_t n, ptrdiff_t stride, S(references) *group) {
    S(bounds) all = {T(set1)(0), T(set1)(0)};
    for (ptrdiff_t i = 0; i < count; i++) {
        const S(bounds) row = S(row_bounds)(x + i * stride, n, 0);
        T(store)(group->tops[i], row.top);
        all = S(both_bounds)(row, all);
    }
    for (ptrdiff_t i = count; i < T(LANES); i++) T(store)(group->tops[i], T(set1)(0));
    const T(v) top = S(max_across)(group->tops);
    T(store)(group->top, top);
    const T(reference) ref = T(make_reference)(top);
    T(store)(group->shift, ref.shift);
    T(store)(group->floor, ref.floor);
    T(store)(group->rounder, ref.rounder);
    group->ordinary = S(is_ordinary)(all);
    return top;
}

/* A group that is open: all but its results is done. Taking exponentials leaves the memory idle, and writing results
 * waits for it, so that the rows of one group are ended while those of the next begin, where the target has the
 * registers for it (OPEN_GROUPS). Their endings are a lane each of a and b. */
typedef struct {
    const T(elem) *e; /* as in open_row, row after row */
    const S(elem) *x;
    S(elem) *y;
    ptrdiff_t count, e_stride, x_stride, y_stride;
    T(elem) a[T(LANES)], b[T(LANES)];
} S(open_group);

static ALWAYS_INLINE void S(set_ending)(S(open_group) *group, T(v) a, T(v) b) {
    T(store)(group->a, a);
    T(store)(group->b, b);
}

static ALWAYS_INLINE S(open_row) S(row_of)(const S(open_group) *group, ptrdiff_t i, const fs_operation op) {
    const T(ending) ending = {T(set1)(group->a[i]), T(set1)(group->b[i])};
    S(elem) *y = group->y + i * group->y_stride;
    if (op == FS_SOFTMAX) return (S(open_row)){.e = group->e + i * group->e_stride, .y = y, .ending = ending};
    return (S(open_row)){.x = group->x + i * group->x_stride, .y = y, .ending = ending};
}

/* Its row i, to be ended meanwhile, if there is one. */
static ALWAYS_INLINE S(open_row) S(row_meanwhile)(const S(open_group) *group, ptrdiff_t i, const fs_operation op) {
    return OPEN_GROUPS && group && i < group->count ? S(row_of)(group, i, op) : S(no_row)();
}

/* Ends its rows from row i on, row `first` + i of all, and closes it. */
static ALWAYS_INLINE void S(close_group)(S(open_group) *group, ptrdiff_t i, ptrdiff_t n, const fs_fetch *fetch,
                                         ptrdiff_t first, const fs_operation op) {
    for (; i < group->count; i++) {
        const S(open_row) row = S(row_of)(group, i, op);
        if (fetch)
            S(end_row)(&row, n, S(again_of)(row.y, fetch, first + i), op);
        else
            S(end_row)(&row, n, NULL, op);
    }
    group->count = 0;
}

/* The sum of a whole row for a logarithm. A run's fold takes longer than a few vectors save by it. */
static ALWAYS_INLINE T(sum) S(row_of_all)(const S(elem) *x, ptrdiff_t n, T(reference) ref, S(fetched) fetched,
                                          S(open_row) open, const int ordinary) {
    const S(how) how = {.ordinary = ordinary, .ends = FS_LOG_SOFTMAX};
    const S(how) by_runs = {.ordinary = ordinary, .by_runs = 1, .ends = FS_LOG_SOFTMAX};
    if (n <= FEW * T(LANES)) return S(row_exp)(x, NULL, n, ref, fetched, NULL, open, how);
    return S(row_exp)(x, NULL, n, ref, fetched, NULL, open, by_runs);
}

/* Second stage for the logarithms, whose results, if any, come to y: the sums below the maxima, and how many others
 * equal them. Where the maximum is not far ahead, it is quicker to subtract it from the sum of all than to leave it
 * out. Meanwhile as many rows of `open`, unless it is NULL, are ended. */
static NEVER_INLINE void S(group_rest)(const S(elem) *x, const S(elem) *y, ptrdiff_t first, ptrdiff_t count,
                                       ptrdiff_t n, ptrdiff_t stride, ptrdiff_t y_stride, const S(references) *group,
                                       const fs_fetch *fetch, const S(open_group) *open, T(rest) *rest) {
    T(row_sums) sums;
    T(elem) tops[T(LANES)][T(LANES)] = {{0}}, in_sum[T(LANES)] = {0}, near[T(LANES)];
    /* lanes whose maximum is near the row's: its own, and those of others */
    T(store)(near, S(near_across)(group->tops, T(load)(group->top), S(near_reach)(n)));
    const T(elem) own = n % T(LANES) ? 2 : 1; /* the last vector has elements in a second lane */
    for (ptrdiff_t i = 0; i < count; i++) {
        const T(reference) ref = S(reference_of)(group, i);
        const S(elem) *row = x + i * stride;
        const S(elem) *next = S(next_of)(row, count * stride, fetch, first + i);
        const S(fetched) fetched = {next, y ? y + i * y_stride : NULL};
        const S(open_row) other = S(row_meanwhile)(open, i, FS_LOG_SOFTMAX);
        if (near[i] > own) {
            T(put_row_sum)(&sums, i,
                           group->ordinary ? S(row_of_all)(row, n, ref, fetched, other, 1)
                                           : S(row_of_all)(row, n, ref, fetched, other, 0));
            tops[i][0] = in_sum[i] = 1;
            continue;
        }
        if (other.y) S(end_row)(&other, n, NULL, FS_LOG_SOFTMAX);
        T(v) row_tops;
        T(put_row_sum)(&sums, i,
                       group->ordinary
                           ? S(row_rest)(row, n, group->top[i], ref, (S(fetched)){next, NULL}, 1, &row_tops)
                           : S(row_rest)(row, n, group->top[i], ref, (S(fetched)){next, NULL}, 0, &row_tops));
        T(store)(tops[i], row_tops);
    }
    rest->sum = T(row_sums_total)(&sums, count);
    T(v) exp_top = T(load)(group->top);
    const T(reference) ref = T(make_reference)(exp_top);
    T(exp)(&exp_top, 1, &ref, 0);
    T(sum_add)(&rest->sum, T(neg)(T(keep)(T(ge)(T(load)(in_sum), T(set1)(1)), exp_top)));
    T(others)(rest, T(sub)(S(count_across)(tops), T(set1)(1)));
}

static NEVER_INLINE void S(close_log_group)(S(open_group) *group, ptrdiff_t i, ptrdiff_t n, const fs_fetch *fetch,
                                            ptrdiff_t first) {
    S(close_group)(group, i, n, fetch, first, FS_LOG_SOFTMAX);
}

/* Types: S, computed in T. Max error: 3 ULP, results near 0 (confident rows) and subnormal ones included. Range and
 * aliasing: as softmax. */
static ALWAYS_INLINE void S(rows_log_softmax)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                              ptrdiff_t x_stride, ptrdiff_t y_stride, const fs_fetch *fetch) {
    const ptrdiff_t together = S(rows_together)(n, GROUP_BYTES / (ptrdiff_t)sizeof *x);
    const int stays_open = OPEN_GROUPS && !fetch && n * (ptrdiff_t)sizeof *x <= OPEN_LOG_BYTES;
    S(open_group) open = {.count = 0};
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(elem) *to = y + first * y_stride;
        S(references) group;
        const T(v) top = S(group_tops)(from, count, n, x_stride, &group);
        T(rest) rest;
        S(group_rest)(from, to, first, count, n, x_stride, y_stride, &group, fetch, &open, &rest);
        S(close_log_group)(&open, count, n, NULL, 0); /* what a last group, of fewer rows, left */
        open = (S(open_group)){.x = from, .y = to, .count = count, .x_stride = x_stride, .y_stride = y_stride};
        S(set_ending)(&open, top, T(log_tail)(top, &rest));
        if (!stays_open || first + count == rows) S(close_log_group)(&open, 0, n, fetch, first);
    }
}

/* Writes `count` results of logsumexp, mending those of infinite maxima; element j of row i is
 * x[i * row_step + j * step]. */
static ALWAYS_INLINE void S(put_logsumexp)(S(elem) *y, ptrdiff_t y_step, T(v) result, T(v) top, ptrdiff_t count,
                                           const S(elem) *x, ptrdiff_t n, ptrdiff_t row_step, ptrdiff_t step) {
    const int finite = T(all)(T(eq)(T(sub)(top, top), T(set1)(0)));
    if (finite && y_step == 1 && count >= T(LANES)) {
        S(store)(y, result);
        return;
    }
    T(elem) value[T(LANES)], tops[T(LANES)];
    T(store)(value, result);
    T(store)(tops, top);
    for (ptrdiff_t i = 0; i < count && i < T(LANES); i++) {
        if (!finite && S(is_infinite)(tops[i])) value[i] = S(infinite_logsumexp)(x + i * row_step, n, step, tops[i]);
        S(store_one)(y + i * y_step, value[i]);
    }
}

/* Types: S, computed in T. Max error: 2 ULP of the larger of |result| and |max|. Range: all; NaN if the row holds
 * one, else an infinite maximum is the result. */
static ALWAYS_INLINE void S(rows_logsumexp)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                            ptrdiff_t x_stride, ptrdiff_t y_stride, const fs_fetch *fetch) {
    const ptrdiff_t together = S(rows_together)(n, READ_GROUP_BYTES / (ptrdiff_t)sizeof *x);
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(references) group;
        const T(v) top = S(group_tops)(from, count, n, x_stride, &group);
        T(rest) rest;
        S(group_rest)(from, NULL, first, count, n, x_stride, 0, &group, fetch, NULL, &rest);
        S(put_logsumexp)(y + first * y_stride, y_stride, T(logsumexp)(top, &rest), top, count, from, n, x_stride, 1);
    }
}
