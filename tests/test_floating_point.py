"""The caller's floating-point environment neither changes a result nor is changed by a call."""

import os
from pathlib import Path

import numpy as np
import pytest

import floating_point as fp
import inputs
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
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_flags_are_left_as_they_were(op, dtype):
    every = fp.BITS["flags"]
    for shape, dim in SHAPES:
        x = _hard_to_flush(dtype, shape, dim)
        spoiled = x.copy()
        spoiled.flat[::5] = np.inf
        spoiled.flat[::7] = np.nan
        for argument in (x, spoiled):
            for flags in (0, every):
                with fp.environment(flags=flags):
                    call(op, argument, dim)
                    found = fp.flags()
                assert found == flags, (shape, dim)


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


FLUSHING_POOL = """
import sys
import numpy as np
import floating_point as fp
import fastsoftmax
import fastsoftmax.functional as F

# The threads of the pool are made now, and inherit the mode of the thread that makes them.
x = -np.random.default_rng(7).uniform(0, 104, size=(4000, 1000)).astype(np.float32)
with fp.environment("flush"):
    flushed = [F.softmax(x, dim) for dim in (0, 1)]
with fastsoftmax.num_threads(1):
    alone = [F.softmax(x, dim) for dim in (0, 1)]
again = [F.softmax(x, dim) for dim in (0, 1)]
for a, b, c in zip(flushed, alone, again):
    assert np.array_equal(a, b) and np.array_equal(b, c)
assert np.any((0 < alone[1]) & (alone[1] < 2.0**-126))
print("right")
"""


@needs_registers
def test_threads_made_while_flushing():
    # beside what is on the path: the package may be there
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(path)}
    result = run_python(FLUSHING_POOL, environment=environment)
    assert result.stdout.strip() == "right"
