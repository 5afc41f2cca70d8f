/* exp(x) * 2**-N for a reference N that the maximum fixes, never exp(x - max).
 *
 * The rounding of x - max alone costs 5 to 130 ULP. Instead the maximum only fixes the integer
 * N = round(max / ln 2) - BIAS, and each element is reduced on its own (Cody and Waite):
 *
 *     n = round(x / ln 2),  r = x - n ln 2 in two constants,  exp(x) * 2**-N = 2**(n-N) * e**r.
 *
 * With s = 2**(n-N) and w = e**r - 1 = r + r*r*q(r), the result is fma(w, s, s): one last rounding, and a NaN in x
 * stays a NaN, since w carries it (adding n-N into the exponent field of e**r would turn it into a number).
 *
 * The addition of 1.5 * 2**(mantissa bits) rounds to an integer. Adding the reference's exponent field in the same
 * constant leaves n - N, ready for the exponent field, in the low bits of the sum.
 *
 * BIAS lets the stored exponentials reach down to 2**-186 (float64: 2**-1082) of the largest one, so that the
 * multiply by 1/sum rounds subnormal results once. Below that (masks hold -inf or -3.4e38) x is clamped to where the
 * exponent field is 0: s and so the exponential are exactly 0.
 *
 * Where |max| >= SHIFT_FROM the constants no longer carry enough digits. There the maximum is subtracted first,
 * which is exact for every x that counts (Sterbenz). An infinite maximum goes the same way, to inf - inf: NaN.
 *
 * Coefficients: tools/minimax.py. */
#ifndef FS_EXP_H
#define FS_EXP_H

#define SHIFT_FROM 16384.0
#define BIAS 60
#define LOG2_E 0x1.71547652b82fep+0
/* ln 2 cut to 38 bits, the last two of them 0, and the rest: n * LN2_TOP is exact for |n| < 2**17, without FMA too.
 */
#define LN2_TOP 0x1.62e42fefa0000p-1
#define LN2_REST 0x1.cf79abc9e3b3ap-40

/* Generates, for T = f32 or f64, the type `reference_T` and its maker. */
#define DEFINE_REFERENCE(T, ROUNDER, EXPONENT_BIAS)                                                                  \
    typedef struct {                                                                                                 \
        v_##T shift;   /* subtracted from x first: 0, or the maximum where it is large */                            \
        v_##T floor;   /* x - shift is clamped to this from below */                                                 \
        v_##T rounder; /* ROUNDER + EXPONENT_BIAS - N */                                                             \
        v_##T n_top;   /* round((max - shift) / ln 2) = N + BIAS */                                                  \
    } reference_##T;                                                                                                 \
    static ALWAYS_INLINE reference_##T make_reference_##T(v_##T top) {                                               \
        const v_##T rounder = set1_##T(ROUNDER);                                                                     \
        m_##T large = ge_##T(max_##T(top, neg_##T(top)), set1_##T(SHIFT_FROM));                                      \
        reference_##T ref;                                                                                           \
        ref.shift = keep_##T(large, top);                                                                            \
        ref.n_top = sub_##T(fma_##T(drop_##T(large, top), set1_##T(LOG2_E), rounder), rounder);                      \
        ref.rounder = sub_##T(add_##T(rounder, set1_##T(EXPONENT_BIAS + BIAS)), ref.n_top);                          \
        ref.floor = mul_##T(sub_##T(ref.n_top, set1_##T(EXPONENT_BIAS + BIAS)), set1_##T(LN2_TOP));                  \
        return ref;                                                                                                  \
    }
DEFINE_REFERENCE(f32, 0x1.8p23f, 127)
DEFINE_REFERENCE(f64, 0x1.8p52, 1023)
#undef DEFINE_REFERENCE

/* The exponentials of a few vectors take each step together, so that their chains of dependent instructions overlap
 * on cores with a small scheduler too. TOGETHER is the target's choice; results do not depend on it. */
#define EACH for (int i = 0; i < vectors; i++)

/* x[i] = exp(x[i] - shift) * 2**-N; low[i] = what rounding it left, and the rounding of r with it, unless low is
 * NULL. Types: float32. Max error: 1.1 ULP; of x[i] + low[i] 0.35. Range: every x <= max. NaN -> NaN; below the floor
 * -> 0. Aliasing: x and low are apart. */
