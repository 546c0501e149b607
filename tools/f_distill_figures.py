"""Draw the figures of docs/papers/f-distill.md: `python tools/f_distill_figures.py [name ...]`.

"weights" and "ellipses" take seconds. "points", "digits" and "mnist" show the students of the
claims' full tier, and take none where that was run; without, they train them, half an hour of one
core each. All are made from the claims' own functions, and print the numbers that the page gives.
"""

from __future__ import annotations

import io
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from paperworks.claims._kept import kept
from paperworks.claims._students import (
    build,
    digits_or_mnist,
    ellipse,
    point_trainer,
    points_student,
    recall,
    scattered,
    shares,
)
from paperworks.claims.f_distill import (
    DMD2,
    STUDENTS,
    TEACHER,
    real_features,
    weight_variance,
)
from paperworks.diffusion.f_distill.divergences import DIVERGENCES

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
INK = "#808080"  # a grey that can be read on light and dark
COLORS = {
    "reverse-kl": "#3d85c6",
    "js": "#d1495b",
    "forward-kl": "#e69f00",
    "softened-reverse-kl": "#56b4e9",
    "squared-hellinger": "#9b72cf",
    "jeffreys": "#2a9d6f",
    "softened-forward-kl": "#b5835a",
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "f-distill",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
SEEDS, UPDATES = range(5), 2000


def weights() -> Figure:
    """h of r, and how much the weights vary between two Gaussians."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    log_ratio = torch.linspace(np.log(1e-2), np.log(1e2), 200, dtype=torch.float64)
    gaps = np.linspace(0.05, 3, 60)
    for name, row in DIVERGENCES.items():
        style = {
            "color": COLORS[name],
            "label": name,
            "lw": 2.2 if name in STUDENTS.values() else 1,
        }
        left.plot(log_ratio.exp(), row.weight(log_ratio), **style)
        if name != "reverse-kl":
            right.plot(gaps, [weight_variance(name, gap) for gap in gaps], **style)
    left.set(xscale="log", yscale="log", xlabel="r = p / q", ylabel="h(r)", ylim=(5e-3, 2e2))
    right.set(
        yscale="log", ylim=(1e-3, 1e4), xlabel="distance of the means of two unit Gaussians",
        ylabel="variance of h / squared mean",
    )  # fmt: skip
    left.legend(fontsize=7)
    for gap in (0.5, 1.0, 2.0):
        figures = {name: round(weight_variance(name, gap), 3) for name in DIVERGENCES}
        print(f"variance at {gap}: {figures}")
    return figure


def ellipses() -> Figure:
    """Where students that can be one Gaussian only end, at little noise."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    turn = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
    circle = torch.stack([turn.cos(), turn.sin()], 1) * (-2 * np.log(0.01)) ** 0.5
    for axes, seed in zip(figure.subplots(1, 4), range(4), strict=True):
        points = scattered(seed).sample(800, torch.Generator().manual_seed(0))
        axes.scatter(*points.T.numpy(), s=1, color=INK, alpha=0.5)
        for label, divergence in STUDENTS.items():
            student = ellipse(divergence, seed, 200)
            edge = student.mean.detach() + circle @ student.root.detach().T
            axes.plot(*edge.T.numpy(), color=COLORS[divergence], label=label)
        axes.set(title=f"seed {seed}", aspect="equal", xticks=[], yticks=[])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def points() -> Figure:
    """Where the students of points end, what they cover along the way, and how weights vary: those
    of the claims' full tier.
    """
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    row, curves = top.subplots(1, 5, sharex=True, sharey=True), bottom.subplots(1, 2)
    mixture, rng = build("uneven"), torch.Generator()
    seen = {
        "teacher": mixture.sample(1500, rng.manual_seed(0)),
        "start": point_trainer("uneven", "js", 0).sample(1500, rng.manual_seed(0)),
    }
    for label, divergence in STUDENTS.items():
        found = [
            kept(points_student, data="uneven", divergence=divergence, seed=seed, steps=UPDATES)
            for seed in SEEDS
        ]
        for seed, each in zip(SEEDS, found, strict=True):
            hit = int((shares(mixture, each["points"]) > 0.25 * mixture.weights).sum())
            print(f"uneven {label} seed {seed}: covers {each['covered'][-1]:.3f}, {hit} modes")
        seen[label] = found[0]["points"][:1500]
        color, x = COLORS[divergence], found[0]["steps"]
        along = [each["covered"] for each in found]
        curves[0].plot(x, np.median(along, 0), color=color, label=label)
        curves[0].fill_between(x, np.min(along, 0), np.max(along, 0), color=color, alpha=0.15, lw=0)
        if label != DMD2:
            varied = np.median([each["variance"] for each in found], 0)
            curves[1].plot(x[1:], varied[1:], color=color, label=label)
    for axes, (label, made) in zip(row, seen.items(), strict=True):
        color = COLORS.get(STUDENTS.get(label, ""), INK)
        axes.scatter(*made.T.numpy(), s=1, color=color, alpha=0.4)
        axes.set(title=label, aspect="equal", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
        axes.set(xticks=[], yticks=[])
    curves[0].set(xlabel="updates of the student", title="share of the teacher's mass covered")
    curves[0].legend(fontsize=7)
    curves[1].set(xlabel="updates of the student", title="variance of the weights", ylim=(0, None))
    return figure


def grids(**work: Any) -> Figure:
    """Of one-step images, and of the teacher's in 35 evaluations: the claims' own."""
    from paperworks.diffusion.frechet import frechet_distance

    real = real_features(work["data"], work["count"])
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    makers = {TEACHER: "", **STUDENTS}
    for axes, (label, divergence) in zip(figure.subplots(1, 4), makers.items(), strict=True):
        made = kept(digits_or_mnist, divergence=divergence, seed=0, device="cpu", **work)
        distance, found = (each(real, made["features"]) for each in (frechet_distance, recall))
        print(f"{work['data']} {label}: distance {distance:.3f}, recall {found:.3f}")
        axes.imshow(_grid(made["images"]), cmap="gray", vmin=-1, vmax=1)
        axes.set_title(f"{label}\ndistance {distance:.2f}, recall {found:.2f}", fontsize=9)
        axes.axis("off")
    return figure


def _grid(images: Tensor) -> Tensor:
    """64 images of one channel, in eight rows, with a line between."""
    images = torch.nn.functional.pad(images, (1, 1, 1, 1), value=0.0)
    size = images.shape[-1]
    return images.reshape(8, 8, size, size).permute(0, 2, 1, 3).reshape(8 * size, 8 * size)


FIGURES: dict[str, tuple[Any, str]] = {
    "weights": (weights, "svg"),
    "ellipses": (ellipses, "png"),
    "points": (points, "png"),
    "digits": (partial(grids, data="digits", steps=1000, batch=32, count=1437), "png"),
    "mnist": (partial(grids, data="mnist", steps=300, batch=16, count=5000), "png"),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    mpl.rcParams.update(STYLE)
    for name in sys.argv[1:] or FIGURES:
        make, kind = FIGURES[name]
        target = FOLDER / f"f-distill-{name}.{kind}"
        if kind == "png":
            make().savefig(target, dpi=110, transparent=True, metadata={"Software": None})
        else:
            drawn = io.StringIO()
            make().savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
            text = re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue())
            target.write_text(text, encoding="utf-8")
        print(target)
