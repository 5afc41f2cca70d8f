/* Rows shorter than FS_SHORT_ROW: a group of LANES rows at once, a row a lane. Each row's elements are moved into
 * lanes in blocks by register transposes; the last block of a row ends with the row and overlaps the one before.
 * A group that is not full (a single row, say) and rows shorter than a block go element by element instead, to the
 * same bits.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* column[j] = element j of each row, negated or not; the lanes of absent rows hold 0. */
static NEVER_INLINE void S(gather_rows)(const T(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
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
    for (ptrdiff_t j = 0; j < n; j++) {
        if (rows < W) T(store)(column + j * W, T(set1)(0));
        for (ptrdiff_t i = 0; i < rows; i++) {
            const T(elem) value = x[i * stride + j];
            column[j * W + i] = negate ? -value : value;
        }
    }
}

static ALWAYS_INLINE void S(scatter_rows)(const T(elem) *column, T(elem) *y, ptrdiff_t rows, ptrdiff_t n,
                                          ptrdiff_t stride, S(ending) ending, fs_operation op) {
    enum { W = T(LANES), B = T(BLOCK) };
    if (rows == W && n >= B) {
        for (ptrdiff_t j = 0; j < n; j += B) {
            const ptrdiff_t at = j + B <= n ? j : n - B;
            T(v) block[B];
            for (int k = 0; k < B; k++) block[k] = S(end)(T(load)(column + (at + k) * W), ending, op);
            T(store_transposed)(y + at, stride, block);
        }
        return;
    }
    for (ptrdiff_t j = 0; j < n; j++) {
        T(elem) value[T(LANES)];
        T(store)(value, S(end)(T(load)(column + j * W), ending, op));
        for (ptrdiff_t i = 0; i < rows; i++) y[i * stride + j] = value[i];
    }
}

/* Types: S, computed in T. Max error, range, aliasing: as for rows; n < FS_SHORT_ROW. A few groups pass each stage
 * together: each is a chain of dependent steps, and theirs overlap. */
static ALWAYS_INLINE void S(short_rows)(const S(elem) *x, S(elem) *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,
                                        ptrdiff_t y_stride, T(elem) *scratch, fs_operation op, int negate,
                                        const double *scale) {
    enum { W = T(LANES), GROUPS = 4 };
    const ptrdiff_t fit = FS_ROWS_SCRATCH / (2 * n * W * (ptrdiff_t)sizeof(T(elem))); /* packed, and wide */
    const ptrdiff_t together = (fit < GROUPS ? fit : GROUPS) * W;
    T(elem) *memory = scratch + together * n;
    T(v) tops[GROUPS];
    S(ending) endings[GROUPS];
    for (ptrdiff_t first = 0; first < rows; first += together) {
        const ptrdiff_t count = rows - first < together ? rows - first : together;
        const S(elem) *from = x + first * x_stride;
        S(elem) *to = y + first * y_stride;
        ptrdiff_t stride = x_stride;
        const T(elem) *wide = S(wide_rows)(from, count, n, &stride, memory);
        for (ptrdiff_t i = 0; i < count; i += W)
            S(gather_rows)(wide + i * stride, count - i < W ? count - i : W, n, stride, scratch + i * n, negate);
        for (ptrdiff_t i = 0; i < count; i += W) {
            T(elem) *packed = scratch + i * n;
            S(bounds) bounds = {T(load)(packed), T(load)(packed)};
            for (ptrdiff_t j = 1; j < n; j++) bounds = S(widen_bounds)(bounds, T(load)(packed + j * W));
            const S(column) column = {packed, NULL, W, W, S(is_ordinary)(bounds)};
            tops[i / W] = bounds.top;
            endings[i / W] =
                S(column_ending)(&column, n, bounds.top, op, 0, scale ? scale + first + i : NULL, count - i);
        }
        if (op == FS_LOGSUMEXP) {
            for (ptrdiff_t i = 0; i < count; i += W)
                S(put_logsumexp)(to + i * y_stride, y_stride, endings[i / W].a, tops[i / W], count - i,
                                 from + i * x_stride, n, x_stride, 1);
            continue;
        }
        stride = y_stride;
        T(elem) *result = S(wide_result)(to, n, &stride, memory);
        for (ptrdiff_t i = 0; i < count; i += W)
            S(scatter_rows)(scratch + i * n, result + i * stride, count - i < W ? count - i : W, n, stride,
                            endings[i / W], op);
        S(narrow_rows)(result, to, count, n, y_stride);
    }
}
