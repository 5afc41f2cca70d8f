/* The exponentials of body/exp.h as one target compiles them, for arrays: see exp_target.c. */
#ifndef FS_EXPONENTIALS_H
#define FS_EXPONENTIALS_H

#include <stddef.h>

/* x[i] <= top[i] to y[i] = C * exp(x[i] - shift) * 2**-N, where top[i] fixes N = n_top[i] - BIAS.
 * n is a multiple of 64. What is `ordinary` skips two steps (exp.h says when it may). */
typedef struct {
    const char *isa;
    double constant_f32, constant_f64; /* C */
    void (*f32)(const float *x, const float *top, int ordinary, float *y, float *n_top, ptrdiff_t n);
    /* the same, low[i] being what y[i] lacks */
    void (*f64_pair)(const double *x, const double *top, int ordinary, double *y, double *low, double *n_top,
                     ptrdiff_t n);
    void (*f64)(const double *x, const double *top, int ordinary, double *y, ptrdiff_t n);
    /* one top for all; as many vectors in step as the target takes */
    void (*f32_together)(const float *x, float top, float *y, ptrdiff_t n);
    void (*f64_together)(const double *x, double top, double *y, ptrdiff_t n);
} exponentials;

extern const exponentials exp_of_baseline, exp_of_avx2, exp_of_avx512;

#endif
