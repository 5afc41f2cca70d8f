/* Rows shorter than FS_SHORT_ROW: a group of LANES rows at once, a row a lane. Each row's elements are moved into
 * lanes in blocks by register transposes; the last block of a row ends with the row and overlaps the one before.
 * A group that is not full (a single row, say) and rows shorter than a block go element by element instead, to the
 * same bits.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* column[j] = element j of each row, negated for softmin; the lanes of absent rows hold 0. */
static ALWAYS_INLINE void S(gather_rows)(const S(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
                                         T(elem) *column, int negate) {
    enum { W = T(LANES), B = T(BLOCK) };
    if (rows == W && n >= B) {
        for (ptrdiff_t j = 0; j < n; j += B) {
            const ptrdiff_t at = j + B <= n ? j : n - B;
            T(v) block[B];
            S(load_transposed)(x + at, stride, block);
            for (int k = 0; k < B; k++) T(store)(column + (at + k) * W, negate ? T(neg)(block[k]) : block[k]);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        if (rows < W) T(store)(column + j * W, T(set1)(0));
        for (ptrdiff_t i = 0; i < rows; i++) {
            T(elem) value = S(widen_one)(x[i * stride + j]);
            column[j * W + i] = negate ? -value : value;
        }
    }
}

static ALWAYS_INLINE void S(scatter_rows)(const T(elem) *column, S(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          ptrdiff_t stride, S(ending) ending, fs_operation op) {
    enum { W = T(LANES), B = T(BLOCK) };
    if (rows == W && n >= B) {
        for (ptrdiff_t j = 0; j < n; j += B) {
            const ptrdiff_t at = j + B <= n ? j : n - B;
            T(v) block[B];
            for (int k = 0; k < B; k++) block[k] = S(end)(T(load)(column + (at + k) * W), ending, op);
            S(store_transposed)(y + at, stride, block);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        T(elem) value[T(LANES)];
        T(store)(value, S(end)(T(load)(column + j * W), ending, op));
        for (ptrdiff_t i = 0; i < rows; i++) S(store_one)(y + i * stride + j, value[i]);
    }
}

/* Types: S, computed in T. Max error, range, aliasing: as for rows; n < FS_SHORT_ROW. */
static ALWAYS_INLINE void S(short_rows)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,
                                        ptrdiff_t y_stride, T(elem) *scratch, fs_operation op) {
    enum { W = T(LANES) };
    for (ptrdiff_t first = 0; first < rows; first += W) {
        const ptrdiff_t count = rows - first < W ? rows - first : W;
        const S(elem) *group = x + first * x_stride;
        S(elem) *out = y + first * y_stride;
        S(gather_rows)(group, count, n, x_stride, scratch, op == FS_SOFTMIN);
        S(bounds) bounds = {T(load)(scratch), T(load)(scratch)};
        for (ptrdiff_t j = 1; j < n; j++) bounds = S(widen_bounds)(bounds, T(load)(scratch + j * W));
        const S(column) column = {scratch, NULL, W, W, S(is_ordinary)(bounds)};
        S(ending) ending = S(column_ending)(&column, n, bounds.top, op);
        if (op == FS_LOGSUMEXP)
            S(put_logsumexp)(out, y_stride, ending.a, bounds.top, count, group, n, x_stride, 1);
        else
            S(scatter_rows)(scratch, out, count, n, y_stride, ending, op);
    }
}
