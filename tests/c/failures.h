/* How the C tests say what failed: the call first, as each test prints it, then what of it. */
#ifndef FAILURES_H
#define FAILURES_H

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static int failures;

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

#endif
