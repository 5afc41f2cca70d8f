/* Strips of columns beside each other, a column a lane, as memory has them. Each vector of a strip takes the passes
 * of column_passes.h; then the strip's results are written line by line, as memory is. Columns are read where they
 * are, unless they must be converted, negated or filled up to a vector, or are too far apart: then the strip is first
 * packed in scratch memory, line by line.
 *
 * Included once for each element type S, computed in T; see body.h. */

/* The first `count` of W elements; the others are 0. */
static ALWAYS_INLINE T(v) S(load_some)(const S(elem) *p, ptrdiff_t count, int negate) {
    if (count >= T(LANES)) return S(load_signed)(p, negate);
    const T(v) x = S(load_first)(p, count);
    return negate ? T(neg)(x) : x;
}

static ALWAYS_INLINE void S(store_some)(S(elem) *p, T(v) value, ptrdiff_t count) {
    if (count >= T(LANES))
        S(store)(p, value);
    else
        S(store_first)(p, value, count);
}

/* What is fetched early of lines `stride` apart, from one of them on: what the caller says, or the line AHEAD lines
 * further on, or of the next strip. */
static ALWAYS_INLINE ptrdiff_t S(lines_ahead)(ptrdiff_t j, ptrdiff_t n, ptrdiff_t stride, ptrdiff_t columns,
                                              ptrdiff_t ahead) {
    if (ahead) return ahead;
    return j + AHEAD < n ? AHEAD * stride : (AHEAD - n) * stride + columns;
}

/* Packs columns, filled up to whole vectors with 0. */
static NEVER_INLINE void S(pack)(const S(elem) *x, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t stride, int negate,
                                 T(elem) *packed, ptrdiff_t next) {
    enum { W = T(LANES) };
    for (ptrdiff_t j = 0; j < n; j++) {
        const S(elem) *row = x + j * stride;
        const ptrdiff_t ahead = S(lines_ahead)(j, n, stride, columns, next);
        ptrdiff_t i = 0;
        for (; i + W <= columns; i += W) {
            prefetch(row + i + ahead);
            T(store)(packed + i * n + j * W, S(load_signed)(row + i, negate));
        }
        if (i < columns) {
            prefetch(row + i + ahead);
            T(store)(packed + i * n + j * W, S(load_some)(row + i, columns - i, negate));
        }
    }
}

/* How many lines that are `bytes` apart a cache keeps, of so many bytes and such ways: each way of it holds a line a
 * set, and these meet only some of the sets if a power of two lies between them. */
static ALWAYS_INLINE uintptr_t S(lines_kept)(uintptr_t bytes, uintptr_t cache, uintptr_t way) {
    const uintptr_t lowest = bytes & (~bytes + 1);
    return cache / (lowest < 64 ? 64 : lowest < way ? lowest : way);
}

/* Whether columns may be read where they are, a vector of them after the other. What is left of a line that two
 * vectors share must still be there for the second: so either none is shared, or as many lines as a vector has stay
 * in the second cache. */
static ALWAYS_INLINE int S(stay_near)(const S(elem) *x, ptrdiff_t n, ptrdiff_t stride) {
    const uintptr_t bytes = (uintptr_t)stride * sizeof *x;
    return ((uintptr_t)x | bytes) % 64 == 0 || (uintptr_t)n <= S(lines_kept)(bytes, CACHE_BYTES, CACHE_WAY);
}

/* How far ahead their lines are fetched, if the caller does not say: those of the next vector, if the first cache
 * keeps them beside this one's until it is their turn; else of this vector, AHEAD or FAR_AHEAD lines further on, if
 * it keeps so many. */
static ALWAYS_INLINE ptrdiff_t S(columns_ahead)(ptrdiff_t n, ptrdiff_t stride) {
    const uintptr_t bytes = (uintptr_t)stride * sizeof(S(elem));
    const uintptr_t kept = S(lines_kept)(bytes, FIRST_BYTES, FIRST_WAY);
    if (n < FS_SHORT_ROW || 2 * (uintptr_t)n <= kept) return T(LANES);
    return (kept < FAR_AHEAD ? AHEAD : FAR_AHEAD) * stride;
}

