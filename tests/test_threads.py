"""How many threads, who says so, and calls from many Python threads at once."""

import importlib.util
import itertools
import sys
import threading

import pytest

import fastsoftmax
from fastsoftmax import _core
from subprocesses import run_python

needs_openmp = pytest.mark.skipif(
    fastsoftmax.show_config()["openmp"] == "no", reason="built without OpenMP: always one thread"
)


def _threads_of(script, **environment):
    return int(run_python(script, environment=environment).stdout)


@pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None, reason="this Python has no module _testcapi"
)
def test_no_memory_for_what_is_kept_of_a_thread():
    run_python(
        """
import _testcapi, _thread, time
import fastsoftmax

found = []

def first_use():
    kept = [{} for _ in range(500)]  # or CPython has one ready
    _testcapi.set_nomemory(0, 0)
    try:
        fastsoftmax.get_num_threads()
    except MemoryError:
        error = "MemoryError"
    finally:
        _testcapi.remove_mem_hooks()
    found.append(error)

_thread.start_new_thread(first_use, ())  # a threading.Thread would have had its dict made
deadline = time.monotonic() + 60
while not found and time.monotonic() < deadline:
    time.sleep(0.01)
assert found == ["MemoryError"], found
"""
    )


def test_the_context_lasts_as_long_as_its_block():
    before = fastsoftmax.get_num_threads()
    with fastsoftmax.num_threads(1):
        assert fastsoftmax.get_num_threads() == 1
        with fastsoftmax.num_threads(before):
            assert fastsoftmax.get_num_threads() == before
        assert fastsoftmax.get_num_threads() == 1
    assert fastsoftmax.get_num_threads() == before


def test_the_context_ends_with_an_exception():
    before = fastsoftmax.get_num_threads()
    with pytest.raises(ZeroDivisionError), fastsoftmax.num_threads(1):
        raise ZeroDivisionError
    assert fastsoftmax.get_num_threads() == before


def test_the_context_holds_for_its_python_thread_only():
    before = fastsoftmax.get_num_threads()
    seen = []
    with fastsoftmax.num_threads(1):
        other = threading.Thread(target=lambda: seen.append(fastsoftmax.get_num_threads()))
        other.start()
        other.join()
        assert fastsoftmax.get_num_threads() == 1
    assert seen == [before]


@pytest.mark.parametrize("wrong", [0, -1, -(2**40)])
def test_counts_that_are_not_positive(wrong):
    with pytest.raises(ValueError, match="thread"):
        fastsoftmax.set_num_threads(wrong)
    with pytest.raises(ValueError, match="thread"), fastsoftmax.num_threads(wrong):
        pass


@pytest.mark.parametrize("wrong", [1.0, "2", [1]])
def test_counts_that_are_no_integers(wrong):
    before = fastsoftmax.get_num_threads()
    with pytest.raises(TypeError):
        fastsoftmax.set_num_threads(wrong)
    with pytest.raises(TypeError), fastsoftmax.num_threads(wrong):
        pass
    assert fastsoftmax.get_num_threads() == before


@needs_openmp
def test_set_num_threads_holds_everywhere():
    script = """
import threading
import fastsoftmax
fastsoftmax.set_num_threads(3)
seen = []
other = threading.Thread(target=lambda: seen.append(fastsoftmax.get_num_threads()))
other.start(); other.join()
with fastsoftmax.num_threads(2):
    seen.append(fastsoftmax.get_num_threads())
seen.append(fastsoftmax.get_num_threads())
print(*seen)
"""
    assert run_python(script, environment={"OMP_NUM_THREADS": "4"}).stdout.split() == [
        "3",
        "2",
        "3",
    ]


