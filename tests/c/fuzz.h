/* What the fuzzers make of an input's bytes: decisions, one a byte, and elements of any kind. Beyond the last byte
 * decisions are 0 and elements pseudo-random, so that a short input is a whole test too. */
#ifndef FS_FUZZ_H
#define FS_FUZZ_H

#include "failures.h"
#include "memory.h"

typedef struct {
    const uint8_t *next, *end;
    double last; /* element */
} bytes;

static int take(bytes *input) { return input->next < input->end ? *input->next++ : 0; }
static int take_below(bytes *input, int limit) { return (take(input) | take(input) << 8) % limit; }

/* Elements whose neighbourhood decides which way a kernel goes: zeros, limits of exp.h, of the types and of what
 * underflows. */
static double remarkable(fs_type type, int i) {
    const double largest = FACTS[type].largest, least = ldexp(1, FACTS[type].min_exponent - FACTS[type].digits);
    const double values[] = {
        0,       -0.0,     NAN,   INFINITY, -INFINITY, largest, -largest, least,  -least,   least * 3,
        16384,   -16384,   63,    -63,      -104,      -87.4,   -745.2,   -708.4, 40,       -40,
        0x1p-24, -0x1p-53, 1e-20, 1,        -1,        0.7,     65504,    -65520, -largest, 0x1p22,
    };
    return values[i % (int)(sizeof values / sizeof *values)];
}

static double raw(bytes *input, fs_type type) {
    uint64_t bits = 0;
    for (size_t i = 0; i < size_of(type); i++) bits |= (uint64_t)take(input) << 8 * i;
    return load(type, &bits, 0);
}

/* Of the type, once stored. */
static double draw(bytes *input, fs_type type) {
    static const double spreads[] = {1e-3, 1, 30, 800};
    if (input->next == input->end) return uniform(-1, 1) * spreads[random_state >> 62];
    const int kind = take(input);
    switch (kind % 8) {
    case 0: return input->last;
    case 1: return input->last = raw(input, type);
    case 2: return input->last = remarkable(type, kind / 8);
    case 3: return input->last = remarkable(type, kind / 8) + (take(input) - 128) * 0x1p-10;
    case 4: return input->last = (take(input) - 128) / 8.0;
    case 5: return input->last = (take_below(input, 65536) - 32768) / 16.0;
    case 6: return input->last = ldexp(kind & 128 ? -1.3 : 1.7, take(input) - 128);
    default: return input->last = uniform(-20, 20);
    }
}

/* Lengths of every kind, the short ones most often. */
static int draw_length(bytes *input) {
    const int kind = take(input);
    return kind < 230 ? 1 + kind % 115 : 100 + 2 * take(input);
}

static bytes begin(const uint8_t *data, size_t size) {
    random_state = size;
    for (size_t i = 0; i < size; i++) random_state = (random_state ^ data[i]) * 0x9e3779b97f4a7c15u;
    return (bytes){data, data + size, 0.5};
}

/* libFuzzer keeps the input of a process that aborts. */
static int end(void) {
    fflush(stdout);
    if (failures) abort();
    return 0;
}

#endif
