/* The one body of every target. A target includes its vector header, then this, then names its table.
 *
 * Reading order: exp.h (one element), sum.h and log.h and finish.h (one row), row_passes.h, rows.h, softmax_rows.h,
 * log_rows.h, column_passes.h, columns.h, adjacent_rows.h, short_groups.h, short_rows.h, long_rows.h (the layouts),
 * gradient.h, backward.h and backward_columns.h (the gradients), losses.h, line_passes.h, class_losses.h and
 * class_gradients.h (the losses), entries.h (the doors). S(name) is name_f32 for the element type as stored, T(name)
 * the same for the type it is computed in.
 */
#include "../kernels.h"

#include <math.h>

#include "fpenv.h"

#include "element.h"

#include "exp.h"

#include "sum.h"

#include "log.h"

#include "finish.h"

#include "gradient.h"

#include "gather.h"

#include "class_losses.h"

/* Strips of columns stay in the first cache, unless that would make them narrower than STRIP_COLUMNS. What they pack
 * next, and write next, is fetched AHEAD lines early, and what they read in place up to FAR_AHEAD: no hardware does,
 * each line being in another page. */
enum { STRIP_BYTES = 32 * 1024, STRIP_COLUMNS = 128, AHEAD = 8, FAR_AHEAD = 12 };

/* The second cache as columns see it, in bytes: 16 ways of 64 KiB, as Intel's servers have. (AMD's since Zen 4 is as
 * large, its 8 ways twice as long; Zen 3's half as large.) */
enum { CACHE_BYTES = 1024 * 1024, CACHE_WAY = 64 * 1024 };
/* The first: 8 ways or more of 4 KiB. */
enum { FIRST_BYTES = 32 * 1024, FIRST_WAY = 4 * 1024 };

/* So many vectors of columns take each stage together: a stage that is a chain of dependent steps, as the division by
 * a sum, overlaps with those of others. */
enum { BATCH = 2 };

/* Columns that cross so many bytes write each of their lines once, and no cache keeps it until it is wanted: stores
 * past the caches save reading the lines first. So do the gradients' rows, which read twice as much as they write. */
enum { STREAM_FROM = 1024 * 1024 };
/* Columns of fewer elements than this are few long lines, which the hardware fetches as well as any row, and where
 * the results end in a cache they are quicker by ordinary stores: only so many bytes of them go past the caches. */
enum { FEW_LINES = 40, STREAM_FEW_FROM = 8 * 1024 * 1024 };

/* How columns are stored: a cache has their lines; or these are fetched early; or whole lines, aligned, go past the
 * caches. */
enum { NEAR, FETCHED, PAST_CACHES };

/* The rows of a group are so many bytes: the first cache holds what the last stage reads again, the results and what
 * is fetched meanwhile. Where no stage reads anything again, more rows share what a group costs. */
enum { GROUP_BYTES = 16 * 1024, READ_GROUP_BYTES = 64 * 1024 };

/* Whether every group of rows may stay open (rows.h), so that one loop does for those that do and that do not. */
enum { ALL_OPEN = OPEN_ROW == 1 };

/* Groups of longer rows do not stay open (rows.h): the second cache would no longer have what ends them, exponentials
 * of the type that is computed in, or the rows beside their results. */
enum { OPEN_BYTES = 640 * 1024 };

/* What rows of softmax and of the gradients are fetched ahead, in elements: rows, or as much of a long one, which is
 * soon reached. */
enum { READ_AHEAD_f32 = 1024, READ_AHEAD_f64 = 2048 };

/* How far ahead the lines of their results are fetched, in elements: what is stored next is in the first cache. */
enum { STORE_AHEAD = 256 };

/* A row by itself costs its maximum and its sum across the lanes. Where logarithms are taken in float32, that
 * outweighs a transposition for longer rows than in softmax: rows shorter than this go a row to a lane, too, and
 * still longer ones if nothing of their size is written. */
enum { SHORT_LOG_ROW_f32 = 80, SHORT_LOG_ROW_f64 = FS_SHORT_ROW };
enum { SHORT_READ_ROW_f32 = 112, SHORT_READ_ROW_f64 = FS_SHORT_ROW };

/* So many groups of short rows, each of LANES of them, pass each stage together: each is a chain of dependent steps,
 * and theirs overlap. Meanwhile the rows that follow are fetched, and the lines of the results. */
enum { GROUPS = 4 };

/* Shorter rows of softmax that lie end to end have their exponentials taken of whole vectors (adjacent_rows.h), where
 * the target can. Longer ones gain little by that in a cache, and from memory they lose: it leaves less time to fetch
 * them in. */
#ifdef HAS_PICK
enum { ADJACENT_ROW = 21 };
#else
enum { ADJACENT_ROW = 0 };
#endif

/* a group of short rows, packed and, of a narrower type, wide */
_Static_assert(2 * SHORT_READ_ROW_f32 * LANES_f32 * sizeof(float) <= FS_ROWS_SCRATCH, "FS_ROWS_SCRATCH");
_Static_assert(2 * SHORT_READ_ROW_f64 * LANES_f64 * sizeof(double) <= FS_ROWS_SCRATCH, "FS_ROWS_SCRATCH");

