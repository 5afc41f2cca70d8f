/* The vector operations in plain C11, for any CPU: the fallback, and the path of architectures without a header of
 * their own.
 *
 * A vector is 64 bytes as on every target, here an array, and each operation a loop over its lanes with no branch
 * in it, so that compilers make vector instructions of it. Lane i is element i in memory.
 *
 * Without FMA, float32 goes through float64, where the product of two float32 is exact, and float64 multiplies and
 * adds: body/ splits its constants so that what must be exact is. Even where the CPU has FMA, the bits are those. */
#ifndef FS_VEC_BASELINE_H
#define FS_VEC_BASELINE_H

#include <stdint.h>
#include <string.h>

/* Left to the compiler: with every loop over lanes inlined and unrolled it takes minutes. */
#define ALWAYS_INLINE inline
#include "../body/half.h"
#include "vec_common.h"

#define ISA_NAME "baseline"

/* Vectors whose exponentials are taken in step: more would leave the registers. */
enum { TOGETHER_f32 = 1, TOGETHER_f64 = 1 };

/* Turns do not overlap (row_passes.h): compilers that make vectors of these loops have their own order. */
enum { OVERLAP_f32 = 0, SUMS_FROM_MEMORY_f32 = 0 };
enum { OVERLAP_f64 = 0, SUMS_FROM_MEMORY_f64 = 0 };

/* Rows of so many elements are ended while others begin (rows.h), 1: all, of narrower types too; and columns of so
 * many lines (columns.h); 0: none. And whether rows are read once for their logarithms (log_rows.h). */
enum { OPEN_ROW = 0, OPEN_LINES = 0, LOGS_ONCE_f32 = 0, LOGS_ONCE_f64 = 0 };

/* Whether exponentials of columns may wait in the results (columns.h). */
enum { WAIT_IN_RESULT_f32 = 0, WAIT_IN_RESULT_f64 = 0 };

enum { LANES_f32 = 16, LANES_f64 = 8 };

typedef struct {
    float lane[LANES_f32];
} v_f32;

typedef struct {
    double lane[LANES_f64];
} v_f64;

/* A lane of a mask is all ones or all zeros. */
typedef struct {
    uint32_t lane[LANES_f32];
} m_f32;

typedef struct {
    uint64_t lane[LANES_f64];
} m_f64;

/* as half.h has for float32 */
static ALWAYS_INLINE uint64_t to_bits_f64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static ALWAYS_INLINE double from_bits_f64(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* gcc unrolls a loop of 16 before it vectorises, and is left with 16 scalars in no order. So that it does it the
 * other way round, it may unroll no loop of more than the 4 iterations that remain of one in vectors. */
#if defined(__GNUC__) && !defined(__clang__)
#define EACH_LANE(T) _Pragma("GCC unroll 4") for (int i = 0; i < LANES_##T; i++)
#else
#define EACH_LANE(T) for (int i = 0; i < LANES_##T; i++)
#endif

/* Lane i of the result is VALUE, an expression of i and the parameters. */
#define LANEWISE(T, RESULT, NAME, PARAMETERS, VALUE)                                                                 \
    static ALWAYS_INLINE RESULT##_##T NAME##_##T PARAMETERS {                                                        \
        RESULT##_##T result;                                                                                         \
        EACH_LANE(T) result.lane[i] = VALUE;                                                                         \
        return result;                                                                                               \
    }

LANEWISE(f32, v, add, (v_f32 x, v_f32 y), x.lane[i] + y.lane[i])
LANEWISE(f64, v, add, (v_f64 x, v_f64 y), x.lane[i] + y.lane[i])
LANEWISE(f32, v, sub, (v_f32 x, v_f32 y), x.lane[i] - y.lane[i])
LANEWISE(f64, v, sub, (v_f64 x, v_f64 y), x.lane[i] - y.lane[i])
LANEWISE(f32, v, mul, (v_f32 x, v_f32 y), x.lane[i] * y.lane[i])
LANEWISE(f64, v, mul, (v_f64 x, v_f64 y), x.lane[i] * y.lane[i])
LANEWISE(f32, v, div, (v_f32 x, v_f32 y), x.lane[i] / y.lane[i])
LANEWISE(f64, v, div, (v_f64 x, v_f64 y), x.lane[i] / y.lane[i])

/* y where either is NaN */
LANEWISE(f32, v, max, (v_f32 x, v_f32 y), x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i])
LANEWISE(f64, v, max, (v_f64 x, v_f64 y), x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i])
LANEWISE(f32, v, min, (v_f32 x, v_f32 y), x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i])
LANEWISE(f64, v, min, (v_f64 x, v_f64 y), x.lane[i] < y.lane[i] ? x.lane[i] : y.lane[i])

