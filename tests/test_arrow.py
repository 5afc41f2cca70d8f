"""A column of lists in Parquet and Arrow files: values, nulls, types, memory, refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from checks import OPS, assert_exact, call
from fastsoftmax import __main__ as cli
from fastsoftmax import _arrow
from subprocesses import run_python

NAN = float("nan")
KINDS = {
    "fixed": lambda item: pa.list_(item, 7),
    "list": pa.list_,
    "large": pa.large_list,
}


def write(path, table, **options):
    if path.suffix == ".parquet":
        parquet.write_table(table, path, **options)
    elif path.suffix == ".feather":
        feather.write_feather(table, path, **options)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, **options)
    return path


def read(path):
    if path.suffix == ".parquet":
        return parquet.read_table(path)
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def convert(source, target, *options):
    status = cli.main([str(source), "-o", str(target), *options])
    assert status == 0
    return read(target)


def expected(op, rows, dtype=np.float64):
    """What the lists of `rows` become, one list after the other."""
    result = []
    for row in rows:
        if row is None:
            result.append(None)
            continue
        x = np.array([0 if item is None else item for item in row], dtype)
        present = np.array([item is not None for item in row], bool)
        values = call(op, x, 0, where=present)
        if op == "logsumexp":
            result.append(float(values))
        else:
            pairs = zip(values.tolist(), present, strict=True)
            result.append([value if here else None for value, here in pairs])
    return result


def same(got, wanted):
    return json.dumps(got) == json.dumps(wanted)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Values


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
@pytest.mark.parametrize("item", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_types_and_the_other_columns(tmp_path, monkeypatch, kind, item, suffix):
    monkeypatch.setattr(_arrow, "BATCH", 1000)
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(300, 7)) * 9).astype(item)
    field_type = KINDS[kind](pa.from_numpy_dtype(x.dtype))
    columns = {
        "id": pa.array(range(300)),
        "logits": pa.array(list(x), field_type),
        "name": pa.array([f"row {i}" for i in range(300)]).dictionary_encode(),
    }
    table = pa.table(columns, metadata={"made": "here"})
    source = write(tmp_path / f"in{suffix}", table)
    for op in OPS:
        result = convert(source, tmp_path / f"{op}{suffix}", "--op", op)
        assert result.column_names == table.column_names
        assert result.schema.metadata[b"made"] == b"here"
        assert result.drop(["logits"]).equals(
            read(source).drop(["logits"]) if suffix == ".parquet" else table.drop(["logits"])
        )
        lists = result["logits"].combine_chunks()
        if op == "logsumexp":
            assert lists.type == field_type.value_type
            values = lists.to_numpy(zero_copy_only=False)
        else:
            assert lists.type.equals(field_type)
            values = lists.flatten().to_numpy().reshape(300, 7)
        assert_exact(op, x, result=values)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "int64"])
def test_integers_become_float64_or_what_is_asked_for(tmp_path, dtype):
    x = np.random.default_rng(2).integers(0, 90, size=(40, 5)).astype(dtype)
    source = write(tmp_path / "x.parquet", pa.table({"x": list(x)}))
    result = convert(source, tmp_path / "y.parquet")["x"]
    assert result.type.value_type == pa.float64()
    assert result.to_pylist() == call("softmax", x, 1).tolist()
    result = convert(source, tmp_path / "z.parquet", "--dtype", "float32")["x"]
    assert result.type.value_type == pa.float32()
    assert result.to_pylist() == call("softmax", x, 1, dtype=np.float32).tolist()


# Nulls and NaN

FIXED = [[1.0, 2.0, None], None, [NAN, 1.0, 2.0], [3.0, 3.0, 3.0], [None] * 3, [None, NAN, 0.5]]
LISTS = [[1.0, 2.0], None, [], [3.0], [None, 1.0, 0.0], [None], [NAN, 4.0, None], [5.0, 1.0], []]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize(
    ("rows", "type_"),
    [
        (FIXED, pa.list_(pa.float64(), 3)),
        (LISTS, pa.list_(pa.float64())),
        (LISTS, pa.large_list(pa.float64())),
        ([None, None], pa.list_(pa.float64())),
        ([None, None], pa.list_(pa.float64(), 2)),
        ([[], []], pa.list_(pa.float64())),
        ([], pa.list_(pa.float64())),
        ([], pa.list_(pa.float64(), 3)),
    ],
)
@pytest.mark.parametrize("op", OPS)
def test_nulls_stay_null_and_nan_makes_its_row_nan(tmp_path, op, rows, type_, suffix):
    source = write(tmp_path / f"x{suffix}", pa.table({"x": pa.array(rows, type_)}))
    result = convert(source, tmp_path / f"y{suffix}", "--op", op)["x"].to_pylist()
    assert same(result, expected(op, rows))


@pytest.mark.parametrize("op", ["log_softmax", "logsumexp"])
@pytest.mark.parametrize("type_", [pa.list_(pa.float64(), 3), pa.list_(pa.float64())])
def test_slices_of_arrays(op, type_):
    """Files that others wrote may hold arrays that begin in the middle of their buffers."""
    rows = FIXED * 3
    lists = pa.array(rows, type_)
    for first, length in (0, 18), (1, 5), (7, 9), (17, 1), (4, 0):
        part = lists.slice(first, length)
        result_type = type_ if op == "log_softmax" else pa.float64()
        result = _arrow._apply(part, op, None, result_type)
        result.validate(full=True)
        assert same(result.to_pylist(), expected(op, rows[first : first + length]))


def test_a_null_list_over_numbers():
    """A null list may have elements beneath it; they are nobody's."""
    offsets, items = pa.array([0, 2, 5, 6], pa.int32()), pa.array([1.0, 2.0, 7.0, 8.0, 9.0, 3.0])
    lists = pa.ListArray.from_arrays(offsets, items, mask=pa.array([False, True, False]))
    result = _arrow._apply(lists, "softmax", None, lists.type)
    assert same(result.to_pylist(), expected("softmax", [[1.0, 2.0], None, [3.0]]))


