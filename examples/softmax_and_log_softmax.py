"""softmax and log_softmax compared: the numbers of docs/tutorial.md, and its plots.

python examples/softmax_and_log_softmax.py
python examples/softmax_and_log_softmax.py --plot docs    # writes the plots there: needs matplotlib
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastsoftmax.functional as F

GAPS = (1, 10, 20, 50, 95, 110, 1000)
YLABELS = {"underflow": "logarithm", "gradients": "gradient", "descent": "probability"}
EPSILON = 1e-7  # what is often added to a probability before its logarithm is taken


def behind(gap: float) -> np.ndarray:
    """Logits of two classes, of which the first is the right one and lies `gap` behind."""
    return np.array([0, gap], np.float32)


# The loss for class 0, and its gradient with respect to the logits, in three ways.


def through_softmax(x: np.ndarray, epsilon: float = 0) -> tuple[np.float32, np.ndarray]:
    """``-log(softmax(x)[0] + epsilon)``, differentiated step by step."""
    p = F.softmax(x, dim=0)
    grad = np.zeros_like(p)
    with np.errstate(divide="ignore", over="ignore"):
        loss = -np.log(p[0] + np.float32(epsilon))
        grad[0] = -1 / (p[0] + np.float32(epsilon))
    return loss, F.softmax_backward(grad, p, 0)


def through_log_softmax(x: np.ndarray) -> tuple[np.float32, np.ndarray]:
    """``-log_softmax(x)[0]``, differentiated step by step."""
    logp = F.log_softmax(x, dim=0)
    grad = np.zeros_like(logp)
    grad[0] = -1
    return -logp[0], F.log_softmax_backward(grad, logp, 0)


def at_once(x: np.ndarray) -> tuple[np.float32, np.ndarray]:
    """The same as `through_log_softmax` from the logits, without the steps."""
    grad = np.ones((), np.float32)
    return np.float32(F.cross_entropy(x, 0)), F.cross_entropy_backward(grad, x, 0)


def descend(gap: float, gradient: str, steps: int = 40, rate: float = 1.0) -> list[float]:
    """The probability of the right class at each step of a descent."""
    x = behind(gap)
    probabilities = []
    for _ in range(steps):
        probabilities.append(float(F.softmax(x, dim=0)[0]))
        if gradient == "softmax":
            _, grad = through_softmax(x, EPSILON)
        else:
            _, grad = through_log_softmax(x)
        x -= np.float32(rate) * grad
    return probabilities


def print_both() -> None:
    print("1. Four logits")
    x = np.array([1.0, 2.0, 3.0, 4.0])
    p, logp = F.softmax(x, dim=0), F.log_softmax(x, dim=0)
    print(f"   logits                {x}")
    print(f"   softmax               {p.round(4)}   sum {p.sum():.6f}")
    print(f"   log_softmax           {logp.round(4)}   sum {logp.sum():.6f}")
    print(f"   exp of log_softmax    {np.exp(logp).round(4)}   sum {np.exp(logp).sum():.6f}")
    print(
        f"   largest difference of exp(log_softmax) from softmax: {abs(np.exp(logp) - p).max():.0e}"
    )
    print(f"   logits - logsumexp    {(x - F.logsumexp(x, dim=0)).round(4)}")


def print_underflow() -> None:
    print("\n2. Underflow: class 0 lies behind by a gap, float32")
    print(f"   {'gap':>5} {'softmax':>12} {'its log':>10} {'log_softmax':>12}")
    for gap in GAPS:
        x = behind(gap)
        p, logp = F.softmax(x, dim=0)[0], F.log_softmax(x, dim=0)[0]
        with np.errstate(divide="ignore"):
            print(f"   {gap:5} {p:12.4g} {np.log(p):10.4g} {logp:12.4g}")
    print("   and class 1, which leads by it")
    for gap in GAPS[:4]:
        x = behind(gap)
        p, logp = F.softmax(x, dim=0)[1], F.log_softmax(x, dim=0)[1]
        print(f"   {gap:5} {p:12.8g} {np.log(p):10.4g} {logp:12.4g}")


def print_gradients() -> None:
    print("\n3. Gradient of the loss with respect to the logit of class 0, the right one")
    way = f"log(p + {EPSILON:g})"
    print(f"   {'gap':>5} {'log(p)':>10} {way:>15} {'log_softmax':>12} {'cross_entropy':>14}")
    for gap in (1, 10, 20, 50, 85, 100):
        x = behind(gap)
        grads = (
            through_softmax(x)[1][0],
            through_softmax(x, EPSILON)[1][0],
            through_log_softmax(x)[1][0],
            at_once(x)[1][0],
        )
        print(f"   {gap:5} {grads[0]:10.4g} {grads[1]:15.3g} {grads[2]:12.4g} {grads[3]:14.4g}")
    print("\n4. Gradient descent from a gap of 30, steps of 1: probability of the right class")
    print(f"   {'step':>5} {way:>15} {'log_softmax':>12}")
    stuck, learns = descend(30, "softmax"), descend(30, "log_softmax")
    for step in (0, 5, 10, 15, 20, 39):
        print(f"   {step:5} {stuck[step]:15.3g} {learns[step]:12.3g}")


def plot(folder: Path) -> None:
    """Writes underflow.svg, gradients.svg and descent.svg, the same for the same numbers."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    style = {
        "svg.hashsalt": "fastsoftmax",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    gaps = np.linspace(0, 160, 321)
    with np.errstate(divide="ignore"):
        logs = [np.log(F.softmax(behind(gap), dim=0)[0]) for gap in gaps]
    added = f"-log(softmax(x) + {EPSILON:g})"
    curves = {
        "underflow": (
            "Logarithm of the probability of a class that lies behind, float32",
            "how far its logit lies behind",
            {
                "log_softmax(x)": (gaps, [F.log_softmax(behind(g), dim=0)[0] for g in gaps]),
                "log(softmax(x)): -inf from 104 on": (gaps, logs),
            },
        ),
        "gradients": (
            "Gradient of the loss for the logit of the right class, float32",
            "how far its logit lies behind",
            {
                "-log_softmax(x), cross_entropy(x)": (
                    gaps,
                    [at_once(behind(g))[1][0] for g in gaps],
                ),
                "-log(softmax(x)): NaN from 89 on": (
                    gaps,
                    [through_softmax(behind(g))[1][0] for g in gaps],
                ),
                added: (gaps, [through_softmax(behind(g), EPSILON)[1][0] for g in gaps]),
            },
        ),
        "descent": (
            "Gradient descent on the loss from a gap of 30",
            "step",
            {
                "-log_softmax(x), cross_entropy(x)": (range(40), descend(30, "log_softmax")),
                added: (range(40), descend(30, "softmax")),
            },
        ),
    }
    colours = {"-log_softmax(x), cross_entropy(x)": "black", "log_softmax(x)": "black", added: "C1"}
    with plt.rc_context(style):
        for name, (title, label, lines) in curves.items():
            figure, axes = plt.subplots(figsize=(6, 2.8))
            for i, (line, (x, y)) in enumerate(lines.items()):
                width = 3.5 if i == 0 else 1.6
                axes.plot(x, y, color=colours.get(line, "C0"), lw=width, label=line)
            axes.grid(color="0.9")
            axes.set_axisbelow(True)
            axes.set_title(title, loc="left")
            axes.set_xlabel(label)
            axes.set_ylabel(YLABELS[name])
            axes.legend(loc="best")
            figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="softmax and log_softmax compared")
    parser.add_argument("--plot", metavar="FOLDER", type=Path, help="write the plots there instead")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot)
        return
    print_both()
    print_underflow()
    print_gradients()


if __name__ == "__main__":
    main()
