/* Every kernel of every target that this CPU can run, against long double: no Python, so it runs under an emulator.
 *
 *     test_kernels [target [turns]]
 *
 * With "turns", only rows of the lengths at which the kernels' paths turn, none of them long.
 * Prints the worst error by target, operation, type and kernel in ULP, and exits with 1 if one is over its bound, if
 * a row's bits depend on anything but the row, if a byte outside the result changes, or if the caller's
 * floating-point environment does. Arguments lie against unreadable pages, inputs in read-only ones. */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "expected.h"
#include "kernels.h"
#include "failures.h"
#include "surroundings.h"

enum { MAX_COUNT = 70, MAX_TILE = 90000, LEAST_PART = 16 };

static const char *const OPERATION_NAMES[FS_OPERATIONS] = {"softmax", "log_softmax", "softmin", "logsumexp"};
static const char *const TYPE_NAMES[FS_TYPES] = {"f32", "f64", "f16", "bf16"};
static const double BOUNDS[FS_OPERATIONS] = {3, 3, 3, 2}; /* logsumexp: of the larger of |result| and |max| */
static const double NARROW_BOUND = 0.51; /* float16 and bfloat16: a rounding, and next to nothing before it */
static const int COUNTS[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, MAX_COUNT};

typedef enum { ROWS, COLUMNS, PARTS, FORMS } form;
static const char *const FORM_NAMES[FORMS] = {"rows", "columns", "parts"};

/* One call: `count` rows of the pool from `start` on, laid out as the form says */

typedef struct {
    form form;
    const fs_table *table;
    fs_operation op;
    fs_type type;
    int n, start, count;   /* pool rows start, start + 1, ..., round and round */
    int x_gap, y_gap;      /* elements between rows (columns: between lines) that are none of the kernel's business */
    int part;              /* PARTS: elements in each part */
    int cut;               /* PARTS: which of the ways to cut */
    int at_end;            /* of the arenas: else at the start */
    int in_place, hostile; /* y is x; the caller has a floating-point environment of its own */
} call;

/* Failures */

static call current;

static void print_current(void) {
    const call *c = &current;
    printf("FAILED %s %s_%s %s: n %d, pool rows %d to %d, gaps %d %d, part %d%s%s%s: ", c->table->isa,
           OPERATION_NAMES[c->op], TYPE_NAMES[c->type], FORM_NAMES[c->form], c->n, c->start, c->start + c->count - 1,
           c->x_gap, c->y_gap, c->part, c->at_end ? ", at the end" : "", c->in_place ? ", in place" : "",
           c->hostile ? ", hostile" : "");
}

/* One call */

/* Rows cut at other places may differ in the last bit: what the best target found is kept for each way to cut. */
enum { CUTS = 5 };
static double found[FORMS][MAX_POOL * MAX_N], found_by_best[FORMS + CUTS][MAX_POOL * MAX_N];
static arena x_arena, y_arena, scratch_arena;

static int results(const call *c) { return c->op == FS_LOGSUMEXP ? 1 : c->n; }

static ptrdiff_t locate(const call *c, int row, int j, int stride) {
    return c->form == COLUMNS ? (ptrdiff_t)j * stride + row : (ptrdiff_t)row * stride + j;
}

/* The length of the part that begins at j. */
static int part_at(const call *c, int j) { return c->n - j - c->part < LEAST_PART ? c->n - j : c->part; }

static void run_parts(const call *c, const fs_kernels *kernels, const unsigned char *x, unsigned char *y) {
    const size_t size = size_of(c->type);
    fs_carry carry, next;
    memset(&carry, CANARY, sizeof carry);
    memset(&next, CANARY, sizeof next);
    for (int j = 0; j < c->n; j += part_at(c, j)) {
        kernels->reduce(x + size * (size_t)j, part_at(c, j), j ? &next : &carry);
        if (j) kernels->merge(&carry, &next);
    }
    if (c->op == FS_LOGSUMEXP) {
        kernels->finish(x, y, c->n, &carry);
        return;
    }
    for (int j = 0; j < c->n; j += part_at(c, j))
        kernels->finish(x + size * (size_t)j, y + size * (size_t)j, part_at(c, j), &carry);
}

