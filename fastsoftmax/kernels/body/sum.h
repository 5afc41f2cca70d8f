/* Wide accumulators: float32 sums are in float64 lanes, float64 ones are compensated. Where a target has a quicker
 * way for exponentials, which are not negative, their sums are of a type of their own while they grow.
 *
 * Every exponential is added on its own, so a row of one big and many tiny terms keeps the tiny ones, and the order
 * of additions in a lane is the order in the row, whatever the unrolling. */
#ifndef FS_SUM_H
#define FS_SUM_H

typedef struct {
    v_f64 hi[2]; /* lanes 0-7 and 8-15 */
} sum_f32;

typedef struct {
    v_f64 hi[1], lo[1];
} sum_f64;

/* The rest of a row (a row a lane), all but one maximum: the sum of its exponentials, except that those of `others`
 * more maxima are only counted. Sums of float64 are relative to the reference (exp.h) of the maximum; those of
 * float32 to one of the same shift, whose n_top is beside them. */
typedef struct {
    sum_f32 sum;
    v_f64 others[2], n_top[2];
} rest_f32;

typedef struct {
    sum_f64 sum;
    v_f64 others[1];
} rest_f64;

static ALWAYS_INLINE void widen_f32(v_f64 wide[2], v_f32 x) {
    wide[0] = widen_low_f32(x);
    wide[1] = widen_high_f32(x);
}

static ALWAYS_INLINE void others_f32(rest_f32 *rest, v_f32 others) { widen_f32(rest->others, others); }

static ALWAYS_INLINE void others_f64(rest_f64 *rest, v_f64 others) { rest->others[0] = others; }

/* A sum to the last digit: hi + lo exactly, |lo| <= ulp(hi) / 2 (Knuth's TwoSum; no order of a and b needed). */
typedef struct {
    v_f64 hi, lo;
} pair_f64;

static ALWAYS_INLINE pair_f64 two_sum_f64(v_f64 a, v_f64 b) {
    pair_f64 sum;
    sum.hi = add_f64(a, b);
    v_f64 b_part = sub_f64(sum.hi, a);
    v_f64 a_part = sub_f64(sum.hi, b_part);
    sum.lo = add_f64(sub_f64(a, a_part), sub_f64(b, b_part));
    return sum;
}

/* The same one by one: what is added to hi, and what that loses to lo. */
static ALWAYS_INLINE void add_exactly(double *hi, double *lo, double x) {
    const double sum = *hi + x;
    const double x_part = sum - *hi;
    *lo += (*hi - (sum - x_part)) + (x - x_part);
    *hi = sum;
}

static ALWAYS_INLINE sum_f32 sum_zero_f32(void) { return (sum_f32){{set1_f64(0), set1_f64(0)}}; }

static ALWAYS_INLINE sum_f64 sum_zero_f64(void) { return (sum_f64){{set1_f64(0)}, {set1_f64(0)}}; }

static ALWAYS_INLINE void sum_add_f32(sum_f32 *sum, v_f32 v) {
    sum->hi[0] = add_f64(sum->hi[0], widen_low_f32(v));
    sum->hi[1] = add_f64(sum->hi[1], widen_high_f32(v));
}

static ALWAYS_INLINE void sum_add_f64(sum_f64 *sum, v_f64 v) {
    pair_f64 both = two_sum_f64(sum->hi[0], v);
    sum->hi[0] = both.hi;
    sum->lo[0] = add_f64(sum->lo[0], both.lo);
}

/* A vector of S is in so many vectors of float64. */
enum { HALVES_f32 = 2, HALVES_f64 = 1 };

static ALWAYS_INLINE void widen_f64(v_f64 wide[1], v_f64 x) { wide[0] = x; }
static ALWAYS_INLINE v_f32 of_halves_f32(const v_f64 *halves) { return narrow_f32(halves[0], halves[1]); }
static ALWAYS_INLINE v_f64 of_halves_f64(const v_f64 *halves) { return halves[0]; }

