/* What differs between the element types, so that the algorithms need not know: how S is stored, and which type T
 * it is computed in. */
#ifndef FS_ELEMENT_H
#define FS_ELEMENT_H

typedef float elem_f32;
typedef double elem_f64;

/* One stored element to and from the computing type. */
static ALWAYS_INLINE float widen_one_f32(float x) { return x; }
static ALWAYS_INLINE double widen_one_f64(double x) { return x; }
static ALWAYS_INLINE void store_one_f32(float *p, float x) { *p = x; }
static ALWAYS_INLINE void store_one_f64(double *p, double x) { *p = x; }

/* Where a row's exponentials wait for their factor: in the result. (A stored type that is too narrow for them would
 * take scratch memory instead.) */
static ALWAYS_INLINE float *exp_store_f32(float *y, float *scratch) {
    (void)scratch;
    return y;
}
static ALWAYS_INLINE double *exp_store_f64(double *y, double *scratch) {
    (void)scratch;
    return y;
}

#endif
