/* The kernels of the losses and of their gradients, of every target that this CPU can run, against long double: no
 * Python, so it runs under an emulator.
 *
 *     test_losses [target|all [few]]
 *
 * Prints the worst error by target, kernel and type, and exits with 1 if one is over its bound, if a line's bits
 * depend on anything but the line, if targets differ in them, if a byte outside the result changes, or if the
 * caller's floating-point environment does. Arguments lie against unreadable pages, inputs in read-only ones. */
#define _GNU_SOURCE
#include "calls_losses.h"

/* All calls for one kernel and length */

static void test_tile(call c, int count, int variant) {
    c.count = count;
    c.start = (13 * count + 11 * variant) % pool_size;
    c.at_end = variant & 1;
    c.in_place = variant >> 1;
    c.gap = (variant + count + c.n / 2) % 3 == 0 ? 3 : 0;
    run(c, 0);
}

/* Every count of lines for a short length and for one that is not, the edges of the vectors for the others. */
static void test_tiles(call c, int target, int few) {
    static const int counts[] = {1, 2, 8, 17, 33};
    c.count = 1;
    for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
    judge(&c, target);
    if (!few && (c.n == 5 || c.n == 113)) {
        for (int count = 1; count <= MAX_COUNT; count++) test_tile(c, count, count % 4);
        return;
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts && (counts[i] + 3) * (c.n + 3) <= MAX_TILE; i++)
        for (int variant = 0; variant < 4; variant += c.n < 500 ? 1 : 3) test_tile(c, counts[i], variant);
}

static void test_case(const loss_case *what, const arguments *asked, fs_type type, int n) {
    want_case(what, type, n);
    for (form form = 0; form < (what->kernel == PUT ? COLUMNS : FORMS); form++) {
        int target = 0;
        for (const fs_table *const *table = fs_available(); *table; table++) {
            if (asked->only && strcmp(asked->only, (*table)->isa)) continue;
            test_tiles((call){.table = *table, .what = what, .type = type, .form = form, .n = n}, target++,
                       asked->few);
        }
    }
}

static void test_length(const arguments *asked, int n) {
    /* Emulated, all takes minutes. The narrow types take float32's paths, so few lengths will do; the patterns of a
     * long row need come once; and only two kernels have a path of their own for the longest. */
    const fs_type last_type = n <= 5 || n == 17 || n == 65 ? FS_TYPES : FS_F16;
    for (fs_type type = 0; type < last_type; type++) {
        make_pool(type, n);
        if (n > 500) pool_size = PATTERNS;
        make_lines(type, n);
        for (const loss_case *what = LOSS_CASES; what < LOSS_CASES + LOSS_CASE_COUNT; what++)
            if (has_kernel(type, what->kernel) && (n < LONGEST || what->kernel == PARTS || what->kernel == SCALED))
                test_case(what, asked, type, n);
    }
}

