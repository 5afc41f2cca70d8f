/* Softmax and softmin of whole rows, in the stages of rows.h.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* What exponentials are multiplied with: 1 / sum, or scale / sum where `count` rows have a scale of their own. */
static ALWAYS_INLINE T(factor) S(factors)(const double *scale, ptrdiff_t count, const T(sum) *sum) {
    if (!scale) return T(reciprocal)(sum);
    double numerators[T(LANES)] = {0};
    for (ptrdiff_t i = 0; i < count && i < T(LANES); i++) numerators[i] = scale[i];
    return T(quotient)(numerators, sum);
}

/* y = -x, which softmin then works on in place: a pass more over what the first cache holds, and half the code. */
static ALWAYS_INLINE void S(negate_rows)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                         ptrdiff_t x_stride, ptrdiff_t y_stride) {
    enum { W = T(LANES) };
    for (ptrdiff_t i = 0; i < rows; i++) {
        const S(elem) *from = x + i * x_stride;
        S(elem) *to = y + i * y_stride;
        const T(v) last = T(neg)(S(load)(from + n - W));
        for (ptrdiff_t j = 0; j + W <= n; j += W) S(store)(to + j, T(neg)(S(load)(from + j)));
        S(store)(to + n - W, last);
    }
}

static NEVER_INLINE void S(close_softmax_group)(S(open_group) *group, ptrdiff_t i, ptrdiff_t n, const fs_fetch *fetch,
                                                ptrdiff_t first) {
    S(close_group)(group, i, n, fetch, first, FS_SOFTMAX);
}

/* The sum of row i, and its exponentials. Meanwhile row i of `open` is ended. */
static ALWAYS_INLINE T(exp_sum) S(group_row)(const S(group) *group, ptrdiff_t i, T(reference) ref, ptrdiff_t ahead,
                                             S(bounds) *bounds, const S(open_group) *open, const S(how) how) {
    const S(elem) *row = group->x + i * group->x_stride;
    const S(fetched) fetched = S(fetched_with)(group, i, ahead, STORE_AHEAD);
    return S(row_exp)(row, group->e + i * group->e_stride, group->n, ref, fetched, bounds,
                      S(row_meanwhile)(open, i, FS_SOFTMAX), how);
}

/* Second stage: the exponentials and their sums. */
static ALWAYS_INLINE T(sum)
    S(group_exp)(const S(group) *group, const S(references) *references, const S(open_group) *open) {
    const S(how) how = {.kept = 1, .ends = FS_SOFTMAX};
    const S(how) ordinary = {.ordinary = 1, .kept = 1, .ends = FS_SOFTMAX};
    const ptrdiff_t ahead = group->count * group->x_stride;
    T(row_sums) sums;
    for (ptrdiff_t i = 0; i < group->count; i++) {
        const T(reference) ref = S(reference_of)(references, i);
        T(put_row_exp_sum)(&sums, i,
                           references->ordinary ? S(group_row)(group, i, ref, ahead, NULL, open, ordinary)
                                                : S(group_row)(group, i, ref, ahead, NULL, open, how));
    }
    return T(row_exp_sums_total)(&sums, group->count);
}

/* Both stages in one read, if the group turns out to be ordinary, else 0. The maxima need not be known before: every
 * row has the reference of the largest ordinary one. The exponentials are those of the two stages times a power of
 * two, sums that add each on its own are too, and so the results have the same bits. */
static ALWAYS_INLINE int S(group_exp_once)(const S(group) *group, const S(open_group) *open, T(sum) *sum) {
    const S(how) how = {.ordinary = 1, .kept = 1, .checked = 1, .ends = FS_SOFTMAX};
    const T(reference) ref = T(ordinary_reference)();
    const ptrdiff_t ahead = S(next_rows)(group->n, group->x_stride);
    T(v) check = T(set1)(0);
    T(row_sums) sums;
    for (ptrdiff_t i = 0; i < group->count; i++) {
        S(bounds) row;
        T(put_row_exp_sum)(&sums, i, S(group_row)(group, i, ref, ahead, &row, open, how));
        check = T(both_checks)(row.top, check);
    }
    if (!T(are_ordinary)(check)) return 0;
    *sum = T(row_exp_sums_total)(&sums, group->count);
    return 1;
}

