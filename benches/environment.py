"""What a timing run needs from its process, and what it says about the machine.

Thread counts of most libraries are fixed when they are imported, so each count is measured in a
process of its own, started with the environment and the CPU affinity given here. This file imports
nothing but the standard library: it must run before NumPy does.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Some machines override what OpenBLAS believes about the CPU: NumPy is not to be timed under that.
_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
)


def cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def prepare(threads: int, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Set `environ` (this process's if None) so that every library uses `threads` threads."""
    target = os.environ if environ is None else environ
    for name in _UNSET:
        target.pop(name, None)
    for name in _COUNTS:
        target[name] = str(threads)
    if threads == 1:
        flags = target.get("XLA_FLAGS", "").split()
        flags.append("--xla_cpu_multi_thread_eigen=false")
        target["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))
    target.setdefault("JAX_PLATFORMS", "cpu")
    target.setdefault("OPENVINO_TELEMETRY", "0")
    target.setdefault("PYTHONHASHSEED", "0")
    return dict(target)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Let this thread, and the processes it starts, use `threads` CPUs only.

    XLA takes its thread count from the affinity and from nothing else. The last CPUs are taken:
    interrupts tend to land on the first.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[-threads:]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.lower().startswith(("model name", "cpu model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The vector instruction sets that matter here, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return []
    wanted = [
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512_bf16",
        "asimd",
        "asimdhp",
        "sve",
    ]
    for line in info.read_text().splitlines():
        if line.lower().startswith(("flags", "features")):
            have = set(line.partition(":")[2].split())
            return [name for name in wanted if name in have]
    return []


def caches() -> dict[str, int]:
    """Bytes of each cache of CPU 0, by level: {"L1d": 32768, "L2": ..., "L3": ...}."""
    found: dict[str, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = (index / "level").read_text().strip()
            size = (index / "size").read_text().strip()
        except OSError:
            continue
        if kind != "Instruction":
            unit = {"K": 1024, "M": 1024**2}.get(size[-1], 1)
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size.rstrip("KM")) * unit
    return found


def describe() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "features": cpu_features(),
        "caches": caches(),
        "cpus": len(cpus()),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
    }