/* Several samples in one call of those that take them: the numbers of one call for each. */
static void test_samples(const fs_table *table, fs_type type, int samples, int count, int n) {
    enum { GAP = 3 };
    const int step = count + (count == 1); /* one column beside nothing would be a row */
    const ptrdiff_t apart = n * step + GAP;
    const size_t size = size_of(type), bytes = size * (size_t)((samples - 1) * apart + n * step);
    const size_t scratch_bytes = scratch_of_columns(type, count, n);
    const fs_lines all = {count, n, 1, step, count % 2 ? 1 << 20 : 0, samples, apart};
    const fs_lines one = {count, n, 1, step, 0, 1, 0};
    double parts[2 * MAX_COUNT], picked[MAX_COUNT], wanted[2 * MAX_COUNT], wanted_pick[MAX_COUNT];
    int64_t classes[MAX_COUNT];
    unsigned char *x = place(x_arena, bytes, 1, 0xFF); /* NaN wherever there is nothing to read */
    for (int sample = 0; sample < samples; sample++)
        for (int i = 0; i < n * step; i++) store(type, x, sample * apart + i, uniform(-9, 9));
    for (int i = 0; i < samples * count; i++) classes[i] = i % (n + 1) - 1;
    const unsigned char *seen = x + x_arena.read_only;
    const fs_loss_kernels *kernels = &table->losses[type];
    kernels->parts(seen, &all, parts, unwritten(scratch_arena.end - scratch_bytes, scratch_bytes));
    kernels->pick(seen, &all, classes, picked);
    for (int sample = 0; sample < samples; sample++) {
        const unsigned char *at = seen + (size_t)(sample * apart) * size;
        kernels->parts(at, &one, wanted + 2 * sample * count, scratch_arena.end - scratch_bytes);
        kernels->pick(at, &one, classes + sample * count, wanted_pick + sample * count);
    }
    calls += 2;
    const size_t lines = (size_t)(samples * count);
    if (memcmp(parts, wanted, 2 * lines * sizeof *parts) || memcmp(picked, wanted_pick, lines * sizeof *picked)) {
        failures++;
        printf("FAILED %s %s: %d samples of %d columns, n %d\n", table->isa, TYPE_NAMES[type], samples, count, n);
    }
}

static void test_all_samples(const fs_table *table) {
    static const int samples[] = {1, 2, 3, 4, 5, 9}, counts[] = {1, 2, 15, 16, 17, 40}, lengths[] = {1, 2, 50, 300};
    for (fs_type type = 0; type < FS_TYPES; type++)
        for (size_t s = 0; s < sizeof samples / sizeof *samples; s++)
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
                    if (samples[s] * counts[c] <= MAX_COUNT && samples[s] * counts[c] * lengths[n] <= MAX_TILE)
                        test_samples(table, type, samples[s], counts[c], lengths[n]);
}

/* n numbers of a type to float32, or from there if `narrows`; whether anything but the results changed. */
static int convert(const fs_table *table, fs_type type, int narrows, const void *from, int n, int mode, void *to) {
    const size_t half = (size_t)n * sizeof(uint16_t), wide = (size_t)n * sizeof(float);
    const size_t from_bytes = narrows ? wide : half, to_bytes = narrows ? half : wide;
    unsigned char *x = place(x_arena, from_bytes, mode & 1, X_CANARY);
    unsigned char *y = place(y_arena, to_bytes, mode & 1, CANARY);
    const void *seen = x + x_arena.read_only;
    const fs_runs runs = mode & 2 || n % 4 ? (fs_runs){1, n, 0, 0} : (fs_runs){4, n / 4, n / 4, n / 4};
    memcpy(x, from, from_bytes);
    enter(mode);
    if (narrows)
        table->losses[type].narrow(seen, &runs, y);
    else
        table->losses[type].widen(seen, &runs, (float *)y);
    const int failed = leave() != NULL || !canaries_live(y, to_bytes, mode & 1, CANARY);
    memcpy(to, y, to_bytes);
    calls++;
    return failed;
}

/* What a float32 between a number of the type, at `place` of the order of their bits, and the next becomes: below the
 * middle, at it, above it. */
static void test_narrowing(const fs_table *table, fs_type type, uint16_t place, int mode) {
    const double low = load_half(type, place), unit_here = (double)ulp_of(type, low);
    const float middle = (float)(low + unit_here / 2), below = nextafterf(middle, 0);
    const float above = nextafterf(middle, INFINITY);
    const float given[] = {(float)low, below, middle, above, -(float)low, -below, -middle, -above};
    const uint16_t next = place + 1, even = place & 1 ? next : place, sign = 0x8000;
    const uint16_t due[] = {place, place, even, next, place | sign, place | sign, even | sign, next | sign};
    uint16_t halves[8];
    int failed = place >= infinity_bits(type);
    failed |= convert(table, type, 1, given, 8, mode, halves) || memcmp(halves, due, sizeof due);
    for (int i = 0; i < 8; i++) /* one alone takes another way than a vector */
        failed |= convert(table, type, 1, given + i, 1, mode, halves) || halves[0] != due[i];
    if (failed) {
        failures++;
        printf("FAILED %s %s: narrowing near %a, mode %d\n", table->isa, TYPE_NAMES[type], low, mode);
    }
}

