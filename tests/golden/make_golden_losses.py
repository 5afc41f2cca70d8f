"""Writes golden_losses.json: PyTorch's losses and gradients, for tests that do not need it.

    python tests/golden/make_golden_losses.py

Each group of records covers every pair of levels of its factors (GROUPS). A record has its levels,
the arguments, and PyTorch's result with its own worst error in ULP (null where a NaN or an infinity
is not where it belongs), or the type and text of its error. Arrays are base64 of their
little-endian bytes. PyTorch is asked with int64 where a record has class indices of another type,
which it refuses; the records of "refused" have what it says of them.
"""

import itertools
import json
import pathlib
import sys
import warnings

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import inputs  # noqa: E402
import oracle_losses  # noqa: E402
from stored import packed, unpacked  # noqa: E402

NAN, INF = float("nan"), float("inf")
DTYPES = tuple(inputs.DTYPES)

SHAPES = {
    "C": (7,),
    "NC": (3, 7),
    "one class": (4, 1),
    "wide": (2, 40),
    "NCK": (2, 5, 3),
    "NCdd": (2, 3, 2, 2),
    "NCddd": (1, 4, 2, 1, 2),
    "N=0": (0, 4),
    "K=0": (2, 3, 0),
}
VALUES = ("ordinary", "confident", "offset", "-inf", "NaN, +inf")
WEIGHTS = (None, "ordinary", "one 0", "one negative")
REDUCTIONS = {
    "none": {"reduction": "none"},
    "mean": {"reduction": "mean"},
    "sum": {"reduction": "sum"},
    "reduce=False": {"reduce": False},
    "reduce=True": {"reduce": True},
    "size_average=False": {"size_average": False},
    "size_average=True": {"size_average": True},
    "both False": {"size_average": False, "reduce": False},
    "False, True": {"size_average": False, "reduce": True},
    "True, False": {"size_average": True, "reduce": False, "reduction": "sum"},
}
IGNORED = {  # ignore_index, or None not to give it; how many rows have it
    "default, none": (None, 0),
    "default, some": (None, 0.4),
    "in range": (0, 0),
    "beyond C": (120, 0.4),
    "all": (120, 1),
}
INTEGERS = ("int64", "uint8", "int8", "int16", "uint16", "int32", "uint32", "uint64")
SMOOTHING = (0.0, 0.1, 1.0)
BACKWARD_SHAPES = {"1": ((5,), 0), "last": ((3, 7), 1), "first": ((4, 3), 0), "-1": ((2, 9), -1),
                   "middle": ((2, 3, 2), 1), "one": ((2, 1), 1), "empty": ((0, 3), 1)}  # fmt: skip

CLASSES = {
    "shape": tuple(SHAPES),
    "dtype": DTYPES,
    "index": INTEGERS,
    "weight": WEIGHTS,
    "ignored": tuple(IGNORED),
    "reduction": tuple(REDUCTIONS),
    "values": VALUES,
}
PROBABILITIES = {
    "shape": (*SHAPES, "C=0"),
    "dtype": DTYPES,
    "target dtype": ("as input", "float16", "float32", "float64"),
    "weight": WEIGHTS,
    "ignore_index": (None, -1),
    "smoothing": SMOOTHING,
    "reduction": tuple(REDUCTIONS),
    "values": VALUES,
}
GRADIENT = {"grad_output": ("one", "given")}
BACKWARD = {
    "shape": tuple(BACKWARD_SHAPES),
    "dtype": DTYPES,
    "values": VALUES,
    "grad_output": ("ordinary", "one", "cancelling", "infinite"),
}
GROUPS = {
    "cross_entropy of classes": CLASSES | {"smoothing": SMOOTHING},
    "cross_entropy of probabilities": PROBABILITIES,
    "nll_loss": CLASSES,
    "cross_entropy_backward of classes": CLASSES | {"smoothing": SMOOTHING} | GRADIENT,
    "cross_entropy_backward of probabilities": PROBABILITIES | GRADIENT,
    "softmax_backward": BACKWARD,
    "log_softmax_backward": BACKWARD,
}


def all_pairs(factors, rng):
    """Rows of levels, one for each factor, among which every pair of levels is found."""
    names = list(factors)
    todo = {
        ((a, one), (b, other))
        for a, b in itertools.combinations(names, 2)
        for one, other in itertools.product(factors[a], factors[b])
    }
    while todo:
        wanted = dict(sorted(todo, key=str)[int(rng.integers(len(todo)))])
        candidates = []
        for _ in range(40):
            row = {name: levels[int(rng.integers(len(levels)))] for name, levels in factors.items()}
            row |= wanted
            candidates.append((row, todo & set(itertools.combinations(row.items(), 2))))
        row, covered = max(candidates, key=lambda candidate: len(candidate[1]))
        todo -= covered
        yield row


