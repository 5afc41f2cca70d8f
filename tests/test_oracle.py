"""The oracle and the reference, held to 60-digit decimal arithmetic and to each other."""

import decimal

import numpy as np
import pytest

import dd
import oracle
import ulp
from fastsoftmax import _reference

RNG = np.random.default_rng(20261123)


@pytest.fixture(autouse=True)
def _sixty_digits():
    with decimal.localcontext() as context:
        context.prec = 60
        context.Emin, context.Emax = decimal.MIN_EMIN, decimal.MAX_EMAX
        yield


def _decimal(hi, lo=0.0, e=0):
    return (decimal.Decimal(float(hi)) + decimal.Decimal(float(lo))) * decimal.Decimal(2) ** int(e)


def _worst_relative(found, wanted):
    hi, lo = found
    return max(abs(_decimal(h, t) / w - 1) for h, t, w in zip(hi, lo, wanted, strict=True))


def _pairs(hi):
    return hi, hi * RNG.uniform(-(2.0**-54), 2.0**-54, hi.size)


def test_exp_in_double_double():
    hi, lo = _pairs(
        np.concatenate(
            [-RNG.uniform(0, 1050, 300), -(10.0 ** RNG.uniform(-20, 1, 200)), [0.0, 5.5]]
        )
    )
    wanted = [_decimal(h, t).exp() * decimal.Decimal(2) ** 600 for h, t in zip(hi, lo, strict=True)]
    assert _worst_relative(dd.exp((hi, lo), 600), wanted) < 2.0**-80


def test_log1p_in_double_double():
    hi, lo = _pairs(
        np.concatenate([10.0 ** RNG.uniform(-16, 7, 500), RNG.uniform(0, 3, 100), [2.0**-20, 1.0]])
    )
    wanted = [(1 + _decimal(h, t)).ln() for h, t in zip(hi, lo, strict=True)]
    assert _worst_relative(dd.log1p((hi, lo)), wanted) < 2.0**-72


@pytest.mark.parametrize("name", ["add", "mul", "div"])
def test_arithmetic_in_double_double(name):
    x, y = (_pairs(10.0 ** RNG.uniform(-60, 60, 500)) for _ in range(2))
    operation = {
        "add": decimal.Decimal.__add__,
        "mul": decimal.Decimal.__mul__,
        "div": decimal.Decimal.__truediv__,
    }
    wanted = [
        operation[name](_decimal(a, b), _decimal(c, d)) for a, b, c, d in zip(*x, *y, strict=True)
    ]
    assert _worst_relative(getattr(dd, name)(x, y), wanted) < 2.0**-95


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 1000])
def test_total_in_double_double(n):
    hi, lo = _pairs(10.0 ** RNG.uniform(-30, 0, n))
    wanted = sum(_decimal(h, t) for h, t in zip(hi, lo, strict=True))
    found = dd.total((hi[np.newaxis], lo[np.newaxis]))
    assert _worst_relative(found, [wanted]) < 2.0**-95


ROWS = {
    "ordinary": RNG.normal(size=40) * 3,
    "spread to subnormal results": np.concatenate([[0.0], -RNG.uniform(690, 760, 60)]),
    "confident": np.array([0.0, -40.0, -41.5, -700.0]),
    "very confident": np.array([0.0, -720.25, -800.0]),
    "all but certain": np.array([3.0, -1000.0]),
    "equal": np.full(17, 0.1),
    "huge": np.array([1e30, 1e30, -1e30, np.nextafter(1e30, 0)]),
    "the largest": np.array([1.7e308, -1.7e308, 0.0, 1.0]),
    "subnormal inputs": np.array([5e-324, 1e-310, 0.0]),
    "around one": 1 + RNG.uniform(-1, 1, 30) * 2.0**-40,
    "single": np.array([123.456]),
}


def _decimal_rows(op, x):
    """The definition of each operation, in decimal."""
    x = [decimal.Decimal(float(v)) for v in x]
    m = max(x)
    others = list(x)
    others.remove(m)
    rest = sum(((v - m).exp() for v in others), start=decimal.Decimal(0))
    with decimal.localcontext() as context:
        context.prec = 1500  # 1 + rest must hold exp(-1000) beside 1
        log = (1 + rest).ln() if rest < 1e-3 else None
    log = (1 + rest).ln() if log is None else +log
    if op == "softmax":
        return [(v - m).exp() / (1 + rest) for v in x]
    if op == "log_softmax":
        return [(v - m) - log for v in x]
    return [m + log]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "logsumexp"])
