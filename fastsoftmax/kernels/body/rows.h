/* Whole rows of at least FS_SHORT_ROW elements: maximum; exponentials, stored and summed; scale (the first is not
 * needed where all are ordinary). A few rows pass each stage together, few enough to stay in a cache, so that the
 * constants of all of them are finished in one go, a row a lane. Here is what the stages share (row_passes.h has what
 * they do with one row); softmax_rows.h and log_rows.h have the rest.
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

/* As many rows as have so many elements, a lane each, pass each stage together. */
static ALWAYS_INLINE ptrdiff_t S(rows_together)(ptrdiff_t n, ptrdiff_t elements) {
    const ptrdiff_t rows = elements / n;
    return rows < 1 ? 1 : rows > T(LANES) ? T(LANES) : rows;
}

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

/* A group of rows: `first` of all, and where they are; e, where their exponentials go; y, where the results will be,
 * to be fetched, or NULL where they are in a cache. */
typedef struct {
    const S(elem) *x, *y;
    T(elem) *e;
    ptrdiff_t first, count, n, x_stride, y_stride, e_stride;
    const fs_fetch *fetch;
} S(group);

/* What is fetched with its row i: what is `ahead`, and lines of the row's results, `later` elements further on. */
static ALWAYS_INLINE S(fetched)
    S(fetched_with)(const S(group) *group, ptrdiff_t i, ptrdiff_t ahead, ptrdiff_t later) {
    const S(elem) *row = group->x + i * group->x_stride;
    return (S(fetched)){S(next_of)(row, ahead, group->fetch, group->first + i),
                        group->y ? group->y + i * group->y_stride + later : NULL};
}

/* A group that is open: all but its results is done. Taking exponentials leaves the memory idle, and writing results
 * waits for it, so that the rows of one group are ended while those of the next begin, where the target has the
 * registers for it (OPEN_ROW). Their endings are a lane each of a and b. */
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

/* Whether groups may stay open at all: where not all rows do, only those of a type that is computed in, others being
 * less memory. */
static ALWAYS_INLINE int S(may_stay_open)(void) {
    return ALL_OPEN || (OPEN_ROW != 0 && sizeof(S(elem)) == sizeof(T(elem)));
}

/* Its row i, to be ended meanwhile, if there is one. */
static ALWAYS_INLINE S(open_row) S(row_meanwhile)(const S(open_group) *group, ptrdiff_t i, const fs_operation op) {
    return S(may_stay_open)() && group && i < group->count ? S(row_of)(group, i, op) : S(no_row)();
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

/* How far ahead to fetch rows that are read once: whole rows, or as much of a long one. */
static ALWAYS_INLINE ptrdiff_t S(next_rows)(ptrdiff_t n, ptrdiff_t stride) {
    const ptrdiff_t ahead = T(READ_AHEAD);
    return n < ahead ? (ahead + n - 1) / n * stride : ahead;
}
