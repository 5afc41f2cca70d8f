/* One call of a kernel of the gradients: its arguments laid out in guarded memory, what it may not change checked,
 * its results judged. */
#ifndef FS_CALLS_BACKWARD_H
#define FS_CALLS_BACKWARD_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "failures.h"
#include "surroundings.h"

enum { PATTERNS = 15, MAX_N = 5003, MAX_COUNT = 600, MAX_TILE = 320000, MAX_TARGETS = 8 };

static const char *const OPERATION_NAMES[FS_BACKWARDS] = {"softmax_backward", "log_softmax_backward"};
static const char *const TYPE_NAMES[FS_TYPES] = {"f32", "f64", "f16", "bf16"};
static const double BOUND = 4, NARROW_BOUND = 0.51;

typedef enum { ROWS, COLUMNS, FORMS } form;
static const char *const FORM_NAMES[FORMS] = {"rows", "columns"};
typedef enum { APART, INTO_G, INTO_Y, PLACES } where;
static const char *const PLACE_NAMES[PLACES] = {"", ", into g", ", into y"};

/* One call: `count` rows of the pool from `start` on, laid out as the form says */

typedef struct {
    form form;
    const fs_table *table;
    fs_backward op;
    fs_type type;
    int n, start, count;       /* pool rows start, start + 1, ..., round and round */
    int g_gap, y_gap, out_gap; /* elements between rows (columns: between lines) that are none of its business */
    int at_end;                /* of the arenas: else at the start */
    where where;
    int mode; /* the caller's floating-point environment */
} call;

/* Failures */

static call current;

static void print_current(void) {
    const call *c = &current;
    printf("FAILED %s %s_%s %s: n %d, pool rows %d to %d, gaps %d %d %d%s%s, mode %d: ", c->table->isa,
           OPERATION_NAMES[c->op], TYPE_NAMES[c->type], FORM_NAMES[c->form], c->n, c->start, c->start + c->count - 1,
           c->g_gap, c->y_gap, c->out_gap, c->at_end ? ", at the end" : "", PLACE_NAMES[c->where], c->mode);
}

/* The pool: a row for each pattern, and what is expected of it */

static double pool_g[PATTERNS * MAX_N], pool_y[PATTERNS * MAX_N]; /* of any type */
static long double expected[PATTERNS * MAX_N], unit[PATTERNS * MAX_N];
static int pool_size;

/* The products of softmax_backward in float64 may be subnormal for no more than the sum does not show. */
static double tiny_number(fs_type type, fs_backward op) {
    return ldexp(1, op == FS_SOFTMAX_BACKWARD && type == FS_F64 ? -900 : FACTS[type].min_exponent);
}

static double element_of_g(int pattern, double tiny, int j, int special) {
    switch (pattern) {
    case 3: return j == special ? -1 / 3.0 : 0;
    case 4: return 100 + uniform(-1, 1);
    case 5: return uniform(-1, 1) * tiny;
    case 6: return uniform(-1, 1) * 0x1p12;
    case 7: return uniform(0, 1) * tiny * 0x1p9;
    case 8: return j % 2 ? 1 : -1; /* a total of 0, or -1 */
    case 9: return 0;
    case 10: return j == special ? INFINITY : uniform(-1, 1);
    case 11: return j == special ? NAN : uniform(-1, 1);
    default: return uniform(-1, 1);
    }
}

/* Outputs of log_softmax, or nearly; those of softmax are their exponentials. The last patterns are no outputs. */
static double element_of_y(int pattern, fs_type type, int n, int j, int special) {
    static const double odd[] = {40.5, -INFINITY, 60, NAN, -0.0, 3, 1e4, INFINITY};
    const double depth = uniform(0, pattern == 1 ? FACTS[type].deepest * 1.5 : 12);
    if (pattern == 12 && j % 3 == 0) return -INFINITY;
    if (pattern == 13) return uniform(-5, 50);
    if (pattern == 14 && j % 5 == 0) return odd[j / 5 % 8];
    return (j == special ? 0 : -depth) - (pattern == 2 ? 0 : 0.3 * log(n));
}

