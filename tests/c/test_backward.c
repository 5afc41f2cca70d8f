/* The gradients' kernels of every target that this CPU can run, as test_kernels does with the others.
 *
 *     test_backward [target|all [few]]
 *
 * Prints the worst error by target, operation, type and kernel in ULP of the sum of the absolute terms, and exits
 * with 1 if one is over its bound, if a row's bits depend on anything but the row, if targets differ in them, if a
 * byte outside the result changes, or if the caller's floating-point environment does. Arguments lie against
 * unreadable pages, inputs in read-only ones. */
#define _GNU_SOURCE
#include "calls_backward.h"

static const int COUNTS[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 70, 129, MAX_COUNT};

/* All calls for one kernel and length */

static void test_tiles(call c, int target, int few) {
    c.count = 1;
    for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
    judge(&c, target);
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i += few ? 5 : 1) {
        c.count = COUNTS[i];
        if (c.count == MAX_COUNT && c.n == 1000)
            c.count = 300; /* enough to be stored past the caches */
        else if ((c.count + 8) * (c.n + 8) > 90000)
            continue;
        for (int variant = 0; variant < 2 * PLACES; variant++) {
            const int gaps = (variant + (int)i + c.n) % 2;
            c.start = (c.start + 4) % pool_size;
            c.at_end = variant & 1;
            c.where = (where)(variant >> 1);
            c.g_gap = gaps ? 3 : 0;
            c.y_gap = gaps ? 1 : 0;
            c.out_gap = gaps ? 5 : 0;
            run(c, 0);
        }
    }
}

static void test_length(const arguments *asked, int n) {
    for (fs_type type = 0; type < FS_TYPES; type++) {
        for (fs_backward op = 0; op < FS_BACKWARDS; op++) {
            make_pool(type, op, n);
            int target = 0;
            for (const fs_table *const *table = fs_available(); *table; table++) {
                if (asked->only && strcmp(asked->only, (*table)->isa)) continue;
                call c = {.table = *table, .op = op, .type = type, .n = n};
                test_tiles((c.form = ROWS, c), target, asked->few);
                test_tiles((c.form = COLUMNS, c), target, asked->few);
                target++;
            }
        }
    }
}

int main(int argc, char **argv) {
    const arguments asked = start(argc, argv);
    g_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    y_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    out_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
    scratch_arena = new_arena(FS_BACKWARD_SCRATCH);

    static const int lengths[] = {1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17,  31,  33,  62,   63,
                                  64, 65, 66, 72, 79, 80, 81, 95, 96, 97, 128, 193, 257, 1000, MAX_N};
    static const int few[] = {1, 3, 17, 33, 65, 97};
    for (size_t i = 0; asked.few && i < sizeof few / sizeof *few; i++) test_length(&asked, few[i]);
    for (size_t i = 0; !asked.few && i < sizeof lengths / sizeof *lengths; i++) test_length(&asked, lengths[i]);

    printf("worst error in ULP, and how many elements differ in their bits from the best target's\n");
    printf("%-10s %-21s %-5s %8s %8s %10s\n", "target", "operation", "type", "rows", "columns", "differ");
    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++) {
        if (asked.only && strcmp(asked.only, (*table)->isa)) continue;
        for (int op = 0; op < FS_BACKWARDS; op++)
            for (int type = 0; type < FS_TYPES; type++) {
                const double *errors = worst[target][op][type];
                for (form form = 0; form < FORMS; form++)
                    if (met[index_of(*table)][op][type][form] < MODES) {
                        failures++;
                        printf("FAILED: %s met only %d environments\n", FORM_NAMES[form],
                               met[index_of(*table)][op][type][form]);
                    }
                printf("%-10s %-21s %-5s %8.3f %8.3f %10ld\n", (*table)->isa, OPERATION_NAMES[op], TYPE_NAMES[type],
                       errors[ROWS], errors[COLUMNS], differing[target][op][type]);
            }
        target++;
    }
    return finish();
}
