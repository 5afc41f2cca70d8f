/* What the losses' kernels are given beside the rows of expected.h, and the exact results in long double. */
#ifndef FS_EXPECTED_LOSSES_H
#define FS_EXPECTED_LOSSES_H

#include "expected.h"

typedef enum { PARTS, PICK, WEIGH, PUT, SCALED, PLACE, SUBTRACT } loss_kernel;

/* A kernel with some of its optional arguments. `share` is of all classes. */
typedef struct {
    loss_kernel kernel;
    const char *name;
    int p, weight, classes;
    double keep, share;
} loss_case;

static const loss_case LOSS_CASES[] = {
    {PARTS, "parts", 0, 0, 0, 0, 0},
    {PICK, "pick", 0, 0, 1, 0, 0},
    {WEIGH, "weigh", 0, 0, 0, 0.9, 0.1},
    {WEIGH, "weigh w", 0, 1, 0, 0.9, 0.1},
    {WEIGH, "weigh p", 1, 0, 0, 1, 0},
    {WEIGH, "weigh p,w", 1, 1, 0, 0.7, 0.3},
    {PUT, "put", 0, 0, 0, 0, 0},
    {SCALED, "scaled", 0, 0, 0, 0, 0},
    {PLACE, "place", 0, 0, 1, 0, 0},
    {SUBTRACT, "subtract", 0, 0, 0, 0.9, 0.1},
    {SUBTRACT, "subtract c", 0, 0, 1, 0.9, 0.1},
    {SUBTRACT, "subtract w,c", 0, 1, 1, 0.7, 0.3},
    {SUBTRACT, "subtract p", 1, 0, 0, 1, 0},
    {SUBTRACT, "subtract p,w", 1, 1, 0, 0.7, 0.3},
    {SUBTRACT, "subtract p,w,c", 1, 1, 1, 0.7, 0.3},
};
enum { LOSS_CASE_COUNT = sizeof LOSS_CASES / sizeof *LOSS_CASES };

/* Lines of float16 and bfloat16 are widened for the other kernels. */
static int has_kernel(fs_type type, loss_kernel kernel) {
    return type == FS_F32 || type == FS_F64 || kernel == PARTS || kernel == PICK || kernel == PUT;
}

/* What belongs to a row of the pool, whichever call it is in */

static double pool_p[MAX_POOL * MAX_N]; /* of either type, as pool_x */
static double class_weights[LONGEST];
static int64_t pool_class[MAX_POOL];
static double pool_scale[MAX_POOL], pool_value[MAX_POOL], pool_top[MAX_POOL];
static long double pool_tail[MAX_POOL];

/* Whatever rounds, overflows or vanishes in one of the types. */
static double value_to_narrow(int i) {
    static const double values[] = {
        0,
        -0.0,
        1,
        1.0 / 3,
        -2.0 / 3,
        1e-3,
        -12345.678,
        65504,
        65519.99,
        65520,
        1e5,
        -1e39,
        0x1p-14,
        0x1.fp-15,
        0x1p-24,
        0x1p-25,
        0x1.8p-25,
        -0x1.4p-24,
        1 + 0x1p-11 + 0x1p-40, /* ties of both narrow types, nearly: float32 would have them */
        -(1 + 0x1p-8 - 0x1p-40),
        1 + 0x1p-8 + 0x1p-40,
        0x1.8p-25 + 0x1p-70,
        -0x1p-134 - 0x1p-170,
        0x1p-126,
        -0x1.4p-130,
        0x1p-149,
        1e-46,
        0x1p-1074,
        -1e-310,
        1e308,
        -0x1.fffffep127,
        INFINITY,
        -INFINITY,
        NAN,
        0x1.004p0,
        0x1.00cp0,
        0x1.01p0,
        0x1.03p0,
        0x1.000001p0,
        0x1.000003p0,
        0x1.004000000001p0,
    };
    return values[i % (int)(sizeof values / sizeof *values)];
}

static double scale_at(fs_type type, int n, int i) {
    const int wide = computed_in(type) == FS_F64;
    const double scales[] = {
        1,
        -1,
        0,
        0.37,
        -123.4,
        1e-5,
        1.0 / 3,
        -0x1.8p-30,
        uniform(-2, 2),
        wide ? -0x1p48 : 0x1p37,
        (wide ? 0x1.1p-915 : -0x1.1p-60) * n,
        wide ? 0x1p1000 : -0x1p126,
        wide ? -0x1.5p-1010 : 0x1.5p-90,
    };
    return scales[i % (int)(sizeof scales / sizeof *scales)];
}

