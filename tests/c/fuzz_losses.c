/* Fuzzes the kernels of the losses and of their gradients as fuzz_kernels does the others. */
#define _GNU_SOURCE
#include "calls_losses.h"
#include "fuzz.h"

enum { MOST_ROWS = 4, MOST_ELEMENTS = 4096 };

/* Neither so small nor so large that a product of two of them leaves float64. */
static double draw_factor(bytes *input, fs_type type) {
    const double size = fabs(draw(input, type));
    return size > 0x1p60 ? INFINITY : size < 0x1p-60 ? 0 : size;
}

static void draw_pool(bytes *input, const loss_case *what, fs_type type, int n) {
    pool_size = 1 + take(input) % MOST_ROWS;
    for (int j = 0; j < n; j++) {
        const double weight = what->weight ? draw_factor(input, FS_F64) : 1;
        class_weights[j] = isfinite(weight) ? weight : 2;
    }
    for (int row = 0; row < pool_size; row++) {
        const ptrdiff_t first = (ptrdiff_t)row * n;
        for (int j = 0; j < n; j++) {
            store(type, pool_x, first + j, draw(input, type));
            const double p = what->p ? draw_factor(input, type) : 0;
            store(type, pool_p, first + j, isfinite(p) ? p : 1);
        }
        pool_class[row] = take_below(input, n + 1) - 1;
        pool_scale[row] = scale_at(type, n, take(input));
        pool_value[row] = draw(input, FS_F64);
        expect(type, n, row, 0);
        expect(type, n, row, 1);
        find_top_and_tail(type, n, row);
    }
    want_case(what, type, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!x_arena.start) make_arenas();
    bytes input = begin(data, size);
    call c = {.what = LOSS_CASES + take(&input) % LOSS_CASE_COUNT,
              .type = (fs_type)(take(&input) % FS_TYPES),
              .form = (form)(take(&input) % FORMS),
              .n = draw_length(&input)};
    if (!has_kernel(c.type, c.what->kernel)) c.type = FS_F32;
    call tile = c;
    tile.gap = take(&input) % 20;
    tile.at_end = take(&input) & 1;
    tile.in_place = take(&input) & 1;
    tile.start = take(&input);
    tile.count = 1 + take(&input) % (tile.n * MAX_COUNT > MOST_ELEMENTS ? MOST_ELEMENTS / tile.n : MAX_COUNT);
    const int mode = take(&input) % MODES;
    draw_pool(&input, c.what, c.type, c.n);

    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++, target++) {
        c.table = tile.table = *table;
        c.count = 1;
        for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
        judge(&c, target);
        met[target][c.what - LOSS_CASES][c.type] = mode;
        run(tile, 0);
    }
    return end();
}
