/* One call of a kernel of rows, columns or parts: its arguments laid out in guarded memory, what it may not change
 * checked, its results judged. */
#ifndef FS_CALLS_KERNELS_H
#define FS_CALLS_KERNELS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "expected.h"
#include "kernels.h"
#include "failures.h"
#include "surroundings.h"

enum { MAX_COUNT = 70, MAX_TILE = 90000, LEAST_PART = 16, MAX_TARGETS = 8 };

static const char *const OPERATION_NAMES[FS_OPERATIONS] = {"softmax", "log_softmax", "softmin", "logsumexp"};
static const char *const TYPE_NAMES[FS_TYPES] = {"f32", "f64", "f16", "bf16"};
static const double BOUNDS[FS_OPERATIONS] = {3, 3, 3, 2}; /* logsumexp: of the larger of |result| and |max| */
static const double NARROW_BOUND = 0.51; /* float16 and bfloat16: a rounding, and next to nothing before it */

typedef enum { ROWS, COLUMNS, PARTS, FORMS } form;
static const char *const FORM_NAMES[FORMS] = {"rows", "columns", "parts"};

/* One call: `count` rows of the pool from `start` on, laid out as the form says */

typedef struct {
    form form;
    const fs_table *table;
    fs_operation op;
    fs_type type;
    int n, start, count; /* pool rows start, start + 1, ..., round and round */
    int x_gap, y_gap;    /* elements between rows (columns: between lines) that are none of the kernel's business */
    int part;            /* PARTS: elements in each part */
    int cut;             /* PARTS: which of the ways to cut */
    int at_end;          /* of the arenas: else at the start */
    int in_place;        /* y is x */
    int mode;            /* the caller's floating-point environment */
} call;

/* Failures */

static call current;

static void print_current(void) {
    const call *c = &current;
    printf("FAILED %s %s_%s %s: n %d, pool rows %d to %d, gaps %d %d, part %d%s%s, mode %d: ", c->table->isa,
           OPERATION_NAMES[c->op], TYPE_NAMES[c->type], FORM_NAMES[c->form], c->n, c->start, c->start + c->count - 1,
           c->x_gap, c->y_gap, c->part, c->at_end ? ", at the end" : "", c->in_place ? ", in place" : "", c->mode);
}

/* One call */

/* Rows cut at other places may differ in the last bit: what the best target found is kept for each way to cut. */
enum { CUTS = 5 };
static double found[FORMS][MAX_POOL * MAX_N], found_by_best[FORMS + CUTS][MAX_POOL * MAX_N];
static arena x_arena, y_arena, scratch_arena, carry_arena, waiting_arenas[2];

static void make_arenas(void) {
    x_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    y_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    scratch_arena = new_arena(FS_SCRATCH);
    carry_arena = new_arena(3 * sizeof(fs_carry));
    for (int i = 0; i < 2; i++) waiting_arenas[i] = new_arena(LONGEST * sizeof(double));
}

/* How often each kernel was called beside others; that many environments it has met. */
static int met[MAX_TARGETS][FS_OPERATIONS][FS_TYPES][FORMS];

static int results(const call *c) { return c->op == FS_LOGSUMEXP ? 1 : c->n; }

static ptrdiff_t locate(const call *c, int row, int j, int stride) {
    return c->form == COLUMNS ? (ptrdiff_t)j * stride + row : (ptrdiff_t)row * stride + j;
}

/* The length of the part that begins at j. */
static int part_at(const call *c, int j) { return c->n - j - c->part < LEAST_PART ? c->n - j : c->part; }

static fs_part part_from(const call *c, const fs_part *row, int j) {
    const size_t at = size_of(c->type) * (size_t)j, e_at = size_of(computed_in(c->type)) * (size_t)j;
    return (fs_part){(const char *)row->x + at, row->e ? (const char *)row->e + e_at : NULL, (char *)row->y + at,
                     row->carry};
}

/* Where the exponentials of a row may wait, if they may: in the result, or where it has no room for them in memory of
 * their own, one of two. */
static unsigned char *room_for(const call *c, int row, unsigned char *y) {
    const size_t bytes = size_of(computed_in(c->type)) * (size_t)c->n;
    if (c->op == FS_LOGSUMEXP || c->start % 2 == 0) return NULL;
    if (!c->in_place && c->type == computed_in(c->type)) return y;
    return unwritten(waiting_arenas[row % 2].end - bytes, bytes);
}

/* As the callers do: each row is finished while the next is reduced, and the last by itself. */
static void run_parts(const call *c, const fs_kernels *kernels, const unsigned char *x, unsigned char *y,
                      size_t x_stride, size_t y_stride) {
    const size_t size = size_of(c->type);
    fs_carry *carry = (fs_carry *)carry_arena.end - 1, *next = (fs_carry *)carry_arena.start, *waiting = next + 1;
    const fs_carry *whole = (const fs_carry *)((const char *)waiting + carry_arena.read_only);
    fs_part open = {NULL, NULL, NULL, whole}, part = open;
    for (int row = 0; row < c->count; row++, x += size * x_stride, y += size * y_stride) {
        unwritten(memset(carry, CANARY, sizeof *carry), sizeof *carry);
        unwritten(memset(next, CANARY, sizeof *next), sizeof *next);
        const fs_part here = {x, room_for(c, row, y), y, whole};
        int kept = here.e != NULL;
        for (int j = 0; j < c->n; j += part_at(c, j)) {
            const fs_part next_part = part_from(c, &here, j);
            if (open.y) part = part_from(c, &open, j);
            kept &= kernels->reduce(next_part.x, (void *)next_part.e, part_at(c, j), j ? next : carry,
                                    open.y ? &part : NULL);
            if (j) kernels->merge(carry, next);
        }
        *waiting = *carry;
        const fs_part now = {x, kept ? here.e : NULL, y, whole};
        if (c->op == FS_LOGSUMEXP)
            kernels->finish(&now, c->n);
        else
            open = now;
    }
    for (int j = 0; open.y && j < c->n; j += part_at(c, j)) {
        part = part_from(c, &open, j);
        kernels->finish(&part, part_at(c, j));
    }
}

