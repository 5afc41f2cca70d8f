"""As test_same_bits, for every public function and dtype: losses and gradients, half precision.

By sample and by column of (N, C) and (N, C, K) arrays, by alignment, in place, by the number of
threads, and between the targets with vectors.
"""

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import same_bits
from fastsoftmax import _core
from public import CASES, arrays, call
from subprocesses import run_python

SHAPES = ((45, 1), (21, 7), (9, 17), (9, 64), (9, 97), (5, 1000), (5, 9, 33), (3, 40, 70))
BY_ROWS = [name for name, case in CASES.items() if case.by_rows]
IN_PLACE = [(name, argument) for name, case in CASES.items() for argument in case.in_place]

every_dtype = pytest.mark.parametrize("dtype", inputs.DTYPES)


def part(given, samples=slice(None), columns=None):
    """The arrays of some samples, or of some columns."""

    def cut(array):
        array = array[samples]
        return np.ascontiguousarray(array if columns is None else array[..., columns])

    return {name: array if name == "w" else cut(array) for name, array in given.items()}


def test_every_public_function_is_a_case():
    assert {name.split()[0].strip(",") for name in CASES} == set(F.__all__)


@pytest.mark.usefixtures("isa")
@every_dtype
@pytest.mark.parametrize("name", BY_ROWS)
def test_alone_and_in_a_batch(name, dtype):
    for shape in SHAPES:
        given = arrays(dtype, shape, seed=shape[1])
        whole = call(name, given)
        for start, stop in ((0, 1), (1, 3), (2, 5), (0, 3)):
            found = call(name, part(given, slice(start, stop)))
            assert same_bits(found, whole[start:stop]), (shape, start)
        if len(shape) > 2:
            for start, stop in ((0, 1), (1, 9), (3, 20), (16, 33)):
                found = call(name, part(given, columns=slice(start, stop)))
                assert same_bits(found, whole[..., start:stop]), (shape, start)


@pytest.mark.usefixtures("isa")
@every_dtype
@pytest.mark.parametrize("name", BY_ROWS)
def test_among_any_neighbours(name, dtype):
    for shape in SHAPES:
        given, others = (arrays(dtype, shape, seed=seed) for seed in (1, 2))
        whole = call(name, given)
        for array in (others["x"], others["l"], others["y"], others["g"]):
            array[::4] = np.inf
        for key in others:
            if key != "w":
                others[key][1::2] = given[key][1::2]
        others["w"] = given["w"]
        assert same_bits(call(name, others)[1::2], whole[1::2]), shape


@pytest.mark.usefixtures("isa")
@every_dtype
@pytest.mark.parametrize("name", CASES)
def test_any_alignment(name, dtype):
    for shape in ((9, 10), (3, 70), (5, 9, 33)):
        given = arrays(dtype, shape, seed=6)
        wanted = call(name, given)
        for steps in (1, 3, 5, 15):
            moved = {}
            for key, array in given.items():
                room = np.empty(array.size + 64, array.dtype)
                start = -room.ctypes.data % 64 // array.itemsize + steps
                moved[key] = room[start : start + array.size].reshape(array.shape)
                moved[key][...] = array
            assert same_bits(call(name, moved), wanted), (shape, steps)


@pytest.mark.usefixtures("isa")
@every_dtype
@pytest.mark.parametrize(("name", "argument"), IN_PLACE)
def test_in_place(name, argument, dtype):
    for shape in SHAPES:
        given = arrays(dtype, shape, seed=6)
        wanted = call(name, given)
        assert call(name, given, out=given[argument]) is given[argument]
        assert same_bits(given[argument], wanted), shape


THREADS = """
import sys
import numpy as np
import fastsoftmax
from fastsoftmax import _core
from inputs import DTYPES
from public import CASES, arrays, call

_core._use_isa(sys.argv[1])
for dtype in DTYPES:
    for shape in ((700, 257), (20_011, 7), (1, 150_001), (5, 40, 601)):
        given = arrays(dtype, shape)
        for name in CASES:
            if name.startswith("gumbel") and dtype != "float32":
                continue  # what is drawn does not depend on the dtype
            found = set()
            for threads in (1, 3):
                with fastsoftmax.num_threads(threads):
                    found.add(call(name, given).tobytes())
            assert len(found) == 1, (name, dtype, shape)
print("the same")
"""


def test_any_number_of_threads(isa, tests_folder):
    environment = {"OMP_NUM_THREADS": "4", "PYTHONPATH": tests_folder}
    assert run_python(THREADS, isa, environment=environment).stdout.strip() == "the same"


VECTORS = [name for name in _core._isa_available() if name != "baseline"]


@pytest.mark.skipif(len(VECTORS) < 2, reason="fewer than two vector targets on this CPU")
@every_dtype
@pytest.mark.parametrize("name", CASES)
def test_vector_targets_give_the_same_bits(name, dtype):
    for shape in (*SHAPES, (1, 300_001)):
        given = arrays(dtype, shape, seed=3)
        found = []
        for target in VECTORS:
            former = _core._use_isa(target)
            try:
                with fastsoftmax.num_threads(1):
                    found.append(call(name, given))
            finally:
                _core._use_isa(former)
        assert all(same_bits(found[0], other) for other in found[1:]), shape