static double probability(fs_type type, int row, int n, int j) {
    /* what scales it and is added to it must not round it a second time: float64's least numbers stay away */
    const double tiny = type == FS_F64 ? 0x1p-900 : ldexp(1, FACTS[type].min_exponent - FACTS[type].digits + 2);
    switch (row % 7) {
    case 0: return j == (int)pool_class[row];
    case 1: return 0;
    case 2: return uniform(0, 4) * tiny;
    case 3: return uniform(0, 1) < 0.5 ? 0 : uniform(0, 100);
    case 4: return j == n / 2 && row % 2 ? NAN : uniform(0, 1);
    case 5: return uniform(-1, 1);
    default: return uniform(0, 2.0 / n);
    }
}

/* After what is expected of the row. */
static void find_top_and_tail(fs_type type, int n, int row) {
    const ptrdiff_t first = (ptrdiff_t)row * n;
    double top = -INFINITY;
    long double tail = -INFINITY;
    for (int j = 0; j < n; j++) {
        const double x = load(type, pool_x, first + j);
        top = isnan(top) || isnan(x) ? NAN : x > top ? x : top;
        tail = fmaxl(tail, expected[FS_LOG_SOFTMAX][first + j]);
    }
    pool_top[row] = top;
    pool_tail[row] = isfinite(top) ? -tail : NAN;
}

/* After make_pool. */
static void make_lines(fs_type type, int n) {
    random_state = (uint64_t)n;
    for (int j = 0; j < n; j++) class_weights[j] = j % 5 == 4 ? 0 : j % 5 == 3 ? uniform(0, 1000) : uniform(0.5, 2);
    for (int row = 0; row < pool_size; row++) {
        const ptrdiff_t first = (ptrdiff_t)row * n;
        pool_class[row] = (row + n) % 6 == 5 ? -1 - row : row % 3 ? (int64_t)uniform(0, n) : row % 2 ? n - 1 : 0;
        pool_scale[row] = scale_at(type, n, 7 * row + 3 * n + row / PATTERNS);
        pool_value[row] = value_to_narrow(7 * n + row);
        for (int j = 0; j < n; j++) store(type, pool_p, first + j, probability(type, row, n, j));
        find_top_and_tail(type, n, row);
    }
}

/* What is expected of each pool row: `results` numbers of `result_type`. A unit of 0 asks for that number with its
 * sign, an infinite one for nothing. */

static long double wanted[MAX_POOL * MAX_N], wanted_unit[MAX_POOL * MAX_N];

static int is_of_lines(loss_kernel kernel) { return kernel == PARTS || kernel == PICK || kernel == WEIGH; }

static int results_of(loss_kernel kernel, int n) {
    return kernel == PARTS || kernel == WEIGH ? 2 : kernel == PICK || kernel == PUT ? 1 : n;
}

static fs_type result_type(loss_kernel kernel, fs_type type) { return is_of_lines(kernel) ? FS_F64 : type; }

/* The bounds of body/losses.h and body/line_passes.h. */
static double bound_of(loss_kernel kernel, fs_type type) {
    switch (kernel) {
    case SCALED: return 3;
    case WEIGH: return 5; /* roundings of a term: lines seldom meet 2, the fuzzer met 2.26 */
    case PUT:
    case PLACE: return 0.5;
    case SUBTRACT: return type == FS_F64 ? 0.5 : 0.51;
    default: return 2;
    }
}

static void want(ptrdiff_t at, long double value, long double unit_here) {
    wanted[at] = value;
    wanted_unit[at] = unit_here;
}

/* What class j of a pool row is wanted with; the size of its terms in *size. */
static long double wanted_with(const loss_case *c, fs_type type, ptrdiff_t first, int n, int j, long double *size) {
    const double share = c->share / n; /* as the kernels are given it */
    const long double weight = c->weight ? class_weights[j] : 1;
    const long double term = c->p ? (long double)c->keep * load(type, pool_p, first + j) : 0;
    *size = weight * (fabsl(term) + share);
    return weight * (term + share);
}

typedef struct {
    long double hi, lo;
} long_sum;

static void add_long(long_sum *sum, long double x) {
    long double total;
    sum->lo += isfinite(x) ? subtract(sum->hi, -x, &total) : 0;
    sum->hi += x;
}

/* The sums of q (top - x) and of q; a difference past float64 is infinite. Terms below its normal numbers lose half
 * of the least one each, and float32's sums half a unit. */
