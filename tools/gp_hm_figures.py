"""Draw the figure of docs/papers/gp-hm.md: `python tools/gp_hm_figures.py`.

A quarter of a minute on one core. Above: what the components weigh before and after learning, on
three problems of the paper at its own grids, from frequencies drawn by seed 0. Below: the errors
along the interval.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paperworks.claims.gp_hm import TWO_PI, ours

PATH = Path(__file__).parent.parent / "docs" / "papers" / "gp-hm.png"
SPECTRA = {
    "poisson-1d-sin": "sin 100x",
    "poisson-1d-sincos": "sin 6x cos 100x",
    "poisson-1d-parabola": "sin 500x - 2 (x - 1/2)²",
}
TRUTH, START, FOUND = "#bbbbbb", "#3d85c6", "#d1495b"


@cache
def solved(name: str, rounds: int):
    return ours(name, 1.0, 0, rounds=rounds)


def spectra(axes) -> None:
    for ax, (name, title) in zip(axes, SPECTRA.items(), strict=True):
        found, equation, _ = solved(name, 5)
        start, _, _ = solved(name, 0)
        for k, line in enumerate(equation.lines[0]):
            ax.axvline(line, color=TRUTH, lw=4, zorder=0, label=None if k else "true frequency")
        for solution, color, label, size in (
            (start, START, "at the start", 3),
            (found, FOUND, "learned", 6),
        ):
            spectrum = solution.spectrum()
            x = TWO_PI * spectrum["frequency"]
            ax.vlines(x, 1e-9, spectrum["weight"], color=color, lw=1)
            ax.plot(x, spectrum["weight"], "o", ms=size, color=color, label=label)
        ax.set(yscale="log", ylim=(1e-9, 3), xlabel="frequency, radians per unit of x")
        ax.set_title(f"{title}: {len(found.spectrum()['weight'])} left of 30", fontsize=9)
        print(name, TWO_PI * found.spectrum()["frequency"], found.spectrum()["weight"])
    axes[0].set_ylabel("share of the weight")
    axes[0].legend(fontsize=7, loc="lower left")


def errors(axes) -> None:
    for ax, name in zip(axes, SPECTRA, strict=True):
        for rounds, color, label in ((0, START, "at the start"), (5, FOUND, "learned")):
            solution, equation, grid = solved(name, rounds)
            x = np.linspace(0, grid[0][-1], 2001)
            exact = equation.solution(x)
            gap = np.abs(solution.predict(x) - exact)
            print(name, label, np.linalg.norm(gap) / np.linalg.norm(exact))
            ax.plot(x, np.maximum(gap, 1e-16), color=color, lw=0.7, label=label)
        ax.plot(x, np.abs(exact), color=TRUTH, lw=0.5, zorder=0, label="|u|")
        ax.set(yscale="log", xlim=(0, grid[0][-1]), xlabel="x")
    axes[0].set_ylabel("|error|")
    axes[0].legend(fontsize=7, loc="lower left")


def main() -> None:
    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    spectra([figure.add_subplot(grid[0, i]) for i in range(3)])
    errors([figure.add_subplot(grid[1, i]) for i in range(3)])
    figure.savefig(PATH, dpi=110)
    print(PATH)


if __name__ == "__main__":
    main()