/* The vector whose bits, as unsigned integers, are larger. */
static ALWAYS_INLINE uint32_t larger_u32(uint32_t x, uint32_t y) { return x > y ? x : y; }
static ALWAYS_INLINE uint64_t larger_u64(uint64_t x, uint64_t y) { return x > y ? x : y; }
LANEWISE(f32, v, bits_max, (v_f32 x, v_f32 y),
         from_bits_f32(larger_u32(to_bits_f32(x.lane[i]), to_bits_f32(y.lane[i]))))
LANEWISE(f64, v, bits_max, (v_f64 x, v_f64 y),
         from_bits_f64(larger_u64(to_bits_f64(x.lane[i]), to_bits_f64(y.lane[i]))))

/* the larger of |x| and y, for y that is not negative; beside a NaN any will do */
static ALWAYS_INLINE float magnitude_f32(float x) { return from_bits_f32(to_bits_f32(x) & 0x7fffffff); }
static ALWAYS_INLINE double magnitude_f64(double x) { return from_bits_f64(to_bits_f64(x) & INT64_MAX); }
LANEWISE(f32, v, abs_max, (v_f32 x, v_f32 y),
         magnitude_f32(x.lane[i]) > y.lane[i] ? magnitude_f32(x.lane[i]) : y.lane[i])
LANEWISE(f64, v, abs_max, (v_f64 x, v_f64 y),
         magnitude_f64(x.lane[i]) > y.lane[i] ? magnitude_f64(x.lane[i]) : y.lane[i])

/* keep: x where the mask is set, else 0; drop: 0 where the mask is set, else x */
LANEWISE(f32, v, keep, (m_f32 mask, v_f32 x), from_bits_f32(to_bits_f32(x.lane[i]) & mask.lane[i]))
LANEWISE(f64, v, keep, (m_f64 mask, v_f64 x), from_bits_f64(to_bits_f64(x.lane[i]) & mask.lane[i]))
LANEWISE(f32, v, drop, (m_f32 mask, v_f32 x), from_bits_f32(to_bits_f32(x.lane[i]) & ~mask.lane[i]))
LANEWISE(f64, v, drop, (m_f64 mask, v_f64 x), from_bits_f64(to_bits_f64(x.lane[i]) & ~mask.lane[i]))

LANEWISE(f32, v, set1, (float x), x)
LANEWISE(f64, v, set1, (double x), x)
LANEWISE(f32, v, load, (const float *p), p[i])
LANEWISE(f64, v, load, (const double *p), p[i])

static ALWAYS_INLINE void store_f32(float *p, v_f32 x) { EACH_LANE(f32) p[i] = x.lane[i]; }
static ALWAYS_INLINE void store_f64(double *p, v_f64 x) { EACH_LANE(f64) p[i] = x.lane[i]; }

/* x * y + z: in float32 with the sum rounded to float64 first, in float64 with the product rounded, too */
LANEWISE(f32, v, fma, (v_f32 x, v_f32 y, v_f32 z), (float)((double)x.lane[i] * y.lane[i] + z.lane[i]))
LANEWISE(f64, v, fma, (v_f64 x, v_f64 y, v_f64 z), x.lane[i] * y.lane[i] + z.lane[i])

/* x * y + z as rounded once, short of a tie: the product and the sum to the last digit (Veltkamp and Dekker split,
 * Knuth's TwoSum). C's fma() would be a call a lane, and a slow one on a CPU without FMA. */
static inline double fma_once_lane(double x, double y, double z) {
    const double x_split = x * 0x1.0000002p27, y_split = y * 0x1.0000002p27;
    const double x_high = x_split - (x_split - x), x_low = x - x_high;
    const double y_high = y_split - (y_split - y), y_low = y - y_high;
    const double product = x * y;
    const double product_low = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low;
    const double sum = product + z;
    const double z_part = sum - product;
    return sum + (((product - (sum - z_part)) + (z - z_part)) + product_low);
}
LANEWISE(f64, v, fma_once, (v_f64 x, v_f64 y, v_f64 z), fma_once_lane(x.lane[i], y.lane[i], z.lane[i]))

LANEWISE(f32, v, neg, (v_f32 x), -x.lane[i])
LANEWISE(f64, v, neg, (v_f64 x), -x.lane[i])

LANEWISE(f32, m, eq, (v_f32 x, v_f32 y), x.lane[i] == y.lane[i] ? UINT32_MAX : 0)
LANEWISE(f64, m, eq, (v_f64 x, v_f64 y), x.lane[i] == y.lane[i] ? UINT64_MAX : 0)
LANEWISE(f32, m, ge, (v_f32 x, v_f32 y), x.lane[i] >= y.lane[i] ? UINT32_MAX : 0)
LANEWISE(f64, m, ge, (v_f64 x, v_f64 y), x.lane[i] >= y.lane[i] ? UINT64_MAX : 0)

/* x >= y, or either is NaN */
LANEWISE(f32, m, not_less, (v_f32 x, v_f32 y), x.lane[i] < y.lane[i] ? 0 : UINT32_MAX)
LANEWISE(f64, m, not_less, (v_f64 x, v_f64 y), x.lane[i] < y.lane[i] ? 0 : UINT64_MAX)

