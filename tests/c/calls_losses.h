/* One call of a kernel of the losses: its arguments laid out in guarded memory, what it may not change checked, its
 * results judged. */
#ifndef FS_CALLS_LOSSES_H
#define FS_CALLS_LOSSES_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "expected_losses.h"
#include "kernels.h"
#include "failures.h"
#include "surroundings.h"

enum { MAX_COUNT = 70, MAX_TILE = 20 * (LONGEST + 3), MAX_TARGETS = 8, X_CANARY = 0xFF };

static const char *const TYPE_NAMES[FS_TYPES] = {"f32", "f64", "f16", "bf16"};

typedef enum { ROWS, COLUMNS, FORMS } form;
static const char *const FORM_NAMES[FORMS] = {"rows", "columns"};

/* One call: `count` lines of the pool from `start` on, laid out as the form says */

typedef struct {
    const fs_table *table;
    const loss_case *what;
    fs_type type;
    form form;
    int n, start, count; /* pool rows start, start + 1, ..., round and round */
    int gap;             /* elements between rows (between lines of columns) that are not the kernel's business */
    int at_end;          /* of the arenas: else at the start */
    int in_place;        /* y is x, where the kernel has both */
    int mode;            /* the caller's floating-point environment */
} call;

/* Failures */

static call current;

static void print_current(void) {
    const call *c = &current;
    printf("FAILED %s %s_%s %s: n %d, pool rows %d to %d, gap %d%s%s, mode %d: ", c->table->isa, c->what->name,
           TYPE_NAMES[c->type], FORM_NAMES[c->form], c->n, c->start, c->start + c->count - 1, c->gap,
           c->at_end ? ", at the end" : "", c->in_place ? ", in place" : "", c->mode);
}

/* One call */

static double found[MAX_POOL * MAX_N], found_by_best[MAX_POOL * MAX_N], error_of_best[MAX_POOL * MAX_N];
static arena x_arena, p_arena, y_arena, weight_arena, class_arena, line_arena, scratch_arena;

static void make_arenas(void) {
    arena *const large[] = {&x_arena, &p_arena, &y_arena}, *const small[] = {&class_arena, &line_arena};
    for (int i = 0; i < 3; i++) *large[i] = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    for (int i = 0; i < 2; i++) *small[i] = new_arena(2 * MAX_COUNT * sizeof(double) + MARGIN);
    weight_arena = new_arena(LONGEST * sizeof(double) + MARGIN);
    scratch_arena = new_arena(FS_SCRATCH);
}

/* How often each kernel was called beside others; that many environments it has met. */
static int met[MAX_TARGETS][LOSS_CASE_COUNT][FS_TYPES];

static fs_lines lines_of(const call *c) {
    if (c->what->kernel == PUT) return (fs_lines){c->count, 1, 1, 1, 0, 1, 0};
    if (c->form == ROWS) return (fs_lines){c->count, c->n, c->n + c->gap, 1, 0, 1, 0};
    /* one column beside nothing would be a row */
    return (fs_lines){
        c->count, c->n, 1, c->count + c->gap + (c->count == 1 && c->gap == 0), c->count % 2 ? 1 << 20 : 0, 1, 0};
}

static ptrdiff_t locate(const fs_lines *lines, int row, int j) { return row * lines->stride + j * lines->step; }

static size_t bytes_of(const fs_lines *lines, fs_type type) {
    return size_of(type) * (size_t)(locate(lines, (int)lines->count - 1, (int)lines->n - 1) + 1);
}

static int pool_row(const call *c, int i) { return (c->start + i) % pool_size; }

/* The lines of a pool, laid out; what is between them is NaN. */
static unsigned char *put_lines(const call *c, const fs_lines *lines, arena a, const void *pool) {
    unsigned char *to = place(a, bytes_of(lines, c->type), c->at_end, X_CANARY);
    memset(to, X_CANARY, bytes_of(lines, c->type));
    for (int i = 0; i < c->count; i++) {
        const ptrdiff_t first = (ptrdiff_t)pool_row(c, i) * c->n;
        for (int j = 0; j < c->n; j++) copy(c->type, to, locate(lines, i, j), pool, first + j);
    }
    return to;
}

/* `count` numbers of 8 bytes, as the kernel may see them: not to be written to. */
static const void *put_numbers(const call *c, arena a, const void *numbers, int count) {
    unsigned char *to = place(a, sizeof(double) * (size_t)count, c->at_end, CANARY);
    memcpy(to, numbers, sizeof(double) * (size_t)count);
    return to + a.read_only;
}

static void *scratch_for(const call *c) {
    const size_t bytes = c->form == ROWS ? FS_ROWS_SCRATCH : scratch_of_columns(c->type, c->count, c->n);
    return unwritten(scratch_arena.end - bytes, bytes);
}

