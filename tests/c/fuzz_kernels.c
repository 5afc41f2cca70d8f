/* Fuzzes the kernels of rows, columns and parts of every target: against long double, each row's bits wherever it
 * lies, and the memory around all arguments. For libFuzzer. */
#define _GNU_SOURCE
#include "calls_kernels.h"
#include "fuzz.h"

enum { MOST_ROWS = 4, MOST_ELEMENTS = 4096 };

static void draw_pool(bytes *input, fs_type type, int n) {
    pool_size = 1 + take(input) % MOST_ROWS;
    for (int row = 0; row < pool_size; row++) {
        for (int j = 0; j < n; j++) store(type, pool_x, (ptrdiff_t)row * n + j, draw(input, type));
        expect(type, n, row, 0);
        expect(type, n, row, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!x_arena.start) make_arenas();
    bytes input = begin(data, size);
    call c = {.op = (fs_operation)(take(&input) % FS_OPERATIONS),
              .type = (fs_type)(take(&input) % FS_TYPES),
              .form = (form)(take(&input) % FORMS)};
    c.n = draw_length(&input) + (c.form == PARTS ? LEAST_PART : 0);
    c.part = LEAST_PART + take(&input);
    call tile = c;
    tile.x_gap = take(&input) % 20;
    tile.y_gap = take(&input) % 20;
    tile.at_end = take(&input) & 1;
    tile.in_place = take(&input) & 1;
    tile.start = take(&input);
    tile.count = 1 + take(&input) % (tile.n * MAX_COUNT > MOST_ELEMENTS ? MOST_ELEMENTS / tile.n : MAX_COUNT);
    const int mode = take(&input) % MODES;
    draw_pool(&input, c.type, c.n);

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
