"""One adapter for each library the benchmarks compare with, and the copy floor.

`get(name).prepare(op, x, dim, threads)` does a library's one-time work (session, compilation,
conversion of the input) and returns a Call: a function, its arguments, and how to read its result.
Where a library offers several ways to do the same, all are tried and the quickest is timed;
`contenders` returns those too close to tell apart at once.
`Missing`, with a reason, says that a library is not installed or cannot do this.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from timeit import Timer
from typing import Any

import numpy as np

OURS = "fastsoftmax"
LIBRARIES = ("numpy", "scipy", "torch", "onnxruntime", "jax", "openvino", "numexpr", "numba")
# Timed beside the libraries, never one of the peers a ratio is taken against.
FLOORS = ("copy", "np_exp", "torch_tensor")
LABELS = {
    "numpy": "NumPy",
    "scipy": "SciPy",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "jax": "JAX",
    "openvino": "OpenVINO",
    "numba": "Numba loop",
    "np_exp": "np.exp",
    "torch_tensor": "PyTorch, tensors kept",
}


class Missing(Exception):
    """This library, or this operation or element type of it, is not there; the text says why."""


@dataclass
class Call:
    """`func(*args, **kwargs)` does the work once, inside `context()`.

    `form` is "fresh" from a NumPy array to a new NumPy array, "kept" from the library's own kind of
    array to a new one of its own, "out" into a ready output. `read` turns what func returned into a
    NumPy array.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    form: str = "fresh"
    read: Callable[[Any], np.ndarray] = np.asarray
    context: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __call__(self) -> Any:
        with self.context():
            return self.func(*self.args, **self.kwargs)

    def result(self) -> np.ndarray:
        return self.read(self())

    @functools.cached_property
    def timer(self) -> Timer:
        """The call written out as source, so that unpacking of arguments is not timed."""
        names = {"func": self.func}
        names |= {f"a{i}": value for i, value in enumerate(self.args)}
        names |= {f"k_{key}": value for key, value in self.kwargs.items()}
        passed = [f"a{i}" for i in range(len(self.args))]
        passed += [f"{key}=k_{key}" for key in self.kwargs]
        # Default arguments of the timed function would be locals; globals are cached as well.
        return Timer(f"func({', '.join(passed)})", timer=time.perf_counter_ns, globals=names)

    def nanoseconds(self, number: int, warm: int = 1) -> float:
        """Nanoseconds one call took, over `number` of them, after `warm` untimed ones."""
        with self.context():
            for _ in range(warm):
                self.func(*self.args, **self.kwargs)
            return self.timer.timeit(number) / number


def quickest(calls: Sequence[Call]) -> list[Call]:
    """The calls that take at most 1.3 times the shortest time, that one first."""
    if len(calls) == 1:
        return list(calls)
    best = [max(call.nanoseconds(1), 1.0) for call in calls]
    number = [max(1, round(5e5 / once)) for once in best]
    for _ in range(5 if max(best) < 1e7 else 2):
        for i, call in enumerate(calls):
            best[i] = min(best[i], call.nanoseconds(number[i], warm=int(number[i] > 1)))
    order = sorted(range(len(calls)), key=best.__getitem__)
    return [calls[i] for i in order if best[i] <= 1.3 * best[order[0]]]


class Peer:
    """A library. `forms` lists the ways it can do an operation; `prepare` picks one."""

    name = ""
    module = "numpy"

    def __init__(self) -> None:
        try:
            self.lib: Any = importlib.import_module(self.module)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name == self.module.split(".")[0]:
                raise Missing("not installed") from None
            raise Missing(f"import failed: {error}") from None

    def version(self) -> str:
        root = importlib.import_module(self.module.partition(".")[0])
        return str(getattr(root, "__version__", "unknown")).split("-")[0]

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        raise NotImplementedError

    def contenders(
        self, op: str, x: np.ndarray, dim: int, threads: int = 1, output: str = "best"
    ) -> list[Call]:
        """The quickest ways of the kind asked for; of any other kind if there is none of it."""
        try:
            calls = self.forms(op, x, dim, threads)
            wanted = {"best": ("fresh", "kept", "out"), "out": ("out", "kept")}.get(output, output)
            return quickest([c for c in calls if c.form in wanted] or calls)
        except Missing:
            raise
        except Exception as error:  # whatever a library says of an element type it lacks
            raise Missing(f"{type(error).__name__}: {str(error).strip()[:200]}") from error

    def prepare(
        self, op: str, x: np.ndarray, dim: int, threads: int = 1, output: str = "best"
    ) -> Call:
        return self.contenders(op, x, dim, threads, output)[0]


@functools.cache
def _get(name: str) -> Peer | Missing:
    import peers_compiled
    import peers_simple

    found = {**peers_simple.PEERS, **peers_compiled.PEERS}
    if name not in found:
        return Missing(f"no such library; known: {', '.join(found)}")
    try:
        return found[name]()
    except Missing as reason:
        return reason


def get(name: str) -> Peer:
    """The adapter of that name; raises Missing if the library is not installed."""
    found = _get(name)
    if isinstance(found, Missing):
        raise Missing(str(found))
    return found


def versions(names: Sequence[str]) -> dict[str, str]:
    """Each library's version, or why it is missing."""
    result = {}
    for name in names:
        try:
            result[name] = get(name).version()
        except Missing as reason:
            result[name] = f"missing: {reason}"
    return result


def result_like(op: str, x: np.ndarray, dim: int) -> np.ndarray:
    """A ready output for `op` over `x`, its pages touched."""
    return np.zeros_like(x) if op != "logsumexp" else np.zeros_like(x.max(axis=dim))


def flat3(x: np.ndarray, dim: int) -> np.ndarray:
    """x as (outer, n, inner) around the dimension reduced over."""
    at = dim % x.ndim
    outer = int(np.prod(x.shape[:at], dtype=np.intp))
    return x.reshape(outer, x.shape[at], -1)