# Streams


def test_row_groups_are_streamed_and_written_large(tmp_path, monkeypatch):
    monkeypatch.setattr(_arrow, "BATCH", 4096)
    monkeypatch.setattr(_arrow, "ROW_GROUP", 1 << 16)
    x = np.random.default_rng(3).normal(size=(5000, 8))
    table = pa.table({"x": list(x), "i": range(5000)})
    source = write(tmp_path / "x.parquet", table, row_group_size=700, compression="zstd")
    batches = []
    apply = _arrow._apply

    def counted(lists, *args):
        batches.append(len(lists))
        return apply(lists, *args)

    monkeypatch.setattr(_arrow, "_apply", counted)
    result = convert(source, tmp_path / "y.parquet")
    assert len(batches) > 70
    assert max(batches) < 70
    metadata = parquet.ParquetFile(tmp_path / "y.parquet").metadata
    assert 5 <= metadata.num_row_groups <= 8
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert result["x"].to_pylist() == call("softmax", x, 1).tolist()
    assert result["i"].to_pylist() == list(range(5000))


MEMORY = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from fastsoftmax.__main__ import main
schema = pa.schema([("x", pa.list_(pa.float32(), 1000))])
def peak(groups):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4_000_000, "f4")), 1000)
    with pq.ParquetWriter("x.parquet", schema, compression="none", use_dictionary=False) as writer:
        for _ in range(groups):
            writer.write_table(pa.table([lists], schema))
    del lists
    pa.default_memory_pool().release_unused()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    assert main(["x.parquet", "-o", "y.parquet", "--force"]) == 0
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10
print(peak(4), peak(4), peak(12))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """61 MiB to as much, and 183 MiB: three times as many row groups, of 15 MiB."""
    script = f"import os; os.chdir({str(tmp_path)!r})\n{MEMORY}"
    _, small, large = map(
        int, run_python(script, environment={"OMP_NUM_THREADS": "1"}).stdout.split()
    )
    assert parquet.ParquetFile(tmp_path / "y.parquet").metadata.num_rows == 48_000
    assert abs(large - small) < 30 << 20, f"{small} and {large} bytes"


