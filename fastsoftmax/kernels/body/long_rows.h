/* Parts of a long row, which threads may share: each part to its carry, the carries into one, each part finished. The
 * exponentials wait, if there is memory for them and all of the row is ordinary; else they are taken twice. As with
 * groups of rows (rows.h), one row may be finished while the next is read.
 *
 * Included once for each element type S, computed in T; see body.h. */

static ALWAYS_INLINE double S(first_element)(T(v) v) {
    T(elem) lane[T(LANES)];
    T(store)(lane, v);
    return lane[0];
}

static ALWAYS_INLINE double S(first_lane)(v_f64 v) {
    double lane[LANES_f64];
    store_f64(lane, v);
    return lane[0];
}

/* How a part ends: of log_softmax, or of softmax that has its exponentials. */
static NEVER_INLINE void S(end_of_part)(const fs_part *part, int is_log, S(open_row) *row) {
    const T(v) top = T(set1)((T(elem))part->carry->top);
    const T(rest) rest = T(rest_of_carry)(part->carry, top);
    if (is_log) {
        *row = (S(open_row)){.x = part->x, .y = part->y, .ending = {top, T(log_tail)(top, &rest)}};
    } else {
        T(sum) sum = rest.sum;
        T(refer_to_ordinary)(&sum, top);
        const T(factor) factor = T(reciprocal)(&sum);
        *row = (S(open_row)){.e = part->e, .y = part->y, .ending = {factor.hi, factor.lo}};
    }
}

/* Of softmax that has not. */
static NEVER_INLINE void S(exp_part_again)(const fs_part *part, ptrdiff_t n, int negate) {
    const T(v) top = T(set1)((T(elem))part->carry->top);
    const T(rest) rest = T(rest_of_carry)(part->carry, top);
    S(row_exp_scale)(part->x, part->y, n, T(make_reference)(top), T(reciprocal)(&rest.sum), negate);
}

/* All of a part at once. */
static ALWAYS_INLINE void S(end_part)(const S(open_row) *row, ptrdiff_t n, const int is_log) {
    if (is_log)
        S(end_row)(row, n, row->y, FS_LOG_SOFTMAX);
    else
        S(end_row)(row, n, NULL, FS_SOFTMAX);
}

static NEVER_INLINE void S(finish_part)(const fs_part *part, ptrdiff_t n, int is_log, int negate) {
    S(open_row) row;
    if (!part->e && !is_log) {
        S(exp_part_again)(part, n, negate);
    } else {
        S(end_of_part)(part, is_log, &row);
        S(end_part)(&row, n, is_log);
    }
}

/* logsumexp needs no more than the carry. */
static ALWAYS_INLINE void S(finish_logsumexp)(S(elem) *y, const fs_carry *carry) {
    const T(v) top = T(set1)((T(elem))carry->top);
    const T(rest) rest = T(rest_of_carry)(carry, top);
    T(elem) result = S(first_element)(T(logsumexp)(top, &rest));
    if (S(is_infinite)((T(elem))carry->top)) result = (T(elem))(carry->others + carry->top);
    S(store_one)(y, result);
}

/* The row to be ended while another part is read; where that cannot be, it is finished here and now, and there is
 * none. */
static ALWAYS_INLINE S(open_row) S(part_meanwhile)(const fs_part *part, ptrdiff_t n, const int is_log, int negate) {
    S(open_row) row = S(no_row)();
    if (!part) return row;
    if (!S(may_stay_open)() || (!part->e && !is_log))
        S(finish_part)(part, n, is_log, negate);
    else
        S(end_of_part)(part, is_log, &row);
    return row;
}

/* By what is read next: a whole part would be too much to look through. */
static ALWAYS_INLINE int S(part_seems_ordinary)(const S(elem) *x, ptrdiff_t n) {
    enum { NEXT = 4 * T(LANES) };
    return S(seems_ordinary)(x, n < NEXT ? n : NEXT);
}

/* The sum of a part and its maximum; by reading once if it is ordinary, as columns are (column_passes.h). Then e,
 * unless it is NULL, gets its exponentials, and *kept is 1: they are all relative to ordinary_reference. Meanwhile
 * `open` is ended. */
