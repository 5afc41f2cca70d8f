"""Nothing beside the arguments and the result is read or written: see guard_pages.py."""

import signal
import sys

import pytest

from subprocesses import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mmap and mprotect by ctypes")

QUICK = "import sys, guard_pages; guard_pages.main([sys.argv[1]], quick=True)"

REACH = """
import ctypes
import sys
import guarded
import numpy as np
x = guarded.lay(np.arange(7.0), sys.argv[1], step=int(sys.argv[2]))
assert x.sum() == 21 and guarded.lay(x, sys.argv[1])[-1] == 6
beside = {"start": x.ctypes.data - 1, "end": x.ctypes.data + 6 * x.strides[0] + 8}[sys.argv[1]]
print("here", flush=True)
ctypes.memmove(beside, b"1", 1) if sys.argv[3] == "write" else ctypes.string_at(beside, 1)
print("there", flush=True)
"""


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("place", ["start", "end"])
def test_one_byte_beside_is_fatal(place, step, way, tests_folder):
    environment = {"PYTHONPATH": tests_folder}
    done = run_python(REACH, place, str(step), way, environment=environment, check=False)
    assert done.stdout == "here\n"
    assert done.returncode == -signal.SIGSEGV


def test_between_guard_pages(isa, tests_folder):
    done = run_python(QUICK, isa, environment={"PYTHONPATH": tests_folder}, options=("-P",))
    assert f"{isa}: " in done.stdout
