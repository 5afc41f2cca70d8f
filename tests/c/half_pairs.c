/* Every pair of float16 numbers, and of bfloat16 numbers, as a row of two and as a column of two.
 *
 *     half_pairs [N [target]]
 *
 * With N, only one first number in N and the special ones, each with every second number. Prints the worst error of
 * each kernel in ULP and where it is, and exits with 1 if one is over its bound, or if an infinity or a NaN is not
 * where it belongs. The unit is the last place of the exact result; for logsumexp, of the larger of it and the
 * maximum.
 *
 * The exact results are taken in double, and long double watches a few of each chunk. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elements.h"
#include "kernels.h"

enum { VALUES = 1 << 16, CHUNK = 1024, WATCHED = 3, MAX_TARGETS = 8 };
typedef enum { ROWS, COLUMNS, FORMS } form;
/* What is expected of a pair, in the order of the operations and their results. */
enum { SOFTMAX_0, SOFTMAX_1, LOG_SOFTMAX_0, LOG_SOFTMAX_1, SOFTMIN_0, SOFTMIN_1, LOGSUMEXP_0, EXPECTED };

static const char *const OPERATION_NAMES[FS_OPERATIONS] = {"softmax", "log_softmax", "softmin", "logsumexp"};
static const char *const TYPE_NAMES[FS_TYPES] = {[FS_F16] = "float16", [FS_BF16] = "bfloat16"};
static const char *const FORM_NAMES[FORMS] = {"rows", "columns"};
static const double BOUND = 0.51, REFERENCE_BOUND = 1e-6;

/* Results are compared as doubles, so that one loop without branches judges them all: an infinity stands there for
 * the power of two after the largest number, to which all that rounds to it is clipped, and this for NaN. */
static const double NOT_A_NUMBER = 0x1p1000;
static double infinity_of(fs_type type) { return type == FS_F16 ? 0x1p16 : 0x1p128; }

static double values[VALUES];    /* the numbers of the type in hand, by their bits */
static double judgeable[VALUES]; /* the same, with infinity and NaN as above */

static void make_values(fs_type type) {
    for (int bits = 0; bits < VALUES; bits++) {
        const double value = values[bits] = load_half(type, (uint16_t)bits);
        judgeable[bits] = isnan(value) ? NOT_A_NUMBER : isinf(value) ? copysign(infinity_of(type), value) : value;
    }
}

/* The exact results of a chunk of pairs (a, b[i]), and how many units in the last place 1 is there */

typedef struct {
    double value[EXPECTED][CHUNK], scale[EXPECTED][CHUNK];
} chunk;

