"""The worst error of every operation by case, in units in the last place (ULP), as a table.

    python tests/accuracy.py             # every length to 4 million, every hard input; some minutes
    python tests/accuracy.py --quick     # the same with shorter rows, under a minute
    python tests/accuracy.py --peers     # NumPy, SciPy, PyTorch and ONNX Runtime beside it

Exits with 1 if an error is over its bound (bounds.py). Errors are against the unrounded exact
result (oracle.py); logsumexp's are in last places of the larger of the result and the maximum.
"""

import argparse
import contextlib
import pathlib
import sys
import warnings

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F
import inputs
import oracle
import ulp
from bounds import bound
from fastsoftmax import _core

LENGTHS = (1, 2, 3, 5, 7, 8, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 127, 128, 129)
LENGTHS += (1000, 4096, 70_000, 131_073, 1_000_000, 4_000_000)
SCALES = (1, 3, 10, 30)
OFFSETS = (0, -100, 1e4)
BUDGET = 60_000  # elements of an array, where a single row has no more
PEERS = ("numpy", "scipy", "torch", "onnxruntime")
OURS = "fastsoftmax"


def lengths(dtype, n):
    """Arrays of rows of one length: every scale with every offset, few of them for long rows."""
    combinations = [(scale, offset) for offset in OFFSETS for scale in SCALES]
    if n > BUDGET:
        combinations = [(1, 0), (30, 0), (10, 1e4)]
    for k, (scale, offset) in enumerate(combinations):
        yield inputs.normal(dtype, (max(1, min(300, BUDGET // n)), n), n + k, scale, offset), -1


def dims(dtype, shapes):
    for k, (shape, dim) in enumerate(shapes):
        for scale in SCALES:
            yield inputs.normal(dtype, shape, k, scale), dim


def cases(dtype, quick):
    """(name, arrays with their dim) of every row of the table."""
    for n in LENGTHS:
        if not (quick and n > 200_000):
            yield f"rows of {n}", lengths(dtype, n)
    equal = (1000, 70_000) if quick else (1000, 70_000, 4_000_000)
    yield "equal values", ((inputs.fit(np.full((1, n), 0.3), dtype), -1) for n in equal)
    for name in inputs.HARD:
        yield name, ((x, -1) for x in inputs.hard(name, dtype))
        yield f"{name}, as columns", ((x.T.copy(), 0) for x in inputs.hard(name, dtype))
    first = [((2, 33), 0), ((10, 100), 0), ((1000, 65), 0), ((30_000, 20), 0)]
    yield "first dim", dims(dtype, first)
    yield "first dim, tall and narrow", dims(dtype, [((200_000 if quick else 1_300_000, 3), 0)])
    yield "middle dim", dims(dtype, [((3, 7, 33), 1), ((2, 1000, 40), 1), ((20, 64, 64), 1)])
    yield "several dims", dims(dtype, [((6, 50, 70), (0, 2)), ((9, 8, 70), (0, 1))])


class Judge:
    """The errors of any number of libraries on one array, its exact results taken once."""

    def __init__(self, x, dim):
        self.x, self.dim = x, dim
        self.rows = oracle.Rows(x, dim) if x.dtype == np.float64 else None
        self.largest = oracle.row_max(x, dim)

    def exact(self, op):
        """softmin is judged on -x, so that its exact result is that of softmax on x."""
        op = op.replace("softmin", "softmax")
        return getattr(self.rows, op)() if self.rows else oracle.exact(op, self.x, self.dim)

    def errors(self, op, libraries):
        x = -self.x if op == "softmin" else self.x
        wanted = self.exact(op)
        largest = self.largest if op == "logsumexp" else None
        for name in libraries:
            result = compute(name, op, x, self.dim)
            if result is None:
                yield name, None
            else:
                error = ulp.error(result.reshape(wanted.hi.shape), wanted, largest)
                yield name, float(error.max(initial=0.0))


def compute(name, op, x, dim):
    """What a library says, or None where it cannot."""
    if name == OURS:
        return getattr(F, op)(x, dim)
    import peers

    with contextlib.suppress(Exception), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peers.get(name).forms(op, x, dim, 1)[0].result()
    return None


def worst(dtype, ops, libraries, quick):
    """{case: {(op, library): worst error}}, printing nothing."""
    table = {}
    for case, arrays in cases(dtype, quick):
        row = table.setdefault(case, {})
        for x, dim in arrays:
            judge = Judge(x, dim)
            for op in ops:
                for name, error in judge.errors(op, libraries):
                    if error is not None:
                        row[op, name] = max(error, row.get((op, name), 0.0))
    return table


def show(title, table, columns, heads):
    """One table: a case a line, an error a column, the worst of each column at its foot."""
    wide = max(len(case) for case in table)
    print(f"\n{title}\n{'':{wide}}  " + "  ".join(f"{head:>11}" for head in heads))
    foot = {c: max((row[c] for row in table.values() if c in row), default=None) for c in columns}
    for case, row in [*table.items(), ("the worst", foot)]:
        cells = (f"{row[c]:11.4g}" if row.get(c) is not None else f"{'-':>11}" for c in columns)
        print(f"{case:{wide}}  " + "  ".join(cells))
    return foot


def report(isa, dtype, table, ops, libraries):
    """Prints, and returns a line for each bound that does not hold."""
    config = fastsoftmax.show_config()
    head = f"{dtype} on {isa}, fastsoftmax {config['version']}, {config['num_threads']} threads"
    if libraries == [OURS]:
        bounds = ", ".join(f"{op} {bound(op, dtype)}" for op in ops)
        foot = show(f"{head}; bounds: {bounds}", table, [(op, OURS) for op in ops], ops)
    else:
        foot = {}
        for op in ops:
            columns = [(op, name) for name in libraries]
            title = f"{op} of {head}; bound: {bound(op, dtype)}"
            foot |= show(title, table, columns, libraries)
    return [
        f"{op} of {dtype} on {isa}: {foot[op, OURS]:.4g} ULP is over {bound(op, dtype)}"
        for op in ops
        if not foot[op, OURS] <= bound(op, dtype)
    ]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    targets = _core._isa_available()
    parser.add_argument("--quick", action="store_true", help="no rows above 200,000 elements")
    parser.add_argument("--isa", nargs="+", choices=[*targets, "all"], help="default: the best")
    parser.add_argument("--dtype", nargs="+", choices=inputs.DTYPES, default=tuple(inputs.DTYPES))
    parser.add_argument("--op", nargs="+", choices=oracle.OPS, default=oracle.OPS)
    parser.add_argument("--peers", action="store_true", help="columns for installed libraries")
    options = parser.parse_args()
    if options.isa is None:
        options.isa = [fastsoftmax.show_config()["isa"]]
    elif "all" in options.isa:
        options.isa = targets
    return options


def installed():
    """The peers there are; the adapters are those of the benchmarks."""
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "benches"))
    import peers

    for name in PEERS:
        with contextlib.suppress(peers.Missing):
            print(f"{name} {peers.get(name).version()}")
            yield name


def main():
    options = arguments()
    libraries = [OURS, *(installed() if options.peers else ())]
    failures = []
    for isa in options.isa:
        former = _core._use_isa(isa)
        for dtype in options.dtype:
            table = worst(dtype, options.op, libraries, options.quick)
            failures += report(isa, dtype, table, options.op, libraries)
        _core._use_isa(former)
    print()
    print("\n".join(failures) or "every bound holds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
