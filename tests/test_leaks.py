"""Nothing is left by calls, refused ones included: see leaks.py, of which this is a short form."""

import sys

import pytest

from subprocesses import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")

HELD = """
import ctypes
import leaks
import numpy as np
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
held = []
for keep, found in (
    (lambda x: held.append(x), "references to the arguments"),
    (lambda x: held.append(object()), "blocks"),
    (lambda x: held.append(np.empty(10)), "references to a dtype"),
    (lambda x: ctypes.memset(libc.malloc(1 << 15), 1, 1 << 15), "resident memory"),
):
    x = np.ones(3)
    assert found in leaks.what_is_left(lambda: keep(x), [x], 400), found
    held.clear()
print("found")
"""


def test_short(tests_folder):
    done = run_python("import leaks; leaks.main(400)", environment={"PYTHONPATH": tests_folder})
    assert "calls left nothing" in done.stdout


def test_what_is_held_is_found(tests_folder):
    done = run_python(HELD, environment={"PYTHONPATH": tests_folder})
    assert done.stdout.strip() == "found"
