/* What surrounds a call: memory that may not be touched and a floating-point environment that must come back. */
#ifndef FS_SURROUNDINGS_H
#define FS_SURROUNDINGS_H

#include <fenv.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MARGIN = 256, CANARY = 0xA5 };

/* Memory between unreadable pages, seen twice: at the address that is `read_only` bytes on it cannot be written */

typedef struct {
    unsigned char *start, *end;
    ptrdiff_t read_only;
} arena;

static unsigned char *view(int file, size_t bytes, size_t page, int protection) {
    unsigned char *all = mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mmap(all + page, bytes, protection, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return all + page;
}

static arena new_arena(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) / page * page;
    FILE *file = tmpfile();
    if (!file || ftruncate(fileno(file), (off_t)bytes)) {
        perror("tmpfile");
        exit(2);
    }
    unsigned char *start = view(fileno(file), bytes, page, PROT_READ | PROT_WRITE);
    return (arena){start, start + bytes, view(fileno(file), bytes, page, PROT_READ) - start};
}

/* `bytes` against one end of the arena, between canaries. */
static unsigned char *place(arena a, size_t bytes, int at_end, int canary) {
    unsigned char *data = at_end ? a.end - bytes : a.start;
    if (at_end)
        memset(data - MARGIN, canary, bytes + MARGIN);
    else
        memset(data, canary, bytes + MARGIN);
    return data;
}

static int canaries_live(const unsigned char *data, size_t bytes, int at_end, int canary) {
    const unsigned char *margin = at_end ? data - MARGIN : data + bytes;
    for (int i = 0; i < MARGIN; i++)
        if (margin[i] != canary) return 0;
    return 1;
}

/* Callers with a floating-point environment of their own: each rounding mode, subnormal results taken for 0 and
 * subnormal inputs (one switch on AArch64), and the flags clear, all raised, or clear and trapping. Mode 0 is the
 * default one. */

enum { ROUNDING_MODES = 4, FLUSHING_MODES = 4, FLAG_MODES = 3, MODES = ROUNDING_MODES * FLUSHING_MODES * FLAG_MODES };

#if defined(__x86_64__)
#include <xmmintrin.h>
static void flush_subnormals(int results, int inputs) {
    _mm_setcsr(_mm_getcsr() | (results ? 0x8000u : 0) | (inputs ? 0x40u : 0));
}
static unsigned long long control(void) { return _mm_getcsr(); }
#elif defined(__aarch64__)
static unsigned long long control(void) {
    unsigned long long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}
static void flush_subnormals(int results, int inputs) {
    __asm__ volatile("msr fpcr, %0" ::"r"(control() | (unsigned long long)(results || inputs) << 24));
}
#else
static void flush_subnormals(int results, int inputs) { (void)results, (void)inputs; }
static unsigned long long control(void) { return 0; }
#endif

static fenv_t tests_environment;
static unsigned long long callers_control;
static int callers_flags;

static void enter(int mode) {
    static const int roundings[ROUNDING_MODES] = {FE_TONEAREST, FE_TOWARDZERO, FE_UPWARD, FE_DOWNWARD};
    const int flushing = mode / ROUNDING_MODES % FLUSHING_MODES;
    const int flags = mode / (ROUNDING_MODES * FLUSHING_MODES);
    fegetenv(&tests_environment);
    feclearexcept(FE_ALL_EXCEPT);
    if (flags == 1) feraiseexcept(FE_ALL_EXCEPT);
#ifdef __GLIBC__
    if (flags == 2) feenableexcept(FE_ALL_EXCEPT);
#endif
    fesetround(roundings[mode % ROUNDING_MODES]);
    flush_subnormals(flushing & 1, flushing >> 1);
    callers_control = control();
    callers_flags = fetestexcept(FE_ALL_EXCEPT);
}

/* Restores the test's own environment; says what the kernel did to its caller's, or NULL. */
static const char *leave(void) {
    const int changed = control() != callers_control, flags = fetestexcept(FE_ALL_EXCEPT);
    fesetenv(&tests_environment);
    return flags != callers_flags ? "the caller's floating-point flags changed"
           : changed              ? "the caller's floating-point environment changed"
                                  : NULL;
}

/* Memory that a kernel may only read after it has written it: memcheck sees to that. */
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
static void *unwritten(void *memory, size_t bytes) {
#ifdef VALGRIND_MAKE_MEM_UNDEFINED
    (void)VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes);
#else
    (void)bytes;
#endif
    return memory;
}

#endif
