"""What a container grants: control groups, affinity, OMP_NUM_THREADS, and the reason shown."""

import contextlib
import os
import sys
from pathlib import Path

import pytest

import fastsoftmax
from fastsoftmax import _threads
from subprocesses import run_python

PRINT = """
import fastsoftmax
config = fastsoftmax.show_config()
assert config["num_threads"] == fastsoftmax.get_num_threads()
print(config["num_threads"], config["num_threads_reason"], sep=";")
"""

needs_openmp = pytest.mark.skipif(
    fastsoftmax.show_config()["openmp"] == "no", reason="built without OpenMP: always one thread"
)
needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="no affinity on this platform"
)


def limit_and_reason(script="", **environment):
    count, reason = run_python(script + PRINT, environment=environment).stdout.strip().split(";")
    return int(count), reason


# Files as the kernel writes them, and as it never would


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


V2, V1, HYBRID = "0::/a/b\n", "3:cpu,cpuacct:/a/b\n2:memory:/x\n", "1:cpu:/a\n0::/b\n"
GROUPS = {  # the process's groups, the files, and what they grant
    "v2": (V2, {"a/b/cpu.max": "150000 100000"}, 2),
    "v2, of a parent": (V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
    "v2, of the root of a namespace": ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
    "v2, of a parent and smaller": (
        V2,
        {"a/b/cpu.max": "800000 100000", "a/cpu.max": "250000 100000"},
        3,
    ),
    "v2, no limit": (V2, {"a/b/cpu.max": "max 100000"}, None),
    "v2, less than one": (V2, {"a/b/cpu.max": "1000 100000"}, 1),
    "v2, of another group": (V2, {"a/c/cpu.max": "100000 100000"}, None),
    "v2, outside its namespace": ("0::/../../a\n", {"a/cpu.max": "200000 100000"}, 2),
    "v2, a name of several lines' look": ("0::/a:b:c\n", {"a:b:c/cpu.max": "200000 100000"}, 2),
    "v2, a name that is not UTF-8": (
        b"0::/\xff\xfe\n",
        {os.fsdecode(b"\xff\xfe") + "/cpu.max": "200000 100000"},
        2,
    ),
    "v2 beside v1": (HYBRID, {"unified/b/cpu.max": "200000 100000"}, 2),
    "v1": (
        V1,
        {
            "cpu,cpuacct/a/b/cpu.cfs_quota_us": "350000",
            "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
        },
        4,
    ),
    "v1, mounted as cpu": (
        V1,
        {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"},
        2,
    ),
    "v1, no limit": (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "v1, of memory only": (
        "2:memory:/a\n",
        {"memory/a/cpu.cfs_quota_us": "100000", "memory/a/cpu.cfs_period_us": "100000"},
        None,
    ),
    "v1, no period": (V1, {"cpu/a/cpu.cfs_quota_us": "200000"}, None),
    "v1 and v2": (
        HYBRID,
        {
            "cpu/a/cpu.cfs_quota_us": "400000",
            "cpu/a/cpu.cfs_period_us": "100000",
            "unified/b/cpu.max": "300000 100000",
        },
        3,
    ),
    "no files": (V2 + V1, {}, None),
    "no groups": ("", {"cpu.max": "100000 100000"}, None),
    **{
        f"odd contents {text!r}": (V2, {"a/b/cpu.max": text}, None)
        for text in ("", "\n", "max", "x y", "1 2 3", "0 0", "0 100000", "-1 100000", "1e5 100000",
                     "100000 0", "100000 -1", b"\xff\xff", "nan nan")
    },
    "odd contents, below a limit": (V2, {"a/b/cpu.max": "junk", "a/cpu.max": "200000 100000"}, 2),
    **{
        f"odd groups {text!r}": (text, {"cpu.max": "100000 100000"}, None)
        for text in ("\n\n", "0", "0:", "junk", "0::", "0::a/b", ":", b"\xff\xff\n", "\0")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_the_files_of_control_groups(tmp_path, name):
    groups, files, wanted = GROUPS[name]
    tree(tmp_path, {"fs/keep": "", **{f"fs/{file}": text for file, text in files.items()}})
    tree(tmp_path, {"groups": groups})
    assert _threads._cgroup_cpus(str(tmp_path / "fs"), str(tmp_path / "groups")) == wanted


def test_no_control_groups_at_all(tmp_path):
    assert _threads._cgroup_cpus(str(tmp_path), str(tmp_path / "missing")) is None
    assert _threads._cgroup_cpus(str(tmp_path / "missing"), str(tmp_path)) is None  # a folder


# A group of its own, made where that is allowed


def _places():
    """Folders in which a group with a quota may perhaps be made: v2, then v1."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        with contextlib.suppress(OSError):
            if "cpu" in (root / "cgroup.subtree_control").read_text().split():
                yield root, {"cpu.max": "100000 100000"}
    for name in ("cpu", "cpu,cpuacct"):
        yield (
            Path("/sys/fs/cgroup") / name,
            {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"},
        )


@pytest.fixture
def group():
    """A folder of a control group with a quota of one CPU, and a group inside it without one."""
    for place, settings in _places():
        outer = place / f"fastsoftmax-test-{os.getpid()}"
        inner = outer / "inner"
        try:
            outer.mkdir()
        except OSError:
            continue
        try:
            for name, value in settings.items():
                (outer / name).write_text(value)
            inner.mkdir()
            yield outer, inner
            return
        except OSError:
            continue
        finally:
            for folder in (inner, outer):
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()
    pytest.skip("no control group with a CPU quota may be made here: the parser was fed files")


@needs_openmp
@needs_affinity
def test_a_quota_of_the_own_group(group):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: a quota of one changes nothing")
    enter = "open({!r}, 'w').write('0'); "
    for folder in group:
        count, reason = limit_and_reason(enter.format(str(folder / "cgroup.procs")))
        assert (count, reason) == (1, "CPU quota of this process's control group"), folder
    # what the user asks for goes before the quota
    script = enter.format(str(group[0] / "cgroup.procs"))
    assert limit_and_reason(script, OMP_NUM_THREADS="2") == (2, "OMP_NUM_THREADS")


# Affinity and OMP_NUM_THREADS


@needs_openmp
@needs_affinity
def test_affinity():
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    count, reason = limit_and_reason(script)
    assert count == 1
    assert reason == "CPUs in the affinity of this process"
    # narrowed after the import, and with OpenMP already there
    count, reason = limit_and_reason("import fastsoftmax\n" + script)
    assert count == 1


@needs_affinity
def test_never_more_than_the_cpus_by_default():
    assert 1 <= limit_and_reason()[0] <= len(os.sched_getaffinity(0))


@needs_openmp
@pytest.mark.parametrize(
    ("value", "count"), [("1", 1), ("3", 3), ("4,2", 4), (" 3 ", 3), ("+2", 2), ("5 , 1,1", 5)]
)
def test_omp_num_threads(value, count):
    assert limit_and_reason(OMP_NUM_THREADS=value) == (count, "OMP_NUM_THREADS")


@needs_openmp
@pytest.mark.parametrize(
    "value", ["", "0", "abc", "-1", "4,", "4,0", "1e1", "99999999999", "2 3", "\u0663"]
)
def test_values_that_ask_for_nothing(value):
    assert _threads._asked_of_openmp(value) is None
    if value in ("", "0", "abc", "99999999999"):
        assert limit_and_reason(OMP_NUM_THREADS=value) == limit_and_reason()


@needs_openmp
def test_the_variable_counts_as_it_was_at_the_import():
    script = "import fastsoftmax, os; os.environ['OMP_NUM_THREADS'] = '1'\n"
    assert limit_and_reason(script) == limit_and_reason()


@needs_openmp
@pytest.mark.skipif(sys.platform != "linux", reason="libgomp's variable")
def test_a_smaller_team_than_was_asked_for():
    script = """
import numpy as np
import fastsoftmax.functional as F
x = np.ones((2000, 500), "f4")
assert np.array_equal(F.softmax(x, 1), np.full_like(x, 1 / 500))
"""
    limit_and_reason(script, OMP_NUM_THREADS="4", OMP_THREAD_LIMIT="2", OMP_DYNAMIC="true")
