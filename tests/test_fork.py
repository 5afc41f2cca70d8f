"""A child forked from a process that has run in parallel never hangs, and computes the same bits.

Each script runs in a process of its own under a time limit; libgomp hangs in a child forked after a
region.
"""

import os
import sys

import pytest

from subprocesses import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")

PREAMBLE = """
import os, sys, threading, warnings
# Forking a process that has threads is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F

x = np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32)
t = np.random.default_rng(1).integers(0, 1000, 2000)

def results():
    losses = F.cross_entropy(x, t, reduction="none")
    gradient = F.cross_entropy_backward(1.0, x, t)
    return [F.softmax(x, 0), F.softmax(x, 1), losses, gradient, F.softmax_backward(x, gradient, 1)]

def agrees(wanted):
    return all(np.array_equal(found, one) for found, one in zip(results(), wanted, strict=True))

def succeeded(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def child_agrees(wanted):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if agrees(wanted) else 3)
    return succeeded(pid)

def works_in_parallel():
    # Threads of this process, as the kernel counts them, once a team has been opened.
    agrees(wanted)
    return fastsoftmax.get_num_threads() == 2 and (
        fastsoftmax.show_config()["openmp"] == "no" or len(os.listdir("/proc/self/task")) >= 2
    )

in_parallel = works_in_parallel if sys.platform == "linux" else lambda: agrees(wanted)
"""

SCRIPTS = {
    "after a parallel region": """
wanted = results()
assert child_agrees(wanted)
assert in_parallel()  # the parent goes on
assert child_agrees(wanted)
""",
    "before any region": """
with fastsoftmax.num_threads(1):
    wanted = results()
assert child_agrees(wanted)
assert in_parallel()
""",
    "a grandchild": """
wanted = results()
pid = os.fork()
if pid == 0:
    os._exit(0 if agrees(wanted) and child_agrees(wanted) else 3)
assert succeeded(pid)
assert in_parallel()
""",
    "from another thread": """
wanted = results()
found = []
thread = threading.Thread(target=lambda: (F.softmax(x, 1), found.append(child_agrees(wanted))))
thread.start()
thread.join()
assert found == [True]
""",
    "while another thread computes": """
wanted = results()
stop, rounds = threading.Event(), []
def compute():
    while not stop.is_set():
        rounds.append(np.array_equal(F.softmax(x, 1), wanted[1]))
threads = [threading.Thread(target=compute) for _ in range(2)]
[thread.start() for thread in threads]
try:
    for _ in range(5):
        done = len(rounds)
        while len(rounds) < done + 2:  # they are at it
            stop.wait(0.001)
        assert child_agrees(wanted)
finally:
    stop.set()
    [thread.join() for thread in threads]
assert all(rounds) and in_parallel()
""",
    "threads in the child": """
from concurrent.futures import ThreadPoolExecutor
wanted = results()
pid = os.fork()
if pid == 0:
    with ThreadPoolExecutor(4) as pool:
        same = list(pool.map(lambda _: agrees(wanted), range(8)))
    os._exit(0 if all(same) else 3)
assert succeeded(pid)
""",
    "multiprocessing": """
import multiprocessing
wanted = results()
with multiprocessing.get_context("fork").Pool(2) as pool:
    for dim in (0, 1):
        found = pool.starmap(F.softmax, [(x, dim)] * 3)
        assert all(np.array_equal(one, wanted[dim]) for one in found)
assert in_parallel()
""",
    # Where fork is no way to start a process any more (spawn), the child opens teams of its own.
    **{
        f"ProcessPoolExecutor by {method}": f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
wanted = results()
with ProcessPoolExecutor(2, multiprocessing.get_context("{method}")) as pool:
    for dim in (0, 1):
        found = list(pool.map(F.softmax, [x] * 3, [dim] * 3))
        assert all(np.array_equal(one, wanted[dim]) for one in found)
    count = pool.submit(fastsoftmax.get_num_threads).result()
assert count == (1 if "{method}" == "fork" else fastsoftmax.get_num_threads())
assert in_parallel()
"""
        for method in ("fork", "forkserver", "spawn")
    },
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_forked(name):
    assert _run(SCRIPTS[name]) == "done"


def _run(script):
    isa = os.environ.get("FASTSOFTMAX_ISA")
    environment = {"OMP_NUM_THREADS": "2", "FASTSOFTMAX_ISA": isa}
    return run_python(PREAMBLE + script + "print('done')", environment=environment).stdout.strip()


INTO_A_NAMESPACE = """
import ctypes, os
if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
    print("not allowed", flush=True)
    os._exit(0)
pid = os.fork()
if pid:
    os._exit(0 if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else 3)
assert os.getpid() == 1
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
def test_a_child_with_the_process_id_of_its_parent():
    """Both are the first of a namespace, as a container's main process and a sandbox inside it."""
    script = INTO_A_NAMESPACE + PREAMBLE + "wanted = results()\n"
    script += INTO_A_NAMESPACE + "assert agrees(wanted)\nprint('done')"
    found = run_python(script, environment={"OMP_NUM_THREADS": "2"}).stdout.strip()
    if found == "not allowed":
        pytest.skip("only the superuser may make a namespace of process ids")
    assert found == "done"