static uint64_t to_bits(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* For -700 <= x <= 0. */
static double exponential(double x) {
    static const double factorials[] = {1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600};
    const double shifted = x * 0x1.71547652b82fep0 + 0x1.8p52, n = shifted - 0x1.8p52;
    const double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33; /* |r| < 0.35 */
    double sum = 0;
#pragma GCC unroll 16
    for (int k = 12; k >= 0; k--) sum = sum * r + 1 / factorials[k];
    return sum * from_bits((to_bits(shifted) + 1023) << 52);
}

/* log1p for 0 <= x <= 1, by the series of atanh, with all digits however small x is. */
static double log_plus_one(double x) {
    const double s = x / (2 + x), square = s * s; /* at most 1/9 */
    double sum = 0;
#pragma GCC unroll 16
    for (int k = 15; k >= 0; k--) sum = sum * square + 1.0 / (2 * k + 1);
    return 2 * s * sum;
}

/* 1 / ulp below `value`: where it is a power of two, of the half of the numbers that rounding may come from. */
static double scale_of(fs_type type, double value) {
    const int digits = FACTS[type].digits;
    const int64_t least = 1023 + FACTS[type].min_exponent - 1, most = to_bits(infinity_of(type)) >> 52;
    int64_t exponent = (int64_t)(to_bits(fabs(value)) - 1) >> 52;
    exponent = exponent < least ? least : exponent > most - 1 ? most - 1 : exponent;
    return from_bits((uint64_t)(2046 + digits - 1 - exponent) << 52);
}

static double clipped(fs_type type, double value) {
    const double infinity = infinity_of(type);
    return value > infinity ? infinity : value < -infinity ? -infinity : value;
}

/* Pairs of finite numbers; of others it makes something that `expect_special` replaces. */
static void expect_finite(fs_type type, double a, const double *restrict b, chunk *restrict exact) {
    for (int i = 0; i < CHUNK; i++) {
        const double d = a - b[i], gap = -fabs(d); /* exact for float16; else as good as, where it counts */
        const double e = exponential(gap > -700 ? gap : -700), log_rest = log_plus_one(e);
        const double large = 1 / (1 + e), small = e * large;
        const double first = d >= 0 ? large : small, second = d >= 0 ? small : large;
        const double log_first = (d < 0 ? d : 0) - log_rest, log_second = (d > 0 ? -d : 0) - log_rest;
        const double top = d >= 0 ? a : b[i], log_sum = top + log_rest;
        exact->value[SOFTMAX_0][i] = exact->value[SOFTMIN_1][i] = first;
        exact->value[SOFTMAX_1][i] = exact->value[SOFTMIN_0][i] = second;
        exact->scale[SOFTMAX_0][i] = exact->scale[SOFTMIN_1][i] = scale_of(type, first);
        exact->scale[SOFTMAX_1][i] = exact->scale[SOFTMIN_0][i] = scale_of(type, second);
        exact->value[LOG_SOFTMAX_0][i] = clipped(type, log_first);
        exact->scale[LOG_SOFTMAX_0][i] = scale_of(type, log_first);
        exact->value[LOG_SOFTMAX_1][i] = clipped(type, log_second);
        exact->scale[LOG_SOFTMAX_1][i] = scale_of(type, log_second);
        exact->value[LOGSUMEXP_0][i] = clipped(type, log_sum);
        exact->scale[LOGSUMEXP_0][i] = scale_of(type, fabs(log_sum) > fabs(top) ? log_sum : top);
    }
}

/* A pair that holds a NaN or an infinity: an element -inf takes no part. `u` and `v` are negated for softmin. */
static void expect_special(fs_type type, double u, double v, int first, int log_first, chunk *exact, int i) {
    const double infinity = infinity_of(type), least = u < v ? u : v;
    const int is_nan = isnan(u) || isnan(v) || u == INFINITY || v == INFINITY || u == v;
    const double one = is_nan ? NOT_A_NUMBER : 1, zero = is_nan ? NOT_A_NUMBER : 0;
    exact->value[first][i] = u == least ? zero : one;
    exact->value[first + 1][i] = u == least ? one : zero;
    exact->scale[first][i] = exact->scale[first + 1][i] = 1;
    if (log_first < 0) return;
    exact->value[log_first][i] = is_nan ? NOT_A_NUMBER : u == least ? -infinity : 0;
    exact->value[log_first + 1][i] = is_nan ? NOT_A_NUMBER : u == least ? 0 : -infinity;
    exact->scale[log_first][i] = exact->scale[log_first + 1][i] = 1;
    const double top = u > v ? u : v;
    exact->value[LOGSUMEXP_0][i] = isnan(u) || isnan(v) ? NOT_A_NUMBER : isinf(top) ? copysign(infinity, top) : top;
    exact->scale[LOGSUMEXP_0][i] = scale_of(type, top);
}

/* The largest error of `exact` at pair i, by long double; infinite where a scale is wrong. */
static double watch(fs_type type, double a, double b, const chunk *exact, int i) {
    const long double d = (long double)a - b, top = d > 0 ? a : b, log_rest = log1pl(expl(-fabsl(d)));
    const long double first = 1 / (1 + expl(-d)), second = 1 / (1 + expl(d)), log_sum = top + log_rest;
    const long double results[EXPECTED] = {
        first, second, (d < 0 ? d : 0) - log_rest, (d > 0 ? -d : 0) - log_rest, second, first, log_sum};
    double largest = 0;
    for (int k = 0; k < EXPECTED; k++) {
        const long double unit_of = k == LOGSUMEXP_0 ? fmaxl(fabsl(log_sum), fabsl(top)) : results[k];
        if (fabsl(unit_of) > FACTS[type].largest) continue; /* clipped */
        const double scale = exact->scale[k][i], units = (double)(scale * ulp_of(type, unit_of));
        const long double mantissa = frexpl(unit_of, &(int){0});
        const int near_power_of_two = mantissa - 0.5L < 1e-12L || 1 - mantissa < 1e-12L;
        const double error = (double)(fabsl(exact->value[k][i] - results[k]) * scale);
        largest = fmax(largest, units == 1 || near_power_of_two ? error : INFINITY);
    }
    return largest;
}

/* The kernels on a chunk */

/* An error and the pair's second number in one integer, which is in the order of the errors. */
typedef uint64_t error_at;

static error_at join(float error, int b) {
    uint32_t bits;
    memcpy(&bits, &error, sizeof bits);
    return (error_at)bits << 16 | (unsigned)b;
}

static float error_in(error_at joined) {
    const uint32_t bits = (uint32_t)(joined >> 16);
    float error;
    memcpy(&error, &bits, sizeof error);
    return error;
}

typedef struct {
    error_at at;
    int a;
} finding;

static const fs_table *targets[MAX_TARGETS + 1];
static finding worst[FS_TYPES][MAX_TARGETS][FORMS][FS_OPERATIONS];
static double worst_of_reference[FS_TYPES];
static long pairs[FS_TYPES];

/* The largest error of a chunk of results that lie `stride` apart; infinite where one has the sign it must not. */
static error_at largest_error(const uint16_t *restrict y, int stride, const double *restrict value,
                              const double *restrict scale, uint16_t sign, int from) {
    error_at largest = 0;
    for (int i = 0; i < CHUNK; i++) {
        const int is_wrong = y[i * stride] & sign && value[i] != NOT_A_NUMBER;
        const double error = is_wrong ? INFINITY : fabs(judgeable[y[i * stride]] - value[i]) * scale[i];
        const error_at here = join((float)error, from + i);
        largest = here > largest ? here : largest;
    }
    return largest;
}

typedef struct {
    fs_type type;
    int a, from;
    uint16_t x[FORMS][2 * CHUNK];
    chunk exact;
    _Alignas(64) unsigned char scratch[FS_SCRATCH];
} work;

static error_at run(work *w, const fs_table *table, fs_operation op, form form) {
    static _Thread_local uint16_t y[2 * CHUNK];
    const fs_kernels *kernels = &table->kernels[op][w->type];
    const int first = (int)op * 2, results = op == FS_LOGSUMEXP ? 1 : 2;
    const uint16_t sign = op == FS_SOFTMAX || op == FS_SOFTMIN ? 0x8000 : 0;
    memset(y, 0xff, sizeof y); /* NaN */
    if (form == ROWS)
        kernels->rows(w->x[ROWS], y, CHUNK, 2, 2, results, w->scratch, NULL);
    else
        kernels->columns(w->x[COLUMNS], y, CHUNK, 2, CHUNK, CHUNK, w->scratch, 0);
    error_at largest = 0;
    for (int k = 0; k < results; k++) {
        const error_at here = largest_error(form == ROWS ? y + k : y + k * CHUNK, form == ROWS ? results : 1,
                                            w->exact.value[first + k], w->exact.scale[first + k], sign, w->from);
        largest = here > largest ? here : largest;
    }
    return largest;
}

/* The pairs of `a` and each second number of a chunk. */
static void judge_chunk(fs_type type, int a, int from) {
    static _Thread_local work w;
    double b[CHUNK], error_of_reference = 0;
    w.type = type, w.a = a, w.from = from;
    for (int i = 0; i < CHUNK; i++) {
        b[i] = values[from + i];
        w.x[ROWS][2 * i] = w.x[COLUMNS][i] = (uint16_t)a;
        w.x[ROWS][2 * i + 1] = w.x[COLUMNS][CHUNK + i] = (uint16_t)(from + i);
    }
    expect_finite(type, values[a], b, &w.exact);
    for (int i = 0; i < CHUNK; i++) {
        if (isfinite(values[a]) && isfinite(b[i])) continue;
        expect_special(type, values[a], b[i], SOFTMAX_0, LOG_SOFTMAX_0, &w.exact, i);
        expect_special(type, -values[a], -b[i], SOFTMIN_0, -1, &w.exact, i);
    }
    for (int k = 0; k < WATCHED; k++) {
        const int i = (a * 7 + from / CHUNK * 389 + k * 341) % CHUNK;
        if (isfinite(values[a]) && isfinite(b[i]))
            error_of_reference = fmax(error_of_reference, watch(type, values[a], b[i], &w.exact, i));
    }
    error_at found[MAX_TARGETS][FORMS][FS_OPERATIONS];
    for (int target = 0; targets[target]; target++)
        for (form form = 0; form < FORMS; form++)
            for (fs_operation op = 0; op < FS_OPERATIONS; op++)
                found[target][form][op] = run(&w, targets[target], op, form);
#pragma omp critical
    {
        pairs[type] += CHUNK;
        worst_of_reference[type] = fmax(worst_of_reference[type], error_of_reference);
        for (int target = 0; targets[target]; target++)
            for (form form = 0; form < FORMS; form++)
                for (fs_operation op = 0; op < FS_OPERATIONS; op++)
                    if (error_in(found[target][form][op]) > error_in(worst[type][target][form][op].at))
                        worst[type][target][form][op] = (finding){found[target][form][op], a};
    }
}

static int is_chosen(int a, int step) {
    /* 0, the least number, the largest, infinity and NaN, of either sign and of one type or the other */
    static const int special[] = {0, 1, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7f7f, 0x7f80, 0x7f81, 0x7fff};
    int chosen = a % step == 0;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) chosen |= (a & 0x7fff) == special[i];
    return chosen;
}