/* All numbers of a type there and back, and what lies between them; any lengths. */
static void test_conversions(const fs_table *table, fs_type type, int step) {
    enum { ALL = 65536, LENGTHS = 70 };
    static uint16_t halves[ALL], back[ALL];
    static float wide[ALL];
    for (int i = 0; i < ALL; i++) halves[i] = (uint16_t)i;
    for (int mode = 0; mode < MODES; mode += step) {
        int failed = convert(table, type, 0, halves, ALL, mode, wide);
        failed |= convert(table, type, 1, wide, ALL, mode, back);
        for (int i = 0; i < ALL; i++) {
            const double value = load_half(type, halves[i]), found = wide[i], again = load_half(type, back[i]);
            failed |= isnan(value) ? !isnan(found) || !isnan(again)
                                   : found != value || !signbit(found) != !signbit(value) || back[i] != halves[i];
        }
        for (int n = 1; n <= LENGTHS; n++) {
            float some[LENGTHS];
            uint16_t some_back[LENGTHS];
            failed |= convert(table, type, 0, halves + 900 * n, n, mode, some);
            failed |= convert(table, type, 1, wide + 900 * n, n, mode, some_back);
            for (int i = 0; i < n; i++)
                failed |= !same(FS_F32, some, i, wide, 900 * n + i) || !same(type, some_back, i, back, 900 * n + i);
        }
        if (failed) {
            failures++;
            printf("FAILED %s %s: conversions, mode %d\n", table->isa, TYPE_NAMES[type], mode);
        }
    }
    for (int place = 0; place < infinity_bits(type); place += step > 1 ? 1 + place % 97 : 1)
        test_narrowing(table, type, (uint16_t)place, place % MODES);
}

/* What is done with classes: those that count, and their losses and sum, with NaN and infinity among them. */
static void test_classes(const fs_table *table, int count, int mode) {
    enum { N = 7 };
    static const int64_t others[] = {-1, N, -100, INT64_MIN, INT64_MAX, N + ((int64_t)1 << 32), -N};
    const int64_t ignore = mode % 2 ? -100 : 3;
    const int at_end = mode & 1, astray = mode % 3 == 0, special = mode % 4 == 1;
    const size_t bytes = (size_t)count * sizeof(double);
    const fs_loss_kernels *kernels = &table->losses[FS_F64];
    int64_t wanted[MAX_COUNT], *classes = (void *)place(class_arena, bytes, at_end, CANARY);
    double losses[MAX_COUNT], total = 0, hi, lo;
    double *parts = (void *)place(line_arena, 2 * bytes, at_end, CANARY);
    double *picked = (void *)place(p_arena, bytes, at_end, CANARY),
           *found = (void *)place(y_arena, bytes, at_end, CANARY);
    int counted = 0, bad = 0;
    for (int i = 0; i < count; i++) {
        const int outside = astray && i % 5 == count % 5;
        classes[i] = outside ? others[(i + mode) % 7] : i % 3 == 1 ? ignore : (int64_t)uniform(0, N);
        const int counts = classes[i] >= 0 && classes[i] < N && classes[i] != ignore;
        bad |= !counts && classes[i] != ignore;
        counted += counts;
        wanted[i] = counts ? classes[i] : -1;
        picked[i] = uniform(-9, 9);
        parts[2 * i] = picked[i] + uniform(0, 30);
        parts[2 * i + 1] = uniform(0, 3);
        if (special && i == count / 2) parts[2 * i + mode / 4 % 2] = mode % 8 < 4 ? NAN : INFINITY;
        losses[i] = counts ? (parts[2 * i] - picked[i]) + parts[2 * i + 1] : 0;
        total += losses[i];
    }
    ptrdiff_t counts = -1;
    enter(mode);
    const int said = kernels->check_classes(classes, count, N, ignore, &counts);
    const char *changed = leave();
    enter(mode);
    kernels->class_losses(parts, picked, classes, count, found);
    kernels->sum(found, count, &hi, &lo);
    const char *changed_then = leave();
    calls += 2;
    int failed = changed || changed_then || said != bad || counts != counted ||
                 !canaries_live((void *)classes, bytes, at_end, CANARY) ||
                 !canaries_live((void *)found, bytes, at_end, CANARY);
    long double exact = 0;
    for (int i = 0; i < count; i++) {
        failed |= wanted[i] < 0 ? classes[i] >= 0 : classes[i] != wanted[i];
        failed |= !same(FS_F64, found, i, losses, i);
        exact += losses[i];
    }
    /* long double's own rounding, and that of the low parts */
    failed |= isfinite(total)
                  ? !(fabsl((long double)hi + lo - exact) <= (judged ? count * 0x1p-62L : 0x1p-40L) * exact)
                  : !same(FS_F64, &hi, 0, &total, 0);
    if (failed) {
        failures++;
        printf("FAILED %s: classes, %d of them, mode %d\n", table->isa, count, mode);
    }
}