static void want_sums(const loss_case *c, fs_type type, int n, int row) {
    const ptrdiff_t first = (ptrdiff_t)row * n;
    long_sum gaps = {0, 0}, weights = {0, 0};
    long double gaps_size = 0, weights_size = 0, size;
    for (int j = 0; j < n; j++) {
        const long double q = wanted_with(c, type, first, n, j, &size);
        long double gap = (long double)pool_top[row] - load(type, pool_x, first + j);
        if (gap > (long double)FACTS[FS_F64].largest) gap = INFINITY;
        add_long(&gaps, q * gap);
        add_long(&weights, q);
        gaps_size += size * gap;
        weights_size += size;
    }
    const long double lost = n * 0x1p-1076L;
    const long double units = type == FS_F64 ? 1 : 1 + n / (2 * bound_of(WEIGH, type));
    want(2 * row, gaps.hi + gaps.lo, units * ulp_of(FS_F64, gaps_size) + lost);
    want(2 * row + 1, weights.hi + weights.lo, units * ulp_of(FS_F64, weights_size) + lost);
}

/* y, which holds x, less scale * q: half an ULP for each rounding to the type, and four of what is subtracted. */
static void want_difference(const loss_case *c, fs_type type, int n, int row) {
    const ptrdiff_t first = (ptrdiff_t)row * n;
    const long double largest = FACTS[type].largest;
    for (int j = 0; j < n; j++) {
        long double size;
        const long double value = pool_scale[row] * wanted_with(c, type, first, n, j, &size);
        long double difference = load(type, pool_x, first + j) - value;
        long double unit_here = ulp_of(type, difference) + 8 * ulp_of(FS_F64, pool_scale[row] * size);
        if (c->classes && j == pool_class[row]) {
            const long double more = (long double)pool_scale[row] * (c->weight ? class_weights[j] : 1) * c->keep;
            if (fabsl(difference) >= largest + ulp_of(type, largest) / 2)
                difference = copysignl(INFINITY, difference);
            difference -= more;
            unit_here += ulp_of(type, difference) + 8 * ulp_of(FS_F64, more);
        }
        want(first + j, difference, unit_here);
    }
}

/* Beyond the scales that keep the bound, what they may add to the error. */
static void want_scaled(fs_type type, int n, int row) {
    const ptrdiff_t first = (ptrdiff_t)row * n;
    const int wide = computed_in(type) == FS_F64;
    const long double scale = pool_scale[row], size = fabsl(scale);
    const long double rest = size <= (wide ? 0x1p48L : 0x1p37L) ? 0 : size * (wide ? 0x1p-1122L : 0x1p-186L);
    const long double lost = size >= n * (wide ? 0x1p-915L : 0x1p-60L) ? 0 : n * (wide ? 0x1p-975L : 0x1p-89L);
    for (int j = 0; j < n; j++) {
        const long double p = expected[FS_SOFTMAX][first + j];
        want(first + j, scale * p, ulp_of(type, scale * p) + (rest + lost * p) / bound_of(SCALED, type));
    }
}

static void want_case(const loss_case *c, fs_type type, int n) {
    for (int row = 0; row < pool_size; row++) {
        const ptrdiff_t first = (ptrdiff_t)row * n;
        const int none = c->classes && pool_class[row] < 0;
        const ptrdiff_t at_class = first + (none ? 0 : pool_class[row]);
        switch (c->kernel) {
        case PARTS:
            want(2 * row, pool_top[row], isnan(pool_top[row]) ? INFINITY : 0);
            want(2 * row + 1, pool_tail[row], ulp_of(computed_in(type), pool_tail[row]));
            break;
        case PICK: want(row, none ? 0 : load(type, pool_x, at_class), 0); break;
        case WEIGH: want_sums(c, type, n, row); break;
        case PUT: want(row, pool_value[row], ulp_of(type, pool_value[row])); break;
        case SCALED: want_scaled(type, n, row); break;
        case PLACE:
            for (int j = 0; j < n; j++) want(first + j, load(type, pool_x, first + j), 0);
            want(at_class, pool_value[row], ulp_of(type, pool_value[row]));
            break;
        case SUBTRACT: want_difference(c, type, n, row); break;
        }
        if (none && !is_of_lines(c->kernel))
            for (int j = 0; j < n; j++) want(first + j, 0, 0);
    }
}

/* In units. */
static double distance(fs_type type, long double value, ptrdiff_t at) {
    const long double goal = wanted[at], unit_here = wanted_unit[at];
    const int past = fabsl(goal) > (long double)FACTS[type].largest;
    if (isinf(unit_here)) return 0;
    if (isnan(goal)) return isnan(value) ? 0 : INFINITY;
    if (unit_here == 0) return value == goal && !signbit(value) == !signbit(goal) ? 0 : INFINITY;
    if (isinf(value) && past && value * goal > 0) return 0;
    return isfinite(value) && isfinite(goal) ? (double)(fabsl(value - goal) / unit_here) : INFINITY;
}

#endif
