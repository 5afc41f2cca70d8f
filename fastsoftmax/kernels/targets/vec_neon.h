/* The vector operations for AArch64, whose NEON has FMA, float64 and the default environment's subnormals.
 *
 * A vector is 64 bytes on every target, here four 128-bit registers. Lane i is element i in memory. */
#ifndef FS_VEC_NEON_H
#define FS_VEC_NEON_H

#include <arm_neon.h>

#define UNKNOWN(x) "+w"(x)
#include "vec_common.h"

#define ISA_NAME "neon"

/* Vectors whose exponentials are taken in step: one is four independent chains already. */
enum { TOGETHER_f32 = 1, TOGETHER_f64 = 1 };

/* Turns do not overlap (row_passes.h): not measured. */
enum { OVERLAP_f32 = 0, SUMS_FROM_MEMORY_f32 = 0 };
enum { OVERLAP_f64 = 0, SUMS_FROM_MEMORY_f64 = 0 };

/* Rows of so many elements are ended while others begin (rows.h), 1: all, of narrower types too; and columns of so
 * many lines (columns.h); 0: none. And whether rows are read once for their logarithms (log_rows.h). Not measured. */
enum { OPEN_ROW = 0, OPEN_LINES = 0, LOGS_ONCE_f32 = 0, LOGS_ONCE_f64 = 0 };

/* Whether exponentials of columns may wait in the results (columns.h). */
enum { WAIT_IN_RESULT_f32 = 0, WAIT_IN_RESULT_f64 = 0 };

enum { LANES_f32 = 16, LANES_f64 = 8 };

typedef struct {
    float32x4_t q[4]; /* lanes 0-3, 4-7, 8-11, 12-15 */
} v_f32;

typedef struct {
    float64x2_t q[4]; /* lanes 0-1, 2-3, 4-5, 6-7 */
} v_f64;

/* A lane of a mask is all ones or all zeros. */
typedef struct {
    uint32x4_t q[4];
} m_f32;

typedef struct {
    uint64x2_t q[4];
} m_f64;

/* Register i of the result is VALUE, an expression of the constant i and the parameters. Not a loop: gcc would take
 * the four for memory until it has unrolled it. */
#define ONE_Q(I, VALUE)                                                                                              \
    {                                                                                                                \
        enum { i = I };                                                                                              \
        result.q[i] = VALUE;                                                                                         \
    }
#define EACH_Q(T, RESULT, NAME, PARAMETERS, VALUE)                                                                   \
    static ALWAYS_INLINE RESULT##_##T NAME##_##T PARAMETERS {                                                        \
        RESULT##_##T result;                                                                                         \
        ONE_Q(0, VALUE);                                                                                             \
        ONE_Q(1, VALUE);                                                                                             \
        ONE_Q(2, VALUE);                                                                                             \
        ONE_Q(3, VALUE);                                                                                             \
        return result;                                                                                               \
    }

EACH_Q(f32, v, add, (v_f32 x, v_f32 y), vaddq_f32(x.q[i], y.q[i]))
EACH_Q(f64, v, add, (v_f64 x, v_f64 y), vaddq_f64(x.q[i], y.q[i]))
EACH_Q(f32, v, sub, (v_f32 x, v_f32 y), vsubq_f32(x.q[i], y.q[i]))
EACH_Q(f64, v, sub, (v_f64 x, v_f64 y), vsubq_f64(x.q[i], y.q[i]))
EACH_Q(f32, v, mul, (v_f32 x, v_f32 y), vmulq_f32(x.q[i], y.q[i]))
EACH_Q(f64, v, mul, (v_f64 x, v_f64 y), vmulq_f64(x.q[i], y.q[i]))
EACH_Q(f32, v, div, (v_f32 x, v_f32 y), vdivq_f32(x.q[i], y.q[i]))
EACH_Q(f64, v, div, (v_f64 x, v_f64 y), vdivq_f64(x.q[i], y.q[i]))

/* x > y ? x : y, so y where either is NaN, as on x86; FMAX and FMAXNM have rules of their own */
EACH_Q(f32, v, max, (v_f32 x, v_f32 y), vbslq_f32(vcgtq_f32(x.q[i], y.q[i]), x.q[i], y.q[i]))
EACH_Q(f64, v, max, (v_f64 x, v_f64 y), vbslq_f64(vcgtq_f64(x.q[i], y.q[i]), x.q[i], y.q[i]))

/* x < y ? x : y, so y where either is NaN */
EACH_Q(f32, v, min, (v_f32 x, v_f32 y), vbslq_f32(vcltq_f32(x.q[i], y.q[i]), x.q[i], y.q[i]))
EACH_Q(f64, v, min, (v_f64 x, v_f64 y), vbslq_f64(vcltq_f64(x.q[i], y.q[i]), x.q[i], y.q[i]))

