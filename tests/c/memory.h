/* Elements in memory: arrays of any type, through memcpy. */
#ifndef FS_MEMORY_H
#define FS_MEMORY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "elements.h"
#include "kernels.h"

static size_t size_of(fs_type type) { return FACTS[type].size; }
static inline fs_type computed_in(fs_type type) { return type == FS_F64 ? FS_F64 : FS_F32; }

/* As little scratch memory as the contract allows, so that its end is guarded. */
static inline size_t scratch_of_columns(fs_type type, int columns, int n) {
    const size_t whole = (size_t)(columns + 15) / 16 * 16;
    const size_t bytes = size_of(computed_in(type)) * (size_t)(n + 2) * whole;
    return bytes < FS_SCRATCH ? bytes : FS_SCRATCH;
}

/* To the nearest: any tie will do, as inputs are made of it. */
static uint16_t store_half(fs_type type, double value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const uint16_t infinity = infinity_bits(type);
    uint16_t low = 0, high = infinity;
    if (isnan(value)) return infinity + 1;
    if (isinf(value)) return sign | infinity;
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        *(load_half(type, middle) <= fabs(value) ? &low : &high) = middle;
    }
    const int up = high < infinity && load_half(type, high) - fabs(value) < fabs(value) - load_half(type, low);
    return sign | (up ? high : low);
}

/* Through memcpy: the arrays hold any type. */
static void copy(fs_type type, void *to, ptrdiff_t i, const void *from, ptrdiff_t j) {
    const ptrdiff_t size = (ptrdiff_t)size_of(type);
    memcpy((char *)to + i * size, (const char *)from + j * size, (size_t)size);
}

static double load(fs_type type, const void *array, ptrdiff_t i) {
    float single;
    double value;
    uint16_t half;
    switch (type) {
    case FS_F32: copy(type, &single, 0, array, i); return single;
    case FS_F64: copy(type, &value, 0, array, i); return value;
    default: copy(type, &half, 0, array, i); return load_half(type, half);
    }
}

static void store(fs_type type, void *array, ptrdiff_t i, double value) {
    const float single = (float)value;
    const uint16_t half = type == FS_F32 || type == FS_F64 ? 0 : store_half(type, value);
    copy(type, array, i, type == FS_F32 ? (const void *)&single : type == FS_F64 ? (const void *)&value : &half, 0);
}

/* Bit by bit, but any NaN is as good as another. */
static inline int same(fs_type type, const void *a, ptrdiff_t i, const void *b, ptrdiff_t j) {
    const double one = load(type, a, i), other = load(type, b, j);
    return one == other ? !signbit(one) == !signbit(other) : isnan(one) && isnan(other);
}

static uint64_t random_state;
static double uniform(double low, double high) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (double)(random_state >> 11) * 0x1p-53;
}

#endif
