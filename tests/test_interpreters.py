"""One interpreter of a process has the package; another is refused, and nothing crashes."""

import importlib.util

import pytest

from subprocesses import run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_xxsubinterpreters") is None,
    reason="this Python has no module _xxsubinterpreters (3.11 and 3.12 have)",
)

SCRIPT = """
import sys
import _xxsubinterpreters as interpreters

COMPUTE = '''
import warnings
warnings.simplefilter("ignore", UserWarning)  # NumPy's, of being in a sub-interpreter
import numpy as np
import fastsoftmax
x = np.ones((500, 500))
assert np.array_equal(fastsoftmax.softmax(x, 1), x / 500)
'''

def main():
    exec(COMPUTE, {})
    return "computed"

def sub():
    interpreter = interpreters.create()
    try:
        interpreters.run_string(interpreter, COMPUTE)
        return "computed"
    except interpreters.RunFailedError as error:
        return "refused" if "one interpreter per process" in str(error) else str(error)
    finally:
        interpreters.destroy(interpreter)

for name in sys.argv[1:]:
    try:
        print({"main": main, "sub": sub}[name]())
    except ImportError as error:
        print("refused" if "one interpreter per process" in str(error) else str(error))
"""


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (("main", "sub", "main"), ["computed", "refused", "computed"]),
        (("sub", "main"), ["computed", "refused"]),
        (("sub", "sub"), ["computed", "refused"]),
    ],
)
def test_the_first_that_imports_has_it(order, found):
    done = run_python(SCRIPT, *order)
    assert done.stdout.split("\n")[:-1] == found
    assert done.stderr == ""
