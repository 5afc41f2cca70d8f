/* From (maximum, rest) to the constants that finish a row's elements; one row to a lane.
 * softmax: exp * factor. log_softmax: (x - top) - tail. logsumexp: top + tail. */
#ifndef FS_FINISH_H
#define FS_FINISH_H

/* A reciprocal in two parts: x * (hi + lo) as fma(x, hi, x * lo) rounds once. */
typedef struct {
    v_f32 hi, lo;
} factor_f32;

typedef struct {
    v_f64 hi, lo;
} factor_f64;

/* The reciprocals of float64 numbers: float32 ones, r, within an ULP, and what these lack: error = 1 - x * r, so that
 * r + r * error is within 2**-45 of it. x and r must be normal as float32, which sums of exponentials are (see
 * are_moderate below). One division of float32 takes a third of the time of two of float64. */
static ALWAYS_INLINE v_f32 near_reciprocal_f32(const v_f64 x[2], v_f64 error[2]) {
    const v_f32 r = div_f32(set1_f32(1), narrow_f32(x[0], x[1]));
    error[0] = fma_f64(neg_f64(x[0]), widen_low_f32(r), set1_f64(1));
    error[1] = fma_f64(neg_f64(x[1]), widen_high_f32(r), set1_f64(1));
    return r;
}

static ALWAYS_INLINE factor_f32 reciprocal_f32(const sum_f32 *sum) {
    v_f64 error[2];
    factor_f32 factor;
    factor.hi = near_reciprocal_f32(sum->hi, error);
    factor.lo = mul_f32(factor.hi, narrow_f32(error[0], error[1]));
    return factor;
}

static ALWAYS_INLINE factor_f64 reciprocal_f64(const sum_f64 *sum) {
    v_f64 one = set1_f64(1);
    v_f64 total = add_f64(sum->hi[0], sum->lo[0]);
    v_f64 total_low = sub_f64(sum->lo[0], sub_f64(total, sum->hi[0]));
    factor_f64 factor;
    factor.hi = div_f64(one, total);
    v_f64 remainder = fma_once_f64(neg_f64(factor.hi), total, one);
    factor.lo = mul_f64(factor.hi, sub_f64(remainder, mul_f64(factor.hi, total_low)));
    return factor;
}

/* Factors for numerator / sum, the numerators a lane each in float64. */
static ALWAYS_INLINE factor_f32 quotient_f32(const double *numerator, const sum_f32 *sum) {
    v_f64 error[2];
    const v_f32 r = near_reciprocal_f32(sum->hi, error);
    const v_f64 r_low = widen_low_f32(r), r_high = widen_high_f32(r);
    const v_f64 low = mul_f64(load_f64(numerator), fma_f64(r_low, error[0], r_low));
    const v_f64 high = mul_f64(load_f64(numerator + LANES_f64), fma_f64(r_high, error[1], r_high));
    factor_f32 factor;
    factor.hi = narrow_f32(low, high);
    factor.lo = narrow_f32(sub_f64(low, widen_low_f32(factor.hi)), sub_f64(high, widen_high_f32(factor.hi)));
    return factor;
}

static ALWAYS_INLINE factor_f64 quotient_f64(const double *numerator, const sum_f64 *sum) {
    v_f64 total = add_f64(sum->hi[0], sum->lo[0]);
    v_f64 total_low = sub_f64(sum->lo[0], sub_f64(total, sum->hi[0]));
    factor_f64 factor;
    factor.hi = div_f64(load_f64(numerator), total);
    v_f64 remainder = fma_once_f64(neg_f64(factor.hi), total, load_f64(numerator));
    factor.lo = div_f64(sub_f64(remainder, mul_f64(factor.hi, total_low)), total);
    return factor;
}

/* Numerators below n times this may leave the quotient subnormal; times RAISE they do not. */
#define SMALL_SCALE_f32 0x1p-60
#define SMALL_SCALE_f64 0x1p-915
#define RAISE_f32 0x1p64f
#define RAISE_f64 0x1p512

/* Whether numerators can do with the sums of n elements that are relative to ordinary_reference. With BIAS (exp.h)
 * these are 2**-123 to n * 2**61 in float32, and nearer to 1, for its range, in float64: so the quotients are finite,
 * and their low parts have the bits, subnormal ones included, that they would have beside the sums relative to the
 * maxima. */
