/* The contract between the kernels and their callers.
 *
 * A kernel works on one tile: some independent rows (or columns) that one thread finishes alone. It never
 * allocates, threads, checks or fails. The caller owns the layout, the scratch memory and the loops over tiles.
 *
 * Every function pointer below has, for every target and element type, the same meaning and the same error
 * bounds (see body/). A row's result depends on that row alone: not on the other rows of the tile, nor on
 * addresses. */
#ifndef FASTSOFTMAX_KERNELS_H
#define FASTSOFTMAX_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    FS_SOFTMAX,     /* exp(x) / sum(exp(x)) */
    FS_LOG_SOFTMAX, /* x - log(sum(exp(x))) */
    FS_SOFTMIN,     /* softmax of -x */
    FS_LOGSUMEXP,   /* log(sum(exp(x))), one value a row */
    FS_OPERATIONS
} fs_operation;

typedef enum {
    FS_SOFTMAX_BACKWARD,     /* y * (g - sum(g * y)) */
    FS_LOG_SOFTMAX_BACKWARD, /* g - exp(y) * sum(g) */
    FS_BACKWARDS
} fs_backward;

typedef enum { FS_F32, FS_F64, FS_F16, FS_BF16, FS_TYPES } fs_type;

/* What one read tells of a set of values x: its maximum, how many others equal it, and the sum of the
 * exponentials of the rest,
 *
 *     sum(exp(x)) = (1 + others) * exp(top) + (sum + sum_low) * exp(base),
 *
 * where `top` alone fixes `base` (and `sum` and `sum_low` have the constant of exp.h). Exactly one occurrence of the
 * maximum stays apart, so that log1p of everything else keeps its digits. FS_SOFTMAX and FS_SOFTMIN need no log1p:
 * there `sum` has every element, and `others` is -1. Where there is a NaN among x, `others` is NaN. The carries of
 * the parts of a row merge into the row's. */
typedef struct {
    double top;
    double others;
    double sum;
    double sum_low;
} fs_carry;

/* What to fetch while rows are read, instead of the rows that follow: with row i as much as it has, from `from` +
 * i * stride bytes on; and in a last stage that stores the row, as much again, from `again` + i * stride on. Hints:
 * they may point anywhere. */
typedef struct {
    const char *from, *again;
    ptrdiff_t stride;
} fs_fetch;

/* Whole rows: `rows` rows of `n` elements, the elements of a row adjacent, its rows x_stride (y_stride) elements
 * apart. y may be x with equal strides, and must not overlap it otherwise. FS_LOGSUMEXP writes y[row * y_stride].
 * n >= 1. scratch: fs_rows_scratch bytes, aligned to 64, private to the call. `fetch` may be NULL. */
typedef void (*fs_rows_fn)(const void *x, void *y, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t x_stride,
                           ptrdiff_t y_stride, void *scratch, const fs_fetch *fetch);

/* A strip of columns: element j of column i is x[j * x_stride + i], for i < columns and j < n.
 * FS_LOGSUMEXP writes y[i]. scratch, aligned to 64: FS_SCRATCH bytes, or n + 2 elements of at least four bytes for
 * each of the columns if that is less, their number rounded up to 16. `ahead`: how many elements further on, in x as
 * in y, is what to fetch meanwhile, a hint; 0 for what lies beside the strip. Otherwise as for rows. */
typedef void (*fs_columns_fn)(const void *x, void *y, ptrdiff_t columns, ptrdiff_t n, ptrdiff_t x_stride,
                              ptrdiff_t y_stride, void *scratch, ptrdiff_t ahead);

/* A part of a long row whose whole carry is known: adjacent elements x, their exponentials e, of the type that is
 * computed in, and the results y, which may be x, or e where they are as large. Without exponentials, if e is NULL,
 * these are taken of x again, to the same bits. */
typedef struct {
    const void *x, *e;
    void *y;
    const fs_carry *carry;
} fs_part;

