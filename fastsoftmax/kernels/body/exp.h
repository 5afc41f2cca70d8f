/* exp(x) * 2**-N for a reference N near the maximum's exponent, never exp(x - max).
 *
 * The rounding of x - max alone costs 5 to 130 ULP. Instead the maximum only fixes the integer
 * N = round(max / ln 2) - BIAS, and each element is reduced on its own (Cody and Waite), in steps of ln 2 / 8 (P.
 * Tang, "Table-driven implementation of the exponential function", ACM TOMS 15, 1989):
 *
 *     n = round(8 x / ln 2),  r = x - n ln 2 / 8 in two constants,  exp(x) * 2**-N = 2**(n/8 - N) * e**r.
 *
 * With s = 2**(n/8 - N) from a table and w = e**r - 1 = r + r*r*q(r), the result is fma(w, s, s): one last rounding,
 * and a NaN in x stays a NaN, since w carries it (adding to the exponent field of e**r could turn it into a number).
 *
 * The addition of 1.5 * 2**(mantissa bits) rounds to an integer. Subtracting 8 N in the same constant leaves n - 8 N
 * in the low bits of the sum, of which the last three are the entry of the table and the others the exponent.
 *
 * BIAS lets the stored exponentials reach down to 2**-186 (float64: 2**-1122) of the largest one, so that the
 * multiply by 1/sum rounds subnormal results once, and 2**24 of them that are left out are no part of a result's last
 * place. What lies below that (masks hold -inf or -3.4e38) becomes 0.
 *
 * Where |max| >= SHIFT_FROM the constants no longer carry enough digits. There the maximum is subtracted first,
 * which is exact for every x that counts (Sterbenz). An infinite maximum goes the same way, to inf - inf: NaN.
 *
 * `ordinary` says that there is neither anything to subtract nor anything below the reach: that every |x| <=
 * ORDINARY, or NaN, as nearly all there are (or that each is its own maximum, and small). It saves three steps and
 * changes no bit. All `ordinary` numbers can also have one reference, ordinary_reference, which is known before their
 * maximum is: exponentials and sums differ from those of the maximum's own by a power of two, and nothing is too
 * small for it.
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
/* ln 2 cut to 34 bits and the rest: n * LN2_TOP is exact for |n| < 2**19, eighths too, without FMA too. */
#define LN2_TOP 0x1.62e42fef80000p-1
#define LN2_REST 0x1.1cf79abc9e3b4p-36

/* The constants of an exponential. A compiler that knew those of float32 would load them again and again in a loop
 * instead of keeping one copy, for AVX2 a tenth more time. */
typedef struct {
    float steps;               /* 8 / ln 2 */
    float step_top, step_rest; /* -ln 2 / 8 in two parts */
    float q2, q1, q0;          /* the coefficients of q(r) */
} exp_constants_f32;

typedef struct {
    double steps; /* the same; exp_series_f64 has the coefficients */
    double step_top, step_rest;
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
    return (exp_constants_f64){8 * LOG2_E, -LN2_TOP / 8, -LN2_REST / 8};
}

/* What rounds to an integer when it is added, which then is in the lowest bits of the sum. */
#define ROUNDER_f32 0x1.8p23f
#define ROUNDER_f64 0x1.8p52

