"""The choice of the instruction set at import, and what show_config says of it."""

import importlib.metadata

import numpy as np
import pytest

import fastsoftmax
import inputs
from checks import FLOATS, call, same_bits
from fastsoftmax import _core
from subprocesses import run_python

NAMES = ("baseline", "avx2", "avx512", "neon")
AVAILABLE = _core._isa_available()
SCRIPT = "import fastsoftmax; print(fastsoftmax.show_config()['isa'])"


def test_baseline_is_always_there():
    assert "baseline" in AVAILABLE
    assert set(AVAILABLE) <= set(NAMES)
    assert len(set(AVAILABLE)) == len(AVAILABLE)


@pytest.mark.parametrize("name", AVAILABLE)
def test_the_variable_chooses(name):
    assert run_python(SCRIPT, environment={"FASTSOFTMAX_ISA": name}).stdout.strip() == name


def test_without_the_variable_the_best_is_chosen():
    chosen = run_python(SCRIPT).stdout.strip()
    order = [name for name in ("avx512", "avx2", "neon", "baseline") if name in AVAILABLE]
    assert chosen == order[0]


@pytest.mark.parametrize("name", ["sse9", "AVX2", " avx2", "avx2 ", "avx2,avx512", "1", "Baseline"])
def test_an_unknown_name_is_an_import_error(name):
    done = run_python("import fastsoftmax", environment={"FASTSOFTMAX_ISA": name}, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "FASTSOFTMAX_ISA" in last
    assert repr(name) in last or f"{name!s}" in last
    for known in AVAILABLE:
        assert known in last  # the sentence says what may stand there


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(AVAILABLE)))
def test_a_name_this_cpu_lacks_is_an_import_error(name):
    done = run_python("import fastsoftmax", environment={"FASTSOFTMAX_ISA": name}, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert name in last


def test_show_config():
    config = fastsoftmax.show_config()
    assert set(config) >= {
        "version", "isa", "isas", "kernels", "openmp", "num_threads", "num_threads_reason",
        "compiler",
    }  # fmt: skip
    assert config["version"] == importlib.metadata.version("fastsoftmax")
    assert tuple(config["isas"]) == tuple(AVAILABLE)
    assert config["isa"] in AVAILABLE
    assert config["num_threads"] == fastsoftmax.get_num_threads()
    text = str(config)
    for word in (
        config["version"],
        config["isa"],
        config["num_threads_reason"],
        config["compiler"],
    ):
        assert word in text


def test_show_config_follows_the_target(isa):
    assert fastsoftmax.show_config()["isa"] == isa


def test_use_isa_refuses_what_is_not_there():
    with pytest.raises((ValueError, ImportError)):
        _core._use_isa("sse9")
    assert fastsoftmax.show_config()["isa"] in AVAILABLE


@pytest.mark.skipif(len(AVAILABLE) < 3, reason="fewer than two vector targets on this CPU")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "softmin", "logsumexp"])
def test_vector_targets_give_the_same_bits(op, dtype):
    vector = [name for name in AVAILABLE if name != "baseline"]
    shapes = [((19, n), -1) for n in inputs.sizes(dtype)]
    shapes += [((1, 300_001), -1), ((40, 77), 0), ((100_001, 3), 0)]
    arrays = [(inputs.normal(dtype, shape, seed=3, scale=6.0), dim) for shape, dim in shapes]
    results = []
    for name in vector:
        former = _core._use_isa(name)
        results.append([call(op, x, dim) for x, dim in arrays])
        _core._use_isa(former)
    for found in zip(*results, strict=True):
        assert all(same_bits(found[0], other) for other in found[1:]), found[0].shape


def test_importing_is_quiet_and_light():
    script = """
import sys
import numpy
before = set(sys.modules)
import fastsoftmax
new = {name for name in set(sys.modules) - before if name.partition(".")[0] != "fastsoftmax"}
made_by_cython = {name for name in new if "cyutility" in name or "cython_" in name}  # _cython_3_3_1
assert new - made_by_cython <= {"__future__"}, new  # not even `threading`: a millisecond
"""
    done = run_python(script, options=("-W", "error"))
    assert (done.stdout, done.stderr) == ("", "")


def test_results_are_arrays():
    assert isinstance(call("softmax", [1.0, 2.0], 0), np.ndarray)
