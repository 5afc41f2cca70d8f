"""Views of 4 million float32 beside a contiguous array of as many, and beside copying them first.

    python benches/views.py [--rounds N]

Milliseconds (the least of the rounds), one thread. Each case takes its calls one after the other,
so that all find the caches alike; the cases take turns. Exits with 1 where issue 3's promise is not
met: a view takes no more than 1.5 times as long as the contiguous array, and less than a copy does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import environment
import fastsoftmax
import fastsoftmax.functional as F

Array = np.ndarray[Any, Any]
CONTIGUOUS = "contiguous"
CALLS, MOST = 8, 1.5


def views() -> dict[str, Array]:
    """Arrays of 2000 x 2000, of which the last dimension is reduced."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(3)

    return {
        CONTIGUOUS: normal(2000, 2000),
        "x.T": normal(2000, 2000).T,
        "x[:, ::2]": normal(2000, 4000)[:, ::2],
        "x[::2]": normal(4000, 2000)[::2],
        "x[:, ::-1]": normal(2000, 2000)[:, ::-1],
        "x[:, 1000:3000]": normal(2000, 4000)[:, 1000:3000],
    }


def least(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="(7)")
    rounds = parser.parse_args(argv).rounds
    fastsoftmax.set_num_threads(1)
    arrays = views()
    direct, copied = dict.fromkeys(arrays, np.inf), dict.fromkeys(arrays, np.inf)
    for _ in range(rounds):
        for name, x in arrays.items():
            direct[name] = min(direct[name], least(lambda x=x: F.softmax(x, -1)))
            copied[name] = min(copied[name], least(lambda x=x: F.softmax(x.copy("C"), -1)))
    print(environment.describe(), f"kernels {fastsoftmax.show_config()['isa']}")
    missed = False
    for name, took in direct.items():
        ratio = took / direct[CONTIGUOUS]
        failed = name != CONTIGUOUS and not (ratio <= MOST and took < copied[name])
        missed |= failed
        figures = (
            f"{took * 1e3:.2f} ms, {ratio:.2f} of contiguous; copied first {copied[name] * 1e3:.2f}"
        )
        print(f"{name:16} {figures}" + ("  MISSED" if failed else ""))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