/* Generates, for T = f32 or f64, the type `reference_T` and its makers. */
#define DEFINE_REFERENCE(T, EXPONENT_BIAS)                                                                           \
    typedef struct {                                                                                                 \
        v_##T shift;   /* subtracted from x first: 0, or the maximum where it is large */                            \
        v_##T floor;   /* where the exponent field is 0 */                                                           \
        v_##T rounder; /* the rounder, less 8 N */                                                                   \
        v_##T n_top;   /* round((max - shift) / ln 2) = N + BIAS */                                                  \
        exp_constants_##T constants;                                                                                 \
    } reference_##T;                                                                                                 \
    static ALWAYS_INLINE reference_##T reference_at_##T(v_##T shift, v_##T n_top) {                                  \
        reference_##T ref;                                                                                           \
        ref.constants = make_exp_constants_##T();                                                                    \
        ref.shift = shift;                                                                                           \
        ref.n_top = n_top;                                                                                           \
        ref.rounder = fma_##T(sub_##T(set1_##T(BIAS_##T), n_top), set1_##T(8), set1_##T(ROUNDER_##T));               \
        ref.floor = mul_##T(sub_##T(n_top, set1_##T(EXPONENT_BIAS + BIAS_##T)), set1_##T(LN2_TOP));                  \
        return ref;                                                                                                  \
    }                                                                                                                \
    static ALWAYS_INLINE m_##T is_large_##T(v_##T top) {                                                             \
        return ge_##T(max_##T(top, neg_##T(top)), set1_##T(SHIFT_FROM));                                             \
    }                                                                                                                \
    static ALWAYS_INLINE reference_##T make_reference_##T(v_##T top) {                                               \
        const v_##T rounder = set1_##T(ROUNDER_##T);                                                                 \
        const m_##T large = is_large_##T(top);                                                                       \
        v_##T n_top = sub_##T(fma_##T(drop_##T(large, top), set1_##T(LOG2_E), rounder), rounder);                    \
        return reference_at_##T(keep_##T(large, top), n_top);                                                        \
    }                                                                                                                \
    /* that of the largest ordinary maximum */                                                                       \
    static ALWAYS_INLINE reference_##T ordinary_reference_##T(void) {                                                \
        reference_##T ref;                                                                                           \
        ref.constants = make_exp_constants_##T();                                                                    \
        ref.shift = set1_##T(0);                                                                                     \
        ref.n_top = set1_##T(ORDINARY_TOP);                                                                          \
        ref.rounder = set1_##T(ROUNDER_##T + 8 * (BIAS_##T - ORDINARY_TOP));                                         \
        ref.floor = set1_##T((ORDINARY_TOP - EXPONENT_BIAS - BIAS_##T) * LN2_TOP);                                   \
        return ref;                                                                                                  \
    }
DEFINE_REFERENCE(f32, 127)
DEFINE_REFERENCE(f64, 1023)
#undef DEFINE_REFERENCE

/* What tells of numbers whose exponentials are taken whether they are ordinary: the largest |x|; or, where that is
 * quicker, bits of their n_bits beside ordinary_reference, for which only |x| <= CHECKED is ordinary. 0 tells of
 * none.
 */
#define CHECKED_f64 ORDINARY
#define DEFINE_CHECK(T)                                                                                              \
    static ALWAYS_INLINE v_##T check_##T(v_##T check, v_##T x, v_##T n_bits) {                                       \
        (void)n_bits;                                                                                                \
        return abs_max_##T(x, check);                                                                                \
    }                                                                                                                \
    static ALWAYS_INLINE v_##T both_checks_##T(v_##T x, v_##T y) { return max_##T(x, y); }                           \
    static ALWAYS_INLINE int are_ordinary_##T(v_##T check) { return all_##T(ge_##T(set1_##T(ORDINARY), check)); }
DEFINE_CHECK(f64)
#ifndef HAS_COLLECT
#define CHECKED_f32 ORDINARY
DEFINE_CHECK(f32)
#else
#define CHECKED_f32 44 /* 512 steps: 44.3 */
enum { ROUNDER_BITS_f32 = 0x4b400000 }; /* 1.5 * 2**23 */
static ALWAYS_INLINE v_f32 check_f32(v_f32 check, v_f32 x, v_f32 n_bits) {
    (void)x;
    return collect_f32(check, n_bits, ROUNDER_BITS_f32 + 8 * (BIAS_f32 - ORDINARY_TOP) - 512);
}
static ALWAYS_INLINE v_f32 both_checks_f32(v_f32 x, v_f32 y) { return both_collected_f32(x, y); }
static ALWAYS_INLINE int are_ordinary_f32(v_f32 check) { return were_all_near_f32(check); }
#endif
#undef DEFINE_CHECK