/* a * b, and a, to one of them; float64's with the rounding of the product */
static ALWAYS_INLINE void add_product_to_half_f32(sum_f32 *sum, int half, v_f64 a, v_f64 b) {
    sum->hi[half] = fma_f64(a, b, sum->hi[half]);
}

static ALWAYS_INLINE void add_product_to_half_f64(sum_f64 *sum, int half, v_f64 a, v_f64 b) {
    (void)half;
    sum_add_f64(sum, mul_f64(a, b));
}

static ALWAYS_INLINE void add_to_half_f32(sum_f32 *sum, int half, v_f64 a) {
    sum->hi[half] = add_f64(sum->hi[half], a);
}

static ALWAYS_INLINE void add_to_half_f64(sum_f64 *sum, int half, v_f64 a) {
    (void)half;
    sum_add_f64(sum, a);
}

/* A sum of exponentials (exp.h) while it grows; a vector is added to it from where it is, or from memory; and the sum
 * that it becomes. A lane has the same bits on every target. */
typedef sum_f64 exp_sum_f64;
static ALWAYS_INLINE exp_sum_f64 exp_sum_zero_f64(void) { return sum_zero_f64(); }
static ALWAYS_INLINE void exp_sum_add_f64(exp_sum_f64 *sum, v_f64 v) { sum_add_f64(sum, v); }
static ALWAYS_INLINE void exp_sum_add_at_f64(exp_sum_f64 *sum, const double *p) { sum_add_f64(sum, load_f64(p)); }
static ALWAYS_INLINE sum_f64 exp_sum_total_f64(exp_sum_f64 sum) { return sum; }

#ifdef HAS_WIDEN_BITS
typedef struct {
    v_f64 even, odd; /* times 2**-896 */
} exp_sum_f32;
static ALWAYS_INLINE exp_sum_f32 exp_sum_zero_f32(void) { return (exp_sum_f32){set1_f64(0), set1_f64(0)}; }
static ALWAYS_INLINE void exp_sum_add_f32(exp_sum_f32 *sum, v_f32 v) {
    sum->even = add_f64(sum->even, widen_even_bits_f32(v));
    sum->odd = add_f64(sum->odd, widen_odd_bits_f32(v));
}
static ALWAYS_INLINE void exp_sum_add_at_f32(exp_sum_f32 *sum, const float *p) { exp_sum_add_f32(sum, load_f32(p)); }
static ALWAYS_INLINE sum_f32 exp_sum_in_order_f32(exp_sum_f32 sum) {
    return (sum_f32){{zip_low_f64(sum.even, sum.odd), zip_high_f64(sum.even, sum.odd)}};
}
/* Exponentials are below 2**(BIAS + 1), here 2**-835, so that what is past all their sums had a NaN among them, whose
 * bits read as 1.5 * 2**-768, of a negative one as 1.5 * 2**-512; it keeps its sign. (A row or column that was taken
 * for ordinary, and is not, may have larger exponentials; whatever their sum is, it is not used.) */
