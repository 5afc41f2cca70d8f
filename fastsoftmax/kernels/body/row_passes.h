/* The passes over one row: its bounds; its exponentials and their sum, of all or of those below the maximum; what is
 * made of them.
 *
 * The last, partial vector of a row is loaded (and stored) as the full vector that ends with the row. It is loaded
 * before anything is stored, and the elements it shares with its neighbour get the same values twice, so that y
 * may be x. Its shared lanes are left out of sums.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* Lane i is i. */
static ALWAYS_INLINE T(v) S(lane_numbers)(void) {
    static const T(elem) lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return T(load)(lane);
}

/* Lanes >= first. */
static ALWAYS_INLINE T(m) S(lanes_from)(ptrdiff_t first) { return T(ge)(S(lane_numbers)(), T(set1)((T(elem))first)); }

static ALWAYS_INLINE T(v) S(load_signed)(const S(elem) *p, int negate) {
    T(v) x = S(load)(p);
    return negate ? T(neg)(x) : x;
}

/* What bounds a row, a lane each: its maximum (beside a NaN any will do: the row's sum is NaN), and the lowest of its
 * negative numbers, whose bits are the largest read as unsigned integers. Those who only ask whether all is ordinary
 * have its check (exp.h) in `top` instead. */
typedef struct {
    T(v) top, low;
} S(bounds);

static ALWAYS_INLINE S(bounds) S(both_bounds)(S(bounds) x, S(bounds) y) {
    return (S(bounds)){T(max)(x.top, y.top), T(bits_max)(x.low, y.low)};
}

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
    return S(both_bounds)(even, odd);
}

/* Whether all within the bounds is ordinary for exp. Beside a NaN it may be said or not, and of its own lane wrongly:
 * that lane's results are NaN in any case. */
static ALWAYS_INLINE int S(is_within)(S(bounds) bounds, T(elem) most) {
    const T(v) limit = T(set1)(most);
    const T(v) low = T(max)(bounds.low, T(neg)(bounds.low));
    return T(all)(T(ge)(limit, T(max)(bounds.top, low)));
}

static ALWAYS_INLINE int S(is_ordinary)(S(bounds) bounds) { return S(is_within)(bounds, ORDINARY); }

/* Whether a row may be ordinary, also to a check, by a vector here and there: most masks are seen, so that few rows
 * are read in vain.
 */
static ALWAYS_INLINE int S(seems_ordinary)(const S(elem) *x, ptrdiff_t n) {
    enum { W = T(LANES), LOOKS = 8 };
    const ptrdiff_t step = n > LOOKS * W ? n / LOOKS : W;
    S(bounds) bounds = {T(set1)(0), T(set1)(0)};
    for (ptrdiff_t i = 0; i + W <= n; i += step) bounds = S(widen_bounds)(bounds, S(load)(x + i));
    return S(is_within)(bounds, T(CHECKED));
}

/* What exp_and_sum and its parts are to do. It is known when they are compiled: callers choose between calls, not
 * between values, so that no loop asks. */
typedef struct {
    int ordinary;      /* every |x| <= ORDINARY (exp.h) */
    int kept;          /* store the exponentials */
    int negate;        /* of -x */
    int bounded;       /* find the bounds of x, too; */
    int checked;       /* or only what tells whether they are ordinary */
    int rest;          /* (and then) leave out one maximum of each lane; not of rows with elements `left` */
    fs_operation ends; /* the operation of the row or the lines that are ended meanwhile, if there are any */
} S(how);

/* The first half of the exponentials of a few vectors at x. To leave out the maximum, that of the smaller of each x
 * and the maximum so far: what is never the smaller is the maximum of all. */
