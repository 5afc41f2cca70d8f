/* The losses of lines with one class each, from what the kernels of their element type found (losses.h). Of float64,
 * whatever the type of the logits; loops that the compiler vectorises. */
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

/* loss = (maximum - picked) + tail, 0 for a negative class; and their sum, to *hi and *lo, exactly but for the
 * rounding of what its additions lose. Types: float64. Max error: an ULP for each of the two additions, of terms that
 * are not negative. NaN and inf as IEEE arithmetic has them, in *lo without meaning where *hi is not finite. */
static void fs_class_losses(const double *parts, const double *picked, const int64_t *classes, ptrdiff_t count,
                            double *losses, double *hi, double *lo) {
    const fs_fpenv callers = fpenv_enter();
    for (ptrdiff_t i = 0; i < count; i++) {
        const double loss = (parts[2 * i] - picked[i]) + parts[2 * i + 1];
        losses[i] = classes[i] < 0 ? 0 : loss;
    }
    turns sums = {{0}, {0}};
    ptrdiff_t i = 0;
    for (; i + TURNS <= count; i += TURNS)
        for (int k = 0; k < TURNS; k++) add_exactly(&sums.hi[k], &sums.lo[k], losses[i + k]);
    for (int k = 0; i < count; i++, k++) add_exactly(&sums.hi[k], &sums.lo[k], losses[i]);
    turns_join(&sums, hi, lo);
    fpenv_leave(callers);
}

#endif
