/* The vector operations for AVX2 with FMA and F16C (x86-64-v3).
 *
 * A vector is 64 bytes on every target, here two 256-bit registers, so that every target adds in the same order
 * and gives the same bits. Lane i is element i in memory. */
#ifndef FS_VEC_AVX2_H
#define FS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LOADED(x) "+x"((x).a), "+x"((x).b)
#define UNKNOWN(x) "+x"(x)
#include "vec_common.h"

#define ISA_NAME "avx2"

/* Vectors whose exponentials are taken in step: as many as the registers hold. */
enum { TOGETHER_f32 = 2, TOGETHER_f64 = 2 };

/* Vectors of a turn where turns overlap, or 0 (row_passes.h), and whether they wait in memory for the sum: it takes
 * less to load half a vector than to take one apart, and there are few registers. In float64 the additions and
 * multiplications themselves take the time. */
enum { OVERLAP_f32 = 2, SUMS_FROM_MEMORY_f32 = 1 };
enum { OVERLAP_f64 = 0, SUMS_FROM_MEMORY_f64 = 0 };

/* Rows of so many elements are ended while others begin (rows.h), 1: all, of narrower types too; and columns of so
 * many lines (columns.h); 0: none. With 16 registers, shorter ones lose by it. And whether rows are read once for
 * their logarithms (log_rows.h), which float64 gains nothing by; then all of them may be ended so. */
enum { OPEN_ROW = 1000, OPEN_LINES = 16, LOGS_ONCE_f32 = 1, LOGS_ONCE_f64 = 0 };

/* Whether exponentials of columns may wait in the results (columns.h): nothing is gained. */
enum { WAIT_IN_RESULT_f32 = 0, WAIT_IN_RESULT_f64 = 0 };

enum { LANES_f32 = 16, LANES_f64 = 8 };

typedef struct {
    __m256 a, b; /* lanes 0-7 and 8-15 */
} v_f32;

typedef struct {
    __m256d a, b; /* lanes 0-3 and 4-7 */
} v_f64;

/* A lane of a mask is all ones or all zeros. */
typedef v_f32 m_f32;
typedef v_f64 m_f64;

#define TWO(T, NAME, BUILTIN)                                                                                        \
    static ALWAYS_INLINE v_##T NAME##_##T(v_##T x, v_##T y) { return (v_##T){BUILTIN(x.a, y.a), BUILTIN(x.b, y.b)}; }

TWO(f32, add, _mm256_add_ps)
TWO(f32, sub, _mm256_sub_ps)
TWO(f32, mul, _mm256_mul_ps)
TWO(f32, div, _mm256_div_ps)
TWO(f32, max, _mm256_max_ps)     /* x > y ? x : y, so y where either is NaN */
TWO(f32, min, _mm256_min_ps)     /* x < y ? x : y, so y where either is NaN */
TWO(f32, keep, _mm256_and_ps)    /* mask, y: y where the mask is set, else 0 */
TWO(f32, drop, _mm256_andnot_ps) /* mask, y: 0 where the mask is set, else y */
TWO(f64, add, _mm256_add_pd)
TWO(f64, sub, _mm256_sub_pd)
TWO(f64, mul, _mm256_mul_pd)
TWO(f64, div, _mm256_div_pd)
TWO(f64, max, _mm256_max_pd)
TWO(f64, min, _mm256_min_pd)
TWO(f64, keep, _mm256_and_pd)
TWO(f64, drop, _mm256_andnot_pd)
#undef TWO

/* The vector whose bits, as unsigned integers, are larger. In float64 either half of the bits is the larger, for want
 * of a 64-bit instruction: no smaller, and larger by less than 2**-20 of it. */