/* whether the mask has all lanes */
static ALWAYS_INLINE int all_f32(m_f32 mask) {
    uint32_t all = UINT32_MAX;
    for (int i = 0; i < LANES_f32; i++) all &= mask.lane[i];
    return all != 0;
}
static ALWAYS_INLINE int all_f64(m_f64 mask) {
    uint64_t all = UINT64_MAX;
    for (int i = 0; i < LANES_f64; i++) all &= mask.lane[i];
    return all != 0;
}

/* The low bits of x become the exponent field of the result; see body/exp.h. */
LANEWISE(f64, v, power_of_two, (v_f64 x), from_bits_f64(to_bits_f64(x.lane[i]) << 52))

/* table[j] + (x << 20), in float64 (x << 49), as integers of their bits, where j is in the lowest three bits of x;
 * see body/exp.h. */
LANEWISE(f32, v, eighth_power, (v_f32 table, v_f32 x),
         from_bits_f32(to_bits_f32(table.lane[to_bits_f32(x.lane[i]) & 7]) + (to_bits_f32(x.lane[i]) << 20)))
LANEWISE(f64, v, eighth_power, (v_f64 table, v_f64 x),
         from_bits_f64(to_bits_f64(table.lane[to_bits_f64(x.lane[i]) & 7]) + (to_bits_f64(x.lane[i]) << 49)))

/* floor(log2(x)) of a positive normal x: its exponent field, put into the mantissa of 2**52, for want of vector
 * instructions that convert 64-bit integers */
LANEWISE(f64, v, exponent, (v_f64 x),
         from_bits_f64(to_bits_f64(x.lane[i]) >> 52 | to_bits_f64(0x1p52)) - (0x1p52 + 1023))

/* lanes of x and y by turns: of the lower halves, and of the upper */
LANEWISE(f64, v, zip_low, (v_f64 x, v_f64 y), (i % 2 ? y : x).lane[i / 2])
LANEWISE(f64, v, zip_high, (v_f64 x, v_f64 y), (i % 2 ? y : x).lane[LANES_f64 / 2 + i / 2])

/* lanes 0-7 and lanes 8-15 in float64, and back with one rounding */
static ALWAYS_INLINE v_f64 widen_low_f32(v_f32 x) {
    v_f64 low;
    EACH_LANE(f64) low.lane[i] = x.lane[i];
    return low;
}
static ALWAYS_INLINE v_f64 widen_at_f32(const float *p) {
    v_f64 x;
    EACH_LANE(f64) x.lane[i] = p[i];
    return x;
}
static ALWAYS_INLINE v_f64 widen_high_f32(v_f32 x) {
    v_f64 high;
    EACH_LANE(f64) high.lane[i] = x.lane[i + LANES_f64];
    return high;
}
static ALWAYS_INLINE v_f32 narrow_f32(v_f64 low, v_f64 high) {
    v_f32 result;
    EACH_LANE(f64) result.lane[i] = (float)low.lane[i];
    EACH_LANE(f64) result.lane[i + LANES_f64] = (float)high.lane[i];
    return result;
}

/* 16 elements of float16 or bfloat16 in float32, and back to the nearest even */
#define HALVES(S)                                                                                                    \
    static ALWAYS_INLINE v_f32 load_##S(const uint16_t *p) {                                                         \
        v_f32 result;                                                                                                \
        EACH_LANE(f32) result.lane[i] = widen_one_##S(p[i]);                                                         \
        return result;                                                                                               \
    }                                                                                                                \
    static ALWAYS_INLINE void store_##S(uint16_t *p, v_f32 x) { EACH_LANE(f32) store_one_##S(p + i, x.lane[i]); }
HALVES(f16)
HALVES(bf16)
#undef HALVES

/* BLOCK elements of each of LANES rows, `stride` apart, to and from BLOCK vectors with a row a lane. */
enum { BLOCK_f32 = 4, BLOCK_f64 = 2 };

#define TRANSPOSES(T, ELEM)                                                                                          \
    static ALWAYS_INLINE void load_transposed_##T(const ELEM *p, ptrdiff_t stride, v_##T column[BLOCK_##T]) {        \
        for (int i = 0; i < LANES_##T; i++)                                                                          \
            for (int k = 0; k < BLOCK_##T; k++) column[k].lane[i] = p[i * stride + k];                               \
    }                                                                                                                \
    static ALWAYS_INLINE void store_transposed_##T(ELEM *p, ptrdiff_t stride, const v_##T column[BLOCK_##T]) {       \
        for (int i = 0; i < LANES_##T; i++)                                                                          \
            for (int k = 0; k < BLOCK_##T; k++) p[i * stride + k] = column[k].lane[i];                               \
    }
TRANSPOSES(f32, float)
TRANSPOSES(f64, double)
#undef TRANSPOSES
#undef LANEWISE

#endif
