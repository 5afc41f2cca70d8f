"""Properties of the losses that hold for any logits: found by hypothesis."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import fastsoftmax.functional as F
import oracle_losses
from bounds import CLASS_LOSS, bound
from checks import FLOATS, same_bits
from losses import NAMES, assert_within, call


@st.composite
def batches(draw, dtype, largest=30.0):
    """Logits (N, C, K) of finite numbers, and a class for each row."""
    n, classes, k = (draw(st.integers(1, size)) for size in (6, 9, 3))
    limit = float(np.dtype(dtype).type(largest))
    elements = st.floats(-limit, limit, width=np.dtype(dtype).itemsize * 8)
    x = draw(hnp.arrays(dtype, (n, classes, k), elements=elements))
    t = draw(hnp.arrays(np.int64, (n, k), elements=st.integers(0, classes - 1)))
    return x, t


def weights(classes):
    return hnp.arrays(np.float64, classes, elements=st.floats(0.125, 4))


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_any_finite_logits(dtype, data):
    x, t = data.draw(batches(dtype, largest=1e30))
    found = {"input": x, "target": t, "reduction": "none"}
    result = F.cross_entropy(**found)
    assert_within("cross_entropy", result, bound(CLASS_LOSS, dtype), **found)
    assert (result >= 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_shifts_that_are_exact_change_nothing_but_the_rounding(dtype, data):
    whole, t = data.draw(batches(dtype))
    x = np.rint(whole * 64) / dtype_of(dtype)(64)
    shift = data.draw(st.sampled_from([2.0**k * sign for k in range(-6, 8) for sign in (1, -1)]))
    shifted = (x + dtype_of(dtype)(shift)).astype(dtype)
    assert np.array_equal(shifted.astype(np.float64) - shift, x)
    exact = oracle_losses.exact("cross_entropy", {"input": x, "target": t, "reduction": "none"})
    result = F.cross_entropy(shifted, t, reduction="none")
    assert oracle_losses.error_ulp(result, exact) <= bound(CLASS_LOSS, dtype)


def dtype_of(name):
    return np.dtype(name).type


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_a_class_is_all_probability_on_it(dtype, data):
    x, t = data.draw(batches(dtype))
    classes = x.shape[1]
    one_hot = np.moveaxis(np.eye(classes, dtype=dtype)[t], -1, 1)
    weight = data.draw(st.none() | weights(classes))
    smoothing = data.draw(st.sampled_from([0.0, 0.125, 1.0]))
    more = {"label_smoothing": smoothing, "reduction": data.draw(st.sampled_from(["none", "sum"]))}
    by_class = F.cross_entropy(x, t, weight, **more)
    by_probability = F.cross_entropy(x, one_hot, weight, **more)
    slack = 8 * np.finfo(dtype).eps
    assert np.allclose(by_class, by_probability, rtol=slack, atol=0)
    g = np.ones(by_class.shape)
    by_class = F.cross_entropy_backward(g, x, t, weight, **more)
    by_probability = F.cross_entropy_backward(g, x, one_hot, weight, **more)
    largest = 8 if weight is None else 8 * weight.max()
    assert np.allclose(by_class, by_probability, rtol=0, atol=largest * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_rows_to_be_ignored_might_as_well_not_be_there(name, data):
    x, t = data.draw(batches("float64"))
    x, t = np.concatenate([x, x + 1]), np.concatenate([t, np.full_like(t, -100)])
    order = np.array(data.draw(st.permutations(range(len(x)))))
    result = call(name, x[order], t[order], reduction="sum")
    half = len(x) // 2
    wanted = call(name, x[:half], t[:half], reduction="sum")
    if name == "cross_entropy_backward":
        result = result[np.argsort(order)]
        assert not result[half:].any()
        result = result[:half]
    assert np.allclose(result, wanted, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_sum_and_mean_are_those_of_each(dtype, name, data):
    x, t = data.draw(batches(dtype))
    weight = data.draw(weights(x.shape[1]))
    each = call(name, x, t, weight, reduction="none")
    total, slack = math.fsum(each.ravel().tolist()), math.fsum(np.abs(each).ravel().tolist())
    slack *= 4 * np.finfo(dtype).eps
    assert abs(float(call(name, x, t, weight, reduction="sum")) - total) <= slack
    divisor = math.fsum(weight[t].ravel().tolist())
    mean = float(call(name, x, t, weight))
    assert abs(mean - total / divisor) <= 2 * slack / divisor


@given(data=st.data())
def test_the_gradient_of_each_row_sums_to_nothing(data):
    x, t = data.draw(batches("float64"))
    weight = data.draw(weights(x.shape[1]))
    smoothing = data.draw(st.sampled_from([0.0, 0.25]))
    result = F.cross_entropy_backward(1.0, x, t, weight, reduction="sum", label_smoothing=smoothing)
    assert np.abs(result.sum(axis=1)).max() <= 1e-14 * weight.max()


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_order_of_the_batch_changes_no_row(dtype, data):
    x, t = data.draw(batches(dtype))
    order = np.array(data.draw(st.permutations(range(len(x)))))
    each = F.cross_entropy(x, t, reduction="none")
    assert same_bits(F.cross_entropy(x[order], t[order], reduction="none"), each[order])


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_nll_loss_of_log_softmax_is_the_cross_entropy(dtype, data):
    x, t = data.draw(batches(dtype))
    weight = data.draw(st.none() | weights(x.shape[1]))
    for reduction in ("none", "mean", "sum"):
        result = F.nll_loss(F.log_softmax(x, 1), t, weight, reduction=reduction)
        wanted = F.cross_entropy(x, t, weight, reduction=reduction)
        assert np.allclose(result, wanted, rtol=16 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("factor", [1e-30, 0.0, 17.0, 1e30, np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(40, 100), (40, 1000), (5, 30, 16), (5, 30, 37)])
def test_a_gradient_of_any_size_changes_no_neighbours_bits(dtype, shape, factor):
    """Quotients out of range may be worked on in another way, but only to the same bits."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 20).astype(dtype)
    t = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    scale = rng.standard_normal(t.shape).astype(dtype)
    usual = F.cross_entropy_backward(scale, x, t, reduction="none")
    scale.flat[3] = factor
    result = F.cross_entropy_backward(scale, x, t, reduction="none")
    others = np.arange(t.size).reshape(t.shape) != 3
    assert same_bits(np.moveaxis(result, 1, -1)[others], np.moveaxis(usual, 1, -1)[others])
    if factor == 0:
        assert not np.moveaxis(result, 1, -1)[~others].any()


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("shape", [(9, 100), (9, 10), (3, 30, 16), (2, 30, 37), (1, 3)])
@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [("float32", (1e-20, 1e-25, 1e-30, 1e-36, 1e-40)), ("float64", (1e-280, 1e-300, 1e-306))],
)
def test_a_tiny_gradient_keeps_its_digits(dtype, sizes, shape, reduction):
    """scale / sum(exp) is below the least number long before scale * softmax is."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    t = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    exact = np.exp(x.astype(np.longdouble))
    exact /= exact.sum(1, keepdims=True)
    np.put_along_axis(exact, t[:, None], np.take_along_axis(exact, t[:, None], 1) - 1, 1)
    for size in sizes:
        scale = np.full(t.shape, size, dtype)
        given = scale if reduction == "none" else scale.flat[0]
        result = F.cross_entropy_backward(given, x, t, reduction=reduction)
        wanted = exact * np.longdouble(scale.flat[0])
        ulp = np.spacing(np.abs(wanted).astype(dtype)).astype(np.longdouble)
        assert (np.abs(result - wanted) <= 4 * ulp).all()
        if reduction == "none":
            alone = F.cross_entropy_backward(np.ones_like(scale), x, t, reduction="none")
            scale.flat[1:] = 1
            mixed = F.cross_entropy_backward(scale, x, t, reduction="none")
            others = np.arange(t.size).reshape(t.shape) != 0
            assert same_bits(*(np.moveaxis(y, 1, -1)[others] for y in (mixed, alone)))