/* An element of a line of kind `kind`: unsure of its class, sure, nearly certain, so certain that none of the others
 * is left, or not a number. */
static double share_of(int kind, int n, int is_class) {
    static const double others[] = {0.9, 0.3, 1e-7, 1e-44, 0};
    if (kind == 5) return NAN;
    return is_class ? 1 - others[kind] : others[kind] * uniform(0, 2) / n;
}

static void test_class_gradients(const fs_table *table, fs_type type, int count, int n, form form, int mode) {
    static const double scales[] = {1, -1, 0.37, -0x1p-30, 0x1p37, 0x1p-70, 0};
    const double least = type == FS_F64 ? 0x1p-1000 : 0x1p-120;
    const call c = {.type = type, .form = form, .count = count, .n = n, .gap = 3, .at_end = mode & 1};
    const fs_lines lines =
        form == ROWS ? (fs_lines){count, n, n + 3, 1, 0, 1, 0} : (fs_lines){count, n, 1, count + 3, 0, 1, 0};
    const size_t bytes = bytes_of(&lines, type), a_line = (size_t)count * sizeof(double);
    int64_t classes[MAX_COUNT];
    double scale[MAX_COUNT], alone[MAX_COUNT];
    static double before[MAX_TILE];
    unsigned char *y = place(y_arena, bytes, c.at_end, X_CANARY);
    double *values = (void *)place(line_arena, a_line, c.at_end, CANARY);
    memset(y, X_CANARY, bytes);
    for (int i = 0; i < count; i++) {
        const int kind = (i + mode) % 6;
        classes[i] = i % 7 == 6 ? -1 : (int64_t)uniform(0, n);
        scale[i] = scales[(i * 5 + mode) % 7];
        for (int j = 0; j < n; j++)
            store(type, y, locate(&lines, i, j), scale[i] * share_of(kind, n, j == (int)classes[i]));
    }
    memcpy(before, y, bytes);
    for (int i = 0; i < count; i++) {
        fs_lines one = lines;
        one.count = 1;
        memcpy(y, before, bytes);
        table->losses[type].class_gradients(y + size_of(type) * (size_t)locate(&lines, i, 0), &one, classes + i,
                                            scale + i, alone + i);
    }
    memcpy(y, before, bytes);
    enter(mode);
    ptrdiff_t unknown = table->losses[type].class_gradients(y, &lines, classes, scale, values);
    const char *changed = leave();
    calls++;
    int failed = changed || !canaries_live(y, bytes, c.at_end, X_CANARY) ||
                 !canaries_live((void *)values, a_line, c.at_end, CANARY) || memcmp(values, alone, a_line);
    for (int i = 0; i < count; i++) {
        long double others = 0;
        double own = 0;
        for (int j = 0; j < n; j++) {
            const ptrdiff_t at = locate(&lines, i, j);
            const double was = load(type, (unsigned char *)before, at);
            if (j == classes[i])
                own = was;
            else
                others += was;
            if (j == classes[i] && load(type, y, at) == 0) copy(type, y, at, before, at);
        }
        const int unsure = fabs(own) <= fabs(scale[i]) / 4 && fabs(scale[i]) > n * 0x1p-60;
        const int known = fabsl(others) > n * (fabs(scale[i]) * 0x1p-100L + least);
        if (classes[i] < 0)
            failed |= values[i] != 0;
        else if (unsure)
            failed |= values[i] != own - scale[i];
        else if (known)
            failed |= !(fabsl(values[i] + others) <= (judged ? 1 : 1000) * 0x1p-52L * fabsl(others));
        else
            failed |= !isnan(values[i]);
        unknown -= isnan(values[i]) != 0;
    }
    if (failed || unknown || memcmp(before, y, bytes)) {
        failures++;
        printf("FAILED %s %s: class gradients of %d %s, n %d, mode %d\n", table->isa, TYPE_NAMES[type], count,
               FORM_NAMES[form], n, mode);
    }
}

