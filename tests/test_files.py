"""Conversions of files: every layout in bounded memory, and outputs that appear whole or not."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax.functional as F
from checks import OPS, assert_exact, call
from fastsoftmax import __main__ as cli
from fastsoftmax import _files
from subprocesses import run_python

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="signals, links and modes are POSIX's")
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and counts as Linux does")
# name: the size of what is read once, twice, and in how short runs
SIZES = {
    "read once": {"PIECE": 1400, "ROW": 1 << 20, "RUN": 1},
    "read twice": {"BLOCK": 1024, "ROW": 64, "PART": 100, "KEPT": 7},
    "read twice for its short runs": {"BLOCK": 512, "ROW": 4096, "RUN": 4096, "PART": 64},
}


def save(path, array):
    np.save(path, array)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def sized(monkeypatch, how):
    for name, value in SIZES[how].items():
        monkeypatch.setattr(_files, name, value)


@pytest.fixture
def source(tmp_path):
    x = np.random.default_rng(1).normal(scale=5, size=(300, 10))
    return save(tmp_path / "logits.npy", x)


@pytest.fixture
def readings(monkeypatch):
    """Whether each conversion read its input twice."""
    taken = []

    class Conversion(_files._Conversion):
        def run(self):
            taken.append(self.twice)
            super().run()

    monkeypatch.setattr(_files, "_Conversion", Conversion)
    return taken


# Values


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dim", ["0", "1", "-1", "-3", "0,2", "2,1", "0,1,2"])
@pytest.mark.parametrize("op", OPS)
def test_pieces_give_the_same_bits_as_one_call(tmp_path, monkeypatch, op, dim, order):
    # In pieces of 350 elements no column is left alone, which the kernels would take for a row.
    sized(monkeypatch, "read once")
    x = np.random.default_rng(3).normal(scale=4, size=(17, 5, 23)).astype(np.float32)
    source = save(tmp_path / "x.npy", np.asarray(x, order=order))
    target = tmp_path / "out.npy"
    assert cli.main([str(source), "-o", str(target), "--op", op, f"--dim={dim}"]) == 0
    dims = tuple(map(int, dim.split(",")))
    expected = call(op, np.asarray(x, order=order), dims if len(dims) > 1 else dims[0])
    np.testing.assert_array_equal(np.load(target), expected)


@pytest.mark.parametrize("how", ["read twice", "read twice for its short runs"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int32"])
@pytest.mark.parametrize("op", OPS)
def test_rows_that_are_read_twice(tmp_path, monkeypatch, readings, op, dtype, how):
    sized(monkeypatch, how)
    rng = np.random.default_rng(5)
    target = tmp_path / "out.npy"
    for order, dims in ("C", (0,)), ("C", (1,)), ("F", (2,)), ("F", (1, 2)), ("C", (0, 2)):
        x = np.asarray((rng.normal(size=(9, 16, 23)) * 9).astype(dtype), order=order)
        source = save(tmp_path / "x.npy", x)
        dim = ",".join(map(str, dims))
        command = [str(source), "-o", str(target), "--op", op, "--dim", dim, "--force"]
        assert cli.main(command) == 0
        native = x.astype(x.dtype.newbyteorder("=") if x.dtype.kind == "f" else float)
        assert_exact(op, native, result=np.load(target), dim=dims)
    assert sum(readings) >= 3


@pytest.mark.parametrize("op", OPS)
def test_special_values_in_rows_that_are_read_twice(tmp_path, monkeypatch, op):
    sized(monkeypatch, "read twice")
    x = np.random.default_rng(6).normal(size=(400, 5)).astype(np.float32)
    x[250, 1], x[7, 2], x[:, 3], x[399, 4] = np.nan, np.inf, -np.inf, -np.inf
    target = tmp_path / "out.npy"
    source = save(tmp_path / "x.npy", x)
    assert cli.main([str(source), "-o", str(target), "--op", op, "--dim", "0"]) == 0
    np.testing.assert_allclose(np.load(target), call(op, x, 0), rtol=5e-7)


@pytest.mark.parametrize("op", OPS)
def test_a_cast_before_rows_are_read_twice(tmp_path, monkeypatch, readings, op):
    sized(monkeypatch, "read twice")
    x = np.random.default_rng(9).normal(scale=3, size=(400, 5))
    x[250, 1], x[7, 2], x[8, 3] = 1e300, -1e300, 1e5
    source, target = save(tmp_path / "x.npy", x), tmp_path / "out.npy"
    for dtype in "float32", "float16":
        options = ["--op", op, "--dim", "0", "--dtype", dtype, "--force"]
        assert cli.main([str(source), "-o", str(target), *options]) == 0
        with np.errstate(over="ignore"):
            cast = x.astype(dtype)
        assert_exact(op, cast, result=np.load(target), dim=0)
    assert readings == [True, True]


def test_small_integers_are_counted_by_the_size_of_their_results(tmp_path, monkeypatch, readings):
    monkeypatch.setattr(_files, "ROW", 256)
    x = np.random.default_rng(10).integers(-9, 9, size=(5, 64)).astype("i1")
    source = save(tmp_path / "x.npy", x)
    for dtype in None, "float32":
        options = ["--force"] if dtype is None else ["--force", "--dtype", dtype]
        assert cli.main([str(source), "-o", str(tmp_path / "y.npy"), *options]) == 0
    assert readings == [True, False]


def test_threads_do_not_change_rows_that_are_read_twice(tmp_path, monkeypatch, readings):
    sized(monkeypatch, "read twice")
    x = np.random.default_rng(7).normal(scale=4, size=(999, 17)).astype(np.float32)
    source = save(tmp_path / "x.npy", x)
    for count in "1", "3":
        target = str(tmp_path / count)
        assert cli.main([str(source), "-o", target, "--dim", "0", "--threads", count]) == 0
    assert readings == [True, True]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("op", ["softmax", "logsumexp"])
def test_the_order_of_the_file_is_kept(tmp_path, order, op):
    x = np.asarray(np.random.default_rng(4).normal(size=(40, 3, 30)), order=order)
    target = tmp_path / "out.npy"
    source = save(tmp_path / "x.npy", x)
    assert cli.main([str(source), "-o", str(target), "--op", op]) == 0
    mapped = np.load(target, mmap_mode="r")
    assert mapped.flags.c_contiguous == (order == "C")
    np.testing.assert_allclose(mapped, call(op, x, -1), rtol=1e-14)


@pytest.mark.parametrize("budget", [1, 7, 24, 60, 1000])
@pytest.mark.parametrize("dims", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_pieces_cover_the_array_once(dims, budget):
    array = np.zeros((4, 5, 6))
    row = int(np.prod([array.shape[axis] for axis in dims]))
    boxes = list(_files.pieces(array.shape, dims, budget))
    assert max(array[box].size for box in boxes) == array[boxes[0]].size <= max(budget, row)
    for box in boxes:
        assert all(array[box].shape[axis] == array.shape[axis] for axis in dims)
        array[box] += 1
    assert (array == 1).all()


def test_pieces_of_a_large_array_are_in_one_run():
    stored = _files.Stored((8, 1000, 1000), np.dtype("f4"), 0)
    boxes = list(_files.pieces(stored.shape, (2,), 500_000))
    assert len(boxes) == 16
    assert all(stored.runs(box)[0] == stored.box_bytes(box) for box in boxes)


@pytest.mark.parametrize("shape", [(1 << 20, 1024), (4096, 1 << 20), (1 << 30, 3)])
def test_parts_of_rows_that_are_read_twice_have_many_elements_of_each(shape):
    """Each part of a row costs as much as some elements."""
    band = next(_files._bands(shape, (0,)))
    box = next(_files._inside(band, _files.BLOCK // 4))
    part = next(_files.pieces(_files._sizes(box), (), _files.PART))
    assert part[0].stop >= 64


# Memory

WITHIN = """
import resource, sys, threading
from fastsoftmax.__main__ import main
def used(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) << 10
threading.stack_size(1 << 18)
limit = used("VmData") + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@ON_LINUX
@pytest.mark.parametrize("dim", ["1", "0"])
def test_memory_is_bounded(tmp_path, dim):
    """64 MiB to 64 MiB with no more than 56 MiB for buffers and all else."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="f4", shape=(16384, 1024))
    for i, block in enumerate(np.split(x, 16)):
        block[:] = np.random.default_rng(i).normal(size=(1024, 1024))
    environment = {"OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"}
    args = [str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), "--dim", dim]
    run_python(WITHIN, "56", *args, environment=environment)
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    at = np.s_[::1024, :] if dim == "1" else np.s_[:, ::128]
    assert_exact("softmax", np.ascontiguousarray(x[at]), result=y[at], dim=int(dim))
    done = run_python(WITHIN, "8", *args, "--force", environment=environment, check=False)
    assert done.returncode == 1, "so small a limit is not held: the test counts nothing"


# The output appears whole or not at all


def test_an_existing_output_is_kept_without_force(tmp_path, source, capsys):
    target = tmp_path / "probs.npy"
    target.write_text("precious")
    assert cli.main([str(source), "-o", str(target)]) == 1
    assert target.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert cli.main([str(source), "-o", str(target), "--force"]) == 0
    assert np.load(target).shape == (300, 10)


def test_the_input_may_be_the_output(tmp_path, source):
    before = np.load(source)
    assert cli.main([str(source), "-o", str(source)]) == 1
    np.testing.assert_array_equal(np.load(source), before)
    assert cli.main([str(source), "-o", str(source), "--force"]) == 0
    np.testing.assert_array_equal(np.load(source), F.softmax(before, 1))
    assert names(tmp_path) == ["logits.npy"]


@ON_POSIX
def test_a_link_is_written_through_and_a_mode_is_kept(tmp_path, source):
    link = tmp_path / "link.npy"
    link.symlink_to("real.npy")
    assert cli.main([str(source), "-o", str(link)]) == 0
    assert link.is_symlink()
    real = tmp_path / "real.npy"
    assert np.load(real).shape == (300, 10)
    real.chmod(0o600)
    assert cli.main([str(source), "-o", str(link), "--force"]) == 0
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


@ON_POSIX
def test_links_that_lead_back_are_an_error_of_one_sentence(tmp_path, source, capsys):
    loop = tmp_path / "loop.npy"
    loop.symlink_to("loop.npy")
    before = names(tmp_path)
    assert cli.main([str(source), "-o", str(loop), "--force"]) == 1
    assert capsys.readouterr().err.startswith(f"fastsoftmax: error: cannot write {loop}")
    assert (names(tmp_path), loop.is_symlink()) == (before, True)


def test_a_name_as_long_as_can_be(tmp_path, source):
    target = tmp_path / ("n" * 251 + ".npy")
    assert cli.main([str(source), "-o", str(target)]) == 0
    assert np.load(target).shape == np.load(source).shape


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "fastsoftmax: interrupted\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (MemoryError(), 1, "out of memory"),
    ],
)
@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("where", ["apply", "write"])
def test_failing_half_way_leaves_nothing(
    tmp_path, source, monkeypatch, capsys, where, raised, status, said, there_before
):
    sized(monkeypatch, "read once")
    target = tmp_path / "probs.npy"
    if there_before:
        target.write_text("precious")
    before = names(tmp_path)
    seen = []

    def fail_at_the_third(former):
        def failing(*args, **options):
            seen.append(names(tmp_path))
            if len(seen) == 4:
                raise raised
            return former(*args, **options)

        return failing

    place = _files if where == "apply" else _files.Stored
    monkeypatch.setattr(place, where, fail_at_the_third(getattr(place, where)))
    assert cli.main([str(source), "-o", str(target), "--force"]) == status
    assert said in capsys.readouterr().err
    assert len(seen) >= 4
    assert len(seen[3]) == len(before) + 1
    assert names(tmp_path) == before
    if there_before:
        assert target.read_text() == "precious"


@ON_LINUX
def test_a_full_disk_is_an_error_of_one_sentence(tmp_path, source):
    script = (
        "import resource, sys\n"
        "from fastsoftmax import _files\n"
        "from fastsoftmax.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "if sys.argv.pop() == 'late':\n"
        "    _files._reserve = lambda file, size: None\n"
        "sys.exit(main())\n"
    )
    for when in "early", "late":
        done = run_python(script, str(source), "-o", str(tmp_path / "p.npy"), when, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"cannot write {tmp_path / 'p.npy'}: File too large" in done.stderr
        assert names(tmp_path) == ["logits.npy"]


def test_an_input_that_becomes_shorter_is_an_error_of_one_sentence(
    tmp_path, source, monkeypatch, capsys
):
    def shorten(file, size):
        os.truncate(source, 8000)

    monkeypatch.setattr(_files, "_reserve", shorten)
    assert cli.main([str(source), "-o", str(tmp_path / "p.npy")]) == 1
    assert "ends after 8000 bytes, before the array does" in capsys.readouterr().err
    assert names(tmp_path) == ["logits.npy"]


@ON_POSIX
def test_a_folder_that_may_not_be_written():
    script = (
        "import mmap, os, sys\n"  # while modules may be read
        "from fastsoftmax.__main__ import _parser, main\n"
        "_parser().format_help()\n"  # which imports more
        "if os.geteuid() == 0:\n"
        "    os.seteuid(65534)\n"  # root may write everywhere
        "sys.exit(main())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        source = save(Path(folder, "x.npy"), np.zeros((2, 3)))
        locked = Path(folder, "locked")
        locked.mkdir(mode=0o555)
        done = run_python(script, str(source), "-o", str(locked / "p.npy"), check=False)
        assert (done.returncode, names(locked)) == (1, [])
    said = f"fastsoftmax: error: cannot write {locked / 'p.npy'}: Permission denied\n"
    assert done.stderr == said


# Signals

SLOW = """
import os, pathlib, signal, sys, time
from fastsoftmax import _files
from fastsoftmax.__main__ import main
# where the tests run in the background, a shell (or nohup) had them ignore these
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
_files.PIECE = 256
apply = _files.apply
def slow(*args, **options):
    time.sleep(0.02)
    return apply(*args, **options)