@needs_openmp
def test_threadpoolctl_sees_and_limits():
    script = """
import numpy as np
import threadpoolctl
import fastsoftmax
import fastsoftmax.functional as F
fastsoftmax.set_num_threads(2)
before = threadpoolctl.threadpool_info()
assert any(pool["user_api"] == "openmp" for pool in before)
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    print(fastsoftmax.get_num_threads())
print(fastsoftmax.get_num_threads())
F.softmax(np.zeros((1000, 1000)), 1)
assert threadpoolctl.threadpool_info() == before, "the call changed another library's setting"
"""
    result = run_python(script, environment={"OMP_NUM_THREADS": "2"})
    assert result.stdout.split() == ["1", "2"]


@needs_openmp
def test_a_count_too_high_is_capped():
    script = """
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F
fastsoftmax.set_num_threads(10**6)
F.softmax(np.zeros((1000, 1000)), 1)
print(fastsoftmax.get_num_threads())
"""
    assert _threads_of(script, OMP_NUM_THREADS="2") == 2


def test_the_environment_is_left_alone():
    script = """
import os
before = dict(os.environ)
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F
F.softmax(np.zeros((1000, 1000)), 1)
assert dict(os.environ) == before
"""
    run_python(script)


def test_one_context_in_many_threads():
    """Each thread leaves it with the count it came with."""
    shared = fastsoftmax.num_threads(1)
    inside, entered = threading.Barrier(2), []

    def work():
        with fastsoftmax.num_threads(2 * BEFORE):
            with shared:
                inside.wait(30)
                entered.append(fastsoftmax.get_num_threads())
            entered.append(fastsoftmax.get_num_threads())

    outside = fastsoftmax.get_num_threads()
    with fastsoftmax.num_threads(2 * BEFORE):
        wanted = fastsoftmax.get_num_threads()
    other = threading.Thread(target=work)
    with shared:
        other.start()
        inside.wait(30)
    assert fastsoftmax.get_num_threads() == outside
    other.join()
    assert entered == [1, wanted]


SHARED = """
import os
import time
import numpy as np
import fastsoftmax.functional as F

rng = np.random.default_rng(0)

def times():
    tasks = "/proc/self/task"
    return {task: int(open(f"{tasks}/{task}/schedstat").read().split()[0])
            for task in os.listdir(tasks)}

def least_share(call):
    # of four threads, against a quarter
    call()
    before = times()
    for _ in range(20):
        call()
    used = sorted(time - before.get(task, 0) for task, time in times().items())[-4:]
    return 4 * min(used) / sum(used)

def told(name, shape, call):
    found, end = 0, time.monotonic() + 5
    while found <= 0.5 and time.monotonic() < end:  # a busy machine disturbs
        found = max(found, least_share(call))
    print(name, shape, found)

for shape, dim in [((8, 60000), 1), ((4, 65000), 1), ((66, 9000), 1), ((1, 600000), 1),
                   ((2000, 256), 0), ((3, 50, 5000), 1), ((5, 100, 1500), 1)]:
    x = rng.standard_normal(shape)
    y = F.softmax(x, dim)
    for op in (F.softmax, F.log_softmax, F.logsumexp):
        told(op.__name__, shape, lambda: op(x, dim))
    if shape[0] > 1:
        told("softmax_backward", shape, lambda: F.softmax_backward(x, y, dim))
for shape in [(8, 60000), (4, 65000), (66, 9000), (3, 50, 5000)]:
    x = rng.standard_normal(shape)
    t = rng.integers(0, shape[1], shape[:1] + shape[2:])
    if shape[0] > 3:
        told("cross_entropy", shape, lambda: F.cross_entropy(x, t))
    told("cross_entropy_backward", shape, lambda: F.cross_entropy_backward(1.0, x, t))
"""