def logits(values, dtype, shape, rng, axis):
    x = rng.normal(size=shape) * 3
    if values == "confident":
        x = -30 - rng.exponential(5, size=shape)
        np.moveaxis(x, axis, 0)[:1] = 1.5
    elif values == "offset":
        x += 1000 if dtype == "float64" else 100
    elif values == "-inf":
        x[rng.random(shape) < 0.15] = -INF
    elif values == "NaN, +inf":
        x[rng.random(shape) < 0.1] = NAN
        x[rng.random(shape) < 0.1] = INF
    return inputs.fit(x, dtype)


def arguments(group, row, rng):
    """The function's name and its arguments, by name."""
    op = group.split(" of ")[0]
    dtype = row["dtype"]
    if op in ("softmax_backward", "log_softmax_backward"):
        shape, dim = BACKWARD_SHAPES[row["shape"]]
        x = as_tensor(logits(row["values"], dtype, shape, rng, dim))
        function = getattr(torch, op.removesuffix("_backward"))
        g = rng.normal(size=shape)
        if row["grad_output"] == "one":
            g = np.zeros(shape)
            np.moveaxis(g, dim, 0)[:1] = 1
        elif row["grad_output"] == "cancelling":
            g += 100
        elif row["grad_output"] == "infinite":
            g[rng.random(shape) < 0.1] = INF
        output = as_array(function(x, dim))
        return op, {"grad_output": inputs.fit(g, dtype), "output": output, "dim": dim}
    shape = SHAPES.get(row["shape"], (2, 0))
    axis = 1 if len(shape) > 1 else 0
    classes = shape[axis]
    row_shape = shape[:1] + shape[2:] if len(shape) > 1 else ()
    found = {"input": logits(row["values"], dtype, shape, rng, axis)}
    if group.endswith("probabilities"):
        p = rng.random(shape) * (rng.random(shape) < 0.8)
        p /= np.maximum(p.sum(axis=axis, keepdims=True), 1e-3)
        target = dtype if row["target dtype"] == "as input" else row["target dtype"]
        found["target"] = inputs.fit(p, target)
        if row["ignore_index"] is not None:
            found["ignore_index"] = row["ignore_index"]
    else:
        t = np.asarray(rng.integers(0, classes, size=row_shape))
        index, share = IGNORED[row["ignored"]]
        if index is not None:
            found["ignore_index"] = index
        if index is not None or not row["index"].startswith("u"):
            t[rng.random(row_shape) < share] = -100 if index is None else index
        found["target"] = t.astype(row["index"])
    if row["weight"] is not None:
        w = rng.uniform(0.5, 2, size=classes)
        if row["weight"] != "ordinary":
            w[:1] = 0 if row["weight"] == "one 0" else -0.0625
        found["weight"] = inputs.fit(w, dtype)
    if row.get("smoothing"):
        found["label_smoothing"] = row["smoothing"]
    found |= REDUCTIONS[row["reduction"]]
    if op == "cross_entropy_backward":
        reduction = found.get("reduction", "mean")
        if "reduce" in found or "size_average" in found:
            flags = found.get("size_average"), found.get("reduce")
            reduction = oracle_losses.REDUCTIONS[flags]
        g = rng.normal(size=row_shape if reduction == "none" else ())
        given = np.ones_like(g) if row["grad_output"] == "one" else g
        target = found["target"].dtype.name
        wide = {"float64": "float64", "float32": "float32"}.get(target, dtype)
        loss_dtype = wide if group.endswith("probabilities") else dtype
        found["grad_output"] = inputs.fit(np.asarray(given), loss_dtype)
    return op, found


def as_tensor(value):
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(value))


def as_array(tensor):
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(inputs.DTYPES["bfloat16"])
    return tensor.numpy()


def with_torch(op, found):
    found = {name: as_tensor(value) for name, value in found.items()}
    if op in ("softmax_backward", "log_softmax_backward"):
        # What autograd calls, with the very output that it kept.
        function = getattr(torch, f"_{op}_data")
        output = found["output"]
        return as_array(function(found["grad_output"], output, found["dim"], output.dtype))
    if op != "cross_entropy_backward":
        return as_array(getattr(torch.nn.functional, op)(**found))
    g = found.pop("grad_output")
    x = found.pop("input").requires_grad_()
    loss = torch.nn.functional.cross_entropy(x, **found)
    return as_array(torch.autograd.grad(loss, x, g.to(loss.dtype))[0])


