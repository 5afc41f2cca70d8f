/* The vector operations for AVX-512 (F, BW, DQ, VL): a vector of 64 bytes is one register. Lane i is element i in
 * memory. */
#ifndef FS_VEC_AVX512_H
#define FS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define LOADED(x) "+v"(x)
#define UNKNOWN(x) "+x"(x)
#include "vec_common.h"

#define ISA_NAME "avx512"

/* Vectors whose exponentials are taken in step: as many as the registers hold. */
enum { TOGETHER_f32 = 4, TOGETHER_f64 = 2 };

/* Vectors of a turn where turns overlap, or 0 (row_passes.h), and whether they wait in memory for the sum: registers
 * suffice. In float64 the additions and multiplications themselves take the time. */
enum { OVERLAP_f32 = 2, SUMS_FROM_MEMORY_f32 = 0 };
enum { OVERLAP_f64 = 0, SUMS_FROM_MEMORY_f64 = 0 };

/* Rows of so many elements are ended while others begin (rows.h), 1: all, of narrower types too; and columns of so
 * many lines (columns.h); 0: none. And whether rows are read once for their logarithms (log_rows.h). */
enum { OPEN_ROW = 1, OPEN_LINES = 1, LOGS_ONCE_f32 = 1, LOGS_ONCE_f64 = 1 };

/* Whether exponentials of columns may wait in the results (columns.h): up to 13 % less time. */
enum { WAIT_IN_RESULT_f32 = 1, WAIT_IN_RESULT_f64 = 0 };

enum { LANES_f32 = 16, LANES_f64 = 8 };

typedef __m512 v_f32;
typedef __m512d v_f64;
typedef __mmask16 m_f32;
typedef __mmask8 m_f64;

static ALWAYS_INLINE v_f32 add_f32(v_f32 x, v_f32 y) { return _mm512_add_ps(x, y); }
static ALWAYS_INLINE v_f32 sub_f32(v_f32 x, v_f32 y) { return _mm512_sub_ps(x, y); }
static ALWAYS_INLINE v_f32 mul_f32(v_f32 x, v_f32 y) { return _mm512_mul_ps(x, y); }
static ALWAYS_INLINE v_f32 div_f32(v_f32 x, v_f32 y) { return _mm512_div_ps(x, y); }
static ALWAYS_INLINE v_f64 add_f64(v_f64 x, v_f64 y) { return _mm512_add_pd(x, y); }
static ALWAYS_INLINE v_f64 sub_f64(v_f64 x, v_f64 y) { return _mm512_sub_pd(x, y); }
static ALWAYS_INLINE v_f64 mul_f64(v_f64 x, v_f64 y) { return _mm512_mul_pd(x, y); }
static ALWAYS_INLINE v_f64 div_f64(v_f64 x, v_f64 y) { return _mm512_div_pd(x, y); }

/* x > y ? x : y, so y where either is NaN */
static ALWAYS_INLINE v_f32 max_f32(v_f32 x, v_f32 y) { return _mm512_max_ps(x, y); }
static ALWAYS_INLINE v_f64 max_f64(v_f64 x, v_f64 y) { return _mm512_max_pd(x, y); }

/* x < y ? x : y, so y where either is NaN */
static ALWAYS_INLINE v_f32 min_f32(v_f32 x, v_f32 y) { return _mm512_min_ps(x, y); }
static ALWAYS_INLINE v_f64 min_f64(v_f64 x, v_f64 y) { return _mm512_min_pd(x, y); }

/* The vector whose bits, as unsigned integers, are larger. */
static ALWAYS_INLINE v_f32 bits_max_f32(v_f32 x, v_f32 y) {
    return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(x), _mm512_castps_si512(y)));
}
static ALWAYS_INLINE v_f64 bits_max_f64(v_f64 x, v_f64 y) {
    return _mm512_castsi512_pd(_mm512_max_epu64(_mm512_castpd_si512(x), _mm512_castpd_si512(y)));
}

/* the larger of |x| and y, for y that is not negative; beside a NaN any will do */
static ALWAYS_INLINE v_f32 abs_max_f32(v_f32 x, v_f32 y) { return _mm512_range_ps(x, y, 0x0b); }
static ALWAYS_INLINE v_f64 abs_max_f64(v_f64 x, v_f64 y) { return _mm512_range_pd(x, y, 0x0b); }