def test_exact_float64_rows(op, name):
    x = ROWS[name]
    found = oracle.exact(op, x)
    hi, lo, e = (np.atleast_1d(part) for part in found)
    for h, t, k, wanted in zip(hi, lo, e, _decimal_rows(op, x), strict=True):
        if abs(wanted) > decimal.Decimal("1.797e308"):
            assert h == -np.inf
            continue
        ulp64 = decimal.Decimal(float(np.spacing(abs(float(wanted)))))
        assert abs(_decimal(h, t, k) - wanted) / ulp64 < 1e-4, (h, t, k, wanted)


@pytest.mark.parametrize("op", oracle.OPS)
@pytest.mark.parametrize("dim", [0, 1, 2, -1, (0, 2), (2, 1), (0, 1, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_reference_agrees_with_the_oracle(op, dim, masked):
    x = RNG.normal(size=(3, 4, 5)) * 8
    x[1, 2, 3], x[2, 3, 1], x[0] = np.nan, np.inf, -np.inf
    where = RNG.random(x.shape) < 0.6 if masked else None
    if masked:
        where[2, :, 2], where[0, 1], where[:, 3] = False, False, False
    wanted = oracle.exact(op, x, dim, where)
    found = getattr(_reference, op)(x, dim, where=where)
    assert found.shape == wanted.hi.shape
    # 0.5 for the rounding to float64, the rest for platforms whose long double is double.
    slack = 0.6 if np.finfo(np.longdouble).nmant > 60 else 5
    assert np.max(ulp.error(found.astype(np.float64), wanted)) <= slack


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_reference_is_the_oracle_of_narrow_types(dtype):
    x = (RNG.normal(size=(50, 9)) * 5).astype(dtype)
    for op in oracle.OPS:
        narrow, wide = oracle.exact(op, x), oracle.exact(op, x.astype(np.float64))
        difference = (narrow.hi - np.ldexp(wide.hi, wide.e)) + (
            narrow.lo - np.ldexp(wide.lo, wide.e)
        )
        # 1e-4 of a unit in the last place of a float32
        assert np.all(np.abs(difference) <= 1e-4 * np.spacing(np.abs(narrow.hi).astype(np.float32)))


def test_reference_of_complex_numbers():
    z = np.array([2 + 3j, -1 + 1j, 0.5 - 2j, 2 - 3j])
    total = sum(np.exp(z))
    found = _reference.logsumexp(z, 0)
    assert abs(complex(found) - np.log(total)) < 1e-15
    assert complex(_reference.logsumexp(np.array([0j, -60]), 0)).real == pytest.approx(
        np.exp(-60), rel=1e-15
    )


@pytest.mark.parametrize(
    ("got", "hi", "lo", "e", "wanted"),
    [
        (1.0, 1.0, 0.0, 0, 0.0),
        (1.0, 1.0, 2.0**-54, 0, 0.25),
        (1.0, 1.0, -(2.0**-54), 0, 0.25),  # rounds to 1, so measured in the last place of 1
        (1 + 2.0**-52, 1.0, 0.0, 0, 1.0),
        (0.5, 1.0, 0.0, -1, 0.0),
        (5e-324, 2.0**-474 * 1.5, 0.0, -600, 0.5),
        (0.0, 2.0**-474 * 1.5, 0.0, -600, 1.5),
        (0.0, 0.0, 0.0, 0, 0.0),
        (5e-324, 0.0, 0.0, 0, 1.0),
        (np.nan, np.nan, 0.0, 0, 0.0),
        (0.0, np.nan, 0.0, 0, np.inf),
        (np.nan, 0.0, 0.0, 0, np.inf),
        (np.inf, np.inf, 0.0, 0, 0.0),
        (-np.inf, np.inf, 0.0, 0, np.inf),
        (np.inf, 1.7976931348623157e308, 2.0**970 * 0.99, 0, np.inf),
        (np.inf, 1.7976931348623157e308, 2.0**970, 0, np.inf),
        (np.inf, 2.0**1023, 0.0, 1, 0.0),
        (1e300, -np.inf, 0.0, 0, np.inf),
    ],
)
def test_ulp_error(got, hi, lo, e, wanted):
    assert ulp.error(np.array([got]), oracle.Exact(np.array([hi]), np.array([lo]), e))[0] == wanted


def test_ulp_error_of_narrow_types():
    def error(dtype, got, exact, **kw):
        return ulp.error(
            np.array([got], dtype), oracle.Exact(np.array([exact]), np.array([0.0]), 0), **kw
        )[0]

    assert error(np.float32, 1.0, 1 + 2.0**-24) == 0.5
    assert error(np.float32, 2.0**-149, 2.0**-150) == 0.5
    assert error(np.float16, 1.0, 1 + 2.0**-12) == 0.25
    assert error(np.float16, np.inf, 65520.0) == 0.0
    assert error(np.float16, np.inf, 65519.0) == np.inf
    assert error(np.float16, 0.0, 2.0**-25) == 0.5
    assert error(np.float32, 2.0**-30, 0.0, largest=np.array([1.0])) == 2.0**-7
