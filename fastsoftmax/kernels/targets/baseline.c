/* Any CPU: plain C11. */
#include "vec_baseline.h"

#include "../body/body.h"

DEFINE_TABLE(fs_table_baseline)
