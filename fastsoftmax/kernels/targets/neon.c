/* AArch64: NEON with FMA is part of it. */
#include "vec_neon.h"

#include "../body/body.h"

DEFINE_TABLE(fs_table_neon)