/* keep: x where the mask is set, else 0; drop: 0 where the mask is set, else x */
static ALWAYS_INLINE v_f32 keep_f32(m_f32 mask, v_f32 x) { return _mm512_maskz_mov_ps(mask, x); }
static ALWAYS_INLINE v_f64 keep_f64(m_f64 mask, v_f64 x) { return _mm512_maskz_mov_pd(mask, x); }
static ALWAYS_INLINE v_f32 drop_f32(m_f32 mask, v_f32 x) { return _mm512_maskz_mov_ps(_knot_mask16(mask), x); }
static ALWAYS_INLINE v_f64 drop_f64(m_f64 mask, v_f64 x) { return _mm512_maskz_mov_pd(_knot_mask8(mask), x); }

static ALWAYS_INLINE v_f32 set1_f32(float x) { return _mm512_set1_ps(x); }
static ALWAYS_INLINE v_f64 set1_f64(double x) { return _mm512_set1_pd(x); }
static ALWAYS_INLINE v_f32 load_f32(const float *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE v_f64 load_f64(const double *p) { return _mm512_loadu_pd(p); }
static ALWAYS_INLINE void store_f32(float *p, v_f32 x) { _mm512_storeu_ps(p, x); }
static ALWAYS_INLINE void store_f64(double *p, v_f64 x) { _mm512_storeu_pd(p, x); }
/* the first `count` lanes, 0 < count < LANES, the others 0; and these alone */
#define HAS_FIRST
static ALWAYS_INLINE v_f32 load_first_f32(const float *p, ptrdiff_t count) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}
static ALWAYS_INLINE v_f64 load_first_f64(const double *p, ptrdiff_t count) {
    return _mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), p);
}
static ALWAYS_INLINE void store_first_f32(float *p, v_f32 x, ptrdiff_t count) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), x);
}
static ALWAYS_INLINE void store_first_f64(double *p, v_f64 x, ptrdiff_t count) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), x);
}
#define HAS_STREAM
static ALWAYS_INLINE void stream_f32(float *p, v_f32 x) { _mm512_stream_ps(p, x); }
static ALWAYS_INLINE void stream_f64(double *p, v_f64 x) { _mm512_stream_pd(p, x); }
static ALWAYS_INLINE void stream_end(void) { _mm_sfence(); }

/* x * y + z, rounded once */
static ALWAYS_INLINE v_f32 fma_f32(v_f32 x, v_f32 y, v_f32 z) { return _mm512_fmadd_ps(x, y, z); }
static ALWAYS_INLINE v_f64 fma_f64(v_f64 x, v_f64 y, v_f64 z) { return _mm512_fmadd_pd(x, y, z); }
static ALWAYS_INLINE v_f64 fma_once_f64(v_f64 x, v_f64 y, v_f64 z) { return fma_f64(x, y, z); }

static ALWAYS_INLINE v_f32 neg_f32(v_f32 x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }
static ALWAYS_INLINE v_f64 neg_f64(v_f64 x) { return _mm512_xor_pd(x, _mm512_set1_pd(-0.0)); }

static ALWAYS_INLINE m_f32 eq_f32(v_f32 x, v_f32 y) { return _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ); }
static ALWAYS_INLINE m_f64 eq_f64(v_f64 x, v_f64 y) { return _mm512_cmp_pd_mask(x, y, _CMP_EQ_OQ); }
static ALWAYS_INLINE m_f32 ge_f32(v_f32 x, v_f32 y) { return _mm512_cmp_ps_mask(x, y, _CMP_GE_OQ); }
static ALWAYS_INLINE m_f64 ge_f64(v_f64 x, v_f64 y) { return _mm512_cmp_pd_mask(x, y, _CMP_GE_OQ); }

/* x >= y, or either is NaN */
static ALWAYS_INLINE m_f32 not_less_f32(v_f32 x, v_f32 y) { return _mm512_cmp_ps_mask(x, y, _CMP_NLT_UQ); }
static ALWAYS_INLINE m_f64 not_less_f64(v_f64 x, v_f64 y) { return _mm512_cmp_pd_mask(x, y, _CMP_NLT_UQ); }

/* whether the mask has all lanes */
static ALWAYS_INLINE int all_f32(m_f32 mask) { return mask == 0xffff; }
static ALWAYS_INLINE int all_f64(m_f64 mask) { return mask == 0xff; }

