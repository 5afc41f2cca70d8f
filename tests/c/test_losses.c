/* The kernels of the losses and of their gradients, of every target that this CPU can run, against long double: no
 * Python, so it runs under an emulator.
 *
 *     test_losses [target]
 *
 * Prints the worst error by target, kernel and type, and exits with 1 if one is over its bound, if a line's bits
 * depend on anything but the line, if targets differ in them, if a byte outside the result changes, or if the
 * caller's floating-point environment does. Arguments lie against unreadable pages, inputs in read-only ones. */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
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
    int n, start, count;   /* pool rows start, start + 1, ..., round and round */
    int gap;               /* elements between rows (between lines of columns) that are not the kernel's business */
    int at_end;            /* of the arenas: else at the start */
    int in_place, hostile; /* y is x, where the kernel has both; the caller has a floating-point environment */
} call;

/* Failures */

static call current;

static void print_current(void) {
    const call *c = &current;
    printf("FAILED %s %s_%s %s: n %d, pool rows %d to %d, gap %d%s%s%s: ", c->table->isa, c->what->name,
           TYPE_NAMES[c->type], FORM_NAMES[c->form], c->n, c->start, c->start + c->count - 1, c->gap,
           c->at_end ? ", at the end" : "", c->in_place ? ", in place" : "", c->hostile ? ", hostile" : "");
}

/* One call */

static double found[MAX_POOL * MAX_N], found_by_best[MAX_POOL * MAX_N], error_of_best[MAX_POOL * MAX_N];
static arena x_arena, p_arena, y_arena, weight_arena, class_arena, line_arena, scratch_arena;

static fs_lines lines_of(const call *c) {
    if (c->what->kernel == PUT) return (fs_lines){c->count, 1, 1, 1};
    if (c->form == ROWS) return (fs_lines){c->count, c->n, c->n + c->gap, 1};
    /* one column beside nothing would be a row */
    return (fs_lines){c->count, c->n, 1, c->count + c->gap + (c->count == 1 && c->gap == 0)};
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

/* As little scratch memory as the contract allows, so that its end is guarded. */
static void *scratch_for(const call *c) {
    const size_t columns = (size_t)(c->count + 15) / 16 * 16;
    size_t bytes = size_of(computed_in(c->type)) * (size_t)(c->n + 2) * columns;
    if (c->form == ROWS) bytes = FS_ROWS_SCRATCH;
    return scratch_arena.end - (bytes < FS_SCRATCH ? bytes : FS_SCRATCH);
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
    enter(c->hostile);
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
    current = c;
    const int m = results_of(kernel, c.n);
    const fs_type type = result_type(kernel, c.type);
    const fs_lines lines = lines_of(&c);
    const fs_lines y_lines = is_of_lines(kernel) ? (fs_lines){c.count, m, m, 1} : lines;
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

/* All calls for one kernel and line length */

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
            if (!(error <= bound))
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

static void test_tile(call c, int count, int variant) {
    c.count = count;
    c.start = (13 * count + 11 * variant) % pool_size;
    c.at_end = variant & 1;
    c.in_place = variant >> 1;
    c.gap = (variant + count + c.n / 2) % 3 == 0 ? 3 : 0;
    c.hostile = (variant / 2 + count / 2 + c.n / 2) % 2;
    run(c, 0);
}

/* Every count of lines for a short length and for one that is not, the edges of the vectors for the others. */
static void test_tiles(call c, int target) {
    static const int counts[] = {1, 2, 8, 17, 33};
    c.count = 1;
    for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
    judge(&c, target);
    if (c.n == 5 || c.n == FS_SHORT_ROW + 1) {
        for (int count = 1; count <= MAX_COUNT; count++) test_tile(c, count, count % 4);
        return;
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts && (counts[i] + 3) * (c.n + 3) <= MAX_TILE; i++)
        for (int variant = 0; variant < 4; variant += c.n < 500 ? 1 : 3) test_tile(c, counts[i], variant);
}

static void test_case(const loss_case *what, const char *only, fs_type type, int n) {
    want_case(what, type, n);
    for (form form = 0; form < (what->kernel == PUT ? COLUMNS : FORMS); form++) {
        int target = 0;
        for (const fs_table *const *table = fs_available(); *table; table++) {
            if (only && strcmp(only, (*table)->isa)) continue;
            test_tiles((call){.table = *table, .what = what, .type = type, .form = form, .n = n}, target++);
        }
    }
}

static void test_length(const char *only, int n) {
    /* Emulated, all takes minutes. The narrow types take float32's paths, so few lengths will do; the patterns of a
     * long row need come once; and only two kernels have a path of their own for the longest. */
    const fs_type last_type = n <= 5 || n == 17 || n == 65 ? FS_TYPES : FS_F16;
    for (fs_type type = 0; type < last_type; type++) {
        make_pool(type, n);
        if (n > 500) pool_size = PATTERNS;
        make_lines(type, n);
        for (const loss_case *what = LOSS_CASES; what < LOSS_CASES + LOSS_CASE_COUNT; what++)
            if (n < LONGEST || what->kernel == PARTS || what->kernel == SCALED) test_case(what, only, type, n);
    }
}

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : NULL;
    if (only && !fs_find(only)) {
        printf("there is no target %s here\n", only);
        return 1;
    }
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    arena *const large[] = {&x_arena, &p_arena, &y_arena}, *const small[] = {&class_arena, &line_arena};
    for (int i = 0; i < 3; i++) *large[i] = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    for (int i = 0; i < 2; i++) *small[i] = new_arena(2 * MAX_COUNT * sizeof(double) + MARGIN);
    weight_arena = new_arena(LONGEST * sizeof(double) + MARGIN);
    scratch_arena = new_arena(FS_SCRATCH);

    /* LONGEST columns do not fit scratch memory. */
    static const int lengths[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 97, 1000, LONGEST};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) test_length(only, lengths[i]);

    printf("worst error in ULP, and how many results differ in their bits from the best target's\n");
    printf("%-10s %-15s %-5s %8s %8s %8s  %s\n", "target", "kernel", "type", "rows", "columns", "differ", "hash");
    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++) {
        if (only && strcmp(only, (*table)->isa)) continue;
        for (int i = 0; i < LOSS_CASE_COUNT; i++)
            for (int type = 0; type < FS_TYPES; type++) {
                const record *here = &records[target][i][type];
                printf("%-10s %-15s %-5s %8.3f %8.3f %8ld  %08x\n", (*table)->isa, LOSS_CASES[i].name,
                       TYPE_NAMES[type], here->worst[ROWS], here->worst[COLUMNS], here->differing,
                       (unsigned)(here->hash >> 32));
            }
        target++;
    }
    printf(failures ? "%d FAILURES\n" : "passed\n", failures);
    return failures ? 1 : 0;
}