static void test_all_class_gradients(const fs_table *table, int step) {
    static const int lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 100};
    for (int mode = 0; mode < MODES; mode += step)
        for (int count = 1; count <= 40; count += count < 18 ? 1 : 11)
            for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
                for (fs_type type = FS_F32; type <= FS_F64; type++)
                    for (form form = 0; form < FORMS; form++)
                        test_class_gradients(table, type, count, lengths[n], form, mode);
}

int main(int argc, char **argv) {
    const arguments asked = start(argc, argv);
    make_arenas();

    /* LONGEST columns do not fit scratch memory. */
    static const int lengths[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 97, 111, 112, 113, 1000, LONGEST};
    static const int few[] = {1, 3, 17, 65, 113};
    for (size_t i = 0; asked.few && i < sizeof few / sizeof *few; i++) test_length(&asked, few[i]);
    for (size_t i = 0; !asked.few && i < sizeof lengths / sizeof *lengths; i++) test_length(&asked, lengths[i]);

    printf("worst error in ULP, and how many results differ in their bits from the best target's\n");
    printf("%-10s %-15s %-5s %8s %8s %8s  %s\n", "target", "kernel", "type", "rows", "columns", "differ", "hash");
    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++) {
        if (asked.only && strcmp(asked.only, (*table)->isa)) continue;
        for (int i = 0; i < LOSS_CASE_COUNT; i++)
            for (int type = 0; type < FS_TYPES; type++) {
                const record *here = &records[target][i][type];
                if (!has_kernel(type, LOSS_CASES[i].kernel)) continue;
                if (met[index_of(*table)][i][type] < MODES) {
                    failures++;
                    printf("FAILED: met only %d environments\n", met[index_of(*table)][i][type]);
                }
                printf("%-10s %-15s %-5s %8.3f %8.3f %8ld  %08x\n", (*table)->isa, LOSS_CASES[i].name,
                       TYPE_NAMES[type], here->worst[ROWS], here->worst[COLUMNS], here->differing,
                       (unsigned)(here->hash >> 32));
            }
        target++;
        test_all_samples(*table);
        test_all_class_gradients(*table, asked.few ? 5 : 1);
        for (fs_type type = FS_F16; type < FS_TYPES; type++) test_conversions(*table, type, asked.few ? 5 : 1);
        for (int count = 1; count <= MAX_COUNT; count++)
            for (int mode = 0; mode < MODES; mode += asked.few ? 5 : 1) test_classes(*table, count, mode);
    }
    return finish();
}
