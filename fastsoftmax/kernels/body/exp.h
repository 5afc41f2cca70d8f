/* exp(x) * 2**-N for a reference N near the maximum's exponent, never exp(x - max).
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
 * subtract nor anything below the reach. It saves two steps and changes no bit. All `ordinary` numbers can also have
 * one reference, ordinary_reference, which is known before their maximum is: exponentials and sums differ from those
 * of the maximum's own by a power of two, and nothing is too small for it.
 *
 * Coefficients and tables: tools/minimax.py. */
#ifndef FS_EXP_H
#define FS_EXP_H

#define SHIFT_FROM 16384.0
#define BIAS_f32 60
#define BIAS_f64 100
#define POWER_OF_BIAS_f32 0x1p60
#define POWER_OF_BIAS_f64 0x1p100
#define ORDINARY 63     /* 2 * 63 / ln 2 - BIAS_f32 + 1 < 125 */
#define ORDINARY_TOP 91 /* round(63 / ln 2) */
#define LOG2_E 0x1.71547652b82fep+0
/* ln 2 cut to 38 bits, the last two of them 0, and the rest: n * LN2_TOP is exact for |n| < 2**17, without FMA too.
 */
#define LN2_TOP 0x1.62e42fefa0000p-1
#define LN2_REST 0x1.cf79abc9e3b3ap-40

/* The constants of an exponential. A compiler that knew those of float32 would load them again and again in a loop
 * instead of keeping one copy, for AVX2 a tenth more time. */
typedef struct {
    float steps;               /* 8 / ln 2 */
    float step_top, step_rest; /* -ln 2 / 8 in two parts */
    float q2, q1, q0;          /* the coefficients of q(r) */
} exp_constants_f32;

typedef struct {
    double steps;               /* 1 / ln 2 */
    double step_top, step_rest; /* -ln 2 in two parts; exp_series_f64 has q */
} exp_constants_f64;

static ALWAYS_INLINE exp_constants_f32 make_exp_constants_f32(void) {
    /* ln 2 / 8 to 24 bits, so that r is exact under FMA but for the rest */
    exp_constants_f32 c = {8 * (float)LOG2_E, -0x1.62e430p-4f, 0x1.05c610p-32f, 0x1.555474p-5f, 0x1.555bfap-3f, 0.5f};
    KEEP_UNKNOWN(c.steps);
    KEEP_UNKNOWN(c.step_top);
    KEEP_UNKNOWN(c.step_rest);
    KEEP_UNKNOWN(c.q2);
    KEEP_UNKNOWN(c.q1);
    KEEP_UNKNOWN(c.q0);
    return c;
}

static ALWAYS_INLINE exp_constants_f64 make_exp_constants_f64(void) {
    return (exp_constants_f64){LOG2_E, -LN2_TOP, -LN2_REST};
}

/* Generates, for T = f32 or f64, the type `reference_T` and its maker. exp_f32 counts in steps of 2**(1/8): its
 * `eighths` is the rounder of 8 (n-N), without the bias of the exponent. */
