"""Adapters of the libraries that need no compilation: ours, NumPy, SciPy, PyTorch, numexpr."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from peers import OURS, Call, Missing, Peer, result_like


class Ours(Peer):
    name, module = OURS, "fastsoftmax.functional"

    def __init__(self) -> None:
        super().__init__()
        import fastsoftmax

        self.package = fastsoftmax

    def version(self) -> str:
        return str(self.config()["version"])

    def config(self) -> dict[str, Any]:
        return dict(self.package.show_config())

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        func = getattr(self.lib, op)
        func(x, dim)  # raises here for an element type without a kernel
        context = functools.partial(self.package.num_threads, threads)
        ready = {"out": result_like(op, x, dim)}
        return [
            Call(func, (x, dim), context=context),
            Call(func, (x, dim), ready, form="out", context=context),
        ]


class Copy(Peer):
    """np.copyto into a ready output: what moving the data costs, whatever is done to it."""

    name = "copy"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        out = np.zeros_like(x)

        def read(_: None) -> np.ndarray:
            raise Missing("a copy is no softmax")

        return [Call(np.copyto, (out, x), form="out", read=read)]


class NumpyExp(Copy):
    """np.exp on the same array: what a call of a NumPy function costs."""

    name = "np_exp"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        read = super().forms(op, x, dim, threads)[0].read
        out = np.zeros_like(x)
        return [Call(np.exp, (x,), read=read), Call(np.exp, (x, out), form="out", read=read)]


def numpy_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def numpy_softmin(x: np.ndarray, dim: int) -> np.ndarray:
    return numpy_softmax(-x, dim)


def numpy_log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    shifted = x - x.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def numpy_logsumexp(x: np.ndarray, dim: int) -> np.ndarray:
    top = x.max(axis=dim, keepdims=True)
    return np.log(np.exp(x - top).sum(axis=dim)) + top.squeeze(dim)


class Numpy(Peer):
    """The expressions everyone writes."""

    name = "numpy"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        return [Call(globals()[f"numpy_{op}"], (x, dim))]


class Scipy(Peer):
    name, module = "scipy", "scipy.special"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        if x.dtype.kind == "V":
            raise Missing("no bfloat16")
        if op == "softmin":
            softmax = self.lib.softmax

            def softmin(x: np.ndarray, dim: int) -> np.ndarray:
                return softmax(-x, dim)

            return [Call(softmin, (x, dim))]
        return [Call(getattr(self.lib, op), (x, dim))]


class Torch(Peer):
    name, module = "torch", "torch"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        torch = self.lib
        torch.set_num_threads(threads)
        brain = x.dtype.name == "bfloat16"
        t = self.tensor(x)
        func = torch.nn.functional.softmin if op == "softmin" else getattr(torch, op)

        def array(y: Any) -> np.ndarray:
            return y.view(torch.uint16).numpy().view(x.dtype) if brain else y.numpy()

        from_numpy = torch.from_numpy

        def from_array(x: np.ndarray, dim: int) -> np.ndarray:
            return func(from_numpy(x), dim).numpy()

        more: dict[str, Any] = {"read": array, "context": torch.inference_mode}
        calls = [Call(func, (t, dim), form="kept", **more)]
        if not brain:
            calls.append(Call(from_array, (x, dim), context=torch.inference_mode))
        if op != "softmin":
            out = {"out": self.tensor(result_like(op, x, dim))}
            calls.append(Call(func, (t, dim), out, form="out", **more))
        return calls

    def tensor(self, x: np.ndarray) -> Any:
        if x.dtype.name == "bfloat16":
            return self.lib.from_numpy(x.view(np.uint16)).view(self.lib.bfloat16)
        return self.lib.from_numpy(x)


class TorchTensor(Torch):
    """PyTorch from tensor to tensor, whatever form is asked for."""

    name = "torch_tensor"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        return [c for c in super().forms(op, x, dim, threads) if c.form == "kept"]


class Numexpr(Peer):
    """The exponentials by numexpr, the reductions by NumPy: numexpr's own use one thread."""

    name, module = "numexpr", "numexpr"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        if x.dtype.name not in ("float32", "float64"):
            raise Missing(f"no {x.dtype.name}")
        self.lib.set_num_threads(threads)
        evaluate = self.lib.evaluate

        def softmax(x: np.ndarray) -> np.ndarray:
            e = evaluate("exp(x - m)", {"x": x, "m": x.max(axis=dim, keepdims=True)})
            return evaluate("e / s", {"e": e, "s": e.sum(axis=dim, keepdims=True)}, out=e)

        def softmin(x: np.ndarray) -> np.ndarray:
            e = evaluate("exp(m - x)", {"x": x, "m": x.min(axis=dim, keepdims=True)})
            return evaluate("e / s", {"e": e, "s": e.sum(axis=dim, keepdims=True)}, out=e)

        def sums(x: np.ndarray) -> np.ndarray:
            m = x.max(axis=dim, keepdims=True)
            e = evaluate("exp(x - m)", {"x": x, "m": m})
            return np.log(e.sum(axis=dim, keepdims=True)) + m

        def logsumexp(x: np.ndarray) -> np.ndarray:
            return sums(x).squeeze(dim)

        def log_softmax(x: np.ndarray) -> np.ndarray:
            return evaluate("x - s", {"x": x, "s": sums(x)})

        known = {f.__name__: f for f in (softmax, softmin, logsumexp, log_softmax)}
        return [Call(known[op], (x,))]


_ALL = (Ours, Copy, NumpyExp, Numpy, Scipy, Torch, TorchTensor, Numexpr)
PEERS = {peer.name: peer for peer in _ALL}
