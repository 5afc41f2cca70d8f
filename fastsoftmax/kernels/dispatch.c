/* Which targets are built in, and which of them this CPU runs. FS_HAVE_* come from setup.py: the targets linked. */
#include "kernels.h"

#include <string.h>

extern const fs_table fs_table_baseline, fs_table_avx2, fs_table_avx512, fs_table_neon;

#if defined(FS_HAVE_AVX2) || defined(FS_HAVE_AVX512)

enum { AVX2_FMA_F16C = 1, AVX512_F_BW_DQ_VL = 2 };

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
/* MSVC has no __builtin_cpu_supports: ask CPUID, and XGETBV for the registers the system saves. */
static int features(void) {
    int leaf1[4], leaf7[4];
    __cpuid(leaf1, 0);
    if (leaf1[0] < 7) return 0;
    __cpuid(leaf1, 1);
    __cpuidex(leaf7, 7, 0);
    const int fma = 1 << 12, osxsave = 1 << 27, f16c = 1 << 29;
    if ((leaf1[2] & (fma | osxsave | f16c)) != (fma | osxsave | f16c)) return 0;
    const unsigned long long saved = _xgetbv(0);
    const int avx2 = 1 << 5, avx512 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31;
    if ((saved & 0x6) != 0x6 || !(leaf7[1] & avx2)) return 0;
    if ((saved & 0xe6) != 0xe6 || (leaf7[1] & avx512) != avx512) return AVX2_FMA_F16C;
    return AVX2_FMA_F16C | AVX512_F_BW_DQ_VL;
}
#else
#include <cpuid.h>

/* clang 14 does not know this name in __builtin_cpu_supports. */
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c & 1u << 29;
}

static int features(void) {
    __builtin_cpu_init();
    int found = 0;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        found |= AVX2_FMA_F16C;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            found |= AVX512_F_BW_DQ_VL;
    }
    return found;
}
#endif

#endif

/* Best first, and what runs the first runs the others too: what a CPU has is an end of this. */
static const fs_table *const ladder[] = {
#ifdef FS_HAVE_AVX512
    &fs_table_avx512,
#endif
#ifdef FS_HAVE_AVX2
    &fs_table_avx2,
#endif
#ifdef FS_HAVE_NEON
    &fs_table_neon, /* part of AArch64 */
#endif
    &fs_table_baseline, NULL};

const fs_table *const *fs_available(void) {
    const fs_table *const *best = ladder;
#ifdef FS_HAVE_AVX512
    if (!(features() & AVX512_F_BW_DQ_VL)) best++;
#endif
#ifdef FS_HAVE_AVX2
    if (!(features() & AVX2_FMA_F16C)) best++;
#endif
    return best;
}

const fs_table *fs_find(const char *isa) {
    for (const fs_table *const *table = fs_available(); *table; table++)
        if (strcmp((*table)->isa, isa) == 0) return *table;
    return NULL;
}