static ALWAYS_INLINE T(elem) S(part_exp)(const S(elem) *x, T(elem) *e, ptrdiff_t n, int negate,
                                         const S(open_row) *open, T(sum) *sum, int *kept) {
    const S(how) how = {.negate = negate}, once = {.negate = negate, .ordinary = 1, .bounded = 1};
    const S(how) keep = {.negate = negate, .ordinary = 1, .bounded = 1, .kept = 1, .ends = FS_SOFTMAX};
    const S(fetched) next = {x + T(READ_AHEAD), NULL};
    T(row_sums) sums;
    S(bounds) bounds;
    int ordinary = S(part_seems_ordinary)(x, n);
    const int keeps = ordinary && e;
    if (!keeps && open->y) S(end_row)(open, n, NULL, FS_SOFTMAX);
    if (ordinary) {
        const T(reference) ref = T(ordinary_reference)();
        if (keeps) {
            const S(fetched) both = {next.next, (const void *)(e + STORE_AHEAD)};
            const S(open_row) other = S(may_stay_open)() ? *open : S(no_row)();
            T(put_row_exp_sum)(&sums, 0, S(row_exp)(x, e, n, ref, both, &bounds, other, keep));
        } else {
            T(put_row_exp_sum)(&sums, 0, S(row_exp)(x, NULL, n, ref, next, &bounds, S(no_row)(), once));
        }
        ordinary = S(is_ordinary)(bounds);
    } else {
        bounds = S(row_bounds)(x, n, negate);
    }
    T(elem) tops[T(LANES)], top = -(T(elem))INFINITY;
    T(store)(tops, bounds.top);
    for (int i = 0; i < T(LANES); i++) top = tops[i] > top ? tops[i] : top;
    if (!ordinary) {
        const T(reference) ref = T(make_reference)(T(set1)(top));
        T(put_row_exp_sum)(&sums, 0, S(row_exp)(x, NULL, n, ref, next, NULL, S(no_row)(), how));
    }
    *sum = T(row_exp_sums_total)(&sums, 1);
    if (ordinary) T(refer_to_top)(sum, T(set1)(top));
    *kept = ordinary && e != NULL;
    return top;
}

static ALWAYS_INLINE void S(put_carry)(fs_carry *carry, const S(elem) *x, ptrdiff_t n, T(elem) top,
                                       const T(rest) *rest) {
    carry->top = top;
    carry->others = S(first_lane)(rest->others[0]);
    carry->sum = S(first_lane)(rest->sum.hi[0]);
    carry->sum_low = T(sum_low)(&rest->sum);
    if (S(is_infinite)(top)) {
        /* The sum is NaN for certain and tells nothing: look. A part that is all -inf adds nothing to its row. */
        const T(elem) nan_or_top = S(infinite_logsumexp)(x, n, 1, top);
        if (top < 0) carry->sum = carry->sum_low = 0;
        if (top < 0) carry->others = -1;
        if (nan_or_top != nan_or_top) carry->others = nan_or_top;
    } else if (carry->sum != carry->sum) {
        carry->others = carry->sum;
    }
    if (carry->others != carry->others) carry->sum = carry->others;
}

/* Shared by softmax and softmin (`negate`). */
static NEVER_INLINE int S(reduce_softmax)(const S(elem) *x, T(elem) *e, ptrdiff_t n, fs_carry *carry,
                                          const fs_part *open, int negate) {
    T(rest) rest = {.others = {set1_f64(-1)}};
    const S(open_row) row = S(part_meanwhile)(open, n, 0, negate);
    int kept;
    const T(elem) top = S(part_exp)(x, e, n, negate, &row, &rest.sum, &kept);
    S(put_carry)(carry, x, n, top, &rest);
    return kept;
}

/* Shared by log_softmax and logsumexp. */
static NEVER_INLINE void S(reduce_log)(const S(elem) *x, ptrdiff_t n, fs_carry *carry, const fs_part *open) {
    /* as in a group of one row, the next part is fetched meanwhile, which the same thread takes as a rule */
    const S(group) part = S(read_group)(x, 1, n, n, 0, NULL);
    const S(open_row) row = S(part_meanwhile)(open, n, 1, 0);
    S(open_group) other = {.x = row.x, .y = row.y, .count = row.y ? 1 : 0};
    if (row.y) S(set_ending)(&other, row.ending.a, row.ending.b);
    int once = S(part_seems_ordinary)(x, n);
    T(rest) rest;
    const T(v) tops = S(group_log)(&part, &other, &once, &rest);
    rest.sum = T(rest_sum)(&rest, tops);
    S(put_carry)(carry, x, n, (T(elem))S(first_element)(tops), &rest);
}

