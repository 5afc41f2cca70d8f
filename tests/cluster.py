"""Softmax on a dask cluster of two worker processes, on data larger than the memory of both.

    python tests/cluster.py [--gib 4] [--limit-mib 600] [case ...]

The data are random numbers that the workers make and nobody holds whole. Of each result a worst
error over sampled rows is taken, and a check of every row. Exits with 1 if one is out of bounds or
a worker used more than its limit.
"""

import argparse
import contextlib
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import fastsoftmax.functional as F
import oracle
import oracle_losses
from bounds import CLASS_LOSS, bound

WORKERS = 2
SAMPLES = 12
COLUMNS = 32_768
MIB = 1 << 20

# name: what is computed, over which dim, and the chunks
CASES = {
    "whole rows": ("softmax", 1, (64, -1)),
    "rows in chunks": ("softmax", 1, (512, 4096)),
    "logarithms, rows in chunks": ("log_softmax", 1, (512, 4096)),
    "first dim in chunks": ("softmax", 0, (512, 4096)),
    "sums over the first dim": ("logsumexp", 0, (512, 4096)),
    "losses, classes in chunks": ("cross_entropy", 1, (512, 4096)),
}


@contextlib.contextmanager
def cluster(limit):
    """A client of two single-threaded worker processes of `limit` bytes each."""
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set({"distributed.worker.memory.terminate": 0.95}),
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            memory_limit=limit,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port: None takes a fixed one
            local_directory=folder,
        ) as workers,
        Client(workers) as client,
    ):
        yield client


def peak():
    """The most memory that this process had, in bytes.

    Linux counts in ru_maxrss what the parent had when it started this process; VmHWM is its own.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def data(size, chunks):
    """Random float32 numbers of `size` bytes in rows."""
    shape = size // (4 * COLUMNS), COLUMNS
    return 24 * da.random.default_rng(7).random(shape, dtype=np.float32, chunks=chunks)


def run(name, size):
    """The worst error in ULP, its bound, and whether all rows passed the check."""
    op, dim, chunks = CASES[name]
    x = data(size, chunks)
    samples = np.linspace(0, x.shape[1 - dim] - 1, SAMPLES).astype(int)
    taken = np.s_[samples] if dim else np.s_[:, samples]
    if op == "cross_entropy":
        target = da.arange(len(x), chunks=x.chunks[0]) * 7919 % COLUMNS
        losses = F.cross_entropy(x, target, reduction="none")
        parts = x[taken], target[samples], losses[samples], losses.min() > 0
        x, target, result, fine = dask.compute(*parts)
        arguments = {"input": x, "target": target, "reduction": "none"}
        error = oracle_losses.error_ulp(result, oracle_losses.exact(op, arguments))
        return error, bound(CLASS_LOSS, "float32"), fine
    y = getattr(F, op)(x, dim)
    if op == "logsumexp":
        taken_y, fine = y[samples], (y > x.max(axis=dim)).all()
    else:
        taken_y = y[taken]
        sums = (da.exp(y) if op == "log_softmax" else y).sum(axis=dim, dtype=np.float64)
        fine = (abs(sums - 1) < 1e-5).all()
    x, result, fine = dask.compute(x[taken], taken_y, fine)
    return oracle.error_ulp(op, x, result, dim), bound(op, "float32"), fine


def main():
    parser = argparse.ArgumentParser(description="softmax past the memory of two workers")
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--limit-mib", type=int, default=600)
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; the default is all")
    options = parser.parse_args()
    size, limit = int(options.gib * 1024) * MIB, options.limit_mib * MIB
    print(f"{size / MIB:.0f} MiB of float32; {WORKERS} workers of {limit / MIB:.0f} MiB each")
    print("| case | function, dim, chunks | seconds | peak of a worker, MiB | worst ULP (bound) |")
    print("|---|---|--:|--:|--:|")
    failed = False
    for name in options.case or CASES:
        with cluster(limit) as client:  # new workers: their peaks are this case's
            start = time.perf_counter()
            error, allowed, fine = run(name, size)
            seconds = time.perf_counter() - start
            used = max(client.run(peak).values())
        wrong = not (fine and error <= allowed and used <= limit)
        failed |= wrong
        op, dim, chunks = CASES[name]
        print(
            f"| {name} | `{op}`, {dim}, {chunks} | {seconds:.0f} | {used / MIB:.0f} | "
            f"{error:.2f} ({allowed:g}) |{' WRONG' if wrong else ''}",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
