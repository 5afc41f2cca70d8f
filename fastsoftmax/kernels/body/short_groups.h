/* Short rows in a type T that is computed in, where those of narrower types are brought first. A group of LANES rows
 * goes through at once, a row a lane. Each row's elements are moved into lanes in blocks by register transposes; the
 * last block of a row ends with the row and overlaps the one before. A group that is not full (a single row, say) and
 * rows shorter than a block go element by element instead, to the same bits.
 *
 * Included once for each such type; see body.h. */

/* column[j] = element j of each row, negated or not. The lanes of absent rows hold 0, or what a single row has: a
 * vector that is stored whole is handed to the load that follows, one stored element by element is waited for. */
static NEVER_INLINE void T(gather_rows)(const T(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
                                        T(elem) *column, int negate) {
    enum { W = T(LANES), B = T(BLOCK) };
    if (rows == W && n >= B) {
        for (ptrdiff_t j = 0; j < n; j += B) {
            const ptrdiff_t at = j + B <= n ? j : n - B;
            T(v) block[B];
            T(load_transposed)(x + at, stride, block);
            for (int k = 0; k < B; k++) T(store)(column + (at + k) * W, negate ? T(neg)(block[k]) : block[k]);
        }
        return;
    }
    if (rows == 1) {
        for (ptrdiff_t j = 0; j < n; j++) T(store)(column + j * W, T(set1)(negate ? -x[j] : x[j]));
        return;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        if (rows < W) T(store)(column + j * W, T(set1)(0));
        for (ptrdiff_t i = 0; i < rows; i++) {
            const T(elem) value = x[i * stride + j];
            column[j * W + i] = negate ? -value : value;
        }
    }
}

static ALWAYS_INLINE void T(scatter_rows)(const T(elem) *column, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          ptrdiff_t stride, T(ending) ending, fs_operation op) {
    enum { W = T(LANES), B = T(BLOCK) };
    if (rows == W && n >= B) {
        for (ptrdiff_t j = 0; j < n; j += B) {
            const ptrdiff_t at = j + B <= n ? j : n - B;
            T(v) block[B];
            for (int k = 0; k < B; k++) block[k] = T(end)(T(load)(column + (at + k) * W), ending, op);
            T(store_transposed)(y + at, stride, block);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        T(elem) value[T(LANES)];
        T(store)(value, T(end)(T(load)(column + j * W), ending, op));
        for (ptrdiff_t i = 0; i < rows; i++) y[i * stride + j] = value[i];
    }
}

/* Some groups of rows, each through every stage; they are read `once` while that goes well, as columns are. */
static ALWAYS_INLINE void T(groups_of)(const T(elem) *x, T(elem) *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,
                                       ptrdiff_t y_stride, T(elem) *scratch, T(fetched) fetched, fs_operation op,
                                       int negate, const double *scale, int once) {
    enum { W = T(LANES) };
    T(v) tops[GROUPS];
    T(rest) rests[GROUPS];
    T(ending) endings[GROUPS];
    for (ptrdiff_t i = 0; i < rows; i += W)
        T(gather_rows)(x + i * x_stride, rows - i < W ? rows - i : W, n, x_stride, scratch + i * n, negate);
    for (ptrdiff_t i = 0, k = 0; i < rows; i += W, k++) {
        T(elem) *packed = scratch + i * n;
        const T(fetched) group = {fetched.next + i * x_stride, fetched.later ? fetched.later + i * y_stride : NULL};
        if (op != FS_SOFTMAX) {
            T(column_rest)(packed, W, n, group, NULL, &once, &tops[k], &rests[k]);
            continue;
        }
        if (once) {
            once = T(column_exp_once)(packed, W, n, group, packed, W, &rests[k].sum);
            if (once) continue;
            T(gather_rows)(x + i * x_stride, rows - i < W ? rows - i : W, n, x_stride, packed, negate);
        }
        T(column_exp_twice)(packed, W, n, packed, W, &rests[k].sum);
    }
    for (ptrdiff_t i = 0, k = 0; i < rows; i += W, k++) {
        if (op == FS_SOFTMAX) {
            const T(factor) factor = T(factors)(scale ? scale + i : NULL, rows - i, &rests[k].sum);
            endings[k] = (T(ending)){factor.hi, factor.lo};
        } else if (op == FS_LOG_SOFTMAX) {
            endings[k] = (T(ending)){tops[k], T(log_tail)(tops[k], &rests[k])};
        } else {
            endings[k].a = T(logsumexp)(tops[k], &rests[k]);
        }
    }
#ifdef HAS_PICK
    if (op == FS_LOG_SOFTMAX && x_stride == n && y_stride == n) {
        T(end_adjacent)(x, y, rows, n, endings, op);
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < rows; i += W) {
        T(elem) *to = y + i * y_stride;
        if (op == FS_LOGSUMEXP)
            T(put_logsumexp)(to, y_stride, endings[i / W].a, tops[i / W], rows - i, x + i * x_stride, n, x_stride, 1);
        else
            T(scatter_rows)(scratch + i * n, to, rows - i < W ? rows - i : W, n, y_stride, endings[i / W], op);
    }
}

/* Types: T. Max error, range, aliasing: as for rows; no more rows than GROUPS groups of them. `all_once` tells from
 * call to call whether the rows before were all ordinary, or is NULL if these are not to go as adjacent_rows.h has
 * it. scratch: n elements for each row of whole groups. Three functions, since one spills the registers of all. */
static NEVER_INLINE void T(short_softmax)(const T(elem) *x, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch,
                                          T(fetched) fetched, int negate, const double *scale, int *all_once) {
    int once = !scale;
#ifdef HAS_PICK
    if (all_once) {
        if (*all_once || T(seems_ordinary)(x, rows * n))
            *all_once = T(adjacent_softmax)(x, y, rows, n, scratch, fetched, negate);
        if (*all_once) return;
        once = 0; /* others of them may not be ordinary either */
    }
#else
    (void)all_once;
#endif
    T(groups_of)(x, y, rows, n, x_stride, y_stride, scratch, fetched, FS_SOFTMAX, negate, scale, once);
}

static NEVER_INLINE void T(short_log_softmax)(const T(elem) *x, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                              ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch,
                                              T(fetched) fetched) {
    T(groups_of)(x, y, rows, n, x_stride, y_stride, scratch, fetched, FS_LOG_SOFTMAX, 0, NULL, 1);
}

static NEVER_INLINE void T(short_logsumexp)(const T(elem) *x, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                            ptrdiff_t x_stride, ptrdiff_t y_stride, T(elem) *scratch,
                                            T(fetched) fetched) {
    T(groups_of)(x, y, rows, n, x_stride, y_stride, scratch, fetched, FS_LOGSUMEXP, 0, NULL, 1);
}
