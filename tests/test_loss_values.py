"""The losses' and their gradient's values: hard inputs, sums, infinities, NaN, rows ignored."""

import warnings

import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
import oracle_losses
from bounds import CLASS_LOSS, bound
from checks import each_isa, same_bits
from losses import NAMES, assert_within, call, problem

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("case", inputs.HARD)
def test_hard_inputs(case, dtype):
    rng = np.random.default_rng(1)
    for x in inputs.hard(case, dtype):
        x = x[:20, :5000] if x.shape[1] > 5000 else x[:300]
        rows, n = x.shape
        order = np.argsort(x.astype(np.float64), axis=1)
        found = {
            "input": np.concatenate([x, x, x]),
            "target": np.concatenate([order[:, -1], order[:, 0], rng.integers(0, n, rows)]),
            "reduction": "none",
        }
        g = {"grad_output": rng.normal(size=3 * rows)}
        losses = oracle_losses.exact("cross_entropy", found)
        slopes = oracle_losses.exact("cross_entropy_backward", g | found)
        for isa in each_isa():
            error = oracle_losses.error_ulp(F.cross_entropy(**found), losses)
            assert error <= bound(CLASS_LOSS, x.dtype), isa
            error = oracle_losses.error_ulp(F.cross_entropy_backward(**g, **found), slopes)
            assert error <= bound("cross_entropy_backward", x.dtype), isa


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_row_of_tiny_terms(dtype):
    """All of them round alike where they are added to a maximum, which is then subtracted."""
    n = 2**24
    x = np.full(n, -36.95, dtype)
    for gap in (3.0, 7.5, 12.0, 20.0):
        x[0], x[5] = 0, -gap
        rest = np.exp(np.longdouble(x[5])) + (n - 2) * np.exp(np.longdouble(x[1]))
        exact = np.log1p(rest)
        for isa in each_isa():
            loss = F.cross_entropy(x[None], np.array([0]))
            error = abs(loss.astype(np.longdouble) - exact) / np.spacing(exact.astype(dtype))
            assert error <= bound(CLASS_LOSS, x.dtype), isa


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("case", inputs.HARD)
def test_hard_inputs_with_weights_and_smoothing(case, dtype):
    if (case, dtype) == ("the largest numbers mixed", "float64"):
        pytest.skip("their sum over the classes is past every number of a float64")
    rng = np.random.default_rng(2)
    for x in inputs.hard(case, dtype):
        x = x[:60, :300]
        rows, n = x.shape
        classes, p = rng.integers(0, n, rows), inputs.fit(rng.dirichlet(np.ones(n), rows), dtype)
        weight = rng.uniform(0, 2, n)
        for target, eps, w in ((classes, 0.1, None), (classes, 0.0, weight), (p, 0.25, weight)):
            found = {"input": x, "target": target, "weight": w, "label_smoothing": eps}
            each = found | {"reduction": "none"}
            g = {"grad_output": np.array(0.5)}
            losses = oracle_losses.exact("cross_entropy", each)
            slopes = oracle_losses.exact("cross_entropy_backward", g | found)
            for isa in each_isa():
                error = oracle_losses.error_ulp(F.cross_entropy(**each), losses)
                assert error <= bound("cross_entropy", x.dtype), isa
                error = oracle_losses.error_ulp(F.cross_entropy_backward(**g, **found), slopes)
                assert error <= bound("cross_entropy_backward", x.dtype), isa


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", inputs.DTYPES)
def test_sums_and_means(dtype, name):
    rng = np.random.default_rng(3)
    for shape in ((1000, 7), (50, 1000), (9, 40, 30), (3, 20_000)):
        x, t = problem(dtype, shape)
        x = x.astype(np.float64) - (30 if name == "nll_loss" else 0)  # of both signs or of one
        x = inputs.fit(x, dtype)
        for weight in (None, rng.uniform(0, 2, shape[1])):
            for reduction in ("mean", "sum"):
                found = {"input": x, "target": t, "weight": weight, "reduction": reduction}
                assert_within(name, call(name, **found), **found)


@pytest.mark.usefixtures("isa")
def test_float16_rows_of_70000_classes():
    for x in (np.zeros((1, 70_000), np.float16), inputs.normal("float16", (2, 70_000), 1)):
        t = np.arange(len(x)) * 1000
        result = F.cross_entropy(x, t)
        assert result.dtype == np.float16
        assert np.isfinite(result)
        assert_within("cross_entropy", result, input=x, target=t)
        assert_within(
            "cross_entropy_backward", F.cross_entropy_backward(1, x, t), input=x, target=t
        )
    assert float(F.cross_entropy(np.zeros((1, 70_000), np.float16), [3])) == np.float16(
        np.log(70_000)
    )


def test_confident_rows_keep_their_digits():
    x = np.array([[60.0, 0.0], [0.0, 700.0]])
    losses = F.cross_entropy(x, [0, 1], reduction="none")
    assert losses[0] == pytest.approx(np.exp(-60.0), rel=1e-15)
    assert losses[1] == pytest.approx(np.exp(-700.0), rel=1e-13)
    gradient = F.cross_entropy_backward(1.0, x, [0, 1], reduction="sum")
    assert np.allclose(gradient, losses[:, np.newaxis] * [[-1, 1], [1, -1]], rtol=1e-13, atol=0)


