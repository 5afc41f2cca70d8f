/* Every algorithm for one element type; included by body.h with S and T set. */
#include "rows.h"

#include "columns.h"

#include "short_rows.h"

#include "long_rows.h"

#include "backward.h"

#include "entries.h"

#include "losses.h"