@needs_openmp
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/task")
def test_every_thread_gets_a_share():
    """Of few long rows too: none has less than half of what it would have of equal shares.

    Threads that wait use no time here, so that what they use is work.
    """
    environment = {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive"}
    lines = run_python(SHARED, environment=environment).stdout.splitlines()
    assert len(lines) == 27 + 7
    for line in lines:
        assert float(line.split()[-1]) > 0.5, line


BEFORE = fastsoftmax.get_num_threads()
MANY = """
import sys
import threading
import fastsoftmax
from checks import same_bits
from concurrent.futures import ThreadPoolExecutor
from fastsoftmax import _core
from public import CASES, arrays, call

_core._use_isa(sys.argv[1])
given = [arrays("float32", shape, seed) for seed, shape in enumerate([(300, 17), (400, 257)])]
given.append(arrays("float64", (7, 90, 200)))
given.append(arrays("float16", (2000, 33)))
jobs = [(name, one) for one in given for name in CASES]
with fastsoftmax.num_threads(1):
    wanted = [call(name, one) for name, one in jobs]
start, stop = threading.Barrier(8), threading.Event()

def work(first):
    start.wait(60)
    for turn in range(len(jobs)):
        i = (first * 9 + turn) % len(jobs)
        assert same_bits(call(*jobs[i]), wanted[i]), jobs[i][0]

def change():
    for count in 100 * (1, 2, 3, 4):
        fastsoftmax.set_num_threads(count)
        if stop.wait(0.001):
            return

changing = threading.Thread(target=change)
if sys.argv[2] == "changing":
    changing.start()
else:
    fastsoftmax.set_num_threads(int(sys.argv[2]))
try:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
finally:
    stop.set()
    if changing.ident:
        changing.join()
print("done")
"""


ISAS = itertools.cycle(_core._isa_available())


@pytest.mark.parametrize(("count", "isa"), [*zip(("1", "4", "changing"), ISAS, strict=False)])
def test_eight_python_threads_at_once(isa, count, tests_folder):
    """Of every function: with and without teams, and while set_num_threads is called."""
    environment = {"OMP_NUM_THREADS": "4", "PYTHONPATH": tests_folder}
    assert run_python(MANY, isa, count, environment=environment).stdout.strip() == "done"


GIL = """
import sys
import threading
import time
from public import CASES, arrays, call

# A thread that waits for the GIL may ask for it after 1000 seconds: within a call the counter gets
# on only if the call lets go of the GIL. The counter itself lets go of it at every step.
sys.setswitchinterval(1000)
counted, running = [0], True

def count():
    while running:
        counted[0] += 1
        time.sleep(0)

counter = threading.Thread(target=count)
counter.start()

def advances(work):
    before = counted[0]
    work()
    return counted[0] > before

try:
    assert not advances(lambda: sum(range(10**6))), "this measure would find anything free"
    given = arrays("float32", (2000, 300))
    end = time.monotonic() + 60
    for name in CASES:
        while not advances(lambda: call(name, given)):
            assert time.monotonic() < end, f"{name} keeps the GIL"
finally:
    running = False
    counter.join()
print("done")
"""


def test_the_gil_is_released(tests_folder):
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": tests_folder}
    assert run_python(GIL, environment=environment).stdout.strip() == "done"


JOBLIB = """
import os
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F
from joblib import Parallel, delayed, parallel_config

def work(x):
    return fastsoftmax.get_num_threads(), F.softmax(x, 1)

x = np.random.default_rng(0).normal(size=(2000, 300))
wanted = F.softmax(x, 1)
for backend, limit in (("loky", 1), ("loky", 3), ("threading", None), ("multiprocessing", None)):
    options = {} if limit is None else {"inner_max_num_threads": limit}
    with parallel_config(backend, n_jobs=2, **options):
        found = Parallel()(delayed(work)(x) for _ in range(4))
    if limit is not None:
        assert {count for count, _ in found} == {limit}, (backend, found[0][0])
    assert all(np.array_equal(result, wanted) for _, result in found), backend
print("done")
"""


@needs_openmp
def test_joblib():
    pytest.importorskip("joblib")
    result = run_python(JOBLIB, environment={"OMP_NUM_THREADS": "4"})
    assert result.stdout.strip() == "done"
