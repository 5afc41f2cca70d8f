"""softmax_backward and log_softmax_backward: exact, in every layout, with the same bits everywhere.

PyTorch's answers are in test_golden_losses.py.
"""

import itertools
import tracemalloc

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
import oracle_losses
from bounds import bound
from checks import each_isa, same_bits, taken_for_few
from fastsoftmax import _core, _gradients, _reference, _reference_gradients
from paths import PATHS

OPS = ("softmax_backward", "log_softmax_backward")
NAN, INF = float("nan"), float("inf")

pytestmark = pytest.mark.parametrize("op", OPS)


def call(op, g, y, dim=-1, **keywords):
    return getattr(F, op)(g, y, dim, **keywords)


def output_of(op, x, dim=-1):
    return getattr(F, op.removesuffix("_backward"))(x, dim)


def problem(op, dtype, shape, seed=0, scale=3.0, g_scale=1.0, dim=-1):
    """A gradient and an output."""
    y = output_of(op, inputs.normal(dtype, shape, seed, scale), dim)
    return inputs.normal(dtype, shape, seed + 1000, g_scale), y


def assert_exact(op, g, y, result, dim=-1, found=None):
    if found is None:
        found = oracle_losses.exact(op, {"grad_output": g, "output": y, "dim": dim})
    assert isinstance(result, np.ndarray)
    assert result.dtype == y.dtype
    error = oracle_losses.error_ulp(result, found)
    assert error <= bound(op, y.dtype), f"{op} of {y.dtype}{y.shape} is {error:.4g} ULP off"