/* The exponentials of a few vectors take each step together, so that their chains of dependent instructions overlap
 * on cores with a small scheduler too. TOGETHER is the target's choice; results do not depend on it. */
#define EACH for (int i = 0; i < vectors; i++)

/* C * 2**(j/8) of bits less j << 20, so that adding n << 20, whose lowest three bits are j, leaves C * 2**(n/8).
 * No result of softmax depends on the constant C = 1.0877, which every exponential of a row has. This one, next to
 * the first entry, puts all eight powers within 0.033 ULP of a float32. (Twice, for targets that look up by four
 * bits.) */
static const float EIGHTHS_f32[16] = {
    0x1.16747cp+0f, 0x1.0fa848p+0f, 0x1.0b2404p+0f, 0x1.091c8ap+0f, 0x1.09cb7cp+0f, 0x1.0d6fb4p+0f,
    0x1.144dbcp+0f, 0x1.1eb052p+0f, 0x1.16747cp+0f, 0x1.0fa848p+0f, 0x1.0b2404p+0f, 0x1.091c8ap+0f,
    0x1.09cb7cp+0f, 0x1.0d6fb4p+0f, 0x1.144dbcp+0f, 0x1.1eb052p+0f,
};

/* The constant that exponentials have, to be taken out where they meet others. */
#define EXP_CONSTANT_f32 ((double)EIGHTHS_f32[0])
#define EXP_CONSTANT_f64 0x1.0000afb2a975fp+0

/* The same in float64, of bits less j << 49. C is the first, and all eight are within 0.0103 ULP. */
static const double EIGHTHS_f64[8] = {
    EXP_CONSTANT_f64,     0x1.f72c4361693b4p-1, 0x1.f070b1940d512p-1, 0x1.ebfe912d7e446p-1,
    0x1.ea0adee162c76p-1, 0x1.eacf63193e600p-1, 0x1.ee8b211277c72p-1, 0x1.f582d00af518ep-1,
};

/* What exponentials are times those of float64, of the same reference. */
#define FROM_WIDE_f32 (EXP_CONSTANT_f32 * POWER_OF_BIAS_f32 / (EXP_CONSTANT_f64 * POWER_OF_BIAS_f64))
#define FROM_WIDE_f64 1.0

/* q(r) of e**r = 1 + r + r*r*q(r), for |r| <= ln 2 / 16. Max error in e**r: 0.004 units of 2**-24, 0.047 of 2**-53,
 * the latter as two chains in r*r. */
static ALWAYS_INLINE void exp_series_f32(v_f32 *q, const v_f32 *r, const int vectors, const exp_constants_f32 *c) {
    EACH q[i] = fma_f32(set1_f32(c->q2), r[i], set1_f32(c->q1));
    EACH q[i] = fma_f32(q[i], r[i], set1_f32(c->q0));
}

static ALWAYS_INLINE void exp_series_f64(v_f64 *q, const v_f64 *r, const int vectors, const exp_constants_f64 *c) {
    (void)c;
    v_f64 z[TOGETHER_f64], odd[TOGETHER_f64];
    EACH z[i] = mul_f64(r[i], r[i]);
    EACH q[i] = fma_f64(set1_f64(0x1.6c1c3e5a055bbp-10), z[i], set1_f64(0x1.5555554abebeap-5));
    EACH odd[i] = fma_f64(set1_f64(0x1.a01ee272135e0p-13), z[i], set1_f64(0x1.1111110c5c5e3p-7));
    EACH q[i] = fma_f64(q[i], z[i], set1_f64(0x1.00000000000a3p-1));
    EACH odd[i] = fma_f64(odd[i], z[i], set1_f64(0x1.555555555559ep-3));
    EACH q[i] = fma_f64(odd[i], r[i], q[i]);
}