static ALWAYS_INLINE void S(begin_at)(const S(elem) *x, ptrdiff_t step, T(begun) *to, int vectors,
                                      const T(reference) *ref, S(bounds) *bounds, const S(how) how) {
    T(v) v[T(TOGETHER)];
    for (int k = 0; k < vectors; k++) {
        v[k] = S(load_signed)(x + k * step, how.negate);
        if (how.rest || how.checked) KEEP_LOADED(v[k]);
        const T(v) smaller = how.rest ? T(min)(bounds->top, v[k]) : v[k];
        if (how.bounded) *bounds = S(widen_bounds)(*bounds, v[k]);
        v[k] = smaller;
    }
    T(exp_begin)(v, to, vectors, ref, how.ordinary);
    for (int k = 0; how.checked && k < vectors; k++) bounds->top = T(check)(bounds->top, v[k], to[k].n_bits);
}

/* The second half, to v and what rounding it left to low, where logarithms want that; to e + at, if they are kept. */
static ALWAYS_INLINE void S(end_at)(const T(begun) *from, T(v) *v, T(v) *low, T(elem) *e, ptrdiff_t at,
                                    ptrdiff_t step, int vectors, const T(reference) *ref, const S(how) how) {
    if (how.rest)
        T(exp_end_pair)(from, v, low, vectors, ref, how.ordinary);
    else
        T(exp_end)(from, v, vectors, ref, how.ordinary);
    if (how.kept)
        for (int k = 0; k < vectors; k++) T(store)(e + at + k * step, v[k]);
}

/* Adds v, or the vectors stored at `waiting` unless it is NULL, to the sum. */
static ALWAYS_INLINE void S(add_to_sum)(const T(v) *v, const T(v) *low, const T(elem) *waiting, int vectors,
                                        T(exp_sum) *sum, const S(how) how) {
    for (int k = 0; k < vectors; k++) {
        if (waiting)
            T(exp_sum_add_at)(sum, waiting + k * T(LANES));
        else if (how.rest)
            T(exp_sum_add_pair)(sum, v[k], low[k]);
        else
            T(exp_sum_add)(sum, v[k]);
    }
}

/* What to fetch while a row is read, vector for vector: from `next` on, and from `later` on, unless it is NULL, to be
 * stored to. */
typedef struct {
    const S(elem) *next, *later;
} S(fetched);

/* The rows that lie `ahead`, or what the caller of the kernel asks for with row i. */
static ALWAYS_INLINE const S(elem) *S(next_of)(const S(elem) *row, ptrdiff_t ahead, const fs_fetch *fetch,
                                               ptrdiff_t i) {
    return fetch ? (const void *)(fetch->from + i * fetch->stride) : row + ahead;
}

/* The same for the last stage. Where nothing is asked for, that is y, whose lines it needs in any case. */
static ALWAYS_INLINE const S(elem) *S(again_of)(const S(elem) *y, const fs_fetch *fetch, ptrdiff_t i) {
    return fetch ? (const void *)(fetch->again + i * fetch->stride) : y;
}

static ALWAYS_INLINE void S(fetch)(S(fetched) fetched, ptrdiff_t step, ptrdiff_t at, int vectors) {
    for (int k = 0; k < vectors; k++) prefetch(fetched.next + (at + k) * step);
    if (fetched.later)
        for (int k = 0; k < vectors; k++) prefetch_for_store(fetched.later + (at + k) * step);
}

/* A row that is to be ended: its exponentials e, for softmax, or the row x itself, for log_softmax, become its
 * results y; no row if y is NULL. Aliasing: y may be e or x. */
typedef struct {
    const T(elem) *e;
    const S(elem) *x;
    S(elem) *y;
    T(ending) ending;
} S(open_row);

static ALWAYS_INLINE S(open_row) S(no_row)(void) { return (S(open_row)){.y = NULL}; }

/* The vector at `at`, ended. */
static ALWAYS_INLINE T(v) S(end_vector)(const S(open_row) *row, ptrdiff_t at, const fs_operation op) {
    return T(end)(op == FS_SOFTMAX ? T(load)(row->e + at) : S(load)(row->x + at), row->ending, op);
}

/* Vectors of it, from vector `at` on, while another row begins. */
static ALWAYS_INLINE void S(end_some)(const S(open_row) *row, ptrdiff_t at, int vectors, const fs_operation op) {
    enum { W = T(LANES) };
    if (!row->y) return;
    for (int k = 0; k < vectors; k++) S(store)(row->y + (at + k) * W, S(end_vector)(row, (at + k) * W, op));
}

