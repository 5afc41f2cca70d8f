/* The losses of lines with one class each, and their gradients there, from what the kernels of their element type
 * found (losses.h). Of float64, whatever the type of the logits; but for the sum, loops that the compiler vectorises.
 */
#ifndef FS_CLASS_LOSSES_H
#define FS_CLASS_LOSSES_H

/* As kernels.h has it. Range: all classes, any `ignore`. (True is -1 here, all bits set; added up it counts down.) */
static int fs_check_classes(int64_t *classes, ptrdiff_t count, int64_t n, int64_t ignore, ptrdiff_t *counted) {
    int64_t out = 0, astray = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const int64_t class = classes[i], ignored = -(int64_t)(class == ignore);
        const int64_t outside = -(int64_t)((class < 0) | (class >= n));
        astray |= outside & ~ignored;
        out += outside | ignored;
        classes[i] = class | outside | ignored;
    }
    *counted = count + out;
    return astray != 0;
}

/* loss = (maximum - picked) + tail, 0 for a negative class. Types: float64. Max error: an ULP for each of the two
 * additions, of terms that are not negative. NaN and inf as IEEE arithmetic has them. */
static void fs_class_losses(const double *parts, const double *picked, const int64_t *classes, ptrdiff_t count,
                            double *losses) {
    const fs_fpenv callers = fpenv_enter();
    for (ptrdiff_t i = 0; i < count; i++) {
        const double loss = (parts[2 * i] - picked[i]) + parts[2 * i + 1];
        losses[i] = classes[i] < 0 ? 0 : loss;
    }
    fpenv_leave(callers);
}

/* The sum of some numbers, to *hi and *lo, exactly but for the rounding of what its additions lose; in the same order
 * on every target, which all have 8 lanes. Types: float64. NaN and inf: *hi as IEEE arithmetic has it, and *lo then
 * means nothing. 0 of no numbers. */
static void fs_sum(const double *values, ptrdiff_t count, double *hi, double *lo) {
    const fs_fpenv callers = fpenv_enter();
    v_f64 his = set1_f64(0), los = his;
    for (ptrdiff_t i = 0; i < count; i += LANES_f64) {
        double last[LANES_f64] = {0};
        const int whole = count - i >= LANES_f64;
        if (!whole) memcpy(last, values + i, (size_t)(count - i) * sizeof *last);
        const pair_f64 sum = two_sum_f64(his, load_f64(whole ? values + i : last));
        his = sum.hi;
        los = add_f64(los, sum.lo);
    }
    join_lanes_f64(his, los, hi, lo);
    fpenv_leave(callers);
}

/* Sums of scaled probabilities have the error of these from n times this on, up to scales of so much. */
#define LEAST_OTHERS_f32 0x1p-120
#define LEAST_OTHERS_f64 0x1p-1000
#define MOST_SCALE_f32 0x1.fffffep127
#define MOST_SCALE_f64 0x1.fffffffffffffp1023

/* Where p is at most 1/4, 1 - p loses nothing that counts, unless scale * p, `own`, was rounded as a subnormal number
 * is: of a line of n elements. (The limit of float32 does for float64, too.) */
static ALWAYS_INLINE int p_is_small(double own, double scale, ptrdiff_t n) {
    return (fabs(own) <= 0.25 * fabs(scale)) & (fabs(scale) > (double)n * SMALL_SCALE_f32);
}

/* -scale * (1 - p) at the classes of `count` lines, whole vectors of them. Three ways: where p is small, own - scale.
 * Else minus the sum of scale * p over the other elements, which has their error, unless they are subnormal, below
 * `least` each, or so small that exp left them out, or the scale is past `most`. Else NaN: the caller takes it from
 * the loss. (`others` does not matter where p is small.) */
static NEVER_INLINE void values_at_classes(const double *own, const double *others, const double *scales, int count,
                                           ptrdiff_t n, double least, double most, double *values) {
    const v_f64 least_size = set1_f64((double)n * SMALL_SCALE_f32), least_sum = set1_f64((double)n * least);
    for (int i = 0; i < count; i += LANES_f64) {
        const v_f64 at_class = load_f64(own + i), rest = load_f64(others + i), scale = load_f64(scales + i);
        const v_f64 size = max_f64(scale, neg_f64(scale)), sum = max_f64(rest, neg_f64(rest));
        const m_f64 too_small = ge_f64(least_size, size), in_range = ge_f64(set1_f64(most), size);
        /* -1, which no magnitude is below: then p is never small */
        const v_f64 small =
            sub_f64(drop_f64(too_small, mul_f64(size, set1_f64(0.25))), keep_f64(too_small, set1_f64(1)));
        const m_f64 is_small = ge_f64(small, max_f64(at_class, neg_f64(at_class)));
        const m_f64 is_known =
            ge_f64(keep_f64(in_range, sum), fma_f64(size, set1_f64((double)n * 0x1p-100), least_sum));
        const v_f64 by_others = sub_f64(drop_f64(is_known, set1_f64(NAN)), rest);
        store_f64(values + i, add_f64(keep_f64(is_small, sub_f64(at_class, scale)), drop_f64(is_small, by_others)));
    }
}

#endif
