"""How many threads, who says so, and calls from many Python threads at once."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import OPS, call, same_bits
from subprocesses import run_python

PRINT = "import fastsoftmax; print(fastsoftmax.get_num_threads())"

needs_openmp = pytest.mark.skipif(
    fastsoftmax.show_config()["openmp"] == "no", reason="built without OpenMP: always one thread"
)


def _threads_of(script, **environment):
    return int(run_python(script, environment=environment).stdout)


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
@pytest.mark.parametrize("count", ["1", "3"])
def test_omp_num_threads(count):
    assert _threads_of(PRINT, OMP_NUM_THREADS=count) == int(count)
    script = "import fastsoftmax; print(fastsoftmax.show_config()['num_threads_reason'])"
    assert "OMP_NUM_THREADS" in run_python(script, environment={"OMP_NUM_THREADS": count}).stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform")
def test_affinity():
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + PRINT
    assert _threads_of(script) == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this platform")
def test_never_more_than_the_cpus_by_default():
    assert 1 <= _threads_of(PRINT) <= len(os.sched_getaffinity(0))


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


@pytest.mark.parametrize("op", OPS)
def test_calls_from_many_python_threads(op):
    arrays = [inputs.normal("float32", (300, 10 * k + 7), seed=k) for k in range(40)]
    arrays += [inputs.normal("float64", (40_000, 33), seed=k) for k in range(4)]
    wanted = [call(op, x) for x in arrays]
    start = threading.Barrier(8)

    def work(i):
        if i < 8:
            start.wait(30)
        return call(op, arrays[i % len(arrays)])

    with ThreadPoolExecutor(8) as pool:
        for i, result in enumerate(pool.map(work, range(3 * len(arrays)))):
            assert same_bits(result, wanted[i % len(arrays)])


def test_the_gil_is_released():
    x = np.zeros((4_000, 4_000), np.float64)
    out = np.empty_like(x)
    running, counted = threading.Event(), [0]

    def count():
        running.set()
        while running.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    running.wait(30)
    with fastsoftmax.num_threads(1):
        before = counted[0]
        F.softmax(x, 1, out=out)
        during = counted[0] - before
    running.clear()
    counter.join()
    # Under the GIL the other thread would get none of it but a switch interval at either end.
    assert during > 1000, during


@needs_openmp
def test_teams_of_several_calls_share_the_cpus():
    script = """
import threading
import numpy as np
import fastsoftmax.functional as F
x = np.random.default_rng(0).normal(size=(2000, 2000))
wanted = F.softmax(x, 1)
def work():
    for _ in range(5):
        assert np.array_equal(F.softmax(x, 1), wanted)
threads = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
print("done")
"""
    assert run_python(script, environment={"OMP_NUM_THREADS": "4"}).stdout.strip() == "done"