/* Types: S, computed in T. Max error: 3 ULP, subnormal results included. Range: all; a row that holds NaN or +inf,
 * or only -inf, is NaN. Aliasing: y may be x. With `negate`, of -x. With `scale`, each row is multiplied by its own,
 * at no further error. */
static ALWAYS_INLINE void S(rows_softmax)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch,
                                          const fs_fetch *fetch, int negate, const double *scale) {
    /* The exponentials go to y; or to scratch memory, where y is narrower, or is x, which another reading may want,
     * while rows are read once. */
    const ptrdiff_t fit = fs_rows_scratch(FS_SOFTMAX, S(TYPE), n) / (ptrdiff_t)sizeof *scratch, half = fit / 2;
    const int in_place = negate || x == y;
    /* until a group is not ordinary, whose neighbours may not be either */
    int once = (n <= fit || !in_place) && S(seems_ordinary)(x, n) && (!scale || are_moderate(scale, rows, n));
    const int in_scratch = S(exp_store)(y, scratch) == scratch || (once && in_place);
    /* then the next group's exponentials are in the other half of scratch memory, so that a group has no more */
    const int stays_open = S(may_stay_open)() && n >= OPEN_ROW && n * (ptrdiff_t)sizeof *scratch <= OPEN_BYTES &&
                           !fetch && (!in_scratch || n <= half);
    const ptrdiff_t elements = stays_open ? half : fit;
    const ptrdiff_t together = S(rows_together)(n, in_scratch ? elements : GROUP_BYTES / (ptrdiff_t)sizeof *y);
    S(open_group) open = {.count = 0};
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(elem) *to = y + first * y_stride;
        T(elem) *const memory = stays_open && open.e == scratch ? scratch + half : scratch;
        ptrdiff_t stride = x_stride;
        S(references) references;
        T(sum) sum;
        if (negate) {
            S(negate_rows)(from, to, count, n, x_stride, y_stride);
            from = to;
            stride = y_stride;
        }
        /* in place, x stays until its group is known to be ordinary */
        T(elem) *e = once && from == to ? memory : S(exp_store)(to, memory);
        S(group) group = {from,     from == to ? NULL : to,     e,    first, count, n, stride,
                          y_stride, e == memory ? n : y_stride, fetch};
        if (once) {
            once = ALL_OPEN || stays_open ? S(group_exp_once)(&group, &open, &sum)
                                          : S(group_exp_once)(&group, NULL, &sum);
            S(close_softmax_group)(&open, count, n, NULL, 0); /* what a last group, of fewer rows, left */
        }
        if (!once) {
            group.e = e = S(exp_store)(to, memory);
            group.e_stride = e == memory ? n : y_stride;
            S(group_tops)(from, count, n, stride, &references);
            /* where not every row may have another to end, these have none */
            const S(open_group) *const meanwhile = ALL_OPEN ? &open : NULL;
            if (!meanwhile) S(close_softmax_group)(&open, 0, n, NULL, 0);
            sum = S(group_exp)(&group, &references, meanwhile);
            S(close_softmax_group)(&open, count, n, NULL, 0);
        }
        const T(factor) factor = S(factors)(scale ? scale + first : NULL, count, &sum);
        open = (S(open_group)){.e = e, .y = to, .count = count, .e_stride = group.e_stride, .y_stride = y_stride};
        S(set_ending)(&open, factor.hi, factor.lo);
        if (!stays_open || first + count == rows) S(close_softmax_group)(&open, 0, n, fetch, first);
    }
}