/* The low bits of x become the exponent field of the result; see body/exp.h. */
static ALWAYS_INLINE v_f64 power_of_two_f64(v_f64 x) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(x), 52));
}

/* table[j] + (x << 20), in float64 (x << 49), as integers of their bits, where j is in the lowest three bits of x;
 * see body/exp.h. */
static ALWAYS_INLINE v_f32 eighth_power_f32(v_f32 table, v_f32 x) {
    const __m512i entry = _mm512_castps_si512(_mm512_permutexvar_ps(_mm512_castps_si512(x), table));
    return _mm512_castsi512_ps(_mm512_add_epi32(entry, _mm512_slli_epi32(_mm512_castps_si512(x), 20)));
}
static ALWAYS_INLINE v_f64 eighth_power_f64(v_f64 table, v_f64 x) {
    const __m512i entry = _mm512_castpd_si512(_mm512_permutexvar_pd(_mm512_castpd_si512(x), table));
    return _mm512_castsi512_pd(_mm512_add_epi64(entry, _mm512_slli_epi64(_mm512_castpd_si512(x), 49)));
}

/* Of x, the lane whose number the lowest bits of each lane of `from` are. */
#define HAS_PICK
static ALWAYS_INLINE v_f32 pick_f32(v_f32 x, v_f32 from) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(from), x);
}
static ALWAYS_INLINE v_f64 pick_f64(v_f64 x, v_f64 from) {
    return _mm512_permutexvar_pd(_mm512_castpd_si512(from), x);
}

/* floor(log2(x)) of a positive normal x */
static ALWAYS_INLINE v_f64 exponent_f64(v_f64 x) { return _mm512_getexp_pd(x); }

/* lanes of x and y by turns: of the lower halves, and of the upper */
static ALWAYS_INLINE v_f64 zip_low_f64(v_f64 x, v_f64 y) {
    return _mm512_permutex2var_pd(x, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), y);
}
static ALWAYS_INLINE v_f64 zip_high_f64(v_f64 x, v_f64 y) {
    return _mm512_permutex2var_pd(x, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), y);
}

/* lanes 0-7 and lanes 8-15 in float64, and back with one rounding */
static ALWAYS_INLINE v_f64 widen_low_f32(v_f32 x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
static ALWAYS_INLINE v_f64 widen_high_f32(v_f32 x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
static ALWAYS_INLINE v_f64 widen_at_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }

/* The even and the odd lanes in float64, times 2**-896, of 0 and positive normal numbers; of all others some number
 * that is not negative, of NaN more than 2**-768, of a negative one more than 2**-512. It moves the bits of a float32
 * to where a float64 has its lowest exponent bits and its mantissa, which is quicker than a conversion: that takes
 * two instructions, after one for the upper half. */
#define HAS_WIDEN_BITS
static ALWAYS_INLINE v_f64 widen_even_bits_f32(v_f32 x) {
    return _mm512_castsi512_pd(_mm512_mul_epu32(_mm512_castps_si512(x), _mm512_set1_epi64(1 << 29)));
}
static ALWAYS_INLINE v_f64 widen_odd_bits_f32(v_f32 x) { return widen_even_bits_f32(_mm512_movehdup_ps(x)); }
static ALWAYS_INLINE v_f32 narrow_f32(v_f64 low, v_f64 high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

/* 16 elements of float16 or bfloat16 (the upper halves of float32) in float32, and back to the nearest even */
static ALWAYS_INLINE v_f32 widen_f16(__m256i x) { return _mm512_cvtph_ps(x); }
static ALWAYS_INLINE __m256i narrow_f16(v_f32 x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT); }
static ALWAYS_INLINE v_f32 widen_bf16(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
static ALWAYS_INLINE __m256i narrow_bf16(v_f32 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i result =
        _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(result, 16));
}

/* In memory; and the first `count` of them, as of float32. */
#define HAS_FIRST_HALVES
#define DEFINE_HALVES(S)                                                                                             \
    static ALWAYS_INLINE v_f32 load_##S(const uint16_t *p) {                                                         \
        return widen_##S(_mm256_loadu_si256((const __m256i *)p));                                                    \
    }                                                                                                                \
    static ALWAYS_INLINE void store_##S(uint16_t *p, v_f32 x) { _mm256_storeu_si256((__m256i *)p, narrow_##S(x)); }  \
    static ALWAYS_INLINE v_f32 load_first_##S(const uint16_t *p, ptrdiff_t count) {                                  \
        return widen_##S(_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), p));                               \
    }                                                                                                                \
    static ALWAYS_INLINE void store_first_##S(uint16_t *p, v_f32 x, ptrdiff_t count) {                               \
        _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1), narrow_##S(x));                                  \
    }
