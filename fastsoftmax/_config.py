"""What this build has and what it chose."""

from __future__ import annotations

from typing import Any

from fastsoftmax import _core, _threads


class Config(dict[str, Any]):
    """A dict that prints as a table."""

    def __str__(self) -> str:
        flat = {key: value for key, value in self.items() if key != "kernels"}
        for operation, symbols in self["kernels"].items():
            flat[operation] = ", ".join(
                map(" for ".join, zip(symbols.values(), symbols, strict=True))
            )
        width = max(map(len, flat))
        return "\n".join(f"{key:{width}}  {value}" for key, value in flat.items())


def show_config() -> Config:
    """Return what this build of fastsoftmax has and what it chose on this machine.

    Returns
    -------
    Config
        A dict that prints as a table: ``version``; ``isa``, the instruction-set target in use, and
        ``isas``, those this CPU can run (choose with the environment variable
        ``FASTSOFTMAX_ISA``); ``kernels``, the symbol behind each operation and dtype; ``openmp``;
        ``num_threads``, the most threads a call from here may use, and ``num_threads_reason``, what
        decided it; ``compiler``.

    Examples
    --------
    >>> import fastsoftmax
    >>> fastsoftmax.show_config()["isa"] in ("baseline", "avx2", "avx512", "neon")
    True
    """
    from importlib import metadata  # here: it would be four fifths of the time to import us

    threads, reason = _threads._limit_and_reason()
    return Config(
        version=metadata.version("fastsoftmax"),
        isa=_core._isa(),
        isas=_core._isa_available(),
        kernels=_core._kernel_names(),
        openmp=_threads._openmp_version() or "no",
        num_threads=threads,
        num_threads_reason=reason,
        compiler=_core._compiler(),
    )