static ALWAYS_INLINE __m256 bits_max_ps(__m256 x, __m256 y) {
    return _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(x), _mm256_castps_si256(y)));
}
static ALWAYS_INLINE __m256d bits_max_pd(__m256d x, __m256d y) {
    return _mm256_castsi256_pd(_mm256_max_epu32(_mm256_castpd_si256(x), _mm256_castpd_si256(y)));
}
static ALWAYS_INLINE v_f32 bits_max_f32(v_f32 x, v_f32 y) {
    return (v_f32){bits_max_ps(x.a, y.a), bits_max_ps(x.b, y.b)};
}
static ALWAYS_INLINE v_f64 bits_max_f64(v_f64 x, v_f64 y) {
    return (v_f64){bits_max_pd(x.a, y.a), bits_max_pd(x.b, y.b)};
}

/* the larger of |x| and y, for y that is not negative; beside a NaN any will do (of float32: collect, below) */
static ALWAYS_INLINE v_f64 abs_max_f64(v_f64 x, v_f64 y) {
    const __m256d sign = _mm256_set1_pd(-0.0);
    return (v_f64){_mm256_max_pd(_mm256_andnot_pd(sign, x.a), y.a), _mm256_max_pd(_mm256_andnot_pd(sign, x.b), y.b)};
}

/* Collects bits that tell whether x, as integers, are `from` to `from` + 1023; whether they all were. Both run beside
 * the arithmetic, which has two of the core's three ports for itself. */
#define HAS_COLLECT
static ALWAYS_INLINE __m256 collect_half(__m256 bits, __m256 x, __m256i from) {
    return _mm256_or_ps(bits, _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(x), from)));
}
static ALWAYS_INLINE v_f32 collect_f32(v_f32 bits, v_f32 x, int32_t from) {
    const __m256i first = _mm256_set1_epi32(from);
    return (v_f32){collect_half(bits.a, x.a, first), collect_half(bits.b, x.b, first)};
}
static ALWAYS_INLINE v_f32 both_collected_f32(v_f32 x, v_f32 y) {
    return (v_f32){_mm256_or_ps(x.a, y.a), _mm256_or_ps(x.b, y.b)};
}
static ALWAYS_INLINE int were_all_near_f32(v_f32 bits) {
    const __m256i all = _mm256_castps_si256(_mm256_or_ps(bits.a, bits.b));
    return _mm256_testz_si256(all, _mm256_set1_epi32(~1023));
}

