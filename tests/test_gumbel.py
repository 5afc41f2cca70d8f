"""gumbel_softmax: the distribution of its samples, the noise at its tails, `rng` and `tau`.

Chi-square statistics have fixed seeds, so that they pass or fail once and for all; each is also
taken against a slightly wrong distribution, which it must tell apart.
"""

import inspect
import math
import warnings

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
import inputs
from checks import same_bits
from fastsoftmax import _gumbel
from subprocesses import run_python

DRAWS = 10**6
LOGITS = np.array([1.5, -1.0, 0.25, 2.0, -3.0, 0.0, 0.5, -0.5, 1.0, -2.0])
NAN, INF = float("nan"), float("inf")


def _chi_square(counts, probabilities):
    expected = np.sum(counts) * probabilities / np.sum(probabilities)
    assert expected.min() > 100, "too few draws for the statistic"
    return float(np.sum((counts - expected) ** 2 / expected))


def _threshold(bins):
    """The 0.999 quantile of chi-square by Wilson and Hilferty's cube, good to 1 % from 10 bins."""
    freedom = 2 / (9 * (bins - 1))
    return (bins - 1) * (1 - freedom + 3.0902 * math.sqrt(freedom)) ** 3


def test_the_threshold():
    assert _threshold(10) == pytest.approx(27.877, rel=1e-2)  # from tables
    assert _threshold(20) == pytest.approx(43.820, rel=1e-2)


def _assert_distributed(counts, probabilities, wrong):
    assert _chi_square(counts, probabilities) < _threshold(len(counts))
    assert _chi_square(counts, wrong) > 2 * _threshold(len(counts)), "it would miss an error"


@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_hard_samples_are_distributed_as_the_softmax(dtype):
    logits = LOGITS.astype(inputs.DTYPES[dtype])
    drawn = F.gumbel_softmax(np.broadcast_to(logits, (DRAWS, 10)), hard=True, rng=2026)
    assert drawn.dtype == logits.dtype
    counts = np.bincount(drawn.argmax(1), minlength=10)
    wanted = F.softmax(LOGITS, 0)
    _assert_distributed(counts, wanted, F.softmax(LOGITS * 0.99, 0))


@pytest.mark.parametrize("tau", [0.1, 1, 10])
def test_relaxed_samples_have_their_largest_element_as_often(tau):
    drawn = F.gumbel_softmax(np.broadcast_to(LOGITS, (DRAWS, 10)), tau, rng=7)
    counts = np.bincount(drawn.argmax(1), minlength=10)
    _assert_distributed(counts, F.softmax(LOGITS, 0), F.softmax(LOGITS * 0.99, 0))


@pytest.mark.parametrize("tau", [0.3, 1, 4])
def test_relaxed_samples_of_two_classes(tau):
    """Against their distribution function, sigmoid(tau * logit(y) - (a - b))."""
    a, b = 0.75, -0.5
    drawn = F.gumbel_softmax(np.broadcast_to([a, b], (DRAWS, 2)), tau, rng=3)
    quantiles = np.arange(1, 20) / 20
    edges = 1 / (1 + np.exp(-(np.log(quantiles / (1 - quantiles)) + a - b) / tau))
    counts = np.bincount(np.searchsorted(edges, drawn[:, 0]), minlength=20)
    _assert_distributed(counts, np.full(20, 0.05), np.linspace(0.98, 1.02, 20))


def test_unlikely_classes_win_as_often_as_they_should():
    """Below 1e-4 the upper tail of the noise decides: 40 classes share 4e-3 of the probability."""
    p = np.append(np.full(40, 1e-4), 1 - 4e-3)
    drawn = F.gumbel_softmax(np.broadcast_to(np.log(p), (DRAWS, 41)), hard=True, rng=11)
    counts = np.count_nonzero(drawn, axis=0)
    # Poisson counts of mean 100 suffice for the statistic.
    assert np.sum((counts - DRAWS * p) ** 2 / (DRAWS * p)) < _threshold(41)
    wrong = np.append(np.full(40, 1.2e-4), 1 - 4.8e-3)
    assert np.sum((counts - DRAWS * wrong) ** 2 / (DRAWS * wrong)) > _threshold(41)


class _Coarse(np.random.Generator):
    """Exponential draws as coarse as `step`, so that many of them are 0."""

    step = 0.0

    def standard_exponential(self, size=None, dtype=np.float64, method="zig", out=None):
        drawn = super().standard_exponential(size, dtype, method, out)
        np.floor(drawn / self.step, out=drawn)
        drawn *= self.step
        return drawn


