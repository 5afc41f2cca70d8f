"""Adapters of the libraries that compile first: ONNX Runtime, JAX, OpenVINO, Numba."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

import onnx_graph
from peers import Call, Missing, Peer, flat3, result_like


class OnnxRuntime(Peer):
    name, module = "onnxruntime", "onnxruntime"

    def session(self, op: str, x: np.ndarray, dim: int, threads: int) -> Any:
        ort = self.lib
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = onnx_graph.model(op, x.dtype.name, x.shape, dim)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        if x.dtype.name == "bfloat16":
            raise Missing("no bfloat16 on the CPU")
        session = self.session(op, x, dim, threads)
        source = self.lib.OrtValue.ortvalue_from_numpy(x)
        ready = self.lib.OrtValue.ortvalue_from_numpy(result_like(op, x, dim))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", source)
        binding.bind_ortvalue_output("y", ready)
        return [
            Call(session.run, (None, {"x": x}), read=lambda ys: ys[0]),
            Call(
                session.run_with_ort_values,
                (None, {"x": source}),
                form="kept",
                read=lambda ys: ys[0].numpy(),
            ),
            Call(
                session.run_with_iobinding,
                (binding,),
                form="out",
                read=lambda _: ready.numpy(),
            ),
        ]


class Jax(Peer):
    name, module = "jax", "jax"

    def __init__(self) -> None:
        super().__init__()
        self.lib.config.update("jax_enable_x64", True)
        # The caller waits for the result anyhow; handing it to another thread only costs.
        self.lib.config.update("jax_cpu_enable_async_dispatch", False)

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        jax = self.lib
        if op == "softmin":
            jitted = jax.jit(lambda a: jax.nn.softmax(-a, axis=dim))
        else:
            func = getattr(jax.nn, op)
            jitted = jax.jit(lambda a: func(a, axis=dim))
        source = jax.block_until_ready(jax.numpy.asarray(x))

        def run(a: Any) -> Any:
            return jitted(a).block_until_ready()

        def from_array(x: np.ndarray) -> np.ndarray:
            return np.asarray(jitted(x))

        return [Call(run, (source,), form="kept"), Call(from_array, (x,))]


class OpenVino(Peer):
    name, module = "openvino", "openvino"

    def __init__(self) -> None:
        # Its telemetry forks the process and asks for the network.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        super().__init__()

    @functools.cached_property
    def core(self) -> Any:
        return self.lib.Core()

    def version(self) -> str:
        return str(self.lib.__version__).split("-")[0]

    def compiled(self, op: str, x: np.ndarray, dim: int, threads: int) -> Any:
        import openvino.opset13 as ops

        source = ops.parameter(list(x.shape), x.dtype)
        at = dim % x.ndim
        if op == "softmax":
            result = ops.softmax(source, at)
        elif op == "softmin":
            result = ops.softmax(ops.negative(source), at)
        elif op == "log_softmax":
            result = ops.log_softmax(source, at)
        else:
            axis = ops.constant([at], np.int64)
            top = ops.reduce_max(source, axis, True)
            total = ops.reduce_sum(ops.exp(ops.subtract(source, top)), axis, True)
            result = ops.squeeze(ops.add(ops.log(total), top), axis)
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            # Without this it computes float32 in bfloat16 where the CPU can.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        return self.core.compile_model(self.lib.Model([result], [source]), "CPU", options)

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        if x.dtype.name not in ("float32", "float16"):
            raise Missing("computes float64 in float32" if x.itemsize == 8 else "no bfloat16")
        compiled = self.compiled(op, x, dim, threads)
        request = compiled.create_infer_request()
        request.set_input_tensor(self.lib.Tensor(x, shared_memory=True))
        out = result_like(op, x, dim)
        if out.ndim:
            request.set_output_tensor(self.lib.Tensor(out, shared_memory=True))

        # OpenVINO holds neither array alive: this function, kept by the Call, does.
        def read(results: Any, held: tuple[np.ndarray, np.ndarray] = (x, out)) -> np.ndarray:
            return held[1] if held[1].ndim else results[0].copy()

        return [
            Call(compiled, (x,), read=lambda results: results[0].copy()),
            Call(request.infer, (None, False, True), form="out", read=read),
        ]


class Numba(Peer):
    name, module = "numba", "numba"

    def forms(self, op: str, x: np.ndarray, dim: int, threads: int) -> list[Call]:
        if x.dtype.name not in ("float32", "float64"):
            raise Missing(f"no {x.dtype.name}")
        if threads != 1:
            raise Missing("the loop is written for one thread")
        import numba_loops as loops

        if x.ndim == 1:
            if op == "logsumexp":
                return [Call(loops.logsumexp_1d, (x,), read=x.dtype.type)]
            out = result_like(op, x, dim)
            fresh = Call(getattr(loops, f"{op}_fresh_1d"), (x,))
            func = getattr(loops, f"{op}_1d")
            return [fresh, Call(func, (x, out), form="out", read=lambda _: out)]
        x3 = flat3(x, dim)
        kind = "rows" if x3.shape[2] == 1 else "columns"
        out = result_like(op, x, dim)
        out3 = out.reshape(x3.shape[0], x3.shape[2]) if op == "logsumexp" else flat3(out, dim)
        func = getattr(loops, f"{op}_{kind}")
        func(x3, out3)
        fresh = functools.partial(_into_new, func, x3, out3.shape, out.shape)
        return [
            Call(fresh),
            Call(func, (x3, out3), form="out", read=lambda _: out),
        ]


def _into_new(func: Any, x3: np.ndarray, shape3: tuple, shape: tuple) -> np.ndarray:
    out = np.empty(shape3, x3.dtype)
    func(x3, out)
    return out.reshape(shape)


PEERS = {peer.name: peer for peer in (OnnxRuntime, Jax, OpenVino, Numba)}
