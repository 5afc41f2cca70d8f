"""More than 2**31 elements, every result of them checked: up to 8.6 GB of memory, some minutes.

    python tests/huge.py [case ...]

An input repeats a block of rows, so that the exact results are weighted sums over the block, and
repeat too. Results of the first block are held to their bound, all others to the first's bits.
Works in place, where not said otherwise. Exits with 1 if a result is wrong.
"""

import resource
import sys
import time

import numpy as np

import inputs
import oracle
import ulp
from bounds import bound
from checks import bits, call

LONG = 99_991  # elements of a block that is one row: a prime, so that parts meet it everywhere


def contiguous(x):
    return x


def one_row(x):
    return x.reshape(-1)


def two_rows(x):
    return x.reshape(2, -1)


def blocks(x):
    return x.reshape(5, -1, x.shape[1])


def backwards(x):
    return x[::-1, ::-1]


ROWS, COLUMNS, ALL = (0,), (1,), (0, 1)

# name: rows and columns of the buffer, rows of the block, the view of the buffer that is the input,
# dim, what that is of the block, and how often the sums over its rows are taken anew
CASES = {
    "one row": (21_478, LONG, 1, one_row, 0, ALL, 1),
    "two long rows": (21_478, LONG, 1, two_rows, 1, ALL, 2),
    "many rows": (2_147_500, 1000, 100, contiguous, 1, COLUMNS, 1),
    "many rows, new result": (2_147_500, 1000, 100, contiguous, 1, COLUMNS, 1),
    "short rows": (214_750_000, 10, 10_000, contiguous, 1, COLUMNS, 1),
    "first dim": (2_147_500, 1000, 100, contiguous, 0, ROWS, 1),
    "first dim, tall and narrow": (715_830_000, 3, 10_000, contiguous, 0, ROWS, 1),
    "middle dim": (2_147_500, 1000, 100, blocks, 1, ROWS, 5),
    "both dims, masked": (2_147_500, 1000, 100, contiguous, (0, 1), ALL, 1),
    "many rows, masked": (2_147_500, 1000, 100, contiguous, 1, COLUMNS, 1),
    "backwards": (2_147_500, 1000, 100, backwards, 1, COLUMNS, 1),
    "byte-swapped row, new result": (21_478, LONG, 1, one_row, 0, ALL, 1),
}
KINDS = [("softmax", "bfloat16"), ("log_softmax", "float16"), ("logsumexp", "float16")]


def repeat(block, buffer):
    """In steps of some size, which are quicker than blocks of a few elements."""
    times = max(1, 1_000_000 // block.size)
    large = np.tile(block, (times, 1))
    for row in range(0, len(buffer), len(large)):
        buffer[row : row + len(large)] = large[: len(buffer) - row]


def exact(op, block, axes, times, mask):
    """As `oracle.exact` of that block `times` times, and the maxima that logsumexp counts by."""
    x = block.astype(np.longdouble)
    top = x.max(axis=axes, keepdims=True, where=mask, initial=-np.inf)
    exponentials = np.where(mask, np.exp(x - top), 0)
    total = times * exponentials.sum(axis=axes, keepdims=True)
    largest = None
    if op == "softmax":
        value = exponentials / total
    elif op == "log_softmax":
        value = np.where(mask, x - top - np.log(total), -np.inf)
    else:
        value = top + np.log(total)
        largest = np.abs(top).astype(np.float64)
    return oracle.Exact(value.astype(np.float64), 0.0, 0), largest


def differing(result, first):
    """How many elements differ in their bits from the block of them that comes first."""
    step = max(1, 10_000_000 // first.size)
    first = bits(first)
    return sum(
        int(np.count_nonzero(bits(result[i : i + step]) != first))
        for i in range(0, len(result), step)
    )


def check(name, op, dtype):
    """The worst error in ULP, and how many results differ from those of the first block."""
    rows, columns, height, view, dim, axes, groups = CASES[name]
    block = inputs.normal(dtype, (height, columns), seed=columns)
    buffer = np.empty((rows, columns), block.dtype)
    repeat(block, buffer)
    given, options = view(buffer), {}
    mask = np.ones((1, columns), bool)
    if "masked" in name:
        mask[0, ::3] = False
        options["where"] = mask
    if "byte-swapped" in name:
        buffer.byteswap(inplace=True)
        given = given.view(given.dtype.newbyteorder())
    elif op != "logsumexp" and "new" not in name:
        options["out"] = given
    result = call(op, given, dim, **options)
    if "out" in options:
        result = buffer
    elif view is backwards:
        result = result[::-1]
    times = rows // height // groups if axes != COLUMNS else 1
    wanted, largest = exact(op, block, axes, times, mask)
    result = result.reshape(-1, *wanted.hi.shape)
    error = ulp.error(result[0], wanted, largest)
    return float(error.max()), differing(result, result[0])


def main():
    failures = 0
    for name in sys.argv[1:] or CASES:
        for op, dtype in KINDS:
            start = time.perf_counter()
            error, others = check(name, op, dtype)
            failed = not error <= bound(op, dtype) or others > 0
            failures += failed
            print(
                f"{name:30} {op:12} {dtype:9} {error:8.4f} ULP, {others} differ"
                f", {time.perf_counter() - start:.0f} s{': FAILED' if failed else ''}",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"at most {peak:.1f} GiB in use; {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