/* A part of a long row: n adjacent elements, n >= 16, to their carry. e is NULL, or not x and has room for n
 * elements of the type that is computed in. If the result is 1, which it only is for FS_SOFTMAX and FS_SOFTMIN, e has
 * the exponentials of the part; if it is 0, what e has is unspecified. Exponentials of a part serve only if those of
 * all parts of the row are there. Meanwhile `open`, unless it is NULL, is finished: n elements of another row, in
 * other memory, and not of FS_LOGSUMEXP. */
typedef int (*fs_reduce_fn)(const void *x, void *e, ptrdiff_t n, fs_carry *carry, const fs_part *open);

/* `into` becomes the carry of both parts. Merging in the order of the parts makes the result reproducible. */
typedef void (*fs_merge_fn)(fs_carry *into, const fs_carry *from);

/* A part of n elements to its results, n >= 16. FS_LOGSUMEXP writes its one result from the carry alone. (The bits of
 * a NaN may depend on where a row is cut.) */
typedef void (*fs_finish_fn)(const fs_part *part, ptrdiff_t n);

/* Gradients gx with respect to the inputs of softmax or log_softmax, from those with respect to its outputs, g, and
 * these outputs, y: whole rows, or a strip of columns, as above. gx may be g or y (or both) with equal strides, and
 * must not overlap them otherwise. scratch: FS_ROWS_SCRATCH bytes, for columns FS_BACKWARD_SCRATCH. */
typedef void (*fs_backward_fn)(const void *g, const void *y, void *gx, ptrdiff_t count, ptrdiff_t n,
                               ptrdiff_t g_stride, ptrdiff_t y_stride, ptrdiff_t gx_stride, void *scratch);

/* n elements of `size` bytes (2, 4 or 8), `step` elements apart, to adjacent ones elsewhere. */
typedef void (*fs_gather_fn)(const void *x, ptrdiff_t size, ptrdiff_t step, void *y, ptrdiff_t n);

typedef struct {
    fs_rows_fn rows;
    fs_columns_fn columns;
    fs_reduce_fn reduce;
    fs_merge_fn merge;
    fs_finish_fn finish;
} fs_kernels;

/* Losses and their gradients work on lines of n elements: element c of line i is x[i * stride + c * step]. Lines are
 * rows (step is 1) or columns beside each other (stride is 1, step is not). `ahead`: as for columns. `parts` and
 * `pick` take `samples`, at least one, times so many columns, each sample `apart` elements further on, and what
 * belongs to their lines lies one after the other; rows are one sample, and the others take one. `pick` takes a
 * stride of 0 too: one table for all lines, as the classes' weights are. */
typedef struct {
    ptrdiff_t count, n, stride, step, ahead, samples, apart;
} fs_lines;

/* What each class is wanted with: weight[class] * (keep * p + share) for probabilities p, weight[class] * share where
 * there are none; weight may be NULL, all 1. */
typedef struct {
    const double *weight;
    double keep, share;
} fs_wanted;

/* So many runs of n adjacent elements each: a run lies `stride` elements of its type after the one before, and
 * widened `wide_stride` float32 after it. */
typedef struct {
    ptrdiff_t runs, n, stride, wide_stride;
} fs_runs;

/* `parts` are two numbers a line: its maximum, and log(sum(exp(x - maximum))). `scale` is one number a line. A class
 * below 0 is none. scratch: as for rows, or for columns. */
