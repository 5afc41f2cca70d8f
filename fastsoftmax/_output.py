"""What all conversions of files share: errors, outputs that appear whole, progress, signals."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

LONGEST_NAME = 255  # bytes, on nearly every file system


class CommandError(Exception):
    """An error that one sentence on stderr explains."""


class Signalled(BaseException):
    """A signal that ends the command; raised, so that what was begun is cleared away."""

    def __init__(self, number: int) -> None:
        names = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
        super().__init__(names[signal.Signals(number).name])
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells have it."""
        return 128 + self.number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Signalled` for SIGINT, SIGTERM and SIGHUP, unless the caller had them ignored.

    The first one counts; more of them do not disturb the clearing away.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        for one in former:
            signal.signal(one, signal.SIG_IGN)
        raise Signalled(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    untouched = (signal.SIG_DFL, signal.default_int_handler)
    former = {one: signal.getsignal(one) for one in numbers if signal.getsignal(one) in untouched}
    try:
        for one in former:
            signal.signal(one, receive)
        yield
    finally:
        for one, handler in former.items():
            signal.signal(one, handler)


@contextmanager
def explaining(what: str) -> Iterator[None]:
    """Turn what goes wrong with a file into a `CommandError` that begins with `what`."""
    try:
        yield
    except (OSError, ValueError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"{what}: {' '.join(reason.split()) or 'out of memory'}") from error


def checked_target(target: Path, force: bool) -> Path:
    """The file that is written, through links, if it may be."""
    try:
        target = target.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: Python 3.11 and 3.12, of a loop
        raise CommandError(f"cannot write {target}: {error}") from error
    if target.is_symlink():
        raise CommandError(f"cannot write {target}: its links lead back to it")
    if target.exists() and not target.is_file():
        raise CommandError(f"{target} is not a regular file")
    if target.exists() and not force:
        raise CommandError(f"{target} exists already; --force overwrites it")
    return target


@contextmanager
def appearing(target: Path) -> Iterator[BinaryIO]:
    """Give a new file beside `target`; on success only it takes that name, written to the disk.

    Nobody who opens `target` sees a part of it, and after a failure of the machine it is there as
    it was before or as it is now.
    """
    end = f".{secrets.token_hex(4)}.tmp"
    name = os.fsdecode(os.fsencode(target.name)[: LONGEST_NAME - len(end) - 1])
    temporary = target.with_name(f".{name}{end}")
    try:
        with explaining(f"cannot write {target}"):
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
            _sync_folder(target.parent)
    finally:
        with suppress(OSError):  # of a name that cannot be
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Write the new name to the disk too, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def progress(total: int | None, unit: str, wanted: bool) -> Iterator[Callable[[int], object]]:
    """Give what to call with the amount done, shown on a terminal if tqdm is installed."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield lambda amount: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda amount: None
        return
    divisor = 1024 if unit == "B" else 1000
    with tqdm(total=total, unit=unit, unit_scale=True, unit_divisor=divisor) as bar:
        yield bar.update