/* All of it at once. Fetches from `again` on, unless it is NULL. */
static ALWAYS_INLINE void S(end_row)(const S(open_row) *row, ptrdiff_t n, const S(elem) *again,
                                     const fs_operation op) {
    enum { W = T(LANES) };
    const T(v) last = S(end_vector)(row, n - W, op);
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W) {
        if (again) prefetch(again + i);
        S(store)(row->y + i, S(end_vector)(row, i, op));
    }
    if (i < n) S(store)(row->y + n - W, last);
}

/* The results of a strip of columns that are to be written (columns.h), a vector at a time, line by line, as memory
 * is: those at value + i * across become y[i], for i < columns, and so on for `left` lines. */
typedef struct {
    const T(elem) *value;
    S(elem) *y;
    const T(elem) *a, *b; /* endings, a column a lane */
    ptrdiff_t across, stride, y_stride, columns, left;
    ptrdiff_t i;
    int past_caches; /* how they are stored; */
    ptrdiff_t ahead; /* if not so, how far ahead of them lines are fetched to be stored to, or 0 */
} S(open_lines);

static ALWAYS_INLINE void S(end_lines)(S(open_lines) *lines, int vectors, const fs_operation op) {
    for (int k = 0; k < vectors; k++) {
        if (!lines->left) return;
        const ptrdiff_t i = lines->i;
        const T(ending) ending = {T(load)(lines->a + i), T(load)(lines->b + i)};
        const T(v) result = T(end)(T(load)(lines->value + i * lines->across), ending, op);
        if (lines->past_caches) {
            S(stream)(lines->y + i, result);
        } else {
            if (lines->ahead) prefetch_for_store(lines->y + i + lines->ahead);
            S(store)(lines->y + i, result);
        }
        lines->i += T(LANES);
        if (lines->i == lines->columns) {
            lines->i = 0;
            lines->value += lines->stride;
            lines->y += lines->y_stride;
            lines->left--;
        }
    }
}

#ifdef COMPUTED_IN
/* The rest of them. */
static NEVER_INLINE void S(close_lines)(S(open_lines) *open, const fs_operation op) {
    S(open_lines) lines = *open;
    while (lines.left) S(end_lines)(&lines, 1, op);
    open->left = 0;
}
#endif

/* The sum of exp(x) * 2**-N, and these in e if they are kept; `bounds`, if they are wanted, becomes what bounds x. x
 * is n vectors, the next of a row beside the last or those of a column's lines, and `left` elements more of a row.
 * While it reads x it fetches what is needed next, as a rule the next group, so that its first stage does not wait
 * for memory; and for the same reason the lines where the last stage will store. And it ends `open`, a row as long as
 * x (not of the `rest`, which begins with vector 1), or some vectors of `open_lines`, unless that is NULL: the
 * memory, which would be idle, then writes results. Theirs is other memory than that of x and e.
 *
 * An exponential is a chain of a dozen steps, and a core's schedulers hold only some 64 instructions that wait for
 * the step before. So that there are others to go on with, turns of the loop overlap: one begins some vectors, the
 * next ends them, and the one after that adds them to the sum. */