static ALWAYS_INLINE v_f32 set1_f32(float x) { return (v_f32){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static ALWAYS_INLINE v_f64 set1_f64(double x) { return (v_f64){_mm256_set1_pd(x), _mm256_set1_pd(x)}; }

static ALWAYS_INLINE v_f32 load_f32(const float *p) { return (v_f32){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static ALWAYS_INLINE v_f64 load_f64(const double *p) { return (v_f64){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }

static ALWAYS_INLINE void store_f32(float *p, v_f32 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static ALWAYS_INLINE void store_f64(double *p, v_f64 x) {
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
}
/* the first `count` lanes, 0 < count < LANES, the others 0; and these alone */
#define HAS_FIRST
/* eight 32-bit lanes from lane `from` on: all ones where it is less than `count` */
static ALWAYS_INLINE __m256i lanes_before(ptrdiff_t count, ptrdiff_t from) {
    static const int32_t ones[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + 16 - count + from));
}
static ALWAYS_INLINE v_f32 load_first_f32(const float *p, ptrdiff_t count) {
    return (v_f32){_mm256_maskload_ps(p, lanes_before(count, 0)), _mm256_maskload_ps(p + 8, lanes_before(count, 8))};
}
static ALWAYS_INLINE v_f64 load_first_f64(const double *p, ptrdiff_t count) {
    return (v_f64){_mm256_maskload_pd(p, lanes_before(2 * count, 0)),
                   _mm256_maskload_pd(p + 4, lanes_before(2 * count, 8))};
}
/* A whole half is stored as such: a masked store takes some twenty cycles on AMD. */
static ALWAYS_INLINE void store_first_f32(float *p, v_f32 x, ptrdiff_t count) {
    if (count > 8) {
        _mm256_storeu_ps(p, x.a);
        _mm256_maskstore_ps(p + 8, lanes_before(count, 8), x.b);
    } else {
        _mm256_maskstore_ps(p, lanes_before(count, 0), x.a);
    }
}
static ALWAYS_INLINE void store_first_f64(double *p, v_f64 x, ptrdiff_t count) {
    if (count > 4) {
        _mm256_storeu_pd(p, x.a);
        _mm256_maskstore_pd(p + 4, lanes_before(2 * count, 8), x.b);
    } else {
        _mm256_maskstore_pd(p, lanes_before(2 * count, 0), x.a);
    }
}
#define HAS_STREAM
static ALWAYS_INLINE void stream_f32(float *p, v_f32 x) {
    _mm256_stream_ps(p, x.a);
    _mm256_stream_ps(p + 8, x.b);
}
static ALWAYS_INLINE void stream_f64(double *p, v_f64 x) {
    _mm256_stream_pd(p, x.a);
    _mm256_stream_pd(p + 4, x.b);
}
static ALWAYS_INLINE void stream_end(void) { _mm_sfence(); }

/* x * y + z, rounded once */
static ALWAYS_INLINE v_f32 fma_f32(v_f32 x, v_f32 y, v_f32 z) {
    return (v_f32){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static ALWAYS_INLINE v_f64 fma_f64(v_f64 x, v_f64 y, v_f64 z) {
    return (v_f64){_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b)};
}
static ALWAYS_INLINE v_f64 fma_once_f64(v_f64 x, v_f64 y, v_f64 z) { return fma_f64(x, y, z); }

static ALWAYS_INLINE v_f32 neg_f32(v_f32 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v_f32){_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign)};
}
static ALWAYS_INLINE v_f64 neg_f64(v_f64 x) {
    __m256d sign = _mm256_set1_pd(-0.0);
    return (v_f64){_mm256_xor_pd(x.a, sign), _mm256_xor_pd(x.b, sign)};
}

static ALWAYS_INLINE m_f32 eq_f32(v_f32 x, v_f32 y) {
    return (m_f32){_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)};
}
static ALWAYS_INLINE m_f64 eq_f64(v_f64 x, v_f64 y) {
    return (m_f64){_mm256_cmp_pd(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_pd(x.b, y.b, _CMP_EQ_OQ)};
}
static ALWAYS_INLINE m_f32 ge_f32(v_f32 x, v_f32 y) {
    return (m_f32){_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)};
}
static ALWAYS_INLINE m_f64 ge_f64(v_f64 x, v_f64 y) {
    return (m_f64){_mm256_cmp_pd(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_pd(x.b, y.b, _CMP_GE_OQ)};
}

/* x >= y, or either is NaN */
static ALWAYS_INLINE m_f32 not_less_f32(v_f32 x, v_f32 y) {
    return (m_f32){_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ)};
}
static ALWAYS_INLINE m_f64 not_less_f64(v_f64 x, v_f64 y) {
    return (m_f64){_mm256_cmp_pd(x.a, y.a, _CMP_NLT_UQ), _mm256_cmp_pd(x.b, y.b, _CMP_NLT_UQ)};
}

/* whether the mask has all lanes */
static ALWAYS_INLINE int all_f32(m_f32 mask) { return _mm256_movemask_ps(_mm256_and_ps(mask.a, mask.b)) == 0xff; }
static ALWAYS_INLINE int all_f64(m_f64 mask) { return _mm256_movemask_pd(_mm256_and_pd(mask.a, mask.b)) == 0xf; }

/* The low bits of x become the exponent field of the result; see body/exp.h. */
static ALWAYS_INLINE v_f64 power_of_two_f64(v_f64 x) {
    return (v_f64){_mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(x.a), 52)),
                   _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(x.b), 52))};
}

/* table[j] + (x << 20), in float64 (x << 49), as integers of their bits, where j is in the lowest three bits of x;
 * see body/exp.h. */
