/* What differs between the element types, so that the algorithms need not know: how S is stored, and which type T
 * it is computed in. float16 and bfloat16 are computed in float32. */
#ifndef FS_ELEMENT_H
#define FS_ELEMENT_H

#include "half.h"

typedef float elem_f32;
typedef double elem_f64;
typedef uint16_t elem_f16;
typedef uint16_t elem_bf16;

/* One stored element to and from the computing type; half.h has those of float16 and bfloat16. */
static ALWAYS_INLINE float widen_one_f32(float x) { return x; }
static ALWAYS_INLINE double widen_one_f64(double x) { return x; }
static ALWAYS_INLINE void store_one_f32(float *p, float x) { *p = x; }
static ALWAYS_INLINE void store_one_f64(double *p, double x) { *p = x; }

/* Where a row's exponentials wait for their factor: in the result, or, where its type is too narrow for them, in
 * scratch memory if they fit, else nowhere, and they are taken again. */
static ALWAYS_INLINE float *exp_store_f32(float *y, float *scratch, ptrdiff_t n) {
    (void)scratch, (void)n;
    return y;
}
static ALWAYS_INLINE double *exp_store_f64(double *y, double *scratch, ptrdiff_t n) {
    (void)scratch, (void)n;
    return y;
}
static ALWAYS_INLINE float *exp_store_half(float *scratch, ptrdiff_t n) {
    return n <= FS_ROWS_SCRATCH / (ptrdiff_t)sizeof(float) ? scratch : NULL;
}
static ALWAYS_INLINE float *exp_store_f16(uint16_t *y, float *scratch, ptrdiff_t n) {
    (void)y;
    return exp_store_half(scratch, n);
}
static ALWAYS_INLINE float *exp_store_bf16(uint16_t *y, float *scratch, ptrdiff_t n) {
    (void)y;
    return exp_store_half(scratch, n);
}

/* BLOCK elements of each of LANES rows to and from a row a lane, as the targets do for float32 and float64: here the
 * block is brought together first, so that whole vectors are widened or narrowed. */
#define DEFINE_HALF_TRANSPOSES(S)                                                                                    \
    static ALWAYS_INLINE void load_transposed_##S(const uint16_t *p, ptrdiff_t stride, v_f32 column[BLOCK_f32]) {    \
        uint16_t block[LANES_f32 * BLOCK_f32];                                                                       \
        float wide[LANES_f32 * BLOCK_f32];                                                                           \
        for (int i = 0; i < LANES_f32; i++) memcpy(block + i * BLOCK_f32, p + i * stride, BLOCK_f32 * sizeof *p);    \
        for (int i = 0; i < LANES_f32 * BLOCK_f32; i += LANES_f32) store_f32(wide + i, load_##S(block + i));         \
        load_transposed_f32(wide, BLOCK_f32, column);                                                                \
    }                                                                                                                \
    static ALWAYS_INLINE void store_transposed_##S(uint16_t *p, ptrdiff_t stride, const v_f32 column[BLOCK_f32]) {   \
        uint16_t block[LANES_f32 * BLOCK_f32];                                                                       \
        float wide[LANES_f32 * BLOCK_f32];                                                                           \
        store_transposed_f32(wide, BLOCK_f32, column);                                                               \
        for (int i = 0; i < LANES_f32 * BLOCK_f32; i += LANES_f32) store_##S(block + i, load_f32(wide + i));         \
        for (int i = 0; i < LANES_f32; i++) memcpy(p + i * stride, block + i * BLOCK_f32, BLOCK_f32 * sizeof *p);    \
    }
DEFINE_HALF_TRANSPOSES(f16)
DEFINE_HALF_TRANSPOSES(bf16)
#undef DEFINE_HALF_TRANSPOSES

#endif