/* A strip of columns. Element j of the vector at column i is at from + i * across + j * stride: where x has it, or
 * packed in e, a vector of columns after the other, so that their lines fill the caches evenly. */
typedef struct {
    const S(elem) *x;
    ptrdiff_t columns, n, x_stride;
    int negate;
    ptrdiff_t width; /* the columns, filled up to whole vectors, of which scratch memory has */
    T(elem) *a, *b;  /* two lines for what ends the columns, */
    T(elem) *e;      /* and their exponentials at e + i * e_across + j * e_step, packed as a rule, or themselves */
    ptrdiff_t e_across, e_step;
    const T(elem) *from;
    ptrdiff_t across, stride;
    ptrdiff_t ahead; /* to what is fetched early */
    ptrdiff_t next;  /* what the caller says of that, or 0 */
} S(strip);

static ALWAYS_INLINE S(strip) S(make_strip)(const S(elem) *x, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,
                                            int negate, T(elem) *scratch, ptrdiff_t next) {
    enum { W = T(LANES), IS_COMPUTED_IN = sizeof(S(elem)) == sizeof(T(elem)) };
    const ptrdiff_t width = (columns + W - 1) / W * W;
    T(elem) *const e = scratch + 2 * width;
    S(strip) strip = {x, columns, n, x_stride, negate, width, scratch, scratch + width, e, n, W, e, n, W, 0, next};
    if (IS_COMPUTED_IN && !negate && columns % W == 0 && S(stay_near)(x, n, x_stride)) {
        strip.from = (const void *)x;
        strip.across = 1;
        strip.stride = x_stride;
        strip.ahead = next ? next : S(columns_ahead)(n, x_stride);
    } else {
        S(pack)(x, columns, n, x_stride, negate, e, next);
    }
    return strip;
}

/* Exponentials wait in y itself, where each will be a result, if the target gains by it and caches keep them there,
 * with x: it saves the memory of packed ones. Short columns have these in the first cache, and must stay in it; of
 * others, that must keep what is fetched early beside them. (Strips of so few bytes never stay open, nor are they
 * stored past the caches.) */
_Static_assert((int)CACHE_BYTES / 2 < (int)STREAM_FROM && (int)STREAM_FROM <= (int)STREAM_FEW_FROM, "wait_in_result");
static ALWAYS_INLINE void S(wait_in_result)(S(strip) *strip, S(elem) *y, ptrdiff_t y_stride) {
    const uintptr_t bytes = (uintptr_t)y_stride * sizeof *y, n = (uintptr_t)strip->n;
    const uintptr_t near = S(lines_kept)(bytes, FIRST_BYTES, FIRST_WAY);
    const uintptr_t kept = S(lines_kept)(bytes, CACHE_BYTES, CACHE_WAY);
    const int is_packed = strip->from == strip->e, in_place = (const void *)strip->x == (const void *)y;
    const int stays = n < FS_SHORT_ROW ? n <= near : near >= FAR_AHEAD && n <= kept;
    if (!T(WAIT_IN_RESULT) || is_packed || in_place || strip->next || !stays || n * bytes > CACHE_BYTES / 2) return;
    strip->e = (void *)y;
    strip->e_across = 1;
    strip->e_step = y_stride;
}

/* The exponentials of the vector at column i, to e, and their sum; by reading once while that goes well. Meanwhile as
 * many results of `open`, unless it is NULL, are written. */
static ALWAYS_INLINE void S(strip_exp)(const S(strip) *strip, ptrdiff_t i, T(open_lines) *open, int *once,
                                       T(sum) *sum) {
    enum { W = T(LANES) };
    const ptrdiff_t n = strip->n;
    const T(elem) *from = strip->from + i * strip->across;
    T(elem) *e = strip->e + i * strip->e_across;
    if (*once) {
        const T(fetched) fetched = {from + strip->ahead, NULL};
        *once = open ? T(column_exp_open)(from, strip->stride, n, fetched, e, strip->e_step, sum, open)
                     : T(column_exp_once)(from, strip->stride, n, fetched, e, strip->e_step, sum);
        if (*once) return;
        const ptrdiff_t columns = strip->columns - i;
        if (from == e)
            S(pack)(strip->x + i, columns < W ? columns : W, n, strip->x_stride, strip->negate, e, strip->next);
    }
    T(column_exp_twice)(from, strip->stride, n, e, strip->e_step, sum);
}

