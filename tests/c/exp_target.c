/* The exponentials of one target, inlined as its kernels inline them. Compiled once a target, with the target's
 * flags, its vector header as VECTORS and the name of its table as TABLE. */
#include VECTORS

#include "body/exp.h"
#include "exponentials.h"

static void f32(const float *x, const float *top, int ordinary, float *y, float *n_top, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES_f32) {
        const reference_f32 ref = make_reference_f32(load_f32(top + i));
        v_f32 v = load_f32(x + i);
        if (ordinary)
            exp_f32(&v, 1, &ref, 1);
        else
            exp_f32(&v, 1, &ref, 0);
        store_f32(y + i, v);
        store_f32(n_top + i, ref.n_top);
    }
}

static void f64_pair(const double *x, const double *top, int ordinary, double *y, double *low, double *n_top,
                     ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES_f64) {
        const reference_f64 ref = make_reference_f64(load_f64(top + i));
        v_f64 v = load_f64(x + i), v_low;
        if (ordinary)
            exp_pair_f64(&v, &v_low, 1, &ref, 1);
        else
            exp_pair_f64(&v, &v_low, 1, &ref, 0);
        store_f64(y + i, v);
        store_f64(low + i, v_low);
        store_f64(n_top + i, ref.n_top);
    }
}

static void f64(const double *x, const double *top, int ordinary, double *y, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES_f64) {
        const reference_f64 ref = make_reference_f64(load_f64(top + i));
        v_f64 v = load_f64(x + i);
        if (ordinary)
            exp_f64(&v, 1, &ref, 1);
        else
            exp_f64(&v, 1, &ref, 0);
        store_f64(y + i, v);
    }
}

#define DEFINE_TOGETHER(T, ELEM)                                                                                     \
    static void T##_together(const ELEM *x, ELEM top, ELEM *y, ptrdiff_t n) {                                        \
        const reference_##T ref = make_reference_##T(set1_##T(top));                                                 \
        v_##T v[TOGETHER_##T];                                                                                       \
        for (ptrdiff_t i = 0; i < n; i += LANES_##T * TOGETHER_##T) {                                                \
            for (int k = 0; k < TOGETHER_##T; k++) v[k] = load_##T(x + i + k * LANES_##T);                           \
            exp_##T(v, TOGETHER_##T, &ref, 0);                                                                       \
            for (int k = 0; k < TOGETHER_##T; k++) store_##T(y + i + k * LANES_##T, v[k]);                           \
        }                                                                                                            \
    }
DEFINE_TOGETHER(f32, float)
DEFINE_TOGETHER(f64, double)

const exponentials TABLE = {ISA_NAME, EXP_CONSTANT_f32, EXP_CONSTANT_f64, f32, f64_pair,
                            f64,      f32_together,     f64_together};
