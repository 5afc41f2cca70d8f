/* The exponentials under every kernel (body/exp.h), of every target that this CPU can run, against the C library's.
 *
 *     exp_all STEP COUNT
 *
 * float32: every input, of 2**32, or one in STEP; as its own maximum, below a maximum of 0, and below one so large
 * that it is subtracted first. float64: COUNT random inputs with maxima of their own, and inputs whose exponentials
 * are the hardest to round. Prints the worst errors in ULP and where they are, and exits with 1 if one is over the
 * bound that body/exp.h promises. float32 is judged in double, float64 in long
 * double, and libquadmath watches both. */
#include <math.h>
#include <quadmath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exp_hard.h"
#include "exponentials.h"
#include "kernels.h"

enum { CHUNK = 4096, MAX_TARGETS = 4, BIAS_F32 = 60, BIAS_F64 = 100 };
enum { ITSELF, ZERO, LARGE, PAIR, SINGLE, HARD_PAIR, HARD_SINGLE, KINDS };
static const char *const KIND_NAMES[KINDS] = {
    "float32, its own maximum",
    "float32, maximum 0",
    "float32, maximum 2**20",
    "float64, with low part",
    "float64",
    "float64, hard, with low",
    "float64, hard, without low",
};
/* The contract of exp_pair (body/exp.h), of which baseline has its own part. */
static const double BOUNDS[KINDS] = {0.62, 0.62, 0.62, 0.15, 0.62, 0.15, 0.62};
static const double BOUNDS_WITHOUT_FMA[KINDS] = {0.62, 0.62, 0.62, 0.15, 0.8, 0.15, 0.8};

static const exponentials *targets[MAX_TARGETS];
static int target_count;

typedef struct {
    double error, x, top;
} finding;
static finding worst[MAX_TARGETS][KINDS];
static double worst_of_judge[2];
static long inputs[KINDS], failures;

/* ln 2 in two parts, of which the first times an integer below 2**15 is exact. */
static const long double LN2_HIGH = 0x1.62e42fefap-1L, LN2_LESS = 0x3.9ef35793c7673007e5edp-41L;

/* exp(x - shift) * 2**(bias - n_top); *depth is (x - shift) / ln 2 - n_top */
static long double judge(double x, double shift, double n_top, int bias, long double *depth) {
    const long double d = (long double)x - shift, n = rintl(d * 1.44269504088896340736L);
    *depth = n - n_top;
    if (isnan(*depth)) return NAN;
    return *depth < -2000 ? 0 : expl((d - n * LN2_HIGH) - n * LN2_LESS) * ldexp(1, bias + (int)*depth);
}

/* How far that is from libquadmath's, in its ULP of 53 bits. */
static double error_of_judge(double x, double shift, double n_top, int bias, long double found) {
    const __float128 d = (__float128)x - shift, ln2 = 0x1.62e42fefa39ef35793c7673007e5ed5e81e69p-1Q;
    const __float128 exact = expq(d - ((__float128)n_top - bias) * ln2);
    return (double)(fabsq(exact - found) / scalbnq(1, ilogbq(exact) - 52));
}

static double power_of_two(int exponent) {
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* The last place of numbers as large as `value`. */
static double unit(double value, int digits) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const int exponent = (int)(bits >> 52) - 1023;
    return exponent < -959 ? fmax(ldexp(1, ilogb(value) - digits + 1), 0x1p-1074)
                           : power_of_two(exponent - digits + 1);
}

/* The error of y, which should be `wanted`: exactly 0 where the depth is out of reach, either at its edge. `lost`
 * does not count. */
static double error_of(long double y, long double wanted, long double depth, int digits, long double lost) {
    const int reach = digits == 24 ? 126 + BIAS_F32 : 1022 + BIAS_F64;
    if (isnan(wanted)) return isnan(y) ? 0 : INFINITY;
    if (depth < -reach - 1 || (depth <= -reach && y == 0)) return y == 0 && !signbit(y) ? 0 : INFINITY;
    return isfinite(y) ? (double)(fmaxl(fabsl(y - wanted) - lost, 0) / unit((double)wanted, digits)) : INFINITY;
}

static void fail(const char *what, const char *isa, double x, double top) {
#pragma omp critical
    if (failures++ < 20) printf("FAILED %s: %s for %a below %a\n", isa, what, x, top);
}

static void keep_worst(finding *of_all, const finding *of_chunk) {
#pragma omp critical
    if (of_chunk->error > of_all->error) *of_all = *of_chunk;
}

/* The integer that a maximum fixes, which the judge takes over, must be the nearest to its binary logarithm. */
static int is_reference(double top, double shift, double n_top) {
    return isnan(top) || isinf(top) || fabs((top - shift) * 0x1.71547652b82fep0 - n_top) <= 0.5 + 1e-2;
}

static double shift_of(double top) { return fabs(top) >= 16384 ? top : 0; }

