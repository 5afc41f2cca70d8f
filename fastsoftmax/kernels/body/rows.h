/* Whole rows of at least FS_SHORT_ROW elements: maximum; exponentials, stored and summed; scale. A few rows pass
 * each stage together, few enough to stay in the second cache, so that the constants of all of them are finished in
 * one go, a row a lane. Here are the stages, and the logarithms; softmax_rows.h has softmax.
 *
 * The last, partial vector of a row is loaded (and stored) as the full vector that ends with the row. It is loaded
 * before anything is stored, and the elements it shares with its neighbour get the same values twice, so that y
 * may be x. Its shared lanes are left out of sums.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* Lanes >= first. */
static ALWAYS_INLINE T(m) S(lanes_from)(ptrdiff_t first) {
    static const T(elem) lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return T(ge)(T(load)(lane), T(set1)((T(elem))first));
}

static ALWAYS_INLINE T(v) S(load_signed)(const S(elem) *p, int negate) {
    T(v) x = S(load)(p);
    return negate ? T(neg)(x) : x;
}

/* What bounds a row, a lane each: its maximum (beside a NaN any will do: the row's sum is NaN), and the lowest of its
 * negative numbers, whose bits are the largest read as unsigned integers. */
typedef struct {
    T(v) top, low;
} S(bounds);

static ALWAYS_INLINE S(bounds) S(widen_bounds)(S(bounds) bounds, T(v) x) {
    KEEP_LOADED(x);
    return (S(bounds)){T(max)(x, bounds.top), T(bits_max)(x, bounds.low)};
}

static ALWAYS_INLINE S(bounds) S(row_bounds)(const S(elem) *x, ptrdiff_t n, int negate) {
    enum { W = T(LANES) };
    const T(v) last = S(load_signed)(x + n - W, negate);
    S(bounds) even = {last, last}, odd = even;
    ptrdiff_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
        even = S(widen_bounds)(even, S(load_signed)(x + i, negate));
        odd = S(widen_bounds)(odd, S(load_signed)(x + i + W, negate));
        even = S(widen_bounds)(even, S(load_signed)(x + i + 2 * W, negate));
        odd = S(widen_bounds)(odd, S(load_signed)(x + i + 3 * W, negate));
    }
    for (; i + W <= n; i += W) even = S(widen_bounds)(even, S(load_signed)(x + i, negate));
    return (S(bounds)){T(max)(even.top, odd.top), T(bits_max)(even.low, odd.low)};
}

/* Whether all within the bounds is ordinary for exp, which a NaN does not matter to. */
static ALWAYS_INLINE int S(is_ordinary)(S(bounds) bounds) {
    const T(v) limit = T(set1)(ORDINARY);
    const T(v) low = T(max)(bounds.low, T(neg)(bounds.low));
    return T(all)(T(ge)(limit, T(max)(bounds.top, low)));
}

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
    T(elem) top[T(LANES)], shift[T(LANES)], floor[T(LANES)], rounder[T(LANES)], eighths[T(LANES)];
    int ordinary;                     /* all of them */
    T(elem) tops[T(LANES)][T(LANES)]; /* the maxima of each row's lanes */
} S(references);

static ALWAYS_INLINE T(reference) S(reference_of)(const S(references) *group, ptrdiff_t row) {
    T(reference) ref;
    ref.shift = T(set1)(group->shift[row]);
    ref.floor = T(set1)(group->floor[row]);
    ref.rounder = T(set1)(group->rounder[row]);
    ref.eighths = T(set1)(group->eighths[row]);
    ref.n_top = T(set1)(0); /* only the ends of a row need it */
    return ref;
}

/* A few vectors of exponentials from x, which may widen the bounds. */
static ALWAYS_INLINE void S(exp_at)(const S(elem) *x, T(v) *e, int vectors, const T(reference) *ref,
                                    S(bounds) *bounds, int ordinary, int negate) {
    for (int k = 0; k < vectors; k++) e[k] = S(load_signed)(x + k * T(LANES), negate);
    if (bounds)
        for (int k = 0; k < vectors; k++) *bounds = S(widen_bounds)(*bounds, e[k]);
    T(exp)(e, vectors, ref, ordinary);
}

/* How row_exp reads a row, all known when it is compiled. */
typedef struct {
    int ordinary;   /* for exp */
    int one_by_one; /* for the sum, else in runs */
    int negate;
} S(how);

/* An exponential joins a sum, or the run that is to. */
static ALWAYS_INLINE void S(join)(T(sum) *sum, T(run) *run, T(v) e, int one_by_one) {
    if (one_by_one)
        T(sum_add)(sum, e);
    else
        T(run_add)(run, e);
}

