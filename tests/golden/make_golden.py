"""Writes golden.json: what PyTorch and SciPy answer, for tests that need neither.

    python tests/golden/make_golden.py

Each record has the arguments, and of each library its result with its dtype and shape and its own
worst error in ULP (null where a NaN or an infinity is not where it belongs), or the type and text
of the error it raised. Arrays are base64 of their little-endian bytes.
"""

import itertools
import json
import pathlib
import sys
import warnings

import numpy as np
import scipy.special
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import inputs  # noqa: E402
import oracle  # noqa: E402
from stored import packed  # noqa: E402

NAN, INF = float("nan"), float("inf")
DTYPES = ("float32", "float64", "float16", "bfloat16")
SPECIAL = {
    "NaN": [[1.0, NAN, 2.0], [1.0, 2.0, 3.0]],
    "+inf": [[1.0, INF, 2.0], [1.0, 2.0, 3.0]],
    "+inf twice": [[INF, INF, 2.0], [1.0, 2.0, 3.0]],
    "-inf": [[1.0, -INF, 2.0], [1.0, 2.0, 3.0]],
    "+inf and -inf": [[-INF, INF, 2.0], [1.0, 2.0, 3.0]],
    "all -inf": [[-INF, -INF, -INF], [1.0, 2.0, 3.0]],
    "NaN and infinities": [[NAN, INF, -INF], [1.0, 2.0, 3.0]],
}
ROWS = {
    "ordinary": lambda dtype, rng: rng.normal(size=(3, 10)) * 3,
    "long": lambda dtype, rng: rng.normal(size=(1, 97)) * 5,
    "confident": lambda dtype, rng: np.array([[0, -12.5, -20, -30], [5, -1000, -1000, -1000]]),
    "huge": lambda dtype, rng: inputs.LARGEST[dtype] * np.array([[1, -1, 0, 0.5], [-1] * 4]),
    "offset": lambda dtype, rng: rng.normal(size=(3, 12)) + 1000,
    "equal": lambda dtype, rng: np.full((2, 7), 0.25),
    "subnormal results": lambda dtype, rng: np.array([[0, -inputs.LAST_GAP[dtype] + 3, -1.0]]),
}
SHAPES = [((), (0, -1)), ((5,), (0, -1)), ((0,), (0,)), ((0, 3), (0, 1)), ((3, 0), (0, 1))]
SHAPES += [((2, 3, 4), (0, 1, 2, -3)), ((2, 1, 3, 2), (0, 1, -2)), ((2, 0, 3), (1, 2))]
INTEGERS = ("bool", "uint8", "int8", "int32", "int64")
ERRORS = [  # (dtype, shape, dim)
    ("float32", (2, 3), 2), ("float32", (2, 3), -3), ("float32", (), 1), ("float32", (), -2),
    ("float32", (0, 3), 2), ("float32", (4,), 1), ("float32", (2, 3), 1.5),
    ("float32", (2, 3), "1"), ("complex64", (2, 3), 1), ("int32", (2, 3), 2),
]  # fmt: skip


def arguments():
    """(name, op, array, dim) of every record."""
    rng = np.random.default_rng(20261123)
    for dtype, (name, make) in itertools.product(DTYPES, ROWS.items()):
        x = inputs.fit(np.asarray(make(dtype, rng), float), dtype)
        yield from ((name, op, x, -1) for op in oracle.OPS)
    for dtype, (name, rows) in itertools.product(DTYPES, SPECIAL.items()):
        x = np.array(rows).astype(inputs.DTYPES[dtype])
        yield from ((name, op, -x if op == "softmin" else x, 1) for op in oracle.OPS)
    for (shape, dims), dtype in itertools.product(SHAPES, ("float32", "float64")):
        x = inputs.normal(dtype, shape, seed=len(shape))
        for op, dim in itertools.product(oracle.OPS, dims):
            yield "shape", op, x, dim
    for dtype, op in itertools.product(INTEGERS, oracle.OPS):
        yield "integers", op, np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype), 1
    for dtype, shape, dim in ERRORS:
        yield from (("error", op, np.zeros(shape, dtype), dim) for op in oracle.OPS)
    for dim in ((0, 1), (0, 0), (0, 2)):
        yield "dims", "logsumexp", inputs.normal("float32", (2, 3), seed=1), dim


def with_torch(op, x, dim):
    if x.dtype.name == "bfloat16":
        tensor = torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(np.array(x))
    function = torch.logsumexp if op == "logsumexp" else getattr(torch.nn.functional, op)
    found = function(tensor, dim)
    if found.dtype == torch.bfloat16:
        return found.view(torch.int16).numpy().view(inputs.DTYPES["bfloat16"])
    return found.numpy()


def with_scipy(op, x, dim):
    if op == "softmin":
        return np.asarray(scipy.special.softmax(-x, axis=dim))
    return np.asarray(getattr(scipy.special, op)(x, axis=dim))


def judged(library, op, x, dim):
    """One library's part of a record."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = library(op, x, dim)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error).splitlines()[0][:200]}
    record = packed(found)
    if found.dtype.name in DTYPES and found.size:
        worst = oracle.error_ulp(op, x.astype(found.dtype), found, dim)
        record["ulp"] = round(worst, 4) if np.isfinite(worst) else None
    return record


def main():
    versions = {"torch": torch.__version__.split("+")[0], "scipy": scipy.__version__}
    records = []
    for name, op, x, dim in arguments():
        record = {"name": name, "op": op, "dim": dim, "input": packed(x)}
        record["torch"] = judged(with_torch, op, x, dim)
        if x.dtype.name != "bfloat16" and name != "error":
            record["scipy"] = judged(with_scipy, op, x, dim)
        records.append(record)
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    text = f'{{"versions":{json.dumps(versions)},"records":[\n{lines}\n]}}\n'
    (HERE / "golden.json").write_text(text)
    print(f"{len(records)} records, {len(text)} bytes")


if __name__ == "__main__":
    main()
