"""Memory beyond the input and the output stays under 4 MiB, whatever the input's layout.

One process measures every layout, resetting the peak of its resident memory before each call. An
input is 64 MiB, so that a copy of it, or of a part of it, stands out; and whatever malloc hands out
in 64 KiB or more is new memory, so that none of it hides in what earlier calls have freed.
"""

import json
import sys
import tracemalloc

import numpy as np
import pytest

from checks import OPS, call
from subprocesses import run_python

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak is read from /proc"
)

LIMIT = 4096  # KiB
INPUT = 65536  # KiB

SCRIPT = """
import json
import sys
import numpy as np
import fastsoftmax.functional as F

# Of n * 4096 elements of 4 bytes.
LAYOUTS = {
    "contiguous": lambda n: (np.ones((n, 4096), "f4"), 1),
    "first dim": lambda n: (np.ones((n, 4096), "f4"), 0),
    "short rows": lambda n: (np.ones((n * 400, 10), "f4"), 1),
    "tall": lambda n: (np.ones((n * 1300, 3), "f4"), 0),
    "one long row": lambda n: (np.ones(n * 4096, "f4"), 0),
    "transposed": lambda n: (np.ones((4096, n), "f4").T, 1),
    "every second": lambda n: (np.ones((n, 8192), "f4")[:, ::2], 1),
    "every second of a long row": lambda n: (np.ones(n * 8192, "f4")[::2], 0),
    "every second row": lambda n: (np.ones((2 * n, 4096), "f4")[::2], 0),
    "backwards": lambda n: (np.ones((n, 4096), "f4")[::-1, ::-1], 1),
    "byte-swapped": lambda n: (np.ones((n, 4096), ">f4"), 1),
    "unaligned": lambda n: (np.ones(n * 16384 + 1, "u1")[1:].view("f4").reshape(n, 4096), 1),
    "permuted": lambda n: (np.ones((64, n // 16, 1024), "f4").transpose(1, 2, 0), 1),
    "two dims": lambda n: (np.ones((64, n // 16, 1024), "f4"), (0, 2)),
    "broadcast": lambda n: (np.broadcast_to(np.ones((1, 4096), "f4"), (n, 4096)), 1),
    "float16": lambda n: (np.ones((2 * n, 4096), "f2"), 1),
    "float16, first dim": lambda n: (np.ones((2 * n, 4096), "f2"), 0),
    "float16, one long row": lambda n: (np.ones(n * 8192, "f2"), 0),
    "int32": lambda n: (np.ones((n, 4096), "i4"), 1),
    "masked": lambda n: (np.ones((n, 4096), "f4"), 1),
    "masked long row": lambda n: (np.ones(n * 4096, "f4"), 0),
    "dtype": lambda n: (np.ones((n, 4096), "f4"), 1),
}

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

def beyond(layout, op, n):
    x, dim = LAYOUTS[layout](n)
    options = {}
    if layout.startswith("masked"):
        options["where"] = np.broadcast_to(np.arange(x.shape[-1]) % 3 > 0, x.shape).copy()
    if layout == "dtype" and op != "logsumexp":
        options["dtype"] = np.float64
    kind = np.dtype("f8" if x.dtype.kind == "i" or "dtype" in options else x.dtype.str[1:])
    axes = dim if isinstance(dim, tuple) else (dim % x.ndim,)
    kept = [n for i, n in enumerate(x.shape) if op != "logsumexp" or i not in axes]
    out = np.full(kept, 7, kind)
    return peak(lambda: getattr(F, op)(x, dim, out=out, **options))

def peak(call):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    call()
    return status("VmHWM") - before

# Threads of the pool and code read in on first use are part of the process, not of a call.
F.softmax(np.ones((2000, 1000), "f4"), 1)
for op in sys.argv[1:]:
    for layout in LAYOUTS:
        beyond(layout, op, 64)
        print(json.dumps([layout, op, beyond(layout, op, 4096)]))
x, dim = LAYOUTS["contiguous"](4096)
print(json.dumps(["copy", "", peak(x.copy)]))
"""

LAYOUTS = [line.split('"')[1] for line in SCRIPT.splitlines() if '": lambda' in line]


@pytest.fixture(scope="module")
def used():
    environment = {"OMP_NUM_THREADS": "2", "MALLOC_MMAP_THRESHOLD_": "65536"}
    lines = run_python(SCRIPT, *OPS, environment=environment).stdout.splitlines()
    return {(layout, op): kib for layout, op, kib in map(json.loads, lines)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", OPS)
def test_peak_memory(used, op, layout):
    kib = used[layout, op]
    assert kib < LIMIT, f"{op} took {kib} KiB beyond the input and the output"


def test_a_copy_is_seen(used):
    # the kernel counts pages in batches, so it may be some out
    assert abs(used["copy", ""] - INPUT) < LIMIT / 4


def test_memory_does_not_grow_with_the_number_of_parts():
    peaks = []
    for size in (1 << 20, 1 << 27):
        x = np.zeros(size, "u1")
        tracemalloc.start()
        try:
            call("logsumexp", x, 0)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000, f"{peaks} bytes"