/* The sum of exp(x) * 2**-N, and these in e unless it is NULL; `bounds`, unless it is NULL, becomes what bounds x.
 * Fetches what lies `ahead` elements further on, the next group, so that its first stage does not wait for memory
 * while this one computes, and for the same reason the lines of `later`, unless it is NULL, where the last stage will
 * store. */
static ALWAYS_INLINE T(sum) S(row_exp)(const S(elem) *x, T(elem) *e, ptrdiff_t n, T(reference) ref, ptrdiff_t ahead,
                                       const S(elem) *later, S(bounds) *bounds, const S(how) how) {
    enum { W = T(LANES), STEP = W * T(TOGETHER) };
    T(v) last = S(load_signed)(x + n - W, how.negate);
    T(sum) sum = T(sum_zero)();
    T(v) v[T(TOGETHER)];
    S(bounds) widest = {last, last}, *const widen = bounds ? &widest : NULL;
    for (ptrdiff_t i = 0; i < n;) {
        const ptrdiff_t end = how.one_by_one || n - i < FOLD * W ? n : i + FOLD * W;
        T(run) run = T(run_start)();
        for (; i + STEP <= end; i += STEP) {
            for (int k = 0; k < T(TOGETHER); k++) prefetch(x + i + k * W + ahead);
            if (later)
                for (int k = 0; k < T(TOGETHER); k++) prefetch_for_store(later + i + k * W);
            S(exp_at)(x + i, v, T(TOGETHER), &ref, widen, how.ordinary, how.negate);
            for (int k = 0; k < T(TOGETHER); k++) {
                if (e) T(store)(e + i + k * W, v[k]);
                S(join)(&sum, &run, v[k], how.one_by_one);
            }
        }
        for (; i + W <= end; i += W) {
            S(exp_at)(x + i, v, 1, &ref, widen, how.ordinary, how.negate);
            if (e) T(store)(e + i, v[0]);
            S(join)(&sum, &run, v[0], how.one_by_one);
        }
        if (i < end) {
            T(exp)(&last, 1, &ref, how.ordinary);
            if (e) T(store)(e + n - W, last);
            S(join)(&sum, &run, T(keep)(S(lanes_from)(i - (n - W)), last), how.one_by_one);
            i = end;
        }
        if (!how.one_by_one) T(sum_fold)(&sum, run);
    }
    if (bounds) *bounds = widest;
    return sum;
}

/* Of a few vectors, the exponentials below the maximum join the sum, and the maxima are counted. */
static ALWAYS_INLINE void S(split)(T(v) *v, int vectors, T(v) top, const T(reference) *ref, int ordinary, T(sum) *sum,
                                   T(v) *tops) {
    T(m) is_top[T(TOGETHER)];
    T(v) low[T(TOGETHER)];
    for (int k = 0; k < vectors; k++) is_top[k] = T(eq)(v[k], top);
    for (int k = 0; k < vectors; k++) *tops = T(add)(*tops, T(keep)(is_top[k], T(set1)(1)));
    T(exp_pair)(v, low, vectors, ref, ordinary);
    for (int k = 0; k < vectors; k++) T(sum_add_pair)(sum, T(drop)(is_top[k], v[k]), T(drop)(is_top[k], low[k]));
}

/* The sum below the maximum; the number of maxima, a lane each, in *tops. */
static ALWAYS_INLINE T(sum) S(row_rest)(const S(elem) *x, ptrdiff_t n, T(elem) top, T(reference) ref, ptrdiff_t ahead,
                                        int ordinary, T(v) *tops) {
    enum { W = T(LANES), STEP = W * T(TOGETHER) };
    const T(v) top_v = T(set1)(top);
    T(sum) sum = T(sum_zero)();
    T(v) v[T(TOGETHER)], tops_v = T(set1)(0);
    ptrdiff_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        for (int k = 0; k < T(TOGETHER); k++) prefetch(x + i + k * W + ahead);
        for (int k = 0; k < T(TOGETHER); k++) v[k] = S(load)(x + i + k * W);
        S(split)(v, T(TOGETHER), top_v, &ref, ordinary, &sum, &tops_v);
    }
    for (; i + W <= n; i += W) {
        v[0] = S(load)(x + i);
        S(split)(v, 1, top_v, &ref, ordinary, &sum, &tops_v);
    }
    if (i < n) {
        /* what the last vector shares with the one before: -inf, whose exponential is 0 */
        const T(m) fresh = S(lanes_from)(i - (n - W));
        v[0] = T(add)(T(keep)(fresh, S(load)(x + n - W)), T(drop)(fresh, T(set1)(-(T(elem))INFINITY)));
        S(split)(v, 1, top_v, &ref, 0, &sum, &tops_v);
    }
    *tops = tops_v;
    return sum;
}

