/* exp(x) * 2**-N for a reference N that the maximum fixes, never exp(x - max).
 *
 * The rounding of x - max alone costs 5 to 130 ULP. Instead the maximum only fixes the integer
 * N = round(max / ln 2) - BIAS, and each element is reduced on its own (Cody and Waite):
 *
 *     n = round(x / ln 2),  r = x - n ln 2 in two constants,  exp(x) * 2**-N = 2**(n-N) * e**r.
 *
 * With s = 2**(n-N) and w = e**r - 1 = r + r*r*q(r), the result is fma(w, s, s): one last rounding, and a NaN in x
 * stays a NaN, since w carries it (adding n-N into the exponent field of e**r could turn it into a number).
 *
 * The addition of 1.5 * 2**(mantissa bits) rounds to an integer. Adding the reference's exponent field in the same
 * constant leaves n - N, ready for the exponent field, in the low bits of the sum.
 *
 * BIAS lets the stored exponentials reach down to 2**-186 (float64: 2**-1122) of the largest one, so that the
 * multiply by 1/sum rounds subnormal results once, and 2**24 of them that are left out are no part of a result's last
 * place. What lies below that (masks hold -inf or -3.4e38) becomes 0.
 *
 * Where |max| >= SHIFT_FROM the constants no longer carry enough digits. There the maximum is subtracted first,
 * which is exact for every x that counts (Sterbenz). An infinite maximum goes the same way, to inf - inf: NaN.
 *
 * `ordinary` says that every |x| <= ORDINARY, or NaN, as nearly all there are: then there is neither anything to
 * subtract nor anything below the reach. It saves two steps and changes no bit.
 *
 * Coefficients and tables: tools/minimax.py. */
#ifndef FS_EXP_H
#define FS_EXP_H

#define SHIFT_FROM 16384.0
#define BIAS_f32 60
#define BIAS_f64 100
#define POWER_OF_BIAS_f32 0x1p60
#define POWER_OF_BIAS_f64 0x1p100
#define ORDINARY 63 /* 2 * 63 / ln 2 - BIAS_f32 + 1 < 125 */
#define LOG2_E 0x1.71547652b82fep+0
/* ln 2 cut to 38 bits, the last two of them 0, and the rest: n * LN2_TOP is exact for |n| < 2**17, without FMA too.
 */
#define LN2_TOP 0x1.62e42fefa0000p-1
#define LN2_REST 0x1.cf79abc9e3b3ap-40

/* Generates, for T = f32 or f64, the type `reference_T` and its maker. exp_f32 counts in steps of 2**(1/8): its
 * `eighths` is the rounder of 8 (n-N), without the bias of the exponent. */
#define DEFINE_REFERENCE(T, ROUNDER, EXPONENT_BIAS)                                                                  \
    typedef struct {                                                                                                 \
        v_##T shift;   /* subtracted from x first: 0, or the maximum where it is large */                            \
        v_##T floor;   /* where the exponent field is 0 */                                                           \
        v_##T rounder; /* ROUNDER + EXPONENT_BIAS - N */                                                             \
        v_##T eighths; /* ROUNDER - 8 N */                                                                           \
        v_##T n_top;   /* round((max - shift) / ln 2) = N + BIAS */                                                  \
    } reference_##T;                                                                                                 \
    static ALWAYS_INLINE reference_##T make_reference_##T(v_##T top) {                                               \
        const v_##T rounder = set1_##T(ROUNDER);                                                                     \
        m_##T large = ge_##T(max_##T(top, neg_##T(top)), set1_##T(SHIFT_FROM));                                      \
        reference_##T ref;                                                                                           \
        ref.shift = keep_##T(large, top);                                                                            \
        ref.n_top = sub_##T(fma_##T(drop_##T(large, top), set1_##T(LOG2_E), rounder), rounder);                      \
        ref.rounder = sub_##T(add_##T(rounder, set1_##T(EXPONENT_BIAS + BIAS_##T)), ref.n_top);                      \
        ref.eighths = fma_##T(sub_##T(set1_##T(BIAS_##T), ref.n_top), set1_##T(8), rounder);                         \
        ref.floor = mul_##T(sub_##T(ref.n_top, set1_##T(EXPONENT_BIAS + BIAS_##T)), set1_##T(LN2_TOP));              \
        return ref;                                                                                                  \
    }
DEFINE_REFERENCE(f32, 0x1.8p23f, 127)
DEFINE_REFERENCE(f64, 0x1.8p52, 1023)
#undef DEFINE_REFERENCE

/* The exponentials of a few vectors take each step together, so that their chains of dependent instructions overlap
 * on cores with a small scheduler too. TOGETHER is the target's choice; results do not depend on it. */
#define EACH for (int i = 0; i < vectors; i++)

/* C * 2**(j/8) of bits less j << 20, so that adding n << 20, whose lowest three bits are j, leaves C * 2**(n/8).
 * No result of softmax depends on the constant C = 1.0877, which every exponential of a row has. This one puts all
 * eight powers within 0.03 ULP of a float32. (Twice, for targets that look up by four bits.) */
static const float EIGHTHS[16] = {
    0x1.16747cp+0f, 0x1.0fa848p+0f, 0x1.0b2404p+0f, 0x1.091c8ap+0f, 0x1.09cb7cp+0f, 0x1.0d6fb4p+0f,
    0x1.144dbcp+0f, 0x1.1eb052p+0f, 0x1.16747cp+0f, 0x1.0fa848p+0f, 0x1.0b2404p+0f, 0x1.091c8ap+0f,
    0x1.09cb7cp+0f, 0x1.0d6fb4p+0f, 0x1.144dbcp+0f, 0x1.1eb052p+0f,
};

