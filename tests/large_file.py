"""A large .npy file through the command line: memory, speed beside cp, results, an interrupt.

    python tests/large_file.py [--gib 4] [--rounds 3] [--folder DIR]

Makes the file in a temporary folder, and runs `cp` and `fastsoftmax` in turn on it. "Cached" runs
find the input in the page cache, for "cold" ones it was dropped from there. RssAnon is what the
process itself takes; the runs in a cgroup (version 1 or 2, where one can be made) hold what the
page cache takes for it within the limit, too. Exits with 1 if anything is not as it should be.
"""

import argparse
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

import oracle
from bounds import bound

COLUMNS = 1024
LIMIT = 300  # MiB, of RssAnon and of the cgroup
COMMAND = [sys.executable, "-P", "-m", "fastsoftmax"]
DIMS = {"softmax, dim 1": 1, "softmax, dim 0": 0}


class Run(NamedTuple):
    """What one command took."""

    status: int
    seconds: float
    cpu: float
    rss_anon: float  # MiB
    shown: str


def make(path, gib):
    """A file of normal numbers; each block of rows has a mean of its own."""
    rows = int(gib * 2**30) // (4 * COLUMNS)
    block = np.random.default_rng(0).normal(scale=4, size=(min(rows, 8192), COLUMNS))
    block = block.astype("f4")
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, COLUMNS)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, rows, len(block)):
            file.write((block[: rows - first] + np.float32(first / rows)).data)
        file.flush()
        os.fsync(file.fileno())
    return rows