def test_a_draw_of_0_gives_finite_noise():
    rng = _Coarse(np.random.PCG64(1))
    rng.step = 0.5
    plain = np.empty(10_000)
    rng.standard_exponential(out=plain)
    assert np.count_nonzero(plain == 0) > 1000
    noise = np.empty(10_000)
    _gumbel._exponential(rng, noise)
    assert noise.min() > 0
    assert np.isfinite(F.gumbel_softmax(np.zeros((1000, 10)), tau=0.01, rng=rng)).all()
    assert np.all(F.gumbel_softmax(np.zeros((1000, 10)), hard=True, rng=rng).sum(1) == 1)


def test_draws_near_0_are_those_of_the_distribution(monkeypatch):
    """Half of all draws, and then all the coarse ones, are made again by inversion."""
    monkeypatch.setattr(_gumbel, "NEAR_0", math.log(2))
    drawn = np.empty(DRAWS)
    _gumbel._exponential(np.random.default_rng(5), drawn)
    edges = -np.log1p(-np.arange(1, 20) / 20)
    counts = np.bincount(np.searchsorted(edges, drawn), minlength=20)
    _assert_distributed(counts, np.full(20, 0.05), np.linspace(0.98, 1.02, 20))
    assert np.unique(drawn).size == DRAWS


@pytest.mark.parametrize("dtype", [*inputs.DTYPES, "longdouble", "int16", "bool", "uint8"])
@pytest.mark.parametrize(("shape", "dim"), [((7,), 0), ((5, 9), 1), ((5, 9), 0), ((2, 3, 4), 1)])
def test_samples_sum_to_1(dtype, shape, dim):
    dtype = np.dtype(inputs.DTYPES.get(dtype, dtype))
    x = (4 * np.random.default_rng(1).random(shape)).astype(dtype)
    for tau in (0.2, 1, 5):
        y = F.gumbel_softmax(x, tau, dim=dim, rng=1)
        assert y.shape == shape
        assert y.dtype == (np.float64 if dtype.kind in "iub" else dtype)
        rounding = {"float16": 5e-3, "bfloat16": 4e-2, "float32": 1e-6}.get(dtype.name, 1e-14)
        assert np.allclose(y.astype(float).sum(dim), 1, rtol=0, atol=rounding)
        hard = F.gumbel_softmax(x, tau, True, dim=dim, rng=1)
        assert hard.dtype == y.dtype
        assert np.all(hard.sum(dim) == 1)
        assert set(np.unique(hard.astype(float))) <= {0.0, 1.0}
        assert np.array_equal(hard.argmax(dim), y.argmax(dim))


def test_a_tuple_of_dims_is_one_long_dim():
    x = np.random.default_rng(2).normal(size=(3, 4, 5))
    y = F.gumbel_softmax(x, dim=(1, 2), rng=9)
    assert same_bits(y, F.gumbel_softmax(x.reshape(3, 20), rng=9).reshape(x.shape))
    assert same_bits(y, F.gumbel_softmax(x, dim=(-1, -2), rng=9))
    assert np.all(F.gumbel_softmax(x, hard=True, dim=(0, 2), rng=9).sum((0, 2)) == 1)


def test_low_temperatures_approach_one_hot_and_high_ones_uniform():
    x = np.broadcast_to(LOGITS, (200, 10))
    one_hot = F.gumbel_softmax(x, hard=True, rng=4)
    apart = [
        np.abs(F.gumbel_softmax(x, tau, rng=4) - one_hot).max(1).mean() for tau in (2, 0.5, 0.1)
    ]
    assert apart[0] > 2 * apart[1] > 4 * apart[2]
    for tau in (1e-12, 1e-300, 5e-324):
        assert np.array_equal(F.gumbel_softmax(x, tau, rng=4), one_hot)
    assert np.allclose(F.gumbel_softmax(x, 1e9, rng=4), 0.1, rtol=1e-6)


def test_tau_as_other_numbers():
    wanted = F.gumbel_softmax(LOGITS, 2.0, rng=0)
    for tau in (2, np.float32(2), np.array(2), np.array([2.0]), np.uint8(2)):
        assert same_bits(F.gumbel_softmax(LOGITS, tau, rng=0), wanted)


@pytest.mark.parametrize("tau", [0, 0.0, -0.0, -1, NAN, INF, -INF])
def test_temperatures_that_are_none(tau):
    for hard in (False, True):
        with pytest.raises(ValueError, match="tau to be positive and finite"):
            F.gumbel_softmax(LOGITS, tau, hard)


