"""Draw the figures of docs/papers/usf.md: `python tools/usf_figures.py`, some minutes.

They are made again from the claims' own functions: perfect networks on mixtures, DDPM's schedule.
"""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from deis_figures import INK, OTHERS, RED, STYLE
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from paperworks.claims.usf import OURS, ROUNDS, STRATEGIES, Bed, ImageBed, best_by_hand, searches
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.timesteps import SPACINGS, spaced
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.presets import BY_HAND, by_hand
from paperworks.diffusion.usf.search import search_schedule
from paperworks.diffusion.usf.solver import USFSolver

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
SEEDS, STEPS, BUDGET = range(2), (3, 4, 5, 6, 8, 10), 120
SHOWN = ("DDIM", "DEIS (t, order 4)", "DPM-Solver++ 2M", "DPM-Solver++ 3M", "UniPC 2", "UniPC 3")


def errors(data: str) -> tuple[dict[str, list[float]], dict[int, Decisions]]:
    """By solver and number of evaluations: the geometric mean over seeds of the mean difference
    from the flow, on noise that neither search nor choice of spacing saw; and what was found.
    """
    logs = {label: np.zeros(len(STEPS)) for label in ("found by S3", *SHOWN)}
    kept = {}
    for seed in SEEDS:
        bed = Bed(data, seed)
        objective = bed.objective(32, seed + 1000)
        x = bed.noise(128, seed + 2000)
        exact = bed.exact(x)
        for column, steps in enumerate(STEPS):
            chosen = {
                name: min(
                    (make(spaced(bed.schedule, steps, each)) for each in SPACINGS), key=objective
                )
                for name, make in BY_HAND.items()
                if name in SHOWN
            }
            found = search_schedule(
                objective, bed.schedule, steps, budget=BUDGET, seed=seed, **ROUNDS
            ).decisions
            kept.setdefault(steps, found)
            for label, decisions in {"found by S3": found, **chosen}.items():
                gap = (bed.samples(decisions, x) - exact).abs().mean()
                logs[label][column] += float(gap.log()) / len(SEEDS)
    return {label: np.exp(each).tolist() for label, each in logs.items()}, kept


def error_figure(found: dict[str, dict[str, list[float]]]) -> Figure:
    """Error against evaluations: every solver at the best of its spacings, and what was found."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, (data, lines) in zip(figure.subplots(1, 2), found.items(), strict=True):
        for color, (label, values) in zip((RED, *OTHERS), lines.items(), strict=False):
            front = {"lw": 2.4, "zorder": 3} if color == RED else {"lw": 1.2}
            axes.plot(STEPS, values, "o-", ms=3, color=color, label=label, **front)
        axes.set(xscale="log", yscale="log", xlabel="evaluations of the network", title=data)
        axes.set_xticks(STEPS, [str(each) for each in STEPS])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("mean difference from the exact flow")
    figure.axes[0].legend(fontsize=7)
    return figure


def draw_schedule(axes: Any, bed: Bed, decisions: Decisions, title: str) -> None:
    """A row for each choice, a column for each step, as wide as it is in log(alpha / sigma)."""
    place = 0.5 * bed.schedule.log_snr(decisions.times)
    shades = {"noise": OTHERS[0], "data": OTHERS[1]}
    rows = ("order", "expands", "derivatives", "scaling", "corrector")
    for index, step in enumerate(decisions.steps):
        left, width = place[index], place[index + 1] - place[index]
        taylor = step.estimate == "taylor"
        low = step.points and len(step.points[0]) < step.order - 1
        words = (
            str(step.order),
            step.prediction if step.order > 1 or step.corrector else "",
            "" if step.order == 1 and not step.corrector
            else ("Taylor" + (", low" if low else "")) if taylor
            else step.estimate.replace("adams-", "Adams "),
            "" if not taylor or step.scaling == "none" or step.order == 1
            else str(step.scaling) if isinstance(step.scaling, str) else f"{step.scaling:+g} h",
            "yes" if step.corrector else "",
        )  # fmt: skip
        for row, word in enumerate(words):
            shade = shades[step.prediction] if row == 1 and word else INK
            strength = 0.1 * step.order if row == 0 else 0.25 if word else 0.05
            axes.add_patch(
                Rectangle((left, -row - 0.45), width, 0.9, color=shade, alpha=strength, lw=0)
            )
            axes.text(left + width / 2, -row, word, ha="center", va="center", fontsize=7.5)
        axes.axvline(left, color=INK, lw=0.6)
        axes.text(left, 0.6, f"{decisions.times[index]:g}", ha="center", fontsize=7.5)
    axes.text(place[-1], 0.6, f"{decisions.times[-1]:g}", ha="center", fontsize=7.5)
    axes.set(xlim=(place[0], place[-1]), ylim=(-len(rows) + 0.5, 0.55))
    axes.set_yticks(-np.arange(len(rows)), rows)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=9, pad=14)


def schedule_figure(panels: list[tuple[Bed, Decisions, str]]) -> Figure:
    """What schedules decide."""
    figure = Figure(figsize=(10, 2.3 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1)
    for axes, panel in zip(rows, panels, strict=True):
        draw_schedule(axes, *panel)
    rows[-1].set_xlabel("log(alpha / sigma), from noise to data; above each step its time")
    return figure


def trajectory_figure(panels: list[tuple[str, Decisions]], bed: Bed) -> Figure:
    """Five evaluations on the ring, from the same noise."""
    x = bed.noise(12, 0)
    exact = bed.exact(x)
    fine, now = [x], x
    times = spaced(bed.schedule, 60, "uniform")
    for t, to in itertools.pairwise(times):
        now = bed.mixture.flow(now, bed.schedule, t, to)
        fine.append(now)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (title, decisions) in zip(
        figure.subplots(1, len(panels), sharex=True, sharey=True), panels, strict=True
    ):
        along: list[Tensor] = [x]
        sample(
            bed.model, bed.schedule, x, solver=USFSolver(decisions), times=decisions.times,
            progress=lambda _, __, x, along=along: along.append(x),  # type: ignore[misc]
        )  # fmt: skip
        for path, style in (
            (fine, {"color": INK, "lw": 2.5, "alpha": 0.5}),
            (along, {"color": RED, "marker": ".", "ms": 4, "lw": 0.8}),
        ):
            lines = torch.stack(path).numpy()
            axes.plot(lines[..., 0], lines[..., 1], **style)
        for mean in bed.mixture.means.numpy():
            axes.add_patch(Circle(mean, 0.1, color=INK, alpha=0.25, lw=0))
        gap = float((along[-1] - exact).abs().mean())
        axes.set_title(f"{title}: mean difference {gap:.3f}")
        axes.set_aspect("equal")
        axes.plot([], [], color=INK, lw=2.5, alpha=0.5, label="exact flow")
        axes.plot([], [], ".-", color=RED, label=f"{len(decisions)} evaluations")
    figure.axes[0].legend(fontsize=7, loc="upper left")
    return figure


def search_figure() -> Figure:
    """The best score so far: of every seed, and the geometric mean."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, data in zip(figure.subplots(1, 2), ("ring", "random-16"), strict=True):
        curves = [
            curve
            for seed in SEEDS
            for rival in STRATEGIES
            if rival != OURS
            for curve in searches(
                seed=seed, device="cpu", rival=rival, data=data, evaluations=8, budget=BUDGET,
                seen=32, **ROUNDS,
            ).curves
        ]  # fmt: skip
        for color, label in zip((RED, *OTHERS), STRATEGIES, strict=False):
            lines = np.array([curve.y for curve in curves if curve.label == label])
            x = range(1, BUDGET + 1)
            axes.plot(x, lines.T, color=color, lw=0.6, alpha=0.5)
            axes.plot(x, np.exp(np.log(lines).mean(0)), color=color, lw=2, label=label)
        axes.axvline(ROUNDS["population"], color=INK, lw=0.8, ls=":")
        axes.set(yscale="log", xlabel="evaluated schedules of 8 steps", title=data)
    figure.axes[0].set_ylabel("error of the best so far")
    figure.axes[0].legend(fontsize=7)
    return figure


