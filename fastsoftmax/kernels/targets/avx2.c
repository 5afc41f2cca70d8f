/* x86-64-v3: AVX2, FMA, F16C. */
#include "vec_avx2.h"

#include "../body/body.h"

DEFINE_TABLE(fs_table_avx2)
