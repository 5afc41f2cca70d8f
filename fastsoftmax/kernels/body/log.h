/* log(1 + rest / exp(top)), the part of logsumexp beyond the maximum, in float64 lanes with a low part.
 *
 * Once a row (not once an element), so it is taken carefully enough for float64 rows; float32 rows, which may be
 * short, have a quicker one. All terms are positive: nothing cancels, and a row whose maximum is far ahead keeps the
 * digits of its tiny logarithm. */
#ifndef FS_LOG_H
#define FS_LOG_H

/* 2**k next to 1 + a for a >= 0, so that 1 + a = 2**k (1 + g) with |g| <= sqrt(2) - 1: k, and 2**-k. */
static ALWAYS_INLINE v_f64 log_exponent_f64(v_f64 a, v_f64 *scale) {
    const v_f64 root = set1_f64(0x1.6a09e667f3bcdp+0), k = exponent_f64(fma_f64(a, root, root));
    *scale = power_of_two_f64(sub_f64(set1_f64(ROUNDER_f64 + 1023), k));
    return k;
}

/* log(1 + a + a_low) for a >= 0. Max error of hi + lo: 2**-56 relative, on top of what a + a_low carries.
 * g = 2**-k a + (2**-k - 1) as a pair; for k = 0 it is a itself, and a tiny a keeps its digits. Then
 * log(1 + g) = g - (h - s (h + R(s*s))) with h = g*g/2 and s = g / (2 + g) (the form of Ng's fdlibm log1p), and the
 * low parts enter by the derivative 1 / (1 + g). */
static ALWAYS_INLINE pair_f64 log1p_f64(v_f64 a, v_f64 a_low) {
    v_f64 one = set1_f64(1), scale;
    v_f64 k = log_exponent_f64(a, &scale);
    pair_f64 sum = two_sum_f64(sub_f64(scale, one), mul_f64(scale, a));
    v_f64 g = sum.hi;
    v_f64 g_low = add_f64(sum.lo, mul_f64(scale, a_low));

    v_f64 s = div_f64(g, add_f64(set1_f64(2), g));
    v_f64 z = mul_f64(s, s);
    v_f64 p = set1_f64(0x1.2e42192d333dbp-3);
    p = fma_f64(p, z, set1_f64(0x1.39b579f7a910ep-3));
    p = fma_f64(p, z, set1_f64(0x1.746576c8bb881p-3));
    p = fma_f64(p, z, set1_f64(0x1.c71c55f17443ap-3));
    p = fma_f64(p, z, set1_f64(0x1.2492493cfbfc7p-2));
    p = fma_f64(p, z, set1_f64(0x1.9999999985b1bp-2));
    p = fma_f64(p, z, set1_f64(0x1.5555555555580p-1));
    v_f64 h = mul_f64(set1_f64(0.5), mul_f64(g, g));
    v_f64 below_g = sub_f64(h, mul_f64(s, fma_f64(p, z, h)));

    v_f64 k_ln2 = mul_f64(k, set1_f64(LN2_TOP)); /* exact, and 0 or larger than |g| */
    v_f64 hi = add_f64(k_ln2, g);
    v_f64 lo = add_f64(sub_f64(k_ln2, hi), g);
    lo = add_f64(lo, fma_f64(k, set1_f64(LN2_REST), sub_f64(div_f64(g_low, add_f64(one, g)), below_g)));
    pair_f64 log;
    log.hi = add_f64(hi, lo);
    log.lo = sub_f64(lo, sub_f64(log.hi, hi));
    return log;
}

/* The exponential of a number as all others are taken. Max error of hi + lo: 2**-55 relative. */
static ALWAYS_INLINE pair_f64 exp_of_f64(v_f64 x, const reference_f64 *ref) {
    pair_f64 e = {.hi = x};
    exp_pair_f64(&e.hi, &e.lo, 1, ref, 0);
    return e;
}

/* log(1 + others + sum / exp(top)), the sum being relative to the reference of top. */
static ALWAYS_INLINE pair_f64 log_beyond_top_f64(v_f64 top, v_f64 others, v_f64 sum, v_f64 sum_low) {
    const reference_f64 ref = make_reference_f64(top);
    pair_f64 exp_top = exp_of_f64(top, &ref);
    v_f64 ratio = div_f64(sum, exp_top.hi);
    v_f64 remainder = fma_once_f64(neg_f64(ratio), exp_top.hi, sum);
    remainder = add_f64(remainder, sub_f64(sum_low, mul_f64(ratio, exp_top.lo)));
    pair_f64 rest = two_sum_f64(others, ratio);
    return log1p_f64(rest.hi, add_f64(rest.lo, div_f64(remainder, exp_top.hi)));
}

/* The same for float32 rows, within 2**-32 of itself; the sum is relative to a reference of this n_top, and `start`
 * is top less its shift. Where start = n ln 2 + r, sum / exp(top) is 2**(n_top - BIAS - n) sum e**-r / C, without a
 * division; and log(1 + g) = s (2 + z p(z)), z = s*s. */
static ALWAYS_INLINE v_f64 log_beyond_top_f32(v_f64 start, v_f64 n_top, v_f64 others, v_f64 sum) {
    const v_f64 rounder = set1_f64(ROUNDER_f64);
    const v_f64 n = sub_f64(fma_f64(start, set1_f64(LOG2_E), rounder), rounder);
    const v_f64 r = fma_f64(n, set1_f64(-LN2_REST), fma_f64(n, set1_f64(-LN2_TOP), start));
    /* e**-r / C, odd and even powers apart */
    const double c = 1 / EXP_CONSTANT_f32;
    const v_f64 rr = mul_f64(r, r);
    v_f64 even = fma_f64(set1_f64(c * 0x1.6d7691497205bp-10), rr, set1_f64(c * 0x1.5554ab8edcf25p-5));
    v_f64 odd = fma_f64(set1_f64(-c * 0x1.a152a2041249fp-13), rr, set1_f64(-c * 0x1.1110c5a40eb4cp-7));
    even = fma_f64(even, rr, set1_f64(c * 0x1.00000028f36a9p-1));
    odd = fma_f64(odd, rr, set1_f64(-c * 0x1.5555556786a4ep-3));
    even = fma_f64(even, rr, set1_f64(c));
    odd = fma_f64(odd, rr, set1_f64(-c));
    const v_f64 power = power_of_two_f64(sub_f64(add_f64(n_top, set1_f64(ROUNDER_f64 + 1023 - BIAS_f32)), n));
    const v_f64 a = fma_f64(mul_f64(sum, power), fma_f64(odd, r, even), others);

    v_f64 scale;
    const v_f64 k = log_exponent_f64(a, &scale);
    const v_f64 g = fma_f64(scale, a, sub_f64(scale, set1_f64(1)));
    const v_f64 s = div_f64(g, add_f64(set1_f64(2), g));
    const v_f64 z = mul_f64(s, s);
    v_f64 p = fma_f64(set1_f64(0x1.e304e7bc074d0p-3), z, set1_f64(0x1.24387b7ff2a33p-2));
    p = fma_f64(p, z, set1_f64(0x1.999a7be459498p-2));
    p = fma_f64(p, z, set1_f64(0x1.555554fce99c5p-1));
    p = mul_f64(s, fma_f64(p, z, set1_f64(2)));
    return fma_f64(k, set1_f64(LN2_TOP + LN2_REST), p);
}

#endif