typedef struct {
    void (*parts)(const void *x, const fs_lines *, double *parts, void *scratch);
    /* the element of each line's class, 0 where it has none */
    void (*pick)(const void *x, const fs_lines *, const int64_t *classes, double *picked);
    /* n values, narrowed */
    void (*put)(const double *values, ptrdiff_t n, void *y);
    /* Classes that are `ignore` become negative, and so do those outside of 0 to n - 1. *counted: how many are
     * neither. 1 if one is outside and not `ignore`, else 0. */
    int (*check_classes)(int64_t *classes, ptrdiff_t count, int64_t n, int64_t ignore, ptrdiff_t *counted);
    /* a loss a line, from its parts and what was picked, 0 where its class is negative */
    void (*class_losses)(const double *parts, const double *picked, const int64_t *classes, ptrdiff_t count,
                         double *losses);
    /* the sum of some values as hi + lo */
    void (*sum)(const double *values, ptrdiff_t count, double *hi, double *lo);

    /* The following are NULL for FS_F16 and FS_BF16, whose lines are widened first. */

    /* two sums a line over the classes: of wanted * (maximum - x), and of wanted. p lies as x does, or is NULL. */
    void (*weigh)(const void *x, const void *p, const fs_lines *, const fs_wanted *, const double *parts,
                  double *sums);
    /* y = scale * softmax(x), y lying as x does; it may be x */
    void (*scaled)(const void *x, void *y, const fs_lines *, const double *scale, void *scratch);
    /* the element of each line's class becomes the line's value; the whole line 0 where it has none */
    void (*place)(void *y, const fs_lines *, const int64_t *classes, const double *values);
    /* y -= scale * wanted. Where there are classes, the element of each line's class loses scale * weight * keep too,
     * and a line that has none becomes 0. */
    void (*subtract)(void *y, const void *p, const fs_lines *, const fs_wanted *, const int64_t *classes,
                     const double *scale);
    /* what `place` is to put into a gradient of losses with one class a line, y = scale * p: -scale * (1 - p) at the
     * class, with all of its digits, or NaN where y has not got them, as where 1 - p or the scale is tiny: the caller
     * then takes it from the loss; 0 where there is no class. y has 0 there afterwards. Returns how many are NaN. */
    ptrdiff_t (*class_gradients)(void *y, const fs_lines *, const int64_t *classes, const double *scale,
                                 double *values);

    /* These are NULL for FS_F32 and FS_F64: to float32, exactly; and rounded to the nearest, ties to even. */
    void (*widen)(const void *x, const fs_runs *, float *wide);
    void (*narrow)(const float *wide, const fs_runs *, void *y);
} fs_loss_kernels;

typedef struct {
    fs_backward_fn rows;
    fs_backward_fn columns;
} fs_backward_kernels;

typedef struct {
    const char *isa;
    fs_kernels kernels[FS_OPERATIONS][FS_TYPES];
    fs_loss_kernels losses[FS_TYPES];
    fs_backward_kernels backward[FS_BACKWARDS][FS_TYPES];
    fs_gather_fn gather;
} fs_table;

enum {
    /* Rows shorter than this go one row to a lane, in groups; some longer ones do too (body.h). */
    FS_SHORT_ROW = 64,
    /* Scratch memory of rows: some groups of short rows, or exponentials of rows in place or of a narrower type. Of
     * these it must have two rows (fs_rows_scratch). */
    FS_ROWS_SCRATCH = 16 * 1024,
    /* Scratch memory of columns: a strip of their exponentials, or of themselves, and two lines more, so that a power
     * of two of them has a power of two of elements. */
    FS_SCRATCH = 528 * 1024,
    /* Scratch memory of the gradients' columns: totals and constants of one strip. */
    FS_BACKWARD_SCRATCH = 32 * 1024,
};

/* Bytes of scratch memory for rows of n elements by the kernels of fs_kernels (those of the losses and gradients need
 * no more than FS_ROWS_SCRATCH). Each of two rows is whole cache lines. */
static inline ptrdiff_t fs_rows_scratch(fs_operation op, fs_type type, ptrdiff_t n) {
    const int wait_there = (op == FS_SOFTMAX || op == FS_SOFTMIN) && (type == FS_F16 || type == FS_BF16);
    const ptrdiff_t two_rows = (n + 15) / 16 * 16 * 2 * (ptrdiff_t)sizeof(float);
    return wait_there && two_rows > FS_ROWS_SCRATCH ? two_rows : FS_ROWS_SCRATCH;
}

/* dispatch.c */

/* The targets this CPU can run, best first, NULL at the end. Does not allocate. */
const fs_table *const *fs_available(void);

/* The available table of that name, or NULL. */
const fs_table *fs_find(const char *isa);

#endif
