"""Draw the pictures of docs/papers/scaling-law-estimation.md from the shipped runs.

python tools/recipe_figures.py docs/papers
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from paperworks.claims import scaling_law_estimation as claim
from paperworks.scaling import estimate_recipe

SEEDS = range(5)
LABELS = (claim.NAMES["stepwise"], claim.CARRIED, claim.EACH_STEP, claim.CHINCHILLA)


def curves(path: Path) -> None:
    """Left: the runs of one seed, the law, and the large model. Right: errors of all seeds."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = claim.table(0)
    log = claim.small_log(rows)
    recipe = estimate_recipe(log, from_step=claim.FROM_STEP)
    parts = log.parts()
    shade = colormaps["viridis"](np.linspace(0, 0.9, len(parts)))
    for (name, part), colour in zip(parts.items(), shade, strict=True):
        grid = np.geomspace(claim.FROM_STEP, part.S[-1], 60)
        left.plot(part.S, part.loss, ".", color=colour, markersize=4)
        left.plot(grid, recipe.law.loss(part.N[0], grid, part.B[0]), color=colour, label=name)
    steps, measured = claim.target_curve(rows)
    said = recipe.predict_curve(claim.TARGET.size, claim.TARGET.batch, steps)
    left.fill_between(steps, said.low, said.high, color="C3", alpha=0.2, linewidth=0)
    left.plot(steps, said.value, "--", color="C3", label=f"{claim.TARGET.name}, predicted")
    left.plot(
        steps, measured, "o", color="C3", markersize=4, label=f"{claim.TARGET.name}, measured"
    )
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="loss, nats per character")
    left.legend(fontsize=7)
    for i, label in enumerate(LABELS):
        errors = []
        for seed in SEEDS:
            result = claim.compare(claim.table(seed))
            found = {curve.label: np.array(curve.y) for curve in result.curves}
            errors.append(100 * np.log(found[label] / found["measured"]))
        middle = np.median(errors, 0)
        right.plot(steps, middle, color=f"C{i}", label=label)
        right.fill_between(
            steps, np.min(errors, 0), np.max(errors, 0), color=f"C{i}", alpha=0.15, linewidth=0
        )
    right.axhline(0, color="black", linewidth=0.8)
    right.set(xscale="log", xlabel="step", ylabel="predicted less measured, per cent of the loss")
    right.legend(fontsize=7)
    left.set_yticks([2, 3], minor=False)
    left.set_yticks([1.8, 2.2, 2.5], minor=True)
    left.yaxis.set_minor_formatter("{x:g}")
    left.yaxis.set_major_formatter("{x:g}")
    right.set_xticks([50, 100, 200, 500])
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.set_minor_formatter("")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path)


if __name__ == "__main__":
    curves(Path(sys.argv[1]) / "scaling-law-estimation-curves.svg")
