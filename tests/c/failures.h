/* What the C tests share beside the kernels: what they are asked for, and how they say what failed: the call first,
 * as each test prints it, then what of it. */
#ifndef FAILURES_H
#define FAILURES_H

#include <float.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels.h"

static int failures, judged = 1;
static long calls;

/* The call that is running. */
static void print_current(void);

static void fail(const char *what, ...) {
    va_list arguments;
    va_start(arguments, what);
    if (failures++ < 20) {
        print_current();
        vprintf(what, arguments);
        putchar('\n');
    }
    va_end(arguments);
}

static void crashed(int number) {
    print_current(); /* not safe in a handler, but better than silence */
    printf("signal %d: a read or write out of bounds?\n", number);
    fflush(stdout);
    _exit(1);
}

/* A test's arguments: [target|all [few]]. `only` is NULL for all, `few` asks for a few lengths and counts of rows.
 * Or `targets`: it names those of this CPU, and does nothing else. */
typedef struct {
    const char *only;
    int few;
} arguments;

static arguments start(int argc, char **argv) {
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    if (argc == 2 && !strcmp(argv[1], "targets")) {
        for (const fs_table **table = fs_available(); *table; table++) puts((*table)->isa);
        exit(0);
    }
    const arguments asked = {argc > 1 && strcmp(argv[1], "all") ? argv[1] : NULL, argc > 2};
    if (argc > 3 || (asked.few && strcmp(argv[2], "few")) || (asked.only && !fs_find(asked.only))) {
        printf("usage: %s [target|all [few]], the target one that this CPU has; or %s targets\n", argv[0], argv[0]);
        exit(2);
    }
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) signal(deadly[i], crashed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* valgrind computes long double in double: expected values are wrong there, and memory is what it is for. */
    const volatile long double one = 1;
    judged = one + LDBL_EPSILON > one;
    if (!judged) printf("long double is no wider than double here: errors are not judged, all else is\n");
    return asked;
}

/* The place of a target among those of this CPU. */
static inline int index_of(const fs_table *table) {
    int i = 0;
    while (fs_available()[i] != table) i++;
    return i;
}

static int finish(void) {
    if (calls) printf("%ld calls: ", calls);
    printf(failures ? "%d FAILURES\n" : "passed\n", failures);
    return failures ? 1 : 0;
}

#endif
