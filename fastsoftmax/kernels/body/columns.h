/* A row (or column) a lane: short rows, brought here by transposes, and strips of columns, where memory is this way
 * round already. The vectors of a strip are packed in scratch memory, element j of W columns in one vector, so that
 * no stride between the elements of a column can make them fight for one cache set; only columns too long for that
 * are read from where they are, three times.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* One vector of columns: element j at packed + j * step, or at x + j * step where packed is NULL, as it always is in
 * a type that is not computed in; there only the first `count` columns exist. */
typedef struct {
    T(elem) *packed;
    const S(elem) *x;
    ptrdiff_t step, count;
    int ordinary; /* all of it, for exp */
} S(column);

enum { S(packs) = sizeof(S(elem)) == sizeof(T(elem)) };

/* The first `count` of W elements; the others are 0. */
static ALWAYS_INLINE T(v) S(load_some)(const S(elem) *p, ptrdiff_t count, int negate) {
    if (count >= T(LANES)) return S(load_signed)(p, negate);
    S(elem) some[T(LANES)] = {0};
    for (ptrdiff_t i = 0; i < count; i++) some[i] = p[i];
    return S(load_signed)(some, negate);
}

static ALWAYS_INLINE void S(store_some)(S(elem) *p, T(v) value, ptrdiff_t count) {
    if (count >= T(LANES)) {
        S(store)(p, value);
        return;
    }
    S(elem) some[T(LANES)];
    S(store)(some, value);
    for (ptrdiff_t i = 0; i < count; i++) p[i] = some[i];
}

static ALWAYS_INLINE T(v) S(column_at)(const S(column) *column, ptrdiff_t j, int negate) {
    if (S(packs) &&column->packed) return T(load)(column->packed + j * column->step);
    return S(load_some)(column->x + j * column->step, column->count, negate);
}

/* Sum of exp(x) * 2**-N; packed columns are replaced by their exponentials where those are `kept`. */
static ALWAYS_INLINE void S(column_exp_some)(const S(column) *column, ptrdiff_t j, int vectors,
                                             const T(reference) *ref, int ordinary, int negate, int kept,
                                             T(run) *run) {
    T(v) v[T(TOGETHER)];
    for (int k = 0; k < vectors; k++) v[k] = S(column_at)(column, j + k, negate);
    T(exp)(v, vectors, ref, ordinary);
    for (int k = 0; k < vectors; k++) {
        if (S(packs) &&kept && column->packed) T(store)(column->packed + (j + k) * column->step, v[k]);
        T(run_add)(run, v[k]);
    }
}

static ALWAYS_INLINE T(sum) S(column_exp_of)(const S(column) *column, ptrdiff_t n, const T(reference) *ref,
                                             int ordinary, int negate, int kept) {
    T(sum) sum = T(sum_zero)();
    ptrdiff_t j = 0;
    while (j < n) {
        const ptrdiff_t end = n - j < FOLD ? n : j + FOLD;
        T(run) run = T(run_start)();
        for (; j + T(TOGETHER) <= end; j += T(TOGETHER))
            S(column_exp_some)(column, j, T(TOGETHER), ref, ordinary, negate, kept, &run);
        for (; j < end; j++) S(column_exp_some)(column, j, 1, ref, ordinary, negate, kept, &run);
        T(sum_fold)(&sum, &run);
    }
    return sum;
}

static ALWAYS_INLINE T(sum) S(column_exp)(const S(column) *column, ptrdiff_t n, T(v) top, int negate, int kept) {
    const T(reference) ref = T(make_reference)(top);
    if (!S(packs) || !column->packed) return S(column_exp_of)(column, n, &ref, 0, negate, kept);
    return column->ordinary ? S(column_exp_of)(column, n, &ref, 1, 0, kept)
                            : S(column_exp_of)(column, n, &ref, 0, 0, kept);
}