#define DEFINE_REFERENCE(T, ROUNDER, EXPONENT_BIAS)                                                                  \
    typedef struct {                                                                                                 \
        v_##T shift;   /* subtracted from x first: 0, or the maximum where it is large */                            \
        v_##T floor;   /* where the exponent field is 0 */                                                           \
        v_##T rounder; /* ROUNDER + EXPONENT_BIAS - N */                                                             \
        v_##T eighths; /* ROUNDER - 8 N */                                                                           \
        v_##T n_top;   /* round((max - shift) / ln 2) = N + BIAS */                                                  \
        exp_constants_##T constants;                                                                                 \
    } reference_##T;                                                                                                 \
    static ALWAYS_INLINE reference_##T make_reference_##T(v_##T top) {                                               \
        const v_##T rounder = set1_##T(ROUNDER);                                                                     \
        m_##T large = ge_##T(max_##T(top, neg_##T(top)), set1_##T(SHIFT_FROM));                                      \
        reference_##T ref;                                                                                           \
        ref.constants = make_exp_constants_##T();                                                                    \
        ref.shift = keep_##T(large, top);                                                                            \
        ref.n_top = sub_##T(fma_##T(drop_##T(large, top), set1_##T(LOG2_E), rounder), rounder);                      \
        ref.rounder = sub_##T(add_##T(rounder, set1_##T(EXPONENT_BIAS + BIAS_##T)), ref.n_top);                      \
        ref.eighths = fma_##T(sub_##T(set1_##T(BIAS_##T), ref.n_top), set1_##T(8), rounder);                         \
        ref.floor = mul_##T(sub_##T(ref.n_top, set1_##T(EXPONENT_BIAS + BIAS_##T)), set1_##T(LN2_TOP));              \
        return ref;                                                                                                  \
    }                                                                                                                \
    /* that of the largest ordinary maximum */                                                                       \
    static ALWAYS_INLINE reference_##T ordinary_reference_##T(void) {                                                \
        reference_##T ref;                                                                                           \
        ref.constants = make_exp_constants_##T();                                                                    \
        ref.shift = set1_##T(0);                                                                                     \
        ref.n_top = set1_##T(ORDINARY_TOP);                                                                          \
        ref.rounder = set1_##T(ROUNDER + EXPONENT_BIAS + BIAS_##T - ORDINARY_TOP);                                   \
        ref.eighths = set1_##T(ROUNDER + 8 * (BIAS_##T - ORDINARY_TOP));                                             \
        ref.floor = set1_##T((ORDINARY_TOP - EXPONENT_BIAS - BIAS_##T) * LN2_TOP);                                   \
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

/* Half of an exponential: x - shift = n ln 2 / 8 + r (float64: n ln 2 + r). The low bits of n_bits are n - 8 N
 * (float64: n - N and the exponent's bias), of which the end makes the power of two. A loop that ends one exponential
 * while it begins the next keeps the core from waiting (row_passes.h). */
typedef struct {
    v_f32 r, n_bits;
    m_f32 in_reach; /* not set where all are `ordinary` */
} begun_f32;

static ALWAYS_INLINE void exp_begin_f32(const v_f32 *x, begun_f32 *to, const int vectors, const reference_f32 *ref,
                                        const int ordinary) {
    /* a step above the floor, so that rounding cannot lead below it */
    const v_f32 least = add_f32(ref->floor, set1_f32(1));
    v_f32 n[TOGETHER_f32];
    EACH to[i].r = ordinary ? x[i] : sub_f32(x[i], ref->shift);
    if (!ordinary) EACH to[i].in_reach = not_less_f32(to[i].r, least);
    EACH to[i].n_bits = fma_f32(to[i].r, set1_f32(ref->constants.steps), ref->eighths);
    EACH n[i] = sub_f32(to[i].n_bits, ref->eighths);
    EACH to[i].r = fma_f32(n[i], set1_f32(ref->constants.step_top), to[i].r);
    EACH to[i].r = fma_f32(n[i], set1_f32(ref->constants.step_rest), to[i].r);
}

static ALWAYS_INLINE void exp_end_f32(const begun_f32 *from, v_f32 *e, const int vectors, const reference_f32 *ref,
                                      const int ordinary) {
    const v_f32 table = load_f32(EIGHTHS);
    v_f32 s[TOGETHER_f32], q[TOGETHER_f32];
    EACH s[i] = eighth_power_f32(table, from[i].n_bits);
    EACH q[i] = fma_f32(set1_f32(ref->constants.q2), from[i].r, set1_f32(ref->constants.q1));
    EACH q[i] = fma_f32(q[i], from[i].r, set1_f32(ref->constants.q0));
    EACH q[i] = fma_f32(mul_f32(from[i].r, from[i].r), q[i], from[i].r);
    EACH e[i] = fma_f32(q[i], s[i], s[i]);
    if (!ordinary) EACH e[i] = keep_f32(from[i].in_reach, e[i]);
}

/* x[i] = C * exp(x[i] - shift) * 2**-N, with n in eighths, s = C * 2**(n-N) from the table and |r| <= ln 2 / 16.
 * Types: float32. Max error: 0.62 ULP. Range: every x <= max. NaN -> NaN; below the floor -> 0. Aliasing: none. */
