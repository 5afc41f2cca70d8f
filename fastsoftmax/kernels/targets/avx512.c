/* x86-64-v4: AVX-512 F, BW, DQ, VL. */
#include "vec_avx512.h"

#include "../body/body.h"

DEFINE_TABLE(fs_table_avx512)