/* The same for the logarithms. */
static ALWAYS_INLINE void S(strip_rest)(const S(strip) *strip, ptrdiff_t i, T(open_lines) *open, int *once, T(v) *top,
                                        T(rest) *rest) {
    const T(elem) *from = strip->from + i * strip->across;
    T(column_rest)(from, strip->stride, strip->n, (T(fetched)){from + strip->ahead, NULL}, open, once, top, rest);
}

/* How many columns fit a strip of `bytes`, or, that they are no fewer than STRIP_COLUMNS, of `most`: whole vectors; 0
 * if not even one does. */
static ALWAYS_INLINE ptrdiff_t S(strip_width)(ptrdiff_t n, ptrdiff_t bytes, ptrdiff_t most) {
    const ptrdiff_t column = (n + 2) * (ptrdiff_t)sizeof(T(elem));
    ptrdiff_t fit = bytes / column;
    if (fit < STRIP_COLUMNS) fit = most / column < STRIP_COLUMNS ? most / column : STRIP_COLUMNS;
    return fit / T(LANES) *T(LANES);
}

/* How many of the columns left the next strip takes: those that do not fill a vector are a strip of their own. */
static ALWAYS_INLINE ptrdiff_t S(next_strip)(ptrdiff_t columns, ptrdiff_t fit) {
    const ptrdiff_t whole = columns / T(LANES) *T(LANES);
    return columns >= fit ? fit : whole ? whole : columns;
}

/* y = what is made of the values, exponentials or numbers, that are at from + i * across + j * stride; `way` is known
 * when this is compiled. */
static ALWAYS_INLINE void S(put_lines)(const S(strip) *strip, const T(elem) *from, ptrdiff_t across, ptrdiff_t stride,
                                       S(elem) *y, ptrdiff_t y_stride, fs_operation op, const int way) {
    enum { W = T(LANES) };
    const ptrdiff_t n = strip->n, columns = strip->columns, whole = columns / W * W;
    const T(elem) *a = strip->a, *b = strip->b;
    for (ptrdiff_t j = 0; j < n; j++) {
        const T(elem) *value = from + j * stride;
        S(elem) *to = y + j * y_stride;
        const ptrdiff_t ahead = S(lines_ahead)(j, n, y_stride, columns, strip->next);
        for (ptrdiff_t i = 0; i < whole; i += W) {
            const T(ending) ending = {T(load)(a + i), T(load)(b + i)};
            const T(v) result = T(end)(T(load)(value + i * across), ending, op);
            if (way == PAST_CACHES) {
                S(stream)(to + i, result);
            } else {
                if (way == FETCHED) prefetch_for_store(to + i + ahead);
                S(store)(to + i, result);
            }
        }
        if (whole < columns) {
            const T(ending) ending = {T(load)(a + whole), T(load)(b + whole)};
            if (way == FETCHED) prefetch_for_store(to + whole + ahead);
            S(store_some)(to + whole, T(end)(T(load)(value + whole * across), ending, op), columns - whole);
        }
    }
}

static ALWAYS_INLINE int S(way_of)(const S(strip) *strip, const S(elem) *y, ptrdiff_t y_stride) {
    const ptrdiff_t bytes = y_stride * (ptrdiff_t)sizeof *y;
    const int far = strip->n * bytes >= (strip->n < FEW_LINES ? STREAM_FEW_FROM : STREAM_FROM);
    if (!far) return strip->next ? FETCHED : NEAR;
    return ((uintptr_t)y | (uintptr_t)bytes) % 64 != 0 ? FETCHED : PAST_CACHES;
}