static void invoke(const call *c, const fs_lines *lines, const void *x, const void *p, void *y) {
    const fs_loss_kernels *kernels = &c->table->losses[c->type];
    const loss_case *what = c->what;
    const double *weight = what->weight ? put_numbers(c, weight_arena, class_weights, c->n) : NULL;
    const fs_wanted weights = {weight, what->keep, what->share / c->n};
    int64_t classes[MAX_COUNT];
    double scales[MAX_COUNT], values[MAX_COUNT], parts[2 * MAX_COUNT];
    for (int i = 0; i < c->count; i++) {
        classes[i] = pool_class[pool_row(c, i)];
        scales[i] = pool_scale[pool_row(c, i)];
        values[i] = pool_value[pool_row(c, i)];
        parts[2 * i] = pool_top[pool_row(c, i)];
        parts[2 * i + 1] = NAN; /* not of weigh's business */
    }
    const int64_t *class_of = what->classes ? put_numbers(c, class_arena, classes, c->count) : NULL;
    const double *of_lines = what->kernel == WEIGH ? put_numbers(c, line_arena, parts, 2 * c->count)
                             : what->kernel == SCALED || what->kernel == SUBTRACT
                                 ? put_numbers(c, line_arena, scales, c->count)
                                 : put_numbers(c, line_arena, values, c->count);
    void *scratch = scratch_for(c);
    enter(c->mode);
    switch (what->kernel) {
    case PARTS: kernels->parts(x, lines, y, scratch); break;
    case PICK: kernels->pick(x, lines, class_of, y); break;
    case WEIGH: kernels->weigh(x, p, lines, &weights, of_lines, y); break;
    case PUT: kernels->put(of_lines, c->count, y); break;
    case SCALED: kernels->scaled(x, y, lines, of_lines, scratch); break;
    case PLACE: kernels->place(y, lines, class_of, of_lines); break;
    case SUBTRACT: kernels->subtract(y, p, lines, &weights, class_of, of_lines); break;
    }
    const char *complaint = leave();
    if (complaint) fail("%s", complaint);
}

/* Makes the call. Where `record`, keeps the results in `found`; otherwise they must be what is found there. */
static void run(call c, int record) {
    static double before[MAX_TILE];
    const loss_kernel kernel = c.what->kernel;
    c.in_place = kernel == PLACE || kernel == SUBTRACT || (c.in_place && kernel == SCALED);
    c.mode = record ? 0 : met[index_of(c.table)][c.what - LOSS_CASES][c.type]++ % MODES;
    current = c;
    calls++;
    const int m = results_of(kernel, c.n);
    const fs_type type = result_type(kernel, c.type);
    const fs_lines lines = lines_of(&c);
    const fs_lines y_lines = is_of_lines(kernel) ? (fs_lines){c.count, m, m, 1, 0, 1, 0} : lines;
    const size_t y_bytes = bytes_of(&y_lines, type);
    const ptrdiff_t size = (ptrdiff_t)size_of(type);
    const int canary = c.in_place ? X_CANARY : CANARY;

    unsigned char *x = kernel == PUT ? NULL : put_lines(&c, &lines, x_arena, pool_x);
    unsigned char *p = c.what->p ? put_lines(&c, &lines, p_arena, pool_p) + p_arena.read_only : NULL;
    unsigned char *y = c.in_place ? x : place(y_arena, y_bytes, c.at_end, canary);
    if (!c.in_place) memset(y, canary, y_bytes);
    memcpy(before, y, y_bytes);
    invoke(&c, &lines, x && !c.in_place ? x + x_arena.read_only : x, p, y);

    if (!canaries_live(y, y_bytes, c.at_end, canary)) fail("bytes beside the result changed");
    for (int i = 0; i < c.count; i++) {
        for (int j = 0; j < m; j++) {
            const ptrdiff_t at = locate(&y_lines, i, j), pool_at = (ptrdiff_t)pool_row(&c, i) * m + j;
            if (record)
                copy(type, found, pool_at, y, at);
            else if (memcmp(y + size * at, (char *)found + size * pool_at, (size_t)size) &&
                     !same(type, found, pool_at, y, at))
                fail("result %d of pool row %d is %a here and was %a alone", j, pool_row(&c, i), load(type, y, at),
                     load(type, found, pool_at));
            copy(type, y, at, before, at); /* what is left over must be as it was */
        }
    }
    if (memcmp(before, y, y_bytes)) fail("bytes between the results changed");
}

/* The results of every line of the pool */

typedef struct {
    double worst[FORMS];
    long differing;
    uint64_t hash; /* of all bits: to be the same on other CPUs */
} record;

static record records[MAX_TARGETS][LOSS_CASE_COUNT][FS_TYPES];
static record *record_of(const call *c, int target) { return &records[target][c->what - LOSS_CASES][c->type]; }

static void add_to_hash(uint64_t *hash, double value) {
    uint64_t bits = 1;
    if (!isnan(value)) memcpy(&bits, &value, sizeof bits);
    *hash = (*hash ^ bits) * 0x9e3779b97f4a7c15u;
    *hash ^= *hash >> 29;
}

static void judge(const call *c, int target) {
    const fs_type type = result_type(c->what->kernel, c->type);
    const double bound = bound_of(c->what->kernel, c->type);
    const int m = results_of(c->what->kernel, c->n);
    record *here = record_of(c, target);
    current = *c;
    if (target == 0) memcpy(found_by_best, found, size_of(type) * (size_t)(pool_size * m));
    for (current.start = 0; current.start < pool_size; current.start++) {
        for (int j = 0; j < m; j++) {
            const ptrdiff_t at = (ptrdiff_t)current.start * m + j;
            const double value = load(type, found, at);
            const int differs = !same(type, found, at, found_by_best, at);
            /* the best target's error will do for the same bits: emulated, long double is slow */
            const double error = target && !differs ? error_of_best[at] : distance(type, value, at);
            if (target == 0) error_of_best[at] = error;
            here->worst[c->form] = fmax(here->worst[c->form], error);
            if (judged && !(error <= bound))
                fail("result %d (pattern %d) is %.17g, %.3g ULP from %.21Lg", j, current.start % PATTERNS, value,
                     error, wanted[at]);
            add_to_hash(&here->hash, value);
            here->differing += differs;
            /* without FMA, float64's exponentials and the logarithms have other last bits */
            if (differs && strcmp(c->table->isa, "baseline"))
                fail("result %d is %a, and %a by the best target", j, value, load(type, found_by_best, at));
        }
    }
}

#endif
