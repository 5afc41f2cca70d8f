"""The command line: what it prints, what it writes, and what it leaves when it fails."""

import os
import subprocess
import sys
import sysconfig
from importlib import metadata, resources
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax
import fastsoftmax.functional as F
from checks import FLOATS, OPS, assert_exact, call
from fastsoftmax import __main__ as cli

VERSION = metadata.version("fastsoftmax")
DATA = resources.files("fastsoftmax") / "data"
PREDICT_PROBA = Path(__file__).parent / "data" / "digits_predict_proba.npy"


@pytest.fixture
def logits():
    with (DATA / "digits_logits.npy").open("rb") as file:
        return np.load(file)


@pytest.fixture
def source(tmp_path, logits):
    return save(tmp_path / "logits.npy", logits)


def save(path, array):
    np.save(path, array)
    return path


def run(*args, cwd, environment=None):
    """Run the command away from the sources, so that it meets the installed package."""
    command = [sys.executable, "-m", "fastsoftmax", *map(str, args)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# The embedded logits


def test_embedded_data_is_small_and_real(logits):
    with (DATA / "digits_labels.npy").open("rb") as file:
        labels = np.load(file)
    assert (logits.shape, logits.dtype) == ((300, 10), np.float64)
    assert (labels.shape, labels.dtype) == ((300,), np.int8)
    assert logits.nbytes + labels.nbytes < 60_000
    assert np.mean(logits.argmax(axis=1) == labels) > 0.9


def test_real_file_agrees_with_predict_proba(tmp_path, source):
    done = run(source, "-o", "probs.npy", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_allclose(
        np.load(tmp_path / "probs.npy"), np.load(PREDICT_PROBA), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS)
def test_real_file_is_within_its_bound(tmp_path, source, logits, op, dtype):
    target = tmp_path / "out.npy"
    assert cli.main([str(source), "-o", str(target), "--op", op, "--dtype", dtype]) == 0
    assert_exact(op, logits.astype(dtype), result=np.load(target))


# What it writes


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 5), (5, 0), (7, 1)])
def test_small_and_empty_arrays(tmp_path, capsys, op, shape):
    x = np.full(shape, 2.5)
    target = tmp_path / "out.npy"
    source = save(tmp_path / "x.npy", x)
    assert cli.main([str(source), "-o", str(target), "--op", op]) == 0
    result = np.load(target)
    expected = call(op, x, -1)
    assert result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)
    assert cli.main([str(source), "--op", op]) == 0
    assert f"float64 {expected.shape}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stored", "written"), [("int64", "float64"), ("bool", "float64"), (">f4", "float32")]
)
def test_stored_types(tmp_path, stored, written):
    x = np.arange(12).reshape(3, 4).astype(stored)
    target = tmp_path / "out.npy"
    assert cli.main([str(save(tmp_path / "x.npy", x)), "-o", str(target)]) == 0
    assert np.load(target).dtype == written
    np.testing.assert_array_equal(np.load(target), F.softmax(x.astype(written), 1))


def test_threads_do_not_change_the_bits_and_do_not_stay(tmp_path, source):
    before = fastsoftmax.get_num_threads()
    for count in "1", "2":
        assert cli.main([str(source), "-o", str(tmp_path / count), "--threads", count]) == 0
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert fastsoftmax.get_num_threads() == before


