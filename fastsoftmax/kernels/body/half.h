/* float16 (IEEE binary16) and bfloat16 (the upper half of a float32), one number at a time: to float32 exactly, and
 * back to the nearest, ties to even. Without branches, so that `baseline` vectorises loops of them. */
#ifndef FS_HALF_H
#define FS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t to_bits_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float from_bits_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* mask is all ones or all zeros */
static inline uint32_t half_select(uint32_t mask, uint32_t x, uint32_t y) { return (x & mask) | (y & ~mask); }

/* The exponent and mantissa, put into a float32's place, are 2**112 times too small: the multiplication is exact, and
 * makes subnormal numbers normal. */
static inline float widen_one_f16(uint16_t x) {
    const uint32_t magnitude = (uint32_t)(x & 0x7fff) << 13, sign = (uint32_t)(x & 0x8000) << 16;
    const uint32_t finite = to_bits_f32(from_bits_f32(magnitude) * 0x1p112f);
    const uint32_t special = magnitude | 0x7f800000; /* inf and NaN */
    return from_bits_f32(half_select(magnitude >= 0x0f800000 ? UINT32_MAX : 0, special, finite) | sign);
}

static inline void store_one_f16(uint16_t *p, float x) {
    const uint32_t bits = to_bits_f32(x), magnitude = bits & 0x7fffffff;
    /* 13 bits are dropped: half of their last place, less one where the last kept bit is 0 */
    const uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    /* a subnormal result counts in units of 2**-24, the last place of 0.5 */
    const uint32_t subnormal = to_bits_f32(from_bits_f32(magnitude) + 0.5f) - to_bits_f32(0.5f);
    uint32_t result = half_select(magnitude < 0x38800000 ? UINT32_MAX : 0, subnormal, normal); /* 2**-14 */
    result = half_select(magnitude >= 0x477ff000 ? UINT32_MAX : 0, 0x7c00, result);            /* 65520 */
    result = half_select(magnitude > 0x7f800000 ? UINT32_MAX : 0, 0x7e00, result);
    *p = (uint16_t)(result | (bits >> 16 & 0x8000));
}

/* float32 between float64 and a narrower type: what rounding leaves shows as an odd last bit, so that it does not
 * become a tie, and the number is rounded once (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums:
 * proved algorithms using rounding to odd", IEEE Transactions on Computers 57, 2008). What is past float32 becomes
 * its largest number, which is past the narrower types. NaN stays one. */
static inline float rounded_to_odd(double x) {
    const float nearest = (float)x;
    const double back = nearest;
    const uint32_t bits = to_bits_f32(nearest), is_even = ~bits & 1;
    const int too_large = (back > x) ^ (bits >> 31), inexact = (back > x) | (back < x);
    return from_bits_f32(bits + (inexact ? (too_large ? -is_even : is_even) : 0));
}

static inline float widen_one_bf16(uint16_t x) { return from_bits_f32((uint32_t)x << 16); }

static inline void store_one_bf16(uint16_t *p, float x) {
    const uint32_t bits = to_bits_f32(x);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    *p = (uint16_t)half_select((bits & 0x7fffffff) > 0x7f800000 ? UINT32_MAX : 0, 0x7fc0, rounded);
}

#endif