/* Makes the call. Where `record`, keeps the results in `found`; otherwise they must be what is found there. */
static void run(call c, int record) {
    current = c;
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
    enter(c.hostile);
    if (c.form == PARTS)
        run_parts(&c, kernels, x_seen, y);
    else
        (c.form == ROWS ? kernels->rows : kernels->columns)(x_seen, y, c.count, c.n, x_stride, y_stride,
                                                            scratch_arena.end - FS_SCRATCH);
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

/* All calls for one kernel and row length */

static double worst[16][FS_OPERATIONS][FS_TYPES][FORMS];
static long differing[16][FS_OPERATIONS][FS_TYPES];

static void judge(const call *c, int target) {
    const double bound = c->type == FS_F16 || c->type == FS_BF16 ? NARROW_BOUND : BOUNDS[c->op];
    double *worst_here = &worst[target][c->op][c->type][c->form];
    for (int row = 0; row < pool_size; row++) {
        for (int j = 0; j < results(c); j++) {
            ptrdiff_t at = (ptrdiff_t)row * results(c) + j;
            double error = error_of(c->type, c->op, at, found[c->form]);
            *worst_here = fmax(*worst_here, error);
            if (!(error <= bound))
                fail("element %d of pool row %d (pattern %d) is %.17g, %.3g ULP from %.21Lg", j, row, row % PATTERNS,
                     load(c->type, found[c->form], at), error, expected[c->op][at]);
        }
    }
    const size_t bytes = size_of(c->type) * (size_t)(pool_size * results(c));
    double *best = found_by_best[c->form + c->cut];
    if (target == 0) memcpy(best, found[c->form], bytes);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)pool_size * results(c); i++)
        differing[target][c->op][c->type] += !same(c->type, found[c->form], i, best, i);
}

static void test_tiles(call c, int target) {
    c.count = 1;
    for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
    judge(&c, target);
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i++) {
        c.count = COUNTS[i];
        if ((c.count + 8) * (c.n + 8) > MAX_TILE) break;
        if (c.form == ROWS && c.n > FS_SHORT_ROW && c.count > 5) break; /* these go one by one */
        for (int variant = 0; variant < 4; variant++) {
            const int gaps = (variant + (int)i + c.n) % 2;
            c.start = (c.start + 11) % pool_size;
            c.at_end = variant & 1;
            c.in_place = variant >> 1;
            c.x_gap = gaps ? 3 : 0;
            c.y_gap = gaps ? 5 : 0;
            c.hostile = (variant / 2 + (int)i + c.n / 2) % 2;
            run(c, 0);
        }
    }
}

static void test_parts(call c, int target) {
    const int parts[CUTS] = {c.n, (c.n + 1) / 2, (c.n + 2) / 3, 71, LEAST_PART};
    c.count = 1;
    for (int i = 0; i < CUTS; i++) {
        c.cut = i;
        c.part = parts[i];
        if (c.part < LEAST_PART || c.part > c.n) continue;
        for (int variant = 0; variant < 4; variant++) {
            c.at_end = variant & 1;
            c.in_place = variant >> 1;
            c.hostile = variant == 1 || variant == 2;
            for (c.start = variant; c.start < pool_size; c.start += variant ? 7 : 1) run(c, variant == 0);
        }
        judge(&c, target);
    }
}

static int is_turn(int n) { return n <= 5 || n % 16 <= 1; }

static void test_length(const char *only, int n) {
    for (fs_type type = 0; type < FS_TYPES; type++) {
        make_pool(type, n);
        for (fs_operation op = 0; op < FS_OPERATIONS; op++) {
            int target = 0;
            for (const fs_table *const *table = fs_available(); *table; table++) {
                if (only && strcmp(only, (*table)->isa)) continue;
                call c = {.table = *table, .op = op, .type = type, .n = n};
                test_tiles((c.form = ROWS, c), target);
                test_tiles((c.form = COLUMNS, c), target);
                test_parts((c.form = PARTS, c), target);
                target++;
            }
        }
    }
}

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : NULL;
    const int turns_only = argc > 2 && !strcmp(argv[2], "turns");
    if (fs_find("no such target") || !fs_find("baseline") || (only && !fs_find(only))) {
        printf("fs_find: 'no such target' is found, or baseline or the given target is not\n");
        return 1;
    }
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    x_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    y_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    scratch_arena = new_arena(FS_SCRATCH);

    for (int n = 1; n <= 70; n++)
        if (!turns_only || is_turn(n)) test_length(only, n);
    const int longer[] = {97, 128, 193, 257, 1000, MAX_N};
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (!turns_only || is_turn(longer[i])) test_length(only, longer[i]);

    printf("worst error in ULP, and how many elements differ in their bits from the best target's\n");
    printf("%-10s %-12s %-5s %8s %8s %8s %10s\n", "target", "operation", "type", "rows", "columns", "parts",
           "differ");
    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++) {
        if (only && strcmp(only, (*table)->isa)) continue;
        for (int op = 0; op < FS_OPERATIONS; op++)
            for (int type = 0; type < FS_TYPES; type++) {
                const double *errors = worst[target][op][type];
                printf("%-10s %-12s %-5s %8.3f %8.3f %8.3f %10ld\n", (*table)->isa, OPERATION_NAMES[op],
                       TYPE_NAMES[type], errors[ROWS], errors[COLUMNS], errors[PARTS], differing[target][op][type]);
            }
        target++;
    }
    printf(failures ? "%d FAILURES\n" : "passed\n", failures);
    return failures ? 1 : 0;
}