static ALWAYS_INLINE __m256 eighth_power_half(__m256 table, __m256i x) {
    const __m256i entry = _mm256_castps_si256(_mm256_permutevar8x32_ps(table, x));
    return _mm256_castsi256_ps(_mm256_add_epi32(entry, _mm256_slli_epi32(x, 20)));
}
static ALWAYS_INLINE v_f32 eighth_power_f32(v_f32 table, v_f32 x) {
    return (v_f32){eighth_power_half(table.a, _mm256_castps_si256(x.a)),
                   eighth_power_half(table.a, _mm256_castps_si256(x.b))};
}
/* A permutation reaches eight entries if it takes them in halves; those of odd places come from the upper bits of x
 * and are replaced. */
static ALWAYS_INLINE __m256d eighth_power_half_f64(__m256 lower, __m256 upper, __m256i x) {
    const __m256i low = _mm256_castps_si256(_mm256_permutevar8x32_ps(lower, x));
    const __m256i high = _mm256_slli_epi64(_mm256_castps_si256(_mm256_permutevar8x32_ps(upper, x)), 32);
    const __m256i entry = _mm256_blend_epi32(low, high, 0xaa);
    return _mm256_castsi256_pd(_mm256_add_epi64(entry, _mm256_slli_epi64(x, 49)));
}
static ALWAYS_INLINE v_f64 eighth_power_f64(v_f64 table, v_f64 x) {
    const __m256 a = _mm256_castpd_ps(table.a), b = _mm256_castpd_ps(table.b); /* quarters 0 | 1, 2 | 3 */
    const __m256d lower = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));     /* quarters 0, 2, 1, 3 */
    const __m256d upper = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    const __m256 lower_in_order = _mm256_castpd_ps(_mm256_permute4x64_pd(lower, 0xd8));
    const __m256 upper_in_order = _mm256_castpd_ps(_mm256_permute4x64_pd(upper, 0xd8));
    return (v_f64){eighth_power_half_f64(lower_in_order, upper_in_order, _mm256_castpd_si256(x.a)),
                   eighth_power_half_f64(lower_in_order, upper_in_order, _mm256_castpd_si256(x.b))};
}

/* floor(log2(x)) of a positive normal x: its exponent field, put into the mantissa of 2**52 */
static ALWAYS_INLINE __m256d exponent_half_f64(__m256d x) {
    __m256i field = _mm256_srli_epi64(_mm256_castpd_si256(x), 52);
    __m256d sum = _mm256_castsi256_pd(_mm256_or_si256(field, _mm256_castpd_si256(_mm256_set1_pd(0x1p52))));
    return _mm256_sub_pd(sum, _mm256_set1_pd(0x1p52 + 1023));
}
static ALWAYS_INLINE v_f64 exponent_f64(v_f64 x) { return (v_f64){exponent_half_f64(x.a), exponent_half_f64(x.b)}; }

/* lanes of x and y by turns: of the lower halves, and of the upper */
static ALWAYS_INLINE v_f64 zip_halves_f64(__m256d x, __m256d y) {
    const __m256d even = _mm256_unpacklo_pd(x, y), odd = _mm256_unpackhi_pd(x, y);
    return (v_f64){_mm256_permute2f128_pd(even, odd, 0x20), _mm256_permute2f128_pd(even, odd, 0x31)};
}
static ALWAYS_INLINE v_f64 zip_low_f64(v_f64 x, v_f64 y) { return zip_halves_f64(x.a, y.a); }
static ALWAYS_INLINE v_f64 zip_high_f64(v_f64 x, v_f64 y) { return zip_halves_f64(x.b, y.b); }

