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

/* A caller that flushes subnormals and rounds towards zero */

#if defined(__x86_64__)
#include <xmmintrin.h>
static void flush_subnormals(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
static unsigned long long control(void) { return _mm_getcsr(); }
#elif defined(__aarch64__)
static unsigned long long control(void) {
    unsigned long long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}
static void flush_subnormals(void) { __asm__ volatile("msr fpcr, %0" ::"r"(control() | 1ull << 24)); }
#else
static void flush_subnormals(void) {}
static unsigned long long control(void) { return 0; }
#endif

static fenv_t callers_environment;
static unsigned long long callers_control;

static void enter(int hostile) {
    fegetenv(&callers_environment);
    feclearexcept(FE_ALL_EXCEPT);
    if (hostile) {
        fesetround(FE_TOWARDZERO);
        flush_subnormals();
    }
    callers_control = control();
}

/* Restores the test's own environment; says what the kernel did to its caller's, or NULL. */
static const char *leave(void) {
    int changed = control() != callers_control, raised = fetestexcept(FE_ALL_EXCEPT);
    fesetenv(&callers_environment);
    return changed  ? "the caller's floating-point environment changed"
           : raised ? "floating-point flags are left raised"
                    : NULL;
}

#endif
