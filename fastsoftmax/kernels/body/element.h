/* What differs between the element types, so that the algorithms need not know: how S is stored, and which type T
 * it is computed in. float16 and bfloat16 are computed in float32. */
#ifndef FS_ELEMENT_H
#define FS_ELEMENT_H

#include "half.h"

/* Their names in kernels.h. */
#define TYPE_f32 FS_F32
#define TYPE_f64 FS_F64
#define TYPE_f16 FS_F16
#define TYPE_bf16 FS_BF16
typedef float elem_f32;
typedef double elem_f64;
typedef uint16_t elem_f16;
typedef uint16_t elem_bf16;

/* One stored element to and from the computing type; half.h has those of float16 and bfloat16. */
static ALWAYS_INLINE float widen_one_f32(float x) { return x; }
static ALWAYS_INLINE double widen_one_f64(double x) { return x; }
static ALWAYS_INLINE void store_one_f32(float *p, float x) { *p = x; }
static ALWAYS_INLINE void store_one_f64(double *p, double x) { *p = x; }

/* float64 to one stored element, rounded once */
static ALWAYS_INLINE void put_one_f32(float *p, double x) { *p = (float)x; }
static ALWAYS_INLINE void put_one_f64(double *p, double x) { *p = x; }
static ALWAYS_INLINE void put_one_f16(uint16_t *p, double x) { store_one_f16(p, rounded_to_odd(x)); }
static ALWAYS_INLINE void put_one_bf16(uint16_t *p, double x) { store_one_bf16(p, rounded_to_odd(x)); }

/* Stores to 64-byte boundaries that leave the caches as they are, and the wait for them, where the target has any. */
#ifndef HAS_STREAM
#define stream_f32 store_f32
#define stream_f64 store_f64
#define stream_end() ((void)0)
#endif
#define stream_f16 store_f16
#define stream_bf16 store_bf16

/* The first `count` lanes, 0 < count < LANES, the others 0; and these alone. */
#define DEFINE_FIRST(S, T)                                                                                           \
    static ALWAYS_INLINE v_##T load_first_##S(const elem_##S *p, ptrdiff_t count) {                                  \
        elem_##S some[LANES_##T] = {0};                                                                              \
        for (ptrdiff_t i = 0; i < count; i++) some[i] = p[i];                                                        \
        return load_##S(some);                                                                                       \
    }                                                                                                                \
    static ALWAYS_INLINE void store_first_##S(elem_##S *p, v_##T x, ptrdiff_t count) {                               \
        elem_##S some[LANES_##T];                                                                                    \
        store_##S(some, x);                                                                                          \
        for (ptrdiff_t i = 0; i < count; i++) p[i] = some[i];                                                        \
    }
#ifndef HAS_FIRST
DEFINE_FIRST(f32, f32)
DEFINE_FIRST(f64, f64)
#endif
#ifndef HAS_FIRST_HALVES
DEFINE_FIRST(f16, f32)
DEFINE_FIRST(bf16, f32)
#endif
#undef DEFINE_FIRST

/* Where a row's exponentials wait for their factor: in the result, or, where its type is too narrow for them, in
 * scratch memory. */
static ALWAYS_INLINE float *exp_store_f32(float *y, float *scratch) { return (void)scratch, y; }
static ALWAYS_INLINE double *exp_store_f64(double *y, double *scratch) { return (void)scratch, y; }
static ALWAYS_INLINE float *exp_store_f16(uint16_t *y, float *scratch) { return (void)y, scratch; }
static ALWAYS_INLINE float *exp_store_bf16(uint16_t *y, float *scratch) { return (void)y, scratch; }

/* Short rows as they lie in the computing type, `stride` apart there: those of narrower types are brought to `wide`,
 * side by side, so that whole vectors are converted, and finished ones are narrowed from there. */
#define DEFINE_WIDE_ROWS(S, T)                                                                                       \
    static ALWAYS_INLINE const elem_##T *wide_rows_##S(const elem_##S *x, ptrdiff_t rows, ptrdiff_t n,               \
                                                       ptrdiff_t *stride, elem_##T *wide) {                          \
        (void)rows, (void)n, (void)stride, (void)wide;                                                               \
        return x;                                                                                                    \
    }                                                                                                                \
    static ALWAYS_INLINE elem_##T *wide_result_##S(elem_##S *y, ptrdiff_t n, ptrdiff_t *stride, elem_##T *wide) {    \
        (void)n, (void)stride, (void)wide;                                                                           \
        return y;                                                                                                    \
    }                                                                                                                \
    static ALWAYS_INLINE void narrow_rows_##S(const elem_##T *wide, elem_##S *y, ptrdiff_t rows, ptrdiff_t n,        \
                                              ptrdiff_t stride) {                                                    \
        (void)wide, (void)y, (void)rows, (void)n, (void)stride;                                                      \
    }
DEFINE_WIDE_ROWS(f32, f32)
DEFINE_WIDE_ROWS(f64, f64)
#undef DEFINE_WIDE_ROWS

#define DEFINE_HALF_ROWS(S)                                                                                          \
    static ALWAYS_INLINE void widen_row_##S(const uint16_t *x, ptrdiff_t n, float *wide) {                           \
        ptrdiff_t i = 0;                                                                                             \
        for (; i + LANES_f32 <= n; i += LANES_f32) store_f32(wide + i, load_##S(x + i));                             \
        if (i < n) store_first_f32(wide + i, load_first_##S(x + i, n - i), n - i);                                   \
    }                                                                                                                \
    static ALWAYS_INLINE void narrow_row_##S(const float *wide, uint16_t *y, ptrdiff_t n) {                          \
        ptrdiff_t i = 0;                                                                                             \
        for (; i + LANES_f32 <= n; i += LANES_f32) store_##S(y + i, load_f32(wide + i));                             \
        if (i < n) store_first_##S(y + i, load_first_f32(wide + i, n - i), n - i);                                   \
    }                                                                                                                \
    static NEVER_INLINE const float *wide_rows_##S(const uint16_t *x, ptrdiff_t rows, ptrdiff_t n,                   \
                                                   ptrdiff_t *stride, float *wide) {                                 \
        if (*stride == n)                                                                                            \
            widen_row_##S(x, rows * n, wide);                                                                        \
        else                                                                                                         \
            for (ptrdiff_t i = 0; i < rows; i++) widen_row_##S(x + i * *stride, n, wide + i * n);                    \
        *stride = n;                                                                                                 \
        return wide;                                                                                                 \
    }                                                                                                                \
    static ALWAYS_INLINE float *wide_result_##S(uint16_t *y, ptrdiff_t n, ptrdiff_t *stride, float *wide) {          \
        (void)y;                                                                                                     \
        *stride = n;                                                                                                 \
        return wide;                                                                                                 \
    }                                                                                                                \
    static NEVER_INLINE void narrow_rows_##S(const float *wide, uint16_t *y, ptrdiff_t rows, ptrdiff_t n,            \
                                             ptrdiff_t stride) {                                                     \
        if (stride == n)                                                                                             \
            narrow_row_##S(wide, y, rows * n);                                                                       \
        else                                                                                                         \
            for (ptrdiff_t i = 0; i < rows; i++) narrow_row_##S(wide + i * n, y + i * stride, n);                    \
    }
DEFINE_HALF_ROWS(f16)
DEFINE_HALF_ROWS(bf16)
#undef DEFINE_HALF_ROWS

#endif