/* lanes 0-7 and lanes 8-15 in float64, and back with one rounding */
static ALWAYS_INLINE v_f64 widen_half_f32(__m256 x) {
    return (v_f64){_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
static ALWAYS_INLINE v_f64 widen_low_f32(v_f32 x) { return widen_half_f32(x.a); }
static ALWAYS_INLINE v_f64 widen_high_f32(v_f32 x) { return widen_half_f32(x.b); }
static ALWAYS_INLINE v_f64 widen_at_f32(const float *p) {
    return (v_f64){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
static ALWAYS_INLINE v_f32 narrow_f32(v_f64 low, v_f64 high) {
    return (v_f32){_mm256_set_m128(_mm256_cvtpd_ps(low.b), _mm256_cvtpd_ps(low.a)),
                   _mm256_set_m128(_mm256_cvtpd_ps(high.b), _mm256_cvtpd_ps(high.a))};
}

/* 16 elements of float16 or bfloat16 (the upper halves of float32) in float32, and back to the nearest even */
static ALWAYS_INLINE v_f32 widen_f16(__m128i low, __m128i high) {
    return (v_f32){_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)};
}
static ALWAYS_INLINE __m256i narrow_f16(v_f32 x) {
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
}
static ALWAYS_INLINE __m256 widen_half_bf16(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
static ALWAYS_INLINE v_f32 widen_bf16(__m128i low, __m128i high) {
    return (v_f32){widen_half_bf16(low), widen_half_bf16(high)};
}
/* in the lower halves */
static ALWAYS_INLINE __m256i narrow_half_bf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    const __m256 result = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_castps_si256(result), 16);
}
static ALWAYS_INLINE __m256i narrow_bf16(v_f32 x) {
    const __m256i packed =
        _mm256_packus_epi32(narrow_half_bf16(x.a), narrow_half_bf16(x.b)); /* quarters 0, 2, 1, 3 */
    return _mm256_permute4x64_epi64(packed, 0xd8);
}

/* Elements `from` to from + 3 of `count` at p, of 16 bits each, in one number: those past the last are 0, and are not
 * stored. By few loads and stores: a vector's load would wait for the stores of single elements of it. Of the
 * elements at p, others than these may be read. */
static ALWAYS_INLINE uint64_t load_four(const uint16_t *p, ptrdiff_t from, ptrdiff_t count) {
    uint64_t four = 0;
    if (from + 4 <= count) {
        memcpy(&four, p + from, sizeof four);
    } else if (from < count && count >= 4) {
        memcpy(&four, p + count - 4, sizeof four);
        four >>= 16 * (4 - (count - from));
    } else {
        for (ptrdiff_t i = count - 1; i >= from; i--) four = four << 16 | p[i];
    }
    return four;
}
static ALWAYS_INLINE __m128i load_eight(const uint16_t *p, ptrdiff_t from, ptrdiff_t count) {
    return _mm_set_epi64x((long long)load_four(p, from + 4, count), (long long)load_four(p, from, count));
}
static ALWAYS_INLINE void store_four(uint16_t *p, ptrdiff_t from, ptrdiff_t count, uint64_t four) {
    if (from + 4 <= count)
        memcpy(p + from, &four, sizeof four);
    else
        for (ptrdiff_t i = from; i < count; i++, four >>= 16) p[i] = (uint16_t)four;
}

/* In memory; and the first `count` of them, as of float32. These are calls: they are long. */
#define HAS_FIRST_HALVES
#define DEFINE_HALVES(S)                                                                                             \
    static ALWAYS_INLINE v_f32 load_##S(const uint16_t *p) {                                                         \
        return widen_##S(_mm_loadu_si128((const __m128i *)p), _mm_loadu_si128((const __m128i *)(p + 8)));            \
    }                                                                                                                \
    static ALWAYS_INLINE void store_##S(uint16_t *p, v_f32 x) { _mm256_storeu_si256((__m256i *)p, narrow_##S(x)); }  \
    static NEVER_INLINE v_f32 load_first_##S(const uint16_t *p, ptrdiff_t count) {                                   \
        return widen_##S(load_eight(p, 0, count), load_eight(p, 8, count));                                          \
    }                                                                                                                \
    static NEVER_INLINE void store_first_##S(uint16_t *p, v_f32 x, ptrdiff_t count) {                                \
        uint64_t four[4];                                                                                            \
        _mm256_storeu_si256((__m256i *)four, narrow_##S(x));                                                         \
        for (int i = 0; i < 4; i++) store_four(p, 4 * i, count, four[i]);                                            \
    }