static int report(fs_type type) {
    int failures = !(worst_of_reference[type] <= REFERENCE_BOUND);
    printf("%s, %ld pairs; the exact results are within %.2g ULP of long double's\n", TYPE_NAMES[type], pairs[type],
           worst_of_reference[type]);
    for (int target = 0; targets[target]; target++)
        for (form form = 0; form < FORMS; form++)
            for (fs_operation op = 0; op < FS_OPERATIONS; op++) {
                const finding *f = &worst[type][target][form][op];
                const float error = error_in(f->at);
                const int failed = !(error <= BOUND);
                printf("%-10s %-8s %-12s %8.5f ULP at (%g, %g)%s\n", targets[target]->isa, FORM_NAMES[form],
                       OPERATION_NAMES[op], error, values[f->a], values[f->at & 0xffff], failed ? ": FAILED" : "");
                failures += failed;
            }
    return failures;
}

int main(int argc, char **argv) {
    const int step = argc > 1 ? atoi(argv[1]) : 1;
    int failures = 0, count = 0;
    for (const fs_table *const *table = fs_available(); *table; table++)
        if (argc < 3 || !strcmp(argv[2], (*table)->isa)) targets[count++] = *table;
    if (step < 1 || !count) {
        printf("half_pairs: no number from 1 on, or no target of this CPU\n");
        return 2;
    }
    for (fs_type type = FS_F16; type <= FS_BF16; type++) {
        make_values(type);
#pragma omp parallel for schedule(dynamic, 16)
        for (int a = 0; a < VALUES; a++)
            for (int from = 0; is_chosen(a, step) && from < VALUES; from += CHUNK) judge_chunk(type, a, from);
        failures += report(type);
    }
    printf(failures ? "%d FAILURES\n" : "passed\n", failures);
    return failures ? 1 : 0;
}
