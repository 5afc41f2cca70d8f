/* The default floating-point environment, for as long as a kernel runs.
 *
 * Callers may run with flush-to-zero, denormals-are-zero, another rounding mode or unmasked exceptions: other
 * libraries set them, in some threads only. Every kernel entry takes the default and gives the caller's state
 * back, its exception flags included. */
#ifndef FS_FPENV_H
#define FS_FPENV_H

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int fs_fpenv;
static inline fs_fpenv fpenv_enter(void) {
    fs_fpenv callers = _mm_getcsr();
    _mm_setcsr(0x1f80); /* round to nearest, subnormals kept, all exceptions masked, no flags */
    return callers;
}
static inline void fpenv_leave(fs_fpenv callers) { _mm_setcsr(callers); }

#elif defined(__aarch64__)
typedef struct {
    unsigned long long fpcr, fpsr;
} fs_fpenv;
static inline fs_fpenv fpenv_enter(void) {
    fs_fpenv callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers.fpcr)::"memory");
    __asm__ volatile("mrs %0, fpsr" : "=r"(callers.fpsr)::"memory");
    __asm__ volatile("msr fpcr, %0" ::"r"(0ull) : "memory");
    return callers;
}
static inline void fpenv_leave(fs_fpenv callers) {
    __asm__ volatile("msr fpcr, %0" ::"r"(callers.fpcr) : "memory");
    __asm__ volatile("msr fpsr, %0" ::"r"(callers.fpsr) : "memory");
}

#else
#include <fenv.h>
typedef fenv_t fs_fpenv;
static inline fs_fpenv fpenv_enter(void) {
    fs_fpenv callers;
    feholdexcept(&callers);
    fesetround(FE_TONEAREST);
    return callers;
}
static inline void fpenv_leave(fs_fpenv callers) { fesetenv(&callers); }
#endif

#endif