/* The sum below the maximum, and how many others equal it. */
static ALWAYS_INLINE void S(column_rest_some)(const S(column) *column, ptrdiff_t j, int vectors, T(v) top,
                                              const T(reference) *ref, int ordinary, T(sum) *sum, T(v) *tops) {
    T(v) v[T(TOGETHER)];
    for (int k = 0; k < vectors; k++) v[k] = S(column_at)(column, j + k, 0);
    S(split)(v, vectors, top, ref, ordinary, sum, tops);
}

static ALWAYS_INLINE T(rest) S(column_rest_of)(const S(column) *column, ptrdiff_t n, T(v) top, int ordinary) {
    const T(reference) ref = T(make_reference)(top);
    T(rest) rest = {.sum = T(sum_zero)()};
    T(v) tops = T(set1)(-1);
    ptrdiff_t j = 0;
    for (; j + T(TOGETHER) <= n; j += T(TOGETHER))
        S(column_rest_some)(column, j, T(TOGETHER), top, &ref, ordinary, &rest.sum, &tops);
    for (; j < n; j++) S(column_rest_some)(column, j, 1, top, &ref, ordinary, &rest.sum, &tops);
    T(others)(&rest, tops);
    return rest;
}

static NEVER_INLINE void S(column_rest)(const S(column) *column, ptrdiff_t n, T(v) top, T(rest) *rest) {
    if (!S(packs) || !column->packed)
        *rest = S(column_rest_of)(column, n, top, 0);
    else if (column->ordinary)
        *rest = S(column_rest_of)(column, n, top, 1);
    else
        *rest = S(column_rest_of)(column, n, top, 0);
}

/* As group_rest (rows.h), but the sum itself tells of each column whether its maximum is far ahead: the exact rest of
 * those is taken then. It is not for short columns, of which there often are confident ones among so many. */
static NEVER_INLINE void S(long_column_rest)(const S(column) *column, ptrdiff_t n, T(v) top, T(rest) *rest) {
    enum { W = T(LANES), PARTS = sizeof *rest / sizeof(double) };
    T(v) exp_top = top;
    const T(reference) ref = T(make_reference)(top);
    T(exp)(&exp_top, 1, &ref, 0);
    rest->sum = S(column_exp)(column, n, top, 0, 0);
    T(sum_add)(&rest->sum, T(neg)(exp_top));
    T(others)(rest, T(set1)(0));
    const T(m) near = T(ge)(T(sum_narrowed)(&rest->sum), T(mul)(exp_top, T(set1)(S(near_share)(n))));
    if (T(all)(near)) return;
    T(rest) exact;
    S(column_rest)(column, n, top, &exact);
    T(elem) is_near[W];
    T(store)(is_near, T(keep)(near, T(set1)(1)));
    double to[PARTS], from[PARTS];
    memcpy(to, rest, sizeof to);
    memcpy(from, &exact, sizeof from);
    for (int i = 0; i < PARTS; i++) to[i] = is_near[i % W] == 1 ? to[i] : from[i];
    memcpy(rest, to, sizeof to);
}

static ALWAYS_INLINE void S(rest_of_columns)(const S(column) *column, ptrdiff_t n, T(v) top, T(rest) *rest) {
    if (n < FS_SHORT_ROW)
        S(column_rest)(column, n, top, rest);
    else
        S(long_column_rest)(column, n, top, rest);
}

/* The ending of a vector of columns (for FS_LOGSUMEXP, the results themselves in .a). */
static ALWAYS_INLINE T(ending) S(column_ending)(const S(column) *column, ptrdiff_t n, T(v) top, fs_operation op,
                                                int negate, const double *scale, ptrdiff_t count) {
    if (op == FS_SOFTMAX) {
        const T(sum) sum = S(column_exp)(column, n, top, negate, 1);
        T(factor) factor = S(factors)(scale, count, &sum);
        return (T(ending)){factor.hi, factor.lo};
    }
    T(rest) rest;
    S(rest_of_columns)(column, n, top, &rest);
    if (op == FS_LOG_SOFTMAX) return (T(ending)){top, T(log_tail)(top, &rest)};
    return (T(ending)){T(logsumexp)(top, &rest), T(set1)(0)};
}

