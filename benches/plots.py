"""The plots of the documentation, as SVG that is the same for the same run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import exact
import results
from peers import LABELS, LIBRARIES, OURS

_COLOURS = dict(zip(LIBRARIES, plt.get_cmap("tab10").colors, strict=False)) | {
    OURS: "black",
    "copy": "0.6",
}
_STYLE = {
    "svg.hashsalt": "fastsoftmax",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def _finish(figure: Figure, axes: Axes, title: str, path: Path) -> None:
    """What every plot has in common, and its file."""
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _label(name: str) -> str:
    return LABELS.get(name, name)


def _plain(axis: Any) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def _what(cell: dict[str, Any]) -> str:
    return f"{cell['op']}, {cell['dtype']}, {cell['threads']} thread"


def speedup(cells: Sequence[dict[str, Any]], path: Path, stat: str) -> None:
    """How many times our time each library takes, shape by shape."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(7, 0.42 * len(cells) + 1.2))
        for name in LIBRARIES:
            points = [(results.ratio(c, name, stat), -i) for i, c in enumerate(cells)]
            known = [(x, y) for x, y in points if x is not None]
            if known:
                axes.plot(
                    *zip(*known, strict=True), "o", color=_COLOURS[name], ms=5, label=_label(name)
                )
        axes.axvline(1, color="black", lw=1)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set_yticks([-i for i in range(len(cells))], [c["name"] for c in cells])
        axes.set_xlabel(f"time / {OURS}'s time")
        _finish(figure, axes, f"{_what(cells[0])}: right of the line is slower", path)


def error(cells: Sequence[dict[str, Any]], path: Path, stat: str) -> None:
    """Largest error against time per element: a point for each library and shape."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(7, 4.2))
        for name in (*LIBRARIES, OURS):
            points = []
            for cell in cells:
                time = results.time_of(cell, name, stat)
                size = math.prod(cell["case"]["shape"])
                worst = cell["implementations"].get(name, {}).get("max_ulp")
                if time and worst is not None and size > 64:
                    points.append((time * 1e3 / size, min(max(worst, 0.01), 1e6)))
            if points:
                axes.plot(
                    *zip(*points, strict=True), "o", color=_COLOURS[name], ms=5, label=_label(name)
                )
        bound = exact.bound(cells[0]["op"], cells[0]["dtype"])
        axes.axhline(bound, color="black", lw=1, ls="--")
        axes.text(
            0.99,
            bound,
            f"{OURS}'s bound ",
            va="bottom",
            ha="right",
            transform=axes.get_yaxis_transform(),
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain(axes.xaxis)
        _plain(axes.yaxis)
        axes.set_xlabel("nanoseconds an element")
        axes.set_ylabel("largest error, ULP")
        _finish(figure, axes, f"{_what(cells[0])}: low and left is better", path)


def lengths(run: dict[str, Any], path: Path) -> None:
    """Time per element against row length, with the copy as the floor."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(7, 4.2))
        for name, times in run["times"].items():
            style = {"lw": 2.2, "zorder": 3} if name == OURS else {"lw": 1.2}
            style |= {"ls": ":"} if name == "copy" else {}
            axes.plot(run["lengths"], times, color=_COLOURS[name], label=_label(name), **style)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        _plain(axes.yaxis)
        axes.set_xlabel("row length")
        axes.set_ylabel("nanoseconds an element")
        _finish(figure, axes, f"{run['op']}, {run['dtype']}, 1 thread, ready outputs", path)