def as_json(found):
    return {
        name: packed(value) if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


def asked(op, found):
    """PyTorch's part of a record."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = with_torch(op, found)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error).splitlines()[0][:200]}
    return packed(result)


def combinations():
    for number, (group, factors) in enumerate(GROUPS.items()):
        rng = np.random.default_rng(20261123 + number)
        for row in all_pairs(factors, rng):
            op, found = arguments(group, row, rng)
            theirs = dict(found)
            if not group.endswith("probabilities") and "target" in found:
                theirs["target"] = found["target"].astype(np.int64)
            record = {"group": group, "op": op, "levels": row, "arguments": as_json(found)}
            record["torch"] = asked(op, theirs)
            if "error" in record["torch"]:
                raise RuntimeError(f"{record['torch']} of {row}")
            worst = oracle_losses.error_ulp(
                unpacked(record["torch"]), oracle_losses.exact(op, found)
            )
            record["torch"]["ulp"] = float(f"{worst:.5g}") if np.isfinite(worst) else None
            yield record


def refused():
    """(function, arguments) that PyTorch refuses, or takes where it should not."""
    x = np.arange(12.0).reshape(3, 4).astype(np.float32) / 8
    cube, four, five = (np.zeros(s, np.float32) for s in ((2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)))
    t = np.array([0, 1, 2])

    def zeros(*shape):
        return np.zeros(shape, np.int64)

    both = [
        (x, [0, 4, 1], {}), (x, [0, -1, 1], {}), (x[0], 4, {}), (cube, zeros(2, 4) + 3, {}),
        (x, [0, 4, 1], {"reduction": "none"}), (x, [0, 7, 1], {"ignore_index": 1}),
        (x, t[:2], {}), (cube, zeros(2, 5), {}), (cube, zeros(3, 4), {}),
        (four, zeros(2, 4, 6), {}), (four, zeros(2, 4), {}), (five, zeros(2, 2, 2), {}),
        (cube, zeros(2, 4, 5), {}),
        (x, zeros(3, 1), {}), (x, 0, {}), (x[0], t[:2], {}), (x[0], zeros(1, 1), {}),
        (np.ones((), "f4"), [0], {}),
        (x, t, {"reduction": "average"}), (x, t, {"reduction": None}), (x, t, {"reduction": 1}),
        (x, t, {"weight": np.ones(3, "f4")}), (x, t, {"weight": np.ones((1, 4), "f4")}),
        (x, t, {"weight": np.ones((), "f4")}), (cube, zeros(2, 4), {"weight": np.ones(4, "f4")}),
        (x, t, {"weight": np.ones(4)}), (x, t, {"weight": np.ones(4, "i8")}),
        (x, np.array([0.0, 1, 2]), {}), (x, np.ones((2, 4), "f4"), {}), (x, np.ones((3, 5)), {}),
        (x, t.astype(bool), {}), (x, t.astype(np.int32), {}), (x, t.astype(np.uint32), {}),
        (x, t.astype(np.complex64), {}),
        (x.astype(np.int64), t, {}), (x.astype(bool), t, {}), (x.astype(np.complex64), t, {}),
        (x, t, {"ignore_index": 1.0}), (x, t, {"ignore_index": True}),
        (x, t, {"ignore_index": None}), (x, t, {"ignore_index": 2**70}),
        (np.zeros((2, 0), "f4"), zeros(2), {}), (np.zeros((2, 0, 2), "f4"), zeros(2, 2), {}),
    ]  # fmt: skip
    for op in ("cross_entropy", "nll_loss", "cross_entropy_backward"):
        for input, target, more in both:
            yield op, {"input": np.asarray(input), "target": np.asarray(target)} | more
    p = np.full((3, 4), 0.25, np.float32)
    for op in ("cross_entropy", "cross_entropy_backward"):
        for target, more in [
            (zeros(3, 4), {}), (zeros(3, 4).astype(bool), {}), (p.astype(np.complex64), {}),
            (p, {"ignore_index": 2}), (p, {"ignore_index": 0}), (p, {"weight": np.ones(3, "f4")}),
            (p, {"label_smoothing": 1.5}), (t, {"label_smoothing": 1.5}),
            (t, {"label_smoothing": 1e300}), (t, {"label_smoothing": -0.5}),
            (t, {"label_smoothing": None}), (t, {"label_smoothing": "a"}),
            (t[:2], {"label_smoothing": 0.1}), (t.astype(np.float32), {"label_smoothing": 0.1}),
            (np.array([0, 4, 1]), {"label_smoothing": 0.1}),
        ]:  # fmt: skip
            yield op, {"input": x, "target": target} | more
        yield op, {"input": np.ones((), "f4"), "target": np.ones((), "f4")}
        yield op, {"input": np.ones((), "f4"), "target": zeros()}
    for shape, more in (((3,), {}), ((1,), {}), ((), {"reduction": "none"})):
        g = np.ones(shape, np.float32)
        yield "cross_entropy_backward", {"grad_output": g, "input": x, "target": t} | more


def errors():
    for op, found in refused():
        if op == "cross_entropy_backward" and "grad_output" not in found:
            found["grad_output"] = np.ones((), np.float32)
        yield {
            "group": "refused",
            "op": op,
            "levels": {},
            "arguments": as_json(found),
            "torch": asked(op, found),
        }


def main():
    records = [*combinations(), *errors()]
    groups = {
        group: {name: list(levels) for name, levels in factors.items()}
        for group, factors in GROUPS.items()
    }
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    version = torch.__version__.split("+")[0]
    head = f'{{"torch":"{version}","groups":{json.dumps(groups)},"records":[\n'
    text = f"{head}{lines}\n]}}\n"
    (HERE / "golden_losses.json").write_text(text)
    print(f"{len(records)} records, {len(text)} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
