"""Derive the polynomial coefficients of fastsoftmax/kernels/body/{exp,log}.h.

Remez exchange in 60-digit arithmetic, then rounding to the element type; prints hex floats and the
relative error of the rounded polynomial, in units of 2**-p (p = 24 or 53). Needs mpmath and NumPy:

    python tools/minimax.py
"""

import struct

import numpy as np
from mpmath import mp, mpf

mp.dps = 60


def remez(target, weight, powers, low, high, rounds=30):
    """Coefficients c of sum(c[i] * x**powers[i]) with the least largest |(p - target) * weight|."""
    size = len(powers) + 1
    nodes = [
        (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * size))
        for i in range(size)
    ]
    grid = [low + (high - low) * mpf(i) / 4000 for i in range(4001)]
    for _ in range(rounds):
        matrix = mp.matrix(size, size)
        right = mp.matrix(size, 1)
        for i, x in enumerate(nodes):
            for j, power in enumerate(powers):
                matrix[i, j] = x**power
            matrix[i, size - 1] = (-1) ** i / weight(x)
            right[i] = target(x)
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[i] for i in range(size - 1)]

        def error(x, c=coefficients):
            value = sum(a * x**p for a, p in zip(c, powers, strict=True))
            return (value - target(x)) * weight(x)

        errors = [error(x) for x in grid]
        # one extremum for each run of equal sign
        new, start = [], 0
        for i in range(1, len(grid) + 1):
            if i == len(grid) or (errors[i] > 0) != (errors[start] > 0):
                best = max(range(start, i), key=lambda k: abs(errors[k]))
                new.append(grid[best])
                start = i
        if len(new) != size:
            break
        if max(abs(a - b) for a, b in zip(new, nodes, strict=True)) == 0:
            break
        nodes = new
    return coefficients


def rounded(value, bits):
    code = "<f" if bits == 24 else "<d"
    return struct.unpack(code, struct.pack(code, float(value)))[0]


def report(name, target, weight, powers, low, high, bits):
    coefficients = [rounded(c, bits) for c in remez(target, weight, powers, low, high)]
    worst = mpf(0)
    for i in range(2001):
        x = low + (high - low) * mpf(i) / 2000
        if x:
            value = sum(mpf(a) * x**p for a, p in zip(coefficients, powers, strict=True))
            worst = max(worst, abs((value - target(x)) * weight(x)))
    print(f"{name}: error {float(worst * 2**bits):.4f} * 2**-{bits}")
    for power, c in zip(powers, coefficients, strict=True):
        print(f"    x**{power}: {float.hex(c)}  ({c!r})")


def eighths():
    """The table C * 2**(j/8) of exp_f32 and the C that puts all eight close to a float32.

    C runs over the float32 in [1, 2**(1/8)) and a few hundredths of an ULP about each.
    """
    step = [mpf(2) ** (mpf(j) / 8) for j in range(8)]
    units = np.arange(2**23, int(2**23 * step[1]), dtype=np.int64)
    best = (1.0, 0, 0.0)
    for offset in (k / 200 for k in range(-16, 17)):
        worst = np.full(units.shape, abs(offset))
        for factor in step[1:]:
            # 64-bit fixed point: float64 would lose the digits that count
            scaled = units * int(factor * 2**39) + int(offset * factor * 2**39)
            away = (scaled + 2**38) % 2**39 - 2**38
            np.maximum(worst, np.abs(away) / 2**39, out=worst)
        i = int(worst.argmin())
        best = min(best, (float(worst[i]), int(units[i]), offset))
    show_eighths((best[1] + mpf(best[2])) / 2**23, best[0], 24)


def eighths_wide(count=2**36):
    """The same of exp_f64: C runs over the first `count` float64 from 1 on, ten minutes.

    Fixed point of 64 bits after the binary point, of which no more are wanted.
    """
    step = [mpf(2) ** (mpf(j) / 8) for j in range(8)]
    turn, near = 2**20, int(mpf("0.03") * 2**64)
    best = (1.0, 0)
    for first in range(0, count, turn):
        k = np.arange(first, first + turn, dtype=np.uint64)
        worst = np.zeros(turn, np.uint64)
        for factor in step[1:]:
            start = int(mp.frac(factor * 2**52) * 2**64)
            away = k * np.uint64(int(mp.frac(factor) * 2**64)) + np.uint64(start)  # modulo 1
            away = np.minimum(away, -away)
            kept = away < near
            k, worst = k[kept], np.maximum(worst[kept], away[kept])
        if len(k):
            i = int(worst.argmin())
            best = min(best, (float(worst[i]) / 2**64, int(k[i])))
    show_eighths(1 + mpf(best[1]) / 2**52, best[0], 53)


def show_eighths(constant, worst, bits):
    code, size = ("f", "I") if bits == 24 else ("d", "Q")
    shift = bits - 4  # n << shift has n / 8 in the exponent
    one = struct.unpack(f"<{size}", struct.pack(f"<{code}", 1))[0]
    print(
        f"2**(j/8): C = {mp.nstr(constant, 12)}, at most {worst:.4f} ULP off; "
        f"bits less j << {shift}:"
    )
    for j in range(8):
        mantissa = int(mp.nint(constant * mpf(2) ** (mpf(j) / 8) * 2 ** (bits - 1)))
        found = mantissa - 2 ** (bits - 1) + one - (j << shift)
        print(f"    {float.hex(struct.unpack(f'<{code}', struct.pack(f'<{size}', found))[0])}")


def main():
    half = mp.log(2) / 2 * (1 + mpf(2) ** -9)
    for name, bits, limit, degree in (
        ("exp float32, in eighths", 24, half / 8, 4),
        ("exp float64, in eighths", 53, half / 8, 7),
        ("exp float64, of a float32 row's maximum", 53, half, 7),
    ):
        # e**r = 1 + r + r**2 * q(r)
        report(
            name,
            lambda r: mp.exp(r) - 1 - r,
            lambda r: mp.exp(-r),
            list(range(2, degree + 1)),
            -limit,
            limit,
            bits,
        )
    eighths()
    # log(1+g) = 2 atanh(s), s = g/(2+g): 2 atanh(s) - 2 s = s * z * p(z), z = s*s
    top = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * (1 + mpf(2) ** -9)

    def series(z):
        return mpf(2) * z / 3 if z < mpf(10) ** -20 else 2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2

    for name, degree in (("log float64", 7), ("log float64, of a float32 row", 4)):
        report(name, series, lambda z: mpf(1) / 2, list(range(1, degree + 1)), mpf(0), top, 53)
    eighths_wide()


if __name__ == "__main__":
    main()
