"""The calling thread's floating-point registers, through the C library's fegetenv and fesetenv."""

import contextlib
import ctypes
import platform
import sys

# Where a fenv_t holds the register, and its flush-to-zero, rounding and exception bits.
_X86 = {"flush": 0x8040, "upward": 0x4000, "downward": 0x2000, "to zero": 0x6000, "flags": 0x3F}
_ARM = {"flush": 1 << 24, "upward": 1 << 22, "downward": 2 << 22, "to zero": 3 << 22, "flags": 0x9F}
_LAYOUTS = {  # control register's offset, status register's offset, bits
    ("linux", "x86_64"): (28, 28, _X86),
    ("linux", "aarch64"): (0, 4, _ARM),
    ("darwin", "x86_64"): (4, 4, _X86),
    ("darwin", "arm64"): (8, 0, _ARM),
}
SUPPORTED = (sys.platform, platform.machine()) in _LAYOUTS

if SUPPORTED:
    _CONTROL, _STATUS, BITS = _LAYOUTS[sys.platform, platform.machine()]
    try:
        _libm = ctypes.CDLL(None)
        _get, _set = _libm.fegetenv, _libm.fesetenv
    except AttributeError:
        _libm = ctypes.CDLL("libm.so.6")
        _get, _set = _libm.fegetenv, _libm.fesetenv


def _read():
    environment = ctypes.create_string_buffer(64)
    assert _get(environment) == 0
    return environment


def _register(environment, offset):
    return ctypes.c_uint32.from_buffer(environment, offset)


def control():
    """The bits of the control register that choose flushing and rounding."""
    mask = BITS["flush"] | BITS["to zero"]
    return _register(_read(), _CONTROL).value & mask


def flags():
    """The exception flags that stand."""
    return _register(_read(), _STATUS).value & BITS["flags"]


@contextlib.contextmanager
def environment(mode=None, flags=None):
    """Set a mode ("flush", "upward", "downward", "to zero") and the flags, for a block."""
    former, changed = _read(), _read()
    if mode is not None:
        _register(changed, _CONTROL).value |= BITS[mode]
    if flags is not None:
        status = _register(changed, _STATUS)
        status.value = (status.value & ~BITS["flags"]) | flags
    assert _set(changed) == 0
    try:
        yield
    finally:
        assert _set(former) == 0
