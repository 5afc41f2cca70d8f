"""The command line: softmax from one .npy file to another, or a demonstration without a file."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
import fastsoftmax.functional as F

Array = np.ndarray[Any, Any]
Index = tuple[slice, ...]

OPERATIONS: dict[str, Callable[..., Array]] = {
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "softmin": F.softmin,
    "logsumexp": F.logsumexp,
}
DTYPES = ("float16", "float32", "float64")
CHUNK_ELEMENTS = 1 << 22
PREVIEW_ROWS = 5

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

The input is mapped into memory and worked through in pieces, so it may be larger than memory.
The output takes its name only once it is complete.

exit status: 0 done, 1 the work or the selftest failed, 2 the command line is wrong, 130 interrupted
"""


class CommandError(Exception):
    """An error that one sentence on stderr explains."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; `argv` is without the program's name."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.input is None:
        needless = [f"--{name}" for name in ("output", "op", "dim", "dtype") if getattr(args, name)]
        if needless or args.force:
            parser.error(f"{(needless or ['--force'])[0]} needs an input file")
    elif args.force and args.output is None:
        parser.error("--force needs --output")
    try:
        with fastsoftmax.num_threads(args.threads) if args.threads else nullcontext():
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
            elif args.output is None:
                preview(args.input, args.op or "softmax", args.dim or (-1,), args.dtype)
            else:
                convert(
                    args.input,
                    args.output,
                    args.op or "softmax",
                    args.dim or (-1,),
                    args.dtype,
                    force=args.force,
                )
        sys.stdout.flush()
    except CommandError as error:
        print(f"fastsoftmax: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has gone (`fastsoftmax | head`); keep the interpreter from flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("fastsoftmax: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastsoftmax",
        description="Softmax and log-softmax of a .npy file. Without a file: a demonstration.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", nargs="?", type=Path, metavar="INPUT.npy", help="array of logits")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the result here as .npy (without it, the first rows are printed)",
    )
    parser.add_argument("--op", choices=OPERATIONS, help="operation (default: softmax)")
    parser.add_argument(
        "--dim",
        type=_dims,
        metavar="D[,D...]",
        help="dimension to normalise, or several together; negative ones count from the end "
        "(default: -1)",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="cast the input to this first (default: leave it)"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="use at most N threads (default: all CPUs)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
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
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a dimension, or several joined by commas"
        ) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def convert(
    source: Path,
    target: Path,
    op: str,
    dims: tuple[int, ...],
    dtype: str | None = None,
    *,
    force: bool = False,
) -> None:
    """Write the operation's result on `source` to `target`, whole or not at all."""
    target = Path(os.path.realpath(target))
    if target.exists() and not target.is_file():
        raise CommandError(f"{target} is not a regular file")
    if target.exists() and not force:
        raise CommandError(f"{target} exists already; --force overwrites it")
    logits = _map_input(source)
    dims, result_shape, result_dtype = _resolve(source, logits, op, dims, dtype)
    with _appearing(target) as temporary, _explaining(f"cannot write {target}"):
        result = np.lib.format.open_memmap(
            temporary,
            mode="w+",
            dtype=result_dtype,
            shape=result_shape,
            fortran_order=logits.flags.fnc and op != "logsumexp",
        )
        _reserve(temporary)
        for index in pieces(logits, dims, CHUNK_ELEMENTS):
            kept = _without(index, dims) if op == "logsumexp" else index
            # The dots make a 0-d result an array to write into, not a scalar.
            _apply(op, logits[index], dims, dtype, out=result[(*kept, ...)])
        # Windows renames nothing that is still mapped.
        del result


