/* The logarithms of whole rows, in the stages of rows.h: of each row the maximum and the sum of all other
 * exponentials.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* Of these rows, how many lanes each has within `reach` of its top, or in doubt (beside infinite ones and NaN). The
 * distance is rounded rightly, which top - reach is not where the top is large. */
static ALWAYS_INLINE T(v) S(near_across)(const T(elem) rows[T(LANES)][T(LANES)], T(v) top, T(elem) reach) {
    T(v) near = T(set1)(0);
    for (int i = 0; i < T(LANES); i += T(BLOCK)) {
        T(v) block[T(BLOCK)];
        T(load_transposed)(rows[0] + i, T(LANES), block);
        for (int k = 0; k < T(BLOCK); k++) {
            const T(m) is_near = T(not_less)(T(set1)(reach), T(sub)(top, block[k]));
            near = T(add)(near, T(keep)(is_near, T(set1)(1)));
        }
    }
    return near;
}

/* The number of maxima in the lanes of a row. */
static ALWAYS_INLINE T(elem) S(count_lanes)(T(v) tops) {
    T(elem) lane[T(LANES)];
    T(store)(lane, tops);
    for (int width = T(LANES) / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

/* The sum of all exponentials less that of the maximum has the digits of the rest where that is more than n * 2**-30
 * of the maximum's: a lane adds n / 16 of them to a double, and at worst each addition loses 2**-53 of the sum, which
 * is 2**-27 of such a rest. It is, where some other element is so near the maximum. */
static ALWAYS_INLINE T(elem) S(near_reach)(ptrdiff_t n) {
    int bits = 0;
    while (bits < 31 && n >> bits > 1) bits++;
    return (T(elem))(0.6931 * (29 - bits)); /* n < 2**(bits + 1) */
}

/* How many lanes are near if only the maximum is: the last vector may have it in a second lane. */
static ALWAYS_INLINE T(elem) S(near_itself)(ptrdiff_t n) { return n % T(LANES) ? 2 : 1; }

/* The result for an infinite maximum, where the sum is NaN for certain: a NaN wins over +inf. */
static T(elem) S(infinite_logsumexp)(const S(elem) *x, ptrdiff_t n, ptrdiff_t step, T(elem) top) {
    for (ptrdiff_t i = 0; i < n; i++) {
        T(elem) value = S(widen_one)(x[i * step]);
        if (value != value) return value;
    }
    return top;
}

static ALWAYS_INLINE int S(is_infinite)(T(elem) x) { return x - x != 0 && x == x; }

/* The sums of a group's rows: of all elements (`whole`), or of those below the maximum, which `others` equal. */
typedef struct {
    T(row_sums) sums;
    T(elem) whole[T(LANES)], others[T(LANES)];
} S(log_sums);

static ALWAYS_INLINE void S(put_whole)(S(log_sums) *sums, ptrdiff_t i, T(exp_sum) sum) {
    T(put_row_exp_sum)(&sums->sums, i, sum);
    sums->whole[i] = 1;
    sums->others[i] = 0;
}

static ALWAYS_INLINE void S(put_rest)(S(log_sums) *sums, ptrdiff_t i, const S(elem) *row, ptrdiff_t n, T(elem) top,
                                      T(reference) ref, const S(elem) *next, const int ordinary) {
    T(v) tops;
    T(put_row_exp_sum)(&sums->sums, i, S(row_rest)(row, n, top, ref, (S(fetched)){next, NULL}, ordinary, &tops));
    sums->whole[i] = 0;
    sums->others[i] = S(count_lanes)(tops) - 1;
}

/* What is below the maxima, and how many others equal them. The sums are relative to the maxima's references, or to
 * ordinary_reference. */
static ALWAYS_INLINE void S(total_rest)(S(log_sums) *sums, ptrdiff_t count, T(v) top, const int ordinary,
                                        T(rest) *rest) {
    for (ptrdiff_t i = count; i < T(LANES); i++) sums->whole[i] = sums->others[i] = 0;
    rest->sum = T(row_exp_sums_total)(&sums->sums, count);
    const T(reference) ref = ordinary ? T(ordinary_reference)() : T(make_reference)(top);
    T(v) exp_top = top;
    T(exp)(&exp_top, 1, &ref, ordinary);
    T(sum_add)(&rest->sum, T(neg)(T(keep)(T(ge)(T(load)(sums->whole), T(set1)(1)), exp_top)));
    if (ordinary)
        T(set_ordinary_reference)(rest, top);
    else
        T(set_reference_of_top)(rest, top);
    T(others)(rest, T(load)(sums->others));
}

/* Both stages in one read, if the group turns out to be ordinary, else 0; as softmax does (softmax_rows.h). Where the
 * maximum is not far ahead, it is subtracted from the sum of all, which is quicker than to leave it out. Where most
 * are far ahead, *once becomes 0, for the groups that follow. Meanwhile as many rows of `open`, unless it is NULL,
 * are ended. */
static NEVER_INLINE int S(group_rest_once)(const S(group) *group, const S(open_group) *open, int *once, T(v) *top,
                                           T(rest) *rest) {
    const S(how) how = {.ordinary = 1, .bounded = 1, .ends = FS_LOG_SOFTMAX};
    const T(reference) ref = T(ordinary_reference)();
    const ptrdiff_t count = group->count, n = group->n, ahead = S(next_rows)(n, group->x_stride);
    S(bounds) all = {T(set1)(0), T(set1)(0)};
    S(log_sums) sums;
    T(elem) lanes[T(LANES)][T(LANES)], tops[T(LANES)], near[T(LANES)];
    for (ptrdiff_t i = 0; i < count; i++) {
        const S(elem) *row = group->x + i * group->x_stride;
        const S(open_row) other = S(row_meanwhile)(open, i, FS_LOG_SOFTMAX);
        S(bounds) bounds;
        S(put_whole)(&sums, i,
                     S(row_exp)(row, NULL, n, ref, S(fetched_with)(group, i, ahead, 0), &bounds, other, how));
        T(store)(lanes[i], bounds.top);
        all = S(both_bounds)(bounds, all);
    }
    *once = S(is_ordinary)(all);
    if (!*once) return 0;
    for (ptrdiff_t i = count; i < T(LANES); i++) T(store)(lanes[i], T(set1)(0));
    *top = S(max_across)(lanes);
    T(store)(tops, *top);
    T(store)(near, S(near_across)(lanes, *top, S(near_reach)(n)));
    ptrdiff_t far = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const S(elem) *row = group->x + i * group->x_stride;
        if (near[i] > S(near_itself)(n)) continue;
        S(put_rest)(&sums, i, row, n, tops[i], ref, row, 1); /* fetches nothing but itself */
        far++;
    }
    *once = 2 * far <= count;
    S(total_rest)(&sums, count, *top, 1, rest);
    return 1;
}

/* The sum of a whole row, while `other` is ended: by the same loop where every row may have such a one, or it is an
 * ordinary one; else before. */
static ALWAYS_INLINE T(exp_sum) S(whole_row)(const S(elem) *row, ptrdiff_t n, T(reference) ref, S(fetched) fetched,
                                             const S(open_row) *other, const S(how) how) {
    if (ALL_OPEN || (how.ordinary && other->y)) return S(row_exp)(row, NULL, n, ref, fetched, NULL, *other, how);
    if (other->y) S(end_row)(other, n, NULL, FS_LOG_SOFTMAX);
    return S(row_exp)(row, NULL, n, ref, fetched, NULL, S(no_row)(), how);
}

/* The second of two stages, to the same bits. Targets that have the one above come here with few groups that are
 * ordinary, and have no code for them. */
static NEVER_INLINE void S(group_rest)(const S(group) *group, const S(references) *references,
                                       const S(open_group) *open, T(rest) *rest) {
    const S(how) how = {.ends = FS_LOG_SOFTMAX}, ordinary = {.ordinary = 1, .ends = FS_LOG_SOFTMAX};
    const int is_ordinary = T(LOGS_ONCE) ? 0 : references->ordinary;
    const ptrdiff_t n = group->n, ahead = group->count * group->x_stride;
    const T(v) top = T(load)(references->top);
    S(log_sums) sums;
    T(elem) near[T(LANES)];
    T(store)(near, S(near_across)(references->tops, top, S(near_reach)(n)));
    for (ptrdiff_t i = 0; i < group->count; i++) {
        const T(reference) ref = S(reference_of)(references, i);
        const S(elem) *row = group->x + i * group->x_stride;
        const S(fetched) fetched = S(fetched_with)(group, i, ahead, 0);
        const S(open_row) other = S(row_meanwhile)(open, i, FS_LOG_SOFTMAX);
        if (near[i] > S(near_itself)(n)) {
            S(put_whole)(&sums, i,
                         is_ordinary ? S(whole_row)(row, n, ref, fetched, &other, ordinary)
                                     : S(whole_row)(row, n, ref, fetched, &other, how));
            continue;
        }
        if (other.y) S(end_row)(&other, n, NULL, FS_LOG_SOFTMAX);
        if (is_ordinary)
            S(put_rest)(&sums, i, row, n, references->top[i], ref, fetched.next, 1);
        else
            S(put_rest)(&sums, i, row, n, references->top[i], ref, fetched.next, 0);
    }
    S(total_rest)(&sums, group->count, top, 0, rest);
}

static NEVER_INLINE void S(close_log_group)(S(open_group) *open, ptrdiff_t i, ptrdiff_t n, const fs_fetch *fetch,
                                            ptrdiff_t first) {
    S(close_group)(open, i, n, fetch, first, FS_LOG_SOFTMAX);
}

/* The maxima of a group, and what is below them; by reading once while that goes well. `open`, unless it is NULL, is
 * ended. */
static ALWAYS_INLINE T(v) S(group_log)(const S(group) *group, S(open_group) *open, int *once, T(rest) *rest) {
    T(v) top;
    if (*once && T(LOGS_ONCE)) {
        const int done = S(group_rest_once)(group, open, once, &top, rest);
        if (open) S(close_log_group)(open, group->count, group->n, NULL, 0); /* what a last group, of fewer, left */
        if (done) return top;
    }
    S(references) references;
    top = S(group_tops)(group->x, group->count, group->n, group->x_stride, &references);
    S(group_rest)(group, &references, open, rest);
    if (open) S(close_log_group)(open, group->count, group->n, NULL, 0);
    return top;
}

/* Types: S, computed in T. Max error: 3 ULP, results near 0 (confident rows) and subnormal ones included. Range and
 * aliasing: as softmax. */
static ALWAYS_INLINE void S(rows_log_softmax)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                              ptrdiff_t x_stride, ptrdiff_t y_stride, const fs_fetch *fetch) {
    const ptrdiff_t together = S(rows_together)(n, GROUP_BYTES / (ptrdiff_t)sizeof *x);
    /* reading once leaves the loop registers enough for short rows too */
    const int from = T(LOGS_ONCE) ? 1 : OPEN_ROW;
    const int stays_open = S(may_stay_open)() && n >= from && !fetch && n * (ptrdiff_t)sizeof *x <= OPEN_BYTES;
    S(open_group) open = {.count = 0};
    int once = S(seems_ordinary)(x, n);
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(elem) *to = y + first * y_stride;
        const S(group) group = {from, to, NULL, first, count, n, x_stride, y_stride, 0, fetch};
        T(rest) rest;
        const T(v) top = S(group_log)(&group, &open, &once, &rest);
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

/* How many rows that are only read pass each stage together, and the group of them from row `first` on. */
static ALWAYS_INLINE ptrdiff_t S(read_together)(ptrdiff_t n) {
    return S(rows_together)(n, READ_GROUP_BYTES / (ptrdiff_t)sizeof(S(elem)));
}

static ALWAYS_INLINE S(group) S(read_group)(const S(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
                                            ptrdiff_t first, const fs_fetch *fetch) {
    const ptrdiff_t together = S(read_together)(n), left = rows - first;
    return (S(group)){.x = x + first * stride,
                      .first = first,
                      .count = left < together ? left : together,
                      .n = n,
                      .x_stride = stride,
                      .fetch = fetch};
}

/* Types: S, computed in T. Max error: 2 ULP of the larger of |result| and |max|. Range: all; NaN if the row holds
 * one, else an infinite maximum is the result. */
static ALWAYS_INLINE void S(rows_logsumexp)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                            ptrdiff_t x_stride, ptrdiff_t y_stride, const fs_fetch *fetch) {
    int once = S(seems_ordinary)(x, n);
    for (ptrdiff_t first = 0; first < rows; first += S(read_together)(n)) {
        const S(group) group = S(read_group)(x, rows, n, x_stride, first, fetch);
        T(rest) rest;
        const T(v) top = S(group_log)(&group, NULL, &once, &rest);
        S(put_logsumexp)(y + first * y_stride, y_stride, T(logsumexp)(top, &rest), top, group.count, group.x, n,
                         x_stride, 1);
    }
}
