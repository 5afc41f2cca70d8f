"""Writes nn.json: what PyTorch's modules look like and answer, for tests that need no PyTorch.

    python tests/golden/make_nn.py

Each record has the class, the arguments of its constructor, the inputs of its call by name, and
then the `repr`, the texts of the warnings, and the result as nested lists of float64 with its
shape, or the type and text of the error that the call raised.
"""

import itertools
import json
import pathlib
import warnings

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
SHAPES = {"(C,)": (4,), "(N, C)": (3, 4), "(N, C, d)": (2, 4, 3), "(N, C, d, e)": (2, 4, 2, 3)}


def make_inputs():
    rng = np.random.default_rng(20261124)
    made = {"()": np.array(0.5)}
    for name, shape in SHAPES.items():
        places = shape[:1] + shape[2:] if len(shape) > 1 else ()
        made[name] = rng.normal(size=shape) * 3
        made[f"indices of {name}"] = rng.integers(0, 4, places)
        made[f"too large for {name}"] = np.full(places, 4)
        drawn = rng.random(shape)
        made[f"probabilities of {name}"] = drawn / drawn.sum(
            0 if len(shape) == 1 else 1, keepdims=True
        )
        made[f"logarithms of {name}"] = np.log(made[f"probabilities of {name}"])
    made["(N, C, d, e, f)"] = rng.normal(size=(2, 3, 2, 2, 2))
    made["weight"] = np.array([0.5, 2.0, 0.0, 1.25])
    return made


INPUTS = make_inputs()


def calls():
    """(class, arguments of the constructor, names of the inputs) of every record."""
    inputs = ["()", *SHAPES, "(N, C, d, e, f)"]
    for kind, dim, name in itertools.product(
        ("Softmax", "LogSoftmax", "Softmin"), (None, 0, 1, -1, 3), inputs
    ):
        yield kind, {"dim": dim}, (name,)
    for name in inputs:
        yield "Softmax2d", {}, (name,)
    for name, weight, ignored, reduction in itertools.product(
        SHAPES, (None, "weight"), (-100, 1), ("mean", "sum", "none")
    ):
        options = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        yield "NLLLoss", options, (f"logarithms of {name}", f"indices of {name}")
        for smoothing in (0.0, 0.3):
            smoothed = options | {"label_smoothing": smoothing}
            yield "CrossEntropyLoss", smoothed, (name, f"indices of {name}")
            if ignored == -100:
                yield "CrossEntropyLoss", smoothed, (name, f"probabilities of {name}")
    for kind, average, reduce in itertools.product(
        ("NLLLoss", "CrossEntropyLoss"), (None, False, True), (None, False, True)
    ):
        options = {"size_average": average, "reduce": reduce}
        yield kind, options, ("logarithms of (N, C)", "indices of (N, C)")
    for kind in ("NLLLoss", "CrossEntropyLoss"):
        yield kind, {"reduction": "median"}, ("(N, C)", "indices of (N, C)")
        yield kind, {}, ("(N, C)", "indices of (N, C, d)")
        yield kind, {}, ("(N, C)", "too large for (N, C)")
    yield "CrossEntropyLoss", {"label_smoothing": 1.5}, ("(N, C)", "indices of (N, C)")


def record(kind, options, names):
    found = {"class": kind, "options": options, "inputs": names}
    given = {k: torch.from_numpy(INPUTS[v]) if v == "weight" else v for k, v in options.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = getattr(torch.nn, kind)(**given)
        found["repr"] = repr(module)
        try:
            result = module(*(torch.from_numpy(np.array(INPUTS[name])) for name in names))
        except Exception as error:
            found["error"] = [type(error).__name__, str(error).splitlines()[0]]
        else:
            found["result"] = result.tolist()
            found["shape"] = list(result.shape)
    found["warnings"] = [str(one.message) for one in caught]
    return found


def main():
    inputs = [
        f"{json.dumps(k)}: {json.dumps([str(x.dtype), x.tolist()])}" for k, x in INPUTS.items()
    ]
    records = [json.dumps(record(*call)) for call in calls()]
    version = torch.__version__.split("+")[0]
    text = '{"torch": "%s",\n"inputs": {\n%s\n},\n"records": [\n%s\n]}\n'
    (HERE / "nn.json").write_text(text % (version, ",\n".join(inputs), ",\n".join(records)))


if __name__ == "__main__":
    main()