GRADIENTS = {
    "ordinary": lambda rng, shape, tiny: rng.normal(size=shape),
    "one class": lambda rng, shape, tiny: -np.eye(1, shape[1]) / 3 + np.zeros(shape),
    "cancelling": lambda rng, shape, tiny: 100 + rng.normal(size=shape),
    "alternating": lambda rng, shape, tiny: (
        np.where(np.arange(shape[1]) % 2, 1.0, -1.0) * rng.integers(1, 3, size=(shape[0], 1))
    ),
    "zero": lambda rng, shape, tiny: np.zeros(shape),
    "large": lambda rng, shape, tiny: rng.normal(size=shape) * tiny**-0.25,
    "small": lambda rng, shape, tiny: rng.normal(size=shape) * tiny**0.5,
    "tiny": lambda rng, shape, tiny: rng.normal(size=shape) * tiny,
    "of every size": lambda rng, shape, tiny: (
        rng.normal(size=shape) * tiny ** rng.uniform(-0.2, 0.5, size=shape)
    ),
}
# The least numbers whose products with probabilities are held to the bound in every digit.
TINY = {"float32": 2.0**-130, "float64": 2.0**-900, "float16": 2.0**-16, "bfloat16": 2.0**-125}


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_rows_of_every_length(op, dtype, kind):
    rng = np.random.default_rng(7)
    for n in inputs.sizes(dtype):
        for scale in (1, 60):
            y = output_of(op, inputs.normal(dtype, (19, n), seed=n, scale=scale))
            g = inputs.fit(GRADIENTS[kind](rng, (19, n), TINY[dtype]), dtype)
            found = oracle_losses.exact(op, {"grad_output": g, "output": y, "dim": 1})
            for _ in each_isa():
                assert_exact(op, g, y, call(op, g, y), found=found)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_every_layout(op, dtype, path):
    path = PATHS[path]
    g, y = problem(op, dtype, (path.rows, path.length(dtype)))
    found = oracle_losses.exact(op, {"grad_output": g, "output": y, "dim": 1})
    for _ in each_isa():
        laid = path.lay(g), path.lay(y)
        before = [a.copy() for a in laid]
        assert_exact(op, g, y, path.back(call(op, *laid, path.dim)), found=found)
        assert all(map(same_bits, laid, before))
        mixed = call(op, np.ascontiguousarray(laid[0]), laid[1], path.dim)
        assert_exact(op, g, y, path.back(mixed), found=found)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_columns(op, dtype):
    shapes = (1, 5), (1, 50, 37), (3, 130, 70), (2, 7, 1100), (5, 6, 4), (40, 30, 3), (23, 150)
    for shape, dim in zip(shapes, (0, 1, 1, 1, 1, 1, 0), strict=True):
        y = output_of(op, inputs.normal(dtype, shape, seed=1, scale=9.0), dim)
        g = inputs.normal(dtype, shape, seed=2)
        assert_exact(op, g, y, call(op, g, y, dim), dim)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_result_is_stored_past_the_caches(op, dtype):
    for n in (999, 1000, 3_000_011):
        g, y = problem(op, dtype, (max(1, 3_000_000 // n), n))
        whole = call(op, g, y)
        for i in (0, len(g) // 2, len(g) - 1):
            assert same_bits(call(op, g[i].copy(), y[i].copy()), whole[i])
        assert same_bits(call(op, g, y, out=g), whole)


def test_deep_and_masked_outputs(op):
    for dtype, deepest in (("float32", 330.0), ("float64", 1400.0)):
        rng = np.random.default_rng(0)
        x = -rng.uniform(0, deepest, size=(40, 70))
        x[:, 0] = 0
        x[::2, 5:20] = -INF
        y = output_of(op, x.astype(dtype))
        for scale in (1.0, 2.0**30, 2.0**100):
            g = (rng.normal(size=x.shape) * scale).astype(dtype)
            g[::4] = 0  # so that exp(y) times the total stands alone
            g[::4, 0] = scale
            value = _exactly(op, g, y)
            for _ in each_isa():
                result = call(op, g, y).astype(np.longdouble)
                unit = np.spacing(np.maximum(*value).astype(dtype)).astype(np.longdouble)
                assert np.max(np.abs(result - value[0]) / unit) <= bound(op, dtype)


def _exactly(op, g, y):
    """The value and the sum of its absolute terms, in long double, whose exp reaches deeper."""
    absolute = getattr(_reference_gradients, op)
    value = absolute(g, y, 1)
    g, y = np.abs(g).astype(np.longdouble), y.astype(np.longdouble)
    if op == "softmax_backward":
        return value, y * (g + (g * y).sum(axis=1, keepdims=True))
    return value, g + np.exp(y) * g.sum(axis=1, keepdims=True)


def test_outputs_that_are_none(op):
    """What is no softmax, or no logarithm of one, follows the formula all the same."""
    rng = np.random.default_rng(3)
    for dtype, top in (("float32", 80.0), ("float64", 700.0)):
        for shape, dim in (((30, 100), 1), ((30, 9), 1), ((30, 33), 0)):
            y = rng.uniform(-50, top, size=shape).astype(dtype)
            g = (rng.normal(size=shape) * np.exp(-top)).astype(dtype)
            for _ in each_isa():
                assert_exact(op, g, y, call(op, g, y, dim), dim)


# (grad_output, output): softmax_backward, log_softmax_backward, as PyTorch 2.13 has them.
SPECIAL = [
    ((1, 2, 3, 4), (0, -1, -INF, 2), (NAN, -INF, -INF, INF), (-9, -1.6787945, 3, -69.890561)),
    ((INF, 0, 0, 0), (0.5, 0.25, 0, 0.25), (NAN, -INF, NAN, -INF), (NAN, -INF, -INF, -INF)),
    ((INF, 0, 0, 0), (-1, -2, -INF, -3), (NAN,) * 4, (NAN, -INF, NAN, -INF)),
    ((0, 0, 0, 0), (0, -1, -INF, 2), (NAN,) * 4, (0, 0, 0, 0)),
    ((0, 0, 0, 0), (0, -1, INF, 2), (NAN,) * 4, (0, 0, NAN, 0)),
    ((1, 0, 0, 0), (INF, -1, 0, -2), (-INF, INF, NAN, INF), (-INF, -0.36787944, -1, -0.13533528)),
    ((1, -1, 0, 0), (INF, -1, 0, -2), (-INF, INF, NAN, INF), (NAN, -1, 0, 0)),
    ((INF, -INF, 0, 0), (0.5, 0.25, 0, 0.25), (NAN,) * 4, (NAN,) * 4),
    ((NAN, 1, 1, 1), (0.5, 0.25, 0, 0.25), (NAN,) * 4, (NAN,) * 4),
    ((1, 2, 3, 4), (NAN, -1, -2, -3), (NAN,) * 4, (NAN, -1.6787945, 1.6466472, 3.5021293)),
    ((1, 2, 3, 4), (-INF,) * 4, (-INF,) * 4, (1, 2, 3, 4)),
]


@pytest.mark.parametrize("path", ["short rows", "rows", "columns", "unaligned"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(op, dtype, path):
    path = PATHS[path]
    length = path.length(dtype)
    for case in SPECIAL:
        g, y = problem(op, dtype, (path.rows, length))
        undisturbed = path.back(call(op, path.lay(g), path.lay(y), path.dim))
        # The other elements add nothing to the total.
        g[1], y[1] = 0, 0 if op == "softmax_backward" else -2
        at = [0, length // 2, length // 2 + 1, length - 1]
        g[1, at], y[1, at] = case[0], case[1]
        for _ in each_isa():
            result = path.back(call(op, path.lay(g), path.lay(y), path.dim))
            wanted = np.array(case[2 + OPS.index(op)])
            assert np.allclose(result[1, at], wanted, rtol=2e-6, atol=0, equal_nan=True), case
            others = np.arange(path.rows) != 1
            assert np.allclose(result[others], undisturbed[others], rtol=1e-4, atol=1e-6)


def test_signs_of_zero_do_not_depend_on_the_lanes(op):
    y = np.full((2, 80), -1.0 if op.startswith("log") else 0.5, np.float32)
    g = np.zeros((2, 80), np.float32)
    g[:, ::3] = -0.0
    y[1, 7] = 50.0  # takes another way than its neighbours
    first, second = call(op, g, y)
    assert np.array_equal(np.signbit(np.delete(first, 7)), np.signbit(np.delete(second, 7)))


def test_finite_differences(op):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(5, 9)) * 2).astype(np.longdouble)
    g = rng.normal(size=x.shape)
    h = np.longdouble(np.finfo(np.longdouble).eps) ** (np.longdouble(1) / 3)
    forward = getattr(_reference, op.removesuffix("_backward"))
    for dim in (0, 1, (0, 1)):
        differences = np.empty_like(x)
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = h
            difference = (g * (forward(x + step, dim) - forward(x - step, dim))).sum()
            differences[at] = difference / (2 * h)
        for dtype in (np.float64, np.longdouble):
            result = call(op, g.astype(dtype), forward(x, dim).astype(dtype), dim)
            assert result.dtype == dtype
            # the step's error is of the order h * h
            tolerance = 100 * max(float(h) ** 2, 2.0**-50)
            assert np.max(np.abs(result - differences)) < tolerance


def test_the_twin_agrees(op):
    for shape, dim in (((6, 11), 1), ((6, 11), 0), ((3, 4, 5), (0, 2)), ((), 0), ((2, 0), 1)):
        g, y = problem(op, "float64", shape, dim=dim)
        twin = getattr(_reference_gradients, op)(g, y, dim)
        assert (twin.shape, twin.dtype) == (shape, np.longdouble)
        assert np.allclose(twin.astype(float), call(op, g, y, dim), rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_a_row_alone_and_in_a_batch(op, dtype):
    for n in (1, 2, 9, 10, 16, 23, 24, 33, 63, 64, 65, 97, 129, 1000):
        g, y = problem(op, dtype, (150, n), scale=12.0)
        g[7] = NAN
        # totals that the quick sum has not got: other rows beside them keep theirs
        g[9:90:9] *= g.dtype.type(TINY[dtype])
        g[11:90:9] *= g.dtype.type(1 / TINY[dtype] / n / 2**8)
        g[13] = np.where(np.arange(n) % 2, 1, -1)
        whole = call(op, g, y)
        for i in range(len(y)):
            assert same_bits(call(op, g[i].copy(), y[i].copy()), whole[i]), (n, i)
        for start, stop in ((0, 2), (1, 9), (3, 20), (7, 24), (13, 145)):
            part = call(op, g[start:stop].copy(), y[start:stop].copy())
            assert same_bits(part, whole[start:stop]), (n, start, stop)
        down = call(op, g.T.copy(), y.T.copy(), 0)
        for start, stop in ((0, 2), (1, 9), (3, 20), (7, 45), (9, 10), (20, 84), (25, 150)):
            part = call(op, g[start:stop].T.copy(), y[start:stop].T.copy(), 0)
            assert same_bits(part, down[:, start:stop]), (n, start, stop)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_any_alignment(op, dtype):
    for shape, dim in (((5, 10), -1), ((3, 70), -1), ((2, 1000), -1), ((70, 30), 0)):
        g, y = problem(op, dtype, shape, dim=dim)
        wanted = call(op, g, y, dim)
        rooms = [np.empty(y.nbytes + 128, np.uint8) for _ in range(3)]
        for shift in range(0, 64, y.itemsize):
            moved = [
                room[(-room.ctypes.data + k * shift) % 64 :][: y.nbytes].view(y.dtype)
                for k, room in enumerate(rooms, 1)
            ]
            moved = [a.reshape(shape) for a in moved]
            moved[0][...], moved[1][...] = g, y
            call(op, moved[0], moved[1], dim, out=moved[2])
            assert same_bits(moved[2], wanted), (shape, shift)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_any_number_of_threads(op, dtype):
    shapes = (((1000, 257), 1), ((20011, 10), 1), ((3, 257, 300), 1), ((257, 1000), 0))
    for shape, dim in (*shapes, ((300, 40, 30), (0, 2)), ((2, 200_001), 1)):
        g, y = problem(op, dtype, shape, dim=dim)
        results = []
        for threads in (1, 2, 3):
            with fastsoftmax.num_threads(threads):
                results.append(call(op, g, y, dim))
        assert all(same_bits(results[0], other) for other in results[1:]), shape


@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_vector_targets_give_the_same_bits(op, dtype):
    problems = [((19, n), -1) for n in inputs.sizes(dtype)] + [((40, 77), 0)]
    arrays = [(*problem(op, dtype, s, scale=20.0, dim=dim), dim) for s, dim in problems]
    results = {isa: [call(op, *arguments) for arguments in arrays] for isa in each_isa()}
    vector = [name for name in _core._isa_available() if name != "baseline"]
    for one, other in itertools.pairwise(vector):
        assert all(map(same_bits, results[one], results[other])), (one, other)
    # Without FMA the last bit may differ.
    for base, best in zip(results["baseline"], results[_core._isa()], strict=True):
        assert np.allclose(base.astype(float), best.astype(float), rtol=2e-2, atol=1e-5)


LAYOUTS = {  # an array of a shape, made to lie in memory in some way
    "contiguous": lambda shape, dtype: np.empty(shape, dtype),
    "fortran": lambda shape, dtype: np.empty(shape[::-1], dtype).T,
    "every second": lambda shape, dtype: np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2],
    "rows apart": lambda shape, dtype: np.empty((*shape[:-1], shape[-1] + 3), dtype)[..., 3:],
    "backwards": lambda shape, dtype: np.empty(shape, dtype)[..., ::-1],
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("layouts", list(itertools.product(LAYOUTS, repeat=3)))
def test_layouts_that_differ(op, layouts):
    for shape, dim in (((9, 10), 1), ((5, 70), 0), ((4, 5, 6), 1), ((4, 5, 6), (0, 2))):
        g, y = problem(op, "float32", shape, dim=dim)
        wanted = call(op, g, y, dim)
        laid = [LAYOUTS[layout](shape, y.dtype) for layout in layouts]
        laid[0][...], laid[1][...] = g, y
        assert call(op, *laid[:2], dim, out=laid[2]) is laid[2]
        assert np.allclose(laid[2], wanted, rtol=1e-5, atol=1e-6)


def test_few_elements_go_straight_to_the_kernels(op, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("not straight")

    monkeypatch.setattr(_gradients, "_apply", refuse)
    g, y = problem(op, "float32", (4, 6, 5), dim=1)
    ways = (np.array, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a.T, lambda a: a[0].T)
    with taken_for_few():
        for lay in ways:
            call(op, lay(g), lay(y), 1)
            call(op, lay(g).copy("K"), lay(y), 0)
    with taken_for_few(), pytest.raises(AssertionError, match="not straight"):
        call(op, g, y.transpose(1, 0, 2).copy().transpose(1, 0, 2), 1)


@pytest.mark.usefixtures("small")
def test_the_result_lies_as_the_output_does(op):
    g, y = problem(op, "float32", (6, 7, 8), dim=1)
    for order in itertools.permutations(range(3)):
        result = call(
            op, g, np.ascontiguousarray(y.transpose(order)).transpose(np.argsort(order)), 1
        )
        assert result.transpose(order).flags.c_contiguous


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_in_place(op, dtype):
    for shape, dim in (
        ((45, 10), 1),
        ((7, 300), 1),
        ((70, 33), 0),
        ((3, 17, 40), 1),
        ((9, 8), (0, 1)),
    ):
        for which in (0, 1):
            arguments = list(problem(op, dtype, shape, dim=dim))
            wanted = call(op, *arguments, dim)
            assert call(op, *arguments, dim, out=arguments[which]) is arguments[which]
            assert same_bits(arguments[which], wanted), shape
    both = inputs.normal(dtype, (7, 70), seed=3)
    wanted = call(op, both.copy(), both.copy())
    assert same_bits(call(op, both, both, out=both), wanted)


@pytest.mark.parametrize("which", [0, 1])
def test_overlap_in_part(op, which):
    for shape, dim in (((6, 10), 1), ((4, 100), 1), ((40, 33), 0)):
        size = int(np.prod(shape))
        for shift in (-shape[1], -3, -1, 1, 2, shape[1]):
            arguments = list(problem(op, "float64", shape, dim=dim))
            wanted = call(op, *arguments, dim)
            room = np.zeros(size + 2 * abs(shift))
            place = room[abs(shift) :][:size].reshape(shape)
            place[...] = arguments[which]
            arguments[which] = place
            out = room[abs(shift) + shift :][:size].reshape(shape)
            assert call(op, *arguments, dim, out=out) is out
            assert same_bits(out, wanted), (shape, shift)
    for view in (lambda a: a[::-1], lambda a: a.T):
        arguments = list(problem(op, "float64", (30, 30)))
        wanted = call(op, *arguments)
        out = view(arguments[which])
        assert np.allclose(call(op, *arguments, out=out), wanted, rtol=1e-12)


def test_byte_order_read_only_and_lists(op):
    g, y = problem(op, "float32", (5, 12))
    wanted = call(op, g, y)
    swapped = g.astype(">f4"), y.astype(">f4")
    assert same_bits(call(op, *swapped), wanted)
    assert same_bits(call(op, g, swapped[1]), wanted)
    for a in (g, y):
        a.flags.writeable = False
    assert same_bits(call(op, g, y), wanted)
    g, y = problem(op, "float64", (2, 3))
    assert same_bits(call(op, g.tolist(), y.tolist()), call(op, g, y))


def test_integers_are_float64(op):
    g, y = np.array([[1, 0, 0], [0, 2, 0]]), np.array([[-1, -2, -3], [0, -1, -2]])
    wanted = call(op, g.astype(float), y.astype(float))
    assert same_bits(call(op, g, y), wanted)
    assert same_bits(call(op, g.astype("u1"), y), wanted)
    assert same_bits(call(op, g > 0, y), call(op, (g > 0).astype(float), y.astype(float)))
    assert same_bits(call(op, g, y.astype(float)), wanted)


def test_zero_dimensions_and_empty(op):
    one = np.array(1.0 if op == "softmax_backward" else 0.0, np.float32)
    for dim in (0, -1):
        result = call(op, np.array(3, np.float32), one, dim)
        assert (result.shape, result.dtype) == ((), np.float32)
        assert abs(result) <= bound(op, "float32") * np.spacing(np.float32(6))
    out = np.array(7, np.float32)
    assert call(op, np.array(3, np.float32), one, 0, out=out) is out
    assert same_bits(out, result)
    for dtype, shape in itertools.product(
        inputs.DTYPES.values(), [(0,), (0, 3), (3, 0), (2, 0, 3)]
    ):
        empty = np.empty(shape, dtype)
        for dim in range(-len(shape), len(shape)):
            result = call(op, empty, empty, dim)
            assert (result.shape, result.dtype) == (shape, dtype)
            assert call(op, empty, empty, dim, out=result) is result


FINE = np.zeros((2, 3), np.float32)
REFUSED = {
    "another shape": (RuntimeError, "shape of output", lambda a: (a, a[:1], 1)),
    "a shape that broadcasts": (RuntimeError, "shape of output", lambda a: (a[0], a, 1)),
    "another dtype": (TypeError, "float64 and float32", lambda a: (a.astype("f8"), a, 1)),
    "halves of two kinds": (TypeError, "float16 and float32", lambda a: (a.astype("f2"), a, 1)),
    "integers beside float32": (TypeError, "int64 and float32", lambda a: (a.astype("i8"), a, 1)),
    "no dim": (TypeError, "needs dim", lambda a: (a, a, None)),
    "a dim out of range": (IndexError, r"range of \[-2, 1\], but got 2", lambda a: (a, a, 2)),
    "a dim of an empty array": (IndexError, "but got 2", lambda a: (a[:0], a[:0], 2)),
    "a repeated dim": (ValueError, "twice", lambda a: (a, a, (0, -2))),
    "no integer": (TypeError, "int", lambda a: (a, a, 1.0)),
    "a bool": (TypeError, "int", lambda a: (a, a, True)),
    "complex": (TypeError, "complex64", lambda a: (a.astype("c8"), a.astype("c8"), 1)),
    "objects": (TypeError, "object", lambda a: (a.astype(object), a, 1)),
    "strings": (TypeError, "<U", lambda a: (a, a.astype(str), 1)),
    "a masked gradient": (TypeError, "grad_output.filled", lambda a: (np.ma.array(a), a, 1)),
    "a masked output": (TypeError, "output.filled", lambda a: (a, np.ma.array(a), 1)),
}
REFUSED_OUT = {
    "another shape": (ValueError, "shape", lambda: np.empty((3, 2), np.float32)),
    "another dtype": (TypeError, "dtype", lambda: np.empty((2, 3))),
    "read-only": (ValueError, "read-only", lambda: np.broadcast_to(FINE, (2, 3))),
    "no array": (TypeError, "ndarray", lambda: [[0.0] * 3] * 2),
    "masked": (TypeError, "ndarray", lambda: np.ma.zeros((2, 3), np.float32)),
    "shared memory": (
        ValueError,
        "share memory",
        lambda: np.lib.stride_tricks.as_strided(FINE.copy(), (2, 3), (0, 4)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(op, name):
    error, text, make = REFUSED[name]
    out = np.full((2, 3), 7, np.float32)
    with pytest.raises(error, match=text) as caught:
        call(op, *make(FINE), out=out)
    assert len(str(caught.value)) > 20
    assert np.all(out == 7)


@pytest.mark.parametrize("name", REFUSED_OUT)
def test_refused_out(op, name):
    error, text, make = REFUSED_OUT[name]
    with pytest.raises(error, match=text):
        call(op, FINE, FINE, 1, out=make())


def test_memory_is_bounded(op):
    g, y = problem(op, "float32", (3000, 1000))
    out = np.empty_like(y)
    wide = np.zeros((3000, 2000), np.float32)
    wide[:, ::2] = y
    layouts = {
        "contiguous": (g, y, 1),
        "first dim": (g, y, 0),
        "gradient transposed": (np.asfortranarray(g), y, 1),
        "every second": (g, wide[:, ::2], 1),
        "byte-swapped": (g.astype(">f4"), y.astype(">f4"), 1),
        "broadcast": (np.broadcast_to(g[:1], g.shape), y, 1),
    }
    for name, arguments in layouts.items():
        tracemalloc.start()
        try:
            call(op, *arguments, out=out)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20, f"{name} took {peak} bytes"
        if arguments[2] == 1:
            few = [np.ascontiguousarray(a[:5], np.float32) for a in arguments[:2]]
            assert_exact(op, *few, out[:5])


def test_floating_point_environment_is_the_callers(op):
    g, y = problem(op, "float64", (3, 70))
    with np.errstate(all="raise"):
        g[0, 0], y[1, 1] = INF, NAN
        result = call(op, g, y)
    assert np.isnan(result[0, 0])
    assert np.isfinite(result[2]).all()
