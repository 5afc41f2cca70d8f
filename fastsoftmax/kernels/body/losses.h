/* What losses are made of, over lines of logits (kernels.h): rows, or columns beside each other.
 *
 * A loss needs of each line its maximum and the tail log(sum(exp(x - max))), apart: its terms (max - x) + tail have
 * two parts of one sign, so that the loss of a confident line keeps its digits.
 *
 * Included once for each element type S, computed in T; see body.h. */

static ALWAYS_INLINE void S(put_parts)(double *parts, T(v) top, const T(rest) *rest, ptrdiff_t count) {
    double some[2 * T(LANES)];
    T(put_tops_and_tails)(count < T(LANES) ? some : parts, top, rest);
    if (count < T(LANES)) memcpy(parts, some, 2 * (size_t)count * sizeof *some);
}

/* Types: S, computed in T. Max error of a tail: 2 ULP of T. Range: all; NaN for a line that holds NaN or +inf, or
 * only -inf. */
static ALWAYS_INLINE void S(rows_parts)(const S(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
                                        double *parts) {
    int once = S(seems_ordinary)(x, n);
    for (ptrdiff_t first = 0; first < rows; first += S(read_together)(n)) {
        const S(group) group = S(read_group)(x, rows, n, stride, first, NULL);
        T(rest) rest;
        const T(v) top = S(group_log)(&group, NULL, &once, &rest);
        S(put_parts)(parts + 2 * first, top, &rest, group.count);
    }
}

static ALWAYS_INLINE void S(short_rows_parts)(const S(elem) *x, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t stride,
                                              double *parts, T(elem) *scratch) {
    enum { W = T(LANES) };
    T(elem) *memory = scratch + W * T(SHORT_READ_ROW);
    int once = 1;
    for (ptrdiff_t first = 0; first < rows; first += W) {
        const ptrdiff_t count = rows - first < W ? rows - first : W;
        ptrdiff_t wide_stride = stride;
        const T(elem) *wide = S(wide_rows)(x + first * stride, count, n, &wide_stride, memory);
        T(gather_rows)(wide, count, n, wide_stride, scratch, 0);
        T(v) top;
        T(rest) rest;
        const T(fetched) next = {(const void *)(x + (first + W) * stride), NULL};
        T(column_rest)(scratch, W, n, next, NULL, &once, &top, &rest);
        S(put_parts)(parts + 2 * first, top, &rest, count);
    }
}

/* The parts of some vectors of columns: each is a chain of dependent steps, and theirs overlap. */
enum { S(PARTS) = 4 };
typedef struct {
    T(v) top[S(PARTS)];
    T(rest) rest[S(PARTS)];
    double *parts[S(PARTS)];
    ptrdiff_t columns[S(PARTS)];
    int count;
} S(open_parts);

static ALWAYS_INLINE void S(close_parts)(S(open_parts) *open) {
    for (int k = 0; k < open->count; k++)
        S(put_parts)(open->parts[k], open->top[k], &open->rest[k], open->columns[k]);
    open->count = 0;
}

static ALWAYS_INLINE void S(columns_parts)(const S(elem) *x, const fs_lines *lines, double *parts, T(elem) *scratch) {
    enum { W = T(LANES) };
    const ptrdiff_t n = lines->n, columns = lines->count, stride = lines->step;
    const ptrdiff_t fit = S(strip_width)(n, STRIP_BYTES, FS_SCRATCH);
    int once = 1;
    S(open_parts) open = {.count = 0};
    for (ptrdiff_t sample = 0; sample < lines->samples; sample++, x += lines->apart, parts += 2 * columns) {
        for (ptrdiff_t first = 0; fit == 0 && first < columns; first += W) {
            const S(long_column) column = {x + first, stride, columns - first, 0};
            T(v) top;
            T(rest) rest;
            S(long_column_rest)(&column, n, &top, &rest);
            S(put_parts)(parts + 2 * first, top, &rest, column.count);
        }
        for (ptrdiff_t first = 0, count; fit > 0 && first < columns; first += count) {
            count = S(next_strip)(columns - first, fit);
            const S(strip) strip = S(make_strip)(x + first, count, n, stride, 0, scratch, lines->ahead);
            for (ptrdiff_t i = 0; i < count; i += W) {
                const int k = open.count++;
                open.parts[k] = parts + 2 * (first + i);
                open.columns[k] = count - i;
                S(strip_rest)(&strip, i, NULL, &once, &open.top[k], &open.rest[k]);
                if (open.count == S(PARTS)) S(close_parts)(&open);
            }
        }
    }
    S(close_parts)(&open);
}

static void S(fs_parts)(const void *x, const fs_lines *lines, double *parts, void *scratch) {
    const fs_fpenv callers = fpenv_enter();
    if (lines->step != 1)
        S(columns_parts)(x, lines, parts, scratch);
    else if (lines->n < T(SHORT_READ_ROW))
        S(short_rows_parts)(x, lines->count, lines->n, lines->stride, parts, scratch);
    else
        S(rows_parts)(x, lines->count, lines->n, lines->stride, parts);
    fpenv_leave(callers);
}

/* One element of each line, exactly, where the class is not negative. (A caller that takes subnormal numbers for 0
 * would have it widened to 0.) */
static void S(fs_pick)(const void *from, const fs_lines *lines, const int64_t *classes, double *picked) {
    const fs_fpenv callers = fpenv_enter();
    const ptrdiff_t count = lines->count, stride = lines->stride, step = lines->step;
    for (ptrdiff_t sample = 0; sample < lines->samples; sample++) {
        const S(elem) *x = (const S(elem) *)from + sample * lines->apart;
        for (ptrdiff_t i = 0; i < count; i++, x += stride, classes++, picked++)
            *picked = *classes < 0 ? 0 : (double)S(widen_one)(x[*classes * step]);
    }
    fpenv_leave(callers);
}

static void S(fs_put)(const double *values, ptrdiff_t n, void *to) {
    const fs_fpenv callers = fpenv_enter();
    S(elem) *y = to;
    for (ptrdiff_t i = 0; i < n; i++) S(put_one)(y + i, values[i]);
    fpenv_leave(callers);
}

#ifndef COMPUTED_IN
static void S(fs_widen)(const void *from, const fs_runs *of, float *wide) {
    const fs_fpenv callers = fpenv_enter();
    const S(elem) *x = from;
    for (ptrdiff_t i = 0; i < of->runs; i++) S(widen_row)(x + i * of->stride, of->n, wide + i * of->wide_stride);
    fpenv_leave(callers);
}

static void S(fs_narrow)(const float *wide, const fs_runs *of, void *to) {
    const fs_fpenv callers = fpenv_enter();
    S(elem) *y = to;
    for (ptrdiff_t i = 0; i < of->runs; i++) S(narrow_row)(wide + i * of->wide_stride, y + i * of->stride, of->n);
    fpenv_leave(callers);
}
#endif