/* x[i] = C * exp(x[i] - shift) * 2**-N, with n in eighths, s = C * 2**(n-N) from the table and |r| <= ln 2 / 16.
 * Types: float32. Max error: 0.62 ULP. Range: every x <= max. NaN -> NaN; below the floor -> 0. Aliasing: none. */
static ALWAYS_INLINE void exp_f32(v_f32 *x, const int vectors, const reference_f32 *ref, const int ordinary) {
    /* a step above the floor, so that rounding cannot lead below it */
    const v_f32 least = add_f32(ref->floor, set1_f32(1)), table = load_f32(EIGHTHS);
    m_f32 in_reach[TOGETHER_f32];
    v_f32 n[TOGETHER_f32], s[TOGETHER_f32], q[TOGETHER_f32];
    if (!ordinary) {
        EACH x[i] = sub_f32(x[i], ref->shift);
        EACH in_reach[i] = not_less_f32(x[i], least);
    }
    EACH s[i] = fma_f32(x[i], set1_f32(8 * (float)LOG2_E), ref->eighths);
    EACH n[i] = sub_f32(s[i], ref->eighths);
    EACH x[i] = fma_f32(n[i], set1_f32(-0x1.62e430p-4f), x[i]); /* ln 2 / 8 to 24 bits: exact under FMA */
    EACH x[i] = fma_f32(n[i], set1_f32(0x1.05c610p-32f), x[i]);
    EACH s[i] = eighth_power_f32(table, s[i]);
    EACH q[i] = fma_f32(set1_f32(0x1.555474p-5f), x[i], set1_f32(0x1.555bfap-3f));
    EACH q[i] = fma_f32(q[i], x[i], set1_f32(0.5f));
    EACH q[i] = fma_f32(mul_f32(x[i], x[i]), q[i], x[i]);
    EACH x[i] = fma_f32(q[i], s[i], s[i]);
    if (!ordinary) EACH x[i] = keep_f32(in_reach[i], x[i]);
}

/* The constant that exponentials have, to be taken out where they meet others. */
#define EXP_CONSTANT_f32 ((double)EIGHTHS[0])
#define EXP_CONSTANT_f64 1.0

/* The exponentials of logarithms: those of float32 are exact enough without a low part. */
static ALWAYS_INLINE void exp_pair_f32(v_f32 *x, v_f32 *low, const int vectors, const reference_f32 *ref,
                                       const int ordinary) {
    (void)low;
    exp_f32(x, vectors, ref, ordinary);
}

/* q(r) of e**r = 1 + r + r*r*q(r), for |r| <= ln 2 / 2, as two chains in r*r. Max error in e**r: 0.002 units of
 * 2**-53. */
static ALWAYS_INLINE void exp_series_f64(v_f64 *q, const v_f64 *r, const int vectors) {
    v_f64 z[TOGETHER_f64], odd[TOGETHER_f64];
    EACH z[i] = mul_f64(r[i], r[i]);
    EACH q[i] = fma_f64(set1_f64(0x1.1f5939fe30902p-29), z[i], set1_f64(0x1.27e4ec82ceafap-22));
    EACH odd[i] = fma_f64(set1_f64(0x1.af5f3cb879e15p-26), z[i], set1_f64(0x1.71ddf80a7cf51p-19));
    EACH q[i] = fma_f64(q[i], z[i], set1_f64(0x1.a01a019e884bfp-16));
    EACH odd[i] = fma_f64(odd[i], z[i], set1_f64(0x1.a01a01b003b75p-13));
    EACH q[i] = fma_f64(q[i], z[i], set1_f64(0x1.6c16c16c17f59p-10));
    EACH odd[i] = fma_f64(odd[i], z[i], set1_f64(0x1.111111110f659p-7));
    EACH q[i] = fma_f64(q[i], z[i], set1_f64(0x1.5555555555551p-5));
    EACH odd[i] = fma_f64(odd[i], z[i], set1_f64(0x1.5555555555559p-3));
    EACH q[i] = fma_f64(q[i], z[i], set1_f64(0.5));
    EACH q[i] = fma_f64(odd[i], r[i], q[i]);
}

/* x[i] = exp(x[i] - shift) * 2**-N; low[i], unless it is NULL, = what rounding it left, and the rounding of r with
 * it. Types: float64. Max error: x[i] 1.1 ULP, x[i] + low[i] 0.5, and half of the least number more where low[i] is
 * subnormal. Range, NaN, aliasing: as exp_f32; x is clamped to the floor, where s is 0. */
static ALWAYS_INLINE void exp_pair_f64(v_f64 *x, v_f64 *low, const int vectors, const reference_f64 *ref,
                                       const int ordinary) {
    v_f64 s[TOGETHER_f64], n[TOGETHER_f64], q[TOGETHER_f64], r_low[TOGETHER_f64];
    if (!ordinary) EACH x[i] = max_f64(ref->floor, sub_f64(x[i], ref->shift));
    EACH s[i] = fma_f64(x[i], set1_f64(LOG2_E), ref->rounder);
    EACH n[i] = sub_f64(s[i], ref->rounder);
    EACH r_low[i] = fma_f64(n[i], set1_f64(-LN2_TOP), x[i]);
    EACH x[i] = fma_f64(n[i], set1_f64(-LN2_REST), r_low[i]);
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
static ALWAYS_INLINE void exp_f64(v_f64 *x, const int vectors, const reference_f64 *ref, const int ordinary) {
    exp_pair_f64(x, NULL, vectors, ref, ordinary);
}
#undef EACH

#endif