# Errors


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-o", "out.npy"], "--output needs an input file"),
        (["--op", "softmin"], "--op needs an input file"),
        (["--dim", "0"], "--dim needs an input file"),
        (["--force"], "--force needs an input file"),
        (["--quiet"], "--quiet needs an input file"),
        (["--column", "x"], "--column needs an input file"),
        (["logits.npy", "--no-progress"], "--quiet needs --output"),
        (["logits.npy", "--column", "x"], "--column needs a table"),
        (["table.parquet", "--dim", "0"], "--dim needs a .npy file"),
        (["table.parquet", "-o", "out.npy"], "files of different kinds"),
        (["logits.npy", "-o", "out.feather"], "files of different kinds"),
        (["logits.npy", "--force"], "--force needs --output"),
        (["logits.npy", "--threads", "0"], "'0' is not a whole number from 1 to"),
        (["logits.npy", "--threads", "many"], "'many' is not a whole number from 1 to"),
        (["logits.npy", "--threads", "2147483648"], "'2147483648' is not a whole number from 1"),
        (["logits.npy", "--dim", "x"], "'x' is not a dimension"),
        (["logits.npy", "--dim", "1_0"], "'1_0' is not a dimension"),
        (["logits.npy", "--selftest"], "--selftest takes no input file"),
        (["logits.npy", "--show-config"], "--show-config takes no input file"),
        (["logits.npy", "--dtype", "int8"], "invalid choice"),
        (["logits.npy", "--op", "hardmax"], "invalid choice"),
        (["logits.npy", "more.npy"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_exits_with_2(args, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(args)
    assert exit_.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("missing.npy", [], "No such file or directory"),
        ("text.npy", [], "not a .npy file"),
        ("archive.npz", [], "not a .npy file"),
        ("cut.npy", [], "cannot read cut.npy: it ends before its array does"),
        ("objects.npy", [], "cannot read objects.npy: it holds Python objects"),
        ("bfloat16.npy", [], "as bfloat16 has in a .npy file: save it as float32"),
        ("strings.npy", [], "<U1"),
        ("good.npy", ["--dim", "2"], "range of [-2, 1], but got 2"),
        ("good.npy", ["--dim", "1,1"], "(2, 3)"),
        ("good.npy", ["-o", "missing/out.npy"], "No such file or directory"),
        ("good.npy", ["-o", "folder", "--force"], "not a regular file"),
    ],
)
def test_a_failure_is_one_sentence_and_1(tmp_path, monkeypatch, capsys, name, args, said):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.npy").write_text("1 2 3")
    save("good.npy", np.zeros((2, 3)))
    save("strings.npy", np.array(["a"]))
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    save("bfloat16.npy", np.zeros(3, "V2"))
    np.savez("archive.npz", a=np.zeros(3))
    Path("cut.npy").write_bytes(Path("good.npy").read_bytes()[:-8])
    before = names(tmp_path)
    assert cli.main([name, *args]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("fastsoftmax: error: ")
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert said in captured.err
    assert names(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="closes a pipe as POSIX does")
def test_a_reader_that_leaves_is_no_error(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fastsoftmax", "--version"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (1, "")


# What it prints


def test_the_demonstration(tmp_path):
    done = run(cwd=tmp_path, environment={"PYTHONWARNINGS": "error"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines if line[1:3] == ". "] == ["1", "2", "3", "4"]
    assert max(map(len, lines)) <= 100
    assert done.stdout.isascii()
    # Class 9 of image 15, in float64, and in float32 where only log_softmax holds it.
    assert "1.4e-110   -252.9722" in done.stdout
    assert any(line.split() == ["9", "-135.65", "0", "-inf", "-252.9722"] for line in lines)
    timed = [line.split() for line in lines if line.startswith(("  float32 ", "  float64 "))]
    assert [(row[0], row[1]) for row in timed] == list(product(FLOATS, ("softmax", "log_softmax")))
    # Long double judges float64 only where it is wider: elsewhere the error reads nan.
    assert all(not float(row[-1]) > 3 for row in timed)


def test_the_rows_without_an_output(tmp_path, source, capsys):
    before = names(tmp_path)
    assert cli.main([str(source)]) == 0
    out = capsys.readouterr().out
    assert "softmax over dim 1: float64 (300, 10)\n" in out
    assert "the first 5 of 300 rows" in out
    assert out.count("\n  [") == 5
    assert cli.main([str(source), "--op", "logsumexp", "--dim", "0", "--dtype", "float32"]) == 0
    out = capsys.readouterr().out
    assert "logsumexp over dim 0: float32 (10,)\n" in out
    assert "the first 5 of 10 rows" in out
    assert names(tmp_path) == before


def test_version_and_configuration(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastsoftmax {VERSION}\n"
    assert cli.main(["--show-config"]) == 0
    assert VERSION in capsys.readouterr().out


def test_help_names_everything(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for word in (
        *OPS,
        *cli.DTYPES,
        "--dim",
        "--column",
        "--threads",
        "--force",
        "--no-progress",
        "130",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_command_is_installed(tmp_path):
    command = Path(sysconfig.get_path("scripts"), "fastsoftmax")
    if not command.exists() and not command.with_suffix(".exe").exists():
        pytest.skip("run without installing the package")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"fastsoftmax {VERSION}\n"