/* begun vectors are at most TOGETHER, and low parts do not wait in memory (row_passes.h) */
_Static_assert(OVERLAP_f32 <= (int)TOGETHER_f32 && OVERLAP_f64 <= (int)TOGETHER_f64, "OVERLAP");
_Static_assert(SUMS_FROM_MEMORY_f64 == 0, "SUMS_FROM_MEMORY");

/* A row of the gradients has little to do at its end: where a vector is few registers, rows of one vector and
 * more are sooner taken as they are than a row to a lane. */
enum { SHORT_GRADIENT_ROW_f32 = OPEN_ROW ? LANES_f32 : FS_SHORT_ROW };
enum { SHORT_GRADIENT_ROW_f64 = OPEN_ROW ? LANES_f64 : FS_SHORT_ROW };

/* Their rows of fewer lines are not stored past the caches: each end of a row costs two stores of parts of a line. */
enum { STREAMED_LINES = 6 };

/* The gradients' rows of so many elements are no longer fetched whole: they would leave the first cache at once. */
enum { LONG_GRADIENT_ROW = 16 * 1024 };

/* The gradients' columns of fewer lines than this are taken a few vectors at a time, others in strips. These are no
 * wider than BACKWARD_COLUMNS, and then fit half of the second cache. */
enum { FEW_GRADIENT_LINES = 24, BACKWARD_STRIP = 256 * 1024, BACKWARD_COLUMNS = 512 };

#define COMPUTED_IN /* S is T */
#define S(name) name##_f32
#define T(name) name##_f32
#include "algorithms.h"
#undef S
#undef T

#define S(name) name##_f64
#define T(name) name##_f64
#include "algorithms.h"
#undef S
#undef T

#undef COMPUTED_IN
#define S(name) name##_f16
#define T(name) name##_f32
#include "algorithms.h"
#undef S
#undef T

#define S(name) name##_bf16
#define T(name) name##_f32
#include "algorithms.h"
#undef S
#undef T

#define KERNELS(NAME, TYPE)                                                                                          \
    {fs_##NAME##_rows_##TYPE, fs_##NAME##_columns_##TYPE, fs_##NAME##_reduce_##TYPE, fs_merge_##TYPE,                \
     fs_##NAME##_finish_##TYPE}
#define KERNELS_OF(NAME)                                                                                             \
    {[FS_F32] = KERNELS(NAME, f32),                                                                                  \
     [FS_F64] = KERNELS(NAME, f64),                                                                                  \
     [FS_F16] = KERNELS(NAME, f16),                                                                                  \
     [FS_BF16] = KERNELS(NAME, bf16)}

#define LOSSES(TYPE) fs_parts_##TYPE, fs_pick_##TYPE, fs_put_##TYPE, fs_check_classes, fs_class_losses, fs_sum
#define LOSSES_OF(TYPE)                                                                                              \
    {LOSSES(TYPE),                                                                                                   \
     fs_weigh_##TYPE,                                                                                                \
     fs_scaled_##TYPE,                                                                                               \
     fs_place_##TYPE,                                                                                                \
     fs_subtract_##TYPE,                                                                                             \
     fs_class_gradients_##TYPE,                                                                                      \
     NULL,                                                                                                           \
     NULL}
#define LOSSES_OF_HALF(TYPE) {LOSSES(TYPE), NULL, NULL, NULL, NULL, NULL, fs_widen_##TYPE, fs_narrow_##TYPE}

#define BACKWARD(NAME, TYPE) {fs_##NAME##_backward_rows_##TYPE, fs_##NAME##_backward_columns_##TYPE}
#define BACKWARD_OF(NAME)                                                                                            \
    {[FS_F32] = BACKWARD(NAME, f32),                                                                                 \
     [FS_F64] = BACKWARD(NAME, f64),                                                                                 \
     [FS_F16] = BACKWARD(NAME, f16),                                                                                 \
     [FS_BF16] = BACKWARD(NAME, bf16)}

#define DEFINE_TABLE(TABLE)                                                                                          \
    extern const fs_table TABLE;                                                                                     \
    const fs_table TABLE = {ISA_NAME,                                                                                \
                            {                                                                                        \
                                [FS_SOFTMAX] = KERNELS_OF(softmax),                                                  \
                                [FS_LOG_SOFTMAX] = KERNELS_OF(log_softmax),                                          \
                                [FS_SOFTMIN] = KERNELS_OF(softmin),                                                  \
                                [FS_LOGSUMEXP] = KERNELS_OF(logsumexp),                                              \
                            },                                                                                       \
                            {                                                                                        \
                                [FS_F32] = LOSSES_OF(f32),                                                           \
                                [FS_F64] = LOSSES_OF(f64),                                                           \
                                [FS_F16] = LOSSES_OF_HALF(f16),                                                      \
                                [FS_BF16] = LOSSES_OF_HALF(bf16),                                                    \
                            },                                                                                       \
                            {                                                                                        \
                                [FS_SOFTMAX_BACKWARD] = BACKWARD_OF(softmax),                                        \
                                [FS_LOG_SOFTMAX_BACKWARD] = BACKWARD_OF(log_softmax),                                \
                            },                                                                                       \
                            fs_gather};