static int are_moderate(const double *numerators, ptrdiff_t count, ptrdiff_t n) {
    const double least = (double)n * 0x1p-34, most = 0x1p4;
    int moderate = 1;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double size = fabs(numerators[i]);
        moderate &= (size >= least && size <= most) || size == 0;
    }
    return moderate;
}

static ALWAYS_INLINE v_f32 scale_f32(v_f32 e, factor_f32 factor) {
    return fma_f32(e, factor.hi, mul_f32(e, factor.lo));
}

static ALWAYS_INLINE v_f64 scale_f64(v_f64 e, factor_f64 factor) {
    return fma_once_f64(e, factor.hi, mul_f64(e, factor.lo));
}

static ALWAYS_INLINE v_f64 power_of_f64(v_f64 n) {
    return power_of_two_f64(add_f64(n, set1_f64(ROUNDER_f64 + 1023)));
}

/* sum * 2**n, exactly, where nothing overflows */
static ALWAYS_INLINE void sum_scale_f32(sum_f32 *sum, v_f32 n) {
    sum->hi[0] = mul_f64(sum->hi[0], power_of_f64(widen_low_f32(n)));
    sum->hi[1] = mul_f64(sum->hi[1], power_of_f64(widen_high_f32(n)));
}

static ALWAYS_INLINE void sum_scale_f64(sum_f64 *sum, v_f64 n) {
    const v_f64 power = power_of_f64(n);
    sum->hi[0] = mul_f64(sum->hi[0], power);
    sum->lo[0] = mul_f64(sum->lo[0], power);
}

/* Sums relative to ordinary_reference become relative to the reference of top, which is ordinary; and back. */
#define DEFINE_REFER(T)                                                                                              \
    static ALWAYS_INLINE void refer_to_top_##T(sum_##T *sum, v_##T top) {                                            \
        sum_scale_##T(sum, sub_##T(set1_##T(ORDINARY_TOP), make_reference_##T(top).n_top));                          \
    }                                                                                                                \
    static ALWAYS_INLINE void refer_to_ordinary_##T(sum_##T *sum, v_##T top) {                                       \
        sum_scale_##T(sum, sub_##T(make_reference_##T(top).n_top, set1_##T(ORDINARY_TOP)));                          \
    }
DEFINE_REFER(f32)
DEFINE_REFER(f64)
#undef DEFINE_REFER

/* Tells a rest what its sum was taken relative to: the reference of top, or ordinary_reference, top being ordinary.
 */
static ALWAYS_INLINE void set_reference_of_top_f32(rest_f32 *rest, v_f32 top) {
    widen_f32(rest->n_top, make_reference_f32(top).n_top);
}
static ALWAYS_INLINE void set_reference_of_top_f64(rest_f64 *rest, v_f64 top) { (void)rest, (void)top; }
static ALWAYS_INLINE void set_ordinary_reference_f32(rest_f32 *rest, v_f32 top) {
    (void)top;
    rest->n_top[0] = rest->n_top[1] = set1_f64(ORDINARY_TOP);
}
static ALWAYS_INLINE void set_ordinary_reference_f64(rest_f64 *rest, v_f64 top) { refer_to_top_f64(&rest->sum, top); }

/* Its sum relative to the reference of top in any case. */
static ALWAYS_INLINE sum_f32 rest_sum_f32(const rest_f32 *rest, v_f32 top) {
    v_f64 n_top[2];
    widen_f32(n_top, make_reference_f32(top).n_top);
    sum_f32 sum = rest->sum;
    for (int i = 0; i < 2; i++) sum.hi[i] = mul_f64(sum.hi[i], power_of_f64(sub_f64(rest->n_top[i], n_top[i])));
    return sum;
}
static ALWAYS_INLINE sum_f64 rest_sum_f64(const rest_f64 *rest, v_f64 top) { return (void)top, rest->sum; }