DEFINE_HALVES(f16)
DEFINE_HALVES(bf16)
#undef DEFINE_HALVES

/* BLOCK elements of each of LANES rows, `stride` apart, to and from BLOCK vectors with a row a lane. */
enum { BLOCK_f32 = 4, BLOCK_f64 = 2 };

/* 4x4 within each 128-bit quarter; its own inverse */
static ALWAYS_INLINE void transpose_quarters_f32(__m512 r[4]) {
    __m512 t0 = _mm512_unpacklo_ps(r[0], r[1]), t1 = _mm512_unpackhi_ps(r[0], r[1]);
    __m512 t2 = _mm512_unpacklo_ps(r[2], r[3]), t3 = _mm512_unpackhi_ps(r[2], r[3]);
    r[0] = _mm512_shuffle_ps(t0, t2, 0x44);
    r[1] = _mm512_shuffle_ps(t0, t2, 0xee);
    r[2] = _mm512_shuffle_ps(t1, t3, 0x44);
    r[3] = _mm512_shuffle_ps(t1, t3, 0xee);
}
static ALWAYS_INLINE void load_transposed_f32(const float *p, ptrdiff_t stride, v_f32 column[4]) {
    for (int i = 0; i < 4; i++) {
        const float *row = p + i * stride;
        __m512 quarters = _mm512_castps128_ps512(_mm_loadu_ps(row));
        quarters = _mm512_insertf32x4(quarters, _mm_loadu_ps(row + 4 * stride), 1);
        quarters = _mm512_insertf32x4(quarters, _mm_loadu_ps(row + 8 * stride), 2);
        column[i] = _mm512_insertf32x4(quarters, _mm_loadu_ps(row + 12 * stride), 3);
    }
    transpose_quarters_f32(column);
}
static ALWAYS_INLINE void store_transposed_f32(float *p, ptrdiff_t stride, const v_f32 column[4]) {
    __m512 r[4] = {column[0], column[1], column[2], column[3]};
    transpose_quarters_f32(r);
    for (int i = 0; i < 4; i++) {
        float *row = p + i * stride;
        _mm_storeu_ps(row, _mm512_castps512_ps128(r[i]));
        _mm_storeu_ps(row + 4 * stride, _mm512_extractf32x4_ps(r[i], 1));
        _mm_storeu_ps(row + 8 * stride, _mm512_extractf32x4_ps(r[i], 2));
        _mm_storeu_ps(row + 12 * stride, _mm512_extractf32x4_ps(r[i], 3));
    }
}

static ALWAYS_INLINE void load_transposed_f64(const double *p, ptrdiff_t stride, v_f64 column[2]) {
    __m512d r[2]; /* even rows, odd rows */
    for (int i = 0; i < 2; i++) {
        const double *row = p + i * stride;
        r[i] = _mm512_castpd128_pd512(_mm_loadu_pd(row));
        r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row + 2 * stride), 1);
        r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row + 4 * stride), 2);
        r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row + 6 * stride), 3);
    }
    column[0] = _mm512_unpacklo_pd(r[0], r[1]);
    column[1] = _mm512_unpackhi_pd(r[0], r[1]);
}
static ALWAYS_INLINE void store_transposed_f64(double *p, ptrdiff_t stride, const v_f64 column[2]) {
    __m512d r[2] = {_mm512_unpacklo_pd(column[0], column[1]), _mm512_unpackhi_pd(column[0], column[1])};
    for (int i = 0; i < 2; i++) {
        double *row = p + i * stride;
        _mm_storeu_pd(row, _mm512_castpd512_pd128(r[i]));
        _mm_storeu_pd(row + 2 * stride, _mm512_extractf64x2_pd(r[i], 1));
        _mm_storeu_pd(row + 4 * stride, _mm512_extractf64x2_pd(r[i], 2));
        _mm_storeu_pd(row + 6 * stride, _mm512_extractf64x2_pd(r[i], 3));
    }
}

#endif