/* y = exp(x) * 2**-N * factor, for rows whose exponentials were not kept */
static ALWAYS_INLINE void S(row_exp_scale)(const S(elem) *x, S(elem) *y, ptrdiff_t n, T(reference) ref,
                                           T(factor) factor, int negate) {
    enum { W = T(LANES), STEP = W * T(TOGETHER) };
    T(v) last = S(load_signed)(x + n - W, negate);
    T(v) v[T(TOGETHER)];
    ptrdiff_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        S(exp_at)(x + i, v, T(TOGETHER), &ref, NULL, 0, negate);
        for (int k = 0; k < T(TOGETHER); k++) S(store)(y + i + k * W, T(scale)(v[k], factor));
    }
    for (; i + W <= n; i += W) {
        S(exp_at)(x + i, v, 1, &ref, NULL, 0, negate);
        S(store)(y + i, T(scale)(v[0], factor));
    }
    if (i < n) {
        T(exp)(&last, 1, &ref, 0);
        S(store)(y + n - W, T(scale)(last, factor));
    }
}

/* y = (x - top) - tail: both parts have one sign, nothing cancels. */
static ALWAYS_INLINE void S(row_log)(const S(elem) *x, S(elem) *y, ptrdiff_t n, T(v) top, T(v) tail) {
    enum { W = T(LANES) };
    const T(v) last = S(load)(x + n - W);
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W) S(store)(y + i, T(sub)(T(sub)(S(load)(x + i), top), tail));
    if (i < n) S(store)(y + n - W, T(sub)(T(sub)(last, top), tail));
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