def samples_figure() -> Figure:
    """Digits of five evaluations from the same noise: by hand, found, and the network's flow."""
    bed, steps, budget = ImageBed("digits"), 5, 200
    objective = bed.objective(16, 1000)
    found = search_schedule(objective, bed.schedule, steps, budget=budget, seed=0, **ROUNDS)
    rows = {
        "DDIM": BY_HAND["DDIM"](spaced(bed.schedule, steps)),
        "best by hand": best_by_hand(bed, found, steps),
        "found by S3": found.decisions,
    }
    x = bed.noise(16, 2000)
    exact = bed.exact(x)
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    made = {f"{name}, 5": bed.samples(each, x) for name, each in rows.items()}
    made["tab3, 100"] = exact
    for axes, (name, images) in zip(figure.subplots(4, 1), made.items(), strict=True):
        axes.imshow(torch.cat(list(images.clamp(-1, 1)[:, 0]), 1), cmap="gray", vmin=-1, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        print(f"digits {name}: {float((images - exact).abs().mean()):.4f} from the flow")
    return figure


def main() -> None:
    """Search, print the numbers and draw."""
    torch.set_num_threads(1)
    mpl.rcParams.update({**STYLE, "svg.hashsalt": "usf"})
    lines, kept = {}, {}
    for data in ("ring", "random-16"):
        lines[data], kept[data] = errors(data)
        for label, values in lines[data].items():
            print(data, label, *(f"{value:.2g}" for value in values))
    ring, other = Bed("ring", 0), Bed("random-16", 0)
    objective = ring.objective(32, 1000)
    figures = {
        "error": error_figure(lines),
        "schedule": schedule_figure(
            [
                (ring, BY_HAND["UniPC 3"](spaced(ring.schedule, 8, "logrho")), "UniPC 3, by hand"),
                (ring, kept["ring"][8], "found for the ring"),
                (other, kept["random-16"][8], "found for 10 Gaussians in 16 dimensions"),
            ]
        ),
        "trajectories": trajectory_figure(
            [
                ("DDIM", BY_HAND["DDIM"](spaced(ring.schedule, 5))),
                ("best by hand", min(by_hand(ring.schedule, 5).values(), key=objective)),
                ("found by S3", kept["ring"][5]),
            ],
            ring,
        ),
        "search": search_figure(),
    }
    for name, figure in figures.items():
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
        target = FOLDER / f"usf-{name}.svg"
        target.write_text(re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue()), encoding="utf-8")
        print(target)
    target = FOLDER / "usf-samples.png"
    samples_figure().savefig(target, dpi=110, transparent=True, metadata={"Software": None})
    print(target)


if __name__ == "__main__":
    main()