static ALWAYS_INLINE T(exp_sum)
    S(exp_and_sum)(const S(elem) *x, ptrdiff_t x_step, T(elem) *e, ptrdiff_t e_step, ptrdiff_t n, ptrdiff_t left,
                   T(reference) ref, S(fetched) fetched, S(bounds) *bounds, const S(open_row) open,
                   S(open_lines) *open_lines, const S(how) how) {
    enum { W = T(LANES) };
    const int overlap = T(OVERLAP), turn = overlap ? overlap : T(TOGETHER), in_memory = T(SUMS_FROM_MEMORY);
    const ptrdiff_t first = how.rest; /* the maximum starts with vector 0 */
    /* the vector that ends with the row, or the first: one to start the bounds with */
    T(v) last = S(load_signed)(left ? x + (n - 1) * x_step + left : x, how.negate);
    const int tail = left && open.y;
    const T(v) open_last = tail ? S(end_vector)(&open, (n - 1) * W + left, how.ends) : last;
    S(open_lines) lines = {.left = 0};
    if (open_lines) lines = *open_lines; /* which stores may not change */
    T(exp_sum) sum = T(exp_sum_zero)();
    S(bounds) widest = {last, last};
    if (how.checked) widest.top = T(set1)(0);
    T(begun) begun[T(TOGETHER)];
    T(v) v[T(TOGETHER)], low[T(TOGETHER)];
    _Alignas(64) T(elem) waiting[2][W * T(TOGETHER)]; /* for the sum: every other turn */
    ptrdiff_t j = first, other = 0;
    if (overlap && n - first >= turn) {
        S(fetch)(fetched, x_step, j, turn);
        S(end_some)(&open, j, turn, how.ends);
        S(begin_at)(x + j * x_step, x_step, begun, turn, &ref, &widest, how);
        for (j += turn; j + turn <= n; j += turn) {
            S(fetch)(fetched, x_step, j, turn);
            S(end_some)(&open, j, turn, how.ends);
            if (open_lines) S(end_lines)(&lines, turn, how.ends);
            if (!in_memory && j > first + turn) S(add_to_sum)(v, low, NULL, turn, &sum, how);
            S(end_at)(begun, v, low, e, (j - turn) * e_step, e_step, turn, &ref, how);
            if (in_memory)
                for (int k = 0; k < turn; k++) T(store)(waiting[other] + k * W, v[k]);
            S(begin_at)(x + j * x_step, x_step, begun, turn, &ref, &widest, how);
            other = !other;
            if (in_memory && j > first + turn) S(add_to_sum)(NULL, NULL, waiting[other], turn, &sum, how);
        }
        if (j > first + turn) S(add_to_sum)(v, low, in_memory ? waiting[!other] : NULL, turn, &sum, how);
        S(end_at)(begun, v, low, e, (j - turn) * e_step, e_step, turn, &ref, how);
        S(add_to_sum)(v, low, NULL, turn, &sum, how);
    }
    for (; !overlap && j + turn <= n; j += turn) {
        S(fetch)(fetched, x_step, j, turn);
        S(end_some)(&open, j, turn, how.ends);
        if (open_lines) S(end_lines)(&lines, turn, how.ends);
        S(begin_at)(x + j * x_step, x_step, begun, turn, &ref, &widest, how);
        S(end_at)(begun, v, low, e, j * e_step, e_step, turn, &ref, how);
        S(add_to_sum)(v, low, NULL, turn, &sum, how);
    }
    for (; j < n; j++) {
        S(fetch)(fetched, x_step, j, 1);
        S(end_some)(&open, j, 1, how.ends);
        S(begin_at)(x + j * x_step, x_step, begun, 1, &ref, &widest, how);
        S(end_at)(begun, v, low, e, j * e_step, e_step, 1, &ref, how);
        S(add_to_sum)(v, low, NULL, 1, &sum, how);
    }
    if (tail) S(store)(open.y + (n - 1) * W + left, open_last);
    if (left) {
        T(exp_begin)(&last, begun, 1, &ref, how.ordinary);
        if (how.checked) widest.top = T(check)(widest.top, last, begun[0].n_bits);
        T(exp_end)(begun, &last, 1, &ref, how.ordinary);
        if (how.kept) T(store)(e + (n - 1) * e_step + left, last);
        last = T(keep)(S(lanes_from)(W - left), last);
        S(add_to_sum)(&last, NULL, NULL, 1, &sum, how);
    }
    if (open_lines) *open_lines = lines;
    if (how.bounded || how.checked) *bounds = widest;
    return sum;
}

/* The same of a row. */
static ALWAYS_INLINE T(exp_sum)
    S(row_exp)(const S(elem) *x, T(elem) *e, ptrdiff_t n, T(reference) ref, S(fetched) fetched, S(bounds) *bounds,
               const S(open_row) open, const S(how) how) {
    enum { W = T(LANES) };
    return S(exp_and_sum)(x, W, e, W, n / W, n % W, ref, fetched, bounds, open, NULL, how);
}

