"""Draw the figures of docs/papers/deis.md: `python tools/deis_figures.py`, about a minute.

They are made again from the claims' own functions: perfect networks on mixtures, DDPM's schedule.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from paperworks.claims.deis import CONTENDERS, OURS, Setting, build, run
from paperworks.diffusion.integrators import SOLVERS
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.timesteps import spaced

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
INK, RED = "#808080", "#d1495b"  # a grey that can be read on light and dark
OTHERS = ("#3d85c6", "#e69f00", "#2a9d6f", "#9b72cf", "#56b4e9", "#b5835a", "#7f8c8d", "#c27ba0")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deis",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
SEEDS, COUNT, BUDGETS = range(5), 64, (5, 6, 8, 10, 12, 15, 20, 30, 40)
FAMILY = ("tab0", "tab1", "tab2", "tab3", "rhoab3", "ipndm", "rho-heun", "rho-kutta3", "rho-rk4")
Method = Callable[[Any, DiscreteVP, Tensor, int], Tensor]


def errors(data: str, methods: dict[str, Method]) -> dict[str, list[float]]:
    """By method and number of evaluations, the geometric mean over the seeds."""
    schedule = DiscreteVP.linear()
    logs = {label: np.zeros(len(BUDGETS)) for label in methods}
    for seed in SEEDS:
        mixture = build(data, seed)
        generator = torch.Generator().manual_seed(seed + 1000)
        x = torch.randn(COUNT, mixture.dim, generator=generator, dtype=torch.float64)
        exact = mixture.flow(x, schedule, schedule.t_max, schedule.t_min)
        for label, method in methods.items():
            for i, budget in enumerate(BUDGETS):
                found = method(mixture.model(schedule), schedule, x, budget)
                logs[label][i] += float((found - exact).abs().mean().log()) / len(SEEDS)
    return {label: np.exp(each).tolist() for label, each in logs.items()}


def family(name: str) -> Method:
    """A solver of the paper, with as many evaluations or as few less as make whole steps."""
    solver = SOLVERS[name]

    def method(model: Any, schedule: DiscreteVP, x: Tensor, budget: int) -> Tensor:
        return sample(model, schedule, x, solver=solver, steps=budget // solver.stages).x

    return method


def contender(label: str, spacing: str) -> Method:
    """A contender of the claims."""
    return lambda model, schedule, x, budget: run(
        label, model, schedule, x, budget, Setting(spacing)
    )


def draw_errors(axes: Any, found: dict[str, list[float]], ours: str) -> None:
    colors: Iterable[str] = iter(OTHERS)
    for label, values in found.items():
        color = RED if label == ours else next(iter(colors))
        front = {"lw": 2.4, "zorder": 3} if label == ours else {"lw": 1.2}
        axes.plot(BUDGETS, values, "o-", ms=3, color=color, label=label, **front)
    axes.set(xscale="log", yscale="log", xlabel="evaluations of the network")
    axes.set_xticks((5, 10, 20, 40), ("5", "10", "20", "40"))
    axes.minorticks_off()
    axes.set_ylim(top=1.0)  # above, nothing is left of the data


def error_figure() -> Figure:
    """Both mixtures: the contenders of the claims at two spacings, and the paper's solvers."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = figure.subplots(2, 3, sharey="row")
    for row, data in zip(rows, ("ring", "random-16"), strict=True):
        for axes, spacing in zip(row, ("quadratic", "logrho"), strict=False):
            methods = {label: contender(label, spacing) for label in (OURS, *CONTENDERS)}
            draw_errors(axes, errors(data, methods), OURS)
            axes.set_title(f"{data}, {spacing} times")
        draw_errors(row[2], errors(data, {name: family(name) for name in FAMILY}), "tab3")
        row[2].set_title(f"{data}, the paper's solvers")
        row[0].set_ylabel("mean difference from the exact flow")
    for column, axes in enumerate(rows[0]):
        if column != 1:
            axes.legend(fontsize=7)
    return figure


def trajectory_figure() -> Figure:
    """Ten evaluations on the ring, from the same noise."""
    mixture, schedule = GaussianMixture.ring(8), DiscreteVP.linear()
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = mixture.model(schedule)
    exact, now = [x], x
    fine = spaced(schedule, 60, "uniform")
    for t, to in pairwise(fine):
        now = mixture.flow(now, schedule, t, to)
        exact.append(now)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (title, solver) in zip(
        panels,
        {"DDIM": "ddim", "tAB-DEIS 3": "tab3", "Heun in rho": "rho-heun"}.items(),
        strict=True,
    ):
        along = [x]
        steps = 10 // SOLVERS[solver].stages
        sample(
            model, schedule, x, solver=solver, steps=steps,
            progress=lambda _, __, x, along=along: along.append(x),  # type: ignore[misc]
        )  # fmt: skip
        for path, style in (
            (exact, {"color": INK, "lw": 2.5, "alpha": 0.5}),
            (along, {"color": RED, "marker": ".", "ms": 4, "lw": 0.8}),
        ):
            lines = torch.stack(path).numpy()
            axes.plot(lines[..., 0], lines[..., 1], **style)
        for mean in mixture.means.numpy():
            axes.add_patch(Circle(mean, 0.1, color=INK, alpha=0.25, lw=0))
        gap = float((along[-1] - exact[-1]).abs().mean())
        axes.set_title(f"{title}: mean difference {gap:.3f}")
        axes.set_aspect("equal")
        axes.plot([], [], color=INK, lw=2.5, alpha=0.5, label="exact flow")
        axes.plot([], [], ".-", color=RED, label="10 evaluations")
    panels[0].legend(fontsize=7, loc="upper left")
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    mpl.rcParams.update(STYLE)
    for name, make in {"trajectories": trajectory_figure, "error": error_figure}.items():
        drawn = io.StringIO()
        make().savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
        target = FOLDER / f"deis-{name}.svg"
        target.write_text(re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue()), encoding="utf-8")
        print(target)