static ALWAYS_INLINE void S(put_strip)(const S(strip) *strip, const T(elem) *from, ptrdiff_t across, ptrdiff_t stride,
                                       S(elem) *y, ptrdiff_t y_stride, fs_operation op) {
    const int way = S(way_of)(strip, y, y_stride);
    if (way == NEAR) {
        S(put_lines)(strip, from, across, stride, y, y_stride, op, NEAR);
    } else if (way == FETCHED) {
        S(put_lines)(strip, from, across, stride, y, y_stride, op, FETCHED);
    } else {
        S(put_lines)(strip, from, across, stride, y, y_stride, op, PAST_CACHES);
        stream_end();
    }
}

/* The same, to be done later: of whole vectors, where S is T. Where the caller says what is next, no results are
 * fetched early: exponentials between the stores leave time enough. */
static ALWAYS_INLINE T(open_lines) S(open_strip)(const S(strip) *strip, const T(elem) *from, ptrdiff_t across,
                                                 ptrdiff_t stride, S(elem) *y, ptrdiff_t y_stride) {
    const int way = S(way_of)(strip, y, y_stride);
    return (T(open_lines)){.value = from,
                           .y = (void *)y,
                           .a = strip->a,
                           .b = strip->b,
                           .across = across,
                           .stride = stride,
                           .y_stride = y_stride,
                           .columns = strip->columns,
                           .left = strip->n,
                           .past_caches = way == PAST_CACHES,
                           .ahead = way == FETCHED && !strip->next ? AHEAD * y_stride : 0};
}

/* What a call is to do; of -x with `negate`; each column times its own scale, unless that is NULL. */
typedef struct {
    const S(elem) *x;
    S(elem) *y;
    ptrdiff_t n, x_stride, y_stride;
    int negate;
    const double *scale;
    ptrdiff_t next; /* what the caller says of what to fetch, or 0 */
} S(columns_call);

/* And how far it is: whether columns are still read once; the strip before this one, whose results are written while
 * this one is begun; whether this one waits in turn. */
typedef struct {
    int once, stays_open;
    T(open_lines) open;
} S(columns_state);

/* Whether strips may stay open at all: only those of a type that is computed in. */
static ALWAYS_INLINE int S(strips_may_stay_open)(void) {
    return OPEN_LINES != 0 && sizeof(S(elem)) == sizeof(T(elem));
}

static ALWAYS_INLINE int S(has_open)(const S(columns_state) *state) {
    return S(strips_may_stay_open)() && state->open.left > 0;
}

/* What has not been written of the strip before is written, then this strip's results are, or wait. */
static ALWAYS_INLINE void S(end_strip)(const S(strip) *strip, const T(elem) *from, ptrdiff_t across, ptrdiff_t stride,
                                       S(elem) *y, ptrdiff_t y_stride, fs_operation op, S(columns_state) *state) {
    if (S(has_open)(state)) T(close_lines)(&state->open, op);
    if (S(strips_may_stay_open)() && state->stays_open && strip->columns % T(LANES) == 0)
        state->open = S(open_strip)(strip, from, across, stride, y, y_stride);
    else
        S(put_strip)(strip, from, across, stride, y, y_stride, op);
}

/* Softmax of a strip, `count` columns from column `first` on. */
static ALWAYS_INLINE void S(strip_softmax)(const S(columns_call) *call, ptrdiff_t first, ptrdiff_t count,
                                           T(elem) *scratch, S(columns_state) *state) {
    enum { W = T(LANES) };
    const double *scale = call->scale ? call->scale + first : NULL;
    S(elem) *const y = call->y + first;
    S(strip) strip =
        S(make_strip)(call->x + first, count, call->n, call->x_stride, call->negate, scratch, call->next);
    T(open_lines) *const open = S(has_open)(state) ? &state->open : NULL;
    S(wait_in_result)(&strip, y, call->y_stride);
    for (ptrdiff_t at = 0; at < strip.width; at += BATCH * W) {
        const ptrdiff_t end = strip.width - at < BATCH * W ? strip.width : at + BATCH * W;
        T(sum) sums[BATCH];
        for (ptrdiff_t i = at, k = 0; i < end; i += W, k++) S(strip_exp)(&strip, i, open, &state->once, &sums[k]);
        for (ptrdiff_t i = at, k = 0; i < end; i += W, k++) {
            const T(factor) factor = S(factors)(scale ? scale + i : NULL, count - i, &sums[k]);
            T(store)(strip.a + i, factor.hi);
            T(store)(strip.b + i, factor.lo);
        }
    }
    S(end_strip)(&strip, strip.e, strip.e_across, strip.e_step, y, call->y_stride, FS_SOFTMAX, state);
}