static ALWAYS_INLINE v_f64 nan_lanes_f64(v_f64 sum) {
    const m_f64 is_nan = ge_f64(sum, set1_f64(0x1p-770)), is_negative = ge_f64(sum, set1_f64(0x1p-514));
    const v_f64 positive = drop_f64(is_negative, keep_f64(is_nan, set1_f64(NAN)));
    return add_f64(positive, keep_f64(is_negative, neg_f64(set1_f64(NAN))));
}
static ALWAYS_INLINE sum_f32 exp_sum_scaled_f32(sum_f32 sum) {
    const v_f64 low = sum.hi[0], high = sum.hi[1], scale = set1_f64(0x1p896);
    const sum_f32 scaled = {{mul_f64(low, scale), mul_f64(high, scale)}};
    if (all_f64(ge_f64(set1_f64(0x1p-771), max_f64(low, high)))) return scaled;
    return (sum_f32){{add_f64(scaled.hi[0], nan_lanes_f64(low)), add_f64(scaled.hi[1], nan_lanes_f64(high))}};
}
#else
typedef sum_f32 exp_sum_f32;
static ALWAYS_INLINE exp_sum_f32 exp_sum_zero_f32(void) { return sum_zero_f32(); }
static ALWAYS_INLINE void exp_sum_add_f32(exp_sum_f32 *sum, v_f32 v) { sum_add_f32(sum, v); }
/* in memory, halves need no taking apart */
static ALWAYS_INLINE void exp_sum_add_at_f32(exp_sum_f32 *sum, const float *p) {
    sum->hi[0] = add_f64(sum->hi[0], widen_at_f32(p));
    sum->hi[1] = add_f64(sum->hi[1], widen_at_f32(p + LANES_f64));
}
static ALWAYS_INLINE sum_f32 exp_sum_in_order_f32(exp_sum_f32 sum) { return sum; }
static ALWAYS_INLINE sum_f32 exp_sum_scaled_f32(sum_f32 sum) { return sum; }
#endif
static ALWAYS_INLINE sum_f32 exp_sum_total_f32(exp_sum_f32 sum) {
    return exp_sum_scaled_f32(exp_sum_in_order_f32(sum));
}

/* An exponential and what its rounding left, where that is known. */
static ALWAYS_INLINE void exp_sum_add_pair_f32(exp_sum_f32 *sum, v_f32 v, v_f32 low) {
    (void)low;
    exp_sum_add_f32(sum, v);
}
static ALWAYS_INLINE void exp_sum_add_pair_f64(exp_sum_f64 *sum, v_f64 v, v_f64 low) {
    exp_sum_add_f64(sum, v);
    sum->lo[0] = add_f64(sum->lo[0], low);
}

/* One accumulator of each of LANES rows, to be reduced to one sum a row, a row a lane. */
typedef struct {
    double hi[LANES_f32][LANES_f64];
} row_sums_f32;

typedef struct {
    double hi[LANES_f64][LANES_f64], lo[LANES_f64][LANES_f64];
} row_sums_f64;

static ALWAYS_INLINE void put_row_sum_f32(row_sums_f32 *rows, ptrdiff_t row, sum_f32 sum) {
    store_f64(rows->hi[row], add_f64(sum.hi[0], sum.hi[1]));
}

static ALWAYS_INLINE void put_row_sum_f64(row_sums_f64 *rows, ptrdiff_t row, sum_f64 sum) {
    store_f64(rows->hi[row], sum.hi[0]);
    store_f64(rows->lo[row], sum.lo[0]);
}

/* Eight rows of eight lanes, transposed. */
static ALWAYS_INLINE void transposed_f64(const double *rows, v_f64 lane[8]) {
    for (int i = 0; i < LANES_f64; i += BLOCK_f64) load_transposed_f64(rows + i, LANES_f64, lane + i);
}

static ALWAYS_INLINE v_f64 add_across_f64(const double *rows) {
    v_f64 lane[LANES_f64];
    transposed_f64(rows, lane);
    for (int width = LANES_f64 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] = add_f64(lane[i], lane[i + width]);
    return lane[0];
}

