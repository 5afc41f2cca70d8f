/* The element types, by their definition. */
#ifndef FS_ELEMENTS_H
#define FS_ELEMENTS_H

#include <float.h>
#include <math.h>
#include <stdint.h>

#include "kernels.h"

typedef struct {
    size_t size;
    int digits, min_exponent; /* as FLT_MANT_DIG and FLT_MIN_EXP */
    double largest;
    double deepest; /* the exponential of -deepest is 0 */
} type_facts;

static const type_facts FACTS[FS_TYPES] = {
    [FS_F32] = {sizeof(float), FLT_MANT_DIG, FLT_MIN_EXP, FLT_MAX, 104},
    [FS_F64] = {sizeof(double), DBL_MANT_DIG, DBL_MIN_EXP, DBL_MAX, 746},
    [FS_F16] = {sizeof(uint16_t), 11, -13, 65504, 17.4},
    [FS_BF16] = {sizeof(uint16_t), 8, FLT_MIN_EXP, 0x1.fep127, 93},
};

/* The bits of infinity, of float16 and bfloat16. Magnitudes are in the order of their bits. */
static inline uint16_t infinity_bits(fs_type type) {
    return (uint16_t)(0x7fff >> (FACTS[type].digits - 1) << (FACTS[type].digits - 1));
}

/* float16 and bfloat16 by their definition: a sign, an exponent field and a mantissa. */
static double load_half(fs_type type, uint16_t bits) {
    const int mantissa_bits = FACTS[type].digits - 1;
    const int largest_field = (1 << (15 - mantissa_bits)) - 1;
    const int field = bits >> mantissa_bits & largest_field, mantissa = bits & ((1 << mantissa_bits) - 1);
    const int lowest = FACTS[type].min_exponent - FACTS[type].digits;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (field == largest_field) return mantissa ? NAN : sign * INFINITY;
    return sign * ldexp(field ? mantissa + (1 << mantissa_bits) : mantissa, lowest + (field ? field - 1 : 0));
}

/* One unit in the last place of results as large as `value`. */
static inline long double ulp_of(fs_type type, long double value) {
    int exponent, digits = FACTS[type].digits;
    int lowest = FACTS[type].min_exponent - digits;
    frexpl(value, &exponent);
    exponent -= digits;
    return ldexpl(1, value == 0 || exponent < lowest ? lowest : exponent);
}

#endif