static ALWAYS_INLINE void exp_f32(v_f32 *x, const int vectors, const reference_f32 *ref, v_f32 *low) {
    v_f32 s[TOGETHER], n[TOGETHER], q[TOGETHER], r_low[TOGETHER];
    EACH x[i] = max_f32(ref->floor, sub_f32(x[i], ref->shift)); /* in this order a NaN passes */
    EACH s[i] = fma_f32(x[i], set1_f32((float)LOG2_E), ref->rounder);
    EACH n[i] = sub_f32(s[i], ref->rounder);
    EACH x[i] = fma_f32(n[i], set1_f32(-0x1.62e430p-1f), x[i]); /* ln 2 to 24 bits: exact under FMA */
    EACH r_low[i] = x[i];
    EACH x[i] = fma_f32(n[i], set1_f32(0x1.05c610p-29f), x[i]);
    EACH r_low[i] = fma_f32(n[i], set1_f32(0x1.05c610p-29f), sub_f32(r_low[i], x[i]));
    EACH s[i] = power_of_two_f32(s[i]);
    EACH q[i] = fma_f32(set1_f32(0x1.6a2262p-10f), x[i], set1_f32(0x1.123afcp-7f));
    EACH q[i] = fma_f32(q[i], x[i], set1_f32(0x1.5558f8p-5f));
    EACH q[i] = fma_f32(q[i], x[i], set1_f32(0x1.555490p-3f));
    EACH q[i] = fma_f32(q[i], x[i], set1_f32(0x1.fffffcp-2f));
    if (low)
        EACH q[i] = add_f32(x[i], fma_f32(mul_f32(x[i], x[i]), q[i], r_low[i]));
    else
        EACH q[i] = fma_f32(mul_f32(x[i], x[i]), q[i], x[i]);
    EACH x[i] = fma_f32(q[i], s[i], s[i]);
    if (low) EACH low[i] = fma_f32(q[i], s[i], sub_f32(s[i], x[i]));
}

/* q(r) of e**r = 1 + r + r*r*q(r), for |r| <= ln 2 / 2. Max error in e**r: 0.002 units of 2**-53. */
static ALWAYS_INLINE void exp_series_f64(v_f64 *q, const v_f64 *r, const int vectors) {
    EACH q[i] = fma_f64(set1_f64(0x1.1f5939fe30902p-29), r[i], set1_f64(0x1.af5f3cb879e15p-26));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.27e4ec82ceafap-22));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.71ddf80a7cf51p-19));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.a01a019e884bfp-16));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.a01a01b003b75p-13));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.6c16c16c17f59p-10));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.111111110f659p-7));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.5555555555551p-5));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0x1.5555555555559p-3));
    EACH q[i] = fma_f64(q[i], r[i], set1_f64(0.5));
}

/* The same. Types: float64. Max error, range, aliasing: as float32. */
static ALWAYS_INLINE void exp_f64(v_f64 *x, const int vectors, const reference_f64 *ref, v_f64 *low) {
    v_f64 s[TOGETHER], n[TOGETHER], q[TOGETHER], r_low[TOGETHER];
    EACH x[i] = max_f64(ref->floor, sub_f64(x[i], ref->shift));
    EACH s[i] = fma_f64(x[i], set1_f64(LOG2_E), ref->rounder);
    EACH n[i] = sub_f64(s[i], ref->rounder);
    EACH x[i] = fma_f64(n[i], set1_f64(-LN2_TOP), x[i]);
    EACH r_low[i] = x[i];
    EACH x[i] = fma_f64(n[i], set1_f64(-LN2_REST), x[i]);
    EACH r_low[i] = fma_f64(n[i], set1_f64(-LN2_REST), sub_f64(r_low[i], x[i]));
    EACH s[i] = power_of_two_f64(s[i]);
    exp_series_f64(q, x, vectors);
    if (low)
        EACH q[i] = add_f64(x[i], fma_f64(mul_f64(x[i], x[i]), q[i], r_low[i]));
    else
        EACH q[i] = fma_f64(mul_f64(x[i], x[i]), q[i], x[i]);
    EACH x[i] = fma_f64(q[i], s[i], s[i]);
    if (low) EACH low[i] = fma_f64(q[i], s[i], sub_f64(s[i], x[i]));
}
#undef EACH

#endif
