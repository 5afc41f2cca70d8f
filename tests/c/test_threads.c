/* Every kernel of every target that this CPU can run, from several threads at once on the same inputs: for
 * ThreadSanitizer. No OpenMP: its library is not instrumented, and what it orders would look like races.
 *
 *     test_threads [target|all]
 *
 * Exits with 1 if a thread gets other bits than a call alone. */
#define _GNU_SOURCE
#include <pthread.h>

#include "memory.h"
#include "failures.h"

enum { THREADS = 4, TURNS = 3, MAX_N = 80, MAX_COUNT = 21, ELEMENTS = MAX_N * MAX_COUNT, MOST_RESULTS = 16 << 20 };

/* Shared by all, and written by none once the threads run. */
static double inputs[FS_TYPES][3][ELEMENTS]; /* of the type: x or g, the outputs y, p */
static double weights[MAX_N], scales[MAX_COUNT], parts[2 * MAX_COUNT];
static int64_t classes[MAX_COUNT];
static unsigned char wanted[MOST_RESULTS];
static size_t wanted_bytes;
static const fs_table *table;

static void print_current(void) { printf("FAILED %s: ", table->isa); }

/* Where a thread puts its results, one after the other. */
typedef struct {
    unsigned char *next, *scratch;
} place;

static void *room(place *to, size_t bytes) {
    void *start = memset(to->next, 0xA5, bytes);
    to->next += (bytes + 63) / 64 * 64;
    return start;
}

static void run_operations(place *to, fs_type type, int n, int count) {
    const size_t bytes = size_of(type) * (size_t)(n * count);
    const double *x = inputs[type][0], *y = inputs[type][1];
    for (fs_operation op = 0; op < FS_OPERATIONS; op++) {
        const fs_kernels *kernels = &table->kernels[op][type];
        const int one = op == FS_LOGSUMEXP;
        kernels->rows(x, room(to, bytes), count, n, n, one ? 1 : n, to->scratch, NULL);
        kernels->columns(x, room(to, bytes), count, n, count, count, to->scratch, 0);
        if (n < 32) continue;
        fs_carry *carry = room(to, sizeof *carry), *next = room(to, sizeof *next);
        kernels->reduce(x, NULL, 16, carry, NULL);
        kernels->reduce((const char *)x + 16 * size_of(type), NULL, n - 16, next, NULL);
        kernels->merge(carry, next);
        const fs_part open = {x, NULL, room(to, bytes), carry}, part = {x, NULL, room(to, bytes), carry};
        kernels->reduce(x, NULL, n, next, one ? NULL : &open);
        kernels->finish(&part, n);
    }
    for (fs_backward op = 0; op < FS_BACKWARDS; op++) {
        table->backward[op][type].rows(x, y, room(to, bytes), count, n, n, n, n, to->scratch);
        table->backward[op][type].columns(x, y, room(to, bytes), count, n, count, count, count, to->scratch);
    }
    table->gather(x, (ptrdiff_t)size_of(type), 2, room(to, bytes / 2), n * count / 2);
}

static void run_losses(place *to, fs_type type, int n, int count, int columns) {
    const fs_loss_kernels *kernels = &table->losses[type];
    const size_t bytes = size_of(type) * (size_t)(n * count), a_line = sizeof(double) * (size_t)count;
    const fs_lines lines = columns ? (fs_lines){count, n, 1, count} : (fs_lines){count, n, n, 1};
    const fs_wanted wanted_with = {weights, 0.9, 0.1 / n};
    const void *x = inputs[type][0], *p = inputs[type][2];
    void *y = memcpy(room(to, bytes), x, bytes);
    kernels->parts(x, &lines, room(to, 2 * a_line), to->scratch);
    kernels->pick(x, &lines, classes, room(to, a_line));
    kernels->put(scales, count, room(to, bytes));
    if (kernels->widen) {
        float *wide = room(to, sizeof *wide * (size_t)(n * count));
        const fs_runs runs = {count, n, n, n};
        kernels->widen(x, &runs, wide);
        kernels->narrow(wide, &runs, y);
        return;
    }
    kernels->weigh(x, p, &lines, &wanted_with, parts, room(to, 2 * a_line));
    kernels->scaled(x, room(to, bytes), &lines, scales, to->scratch);
    kernels->subtract(y, p, &lines, &wanted_with, classes, scales);
    kernels->class_gradients(y, &lines, classes, scales, room(to, a_line));
    kernels->place(y, &lines, classes, scales);
}

static size_t run_all(unsigned char *results, unsigned char *scratch) {
    static const int lengths[] = {1, 5, 17, 63, 64, MAX_N};
    place to = {results, scratch};
    for (fs_type type = 0; type < FS_TYPES; type++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            run_operations(&to, type, lengths[i], MAX_COUNT);
            run_losses(&to, type, lengths[i], MAX_COUNT, 0);
            run_losses(&to, type, lengths[i], MAX_COUNT, 1);
        }
    return (size_t)(to.next - results);
}

static void *work(void *number) {
    unsigned char *results = malloc(MOST_RESULTS), *scratch = aligned_alloc(64, FS_SCRATCH);
    long different = !results || !scratch || fs_find(table->isa) != table;
    for (int turn = 0; turn < TURNS && !different; turn++)
        different += run_all(results, scratch) != wanted_bytes || memcmp(results, wanted, wanted_bytes);
    free(results);
    free(scratch);
    *(long *)number = different;
    return NULL;
}

static void make_inputs(void) {
    random_state = 1;
    for (fs_type type = 0; type < FS_TYPES; type++)
        for (int i = 0; i < ELEMENTS; i++) {
            store(type, inputs[type][0], i, i % 97 ? uniform(-30, 30) : i % 2 ? -INFINITY : -1e4);
            store(type, inputs[type][1], i, uniform(0, 1));
            store(type, inputs[type][2], i, uniform(0, 1));
        }
    for (int i = 0; i < MAX_N; i++) weights[i] = uniform(0, 2);
    for (int i = 0; i < MAX_COUNT; i++) {
        classes[i] = i % 5 ? 0 : -1;
        scales[i] = uniform(-2, 2);
        parts[2 * i] = 30;
    }
}

int main(int argc, char **argv) {
    const arguments asked = start(argc, argv);
    unsigned char *scratch = aligned_alloc(64, FS_SCRATCH);
    make_inputs();
    for (const fs_table *const *available = fs_available(); *available; available++) {
        table = *available;
        if (asked.only && strcmp(asked.only, table->isa)) continue;
        wanted_bytes = run_all(wanted, scratch);
        pthread_t threads[THREADS];
        long different[THREADS];
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(threads + i, NULL, work, different + i)) return 2;
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            if (different[i]) fail("thread %d got other results than a call alone", i);
        }
        printf("%-10s %d threads, %d turns, %zu bytes of results each\n", table->isa, THREADS, TURNS, wanted_bytes);
    }
    free(scratch);
    return finish();
}