/* Columns too long for scratch memory, one vector of them after the other. */
static NEVER_INLINE void S(long_columns)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n,
                                         ptrdiff_t x_stride, ptrdiff_t y_stride, fs_operation op, int negate,
                                         const double *scale) {
    for (ptrdiff_t first = 0; first < columns; first += T(LANES)) {
        const S(column) column = {NULL, x + first, x_stride, columns - first, 0};
        T(v) top = S(column_at)(&column, 0, negate);
        for (ptrdiff_t j = 1; j < n; j++) top = T(max)(S(column_at)(&column, j, negate), top);
        T(ending) ending =
            S(column_ending)(&column, n, top, op, negate, scale ? scale + first : NULL, columns - first);
        if (op == FS_LOGSUMEXP) {
            S(put_logsumexp)(y + first, 1, ending.a, top, column.count, column.x, n, 1, x_stride);
            continue;
        }
        const T(reference) ref = T(make_reference)(top);
        for (ptrdiff_t j = 0; j < n; j++) {
            T(v) value = S(column_at)(&column, j, negate);
            if (op != FS_LOG_SOFTMAX) T(exp)(&value, 1, &ref, 0);
            S(store_some)(y + first + j * y_stride, T(end)(value, ending, op), column.count);
        }
    }
}

/* What is fetched early: the row that lies AHEAD rows further on, or in the next strip. */
static ALWAYS_INLINE const S(elem) *S(ahead)(const S(elem) *p, ptrdiff_t j, ptrdiff_t n, ptrdiff_t stride,
                                             ptrdiff_t columns) {
    return j + AHEAD < n ? p + (j + AHEAD) * stride : p + (j + AHEAD - n) * stride + columns;
}

/* Packs one vector of columns; returns their maxima. */
static ALWAYS_INLINE T(v) S(pack_vector)(const S(elem) *x, ptrdiff_t count, ptrdiff_t n, ptrdiff_t x_stride,
                                         T(elem) *packed, ptrdiff_t step, int negate, T(v) *low) {
    T(v) top = S(load_some)(x, count, negate);
    for (ptrdiff_t j = 0; j < n; j++) {
        const T(v) value = S(load_some)(x + j * x_stride, count, negate);
        T(store)(packed + j * step, value);
        top = T(max)(value, top);
        *low = T(bits_max)(value, *low);
    }
    return top;
}

/* Packs columns side by side, `step` of them to a line, and puts their maxima in tops; whether all is ordinary. A few
 * vectors go one after the other, their maxima in registers; more go line by line, as memory is. */
static NEVER_INLINE int S(pack)(const S(elem) *x, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride, T(elem) *packed,
                                T(elem) *tops, ptrdiff_t step, int negate) {
    enum { W = T(LANES), FEW = 2 };
    T(v) low = T(set1)(0);
    if (step <= FEW * W) {
        for (ptrdiff_t i = 0; i < step; i += W)
            T(store)(tops + i, columns - i >= W && !negate
                                   ? S(pack_vector)(x + i, W, n, x_stride, packed + i, step, 0, &low)
                                   : S(pack_vector)(x + i, columns - i, n, x_stride, packed + i, step, negate, &low));
    } else {
        for (ptrdiff_t i = 0; i < step; i += W) T(store)(tops + i, S(load_some)(x + i, columns - i, negate));
        for (ptrdiff_t j = 0; j < n; j++) {
            const S(elem) *ahead = S(ahead)(x, j, n, x_stride, step);
            for (ptrdiff_t i = 0; i < step; i += W) {
                prefetch(ahead + i);
                T(v) value = S(load_some)(x + j * x_stride + i, columns - i, negate);
                T(store)(packed + j * step + i, value);
                T(store)(tops + i, T(max)(value, T(load)(tops + i)));
                low = T(bits_max)(value, low);
            }
        }
    }
    S(bounds) bounds = {T(set1)(0), low};
    /* in this order a column's NaN does not hide the maximum of another */
    for (ptrdiff_t i = 0; i < step; i += W) bounds.top = T(max)(T(load)(tops + i), bounds.top);
    return S(is_ordinary)(bounds);
}

