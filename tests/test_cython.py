"""fastsoftmax.cy: the bits of the Python functions, in a package built beside the installed one."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax.cy
import fastsoftmax.functional as F
import inputs
from checks import FLOATS, assert_exact, call, same_bits
from subprocesses import run_python

CONSUMER = Path(__file__).parent / "consumer"
OPS = ("softmax", "log_softmax", "logsumexp")
# Short rows, long ones in parts, strips of columns that fit the scratch memory and that do not.
SHAPES = [
    *((5, n, 1) for n in (1, 2, 3, 10, 63, 64, 65, 1000)),
    (16400, 3, 1),
    *((2, n, 1) for n in (65536, 65537, 131072, 131073)),
    *((outer, n, inner) for outer in (1, 3) for n in (1, 7, 300) for inner in (2, 17, 999)),
    (1, 9000, 18),
]


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    """The consumer, compiled where no source of fastsoftmax is in reach."""
    folder = tmp_path_factory.mktemp("consumer")
    for source in CONSUMER.iterdir():
        shutil.copy(source, folder)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={"CFLAGS": "-O1", **os.environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [module] = [path for path in folder.iterdir() if path.suffix in (".so", ".pyd")]
    spec = importlib.util.spec_from_file_location("consumer", module)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def compute(consumer, op, x, out=None):
    if out is None:
        out = np.full(x.shape[::2] if op == "logsumexp" else x.shape, 7.0, x.dtype)
    assert getattr(consumer, op)(x, out) == 0
    return out


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_the_bits_are_those_of_the_python_functions(consumer, op, dtype):
    for shape in SHAPES:
        x = inputs.normal(dtype, shape, seed=shape[1])
        expected = call(op, x, 1)
        assert same_bits(compute(consumer, op, x), expected), shape
        if op != "logsumexp":
            assert same_bits(compute(consumer, op, x, out=x), expected), f"{shape} in place"


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_values_are_within_their_bounds(consumer, op, dtype):
    x = inputs.normal(dtype, (40, 130, 1), seed=3, scale=20.0)
    assert_exact(op, x, 1, result=compute(consumer, op, x))


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values_are_those_of_the_python_functions(consumer, dtype):
    rows = np.array([[np.nan, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [-np.inf, 0, 1]], dtype)
    for x in (rows[:, :, np.newaxis], np.ascontiguousarray(rows.T)[np.newaxis]):
        for op in OPS:
            assert same_bits(compute(consumer, op, x), call(op, x, 1)), op


@pytest.mark.parametrize("dtype", FLOATS)
def test_threads_may_call_at_once(consumer, dtype):
    x = inputs.normal(dtype, (64, 2000, 8), seed=5)
    expected = F.softmax(x, 1)
    out = np.zeros_like(x)
    threads = [
        threading.Thread(target=compute, args=(consumer, "softmax", x[i : i + 8], out[i : i + 8]))
        for i in range(0, 64, 8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same_bits(out, expected)


def test_attention_in_cython_is_that_of_numpy(consumer):
    queries, keys, values = np.random.default_rng(1).normal(size=(3, 20, 6))
    found = consumer.attention(queries, keys, values)
    assert np.allclose(found, F.softmax(queries @ keys.T, dim=1) @ values, rtol=1e-13, atol=0)


def address(name):
    """The function pointer in a capsule, as Numba and ctypes take it from the module."""
    get_name, get_pointer = (
        ctypes.pythonapi.PyCapsule_GetName,
        ctypes.pythonapi.PyCapsule_GetPointer,
    )
    get_name.argtypes, get_name.restype = [ctypes.py_object], ctypes.c_char_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    get_pointer.restype = ctypes.c_void_p
    capsule = fastsoftmax.cy.__pyx_capi__[name]
    signature = get_name(capsule)
    return get_pointer(capsule, signature), signature


def function(op, dtype):
    """A function of fastsoftmax.cy for Python, by its address."""
    pointer, _ = address(f"{op}_{dtype}")
    sizes = [ctypes.c_ssize_t] * 3
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *sizes)(pointer)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_the_capsules_are_functions_of_the_frozen_signature(op, dtype):
    _, signature = address(f"{op}_{dtype}")
    c_type = {"float32": "float", "float64": "double"}[dtype]
    sizes = ", Py_ssize_t" * 3
    assert signature.decode() == f"int ({c_type} const *, {c_type} *{sizes})"
    compute = function(op, dtype)
    x = inputs.normal(dtype, (4, 10, 3), seed=2)
    out = np.zeros((4, 3) if op == "logsumexp" else x.shape, x.dtype)
    assert compute(x.ctypes.data, out.ctypes.data, 4, 10, 3) == 0
    assert same_bits(out, call(op, x, 1))
    empty = np.full(12, 7.0, dtype)
    assert compute(x.ctypes.data, empty.ctypes.data, 4, 0, 3) == 0
    assert np.all(empty == (-np.inf if op == "logsumexp" else 7.0))
    assert compute(x.ctypes.data, empty.ctypes.data, 0, 10, 3) == 0


NO_MEMORY = """
import ctypes, resource, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_cython import function

softmax, libc = function("softmax", "float32"), ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
x = np.zeros((300, 999), np.float32)
of_columns, of_rows = np.full((2, 300, 999), 7.0, np.float32)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
while libc.malloc(400_000):
    pass
columns = softmax(x.ctypes.data, of_columns.ctypes.data, 1, 300, 999)
rows = softmax(x.ctypes.data, of_rows.ctypes.data, 300, 999, 1)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(columns, (of_columns == 7).all(), rows, (of_rows == np.float32(1 / 999)).all())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux counts it")
def test_columns_without_memory_return_minus_one_and_write_nothing():
    done = run_python(NO_MEMORY, str(Path(__file__).parent))
    assert done.stdout.split() == ["-1", "True", "0", "True"]


def test_only_the_frozen_names_are_exported():
    assert sorted(fastsoftmax.cy.__pyx_capi__) == sorted(f"{op}_{d}" for op in OPS for d in FLOATS)


def test_the_page_shows_the_code_that_is_tested():
    page = Path(__file__).parent.parent / "docs" / "cython.md"
    shown = page.read_text().split("```cython\n")[1:]
    source = (CONSUMER / "consumer.pyx").read_text()
    assert shown
    for block in shown:
        assert block.partition("```")[0] in source