/* *sum + *low += value, exactly short of the last digits of *low */
static void add(long double *sum, long double *low, long double value) {
    volatile long double s = *sum + value, value_part = s - *sum, sum_part = s - value_part;
    if (isfinite(s)) *low += (*sum - sum_part) + (value - value_part);
    *sum = s;
}

static void expect(fs_type type, fs_backward op, int n, ptrdiff_t first) {
    long double total = 0, low = 0, absolute = 0;
    for (int j = 0; j < n; j++) {
        const long double g = load(type, pool_g, first + j), y = load(type, pool_y, first + j);
        const long double term = op == FS_SOFTMAX_BACKWARD ? g * y : g;
        add(&total, &low, term);
        absolute += fabsl(term);
    }
    if (isfinite(total)) total += low;
    for (int j = 0; j < n; j++) {
        const long double g = load(type, pool_g, first + j), y = load(type, pool_y, first + j);
        const long double e = y >= 1500 ? INFINITY : y <= -1500 ? 0 : expl(y); /* as gradient.h has it */
        const int is_softmax = op == FS_SOFTMAX_BACKWARD;
        const long double value = is_softmax ? y * (g - total) : g - e * total;
        const long double terms = is_softmax ? fabsl(y) * (fabsl(g) + absolute) : fabsl(g) + e * absolute;
        expected[first + j] = value;
        /* a total below float32's normal numbers is rounded to half of the least one, whatever multiplies it */
        const long double lost = is_softmax && type != FS_F64 && fabsl(total) < 0x1p-126L ? fabsl(y) * 0x1p-150L : 0;
        unit[first + j] = ulp_of(type, isfinite(terms) ? terms : 0) + (isfinite(lost) ? lost / 4 : 0);
    }
}

static void make_pool(fs_type type, fs_backward op, int n) {
    pool_size = PATTERNS;
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
        const ptrdiff_t first = (ptrdiff_t)pattern * n;
        random_state = (uint64_t)(n * 1000 + pattern);
        const int special = pattern % 3 == 0 ? n - 1 : pattern % 3 == 1 ? 0 : (int)uniform(0, n);
        for (int j = 0; j < n; j++) {
            const double y = element_of_y(pattern, type, n, j, special);
            store(type, pool_y, first + j, op == FS_SOFTMAX_BACKWARD ? exp(y) : y);
            store(type, pool_g, first + j, element_of_g(pattern, tiny_number(type, op), j, special));
        }
        expect(type, op, n, first);
    }
}

static double error_of(fs_type type, ptrdiff_t at, const void *got) {
    const long double wanted = expected[at], value = load(type, got, at);
    if (isnan(wanted)) return isnan(value) ? 0 : INFINITY;
    if (isinf(value) && value * wanted > 0 && fabsl(wanted) > FACTS[type].largest) return 0;
    return isfinite(value) ? (double)(fabsl(value - wanted) / unit[at]) : INFINITY;
}

/* One call */

static double found[FORMS][PATTERNS * MAX_N], found_by_best[FORMS][PATTERNS * MAX_N];
static arena g_arena, y_arena, out_arena, scratch_arena;

/* How often each kernel was called beside others; that many environments it has met. */
static int met[MAX_TARGETS][FS_BACKWARDS][FS_TYPES][FORMS];

static ptrdiff_t locate(const call *c, int row, int j, int stride) {
    return c->form == COLUMNS ? (ptrdiff_t)j * stride + row : (ptrdiff_t)row * stride + j;
}

static size_t bytes_of(const call *c, int stride) {
    return size_of(c->type) * (size_t)(locate(c, c->count - 1, c->n - 1, stride) + 1);
}

/* An input in its arena, NaN wherever there is nothing to read. */
static unsigned char *lay(const call *c, arena a, const void *pool, int stride) {
    unsigned char *to = place(a, bytes_of(c, stride), c->at_end, 0xFF);
    for (int row = 0; row < c->count; row++)
        for (int j = 0; j < c->n; j++)
            copy(c->type, to, locate(c, row, j, stride), pool, (ptrdiff_t)((c->start + row) % pool_size) * c->n + j);
    return to;
}