@pytest.mark.parametrize("tau", ["1", None, 1j, [1.0, 2.0], np.empty(0), object(), 10**400])
def test_temperatures_that_are_no_numbers(tau):
    with pytest.raises(TypeError, match="tau to be one real number"):
        F.gumbel_softmax(LOGITS, tau)


def test_rng_is_what_default_rng_takes():
    def drawn(rng):
        return F.gumbel_softmax(np.zeros((3, 5)), rng=rng)

    wanted = drawn(12)
    sequence = np.random.SeedSequence(12)
    for rng in (12, np.int64(12), sequence, np.random.PCG64(12), np.random.default_rng(12)):
        assert same_bits(drawn(rng), wanted)
    assert same_bits(drawn([1, 2]), drawn([1, 2]))
    assert not same_bits(drawn(13), wanted)
    assert not same_bits(drawn(None), drawn(None))
    generator = np.random.default_rng(12)
    assert same_bits(drawn(generator), wanted)
    assert not same_bits(drawn(generator), wanted), "a Generator is advanced"
    with pytest.raises(TypeError):
        drawn("seed")
    with pytest.raises(TypeError, match="positional"):
        F.gumbel_softmax(LOGITS, 1, False, 1e-10, -1, 0)


FORKED = """
import os
import threading
import fastsoftmax.functional as F

def drawn():
    return F.gumbel_softmax([0.0, 0.0, 0.0]).tobytes()

found = {drawn(), drawn()}
thread = threading.Thread(target=lambda: found.add(drawn()))
thread.start()
thread.join()
for _ in range(2):
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, drawn())
        os._exit(0)
    found.add(os.read(reader, 24))
    os.wait()
found.add(drawn())
print(len(found))
"""


def test_without_a_seed_threads_and_child_processes_draw_their_own():
    assert run_python(FORKED).stdout.strip() == "6"


def test_the_legacy_global_seed_is_not_touched():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    F.gumbel_softmax(LOGITS)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


THREADS = """
import hashlib
import numpy as np
import fastsoftmax
import fastsoftmax.functional as F

rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for shape, dim in [((1000, 257), -1), ((1, 500003), -1), ((257, 1000), 0),
                       ((30, 40, 50), (0, 2))]:
        x = rng.normal(size=shape).astype(dtype)
        for hard in (False, True):
            found = set()
            for threads in (1, 2, 3):
                with fastsoftmax.num_threads(threads):
                    y = F.gumbel_softmax(x, 0.7, hard, dim=dim, rng=5)
                    found.add(hashlib.sha256(y.tobytes()).hexdigest())
            assert len(found) == 1, (dtype, shape, dim, hard)
print("the same")
"""


def test_a_fixed_rng_gives_the_same_for_any_number_of_threads():
    result = run_python(THREADS, environment={"OMP_NUM_THREADS": "4"})
    assert result.stdout.strip() == "the same"


@pytest.mark.parametrize("hard", [False, True])
def test_a_fixed_rng_gives_the_same_for_any_layout_and_dtype(hard):
    x = np.random.default_rng(3).normal(size=(300, 40, 30)).astype(np.float32)
    before = x.copy()
    backwards = x[::-1, ::-1].copy()[::-1, ::-1]
    padded = np.repeat(x, 2, axis=2)[..., ::2]
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for dim in (0, 1, 2, (0, 2)):
        wanted = F.gumbel_softmax(x, 0.5, hard, dim=dim, rng=8)
        for other in (
            np.asfortranarray(x),
            backwards,
            padded,
            unaligned,
            read_only,
            x.astype(">f4"),
        ):
            assert same_bits(F.gumbel_softmax(other, 0.5, hard, dim=dim, rng=8), wanted)
        wide = F.gumbel_softmax(x.astype(np.float64), 0.5, hard, dim=dim, rng=8)
        assert same_bits(wide.astype(np.float32), wanted)
        longest = F.gumbel_softmax(x.astype(np.longdouble), 0.5, hard, dim=dim, rng=8)
        assert np.allclose(longest.astype(np.float64), wide, rtol=1e-12, atol=0)
    assert same_bits(x, before)


