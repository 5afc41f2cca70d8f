/* Fuzzes the kernels of the gradients as fuzz_kernels does the others. */
#define _GNU_SOURCE
#include "calls_backward.h"
#include "fuzz.h"

enum { MOST_ROWS = 4, MOST_COUNT = 70, MOST_ELEMENTS = 4096 };

/* Within what the bound is promised for: no product of two elements, nor a sum of them, overflows, nor, in float64,
 * underflows. */
static double draw_within(bytes *input, fs_type type) {
    const double x = draw(input, type), size = fabs(x);
    if (type == FS_F16 || !isfinite(x)) return x;
    if (size > (type == FS_F64 ? 0x1p480 : 0x1p50)) return copysign(1, x);
    return type == FS_F64 && size < 0x1p-480 ? 0 : x;
}

static void draw_pool(bytes *input, fs_type type, fs_backward op, int n) {
    pool_size = 1 + take(input) % MOST_ROWS;
    for (int row = 0; row < pool_size; row++) {
        const ptrdiff_t first = (ptrdiff_t)row * n;
        for (int j = 0; j < n; j++) {
            store(type, pool_g, first + j, draw_within(input, type));
            const double y = draw_within(input, type);
            store(type, pool_y, first + j, op == FS_SOFTMAX_BACKWARD && !(take(input) & 1) ? exp(-fabs(y)) : y);
        }
        expect(type, op, n, first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!g_arena.start) {
        g_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
        y_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
        out_arena = new_arena(MAX_TILE * sizeof(double) + MARGIN);
        scratch_arena = new_arena(FS_BACKWARD_SCRATCH);
    }
    bytes input = begin(data, size);
    call c = {.op = (fs_backward)(take(&input) % FS_BACKWARDS),
              .type = (fs_type)(take(&input) % FS_TYPES),
              .form = (form)(take(&input) % FORMS),
              .n = draw_length(&input)};
    call tile = c;
    tile.g_gap = take(&input) % 20;
    tile.y_gap = take(&input) % 20;
    tile.out_gap = take(&input) % 20;
    tile.at_end = take(&input) & 1;
    tile.where = (where)(take(&input) % PLACES);
    tile.start = take(&input);
    tile.count = 1 + take(&input) % (tile.n * MOST_COUNT > MOST_ELEMENTS ? MOST_ELEMENTS / tile.n : MOST_COUNT);
    const int mode = take(&input) % MODES;
    draw_pool(&input, c.type, c.op, c.n);

    int target = 0;
    for (const fs_table *const *table = fs_available(); *table; table++, target++) {
        c.table = tile.table = *table;
        c.count = 1;
        for (c.start = 0; c.start < pool_size; c.start++) run(c, 1);
        judge(&c, target);
        met[target][c.op][c.type][c.form] = mode;
        run(tile, 0);
    }
    return end();
}
