"""Draw the figures of docs/papers/data-pruning.md: `python tools/data_pruning_figures.py`, minutes.

The theory's curves, and perceptrons simulated by the claims' own function.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from deis_figures import INK, OTHERS, RED, STYLE
from matplotlib.figure import Figure

from paperworks.scaling.data_pruning import crossover, pruned_perceptron, simulate_perceptron

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
N, DRAWS = 200, 10
SIMULATED = (1.0, 2.0, 4.0, 8.0, 16.0)


def main() -> None:
    """Draw them."""
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    alphas = np.geomspace(0.8, 60, 25)
    colours = {"hard": RED, "easy": OTHERS[0], "random": INK}
    for axes, theta in ((left, 0.0), (middle, 0.3)):
        for order in ("hard", "easy", "random"):
            axes.plot(alphas, [error(a, theta, order) for a in alphas], color=colours[order])
            rng = np.random.default_rng(0)
            means = [simulated(a, theta, order, rng) for a in SIMULATED]
            axes.plot(
                SIMULATED, means, "o", color=colours[order], markersize=4, label=f"keep {order}"
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="examples per dimension, before pruning",
            title=f"half kept, probe at {theta:g} rad",
        )
    left.set_ylabel("test error")
    left.legend(frameon=False)
    shares = np.linspace(0.1, 0.9, 7)
    for theta, style in ((0.0, "-"), (0.3, "--")):
        for against, colour in (("easy", OTHERS[0]), ("random", INK)):
            right.plot(
                shares,
                [crossover(float(s), theta=theta, against=against) for s in shares],
                style,
                color=colour,
                label=f"than {against}, {theta:g} rad",
            )
    right.set(
        yscale="log",
        xlabel="share kept",
        ylabel="examples per dimension",
        title="from where on hard is better",
    )
    right.legend(frameon=False, fontsize="small")
    figure.savefig(FOLDER / "data-pruning-theory.svg", metadata={"Date": None})


def error(alpha: float, theta: float, order: str) -> float:
    """By theory, half of the examples kept."""
    if order == "random":
        return pruned_perceptron(alpha / 2).test_error
    return pruned_perceptron(alpha, 0.5, theta=theta, order=order).test_error


def simulated(alpha: float, theta: float, order: str, rng: np.random.Generator) -> float:
    """The mean of some draws."""
    pool, keep = (alpha / 2, 1.0) if order == "random" else (alpha, 0.5)
    side = "hard" if order == "random" else order
    runs = [
        simulate_perceptron(N, pool, keep, theta=theta, order=side, rng=rng) for _ in range(DRAWS)
    ]
    return float(np.mean([run.test_error for run in runs]))


if __name__ == "__main__":
    main()
