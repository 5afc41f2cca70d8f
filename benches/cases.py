"""The grid: which arrays, which operations, which element types.

A case is a shape and the dimension reduced over; a cell is a case under one operation, one element
type and one thread count. Inputs depend on the case and the element type alone, so two runs, two
libraries and two machines see the same numbers.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

OPERATIONS = ("softmax", "log_softmax", "logsumexp", "softmin")
DTYPES = ("float32", "float64", "float16", "bfloat16")
OUTPUTS = ("best", "fresh", "out")

# Logits of trained classifiers and language models spread by about this much.
SCALE = 3.0


@dataclass(frozen=True)
class Case:
    """One array: its shape, the dimension reduced over, and where such arrays come from."""

    shape: tuple[int, ...]
    dim: int = -1
    why: str = ""

    @property
    def name(self) -> str:
        text = "(10,)" if self.shape == (10,) else f"{self.shape}"
        text = text.replace(str(2**24), "2**24")
        return text if self.last_dim else f"{text}, dim {self.dim}"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def last_dim(self) -> bool:
        return self.dim in (-1, len(self.shape) - 1)

    @property
    def tiny(self) -> bool:
        """A call this small is timed as people write it: with a fresh result, never `out=`."""
        return self.size <= 64


# The table the project set out to win, in its order.
TABLE = (
    Case((10,), -1, "one prediction: the cost of a call"),
    Case((32, 10), -1, "a small batch of ten classes"),
    Case((128, 1000), -1, "a batch of ImageNet logits"),
    Case((4096, 64), -1, "short rows, mixture weights"),
    Case((100000, 10), -1, "a whole data set of ten classes"),
    Case((8, 12, 128, 128), -1, "attention scores"),
    Case((4096, 1000), -1, "ImageNet logits, many"),
    Case((1, 128256), -1, "one token of a large vocabulary"),
    Case((32, 128256), -1, "a batch of tokens, larger than L2"),
    Case((1, 2**24), -1, "one row, larger than the last cache"),
    Case((1000, 256), 0, "columns of a matrix"),
    Case((16, 21, 64, 64), 1, "segmentation: channels first"),
    Case((10, 100000), 0, "classes first"),
)

EXTRA = (
    Case((32, 17), -1, "just past a vector"),
    Case((20000, 33), -1, "just past two vectors"),
    Case((1000000, 2), -1, "binary classification"),
    Case((100000, 3), -1, "three classes"),
    Case((12288, 128), -1, "attention, flattened"),
    Case((64, 50257), -1, "a batch of GPT-2 tokens"),
    Case((1, 1000), -1, "one row in L1"),
    Case((4000000, 3), 0, "tall and narrow, dim first"),
    Case((64, 512, 49), 1, "channels over 7 x 7 pixels"),
    Case((4096, 4096), 0, "strides that are multiples of 4 KiB"),
)

CASES = TABLE + EXTRA
QUICK = tuple(c for c in TABLE if c.size <= 300_000)


@dataclass(frozen=True)
class Cell:
    """A case under one operation, element type, thread count and way of taking the result.

    `output` is "fresh" (every call returns a new array), "out" (into a ready array wherever the
    library can) or "best" (each library in whichever of the two is quicker for it). `cold` evicts
    the caches before every timed call.
    """

    case: Case
    op: str = "softmax"
    dtype: str = "float32"
    threads: int = 1
    output: str = "best"
    cold: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"name": self.case.name}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cell:
        fields = dict(data["case"])
        case = Case(**(fields | {"shape": tuple(fields["shape"])}))
        rest = {key: data[key] for key in ("op", "dtype", "threads", "output", "cold")}
        return cls(case=case, **rest)


def find(names: Iterable[str]) -> tuple[Case, ...]:
    """The cases named: `table`, `quick`, `all`, a case's name, or a shape such as 128x1000@0."""
    groups = {"table": TABLE, "quick": QUICK, "all": CASES, "extra": EXTRA}
    known = {c.name: c for c in CASES}
    found: dict[Case, None] = {}
    for name in names:
        if name in groups:
            found |= dict.fromkeys(groups[name])
        elif name in known:
            found[known[name]] = None
        else:
            found[_parse(name)] = None
    return tuple(found)


def _parse(text: str) -> Case:
    shape, _, dim = text.partition("@")
    try:
        case = Case(tuple(int(n) for n in shape.split("x")), int(dim or -1))
    except ValueError:
        choices = ", ".join(c.name for c in CASES)
        message = f"no case {text!r}: give a shape as 128x1000 or 1000x256@0, or one of {choices}"
        raise SystemExit(message) from None
    same = [c for c in CASES if c.shape == case.shape and c.name == case.name]
    return same[0] if same else case


def grid(
    cases: Iterable[Case],
    ops: Iterable[str],
    dtypes: Iterable[str],
    threads: int,
    output: str = "best",
    cold: bool = False,
) -> Iterator[Cell]:
    ops, dtypes = tuple(ops), tuple(dtypes)
    for case in cases:
        for dtype in dtypes:
            for op in ops:
                yield Cell(case, op, dtype, threads, "fresh" if case.tiny else output, cold)


def dtype_of(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def make_input(case: Case, dtype: str) -> np.ndarray:
    """Normal logits of scale 3, the same for a case and element type in every run."""
    rng = np.random.default_rng(zlib.crc32(f"{case.shape}/{case.dim}".encode()))
    kind = np.float64 if dtype == "float64" else np.float32
    x = rng.standard_normal(case.shape, dtype=kind)
    x *= kind(SCALE)
    return x.astype(dtype_of(dtype), copy=False)