static ALWAYS_INLINE void exp_f32(v_f32 *x, const int vectors, const reference_f32 *ref, const int ordinary) {
    begun_f32 begun[TOGETHER_f32];
    exp_begin_f32(x, begun, vectors, ref, ordinary);
    exp_end_f32(begun, x, vectors, ref, ordinary);
}

/* The constant that exponentials have, to be taken out where they meet others. */
#define EXP_CONSTANT_f32 ((double)EIGHTHS[0])
#define EXP_CONSTANT_f64 1.0

/* The exponentials of logarithms: those of float32 are exact enough without a low part. */
static ALWAYS_INLINE void exp_end_pair_f32(const begun_f32 *from, v_f32 *e, v_f32 *low, const int vectors,
                                           const reference_f32 *ref, const int ordinary) {
    (void)low;
    exp_end_f32(from, e, vectors, ref, ordinary);
}
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

typedef struct {
    v_f64 r, n_bits;
    v_f64 r_low; /* what rounding r left */
} begun_f64;

static ALWAYS_INLINE void exp_begin_f64(const v_f64 *x, begun_f64 *to, const int vectors, const reference_f64 *ref,
                                        const int ordinary) {
    v_f64 n[TOGETHER_f64], top[TOGETHER_f64];
    EACH to[i].r = ordinary ? x[i] : max_f64(ref->floor, sub_f64(x[i], ref->shift));
    EACH to[i].n_bits = fma_f64(to[i].r, set1_f64(ref->constants.steps), ref->rounder);
    EACH n[i] = sub_f64(to[i].n_bits, ref->rounder);
    EACH top[i] = fma_f64(n[i], set1_f64(ref->constants.step_top), to[i].r);
    EACH to[i].r = fma_f64(n[i], set1_f64(ref->constants.step_rest), top[i]);
    EACH to[i].r_low = fma_f64(n[i], set1_f64(ref->constants.step_rest), sub_f64(top[i], to[i].r));
}

/* The second half of exp_pair_f64; low may be NULL. */
static ALWAYS_INLINE void exp_end_pair_f64(const begun_f64 *from, v_f64 *e, v_f64 *low, const int vectors,
                                           const reference_f64 *ref, const int ordinary) {
    (void)ref, (void)ordinary;
    v_f64 r[TOGETHER_f64], s[TOGETHER_f64], q[TOGETHER_f64];
    EACH r[i] = from[i].r;
    EACH s[i] = power_of_two_f64(from[i].n_bits);
    exp_series_f64(q, r, vectors);
    if (low)
        EACH q[i] = add_f64(r[i], fma_f64(mul_f64(r[i], r[i]), q[i], from[i].r_low));
    else
        EACH q[i] = fma_f64(mul_f64(r[i], r[i]), q[i], r[i]);
    EACH e[i] = fma_f64(q[i], s[i], s[i]);
    if (low) EACH low[i] = fma_f64(q[i], s[i], sub_f64(s[i], e[i]));
}
static ALWAYS_INLINE void exp_end_f64(const begun_f64 *from, v_f64 *e, const int vectors, const reference_f64 *ref,
                                      const int ordinary) {
    exp_end_pair_f64(from, e, NULL, vectors, ref, ordinary);
}

/* x[i] = exp(x[i] - shift) * 2**-N; low[i], unless it is NULL, = what rounding it left, and the rounding of r with
 * it. Types: float64. Max error: x[i] 1.1 ULP, x[i] + low[i] 0.5, and half of the least number more where low[i] is
 * subnormal. Range, NaN, aliasing: as exp_f32; x is clamped to the floor, where s is 0. */
static ALWAYS_INLINE void exp_pair_f64(v_f64 *x, v_f64 *low, const int vectors, const reference_f64 *ref,
                                       const int ordinary) {
    begun_f64 begun[TOGETHER_f64];
    exp_begin_f64(x, begun, vectors, ref, ordinary);
    exp_end_pair_f64(begun, x, low, vectors, ref, ordinary);
}
static ALWAYS_INLINE void exp_f64(v_f64 *x, const int vectors, const reference_f64 *ref, const int ordinary) {
    exp_pair_f64(x, NULL, vectors, ref, ordinary);
}
#undef EACH

#endif