_files.apply = slow
unlink = pathlib.Path.unlink
def interrupted(path, **options):
    for number in signal.SIGINT, signal.SIGTERM:
        os.kill(os.getpid(), number)
    unlink(path, **options)
pathlib.Path.unlink = interrupted
sys.exit(main())
"""


def begun(folder):
    return any(path.suffix == ".tmp" and path.stat().st_size for path in folder.iterdir())


@ON_POSIX
@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize(
    ("name", "status", "said"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "hung up")],
)
def test_a_signal_leaves_nothing(tmp_path, source, name, status, said, there_before):
    """More of them, which come while it clears away, change nothing."""
    target = tmp_path / "probs.npy"
    if there_before:
        target.write_text("precious")
    before = names(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(source), "-o", str(target), "--force"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not begun(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert begun(tmp_path)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (status, f"fastsoftmax: {said}\n")
    assert names(tmp_path) == before
    if there_before:
        assert target.read_text() == "precious"


@ON_POSIX
def test_a_signal_that_was_ignored_stays_ignored(tmp_path, source):
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        seen = []
        former = _files._Conversion.run

        def run(self):
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append(signal.getsignal(signal.SIGTERM))
            former(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_files._Conversion, "run", run)
            assert cli.main([str(source), "-o", str(tmp_path / "p.npy")]) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert seen == [signal.SIG_IGN]
    assert (tmp_path / "p.npy").exists()


def test_handlers_are_put_back(tmp_path, source):
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.getsignal(number) for number in numbers]
    assert cli.main([str(source), "-o", str(tmp_path / "p.npy")]) == 0
    assert [signal.getsignal(number) for number in numbers] == before


# Progress


def on_terminal(args, cwd, hidden=()):
    """Run with stderr on a pseudo-terminal; return the exit status and what was shown."""
    import pty
    import termios

    script = (
        "import sys\n"
        "for name in sys.argv.pop().split():\n"
        "    sys.modules[name] = None\n"
        "from fastsoftmax.__main__ import main\n"
        "sys.exit(main())\n"
    )
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 80))
    command = [sys.executable, "-c", script, *map(str, args), " ".join(hidden)]
    with subprocess.Popen(command, cwd=cwd, stderr=other) as process:
        os.close(other)
        shown = b""
        try:
            while part := os.read(main, 4096):
                shown += part
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(main)
    return process.returncode, shown.decode()


@ON_POSIX
def test_progress_on_a_terminal(tmp_path, source):
    status, shown = on_terminal([source, "-o", "p.npy"], tmp_path)
    assert status == 0
    assert "100%" in shown
    assert "23.4k/23.4k" in shown  # bytes
    for options, hidden in (["-q"], ()), (["--no-progress"], ()), ([], ["tqdm"]):
        args = [source, "-o", "p.npy", "--force", *options]
        assert on_terminal(args, tmp_path, hidden) == (0, "")


def test_no_progress_without_a_terminal(tmp_path, source, capsys):
    assert cli.main([str(source), "-o", str(tmp_path / "p.npy")]) == 0
    assert capsys.readouterr() == ("", "")


def test_progress_counts_every_byte_read(tmp_path, monkeypatch):
    x = np.random.default_rng(8).normal(size=(999, 17))
    source = save(tmp_path / "x.npy", x)
    for how, times in ("read once", 1), ("read twice", 2):
        sized(monkeypatch, how)
        done = []
        former = _files._Conversion.run

        def run(self, done=done, former=former):
            self.done = done.append
            former(self)
            assert sum(done) == self.total()

        with monkeypatch.context() as patch:
            patch.setattr(_files._Conversion, "run", run)
            target = Path(tmp_path, "p.npy")
            assert cli.main([str(source), "-o", str(target), "--dim", "0", "--force"]) == 0
        assert sum(done) == times * x.nbytes
