"""The exact losses and gradients against 60-digit arithmetic, the twins and finite differences."""

import mpmath
import numpy as np
import pytest

import fastsoftmax.functional as F
import inputs
import oracle_losses
import ulp
from fastsoftmax import _reference_losses

KINDS = ("class", "weights", "smoothing", "all spread", "probabilities", "smoothed probabilities")
VALUES = ("ordinary", "confident", "large")


def problem(kind, values, dtype="float64", seed=0):
    """Arguments of a loss of each row, with one row to be ignored where there are classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 9)) * 3
    if values == "confident":
        x = -60 - rng.exponential(90, size=(6, 9))
        x[np.arange(6), rng.integers(0, 9, 6)] = 2
    elif values == "large":
        x = 1000 + x * 20
    found = {"input": inputs.fit(x, dtype), "reduction": "none"}
    if kind.endswith("probabilities"):
        p = rng.dirichlet(np.ones(9), size=6)
        p[2] *= -3  # nothing says that they sum to 1
        found["target"] = inputs.fit(p, dtype)
    else:
        found["target"] = rng.integers(0, 9, size=6)
        found["target"][:2] = np.argmax(x[:2], axis=1)
        found["target"][3] = found["ignore_index"] = 20
    if kind == "all spread":
        found["label_smoothing"] = 1.0
    elif kind.startswith("smooth"):
        found["label_smoothing"] = 0.1
    if kind != "class":
        found["weight"] = rng.uniform(-0.1, 2, size=9)
    return found


def by_mpmath(found):
    """The losses, and their gradients for a grad_output of 1, row by row as written."""
    x, target = found["input"].astype(np.float64), found["target"]
    eps = mpmath.mpf(found.get("label_smoothing", 0.0))
    w = [mpmath.mpf(v) for v in found.get("weight", np.ones(x.shape[1]))]
    losses, gradients = [], []
    for row, t in zip(x.tolist(), target.tolist(), strict=True):
        if t == found.get("ignore_index"):
            losses.append(mpmath.mpf(0))
            gradients.append([mpmath.mpf(0)] * len(row))
            continue
        p = t if isinstance(t, list) else [float(c == t) for c in range(len(row))]
        q = [wc * ((1 - eps) * pc + eps / len(row)) for wc, pc in zip(w, p, strict=True)]
        exps = [mpmath.exp(v) for v in row]
        total = sum(exps)
        terms = zip(q, row, strict=True)
        losses.append(sum(qc * (mpmath.log(total) - v) for qc, v in terms))
        gradients.append([sum(q) * e / total - qc for e, qc in zip(exps, q, strict=True)])
    return np.array(losses, object), np.array(gradients, object)


def units(found, wanted):
    """How far the exact result is from `wanted`, in last places of a float64."""
    hi, lo, e = found.value
    worst = 0.0
    for index in np.ndindex(wanted.shape):
        scale = mpmath.mpf(2) ** int(np.broadcast_to(e, hi.shape)[index])
        value = (mpmath.mpf(float(hi[index])) + mpmath.mpf(float(lo[index]))) * scale
        size = max(abs(wanted[index]), mpmath.mpf(float(found.largest[index])))
        if size:
            worst = max(worst, float(abs(value - wanted[index]) / size) * 2.0**53)
    return worst


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_to_a_thousandth_of_the_last_place(kind, values):
    found = problem(kind, values)
    with mpmath.workdps(250):
        losses, gradients = by_mpmath(found)
        assert units(oracle_losses.exact("cross_entropy", found), losses) < 1e-3
        found["grad_output"] = np.ones(6)
        assert units(oracle_losses.exact("cross_entropy_backward", found), gradients) < 1e-3


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_and_means_are_of_the_losses(kind, reduction):
    found = problem(kind, "ordinary") | {"reduction": reduction}
    with mpmath.workdps(60):
        losses, gradients = by_mpmath(found)
        divisor = mpmath.mpf(1)
        if reduction == "mean":
            divisor = mpmath.mpf(6)
            if not kind.endswith("probabilities"):
                taken = found["target"][found["target"] != found["ignore_index"]]
                weight = found.get("weight", np.ones(9))
                divisor = sum((mpmath.mpf(v) for v in weight[taken]), mpmath.mpf(0))
        total = np.array(sum(losses) / divisor, object)
        assert units(oracle_losses.exact("cross_entropy", found), total) < 1e-3
        found["grad_output"] = np.array(0.75)
        gradients = gradients * mpmath.mpf(0.75) / divisor
        assert units(oracle_losses.exact("cross_entropy_backward", found), gradients) < 1e-3


@pytest.mark.parametrize("dtype", inputs.DTYPES)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_twins_agree(kind, values, dtype):
    found = problem(kind, values, dtype)
    x = found["input"][:, :, np.newaxis].copy()
    weight, eps = found.get("weight"), found.get("label_smoothing", 0.0)
    losses, gradients = np.empty((6, 1), x.dtype), np.empty_like(x)
    scale = np.linspace(-2, 2, 6)[:, np.newaxis]
    if kind.endswith("probabilities"):
        target = found["target"][:, :, np.newaxis]
        total = _reference_losses.probability_losses(x, target, weight, eps, losses)
        _reference_losses.probability_gradients(x, target, weight, eps, scale, gradients)
    else:
        target, index = found["target"][:, np.newaxis], found["ignore_index"]
        total, count = _reference_losses.class_losses(x, target, weight, index, eps, losses)
        _reference_losses.class_gradients(x, target, weight, index, eps, scale, gradients)
        taken = found["target"][found["target"] != index]
        assert count == pytest.approx(
            np.sum(np.ones(9)[taken] if weight is None else weight[taken])
        )
    most = 1.5 if dtype == "float64" else 0.51
    exact = oracle_losses.exact("cross_entropy", found)
    assert ulp.error(losses[:, 0], exact.value, exact.largest).max() <= most
    slopes = oracle_losses.exact("cross_entropy_backward", found | {"grad_output": scale[:, 0]})
    assert ulp.error(gradients[:, :, 0], slopes.value, slopes.largest).max() <= most
    summed = oracle_losses.exact("cross_entropy", found | {"reduction": "sum"})
    assert oracle_losses.error_ulp(np.asarray(total), summed) <= 1.5


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_finite_differences(kind, reduction):
    found = problem(kind, "ordinary") | {"reduction": reduction}
    eps = np.finfo(np.longdouble).eps
    step = eps ** (np.longdouble(1) / 3)
    wide = found | {"input": found["input"].astype(np.longdouble)}
    grad_output = np.linspace(-1, 1, 6) if reduction == "none" else np.array(0.75)
    slopes = np.empty_like(wide["input"])
    for index in np.ndindex(slopes.shape):
        sides = []
        for sign in (1, -1):
            moved = wide["input"].copy()
            moved[index] += sign * step
            sides.append(F.cross_entropy(**(wide | {"input": moved})))
        slopes[index] = np.sum(grad_output * (sides[0] - sides[1])) / (2 * step)
    # A central difference is off by the square of its step.
    tolerance = float(20 * step**2)
    for arguments in (wide, found):
        result = F.cross_entropy_backward(grad_output, **arguments)
        assert result.dtype == arguments["input"].dtype
        slack = tolerance + (1e-15 if result.dtype == np.float64 else 0)
        assert np.max(np.abs(result - slopes)) <= slack
    assert np.max(np.abs(slopes)) > 0.01
