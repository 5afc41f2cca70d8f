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
from fastsoftmax import softmax, softmax_backward, cross_entropy
x = np.ones((500, 500))
t = np.zeros(500, np.int64)
for _ in range(2):  # large enough to let go of the GIL
    assert all(np.array_equal(softmax(x, dim), x / 500) for dim in (0, 1))
    assert np.abs(softmax_backward(x, x / 500, 1)).max() < 1e-15
    assert abs(cross_entropy(x, t) - np.log(500)) < 1e-12
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
        return "refused" if " per process" in str(error) else str(error)
    finally:
        interpreters.destroy(interpreter)

for name in sys.argv[1:]:
    try:
        print({"main": main, "sub": sub}[name]())
    except ImportError as error:
        print("refused" if " per process" in str(error) else str(error))
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
    """NumPy refuses the others, or the package itself does."""
    done = run_python(SCRIPT, *order)
    assert done.stdout.split("\n")[:-1] == found
    assert done.stderr == ""