/* Of a few vectors, the exponentials below the maximum join the sum, and the maxima are counted. */
static ALWAYS_INLINE void S(split)(T(v) *v, int vectors, T(v) top, const T(reference) *ref, int ordinary,
                                   T(exp_sum) *sum, T(v) *tops) {
    T(m) is_top[T(TOGETHER)];
    T(v) low[T(TOGETHER)];
    for (int k = 0; k < vectors; k++) is_top[k] = T(eq)(v[k], top);
    for (int k = 0; k < vectors; k++) *tops = T(add)(*tops, T(keep)(is_top[k], T(set1)(1)));
    T(exp_pair)(v, low, vectors, ref, ordinary);
    for (int k = 0; k < vectors; k++) T(exp_sum_add_pair)(sum, T(drop)(is_top[k], v[k]), T(drop)(is_top[k], low[k]));
}

/* The sum below the maximum; the number of maxima, a lane each, in *tops. */
static ALWAYS_INLINE T(exp_sum) S(row_rest)(const S(elem) *x, ptrdiff_t n, T(elem) top, T(reference) ref,
                                            S(fetched) fetched, int ordinary, T(v) *tops) {
    enum { W = T(LANES), STEP = W * T(TOGETHER) };
    const T(v) top_v = T(set1)(top);
    T(exp_sum) sum = T(exp_sum_zero)();
    T(v) v[T(TOGETHER)], tops_v = T(set1)(0);
    ptrdiff_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        S(fetch)(fetched, W, i / W, T(TOGETHER));
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

static ALWAYS_INLINE void S(scale_at)(const T(v) *e, S(elem) *y, int vectors, T(factor) factor) {
    for (int k = 0; k < vectors; k++) S(store)(y + k * T(LANES), T(scale)(e[k], factor));
}

/* y = exp(x) * 2**-N * factor, for rows whose exponentials were not kept. Turns overlap as in exp_and_sum. */
static ALWAYS_INLINE void S(row_exp_scale)(const S(elem) *x, S(elem) *y, ptrdiff_t n, T(reference) ref,
                                           T(factor) factor, int negate) {
    enum { W = T(LANES), TURN = T(OVERLAP) ? T(OVERLAP) : T(TOGETHER), STEP = TURN * W };
    const S(how) how = {.negate = negate};
    T(v) last = S(load_signed)(x + n - W, negate);
    T(begun) begun[TURN];
    T(v) v[TURN];
    ptrdiff_t i = 0;
    if (T(OVERLAP) != 0 && n >= STEP) {
        S(begin_at)(x, W, begun, TURN, &ref, NULL, how);
        for (i = STEP; i + STEP <= n; i += STEP) {
            S(fetch)((S(fetched)){x + T(READ_AHEAD), y + STORE_AHEAD}, W, i / W, TURN);
            S(end_at)(begun, v, NULL, NULL, 0, W, TURN, &ref, how);
            S(begin_at)(x + i, W, begun, TURN, &ref, NULL, how);
            S(scale_at)(v, y + i - STEP, TURN, factor);
        }
        S(end_at)(begun, v, NULL, NULL, 0, W, TURN, &ref, how);
        S(scale_at)(v, y + i - STEP, TURN, factor);
    }
    for (; T(OVERLAP) == 0 && i + STEP <= n; i += STEP) {
        S(begin_at)(x + i, W, begun, TURN, &ref, NULL, how);
        S(end_at)(begun, v, NULL, NULL, 0, W, TURN, &ref, how);
        S(scale_at)(v, y + i, TURN, factor);
    }
    for (; i + W <= n; i += W) {
        S(begin_at)(x + i, W, begun, 1, &ref, NULL, how);
        S(end_at)(begun, v, NULL, NULL, 0, W, 1, &ref, how);
        S(scale_at)(v, y + i, 1, factor);
    }
    if (i < n) {
        T(exp)(&last, 1, &ref, 0);
        S(store)(y + n - W, T(scale)(last, factor));
    }
}