# Whole or not at all


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_a_damaged_file_is_an_error_of_one_sentence(tmp_path, capsys, suffix):
    x = np.random.default_rng(4).normal(size=(3000, 50))
    whole = write(tmp_path / f"x{suffix}", pa.table({"x": list(x)})).read_bytes()
    damaged = {
        "cut": whole[:-100],
        "empty": b"",
        "text": b"1 2 3\n" * 100,
        "bits": whole[:5000] + bytes(len(whole) // 2) + whole[5000 + len(whole) // 2 :],
    }
    for name, content in damaged.items():
        source = tmp_path / f"{name}{suffix}"
        source.write_bytes(content)
        before = names(tmp_path)
        status = cli.main([str(source), "-o", str(tmp_path / f"y{suffix}")])
        said = capsys.readouterr().err
        if status == 0 and name == "bits":  # an uncompressed file holds other numbers then
            (tmp_path / f"y{suffix}").unlink()
            continue
        assert status == 1, name
        assert said.startswith(f"fastsoftmax: error: cannot read {source}: ")
        assert said.count("\n") == 1
        assert names(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_an_interrupt_leaves_nothing(tmp_path, suffix):
    table = pa.table({"x": list(np.ones((3000, 50)))})
    source = write(tmp_path / f"x{suffix}", table)
    script = (
        "import signal, sys, time\n"
        "from fastsoftmax import _arrow\n"
        "from fastsoftmax.__main__ import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "_arrow.BATCH = 4000\n"
        "apply = _arrow._apply\n"
        "def slow(*args):\n"
        "    time.sleep(0.05)\n"
        "    return apply(*args)\n"
        "_arrow._apply = slow\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", script, str(source), "-o", str(tmp_path / f"y{suffix}")]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(names(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (130, "fastsoftmax: interrupted\n")
    assert names(tmp_path) == [source.name]


# What is refused, and what is printed


@pytest.fixture
def table(tmp_path):
    columns = {
        "a": [[1.0, 2.0]],
        "b": [[3.0]],
        "s": ["x"],
        "t": [["x"]],
        "d": [[[1.0]]],
        "m": pa.array([[True]]),
    }
    return write(tmp_path / "x.parquet", pa.table(columns))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "has 2 columns of lists ('a', 'b'): choose one with --column"),
        (["--column", "c"], "has 0 columns 'c'; its columns are 'a', 'b', 's', 't', 'd', 'm'"),
        (["--column", "s"], "column 's' is of type string, not of lists of numbers"),
        (["--column", "t"], "not of lists of numbers"),
        (["--column", "d"], "not of lists of numbers"),
        (["--column", "m"], "not of lists of numbers"),
    ],
)
def test_columns_that_are_refused(tmp_path, capsys, table, options, said):
    assert cli.main([str(table), "-o", str(tmp_path / "y.parquet"), *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert names(tmp_path) == ["x.parquet"]


def test_one_column_of_several(tmp_path, table):
    result = convert(table, tmp_path / "y.parquet", "--column", "b")
    assert result["b"].to_pylist() == [[1.0]]
    assert result["a"].to_pylist() == [[1.0, 2.0]]


def test_the_rows_without_an_output(tmp_path, capsys):
    rows = [[1.0, 1.0], None, *([0.0] * n for n in range(8))]
    source = write(tmp_path / "x.parquet", pa.table({"x": rows}))
    assert cli.main([str(source)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{source}: column 'x', list<element: double>",
        "softmax of each list: list<element: double>",
        "the first 5 of 10 rows (-o FILE writes them all):",
        "  [0.5 0.5]",
        "  null",
        "  []",
        "  [1]",
        "  [0.5 0.5]",
    ]
    assert cli.main([str(source), "--op", "logsumexp"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == ["  null", "  -inf", "  0", "  0.693147"]
    assert names(tmp_path) == ["x.parquet"]


def test_without_pyarrow(tmp_path, monkeypatch, capsys, table):
    monkeypatch.delitem(sys.modules, "fastsoftmax._arrow", raising=False)
    monkeypatch.delattr("fastsoftmax._arrow", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli.main([str(table), "-o", str(tmp_path / "y.parquet")]) == 1
    said = "which needs pyarrow: pip install 'fastsoftmax[arrow]'\n"
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize("op", OPS)
def test_lists_of_no_elements(tmp_path, op):
    lists = pa.array([[], None, []], pa.list_(pa.float32(), 0))
    source = write(tmp_path / "none.arrow", pa.table({"x": lists}))
    result = convert(source, tmp_path / "result.arrow", "--op", op)["x"]
    none = [] if op != "logsumexp" else -np.inf
    assert result.to_pylist() == [none, None, none]
