"""The caller's floating-point environment neither changes a result nor is changed by a call."""

import gc

import numpy as np
import pytest

import fastsoftmax.functional as F
import floating_point as fp
import inputs
import public
from checks import FLOATS, OPS, call, same_bits
from subprocesses import run_python

MODES = ("flush", "upward", "downward", "to zero")
SHAPES = (
    ((21, 10), -1),
    ((5, 1000), -1),
    ((40, 33), 0),
    ((1, 140_000), -1),
    ((30_000, 3), 0),
    ((6, 5, 4), (0, 2)),
)

needs_registers = pytest.mark.skipif(
    not fp.SUPPORTED, reason="the layout of fenv_t is not known on this platform"
)


def _hard_to_flush(dtype, shape, dim):
    """Results from 1 down to subnormal ones, of inputs some of which are subnormal."""
    x = -np.random.default_rng(7).uniform(0, inputs.LAST_GAP[dtype], size=shape)
    x[x > -1] *= np.finfo(dtype).tiny / 4
    return x.astype(dtype)


@needs_registers
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_the_mode_of_the_caller_does_not_matter(op, dtype, mode):
    for shape, dim in SHAPES:
        x = _hard_to_flush(dtype, shape, dim)
        wanted = call(op, x, dim)
        with fp.environment(mode):
            before = fp.control()
            found = call(op, x, dim)
            after = fp.control()
        assert before == fp.BITS[mode]
        assert after == before
        assert same_bits(found, wanted), (shape, dim)


@needs_registers
def test_probabilities_in_a_list_are_converted_in_our_mode():
    x, tiny = np.array([1.0, 2.0]), np.float32(1e-40)
    wanted = F.cross_entropy(x, np.array([0, float(tiny)]))
    assert wanted > 0
    with fp.environment("flush", flags=0), np.errstate(all="raise"):
        found = F.cross_entropy(x, [0, tiny])
        flags = fp.flags()
    assert found == wanted
    assert not flags


@pytest.fixture
def no_collection():
    """No garbage collection: others, hypothesis for one, have callbacks there that add times."""
    gc.disable()
    yield
    gc.enable()


@needs_registers
@pytest.mark.usefixtures("isa", "no_collection", "small")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_flags_are_left_as_they_were(op, dtype):
    every = fp.BITS["flags"]
    for shape, dim in SHAPES:
        x = _hard_to_flush(dtype, shape, dim)
        spoiled = x.copy()
        spoiled.flat[::5] = np.inf
        spoiled.flat[::7] = np.nan
        apart = np.repeat(x, 2, axis=-1)[..., ::2]
        where = np.isfinite(spoiled.astype(float))
        out = np.asfortranarray(call(op, x, dim))
        cases = (
            (x, {}),
            (spoiled, {}),
            (apart, {}),
            (spoiled.T, {}),
            (spoiled, {"where": where}),
            (apart, {"out": out}),
        )
        for argument, options in cases:
            for flags in (0, every):
                call(op, argument, dim, **options)  # NumPy may prepare something the first time
                with fp.environment(flags=flags):
                    call(op, argument, dim, **options)
                    found = fp.flags()
                assert found == flags, (shape, dim, argument.strides, list(options))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_under_errstate_raise(op, dtype):
    special = np.array(
        [np.nan, np.inf, -np.inf, 0.0, inputs.LARGEST[dtype], -inputs.LARGEST[dtype]], dtype
    )
    x = np.random.default_rng(1).choice(special, size=(50, 37))
    wanted = {dim: call(op, x, dim) for dim in (0, 1, (0, 1))}
    with np.errstate(all="raise"):
        for dim, result in wanted.items():
            assert same_bits(call(op, x, dim), result)


def _small_numbers(name, dtype):
    """Arguments of a case, with subnormal numbers and with results that are."""
    for shape in ((21, 10), (5, 300), (7, 33, 20)):
        given = public.arrays(dtype, shape, seed=5, scale=inputs.LAST_GAP[dtype] / 5)
        for key in ("g", "s", "x"):
            given[key].flat[::3] *= np.array(inputs.tiny(dtype) / 4, given[key].dtype)
        yield given


@needs_registers
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("name", public.CASES)
def test_no_function_minds_the_mode_nor_changes_it(name, dtype):
    for given in _small_numbers(name, dtype):
        wanted = public.call(name, given)
        for mode in MODES:
            with fp.environment(mode):
                found = public.call(name, given)
                after = fp.control()
            assert after == fp.BITS[mode]
            assert same_bits(found, wanted), mode


POOLS = """
import sys
import threading
import numpy as np
import floating_point as fp
import fastsoftmax
from checks import same_bits
from fastsoftmax import _core
from public import CASES, arrays, call

_core._use_isa(sys.argv[1])
given = arrays("float32", (3000, 100), seed=7, scale=30.0)
with fastsoftmax.num_threads(1):
    wanted = {name: call(name, given) for name in CASES}
assert np.any((0 < wanted["softmax"]) & (wanted["softmax"] < 2.0**-126))

def work(mode):
    # libgomp makes a pool for every thread that calls. Its threads are made by the first call, and
    # start with the mode of the thread that makes them.
    with fp.environment(mode):
        first = {name: call(name, given) for name in CASES}
        assert fp.control() == fp.BITS[mode]
    again = {name: call(name, given) for name in CASES}
    right.extend(same_bits(found[name], wanted[name]) for found in (first, again) for name in CASES)

right = []
for mode in ("flush", "upward", "downward", "to zero"):
    thread = threading.Thread(target=work, args=(mode,))
    thread.start()
    thread.join()
assert len(right) == 8 * len(CASES) and all(right)
print("right")
"""


@needs_registers
def test_pools_whose_threads_were_made_in_any_mode(isa, tests_folder):
    environment = {"OMP_NUM_THREADS": "2", "PYTHONPATH": tests_folder}
    assert run_python(POOLS, isa, environment=environment).stdout.strip() == "right"
