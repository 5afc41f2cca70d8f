"""The command line: softmax from one file to another, or a demonstration without a file."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import fastsoftmax
from fastsoftmax._arguments import Array
from fastsoftmax._files import OPERATIONS, apply, convert, map_input, resolve
from fastsoftmax._output import CommandError, Signalled, signals_raised

DTYPES = ("float16", "float32", "float64")
PREVIEW_ROWS = 5
# These are tables; any other name is that of a .npy file.
TABLES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")

EPILOG = """\
examples:
  fastsoftmax
      shows what it does, how exactly and how fast, on logits that ship with it
  fastsoftmax logits.npy
      prints the softmax of the first rows and writes nothing
  fastsoftmax logits.npy -o probs.npy
      writes the softmax along the last dimension
  fastsoftmax scores.npy -o logp.npy --op log_softmax --dim 0 --dtype float32
      casts to float32, then log_softmax along the first dimension
  fastsoftmax x.npy -o norm.npy --op logsumexp --dim 1,2
      reduces over two dimensions together
  fastsoftmax scores.parquet -o probs.parquet --column logits
      takes each list of the column as a row and keeps the other columns

Files are read and written in pieces, so they may be larger than memory. The output takes its name
only once it is complete and on the disk; after an error or an interrupt nothing is left of it.

Tables are .parquet and .arrow or .feather files (pip install 'fastsoftmax[arrow]'). A null list
stays null. A null element takes no part and stays null; logsumexp of a list without any other
element is -inf. NaN, which is not null, makes its row NaN.

On a terminal a progress bar is shown if tqdm is there (pip install 'fastsoftmax[cli]').

exit status: 0 done, 1 the work or the selftest failed, 2 the command line is wrong,
             130 interrupted (SIGINT), 143 terminated (SIGTERM), 129 hung up (SIGHUP)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; `argv` is without the program's name."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    try:
        with (
            signals_raised(),
            fastsoftmax.num_threads(args.threads) if args.threads else nullcontext(),
        ):
            _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except CommandError as error:
        print(f"fastsoftmax: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # of stdout; files have sentences of their own
        if not isinstance(error, BrokenPipeError):  # else the reader has gone
            print(f"fastsoftmax: error: {error}", file=sys.stderr)
        # What is left to write must not fail again when the interpreter flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        print("fastsoftmax: interrupted", file=sys.stderr)
        return 130
    except Signalled as signalled:
        print(f"fastsoftmax: {signalled}", file=sys.stderr)
        return signalled.status
    return 0


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if args.input is None:
        names = ("output", "op", "dim", "dtype", "column", "force", "quiet")
        needless = [f"--{name}" for name in names if getattr(args, name)]
        if needless:
            parser.error(f"{needless[0]} needs an input file")
        return
    alone = [name for name in ("show_config", "selftest") if getattr(args, name)]
    if alone:
        parser.error(f"--{alone[0].replace('_', '-')} takes no input file")
    if args.output is None:
        needless = [f"--{name}" for name in ("force", "quiet") if getattr(args, name)]
        if needless:
            parser.error(f"{needless[0]} needs --output")
    table = _is_table(args.input)
    if args.column is not None and not table:
        parser.error(f"--column needs a table ({', '.join(TABLES)}), not {args.input}")
    if args.dim is not None and table:
        parser.error(f"--dim needs a .npy file: each list of {args.input} is a row")
    if args.output is not None and _is_table(args.output) != table:
        parser.error(f"{args.input} and {args.output} are files of different kinds")


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES


def _run(args: argparse.Namespace) -> None:
    op = args.op or "softmax"
    options = {"force": args.force, "show_progress": not args.quiet}
    if args.version:
        print(f"fastsoftmax {fastsoftmax.show_config()['version']}")
    elif args.show_config:
        print(fastsoftmax.show_config())
    elif args.selftest:
        from fastsoftmax._selftest import selftest

        if not selftest():
            raise CommandError("the selftest failed: this build computes wrong on this CPU")
    elif args.input is None:
        from fastsoftmax._demo import demonstrate

        demonstrate()
    elif _is_table(args.input):
        try:
            from fastsoftmax import _arrow
        except ModuleNotFoundError as error:
            raise CommandError(
                f"{args.input} is a table, which needs pyarrow: pip install 'fastsoftmax[arrow]'"
            ) from error
        if args.output is None:
            _arrow.preview(args.input, args.column, op, args.dtype, PREVIEW_ROWS)
        else:
            _arrow.convert(args.input, args.output, args.column, op, args.dtype, **options)
    elif args.output is None:
        preview(args.input, op, args.dim or (-1,), args.dtype)
    else:
        convert(args.input, args.output, op, args.dim or (-1,), args.dtype, **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastsoftmax",
        description="Softmax and log-softmax of a .npy file, or of a column of lists in a Parquet\n"
        "or Arrow file. Without a file: a demonstration.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "input", nargs="?", type=Path, metavar="INPUT", help="array or table of logits"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the result here (without it, the first rows are printed)",
    )
    parser.add_argument("--op", choices=OPERATIONS, help="operation (default: softmax)")
    parser.add_argument(
        "--dim",
        type=_dims,
        metavar="D[,D...]",
        help="dimension to normalise, or several together; negative ones count from the end "
        "(default: -1). Where several begin with a negative one: --dim=-2,-1",
    )
    parser.add_argument(
        "--column", metavar="NAME", help="column of a table (default: the only one of lists)"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="cast the input to this first (default: leave it)"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="use at most N threads (default: all CPUs)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.add_argument(
        "-q", "--quiet", "--no-progress", action="store_true", help="show no progress bar"
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--show-config", action="store_true", help="print kernels, threads and build, and exit"
    )
    parser.add_argument(
        "--selftest", action="store_true", help="test accuracy and special values on this CPU"
    )
    return parser


def _dims(text: str) -> tuple[int, ...]:
    try:
        if "_" in text:
            raise ValueError(text)
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a dimension, or several joined by commas"
        ) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {2**31 - 1}")
    return int(text)


def preview(source: Path, op: str, dims: tuple[int, ...], dtype: str | None = None) -> None:
    """Print the shape of the result on `source` and its first rows, computing only those."""
    logits = map_input(source)
    dims, result_shape, result_dtype = resolve(source, logits, op, dims, dtype)
    others = [axis for axis in range(logits.ndim) if axis not in dims]
    index = [slice(None)] * logits.ndim
    for axis in others:
        index[axis] = slice(0, PREVIEW_ROWS if axis == others[-1] else 1)
    first = apply(op, logits[tuple(index)], dims, dtype)
    rows = first.reshape(-1) if op == "logsumexp" else _rows(first, dims)

    print(f"{source}: {logits.dtype} {logits.shape}")
    print(f"{op} over dim {', '.join(map(str, dims))}: {result_dtype} {result_shape}")
    total = math.prod(logits.shape[axis] for axis in others)
    print(f"the first {len(rows)} of {total:,} rows (-o FILE writes them all):")
    with np.printoptions(precision=6, threshold=6, edgeitems=3, linewidth=100):
        for row in rows:
            print("  " + (np.array2string(row, prefix="  ") if row.ndim else f"{row:.6g}"))


def _rows(array: Array, dims: tuple[int, ...]) -> Array:
    """View the array as (rows, elements of a row)."""
    array = np.atleast_1d(array)
    last = np.moveaxis(array, dims, range(array.ndim - len(dims), array.ndim))
    length = math.prod(array.shape[axis] for axis in dims)
    return last.reshape(-1, length) if length else last.reshape(0, 0)


if __name__ == "__main__":
    sys.exit(main())