/* The vector whose bits, as unsigned integers, are larger. */
EACH_Q(f32, v, bits_max, (v_f32 x, v_f32 y),
       vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(x.q[i]), vreinterpretq_u32_f32(y.q[i]))))
EACH_Q(f64, v, bits_max, (v_f64 x, v_f64 y),
       vbslq_f64(vcgtq_u64(vreinterpretq_u64_f64(x.q[i]), vreinterpretq_u64_f64(y.q[i])), x.q[i], y.q[i]))

/* the larger of |x| and y, for y that is not negative; beside a NaN any will do */
EACH_Q(f32, v, abs_max, (v_f32 x, v_f32 y), vmaxq_f32(vabsq_f32(x.q[i]), vabsq_f32(y.q[i])))
EACH_Q(f64, v, abs_max, (v_f64 x, v_f64 y), vmaxq_f64(vabsq_f64(x.q[i]), vabsq_f64(y.q[i])))

/* keep: x where the mask is set, else 0; drop: 0 where the mask is set, else x */
EACH_Q(f32, v, keep, (m_f32 mask, v_f32 x),
       vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.q[i]), mask.q[i])))
EACH_Q(f64, v, keep, (m_f64 mask, v_f64 x),
       vreinterpretq_f64_u64(vandq_u64(vreinterpretq_u64_f64(x.q[i]), mask.q[i])))
EACH_Q(f32, v, drop, (m_f32 mask, v_f32 x),
       vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x.q[i]), mask.q[i])))
EACH_Q(f64, v, drop, (m_f64 mask, v_f64 x),
       vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_f64(x.q[i]), mask.q[i])))

EACH_Q(f32, v, set1, (float x), vdupq_n_f32(x))
EACH_Q(f64, v, set1, (double x), vdupq_n_f64(x))
EACH_Q(f32, v, load, (const float *p), vld1q_f32(p + 4 * i))
EACH_Q(f64, v, load, (const double *p), vld1q_f64(p + 2 * i))

static ALWAYS_INLINE void store_f32(float *p, v_f32 x) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.q[i]);
}
static ALWAYS_INLINE void store_f64(double *p, v_f64 x) {
    for (int i = 0; i < 4; i++) vst1q_f64(p + 2 * i, x.q[i]);
}

/* x * y + z, rounded once */
EACH_Q(f32, v, fma, (v_f32 x, v_f32 y, v_f32 z), vfmaq_f32(z.q[i], x.q[i], y.q[i]))
EACH_Q(f64, v, fma, (v_f64 x, v_f64 y, v_f64 z), vfmaq_f64(z.q[i], x.q[i], y.q[i]))
static ALWAYS_INLINE v_f64 fma_once_f64(v_f64 x, v_f64 y, v_f64 z) { return fma_f64(x, y, z); }

EACH_Q(f32, v, neg, (v_f32 x), vnegq_f32(x.q[i]))
EACH_Q(f64, v, neg, (v_f64 x), vnegq_f64(x.q[i]))

EACH_Q(f32, m, eq, (v_f32 x, v_f32 y), vceqq_f32(x.q[i], y.q[i]))
EACH_Q(f64, m, eq, (v_f64 x, v_f64 y), vceqq_f64(x.q[i], y.q[i]))
EACH_Q(f32, m, ge, (v_f32 x, v_f32 y), vcgeq_f32(x.q[i], y.q[i]))
EACH_Q(f64, m, ge, (v_f64 x, v_f64 y), vcgeq_f64(x.q[i], y.q[i]))

/* x >= y, or either is NaN */
EACH_Q(f32, m, not_less, (v_f32 x, v_f32 y), vmvnq_u32(vcltq_f32(x.q[i], y.q[i])))
EACH_Q(f64, m, not_less, (v_f64 x, v_f64 y),
       vreinterpretq_u64_u32(vmvnq_u32(vreinterpretq_u32_u64(vcltq_f64(x.q[i], y.q[i])))))

/* whether the mask has all lanes */
static ALWAYS_INLINE int all_f32(m_f32 mask) {
    return vminvq_u32(vandq_u32(vandq_u32(mask.q[0], mask.q[1]), vandq_u32(mask.q[2], mask.q[3]))) != 0;
}
static ALWAYS_INLINE int all_f64(m_f64 mask) {
    return vminvq_u32(vreinterpretq_u32_u64(
               vandq_u64(vandq_u64(mask.q[0], mask.q[1]), vandq_u64(mask.q[2], mask.q[3])))) != 0;
}

/* The low bits of x become the exponent field of the result; see body/exp.h. */
EACH_Q(f64, v, power_of_two, (v_f64 x), vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(x.q[i]), 52)))