/* Makes the call. Where `record`, keeps the results in `found`; otherwise they must be what is found there. */
static void run(call c, int record) {
    c.mode = record ? 0 : met[index_of(c.table)][c.op][c.type][c.form]++ % MODES;
    current = c;
    calls++;
    static unsigned char before[MAX_TILE * sizeof(double)];
    const fs_backward_kernels *kernels = &c.table->backward[c.op][c.type];
    const int line = c.form == COLUMNS ? c.count : c.n;
    const int g_stride = line + c.g_gap, y_stride = line + c.y_gap;
    const int out_stride = c.where == INTO_G ? g_stride : c.where == INTO_Y ? y_stride : line + c.out_gap;
    const size_t out_bytes = bytes_of(&c, out_stride);
    const int canary = c.where == APART ? CANARY : 0xFF;

    unsigned char *g = lay(&c, g_arena, pool_g, g_stride), *y = lay(&c, y_arena, pool_y, y_stride);
    unsigned char *out = c.where == INTO_G   ? g
                         : c.where == INTO_Y ? y
                                             : place(out_arena, out_bytes, c.at_end, CANARY);
    memcpy(before, out, out_bytes);

    const size_t scratch_bytes = c.form == ROWS ? FS_ROWS_SCRATCH : FS_BACKWARD_SCRATCH;
    void *scratch = unwritten(scratch_arena.end - scratch_bytes, scratch_bytes);
    enter(c.mode);
    (c.form == ROWS ? kernels->rows : kernels->columns)(c.where == INTO_G ? g : g + g_arena.read_only,
                                                        c.where == INTO_Y ? y : y + y_arena.read_only, out, c.count,
                                                        c.n, g_stride, y_stride, out_stride, scratch);
    const char *complaint = leave();
    if (complaint) fail("%s", complaint);

    if (!canaries_live(out, out_bytes, c.at_end, canary)) fail("bytes beside the result changed");
    for (int row = 0; row < c.count; row++) {
        const int pool_row = (c.start + row) % pool_size;
        for (int j = 0; j < c.n; j++) {
            const ptrdiff_t at = locate(&c, row, j, out_stride), pool_at = (ptrdiff_t)pool_row * c.n + j;
            if (record)
                copy(c.type, found[c.form], pool_at, out, at);
            else if (!same(c.type, found[c.form], pool_at, out, at))
                fail("element %d of pool row %d is %a here and was %a alone", j, pool_row, load(c.type, out, at),
                     load(c.type, found[c.form], pool_at));
            copy(c.type, before, at, out, at); /* what is left over must be as it was */
        }
    }
    if (memcmp(before, out, out_bytes)) fail("bytes between the results changed");
}

/* The results of every row of the pool */

static double worst[MAX_TARGETS][FS_BACKWARDS][FS_TYPES][FORMS];
static long differing[MAX_TARGETS][FS_BACKWARDS][FS_TYPES];

static void judge(const call *c, int target) {
    const double bound = c->type == FS_F16 || c->type == FS_BF16 ? NARROW_BOUND : BOUND;
    double *worst_here = &worst[target][c->op][c->type][c->form];
    for (ptrdiff_t at = 0; at < (ptrdiff_t)pool_size * c->n; at++) {
        const double error = error_of(c->type, at, found[c->form]);
        *worst_here = fmax(*worst_here, error);
        if (judged && !(error <= bound))
            fail("element %d of pool row %d is %.17g, %.3g ULP from %.21Lg", (int)(at % c->n), (int)(at / c->n),
                 load(c->type, found[c->form], at), error, expected[at]);
    }
    double *best = found_by_best[c->form];
    if (target == 0) memcpy(best, found[c->form], size_of(c->type) * (size_t)(pool_size * c->n));
    for (ptrdiff_t at = 0; at < (ptrdiff_t)pool_size * c->n; at++) {
        const int differs = !same(c->type, found[c->form], at, best, at);
        differing[target][c->op][c->type] += differs;
        /* without FMA, float64's exponentials have other last bits */
        if (differs && strcmp(c->table->isa, "baseline"))
            fail("result %td is %a, and %a by the best target", at, load(c->type, found[c->form], at),
                 load(c->type, best, at));
    }
}

#endif