/* log_softmax or logsumexp of a strip. */
static ALWAYS_INLINE void S(strip_log)(const S(columns_call) *call, ptrdiff_t first, ptrdiff_t count,
                                       T(elem) *scratch, fs_operation op, S(columns_state) *state) {
    enum { W = T(LANES) };
    const S(elem) *x = call->x + first;
    S(elem) *y = call->y + first;
    const S(strip) strip = S(make_strip)(x, count, call->n, call->x_stride, 0, scratch, call->next);
    T(open_lines) *const open = op != FS_LOGSUMEXP && S(has_open)(state) ? &state->open : NULL;
    for (ptrdiff_t at = 0; at < strip.width; at += BATCH * W) {
        const ptrdiff_t end = strip.width - at < BATCH * W ? strip.width : at + BATCH * W;
        T(v) top[BATCH];
        T(rest) rest[BATCH];
        for (ptrdiff_t i = at, k = 0; i < end; i += W, k++)
            S(strip_rest)(&strip, i, open, &state->once, &top[k], &rest[k]);
        for (ptrdiff_t i = at, k = 0; i < end; i += W, k++) {
            if (op == FS_LOGSUMEXP) {
                const T(v) result = T(logsumexp)(top[k], &rest[k]);
                S(put_logsumexp)(y + i, 1, result, top[k], count - i, x + i, call->n, 1, call->x_stride);
            } else {
                T(store)(strip.a + i, top[k]);
                T(store)(strip.b + i, T(log_tail)(top[k], &rest[k]));
            }
        }
    }
    if (op == FS_LOG_SOFTMAX)
        S(end_strip)(&strip, strip.from, strip.across, strip.stride, y, call->y_stride, op, state);
}

/* A vector of columns too long for scratch memory: it is read two or three times, where it is. */
typedef struct {
    const S(elem) *x;
    ptrdiff_t stride, count;
    int negate;
} S(long_column);

static ALWAYS_INLINE T(v) S(long_column_at)(const S(long_column) *column, ptrdiff_t j) {
    return S(load_some)(column->x + j * column->stride, column->count, column->negate);
}

static ALWAYS_INLINE T(v) S(long_column_top)(const S(long_column) *column, ptrdiff_t n) {
    T(v) top = S(long_column_at)(column, 0);
    for (ptrdiff_t j = 1; j < n; j++) top = T(max)(S(long_column_at)(column, j), top);
    return top;
}

static ALWAYS_INLINE T(sum) S(long_column_sum)(const S(long_column) *column, ptrdiff_t n, const T(reference) *ref) {
    T(exp_sum) sum = T(exp_sum_zero)();
    for (ptrdiff_t j = 0; j < n; j++) {
        T(v) e = S(long_column_at)(column, j);
        T(exp)(&e, 1, ref, 0);
        T(exp_sum_add)(&sum, e);
    }
    return T(exp_sum_total)(sum);
}

/* As column_rest (column_passes.h). */
static MADE_SMALL void S(long_column_rest)(const S(long_column) *column, ptrdiff_t n, T(v) *top, T(rest) *rest) {
    const T(reference) ref = T(make_reference)(S(long_column_top)(column, n));
    *top = S(long_column_at)(column, 0);
    T(exp_sum) sum = T(exp_sum_zero)();
    for (ptrdiff_t j = 1; j < n; j++) {
        const T(v) x = S(long_column_at)(column, j);
        T(v) e = T(min)(*top, x), low;
        *top = T(max)(x, *top);
        T(exp_pair)(&e, &low, 1, &ref, 0);
        T(exp_sum_add_pair)(&sum, e, low);
    }
    rest->sum = T(exp_sum_total)(sum);
    T(set_reference_of_top)(rest, *top);
    T(others)(rest, T(set1)(0));
}