/* Makes the call. Where `record`, keeps the results in `found`; otherwise they must be what is found there. */
static void run(call c, int record) {
    c.mode = record ? 0 : met[index_of(c.table)][c.op][c.type][c.form]++ % MODES;
    current = c;
    calls++;
    static double before[MAX_TILE];
    const fs_kernels *kernels = &c.table->kernels[c.op][c.type];
    const size_t size = size_of(c.type);
    const int m = results(&c);
    const int x_stride = (c.form == COLUMNS ? c.count : c.n) + c.x_gap;
    const int y_stride = c.in_place ? x_stride : (c.form == COLUMNS ? c.count : m) + c.y_gap;
    const size_t x_bytes = size * (size_t)(locate(&c, c.count - 1, c.n - 1, x_stride) + 1);
    const size_t y_bytes = c.in_place ? x_bytes : size * (size_t)(locate(&c, c.count - 1, m - 1, y_stride) + 1);

    unsigned char *x = place(x_arena, x_bytes, c.at_end, 0xFF); /* NaN wherever there is nothing to read */
    for (int row = 0; row < c.count; row++)
        for (int j = 0; j < c.n; j++)
            copy(c.type, x, locate(&c, row, j, x_stride), pool_x, (ptrdiff_t)((c.start + row) % pool_size) * c.n + j);
    unsigned char *y = c.in_place ? x : place(y_arena, y_bytes, c.at_end, CANARY);
    memcpy(before, y, y_bytes);

    const unsigned char *x_seen = c.in_place ? x : x + x_arena.read_only;
    const size_t scratch_bytes =
        c.form == COLUMNS ? scratch_of_columns(c.type, c.count, c.n) : (size_t)fs_rows_scratch(c.op, c.type, c.n);
    void *scratch = unwritten(scratch_arena.end - scratch_bytes, scratch_bytes);
    /* a hint may point to where nobody may read */
    const fs_fetch guarded = {(const char *)scratch_arena.end, (const char *)x_arena.end, 4096};
    enter(c.mode);
    if (c.form == PARTS)
        run_parts(&c, kernels, x_seen, y, (size_t)x_stride, (size_t)y_stride);
    else if (c.form == ROWS)
        kernels->rows(x_seen, y, c.count, c.n, x_stride, y_stride, scratch, c.start % 2 ? &guarded : NULL);
    else
        kernels->columns(x_seen, y, c.count, c.n, x_stride, y_stride, scratch, c.start % 2 ? 1 << 20 : 0);
    const char *complaint = leave();
    if (complaint) fail("%s", complaint);

    if (!canaries_live(y, y_bytes, c.at_end, c.in_place ? 0xFF : CANARY)) fail("bytes beside the result changed");
    for (int row = 0; row < c.count; row++) {
        const int pool_row = (c.start + row) % pool_size;
        for (int j = 0; j < m; j++) {
            ptrdiff_t at = locate(&c, row, j, y_stride), pool_at = (ptrdiff_t)pool_row * m + j;
            if (record)
                copy(c.type, found[c.form], pool_at, y, at);
            else if (!same(c.type, found[c.form], pool_at, y, at))
                fail("element %d of pool row %d is %a here and was %a alone", j, pool_row, load(c.type, y, at),
                     load(c.type, found[c.form], pool_at));
            copy(c.type, y, at, before, at); /* what is left over must be as it was */
        }
    }
    if (memcmp(before, y, y_bytes)) fail("bytes between the results changed");
}

/* The results of every row of the pool */

static double worst[MAX_TARGETS][FS_OPERATIONS][FS_TYPES][FORMS];
static long differing[MAX_TARGETS][FS_OPERATIONS][FS_TYPES];

static void judge(const call *c, int target) {
    const double bound = c->type == FS_F16 || c->type == FS_BF16 ? NARROW_BOUND : BOUNDS[c->op];
    double *worst_here = &worst[target][c->op][c->type][c->form];
    for (int row = 0; row < pool_size; row++) {
        for (int j = 0; j < results(c); j++) {
            ptrdiff_t at = (ptrdiff_t)row * results(c) + j;
            double error = error_of(c->type, c->op, at, found[c->form]);
            *worst_here = fmax(*worst_here, error);
            if (judged && !(error <= bound))
                fail("element %d of pool row %d (pattern %d) is %.17g, %.3g ULP from %.21Lg", j, row, row % PATTERNS,
                     load(c->type, found[c->form], at), error, expected[c->op][at]);
        }
    }
    const size_t bytes = size_of(c->type) * (size_t)(pool_size * results(c));
    double *best = found_by_best[c->form + c->cut];
    if (target == 0) memcpy(best, found[c->form], bytes);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)pool_size * results(c); i++) {
        const int differs = !same(c->type, found[c->form], i, best, i);
        differing[target][c->op][c->type] += differs;
        /* without FMA, float64's exponentials and the logarithms have other last bits */
        if (differs && strcmp(c->table->isa, "baseline"))
            fail("result %td is %a, and %a by the best target", i, load(c->type, found[c->form], i),
                 load(c->type, best, i));
    }
}

#endif