/* x * 2**n, rounded once at most */
static ALWAYS_INLINE double S(times_power_of_two)(double x, double n) {
    const double half = n < -2000 ? -1000 : n / 2 - (n / 2 - (double)(int)(n / 2));
    const double other = (n < -2000 ? -2000 : n) - half;
    return x * S(first_lane)(power_of_f64(set1_f64(half))) * S(first_lane)(power_of_f64(set1_f64(other)));
}

/* What is relative to the base of one carry, relative to the base of another: base = shift + n_top ln 2, so the
 * factor is a power of two where no maximum is so large that it was subtracted, and exp(distance) else. */
typedef struct {
    double mantissa, exponent;
} S(rebase);

static ALWAYS_INLINE S(rebase) S(make_rebase)(const T(reference) *from, const T(reference) *to) {
    const double from_shift = S(first_element)(from->shift), to_shift = S(first_element)(to->shift);
    const double n = S(first_element)(from->n_top) - S(first_element)(to->n_top);
    const double distance = (from_shift - to_shift) + n * LN2_TOP; /* exact where it is not huge */
    if (from_shift == 0 && to_shift == 0) return (S(rebase)){1, n};
    if (!(distance > -1600)) return (S(rebase)){0, 0};
    const double k = (distance * LOG2_E + ROUNDER_f64) - ROUNDER_f64;
    const double r = ((distance - k * LN2_TOP) - k * LN2_REST) + n * LN2_REST;
    const reference_f64 at_1 = reference_at_f64(set1_f64(0), set1_f64(0));
    const double e = S(first_lane)(exp_of_f64(set1_f64(r), &at_1).hi);
    return (S(rebase)){e / (EXP_CONSTANT_f64 * POWER_OF_BIAS_f64), k};
}

static ALWAYS_INLINE void S(carry_add)(fs_carry *carry, double value, double value_low) {
    const pair_f64 sum = two_sum_f64(set1_f64(carry->sum), set1_f64(value));
    carry->sum = S(first_lane)(sum.hi);
    carry->sum_low += S(first_lane)(sum.lo) + value_low;
}

static ALWAYS_INLINE void S(merge_parts)(fs_carry *into, const fs_carry *from) {
    fs_carry less = *from;
    if (less.top > into->top) {
        less = *into;
        *into = *from;
    }
    if (less.others != less.others) {
        into->sum = into->others = less.others;
        return;
    }
    if (less.top < 0 && S(is_infinite)((T(elem))less.top)) return;
    const T(reference) to = T(make_reference)(T(set1)((T(elem))into->top));
    const T(reference) base = T(make_reference)(T(set1)((T(elem))less.top));
    const S(rebase) rebase = S(make_rebase)(&base, &to);
    S(carry_add)(into, S(times_power_of_two)(less.sum * rebase.mantissa, rebase.exponent),
                 S(times_power_of_two)(less.sum_low * rebase.mantissa, rebase.exponent));
    if (less.top == into->top) {
        into->others += 1 + less.others;
    } else if (less.others >= 0) {
        /* the maxima of the lesser part join the rest */
        const double shift = S(first_element)(base.shift), n_top = S(first_element)(base.n_top);
        const reference_f64 wide = reference_at_f64(set1_f64(shift), set1_f64(n_top));
        const pair_f64 exp_top = exp_of_f64(set1_f64(less.top), &wide);
        const double count = (1 + less.others) * rebase.mantissa * T(FROM_WIDE);
        S(carry_add)(into, S(times_power_of_two)(S(first_lane)(exp_top.hi) * count, rebase.exponent),
                     S(times_power_of_two)(S(first_lane)(exp_top.lo) * count, rebase.exponent));
    }
}

/* Types: S, computed in T. Max error, range: as for rows. Aliasing: see kernels.h. */
static ALWAYS_INLINE int S(reduce_part)(const S(elem) *x, T(elem) *e, ptrdiff_t n, fs_carry *carry,
                                        const fs_part *open, const fs_operation op) {
    if (op == FS_SOFTMAX || op == FS_SOFTMIN) return S(reduce_softmax)(x, e, n, carry, open, op == FS_SOFTMIN);
    S(reduce_log)(x, n, carry, open);
    return 0;
}

static ALWAYS_INLINE void S(finish)(const fs_part *part, ptrdiff_t n, const fs_operation op) {
    if (op == FS_LOGSUMEXP)
        S(finish_logsumexp)(part->y, part->carry);
    else
        S(finish_part)(part, n, op == FS_LOG_SOFTMAX, op == FS_SOFTMIN);
}
