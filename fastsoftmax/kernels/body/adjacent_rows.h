/* Short rows that lie end to end in memory, for targets that can pick any lanes of a vector. Exponentials and results
 * are taken of whole vectors as memory has them, whatever rows these are of; only what a row has one of, its sum,
 * needs a row to a lane. That saves one of the two transpositions of short_groups.h, which moves rows of any stride,
 * and the waits at the ends of short loops; the bits are the same.
 *
 * Included once for each type T that is computed in; see body.h. */

/* y = what is made of the values, of rows of n elements that have a lane each of the endings, LANES rows to an
 * ending. Aliasing: y may be value. */
static ALWAYS_INLINE void T(end_adjacent)(const T(elem) *value, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          const T(ending) *endings, fs_operation op) {
    enum { W = T(LANES) };
    const T(v) per_element = T(set1)(1 / (T(elem))n), half = T(set1)((T(elem))0.5);
    /* Element i of a group is of row floor((i + 1/2) / n): never so near an integer that rounding could pass it. */
    T(v) i_and_half = T(add)(T(lane_numbers)(), half);
    for (ptrdiff_t j = 0; j < n; j++) {
        const T(v) row = T(fma)(i_and_half, per_element, T(neg)(half));
        const T(v) row_bits = T(add)(row, T(set1)(T(ROUNDER)));
        i_and_half = T(add)(i_and_half, T(set1)(W));
        ptrdiff_t k = 0, at = j * W;
        for (; (k + 1) * W <= rows; k++, at += W * n) {
            const T(ending) ending = {T(pick)(endings[k].a, row_bits), T(pick)(endings[k].b, row_bits)};
            T(store)(y + at, T(end)(T(load)(value + at), ending, op));
        }
        if (at < rows * n) {
            const T(ending) ending = {T(pick)(endings[k].a, row_bits), T(pick)(endings[k].b, row_bits)};
            const ptrdiff_t left = rows * n - at;
            T(store_some)(y + at, T(end)(T(load_some)(value + at, left, 0), ending, op), left);
        }
    }
}

/* The sums of LANES rows of exponentials, each in the order of its elements. Past the last row BLOCK - 1 elements
 * more are read, to no effect. */
static ALWAYS_INLINE T(sum) T(sum_adjacent)(const T(elem) *e, ptrdiff_t n) {
    enum { B = T(BLOCK) };
    T(exp_sum) sum = T(exp_sum_zero)();
    T(v) block[B];
    ptrdiff_t j = 0;
    for (; j + B <= n; j += B) {
        T(load_transposed)(e + j, n, block);
        for (int k = 0; k < B; k++) T(exp_sum_add)(&sum, block[k]);
    }
    if (j < n) {
        T(load_transposed)(e + j, n, block);
        for (int k = 0; k < n - j; k++) T(exp_sum_add)(&sum, block[k]);
    }
    return T(exp_sum_total)(sum);
}

/* Softmax of the rows, or softmin, if all of them turn out to be ordinary, else 0, and nothing is written but e:
 * whole groups of LANES rows.
 *
 * A lane has elements of many rows, and beside a signalling NaN a check may lose what it had: if any NaN shows in a
 * sum, the rows are taken the other way. */
static NEVER_INLINE int T(adjacent_softmax)(const T(elem) *x, T(elem) *y, ptrdiff_t rows, ptrdiff_t n, T(elem) *e,
                                            T(fetched) fetched, int negate) {
    enum { W = T(LANES) };
    const T(how) how = {.ordinary = 1, .kept = 1, .checked = 1, .ends = FS_SOFTMAX};
    const T(how) negated = {.ordinary = 1, .kept = 1, .checked = 1, .negate = 1, .ends = FS_SOFTMAX};
    const T(reference) ref = T(ordinary_reference)();
    const ptrdiff_t groups = (rows + W - 1) / W;
    ptrdiff_t total = rows * n;
    if (total < W) {
        T(store)(e, T(load_some)(x, total, 0)); /* filled up with 0 */
        x = e;
        total = W;
    }
    /* The rows that follow are fetched in this loop, where results will be stored in the next: one loop is too short
     * a time for both. */
    const T(fetched) rows_ahead = {fetched.next, NULL};
    T(bounds) bounds;
    if (negate)
        (void)T(row_exp)(x, e, total, ref, rows_ahead, &bounds, T(no_row)(), negated);
    else
        (void)T(row_exp)(x, e, total, ref, rows_ahead, &bounds, T(no_row)(), how);
    if (!T(are_ordinary)(bounds.top)) return 0;
    const ptrdiff_t whole = groups * W * n;
    for (ptrdiff_t i = total; i < whole; i += W)
        T(store_some)(e + i, T(set1)(1), whole - i); /* rows that are not there */
    T(ending) endings[GROUPS];
    T(v) factors = T(set1)(0); /* of each lane, to be looked at once: a branch for each group would wait for it */
    for (ptrdiff_t k = 0; k < groups; k++) {
        for (ptrdiff_t i = 0; i < n; i++) prefetch_for_store(fetched.later + (k * n + i) * W);
        const T(sum) sum = T(sum_adjacent)(e + k * W * n, n);
        const T(factor) factor = T(reciprocal)(&sum);
        factors = T(add)(factors, factor.hi);
        endings[k] = (T(ending)){factor.hi, factor.lo};
    }
    if (!T(all)(T(eq)(factors, factors))) return 0;
    T(end_adjacent)(e, y, rows, n, endings, FS_SOFTMAX);
    return 1;
}