@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_special_values(dtype):
    rows = [[NAN, 1, 2], [INF, 1, 2], [INF, INF, 0], [-INF] * 3, [-INF, 1, 2], [-INF, -INF, 0]]
    x = np.array(rows).astype(inputs.DTYPES[dtype])
    for tau in (5e-324, 0.5, 1e300):
        for hard in (False, True):
            y = F.gumbel_softmax(x, tau, hard, rng=1).astype(float)
            assert np.isnan(y[:4]).all()
            assert np.allclose(y[4:].sum(1), 1, rtol=0, atol=0.01)
            assert y[4, 0] == 0
            assert np.array_equal(y[5], [0, 0, 1])


def test_large_logits_do_not_overflow():
    x = np.array([[1e308, 1.7e308, -1.7e308]])
    assert np.array_equal(F.gumbel_softmax(x, 1e-3, rng=0), [[0, 1, 0]])
    x = np.array([[3e38, 3.4e38, -3.4e38]], np.float32)
    assert np.array_equal(F.gumbel_softmax(x, 1e-3, rng=0), [[0, 1, 0]])


@pytest.mark.parametrize("hard", [False, True])
def test_nothing_to_draw(hard):
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        for dim in range(len(shape)):
            y = F.gumbel_softmax(np.empty(shape, np.float32), hard=hard, dim=dim)
            assert (y.shape, y.dtype) == (shape, np.float32)
    for dim in (0, -1):
        y = F.gumbel_softmax(np.float32(3), hard=hard, dim=dim)
        assert isinstance(y, np.ndarray)
        assert (y.shape, y.dtype, float(y)) == ((), np.float32, 1.0)
    with pytest.raises(IndexError, match="Dimension out of range"):
        F.gumbel_softmax(np.empty((0, 3)), dim=2, hard=hard)


def test_dims_that_are_none():
    with pytest.raises(IndexError) as caught:
        F.gumbel_softmax(np.zeros((2, 3)), dim=2)
    text = "Dimension out of range (expected to be in range of [-2, 1], but got 2)"
    assert str(caught.value) == text
    for dim in (None, 1.0, "0"):
        with pytest.raises(TypeError, match="gumbel_softmax"):
            F.gumbel_softmax(np.zeros((2, 3)), dim=dim)
    with pytest.raises(ValueError, match="twice"):
        F.gumbel_softmax(np.zeros((2, 3)), dim=(1, -1))


@pytest.mark.parametrize("wrong", [np.zeros(3, complex), np.array(["a"]), np.array([None])])
def test_logits_that_are_no_real_numbers(wrong):
    with pytest.raises(TypeError, match="gumbel_softmax"):
        F.gumbel_softmax(wrong)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"filled\(-numpy.inf\)"):
        F.gumbel_softmax(np.ma.masked_array(LOGITS, LOGITS > 1))


def test_eps_warns_at_the_line_of_the_caller():
    with pytest.warns(UserWarning) as caught:
        line = inspect.currentframe().f_lineno + 1
        y = F.gumbel_softmax(LOGITS, eps=1e-9, rng=0)
    assert [str(w.message) for w in caught] == ["`eps` parameter is deprecated and has no effect."]
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
    assert same_bits(y, F.gumbel_softmax(LOGITS, rng=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.gumbel_softmax(LOGITS, eps=1e-10)


def test_the_signature_is_that_of_pytorch_and_rng():
    parameters = inspect.signature(fastsoftmax.gumbel_softmax).parameters
    defaults = [(name, p.default) for name, p in parameters.items()]
    assert defaults == [
        ("logits", inspect.Parameter.empty),
        ("tau", 1),
        ("hard", False),
        ("eps", 1e-10),
        ("dim", -1),
        ("rng", None),
    ]
    assert parameters["rng"].kind is inspect.Parameter.KEYWORD_ONLY
    assert fastsoftmax.gumbel_softmax is F.gumbel_softmax


MEMORY = """
import sys, tracemalloc
import numpy as np
import fastsoftmax.functional as F

F.gumbel_softmax(np.zeros(3))  # what the first call imports
for dtype in ("float16", "float32", "float64"):
    for shape, dim in [((4000, 1000), 1), ((4000, 1000), 0), ((10, 400, 1000), (0, 2))]:
        x = np.zeros(shape, dtype)
        for hard in (False, True):
            tracemalloc.start()
            F.gumbel_softmax(x, hard=hard, dim=dim)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak - x.nbytes < 1 << 20, (dtype, shape, dim, hard, peak - x.nbytes)
print("bounded")
"""


def test_memory_beyond_the_result_is_bounded():
    assert run_python(MEMORY).stdout.strip() == "bounded"