def preview(source: Path, op: str, dims: tuple[int, ...], dtype: str | None = None) -> None:
    """Print the shape of the result on `source` and its first rows, computing only those."""
    logits = _map_input(source)
    dims, result_shape, result_dtype = _resolve(source, logits, op, dims, dtype)
    others = [axis for axis in range(logits.ndim) if axis not in dims]
    index = [slice(None)] * logits.ndim
    for axis in others:
        index[axis] = slice(0, PREVIEW_ROWS if axis == others[-1] else 1)
    first = _apply(op, logits[tuple(index)], dims, dtype)
    rows = first.reshape(-1) if op == "logsumexp" else _rows(first, dims)

    print(f"{source}: {logits.dtype} {logits.shape}")
    print(f"{op} over dim {', '.join(map(str, dims))}: {result_dtype} {result_shape}")
    total = math.prod(logits.shape[axis] for axis in others)
    print(f"the first {len(rows)} of {total:,} rows (-o FILE writes them all):")
    with np.printoptions(precision=6, threshold=6, edgeitems=3, linewidth=100):
        for row in rows:
            print("  " + (np.array2string(row, prefix="  ") if row.ndim else f"{row:.6g}"))


def pieces(array: Array, dims: tuple[int, ...], budget: int) -> Iterator[Index]:
    """Yield indices that cut `array` into pieces of about `budget` elements, whole along `dims`.

    The axes of the longest stride are cut first, so that a piece is as contiguous as it can be. A
    row longer than the budget is a piece of its own: it has to be read as one.
    """
    index = [slice(None)] * array.ndim
    axes = [axis for axis in range(array.ndim) if axis not in dims]
    axes.sort(key=lambda axis: -abs(array.strides[axis]))

    def cut(depth: int, size: int) -> Iterator[Index]:
        if depth == len(axes) or size <= budget:
            yield tuple(index)
            return
        axis = axes[depth]
        length = array.shape[axis]
        slab = size // length
        step = max(1, budget // slab)
        for start in range(0, length, step):
            index[axis] = slice(start, min(start + step, length))
            yield from cut(depth + 1, slab * step)
        index[axis] = slice(None)

    return cut(0, array.size)


def _map_input(source: Path) -> Array:
    with _explaining(f"cannot read {source}"):
        with source.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise CommandError(f"{source} is not a .npy file; numpy.save writes one")
        try:
            with np.errstate(all="ignore"):  # sizes in a header may overflow
                array: Array = np.load(source, mmap_mode="r", allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # whatever a broken header makes of NumPy's reader
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CommandError(f"cannot read {source}: {reason:.400}") from error
    return array


def _resolve(
    source: Path, logits: Array, op: str, dims: tuple[int, ...], dtype: str | None
) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """Let the operation judge the dims and the dtype on no data; return dims, shape and dtype."""
    try:
        sample = np.zeros([min(1, length) for length in logits.shape], logits.dtype)
        result_dtype = _apply(op, sample, dims, dtype).dtype
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise CommandError(f"{source} ({logits.dtype} {logits.shape}): {error}") from error
    dims = tuple(dim % max(logits.ndim, 1) for dim in dims)
    shape = logits.shape
    if op == "logsumexp":
        shape = _without(shape, dims)
    return dims, shape, result_dtype


def _apply(
    op: str, logits: Array, dims: tuple[int, ...], dtype: str | None, out: Array | None = None
) -> Array:
    dim = dims[0] if len(dims) == 1 else dims
    if op != "logsumexp":
        return OPERATIONS[op](logits, dim, dtype=dtype, out=out)
    if dtype is not None:
        with np.errstate(all="ignore"):
            logits = logits.astype(dtype)
    return OPERATIONS[op](logits, dim, out=out)


def _without(items: tuple[Any, ...], dims: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(item for axis, item in enumerate(items) if axis not in dims)


def _rows(array: Array, dims: tuple[int, ...]) -> Array:
    """View the array as (rows, elements of a row)."""
    array = np.atleast_1d(array)
    last = np.moveaxis(array, dims, range(array.ndim - len(dims), array.ndim))
    length = math.prod(array.shape[axis] for axis in dims)
    return last.reshape(-1, length) if length else last.reshape(0, 0)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Give a new name beside `target`; what is written there replaces it on success only."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with _explaining(f"cannot write {target}"):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"{what}: {reason or 'out of memory'}") from error


def _reserve(path: Path) -> None:
    """Claim the file's blocks now: a full disk is then an error, not a SIGBUS at a later store."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