/* As many rows as have so many bytes in T, a lane each, pass each stage together. */
static ALWAYS_INLINE ptrdiff_t S(rows_together)(ptrdiff_t n, ptrdiff_t bytes) {
    const ptrdiff_t rows = bytes / (n * (ptrdiff_t)sizeof(T(elem)));
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

/* It is, where some other element is so near the maximum; */
static ALWAYS_INLINE T(elem) S(near_reach)(ptrdiff_t n) { return (T(elem))(0.6931 / 2 * S(near_half_bits)(n)); }

/* and, by a whole number of bits, where it is that share of the maximum's. */
static ALWAYS_INLINE T(elem) S(near_share)(ptrdiff_t n) {
    return (T(elem))1 / (T(elem))(1 << S(near_half_bits)(n) / 2);
}

/* First stage: the maxima and references of `count` rows. The lanes of absent rows stay finite. */
static NEVER_INLINE T(v) S(group_tops)(const S(elem) *x, ptrdiff_t count, ptrdiff_t n, ptrdiff_t stride, int negate,
                                       S(references) *group) {
    S(bounds) all = {T(set1)(0), T(set1)(0)};
    for (ptrdiff_t i = 0; i < count; i++) {
        const S(bounds) row = S(row_bounds)(x + i * stride, n, negate);
        T(store)(group->tops[i], row.top);
        all = (S(bounds)){T(max)(row.top, all.top), T(bits_max)(row.low, all.low)};
    }
    for (ptrdiff_t i = count; i < T(LANES); i++) T(store)(group->tops[i], T(set1)(0));
    const T(v) top = S(max_across)(group->tops);
    T(store)(group->top, top);
    const T(reference) ref = T(make_reference)(top);
    T(store)(group->shift, ref.shift);
    T(store)(group->floor, ref.floor);
    T(store)(group->rounder, ref.rounder);
    T(store)(group->eighths, ref.eighths);
    group->ordinary = S(is_ordinary)(all);
    return top;
}

/* Second stage: the exponentials, kept in e unless it is NULL, and their sums, for rows of no more than READ_ONCE
 * elements `one_by_one`: they have the bits of group_exp_once (softmax_rows.h) then. */
static ALWAYS_INLINE T(sum)
    S(group_exp)(const S(elem) *x, T(elem) *e, ptrdiff_t count, ptrdiff_t n, ptrdiff_t x_stride, ptrdiff_t e_stride,
                 int one_by_one, int negate, const S(references) *group) {
    T(row_sums) sums;
    for (ptrdiff_t i = 0; i < count; i++) {
        const T(reference) ref = S(reference_of)(group, i);
        const S(elem) *row = x + i * x_stride;
        T(elem) *row_e = e ? e + i * e_stride : NULL;
        T(sum) sum;
        if (one_by_one)
            sum = S(row_exp)(row, row_e, n, ref, count * x_stride, NULL, NULL, (S(how)){0, 1, negate});
        else if (group->ordinary)
            sum = S(row_exp)(row, row_e, n, ref, count * x_stride, NULL, NULL, (S(how)){1, 0, negate});
        else
            sum = S(row_exp)(row, row_e, n, ref, count * x_stride, NULL, NULL, (S(how)){0, 0, negate});
        T(put_row_sum)(&sums, i, sum);
    }
    for (ptrdiff_t i = count; i < T(LANES); i++) T(put_row_sum)(&sums, i, T(sum_zero)());
    return T(row_sums_total)(&sums);
}

/* The same for the logarithms, whose results, if any, come to y: the sums below the maxima, and how many others equal
 * them. Where the maximum is not far ahead, it is quicker to subtract it from the sum of all than to leave it out. */
static NEVER_INLINE void S(group_rest)(const S(elem) *x, const S(elem) *y, ptrdiff_t count, ptrdiff_t n,
                                       ptrdiff_t stride, ptrdiff_t y_stride, const S(references) *group,
                                       T(rest) *rest) {
    T(row_sums) sums;
    T(elem) tops[T(LANES)][T(LANES)] = {{0}}, in_sum[T(LANES)] = {0}, near[T(LANES)];
    /* lanes whose maximum is near the row's: its own, and those of others */
    T(store)(near, S(near_across)(group->tops, T(load)(group->top), S(near_reach)(n)));
    const T(elem) own = n % T(LANES) ? 2 : 1; /* the last vector has elements in a second lane */
    for (ptrdiff_t i = 0; i < count; i++) {
        const T(reference) ref = S(reference_of)(group, i);
        const S(elem) *row = x + i * stride, *later = y ? y + i * y_stride : NULL;
        if (near[i] > own) {
            T(put_row_sum)(&sums, i,
                           group->ordinary
                               ? S(row_exp)(row, NULL, n, ref, count * stride, later, NULL, (S(how)){1, 0, 0})
                               : S(row_exp)(row, NULL, n, ref, count * stride, later, NULL, (S(how)){0, 0, 0}));
            tops[i][0] = in_sum[i] = 1;
            continue;
        }
        T(v) row_tops;
        T(put_row_sum)(&sums, i,
                       group->ordinary ? S(row_rest)(row, n, group->top[i], ref, count * stride, 1, &row_tops)
                                       : S(row_rest)(row, n, group->top[i], ref, count * stride, 0, &row_tops));
        T(store)(tops[i], row_tops);
    }
    for (ptrdiff_t i = count; i < T(LANES); i++) T(put_row_sum)(&sums, i, T(sum_zero)());
    rest->sum = T(row_sums_total)(&sums);
    T(v) exp_top = T(load)(group->top);
    const T(reference) ref = T(make_reference)(exp_top);
    T(exp)(&exp_top, 1, &ref, 0);
    T(sum_add)(&rest->sum, T(neg)(T(keep)(T(ge)(T(load)(in_sum), T(set1)(1)), exp_top)));
    T(others)(rest, T(sub)(S(count_across)(tops), T(set1)(1)));
}

/* Types: S, computed in T. Max error: 3 ULP, results near 0 (confident rows) and subnormal ones included. Range and
 * aliasing: as softmax. */
static ALWAYS_INLINE void S(rows_log_softmax)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                              ptrdiff_t x_stride, ptrdiff_t y_stride) {
    const ptrdiff_t together = S(rows_together)(n, GROUP_BYTES);
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(references) group;
        const T(v) top = S(group_tops)(from, count, n, x_stride, 0, &group);
        T(rest) rest;
        S(group_rest)(from, y + first * y_stride, count, n, x_stride, y_stride, &group, &rest);
        T(elem) tail[T(LANES)];
        T(store)(tail, T(log_tail)(top, &rest));
        for (ptrdiff_t i = 0; i < count; i++)
            S(row_log)(from + i * x_stride, y + (first + i) * y_stride, n, T(set1)(group.top[i]), T(set1)(tail[i]));
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
                                            ptrdiff_t x_stride, ptrdiff_t y_stride) {
    const ptrdiff_t together = S(rows_together)(n, GROUP_BYTES);
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(references) group;
        const T(v) top = S(group_tops)(from, count, n, x_stride, 0, &group);
        T(rest) rest;
        S(group_rest)(from, NULL, count, n, x_stride, 0, &group, &rest);
        S(put_logsumexp)(y + first * y_stride, y_stride, T(logsumexp)(top, &rest), top, count, from, n, x_stride, 1);
    }
}