/* A carry in every lane. */
static ALWAYS_INLINE rest_f32 rest_of_carry_f32(const fs_carry *carry, v_f32 top) {
    const v_f64 sum = set1_f64(carry->sum + carry->sum_low), others = set1_f64(carry->others);
    rest_f32 rest = {.sum = {{sum, sum}}, .others = {others, others}};
    set_reference_of_top_f32(&rest, top);
    return rest;
}
static ALWAYS_INLINE rest_f64 rest_of_carry_f64(const fs_carry *carry, v_f64 top) {
    (void)top;
    return (rest_f64){{{set1_f64(carry->sum)}, {set1_f64(carry->sum_low)}}, {set1_f64(carry->others)}};
}

/* The tail log(1 + others + sum / exp(top)) in float64, the low and the high half of the lanes. */
static ALWAYS_INLINE void log_tail_wide_f32(v_f32 top, const rest_f32 *rest, v_f64 tail[2]) {
    /* top less the shift of its reference */
    const v_f32 start = sub_f32(top, keep_f32(is_large_f32(top), top));
    for (int i = 0; i < 2; i++)
        tail[i] = log_beyond_top_f32(i ? widen_high_f32(start) : widen_low_f32(start), rest->n_top[i],
                                     rest->others[i], rest->sum.hi[i]);
}

static NEVER_INLINE pair_f64 log_tail_wide_f64(v_f64 top, const rest_f64 *rest) {
    return log_beyond_top_f64(top, rest->others[0], rest->sum.hi[0], rest->sum.lo[0]);
}

/* The maxima and the tails in float64, LANES pairs of them. */
static ALWAYS_INLINE void store_pairs_f64(double *pairs, v_f64 x, v_f64 y) {
    store_f64(pairs, zip_low_f64(x, y));
    store_f64(pairs + LANES_f64, zip_high_f64(x, y));
}

static ALWAYS_INLINE void put_tops_and_tails_f32(double *pairs, v_f32 top, const rest_f32 *rest) {
    v_f64 tail[2];
    log_tail_wide_f32(top, rest, tail);
    store_pairs_f64(pairs, widen_low_f32(top), tail[0]);
    store_pairs_f64(pairs + LANES_f32, widen_high_f32(top), tail[1]);
}

static ALWAYS_INLINE void put_tops_and_tails_f64(double *pairs, v_f64 top, const rest_f64 *rest) {
    store_pairs_f64(pairs, top, log_tail_wide_f64(top, rest).hi);
}

/* The tail, rounded to the element type. */
static ALWAYS_INLINE v_f32 log_tail_f32(v_f32 top, const rest_f32 *rest) {
    v_f64 tail[2];
    log_tail_wide_f32(top, rest, tail);
    return narrow_f32(tail[0], tail[1]);
}

static ALWAYS_INLINE v_f64 log_tail_f64(v_f64 top, const rest_f64 *rest) { return log_tail_wide_f64(top, rest).hi; }

/* top + tail, rounded once. */
static ALWAYS_INLINE v_f32 logsumexp_f32(v_f32 top, const rest_f32 *rest) {
    v_f64 tail[2];
    log_tail_wide_f32(top, rest, tail);
    return narrow_f32(add_f64(widen_low_f32(top), tail[0]), add_f64(widen_high_f32(top), tail[1]));
}

static ALWAYS_INLINE v_f64 logsumexp_f64(v_f64 top, const rest_f64 *rest) {
    pair_f64 tail = log_tail_wide_f64(top, rest);
    pair_f64 result = two_sum_f64(top, tail.hi);
    return add_f64(result.hi, add_f64(result.lo, tail.lo));
}

/* What finishes the elements of LANES rows: softmax: e * (a + b); log_softmax: (x - a) - b. */
#define DEFINE_ENDING(T)                                                                                             \
    typedef struct {                                                                                                 \
        v_##T a, b;                                                                                                  \
    } ending_##T;                                                                                                    \
    static ALWAYS_INLINE v_##T end_##T(v_##T value, ending_##T ending, fs_operation op) {                            \
        if (op == FS_LOG_SOFTMAX) return sub_##T(sub_##T(value, ending.a), ending.b);                                \
        return scale_##T(value, (factor_##T){ending.a, ending.b});                                                   \
    }
DEFINE_ENDING(f32)
DEFINE_ENDING(f64)
#undef DEFINE_ENDING

#endif
