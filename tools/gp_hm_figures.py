"""Draw the figure of docs/papers/gp-hm.md: `python tools/gp_hm_figures.py`.

Two minutes on one core. Above: what the components of each axis' mixture weigh before and after
learning, on three problems of the paper at its own grids, from frequencies drawn by seed 0. Below:
the error of ours and of two networks along the interval, on the multi-scale problem.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paperworks.claims._pinn import solve_pinn
from paperworks.claims.gp_hm import TWO_PI, ours

PATH = Path(__file__).parent.parent / "docs" / "papers" / "gp-hm.png"
SPECTRA = {
    "poisson-1d-sincos": "sin 6x cos 100x",
    "poisson-1d-mix": "sin x + 0.1 sin 20x + 0.05 cos 100x",
    "poisson-1d-parabola": "sin 500x - 2 (x - 1/2)²",
}
TRUTH, START, FOUND = "#bbbbbb", "#3d85c6", "#d1495b"
NETWORKS = {"PINN": (False, "#7f7f7f"), "PINN on Fourier features": (True, "#e0a030")}
ADAM, LBFGS = 3000, 300


def spectra(axes) -> None:
    for ax, (name, title) in zip(axes, SPECTRA.items(), strict=True):
        found, equation, _ = ours(name, 1.0, 0)
        start, _, _ = ours(name, 1.0, 0, rounds=0)
        lines = equation.lines[0] if name != "poisson-1d-mix" else (1.0, *equation.lines[0])
        for k, line in enumerate(lines):
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


def errors(ax) -> None:
    name = "poisson-1d-mix"
    found, equation, grid = ours(name, 1.0, 0)
    x = np.linspace(0, grid[0][-1], 1501)
    exact = equation.solution(x)
    ax.plot(x, np.abs(exact), color=TRUTH, lw=0.8, label="|u|")
    for label, (features, color) in NETWORKS.items():
        network, seconds = solve_pinn(
            equation.operator,
            grid,
            equation.source,
            equation.solution,
            seed=0,
            features=features,
            adam=ADAM,
            lbfgs=LBFGS,
        )
        gap = np.abs(network(x[:, None]) - exact)
        ax.plot(x, gap, color=color, lw=1, label=f"{label}, {ADAM} + {LBFGS} steps")
        print(label, seconds, np.linalg.norm(gap) / np.linalg.norm(exact))
    gap = np.abs(found.predict(x) - exact)
    print("ours", np.linalg.norm(gap) / np.linalg.norm(exact))
    ax.plot(x, np.maximum(gap, 1e-16), color=FOUND, lw=1, label="GP-HM, Student's t")
    ax.set(yscale="log", xlim=(0, grid[0][-1]), xlabel="x", ylabel="|error|")
    ax.set_title(SPECTRA[name], fontsize=9)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def main() -> None:
    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    spectra([figure.add_subplot(grid[0, i]) for i in range(3)])
    errors(figure.add_subplot(grid[1, :]))
    figure.savefig(PATH, dpi=110)
    print(PATH)


if __name__ == "__main__":
    main()