/* table[j] + (x << 20), in float64 (x << 49), as integers of their bits, where j is in the lowest three bits of x;
 * see body/exp.h. The table is looked up by bytes: 4 j, 4 j + 1, 4 j + 2, 4 j + 3, or 8 j to 8 j + 7. */
static ALWAYS_INLINE float32x4_t eighth_power_quarter(v_f32 table, uint32x4_t x) {
    const uint8x16x2_t bytes = {{vreinterpretq_u8_f32(table.q[0]), vreinterpretq_u8_f32(table.q[1])}};
    const uint32x4_t j = vandq_u32(x, vdupq_n_u32(7));
    const uint32x4_t at = vmlaq_u32(vdupq_n_u32(0x03020100), j, vdupq_n_u32(0x04040404));
    const uint32x4_t entry = vreinterpretq_u32_u8(vqtbl2q_u8(bytes, vreinterpretq_u8_u32(at)));
    return vreinterpretq_f32_u32(vaddq_u32(entry, vshlq_n_u32(x, 20)));
}
EACH_Q(f32, v, eighth_power, (v_f32 table, v_f32 x), eighth_power_quarter(table, vreinterpretq_u32_f32(x.q[i])))
static ALWAYS_INLINE float64x2_t eighth_power_quarter_f64(v_f64 table, uint64x2_t x) {
    const uint8x16x4_t bytes = {{vreinterpretq_u8_f64(table.q[0]), vreinterpretq_u8_f64(table.q[1]),
                                 vreinterpretq_u8_f64(table.q[2]), vreinterpretq_u8_f64(table.q[3])}};
    const uint64x2_t j = vandq_u64(x, vdupq_n_u64(7));
    const uint64x2_t first = vcombine_u64(vcreate_u64(0), vcreate_u64(0x0808080808080808)); /* bytes of j */
    const uint8x16_t eight_j = vshlq_n_u8(vqtbl1q_u8(vreinterpretq_u8_u64(j), vreinterpretq_u8_u64(first)), 3);
    const uint8x16_t at = vaddq_u8(eight_j, vreinterpretq_u8_u64(vdupq_n_u64(0x0706050403020100)));
    const uint64x2_t entry = vreinterpretq_u64_u8(vqtbl4q_u8(bytes, at));
    return vreinterpretq_f64_u64(vaddq_u64(entry, vshlq_n_u64(x, 49)));
}
EACH_Q(f64, v, eighth_power, (v_f64 table, v_f64 x), eighth_power_quarter_f64(table, vreinterpretq_u64_f64(x.q[i])))

/* floor(log2(x)) of a positive normal x: its exponent field */
EACH_Q(f64, v, exponent, (v_f64 x),
       vsubq_f64(vcvtq_f64_u64(vshrq_n_u64(vreinterpretq_u64_f64(x.q[i]), 52)), vdupq_n_f64(1023)))

/* lanes of x and y by turns: of the lower halves, and of the upper */
EACH_Q(f64, v, zip_low, (v_f64 x, v_f64 y),
       i % 2 ? vzip2q_f64(x.q[i / 2], y.q[i / 2]) : vzip1q_f64(x.q[i / 2], y.q[i / 2]))
EACH_Q(f64, v, zip_high, (v_f64 x, v_f64 y),
       i % 2 ? vzip2q_f64(x.q[2 + i / 2], y.q[2 + i / 2]) : vzip1q_f64(x.q[2 + i / 2], y.q[2 + i / 2]))

/* lanes 0-7 and lanes 8-15 in float64, and back with one rounding */
static ALWAYS_INLINE v_f64 widen_half_f32(float32x4_t x, float32x4_t y) {
    return (v_f64){
        {vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x), vcvt_f64_f32(vget_low_f32(y)), vcvt_high_f64_f32(y)}};
}
static ALWAYS_INLINE v_f64 widen_low_f32(v_f32 x) { return widen_half_f32(x.q[0], x.q[1]); }
static ALWAYS_INLINE v_f64 widen_high_f32(v_f32 x) { return widen_half_f32(x.q[2], x.q[3]); }
static ALWAYS_INLINE v_f64 widen_at_f32(const float *p) { return widen_half_f32(vld1q_f32(p), vld1q_f32(p + 4)); }
static ALWAYS_INLINE v_f32 narrow_f32(v_f64 low, v_f64 high) {
    return (v_f32){{vcvt_high_f32_f64(vcvt_f32_f64(low.q[0]), low.q[1]),
                    vcvt_high_f32_f64(vcvt_f32_f64(low.q[2]), low.q[3]),
                    vcvt_high_f32_f64(vcvt_f32_f64(high.q[0]), high.q[1]),
                    vcvt_high_f32_f64(vcvt_f32_f64(high.q[2]), high.q[3])}};
}