def rss_anon(pid):
    try:
        with open(f"/proc/{pid}/status") as lines:
            found = [int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
    except OSError:
        return 0.0
    return found[0] if found else 0.0


def run(command, group=None, until=None):
    """Run a command with stderr on a terminal; `until`(process) may send it a signal."""
    if group is not None:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 80))
    shown = []

    def listen():
        try:
            while part := os.read(main, 4096):
                shown.append(part)
        except OSError:
            pass  # the other side is closed

    listener = threading.Thread(target=listen)
    start, most = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stderr=other)
    os.close(other)
    listener.start()
    while True:
        most = max(most, rss_anon(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if until is not None:
            until(process)
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    listener.join()
    os.close(main)
    text = b"".join(shown).decode()
    return Run(process.returncode, seconds, usage.ru_utime + usage.ru_stime, most, text)


@contextmanager
def memory_group(mib):
    """A cgroup below our own with that limit, and the file with its peak; None if not possible."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = dict(line.split(":", 2)[1:] for line in lines)
    if "memory" in own:
        above = Path("/sys/fs/cgroup/memory", own["memory"].lstrip("/"))
        limit, peak = "memory.limit_in_bytes", "memory.max_usage_in_bytes"
    else:
        above = Path("/sys/fs/cgroup", own.get("", "/").lstrip("/"))
        limit, peak = "memory.max", "memory.peak"
    group = above / f"large-file-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        yield None, str(error)
        return
    try:
        try:
            (group / limit).write_text(str(mib << 20))
        except OSError as error:
            yield None, str(error)
            return
        yield group, group / peak
    finally:
        group.rmdir()


def drop_from_cache(path):
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def worst_error(source, target, dim):
    """Of some rows, in ULP."""
    x, y = np.load(source, mmap_mode="r"), np.load(target, mmap_mode="r")
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
    if dim == 1:
        at = np.s_[np.linspace(0, len(x) - 1, 500).astype(int), :]
    else:
        at = np.s_[:, [0, 511, COLUMNS - 1]]
    return max(
        oracle.error_ulp("softmax", np.ascontiguousarray(part_x), np.ascontiguousarray(part_y), 0)
        for part_x, part_y in zip(
            np.moveaxis(x[at], dim, -1).reshape(-1, x.shape[dim]),
            np.moveaxis(y[at], dim, -1).reshape(-1, x.shape[dim]),
            strict=True,
        )
    )


def interrupt(source, target, dim):
    """SIGINT in the middle of the work; what it left, which is nothing."""
    before = sorted(os.listdir(source.parent))
    sent = []

    def until(process):
        written = sum(path.stat().st_blocks * 512 for path in source.parent.glob(".*.tmp"))
        if not sent and written > 0 and rss_anon(process.pid) > 0:
            sent.append(time.perf_counter())
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)

    done = run([*COMMAND, str(source), "-o", str(target), "--dim", str(dim)], until=until)
    seconds = time.perf_counter() - sent[0] - 0.5
    left = sorted(set(os.listdir(source.parent)) - set(before))
    print(f"interrupted after 0.5 s: status {done.status}, over in {seconds:.2f} s, left: {left}")
    return done.status == 130 and not left


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where to make the temporary folder")
    args = parser.parse_args()
    # Where this runs in the background a shell had it, and so the commands, ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="large-file-", dir=args.folder) as folder:
        free = shutil.disk_usage(folder).free / 2**30
        if free < 2 * args.gib + 1:
            sys.exit(f"{folder} has {free:.1f} GiB free, and {2 * args.gib + 1} are needed")
        source, target = Path(folder, "logits.npy"), Path(folder, "result.npy")
        rows = make(source, args.gib)
        print(
            f"float32 ({rows}, {COLUMNS}), {source.stat().st_size / 2**30:.2f} GiB; "
            f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
        )
        sys.exit(0 if measure(source, target, args.rounds) else 1)


def measure(source, target, rounds):
    commands = {"cp": ["cp", str(source), str(target)]}
    for name, dim in DIMS.items():
        commands[name] = [*COMMAND, str(source), "-o", str(target), "--dim", str(dim)]
    good = True
    for state in ("cached", "cold"):
        taken = defaultdict(list)
        for _ in range(rounds):
            for name, command in commands.items():
                if state == "cold":
                    drop_from_cache(source)
                else:
                    subprocess.run(["cat", source], stdout=subprocess.DEVNULL, check=True)
                done = run(command)
                taken[name].append(done)
                good &= done.status == 0
                if name in DIMS:
                    good &= "100%" in done.shown
                    error = worst_error(source, target, DIMS[name])
                    good &= error <= bound("softmax", np.dtype("f4"))
                else:
                    error = float("nan")
                print(
                    f"  {state}: {name}: {done.seconds:.2f} s, CPU {done.cpu:.2f} s, "
                    f"RssAnon {done.rss_anon:.0f} MiB, error {error:.2f} ULP",
                    flush=True,
                )
                target.unlink()
        copy = min(done.seconds for done in taken["cp"])
        for name, runs in taken.items():
            best = min(done.seconds for done in runs)
            most = max(done.rss_anon for done in runs)
            print(
                f"{state}: {name:15} {best:6.2f} s, {copy / best:.2f} of cp's speed, "
                f"CPU {min(done.cpu for done in runs):5.2f} s, RssAnon {most:.0f} MiB"
            )
            good &= most < LIMIT and (name == "cp" or copy / best >= 0.5)
    good &= in_group(source, target, commands, rounds)
    for dim in DIMS.values():
        good &= interrupt(source, target, dim)
    return good


def in_group(source, target, commands, rounds):
    best = {}
    good = True
    for name in [*commands] * rounds:
        with memory_group(LIMIT) as (group, peak):
            if group is None:
                print(f"NOT RUN: in a cgroup, since none can be made here: {peak}")
                return True
            drop_from_cache(source)
            done = run(commands[name], group)
            most = int(peak.read_text()) / 2**20
        good &= done.status == 0
        if name in DIMS:
            good &= worst_error(source, target, DIMS[name]) <= bound("softmax", np.dtype("f4"))
        target.unlink()
        best[name] = min(best.get(name, done.seconds), done.seconds)
        print(
            f"cgroup of {LIMIT} MiB, cold: {name:15} {done.seconds:6.2f} s, "
            f"CPU {done.cpu:5.2f} s, RssAnon {done.rss_anon:.0f} MiB, "
            f"peak of the group {most:.0f} MiB",
            flush=True,
        )
    for name in DIMS:
        print(f"cgroup of {LIMIT} MiB: {name}: {best['cp'] / best[name]:.2f} of cp's speed")
    return good


if __name__ == "__main__":
    main()