/* The same of one row, in the same order. */
static ALWAYS_INLINE double add_lanes_f64(const double *row) {
    double lane[LANES_f64];
    for (int i = 0; i < LANES_f64; i++) lane[i] = row[i];
    for (int width = LANES_f64 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

/* An infinite sum lost nothing, and its low part is NaN. */
static ALWAYS_INLINE double exact_sum(double hi, double lo) { return hi - hi == 0 ? hi + lo : hi; }

/* The sum of all lanes. */
static ALWAYS_INLINE double sum_of_lanes_f32(const sum_f32 *sum) {
    double lane[LANES_f64];
    store_f64(lane, add_f64(sum->hi[0], sum->hi[1]));
    return add_lanes_f64(lane);
}

/* The sum of all lanes of his + los, to *hi and *lo; what *lo is means nothing where *hi is not finite. */
static ALWAYS_INLINE void join_lanes_f64(v_f64 his, v_f64 los, double *hi, double *lo) {
    double lane[LANES_f64];
    store_f64(lane, los);
    *lo = add_lanes_f64(lane);
    store_f64(lane, his);
    for (int width = LANES_f64 / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) add_exactly(lane + i, lo, lane[i + width]);
    *hi = lane[0];
}

static ALWAYS_INLINE double sum_of_lanes_f64(const sum_f64 *sum) {
    double hi, lo;
    join_lanes_f64(sum->hi[0], sum->lo[0], &hi, &lo);
    return exact_sum(hi, lo);
}

/* The sums of `count` rows, 0 for lanes past the first half that have none. One row alone has no others to be
 * transposed with. */
static ALWAYS_INLINE sum_f32 row_sums_total_f32(row_sums_f32 *rows, ptrdiff_t count) {
    if (count == 1) return (sum_f32){{set1_f64(add_lanes_f64(rows->hi[0])), set1_f64(0)}};
    for (ptrdiff_t i = count; i < LANES_f32; i++) put_row_sum_f32(rows, i, sum_zero_f32());
    return (sum_f32){{add_across_f64(rows->hi[0]), add_across_f64(rows->hi[LANES_f64])}};
}

static ALWAYS_INLINE sum_f64 row_sums_total_f64(row_sums_f64 *rows, ptrdiff_t count) {
    if (count == 1) {
        double hi[LANES_f64], error = add_lanes_f64(rows->lo[0]);
        for (int i = 0; i < LANES_f64; i++) hi[i] = rows->hi[0][i];
        for (int width = LANES_f64 / 2; width > 0; width /= 2)
            for (int i = 0; i < width; i++) add_exactly(hi + i, &error, hi[i + width]);
        return (sum_f64){{set1_f64(hi[0])}, {set1_f64(error)}};
    }
    for (ptrdiff_t i = count; i < LANES_f64; i++) put_row_sum_f64(rows, i, sum_zero_f64());
    v_f64 lane[LANES_f64], error = add_across_f64(rows->lo[0]);
    transposed_f64(rows->hi[0], lane);
    for (int width = LANES_f64 / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            pair_f64 both = two_sum_f64(lane[i], lane[i + width]);
            lane[i] = both.hi;
            error = add_f64(error, both.lo);
        }
    }
    return (sum_f64){{lane[0]}, {error}};
}

/* The same of exponentials. */
static ALWAYS_INLINE void put_row_exp_sum_f32(row_sums_f32 *rows, ptrdiff_t row, exp_sum_f32 sum) {
    put_row_sum_f32(rows, row, exp_sum_in_order_f32(sum));
}
static ALWAYS_INLINE void put_row_exp_sum_f64(row_sums_f64 *rows, ptrdiff_t row, exp_sum_f64 sum) {
    put_row_sum_f64(rows, row, sum);
}
static ALWAYS_INLINE sum_f32 row_exp_sums_total_f32(row_sums_f32 *rows, ptrdiff_t count) {
    return exp_sum_scaled_f32(row_sums_total_f32(rows, count));
}
static ALWAYS_INLINE sum_f64 row_exp_sums_total_f64(row_sums_f64 *rows, ptrdiff_t count) {
    return row_sums_total_f64(rows, count);
}

static ALWAYS_INLINE double sum_low_f32(const sum_f32 *sum) {
    (void)sum; /* float64 has all that float32 needs */
    return 0;
}

static ALWAYS_INLINE double sum_low_f64(const sum_f64 *sum) {
    double lane[LANES_f64];
    store_f64(lane, sum->lo[0]);
    return lane[0];
}

#endif
