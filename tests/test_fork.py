"""A child forked from a process that has run in parallel never hangs, and computes the same bits.

Each script runs in a process of its own under a time limit; libgomp hangs in a child forked after a
region.
"""

import os

import pytest

from subprocesses import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

PREAMBLE = """
import os, sys, warnings
# Forking a process that has threads is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F

x = np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32)

def child_agrees(wanted):
    pid = os.fork()
    if pid == 0:
        same = all(np.array_equal(F.softmax(x, d), w) for d, w in enumerate(wanted))
        os._exit(0 if same else 3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""

SCRIPTS = {
    "after a parallel region": """
wanted = [F.softmax(x, 0), F.softmax(x, 1)]
assert child_agrees(wanted)
assert np.array_equal(F.softmax(x, 1), wanted[1])  # the parent goes on in parallel
assert child_agrees(wanted)
""",
    "before any region": """
with fastsoftmax.num_threads(1):
    wanted = [F.softmax(x, 0), F.softmax(x, 1)]
assert child_agrees(wanted)
assert np.array_equal(F.softmax(x, 1), wanted[1])
""",
    "a grandchild": """
wanted = [F.softmax(x, 0), F.softmax(x, 1)]
pid = os.fork()
if pid == 0:
    F.softmax(x, 1)
    os._exit(0 if child_agrees(wanted) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
    "from another thread": """
import threading
wanted = [F.softmax(x, 0), F.softmax(x, 1)]
found = []
t = threading.Thread(target=lambda: (F.softmax(x, 1), found.append(child_agrees(wanted))))
t.start(); t.join()
assert found == [True]
""",
    "multiprocessing": """
import multiprocessing
wanted = [F.softmax(x, 0), F.softmax(x, 1)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    for d, w in enumerate(wanted):
        assert all(np.array_equal(r, w) for r in pool.starmap(F.softmax, [(x, d)] * 3))
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_forked(name):
    result = run_python(
        PREAMBLE + SCRIPTS[name] + "print('done')", environment={"OMP_NUM_THREADS": "2"}
    )
    assert result.stdout.strip() == "done"