def test_the_mean_is_finite_where_the_sum_is_not():
    x = np.array([[3e38, 0], [0, 0]] * 2, np.float32)
    result = F.cross_entropy(x, [1, 0, 1, 0])
    assert float(result) == pytest.approx(1.5e38, rel=1e-6)
    assert np.isinf(F.cross_entropy(x, [1, 0, 1, 0], reduction="sum"))
    half = np.full((4096, 2), 20, np.float16)
    half[:, 1] = -20
    assert float(F.cross_entropy(half, np.ones(4096, int))) == 40


def test_many_rows_are_summed_in_a_wider_type():
    x, t = problem("float32", (300_000, 2))
    each = F.cross_entropy(x.astype(np.float64), t, reduction="none")
    for reduction, wanted in (("sum", each.sum()), ("mean", each.mean())):
        result = F.cross_entropy(x, t, reduction=reduction)
        assert abs(float(result) - wanted) <= np.spacing(np.float32(wanted))


@pytest.mark.parametrize("name", NAMES)
def test_infinities_and_nan_stay_in_their_rows(name):
    x, t = problem("float32", (12, 5))
    whole = call(name, x, t, reduction="sum") if name != "cross_entropy_backward" else None
    per_row = {"reduction": "none"} | (
        {"grad_output": np.ones(12)} if name == "cross_entropy_backward" else {}
    )
    clean = getattr(F, name)(input=x, target=t, **per_row)
    spoiled = x.copy()
    spoiled[1, t[1]], spoiled[4, :], spoiled[7, t[7]], spoiled[9, t[9]] = NAN, -INF, INF, -INF
    result = getattr(F, name)(input=spoiled, target=t, **per_row)
    others = [0, 2, 3, 5, 6, 8, 10, 11]
    assert same_bits(result[others], clean[others])
    assert np.isnan(result[1]).any()
    if name == "nll_loss":
        assert result[[4, 7, 9]].tolist() == [INF, -INF, INF]
    else:
        assert np.isnan(result[[4, 7]]).all()
    if name == "cross_entropy":
        assert result[9] == INF
    if name == "cross_entropy_backward":
        assert result[9, t[9]] == -1
    else:
        assert np.isfinite(whole)
        assert np.isnan(call(name, spoiled, t))


def test_a_probability_of_0_at_minus_infinity_is_nan_as_in_pytorch():
    x = np.array([[0.0, -INF, 1.0]])
    assert np.isnan(F.cross_entropy(x, np.array([[0.5, 0.0, 0.5]])))
    assert np.isfinite(F.cross_entropy(x, [0]))
    assert F.cross_entropy(x, [0], label_smoothing=0.1) == INF


@pytest.mark.parametrize("name", NAMES)
def test_no_warning_whatever_the_caller_has_set(name):
    x, t = problem("float16", (6, 5))
    x[0], x[1, 2], x[2, 0], x[3] = -INF, NAN, INF, 65504
    t[4] = -100
    keywords = {"input": x, "target": t, "weight": np.array([0, INF, 1e300, 1, 1])}
    wide = {"grad_output": np.full(6, 1e300)}
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in ({"reduction": "none"}, {"reduction": "mean"}, {"reduction": "sum"}):
            if name == "cross_entropy_backward":
                more = more | (wide if more["reduction"] == "none" else {"grad_output": INF})
            assert getattr(F, name)(**keywords, **more).dtype == np.float16
        if name != "nll_loss":
            p = np.zeros((6, 5))
            call(name, x, p, label_smoothing=1.0)
        empty = np.zeros((0, 5), np.float32)
        assert call(name, empty, np.zeros(0, int)).dtype == np.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_rows_ignored(smoothing):
    x, t = problem("float32", (3, 5, 2))
    t[...] = 7
    keywords = {"ignore_index": 7, "label_smoothing": smoothing}
    assert np.isnan(F.cross_entropy(x, t, **keywords))
    assert F.cross_entropy(x, t, reduction="sum", **keywords) == 0
    assert not F.cross_entropy(x, t, reduction="none", **keywords).any()
    for weight in (None, np.ones(5)):
        gradient = F.cross_entropy_backward(1.0, x, t, weight, **keywords)
        assert same_bits(gradient, np.zeros_like(x))
    assert np.isnan(F.nll_loss(x, t, ignore_index=7))
    assert F.nll_loss(x, t, ignore_index=7, reduction="sum") == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_classes(name):
    x = np.zeros((2, 0, 3), np.float32)
    ignored = np.full((2, 3), -100)
    if name == "cross_entropy_backward":
        assert call(name, x, ignored).shape == x.shape
    else:
        assert np.isnan(call(name, x, ignored))
        assert same_bits(call(name, x, ignored, reduction="none"), np.zeros((2, 3), np.float32))
    with pytest.raises(IndexError, match="Target 0 is out of bounds"):
        call(name, x, np.zeros((2, 3), int))
