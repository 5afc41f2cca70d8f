"""Every public function with its arrays between guard pages; prints how many calls there were.

    python tests/guard_pages.py           # all sizes, all targets of this CPU
    python tests/guard_pages.py avx2 quick

Arguments and ``out=`` lie against a page without access, at their beginning and at their end:
contiguous, in Fortran's order, and every second and third element. What a function allocates itself
does not: of the losses and gumbel_softmax only the arguments are guarded.
"""

import sys
import time

import numpy as np

import fastsoftmax
import guarded
import inputs
from checks import same_bits
from fastsoftmax import _core
from public import CASES, arrays, call

LAYOUTS = ({}, {"order": "F"}, {"step": 2}, {"step": 3, "order": "F"})


def shapes(dtype, quick):
    """Lengths around the vector of `dtype`; short rows, and columns."""
    w = inputs.WIDTH[dtype]
    around = (w - 1, w, w + 1) if quick else range(1, 4 * w + 2)
    lengths = sorted({1, 2, 3, *around, 2 * w + 1, 97, *(() if quick else (255, 256, 257, 1000))})
    for n in lengths:
        yield (1, n)
        yield (3, n)
    for n in lengths[1::4]:
        yield (1, 5, n)
        yield (2, n, 3)
    if not quick:
        yield (1, inputs.LONG_ROW + 1)
        yield (1, 2, 20_001)


def run(isa, quick):
    calls = 0
    for dtype in inputs.DTYPES:
        for shape in shapes(dtype, quick):
            given = arrays(dtype, shape)
            results = {name: call(name, given) for name in CASES}
            for place in guarded.PLACES:
                for layout in LAYOUTS[:: 2 if quick else 1]:
                    laid = {
                        key: guarded.lay(array, place, **layout) for key, array in given.items()
                    }
                    for name, case in CASES.items():
                        outs = [{}]
                        if case.takes_out:
                            outs.append({"out": guarded.lay(results[name], place, **layout)})
                        for out in outs:
                            found = call(name, laid, **out)
                            calls += 1
                            if not layout and not same_bits(found, results[name]):
                                raise AssertionError((isa, name, dtype, shape, place))
    return calls


def main(isas, quick):
    for isa in isas or _core._isa_available():
        former = _core._use_isa(isa)
        start = time.perf_counter()
        with fastsoftmax.num_threads(1):
            calls = run(isa, quick)
        _core._use_isa(former)
        seconds = time.perf_counter() - start
        print(f"{isa}: {calls} calls between guard pages, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main([word for word in sys.argv[1:] if word != "quick"], "quick" in sys.argv)
