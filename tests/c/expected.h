/* The rows that the kernels are given, and the exact results in long double. */
#ifndef FS_EXPECTED_H
#define FS_EXPECTED_H

#include "memory.h"

/* Rows longer than MAX_N, up to LONGEST, still fit the pool where their patterns come once. */
enum { MAX_N = 5003, MAX_POOL = 64, LONGEST = 8209 };

/* The pool: one row for each pattern and seed, and what is expected of it */

static double pool_x[MAX_POOL * MAX_N]; /* of either type */
static long double expected[FS_OPERATIONS][MAX_POOL * MAX_N], unit[FS_OPERATIONS][MAX_POOL * MAX_N];
static int pool_size;

enum { PATTERNS = 20 };

static double element(int pattern, fs_type type, int n, int j, int special) {
    const double lowest = -FACTS[type].largest, deepest = FACTS[type].deepest;
    int is_special = j == special;
    switch (pattern) {
    case 0: return uniform(-1, 1);
    case 1: return uniform(-60, 60);
    case 2: return 1e4 + uniform(-10, 10);
    case 3: return -1e4 + uniform(-1, 1);
    case 4: return 0.7;
    case 5: return is_special ? 25 : uniform(-1, 1);
    case 6: return is_special ? 0 : -0.7 * FACTS[type].digits + uniform(-1, 1); /* tiny terms that still count */
    case 7: return is_special ? 0 : -uniform(0, deepest);
    case 8: return is_special ? 300.5 : 300.5 - uniform(deepest - 18, deepest); /* subnormal results */
    case 9: return uniform(-1, 1) < 0 ? lowest : -lowest;
    case 10: return is_special ? 1 : lowest;
    case 11: return uniform(-1, 1) * exp(uniform(0, log(-lowest)));
    case 12: return 16384 + uniform(-2, 2) * (n - j);
    case 13: return uniform(-1, 1) * 0x1p22;
    case 14: return uniform(-1, 1) * ldexp(1, FACTS[type].min_exponent - FACTS[type].digits / 2);
    case 15: return j & 1 ? 3 : uniform(0, 3); /* the maximum many times */
    case 16: return is_special ? NAN : uniform(-5, 5);
    case 17: return is_special ? INFINITY : uniform(-5, 5);
    case 18: return is_special ? uniform(-5, 5) : -INFINITY;
    default: return -INFINITY;
    }
}

/* a - b = *difference + the returned rest, exactly: (x - max) may not fit a long double. */
static long double subtract(long double a, long double b, long double *difference) {
    volatile long double d = a - b, b_part = a - d, a_part = d + b_part;
    *difference = d;
    return isfinite(d) ? (a - a_part) + (b_part - b) : 0;
}

static void expect(fs_type type, int n, int row, int minus) {
    const double sign = minus ? -1 : 1;
    const ptrdiff_t first = (ptrdiff_t)row * n;
    static long double exponentials[LONGEST];
    long double top = -INFINITY, rest = 0;
    int at = 0, is_nan = 0;
    for (int j = 0; j < n; j++) {
        long double x = sign * load(type, pool_x, first + j);
        is_nan |= isnan(x);
        if (x > top) top = x, at = j;
    }
    const int is_infinite = isinf(top);
    for (int j = 0; j < n; j++) {
        long double d, low = subtract(sign * load(type, pool_x, first + j), top, &d);
        exponentials[j] = expl(d) * (1 + low);
        rest += j == at ? 0 : exponentials[j];
    }
    const long double log_rest = log1pl(rest);
    for (int j = 0; j < n; j++) {
        long double d, low = subtract(sign * load(type, pool_x, first + j), top, &d);
        long double probability = is_nan || is_infinite ? NAN : exponentials[j] / (1 + rest);
        expected[minus ? FS_SOFTMIN : FS_SOFTMAX][first + j] = probability;
        unit[minus ? FS_SOFTMIN : FS_SOFTMAX][first + j] = ulp_of(type, probability);
        if (!minus) {
            long double log_probability = is_nan || is_infinite ? NAN : d == 0 ? -log_rest : (d - log_rest) + low;
            expected[FS_LOG_SOFTMAX][first + j] = log_probability;
            unit[FS_LOG_SOFTMAX][first + j] = ulp_of(type, log_probability);
        }
    }
    if (!minus) {
        long double log_sum = is_nan ? NAN : is_infinite ? top : top + log_rest;
        expected[FS_LOGSUMEXP][row] = log_sum;
        unit[FS_LOGSUMEXP][row] = ulp_of(type, fmaxl(fabsl(log_sum), fabsl(top)));
    }
}

static void make_pool(fs_type type, int n) {
    int seeds = n > 1000 ? 1 : 3;
    pool_size = 0;
    for (int seed = 0; seed < seeds; seed++) {
        for (int pattern = 0; pattern < PATTERNS; pattern++, pool_size++) {
            random_state = (uint64_t)(n * 1000 + seed * 100 + pattern);
            int special = seed == 0 ? n - 1 : seed == 1 ? 0 : (int)uniform(0, n);
            for (int j = 0; j < n; j++)
                store(type, pool_x, (ptrdiff_t)pool_size * n + j, element(pattern, type, n, j, special));
            expect(type, n, pool_size, 0);
            expect(type, n, pool_size, 1);
        }
    }
}

static inline double error_of(fs_type type, fs_operation op, ptrdiff_t at, const void *got) {
    long double wanted = expected[op][at], value = load(type, got, at);
    long double largest = FACTS[type].largest;
    if (isnan(wanted)) return isnan(value) ? 0 : INFINITY;
    if (isinf(value) && value * wanted > 0 && fabsl(wanted) > largest) return 0;
    if (signbit(value) && (op == FS_SOFTMAX || op == FS_SOFTMIN)) return INFINITY;
    return isfinite(value) ? (double)(fabsl(value - wanted) / unit[op][at]) : INFINITY;
}

#endif
