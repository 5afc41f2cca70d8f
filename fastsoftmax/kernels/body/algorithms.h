/* Every algorithm for one element type; included by body.h with S and T set. */
#include "row_passes.h"

#include "rows.h"

#include "softmax_rows.h"

#include "log_rows.h"

#ifdef COMPUTED_IN
#include "column_passes.h"
#endif

#include "columns.h"

#ifdef COMPUTED_IN
#ifdef HAS_PICK
#include "adjacent_rows.h"
#endif

#include "short_groups.h"
#endif

#include "short_rows.h"

#include "long_rows.h"

#include "backward.h"

#include "backward_columns.h"

#include "entries.h"

#include "losses.h"

#ifdef COMPUTED_IN
#include "line_passes.h"

#include "class_gradients.h"
#endif