static MADE_SMALL void S(long_columns)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n,
                                       ptrdiff_t x_stride, ptrdiff_t y_stride, fs_operation op, int negate,
                                       const double *scale) {
    for (ptrdiff_t first = 0; first < columns; first += T(LANES)) {
        const S(long_column) column = {x + first, x_stride, columns - first, negate};
        T(reference) ref;
        T(ending) ending;
        if (op == FS_SOFTMAX) {
            ref = T(make_reference)(S(long_column_top)(&column, n));
            const T(sum) sum = S(long_column_sum)(&column, n, &ref);
            const T(factor) factor = S(factors)(scale ? scale + first : NULL, column.count, &sum);
            ending = (T(ending)){factor.hi, factor.lo};
        } else {
            T(v) top;
            T(rest) rest;
            S(long_column_rest)(&column, n, &top, &rest);
            if (op == FS_LOGSUMEXP) {
                const T(v) result = T(logsumexp)(top, &rest);
                S(put_logsumexp)(y + first, 1, result, top, column.count, x + first, n, 1, x_stride);
                continue;
            }
            ending = (T(ending)){top, T(log_tail)(top, &rest)};
        }
        for (ptrdiff_t j = 0; j < n; j++) {
            T(v) value = S(long_column_at)(&column, j);
            if (op == FS_SOFTMAX) T(exp)(&value, 1, &ref, 0);
            S(store_some)(y + first + j * y_stride, T(end)(value, ending, op), column.count);
        }
    }
}

/* Whether strips stay open, so that one's results are written while the next is begun (as groups of rows, rows.h):
 * where these do not come from a near cache. */
static ALWAYS_INLINE int S(strips_stay_open)(ptrdiff_t n, ptrdiff_t y_stride, ptrdiff_t ahead) {
    const int far = ahead || n * y_stride * (ptrdiff_t)sizeof(S(elem)) >= STREAM_FROM;
    return S(strips_may_stay_open)() && n >= OPEN_LINES && far;
}

/* Types: S, computed in T. Max error, range, aliasing, scale: as for rows; last bits may differ from theirs. */
static ALWAYS_INLINE void S(columns)(const S(elem) *x, S(elem) *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,
                                     ptrdiff_t y_stride, T(elem) *scratch, fs_operation op, int negate,
                                     const double *scale, ptrdiff_t ahead) {
    const ptrdiff_t half = S(strip_width)(n, STRIP_BYTES / 2, FS_SCRATCH / 2);
    const int open = half > 0 && op != FS_LOGSUMEXP && S(strips_stay_open)(n, y_stride, ahead);
    const ptrdiff_t fit = open ? half : S(strip_width)(n, STRIP_BYTES, FS_SCRATCH);
    if (fit == 0) {
        S(long_columns)(x, y, columns, n, x_stride, y_stride, op, negate, scale);
        return;
    }
    const S(columns_call) call = {x, y, n, x_stride, y_stride, negate, scale, ahead};
    S(columns_state) state = {.once = !scale || are_moderate(scale, columns, n)};
    /* The other half begins where the first strip ends: all strips but the last are whole vectors, so that two of
     * them need no more than all columns, filled up to whole vectors, which is what scratch memory may be limited to.
     */
    const ptrdiff_t width = (S(next_strip)(columns, fit) + T(LANES) - 1) / T(LANES) *T(LANES);
    T(elem) *memory = scratch, *other = open ? scratch + width * (n + 2) : scratch;
    for (ptrdiff_t first = 0, count; first < columns; first += count) {
        count = S(next_strip)(columns - first, fit);
        state.stays_open = open && first + count < columns;
        if (op == FS_SOFTMAX)
            S(strip_softmax)(&call, first, count, memory, &state);
        else
            S(strip_log)(&call, first, count, memory, op, &state);
        T(elem) *const last = memory;
        memory = other;
        other = last;
    }
    if (open) stream_end();
}
