/* What the gradients are made of, in the two computing types: totals, and exponentials times a total.
 *
 * exp(y) * total needs no maximum: outputs of log_softmax are not above 0, so one reference does for all of them. By
 * it exponentials are held times 2**REACH (and the constant of exp.h), so that those that became 0 do not count
 * beside any |total| <= MOST_TOTAL, while total * 2**-REACH is a normal number from LEAST_TOTAL on. Elements above
 * LAST_EXPONENT, which no log_softmax gives, and rows of other totals take any_product instead. */
#ifndef FS_GRADIENT_H
#define FS_GRADIENT_H

#define LAST_EXPONENT 40
#define REACH_f32 60
#define FACTOR_f32 (-0x1p-60 / EXP_CONSTANT_f32)
#define LEAST_TOTAL_f32 0x1p-60 /* 2**-126 < FACTOR * 2**-60 */
#define MOST_TOTAL_f32 0x1p32   /* 2**-(126 + REACH) * 2**32 < 2**-149 / 4 */
#define REACH_f64 300
#define FACTOR_f64 (-0x1p-300 / EXP_CONSTANT_f64)
#define LEAST_TOTAL_f64 0x1p-600
#define MOST_TOTAL_f64 0x1p200

/* sum += g * y, exactly in float32. Types: float32, float64 with the rounding of the product. */
static ALWAYS_INLINE void sum_add_product_f32(sum_f32 *sum, v_f32 g, v_f32 y) {
    sum->hi[0] = fma_f64(widen_low_f32(g), widen_low_f32(y), sum->hi[0]);
    sum->hi[1] = fma_f64(widen_high_f32(g), widen_high_f32(y), sum->hi[1]);
}

static ALWAYS_INLINE void sum_add_product_f64(sum_f64 *sum, v_f64 g, v_f64 y) { sum_add_f64(sum, mul_f64(g, y)); }

/* The quick ways: float32 products are rounded, and two vectors added, before they are widened, which costs two units
 * of 2**-24 of their absolute values, one where there are no products, short of underflow and overflow. */
static ALWAYS_INLINE void sum_add_two_products_f32(sum_f32 *sum, const v_f32 *g, const v_f32 *y) {
    sum_add_f32(sum, fma_f32(g[1], y[1], mul_f32(g[0], y[0])));
}

static ALWAYS_INLINE void sum_add_two_products_f64(sum_f64 *sum, const v_f64 *g, const v_f64 *y) {
    sum_add_product_f64(sum, g[0], y[0]);
    sum_add_product_f64(sum, g[1], y[1]);
}

static ALWAYS_INLINE void sum_add_two_f32(sum_f32 *sum, v_f32 a, v_f32 b) { sum_add_f32(sum, add_f32(a, b)); }

static ALWAYS_INLINE void sum_add_two_f64(sum_f64 *sum, v_f64 a, v_f64 b) {
    sum_add_f64(sum, a);
    sum_add_f64(sum, b);
}

/* Whether a sum of n elements, taken the quick way, may have lost to underflow or overflow what counts. */
static ALWAYS_INLINE int is_doubtful_f32(double total, ptrdiff_t n) {
    const double size = total < 0 ? -total : total;
    return !(size >= (double)n * 0x1p-120 && size <= 0x1p127);
}

static ALWAYS_INLINE int is_doubtful_f64(double total, ptrdiff_t n) {
    (void)total, (void)n; /* nothing there is quicker than exact */
    return 0;
}

static ALWAYS_INLINE void sum_join_f32(sum_f32 *sum, sum_f32 other) {
    sum->hi[0] = add_f64(sum->hi[0], other.hi[0]);
    sum->hi[1] = add_f64(sum->hi[1], other.hi[1]);
}

static ALWAYS_INLINE void sum_join_f64(sum_f64 *sum, sum_f64 other) {
    sum_add_f64(sum, other.hi[0]);
    sum->lo[0] = add_f64(sum->lo[0], other.lo[0]);
}

/* Each lane's sum. The low part of an infinite one of float64 is NaN, and does not count. */
static ALWAYS_INLINE void sum_halves_f32(const sum_f32 *sum, v_f64 *halves) {
    halves[0] = sum->hi[0];
    halves[1] = sum->hi[1];
}

static ALWAYS_INLINE void sum_halves_f64(const sum_f64 *sum, v_f64 *halves) {
    const m_f64 finite = eq_f64(sub_f64(sum->hi[0], sum->hi[0]), set1_f64(0));
    halves[0] = add_f64(sum->hi[0], keep_f64(finite, sum->lo[0]));
}

#define DEFINE_SUM_LANES(T)                                                                                          \
    static ALWAYS_INLINE void sum_lanes_##T(const sum_##T *sum, double *lanes) {                                     \
        v_f64 halves[HALVES_##T];                                                                                    \
        sum_halves_##T(sum, halves);                                                                                 \
        for (int k = 0; k < HALVES_##T; k++) store_f64(lanes + k * LANES_f64, halves[k]);                            \
    }
DEFINE_SUM_LANES(f32)
DEFINE_SUM_LANES(f64)
#undef DEFINE_SUM_LANES

/* exp(y) * total. Types: float64. Max error: 3 ULP. Range: all, with what IEEE arithmetic makes of infinities, NaN
 * and 0 * inf, where exp(y) is 0 up to -1500 and inf from 1500 on. Aliasing: none. */
static ALWAYS_INLINE v_f64 any_product(v_f64 y, v_f64 total) {
    const v_f64 rounder = set1_f64(ROUNDER_f64), most = set1_f64(1500), least = set1_f64(-1500);
    v_f64 e = neg_f64(max_f64(least, neg_f64(max_f64(least, y)))); /* in this order a NaN passes */
    const reference_f64 ref = make_reference_f64(e);
    exp_f64(&e, 1, &ref, 1);
    e = mul_f64(e, set1_f64(1 / (EXP_CONSTANT_f64 * POWER_OF_BIAS_f64)));
    e = add_f64(drop_f64(ge_f64(least, y), e), keep_f64(ge_f64(y, most), set1_f64(INFINITY)));
    /* by 2**n_top in three factors, the mantissas in between: nothing overflows or underflows before the product */
    const v_f64 third = sub_f64(fma_f64(ref.n_top, set1_f64(1.0 / 3), rounder), rounder);
    const v_f64 scale = power_of_f64(third);
    const v_f64 last = power_of_f64(sub_f64(ref.n_top, add_f64(third, third)));
    return mul_f64(mul_f64(mul_f64(mul_f64(total, scale), e), scale), last);
}

/* g - exp(y) * total for any y and the totals of its lanes */
static ALWAYS_INLINE v_f64 any_gradient_f64(v_f64 g, v_f64 y, const v_f64 *total) {
    return sub_f64(g, any_product(y, total[0]));
}

static ALWAYS_INLINE v_f32 any_gradient_f32(v_f32 g, v_f32 y, const v_f64 *total) {
    return narrow_f32(any_gradient_f64(widen_low_f32(g), widen_low_f32(y), total),
                      any_gradient_f64(widen_high_f32(g), widen_high_f32(y), total + 1));
}

#endif
