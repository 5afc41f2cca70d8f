"""Options of the pytest-benchmark grid, and the environment it is timed in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import environment

# Before NumPy is imported, which reads these once.
environment.prepare(len(environment.cpus()))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grid", "the benchmark grid")
    add = group.addoption
    add("--grid-cases", default="quick,4096x1000", help="as compare.py's --cases, with commas")
    add("--grid-ops", default="softmax,log_softmax,logsumexp,softmin")
    add("--grid-dtypes", default="float32")
    add("--grid-peers", default="numpy,scipy,torch,onnxruntime,jax,openvino,numba,numexpr")
    add("--grid-threads", default="1,all")
    add("--grid-outputs", default="fresh,out")
    add("--grid-caches", default="hot", help="hot, cold, or hot,cold")