/* 16 elements of float16 or bfloat16 (the upper halves of float32) in float32, and back to the nearest even */
#define HALF_Q(S, VALUE)                                                                                             \
    static ALWAYS_INLINE v_f32 load_##S(const uint16_t *p) {                                                         \
        v_f32 result;                                                                                                \
        ONE_Q(0, VALUE);                                                                                             \
        ONE_Q(1, VALUE);                                                                                             \
        ONE_Q(2, VALUE);                                                                                             \
        ONE_Q(3, VALUE);                                                                                             \
        return result;                                                                                               \
    }
HALF_Q(f16, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))))
HALF_Q(bf16, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)))
#undef HALF_Q
static ALWAYS_INLINE void store_f16(uint16_t *p, v_f32 x) {
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.q[i])));
}
static ALWAYS_INLINE uint16x4_t narrow_bf16(float32x4_t x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, vdupq_n_u32(0x7fc00000)), 16);
}
static ALWAYS_INLINE void store_bf16(uint16_t *p, v_f32 x) {
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, narrow_bf16(x.q[i]));
}

/* BLOCK elements of each of LANES rows, `stride` apart, to and from BLOCK vectors with a row a lane. */
enum { BLOCK_f32 = 4, BLOCK_f64 = 2 };

static ALWAYS_INLINE float32x4_t low_pairs_f32(float32x4_t x, float32x4_t y) {
    return vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
}
static ALWAYS_INLINE float32x4_t high_pairs_f32(float32x4_t x, float32x4_t y) {
    return vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y)));
}
/* its own inverse */
static ALWAYS_INLINE void transpose_4x4_f32(float32x4_t r[4]) {
    float32x4_t t0 = vtrn1q_f32(r[0], r[1]), t1 = vtrn2q_f32(r[0], r[1]);
    float32x4_t t2 = vtrn1q_f32(r[2], r[3]), t3 = vtrn2q_f32(r[2], r[3]);
    r[0] = low_pairs_f32(t0, t2);
    r[1] = low_pairs_f32(t1, t3);
    r[2] = high_pairs_f32(t0, t2);
    r[3] = high_pairs_f32(t1, t3);
}
/* rows 4i to 4i + 3 */
static ALWAYS_INLINE void load_rows_f32(const float *p, ptrdiff_t stride, v_f32 column[4], const int i) {
    float32x4_t r[4] = {vld1q_f32(p), vld1q_f32(p + stride), vld1q_f32(p + 2 * stride), vld1q_f32(p + 3 * stride)};
    transpose_4x4_f32(r);
    for (int k = 0; k < 4; k++) column[k].q[i] = r[k];
}
static ALWAYS_INLINE void load_transposed_f32(const float *p, ptrdiff_t stride, v_f32 column[4]) {
    load_rows_f32(p, stride, column, 0);
    load_rows_f32(p + 4 * stride, stride, column, 1);
    load_rows_f32(p + 8 * stride, stride, column, 2);
    load_rows_f32(p + 12 * stride, stride, column, 3);
}
static ALWAYS_INLINE void store_rows_f32(float *p, ptrdiff_t stride, const v_f32 column[4], const int i) {
    float32x4_t r[4] = {column[0].q[i], column[1].q[i], column[2].q[i], column[3].q[i]};
    transpose_4x4_f32(r);
    for (int k = 0; k < 4; k++) vst1q_f32(p + k * stride, r[k]);
}
static ALWAYS_INLINE void store_transposed_f32(float *p, ptrdiff_t stride, const v_f32 column[4]) {
    store_rows_f32(p, stride, column, 0);
    store_rows_f32(p + 4 * stride, stride, column, 1);
    store_rows_f32(p + 8 * stride, stride, column, 2);
    store_rows_f32(p + 12 * stride, stride, column, 3);
}

static ALWAYS_INLINE void load_transposed_f64(const double *p, ptrdiff_t stride, v_f64 column[2]) {
    for (int i = 0; i < 4; i++) {
        float64x2_t even = vld1q_f64(p + 2 * i * stride), odd = vld1q_f64(p + (2 * i + 1) * stride);
        column[0].q[i] = vtrn1q_f64(even, odd);
        column[1].q[i] = vtrn2q_f64(even, odd);
    }
}
static ALWAYS_INLINE void store_transposed_f64(double *p, ptrdiff_t stride, const v_f64 column[2]) {
    for (int i = 0; i < 4; i++) {
        vst1q_f64(p + 2 * i * stride, vtrn1q_f64(column[0].q[i], column[1].q[i]));
        vst1q_f64(p + (2 * i + 1) * stride, vtrn2q_f64(column[0].q[i], column[1].q[i]));
    }
}
#undef EACH_Q
#undef ONE_Q

#endif