/* As many columns as fit: `vectors` vectors of them, packed side by side. */
static ALWAYS_INLINE void S(strip)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,
                                   ptrdiff_t y_stride, T(elem) *scratch, fs_operation op, int negate,
                                   const double *scale) {
    enum { W = T(LANES) };
    const ptrdiff_t vectors = (columns + W - 1) / W;
    const ptrdiff_t step = vectors * W;
    T(elem) *tops = scratch;
    T(elem) *packed = scratch + step;
    const int ordinary = S(pack)(x, columns, n, x_stride, packed, tops, step, negate);
    T(elem) *ending_b = packed + n * step;
    for (ptrdiff_t i = 0; i < step; i += W) {
        const T(column) column = {packed + i, NULL, step, W, ordinary};
        T(v) top = T(load)(tops + i);
        T(ending) ending = T(column_ending)(&column, n, top, op, 0, scale ? scale + i : NULL, columns - i);
        if (op == FS_LOGSUMEXP) S(put_logsumexp)(y + i, 1, ending.a, top, columns - i, x + i, n, 1, x_stride);
        T(store)(tops + i, ending.a);
        T(store)(ending_b + i, ending.b);
    }
    if (op == FS_LOGSUMEXP) return;
    const int stream = n * y_stride * (ptrdiff_t)sizeof *y >= STREAM_FROM;
    for (ptrdiff_t j = 0; j < n; j++) {
        const S(elem) *ahead = S(ahead)(y, j, n, y_stride, step);
        for (ptrdiff_t i = 0; i < step; i += W) {
            S(elem) *to = y + j * y_stride + i;
            const T(ending) ending = {T(load)(tops + i), T(load)(ending_b + i)};
            const T(v) value = T(end)(T(load)(packed + j * step + i), ending, op);
            if (stream && columns - i >= W && (uintptr_t)to % 64 == 0) {
                S(stream)(to, value);
            } else {
                prefetch_for_store(ahead + i);
                S(store_some)(to, value, columns - i);
            }
        }
    }
    if (stream) stream_end();
}

/* How many columns fit a strip; 0 if not even a vector of them does. */
static ALWAYS_INLINE ptrdiff_t S(strip_width)(ptrdiff_t n) {
    const ptrdiff_t column = (n + 2) * (ptrdiff_t)sizeof(T(elem));
    ptrdiff_t fit = STRIP_BYTES / column;
    if (fit < STRIP_COLUMNS) fit = FS_SCRATCH / column < STRIP_COLUMNS ? FS_SCRATCH / column : STRIP_COLUMNS;
    return fit / T(LANES) *T(LANES);
}

/* Types: S, computed in T. Max error, range, aliasing, scale: as for rows; last bits may differ from theirs. */
static ALWAYS_INLINE void S(columns)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,
                                     ptrdiff_t y_stride, T(elem) *scratch, fs_operation op, int negate,
                                     const double *scale) {
    const ptrdiff_t fit = S(strip_width)(n);
    if (fit == 0) {
        S(long_columns)(x, y, columns, n, x_stride, y_stride, op, negate, scale);
        return;
    }
    for (ptrdiff_t first = 0; first < columns; first += fit)
        S(strip)(x + first, y + first, columns - first < fit ? columns - first : fit, n, x_stride, y_stride, scratch,
                 op, negate, scale ? scale + first : NULL);
}