/* The same for float32, of whose ULP the rounding of double is 2**-29. */
static double judge_in_double(double x, double shift, double n_top, double *depth) {
    const double d = x - shift, n = rint(d * 0x1.71547652b82fep0);
    *depth = n - n_top;
    if (isnan(*depth)) return NAN;
    if (*depth < -1000) return 0;
    return exp((d - n * (double)LN2_HIGH) - n * (double)LN2_LESS) * power_of_two(BIAS_F32 + (int)*depth);
}

/* The worst of a chunk of one target's results. */
static finding judge_results(const float *y, const double *wanted, const double *depth, const float *x,
                             const float *top) {
    finding here = {0};
    for (int i = 0; i < CHUNK; i++) {
        const double error = isfinite(y[i]) && depth[i] > -186 ? fabs(y[i] - wanted[i]) / unit(wanted[i], 24)
                                                               : error_of(y[i], wanted[i], depth[i], 24, 0);
        if (error > here.error) here = (finding){error, x[i], top[i]};
    }
    return here;
}

/* CHUNK inputs of float32, each below its maximum. */
static void judge_f32(int kind, const float *x, const float *top, int watched) {
    float y[MAX_TARGETS][CHUNK], ordinary[CHUNK], together[CHUNK], n_top[CHUNK];
    double wanted[CHUNK], depth[CHUNK];
    finding here = {0};
    const int any_ordinary = fabsf(x[0]) <= 63 && fabsf(top[0]) <= 63; /* x[0] is the smallest */
    for (int t = 0; t < target_count; t++) {
        const exponentials *target = targets[t];
        target->f32(x, top, 0, y[t], n_top, CHUNK);
        if (any_ordinary) target->f32(x, top, 1, ordinary, n_top, CHUNK);
        if (kind != ITSELF) target->f32_together(x, top[0], together, CHUNK);
        for (int i = 0; i < CHUNK; i++) {
            const double shift = shift_of(top[i]);
            if (t == 0) wanted[i] = judge_in_double(x[i], shift, n_top[i], depth + i) * target->constant_f32;
            if (!is_reference(top[i], shift, n_top[i])) fail("no reference", target->isa, x[i], top[i]);
            if (any_ordinary && fabsf(x[i]) <= 63 && fabsf(top[i]) <= 63 &&
                memcmp(y[t] + i, ordinary + i, sizeof *ordinary))
                fail("other bits where all is ordinary", target->isa, x[i], top[i]);
            if (kind != ITSELF && !isnan(x[i]) && memcmp(y[t] + i, together + i, sizeof *together))
                fail("other bits for vectors in step", target->isa, x[i], top[i]);
        }
        if (t == 0 || memcmp(y[t], y[0], sizeof *y)) here = judge_results(y[t], wanted, depth, x, top);
        keep_worst(&worst[t][kind], &here);
    }
    if (isfinite(x[watched]) && depth[watched] > -1000) {
        const double error = error_of_judge(x[watched], shift_of(top[watched]), n_top[watched], BIAS_F32,
                                            wanted[watched] / targets[0]->constant_f32);
#pragma omp critical
        worst_of_judge[0] = fmax(worst_of_judge[0], error * 0x1p-29);
    }
#pragma omp atomic
    inputs[kind] += CHUNK;
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Numbers `step` apart in the order of their bits, of one sign. What is above a maximum takes its place. Of those
 * that are 0 below the large maximum one chunk in 16 is looked at. */
static void chunk_f32(uint64_t first, uint64_t step) {
    float x[CHUNK], below[CHUNK], top[CHUNK];
    const int watched = (int)(first / CHUNK % CHUNK);
    for (int i = 0; i < CHUNK; i++) x[i] = from_bits((uint32_t)(first + (uint64_t)i * step));
    judge_f32(ITSELF, x, x, watched);
    for (int large = 0; large < 2; large++) {
        const float most = large ? 0x1p20f : 0;
        const int above = x[0] > most && x[CHUNK - 1] > most, far_below = x[CHUNK - 1] < 0x1p19f;
        if (above || (large && far_below && first / CHUNK % 16)) continue;
        for (int i = 0; i < CHUNK; i++) {
            top[i] = most;
            below[i] = x[i] > most ? most : x[i];
        }
        judge_f32(large ? LARGE : ZERO, below, top, watched);
    }
}

/* n inputs of float64, a multiple of 64, each below its maximum. */
static void judge_f64(int kind, const double *x, const double *top, int n, int watched) {
    double y[CHUNK], low[CHUNK], single[CHUNK], ordinary[CHUNK], together[64], n_top[CHUNK];
    long double wanted[CHUNK], depth[CHUNK];
    const long double half_least = 0x1p-1075L; /* what a subnormal low part lacks */
    for (int t = 0; t < target_count; t++) {
        const exponentials *target = targets[t];
        finding pair = {0}, alone = {0};
        target->f64_pair(x, top, 0, y, low, n_top, n);
        target->f64(x, top, 0, single, n);
        target->f64(x, top, 1, ordinary, n);
        for (int i = 0; i < n; i++) {
            const double shift = shift_of(top[i]);
            if (t == 0) wanted[i] = judge(x[i], shift, n_top[i], BIAS_F64, depth + i) * target->constant_f64;
            if (!is_reference(top[i], shift, n_top[i])) fail("no reference", target->isa, x[i], top[i]);
            if (fabs(x[i]) <= 63 && fabs(top[i]) <= 63 && memcmp(single + i, ordinary + i, sizeof *y))
                fail("other bits where all is ordinary", target->isa, x[i], top[i]);
            const double error = error_of((long double)y[i] + low[i], wanted[i], depth[i], 53, half_least);
            const double error_alone = error_of(single[i], wanted[i], depth[i], 53, 0);
            if (error > pair.error) pair = (finding){error, x[i], top[i]};
            if (error_alone > alone.error) alone = (finding){error_alone, x[i], top[i]};
        }
        double shared[64], most = -INFINITY; /* the largest of the first inputs is a maximum for them all */
        for (int i = 0; i < 64; i++) most = fmax(most, x[i]);
        for (int i = 0; i < 64; i++) shared[i] = most;
        target->f64_together(x, most, together, 64);
        target->f64(x, shared, 0, ordinary, 64);
        if (memcmp(together, ordinary, sizeof together))
            fail("other bits for vectors in step", target->isa, x[0], most);
        keep_worst(&worst[t][kind], &pair);
        keep_worst(&worst[t][kind + 1], &alone);
    }
    if (depth[watched] > -1000) {
        const double error = error_of_judge(x[watched], shift_of(top[watched]), n_top[watched], BIAS_F64,
                                            wanted[watched] / targets[0]->constant_f64);
#pragma omp critical
        worst_of_judge[1] = fmax(worst_of_judge[1], error);
    }
    for (int k = kind; k <= kind + 1; k++)
#pragma omp atomic
        inputs[k] += n;
}

static double uniform(uint64_t *state, double low, double high) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(*state >> 11) * 0x1p-53;
}

