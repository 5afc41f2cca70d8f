/* Every kernel of every target that this CPU can run, against long double: no Python, so it runs under an emulator.
 *
 *     test_kernels [target|all [few]]
 *
 * Prints the worst error by target, operation, type and kernel in ULP, and exits with 1 if one is over its bound, if
 * a row's bits depend on anything but the row, if targets differ in them, if a byte outside the result changes, or if
 * the caller's floating-point environment does. Arguments lie against unreadable pages, inputs in read-only ones. */
#define _GNU_SOURCE
#include "calls_kernels.h"

static const int COUNTS[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, MAX_COUNT};

/* All calls for one kernel and length */

static void test_tiles(call c, int target, int few) {
    c.count = 1;
    for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
    judge(&c, target);
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i += few ? 5 : 1) {
        c.count = COUNTS[i];
        if ((c.count + 8) * (c.n + 8) > MAX_TILE) break;
        if (c.form == ROWS && c.n >= 112 && c.count > 5) break; /* these go one by one */
        for (int variant = 0; variant < 4; variant++) {
            const int gaps = (variant + (int)i + c.n) % 2;
            c.start = (c.start + 11) % pool_size;
            c.at_end = variant & 1;
            c.in_place = variant >> 1;
            c.x_gap = gaps ? 3 : 0;
            c.y_gap = gaps ? 5 : 0;
            run(c, 0);
        }
    }
}

static void test_parts(call c, int target) {
    const int parts[CUTS] = {c.n, (c.n + 1) / 2, (c.n + 2) / 3, 71, LEAST_PART};
    for (int i = 0; i < CUTS; i++) {
        c.cut = i;
        c.part = parts[i];
        if (c.part < LEAST_PART || c.part > c.n) continue;
        for (int variant = 0; variant < 6; variant++) {
            c.at_end = variant & 1;
            c.in_place = variant / 2 == 1;
            c.count = variant < 3 || 3 * (c.n + 8) > MAX_TILE ? 1 : 3;
            c.x_gap = c.y_gap = c.count > 1 ? 3 : 0;
            for (c.start = variant; c.start < pool_size; c.start += variant ? 7 : 1) run(c, variant == 0);
        }
        judge(&c, target);
    }
}

static void test_length(const arguments *asked, int n) {
    for (fs_type type = 0; type < FS_TYPES; type++) {
        make_pool(type, n);
        for (fs_operation op = 0; op < FS_OPERATIONS; op++) {
            int target = 0;
            for (const fs_table *const *table = fs_available(); *table; table++) {
                if (asked->only && strcmp(asked->only, (*table)->isa)) continue;
                call c = {.table = *table, .op = op, .type = type, .n = n};
                test_tiles((c.form = ROWS, c), target, asked->few);
                test_tiles((c.form = COLUMNS, c), target, asked->few);
                test_parts((c.form = PARTS, c), target);
                target++;
            }
        }
    }
}

/* Elements of every size, `step` apart, each its own number, between bytes that cannot be read or must not change. */
static void test_gather(const fs_table *table) {
    static const int steps[] = {1, 2, 3, 7, 100, -1, -2, -3, -41};
    static int mode;
    for (int size = 2; size <= 8; size *= 2)
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
            for (int n = 1; n <= 70; n++) {
                const int step = steps[s], distance = step < 0 ? -step : step, at_end = mode & 1;
                const size_t x_bytes = (size_t)(size * ((n - 1) * distance + 1)), y_bytes = (size_t)(size * n);
                unsigned char *x = place(x_arena, x_bytes, at_end, 0xFF),
                              *y = place(y_arena, y_bytes, at_end, CANARY);
                uint64_t numbers[70], wanted[70];
                for (int i = 0; i < n; i++) {
                    numbers[i] = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
                    memcpy(x + (step < 0 ? n - 1 - i : i) * distance * size, numbers + i, (size_t)size);
                    memcpy((char *)wanted + i * size, numbers + i, (size_t)size);
                }
                const unsigned char *first = x + (step < 0 ? (n - 1) * distance * size : 0) + x_arena.read_only;
                calls++;
                enter(mode);
                table->gather(first, size, step, y, n);
                const char *complaint = leave();
                if (complaint || memcmp(y, wanted, y_bytes) || !canaries_live(y, y_bytes, at_end, CANARY)) {
                    failures++;
                    printf("FAILED %s gather: size %d, step %d, n %d, mode %d: %s\n", table->isa, size, step, n, mode,
                           complaint ? complaint : "other bytes than those wanted");
                }
                mode = (mode + 1) % MODES;
            }
}

/* The tables cover each other's gaps only if no kernel was left out. */
static void count_calls(const fs_table *table) {
    for (fs_operation op = 0; op < FS_OPERATIONS; op++)
        for (fs_type type = 0; type < FS_TYPES; type++)
            for (form form = 0; form < FORMS; form++)
                if (met[index_of(table)][op][type][form] < MODES) {
                    failures++;
                    printf("FAILED %s %s_%s %s met only %d environments\n", table->isa, OPERATION_NAMES[op],
                           TYPE_NAMES[type], FORM_NAMES[form], met[index_of(table)][op][type][form]);
                }
}

int main(int argc, char **argv) {
    static const int longer[] = {79, 80, 97, 111, 112, 128, 193, 257, 1000, MAX_N};
    static const int few[] = {1, 3, 17, 33, 65, 97};
    const arguments asked = start(argc, argv);
    if (fs_find("no such target") || !fs_find("baseline"))
        fail("fs_find: 'no such target' is found, or baseline not");
    make_arenas();

    for (size_t i = 0; asked.few && i < sizeof few / sizeof *few; i++) test_length(&asked, few[i]);
    for (int n = 1; !asked.few && n <= 70; n++) test_length(&asked, n);
    for (size_t i = 0; !asked.few && i < sizeof longer / sizeof *longer; i++) test_length(&asked, longer[i]);

    printf("worst error in ULP, and how many elements differ in their bits from the best target's\n");
    printf("%-10s %-12s %-5s %8s %8s %8s %10s\n", "target", "operation", "type", "rows", "columns", "parts",
           "differ");
    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++) {
        if (asked.only && strcmp(asked.only, (*table)->isa)) continue;
        test_gather(*table);
        count_calls(*table);
        for (int op = 0; op < FS_OPERATIONS; op++)
            for (int type = 0; type < FS_TYPES; type++) {
                const double *errors = worst[target][op][type];
                printf("%-10s %-12s %-5s %8.3f %8.3f %8.3f %10ld\n", (*table)->isa, OPERATION_NAMES[op],
                       TYPE_NAMES[type], errors[ROWS], errors[COLUMNS], errors[PARTS], differing[target][op][type]);
            }
        target++;
    }
    return finish();
}
