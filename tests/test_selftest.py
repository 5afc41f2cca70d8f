"""The self-test of an installed package: it passes, in time, and fails where it must."""

import numpy as np
import pytest

import bounds
import fastsoftmax
import fastsoftmax.functional as F
import oracle
import oracle_losses
from fastsoftmax import __main__ as cli
from fastsoftmax import _core, _decimal_oracle, _selftest
from subprocesses import run_python

DTYPES = ("float32", "float64", "float16")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(_selftest, "LENGTHS", (3,))
    monkeypatch.setattr(_selftest, "LONG_ROW", 1000)


def lines_of_a_failure(capsys):
    """What the command prints when it has to fail."""
    former = _core._isa()
    assert cli.main(["--selftest"]) == 1
    assert _core._isa() == former
    printed = capsys.readouterr()
    assert "selftest failed" in printed.err
    lines = printed.out.splitlines()
    assert lines[-1].split()[1] == "FAILED"
    return [line for line in lines if line.startswith("FAILED")]


def test_it_passes_for_every_target_in_less_than_five_seconds_of_one_cpu():
    script = """if True:
        import sys, time
        from fastsoftmax.__main__ import main
        status = main(["--selftest"])
        print(time.process_time())
        sys.exit(status)
    """
    *lines, seconds = run_python(script).stdout.splitlines()
    assert [line for line in lines if line in _core._isa_available()] == [*_core._isa_available()]
    for operation in _selftest.BOUNDS:
        told = [line for line in lines if line.startswith(f"  {operation}  ")]
        assert len(told) == len(_core._isa_available()), operation
    assert lines[-1].startswith("all passed in")
    assert float(seconds) < 5


def worse(function, ulps):
    """`function` with float32 results that are so many units off."""

    def changed(*arguments, **keywords):
        result = np.array(function(*arguments, **keywords))
        if result.dtype == np.float32:
            with np.errstate(all="ignore"):
                result[...] = np.where(
                    np.isfinite(result), result + ulps * np.spacing(result), result
                )
        return result

    return changed


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", [*oracle.OPS, "cross_entropy", "cross_entropy_backward"])
def test_results_beyond_their_bound_are_a_failure(name, monkeypatch, capsys):
    monkeypatch.setattr(F, name, worse(getattr(F, name), np.float32(8)))
    found = [line for line in lines_of_a_failure(capsys) if "units off" in line]
    assert found
    assert all(f"{name} of float32" in line.replace(", probabilities", "") for line in found)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["softmax_backward", "log_softmax_backward"])
def test_gradients_of_the_wrong_sign_are_a_failure(name, monkeypatch, capsys):
    right = getattr(F, name)
    monkeypatch.setattr(F, name, lambda g, y, dim: -right(g, y, dim))
    assert name in lines_of_a_failure(capsys)[0]


@pytest.mark.usefixtures("small")
def test_a_wrong_nan_is_a_failure(monkeypatch, capsys):
    right = F.log_softmax
    monkeypatch.setattr(F, "log_softmax", lambda *a, **k: np.nan_to_num(right(*a, **k)))
    assert any("NaN in a row" in line for line in lines_of_a_failure(capsys))


@pytest.mark.usefixtures("small")
def test_other_bits_with_more_threads_are_a_failure(monkeypatch, capsys):
    right = F.softmax

    def changed(x, dim, **keywords):
        result = right(x, dim, **keywords)
        if result.size == 200_000 and fastsoftmax.get_num_threads() == 1:
            result[0, 0] = np.nextafter(result[0, 0], x.dtype.type(1))
        return result

    monkeypatch.setattr(F, "softmax", changed)
    with fastsoftmax.num_threads(2):
        found = lines_of_a_failure(capsys)
    assert any("other bits with more threads: float32" in line for line in found)


def test_the_bounds_are_those_of_the_tests():
    for operation in _selftest.BOUNDS:
        name, _, more = operation.partition(", ")
        if operation == "cross_entropy":
            name = bounds.CLASS_LOSS
        for dtype in (*DTYPES, "bfloat16"):
            assert _selftest.bound(operation, dtype) == bounds.bound(name, dtype), more


def difference(found, expected):
    """The largest difference of two exact results, in the units of the first."""
    hi, lo, e = expected
    expected = np.ldexp(hi, e - found.unit), np.ldexp(lo, e - found.unit)
    return np.max(np.abs((found.hi - expected[0]) + (found.lo - expected[1])))


@pytest.mark.parametrize("dtype", DTYPES)
def test_its_judge_agrees_with_that_of_the_tests(dtype):
    dtype = np.dtype(dtype)
    for problem in _selftest._problems(dtype):
        for name in oracle.OPS:
            against = oracle.exact(name, problem.x, 1)
            assert difference(problem.exact[name], against) < 1e-3, (name, problem.name)
        if not problem.targets.size:
            continue
        x, one = problem.x, np.ones(len(problem.x), dtype)
        for more, target in ("", problem.targets), (", probabilities", problem.p):
            arguments = {"input": x, "target": target, "reduction": "none"}
            for name in ("cross_entropy", "cross_entropy_backward"):
                if name == "cross_entropy_backward":
                    arguments["grad_output"] = one
                found = oracle_losses.exact(name, arguments)
                assert difference(problem.exact[name + more], found.value) < 1e-3, (name, more)
        for name, y in ("softmax_backward", problem.y), ("log_softmax_backward", problem.log_y):
            found = oracle_losses.exact(name, {"grad_output": problem.g, "output": y, "dim": 1})
            assert difference(problem.exact[name], found.value) < 1e-3, name


def test_the_judge_counts_errors_in_units_of_the_last_place():
    x = np.array([0.5, -1.0, 2.0, 2.0], np.float32)
    exact = _decimal_oracle.functions(x)["softmax"]
    result = F.softmax(x, 0)
    right = oracle.error_ulp("softmax", x, result, 0)
    assert _decimal_oracle.error(result, exact) == pytest.approx(right, rel=1e-6)
    result[2] = np.nan
    assert _decimal_oracle.error(result, exact) == np.inf