static void chunk_f64(uint64_t seed) {
    double x[CHUNK], top[CHUNK];
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;
    for (int i = 0; i < CHUNK; i++) {
        const double magnitude = exp2(uniform(&state, -60, 14)), gap = uniform(&state, 0, 760);
        const double many = uniform(&state, -16384, 16384), few = uniform(&state, -64, 64);
        switch (i % 5) {
        case 0: top[i] = x[i] = many; break;
        case 1: top[i] = x[i] = i & 8 ? magnitude : -magnitude; break;
        case 2: x[i] = (top[i] = few) - gap / 12; break;
        case 3: x[i] = (top[i] = many) - gap; break;
        default: x[i] = (top[i] = i & 8 ? many * 0x1p30 : 0) - (i & 16 ? magnitude : gap); break;
        }
        if (x[i] > top[i]) x[i] = top[i];
    }
    judge_f64(PAIR, x, top, CHUNK, (int)(seed % CHUNK));
}

/* Each hard input as its own maximum, and below the maximum 0 or 700. */
static void judge_hard(void) {
    double x[CHUNK], top[CHUNK];
    int n = 0;
    for (size_t i = 0; i < sizeof HARD / sizeof *HARD; i++) {
        x[n] = top[n] = HARD[i], n++;
        x[n] = HARD[i], top[n] = HARD[i] <= 0 ? 0 : 700, n++;
    }
    for (; n % 64; n++) x[n] = x[0], top[n] = top[0];
    judge_f64(HARD_PAIR, x, top, n, 0);
}

int main(int argc, char **argv) {
    const exponentials *const all[] = {&exp_of_avx512, &exp_of_avx2, &exp_of_baseline};
    const long long step = argc == 3 ? atoll(argv[1]) : 0, count = argc == 3 ? atoll(argv[2]) : 0;
    if (step < 1 || count < 0) {
        printf("usage: exp_all STEP COUNT\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (fs_find(all[i]->isa)) targets[target_count++] = all[i];
    judge_hard();
    const long long chunks = ((1ll << 32) + CHUNK * step - 1) / (CHUNK * step), seeds = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(dynamic, 16)
    for (long long c = 0; c < chunks; c++) chunk_f32((uint64_t)(c * CHUNK * step), (uint64_t)step);
#pragma omp parallel for schedule(dynamic, 16)
    for (long long seed = 0; seed < seeds; seed++) chunk_f64((uint64_t)seed);

    for (int kind = 0; kind < KINDS; kind++)
        for (int t = 0; t < target_count; t++) {
            const finding *f = &worst[t][kind];
            const double *bounds = strcmp(targets[t]->isa, "baseline") == 0 ? BOUNDS_WITHOUT_FMA : BOUNDS;
            const int failed = !(f->error <= bounds[kind]);
            printf("%-28s %-9s %11ld inputs %8.4f ULP at %a below %a%s\n", KIND_NAMES[kind], targets[t]->isa,
                   inputs[kind], f->error, f->x, f->top, failed ? ": FAILED" : "");
            failures += failed;
        }
    printf("the judge is within %.2g ULP of float32 and %.2g ULP of float64 of libquadmath's exponentials\n",
           worst_of_judge[0], worst_of_judge[1]);
    failures += !(worst_of_judge[0] < 1e-6 && worst_of_judge[1] < 1e-2);
    printf(failures ? "%ld FAILURES\n" : "passed\n", failures);
    return failures ? 1 : 0;
}