/* Generates, for T = f32 or f64, the exponential, whole and in two halves: a loop that ends one exponential while it
 * begins the next keeps the core from waiting (row_passes.h).
 *
 * x[i] = C * exp(x[i] - shift) * 2**-N; low[i], unless it is NULL, = what rounding it left.
 * Types: float32, float64. Max error: x[i] 0.62 ULP (float64 without FMA 0.8); x[i] + low[i] 0.15 ULP in float64, and
 * half of the least number more where low[i] is subnormal. Range: every x <= max. NaN -> NaN; below the floor -> 0.
 * Aliasing: none. */
#define DEFINE_EXP(T)                                                                                                \
    typedef struct {                                                                                                 \
        v_##T r, n_bits;                                                                                             \
        m_##T in_reach; /* not set where all are `ordinary` */                                                       \
    } begun_##T;                                                                                                     \
    static ALWAYS_INLINE void exp_begin_##T(const v_##T *x, begun_##T *to, const int vectors,                        \
                                            const reference_##T *ref, const int ordinary) {                          \
        /* a little above the floor, so that rounding cannot lead below it */                                        \
        const v_##T least = add_##T(ref->floor, set1_##T(1));                                                        \
        v_##T n[TOGETHER_##T];                                                                                       \
        EACH to[i].r = ordinary ? x[i] : sub_##T(x[i], ref->shift);                                                  \
        if (!ordinary) EACH to[i].in_reach = not_less_##T(to[i].r, least);                                           \
        EACH to[i].n_bits = fma_##T(to[i].r, set1_##T(ref->constants.steps), ref->rounder);                          \
        EACH n[i] = sub_##T(to[i].n_bits, ref->rounder);                                                             \
        EACH to[i].r = fma_##T(n[i], set1_##T(ref->constants.step_top), to[i].r);                                    \
        EACH to[i].r = fma_##T(n[i], set1_##T(ref->constants.step_rest), to[i].r);                                   \
    }                                                                                                                \
    static ALWAYS_INLINE void exp_end_pair_##T(const begun_##T *from, v_##T *e, v_##T *low, const int vectors,       \
                                               const reference_##T *ref, const int ordinary) {                       \
        const v_##T table = load_##T(EIGHTHS_##T);                                                                   \
        v_##T r[TOGETHER_##T], s[TOGETHER_##T], w[TOGETHER_##T];                                                     \
        EACH r[i] = from[i].r;                                                                                       \
        EACH s[i] = eighth_power_##T(table, from[i].n_bits);                                                         \
        exp_series_##T(w, r, vectors, &ref->constants);                                                              \
        EACH w[i] = fma_##T(mul_##T(r[i], r[i]), w[i], r[i]);                                                        \
        EACH e[i] = fma_##T(w[i], s[i], s[i]);                                                                       \
        if (low) EACH low[i] = fma_##T(w[i], s[i], sub_##T(s[i], e[i]));                                             \
        if (!ordinary) EACH e[i] = keep_##T(from[i].in_reach, e[i]);                                                 \
        if (!ordinary && low) EACH low[i] = keep_##T(from[i].in_reach, low[i]);                                      \
    }                                                                                                                \
    static ALWAYS_INLINE void exp_end_##T(const begun_##T *from, v_##T *e, const int vectors,                        \
                                          const reference_##T *ref, const int ordinary) {                            \
        exp_end_pair_##T(from, e, NULL, vectors, ref, ordinary);                                                     \
    }                                                                                                                \
    static ALWAYS_INLINE void exp_pair_##T(v_##T *x, v_##T *low, const int vectors, const reference_##T *ref,        \
                                           const int ordinary) {                                                     \
        begun_##T begun[TOGETHER_##T];                                                                               \
        exp_begin_##T(x, begun, vectors, ref, ordinary);                                                             \
        exp_end_pair_##T(begun, x, low, vectors, ref, ordinary);                                                     \
    }                                                                                                                \
    static ALWAYS_INLINE void exp_##T(v_##T *x, const int vectors, const reference_##T *ref, const int ordinary) {   \
        exp_pair_##T(x, NULL, vectors, ref, ordinary);                                                               \
    }
DEFINE_EXP(f32)
DEFINE_EXP(f64)
#undef DEFINE_EXP
#undef EACH

#endif