DEFINE_HALVES(f16)
DEFINE_HALVES(bf16)
#undef DEFINE_HALVES

/* BLOCK elements of each of LANES rows, `stride` apart, to and from BLOCK vectors with a row a lane. */
enum { BLOCK_f32 = 4, BLOCK_f64 = 2 };

/* 4x4 within each 128-bit half; its own inverse */
static ALWAYS_INLINE void transpose_halves_f32(__m256 r[4]) {
    __m256 t0 = _mm256_unpacklo_ps(r[0], r[1]), t1 = _mm256_unpackhi_ps(r[0], r[1]);
    __m256 t2 = _mm256_unpacklo_ps(r[2], r[3]), t3 = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(t0, t2, 0x44);
    r[1] = _mm256_shuffle_ps(t0, t2, 0xee);
    r[2] = _mm256_shuffle_ps(t1, t3, 0x44);
    r[3] = _mm256_shuffle_ps(t1, t3, 0xee);
}
static ALWAYS_INLINE void load_transposed_f32(const float *p, ptrdiff_t stride, v_f32 column[4]) {
    __m256 a[4], b[4];
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_set_m128(_mm_loadu_ps(p + (i + 4) * stride), _mm_loadu_ps(p + i * stride));
        b[i] = _mm256_set_m128(_mm_loadu_ps(p + (i + 12) * stride), _mm_loadu_ps(p + (i + 8) * stride));
    }
    transpose_halves_f32(a);
    transpose_halves_f32(b);
    for (int i = 0; i < 4; i++) column[i] = (v_f32){a[i], b[i]};
}
static ALWAYS_INLINE void store_transposed_f32(float *p, ptrdiff_t stride, const v_f32 column[4]) {
    __m256 a[4], b[4];
    for (int i = 0; i < 4; i++) {
        a[i] = column[i].a;
        b[i] = column[i].b;
    }
    transpose_halves_f32(a);
    transpose_halves_f32(b);
    for (int i = 0; i < 4; i++) {
        _mm_storeu_ps(p + i * stride, _mm256_castps256_ps128(a[i]));
        _mm_storeu_ps(p + (i + 4) * stride, _mm256_extractf128_ps(a[i], 1));
        _mm_storeu_ps(p + (i + 8) * stride, _mm256_castps256_ps128(b[i]));
        _mm_storeu_ps(p + (i + 12) * stride, _mm256_extractf128_ps(b[i], 1));
    }
}

static ALWAYS_INLINE void load_transposed_f64(const double *p, ptrdiff_t stride, v_f64 column[2]) {
    __m256d r[4]; /* rows 0|2, 1|3, 4|6, 5|7 */
    for (int i = 0; i < 4; i++) {
        const double *row = p + (i % 2 + i / 2 * 4) * stride;
        r[i] = _mm256_set_m128d(_mm_loadu_pd(row + 2 * stride), _mm_loadu_pd(row));
    }
    column[0] = (v_f64){_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpacklo_pd(r[2], r[3])};
    column[1] = (v_f64){_mm256_unpackhi_pd(r[0], r[1]), _mm256_unpackhi_pd(r[2], r[3])};
}
static ALWAYS_INLINE void store_transposed_f64(double *p, ptrdiff_t stride, const v_f64 column[2]) {
    __m256d r[4] = {_mm256_unpacklo_pd(column[0].a, column[1].a), _mm256_unpackhi_pd(column[0].a, column[1].a),
                    _mm256_unpacklo_pd(column[0].b, column[1].b), _mm256_unpackhi_pd(column[0].b, column[1].b)};
    for (int i = 0; i < 4; i++) {
        double *row = p + (i % 2 + i / 2 * 4) * stride;
        _mm_storeu_pd(row, _mm256_castpd256_pd128(r[i]));
        _mm_storeu_pd(row + 2 * stride, _mm256_extractf128_pd(r[i], 1));
    }
}

#endif
