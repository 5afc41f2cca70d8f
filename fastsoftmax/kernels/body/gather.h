/* Elements that are not adjacent, brought together. Types: any of 2, 4 or 8 bytes, copied as they are. Aliasing:
 * none.
 *
 * Memory is read upwards whatever the step, since that is what the hardware fetches early. Steps of 2 and -1 (every
 * second element, backwards) are known to the compiler, which shuffles whole vectors there instead of loading one
 * element after the other. */
#ifndef FS_GATHER_H
#define FS_GATHER_H

#define DEFINE_GATHER(T)                                                                                             \
    static void gather_##T(const T *x, ptrdiff_t step, T *restrict y, ptrdiff_t n) {                                 \
        const T *lowest = step < 0 ? x + (n - 1) * step : x;                                                         \
        if (step == 2)                                                                                               \
            for (ptrdiff_t i = 0; i < n; i++) y[i] = lowest[2 * i];                                                  \
        else if (step == -1)                                                                                         \
            for (ptrdiff_t i = 0; i < n; i++) y[n - 1 - i] = lowest[i];                                              \
        else if (step < 0)                                                                                           \
            for (ptrdiff_t i = 0; i < n; i++) y[n - 1 - i] = lowest[i * -step];                                      \
        else                                                                                                         \
            for (ptrdiff_t i = 0; i < n; i++) y[i] = lowest[i * step];                                               \
    }
DEFINE_GATHER(uint16_t)
DEFINE_GATHER(uint32_t)
DEFINE_GATHER(uint64_t)
#undef DEFINE_GATHER

static void fs_gather(const void *x, ptrdiff_t size, ptrdiff_t step, void *y, ptrdiff_t n) {
    if (size == 2)
        gather_uint16_t(x, step, y, n);
    else if (size == 4)
        gather_uint32_t(x, step, y, n);
    else
        gather_uint64_t(x, step, y, n);
}

#endif
