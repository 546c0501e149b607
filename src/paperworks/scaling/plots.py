"""Pictures of what this family fits. Each function gives a matplotlib figure, to save or change.

No display is needed and no global state is touched: the figures do not belong to ``pyplot``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from paperworks.scaling.concept_frequency.trend import LogLinearTrend
    from paperworks.scaling.fitting import LawFit
    from paperworks.scaling.learning_curves.curve import LearningCurve
    from paperworks.scaling.learning_curves.results import DataNeeded
    from paperworks.scaling.recipe.log import RunLog
    from paperworks.scaling.recipe.recipe import Recipe
    from paperworks.scaling.repeated_sampling.coverage import Coverage
    from paperworks.scaling.repeated_sampling.law import CoverageLaw


def coverage_curve(
    curve: Coverage, *, marked: Coverage | None = None, law: CoverageLaw | None = None
) -> Figure:
    """Coverage against samples per problem, and the law up to ten times as many.

    Parameters
    ----------
    curve : Coverage
        At as many k as are to be drawn, as of ``coverage(n, c, log_spaced(n.min()))``.
    marked : Coverage, optional
        At the k that get a dot.
    law : CoverageLaw, optional
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(curve.k, curve.low, curve.high, alpha=0.2, color="C0", linewidth=0)
    axes.plot(curve.k, curve.coverage, color="C0", label="measured")
    if marked is not None:
        axes.plot(marked.k, marked.coverage, "o", color="C0")
    if law is not None:
        far = np.geomspace(1, 10 * curve.k[-1], 200)
        ahead = law.predict(far, confidence=curve.confidence)
        axes.plot(far, ahead.coverage, "--", color="C1", label="law: exp(a k^b)")
        axes.fill_between(far, ahead.low, ahead.high, alpha=0.15, color="C1", linewidth=0)
    axes.set(xscale="log", xlabel="samples per problem, k", ylabel="coverage", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


def recipe(
    log: RunLog,
    found: Recipe,
    *,
    ahead: Sequence[Mapping[str, float]] = (),
    from_step: float = 1,
) -> Figure:
    """Runs under the law, curves of runs to come, and the critical batch over the loss.

    Parameters
    ----------
    log : RunLog
        The runs that the recipe was estimated from.
    found : Recipe
    ahead : sequence of mappings
        Curves to predict: N parameters, a batch of B tokens, S steps.
    from_step : float
        The first step that is drawn.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    parts = log.parts()
    paint = colormaps["viridis"](np.linspace(0, 0.9, len(parts)))
    for (name, part), colour in zip(parts.items(), paint, strict=True):
        steps = np.geomspace(max(from_step, part.S[0]), part.S[-1], 60)
        left.plot(part.S, part.loss, ".", color=colour, markersize=4)
        left.plot(
            steps, found.law.loss(part.N[0], steps, part.B[0]), color=colour, linewidth=1,
            label=name if len(parts) <= 12 else None,
        )  # fmt: skip
    for point in ahead:
        first = min(max(from_step, log.S.min()), point["S"])
        steps = np.geomspace(first, point["S"], 80)
        said = found.predict_curve(point["N"], point["B"], steps)
        left.fill_between(steps, said.low, said.high, color="C3", alpha=0.2, linewidth=0)
        label = f"N = {point['N']:.3g}, B = {point['B']:.3g}"
        left.plot(steps, said.value, "--", color="C3", label=label)
    left.set(xscale="log", yscale="log", xlabel="step", ylabel="loss", title="runs and the law")
    left.legend(fontsize=7)
    loss = np.geomspace(log.loss.min(), log.loss.max(), 60)
    batch = found.critical_batch(loss)
    right.fill_between(loss, batch.low, batch.high, alpha=0.2, linewidth=0)
    right.plot(loss, batch.value, label="B_crit = B_star / L^(1/alpha_B)")
    levels = [(e.loss, e.critical_batch) for e in found.critical.levels]
    shown = np.array([pair for pair in levels if 0 < pair[1] < np.inf]).reshape(-1, 2)
    right.plot(shown[:, 0], shown[:, 1], "o", markersize=4, label="one loss alone")
    right.set(
        xscale="log", yscale="log", xlabel="loss", ylabel="tokens", title="the critical batch"
    )
    right.set_xlim(loss[-1], loss[0])  # training runs from left to right
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    return figure


def law_fit(
    found: LawFit, *, points: Sequence[Mapping[str, float]] = (), y: str = "loss"
) -> Figure:
    """Runs and law over the first variable; of two, the second is the colour.

    Parameters
    ----------
    found : LawFit
    points : sequence of mappings
        Runs to come, by the law's variables: each is drawn with its interval.
    y : str
        What was measured, for the axis.
    """
    names, x = found.law.variables, np.exp(found.logx)
    ahead = np.array([[point[name] for name in names] for point in points]).reshape(-1, len(names))
    every = np.concatenate([x, ahead])
    grid = np.geomspace(every[:, 0].min(), every[:, 0].max(), 200)
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    if len(names) == 1:
        said = found.predict({names[0]: grid})
        axes.fill_between(grid, said.low, said.high, alpha=0.2, color="C1", linewidth=0)
        axes.plot(grid, said.value, color="C1", label=found.law.formula.replace("y =", f"{y} ="))
        axes.plot(x[:, 0], found.y, "o", color="C0", markersize=4, label="runs")
        colours = ["C3"] * len(ahead)
    else:
        shade = LogNorm(every[:, 1].min(), every[:, 1].max())
        paint = colormaps["viridis"]
        for level in np.geomspace(every[:, 1].min(), every[:, 1].max(), 5):
            said = found.predict({names[0]: grid, names[1]: level})
            axes.plot(grid, said.value, color=paint(shade(level)), linewidth=1)
        dots = axes.scatter(
            x[:, 0], found.y, c=x[:, 1], norm=shade, cmap="viridis", s=16, label="runs"
        )
        figure.colorbar(dots, ax=axes, label=names[1])
        axes.set_title(found.law.formula.replace("y =", f"{y} ="), fontsize=9)
        colours = [paint(shade(each[1])) for each in ahead]
    for point, row, colour in zip(points, ahead, colours, strict=True):
        said = found.predict(point, new_run=True)
        reach = [[said.value - said.low], [said.high - said.value]]
        axes.errorbar(row[0], said.value, reach, fmt="D", color=colour, capsize=4)
    axes.set(xscale="log", xlabel=names[0], ylabel=y)
    if found.space == "log":
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="best")
    return figure


def learning_curves(
    curves: Mapping[str, LearningCurve],
    *,
    needs: Mapping[str, Sequence[DataNeeded]] | None = None,
    unit: str = "size",
) -> Figure:
    """Error against data with each curve's band; of one alone, its regions too.

    Parameters
    ----------
    curves : mapping of str to LearningCurve
        By the learner's name, which may be empty for one alone.
    needs : mapping of str to sequences of DataNeeded, optional
        Of the same names: what was asked of a curve, drawn where it is reached.
    unit : str
        What sizes are, for the axis.
    """
    needs = needs or {}
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for at, (name, curve) in enumerate(curves.items()):
        colour = f"C{at % 10}"
        reach = [need.size for need in needs.get(name, ()) if need.reachable and need.size > 0]
        low, high = curve.size.min(), max(curve.size.max() * 4, *(1.3 * x for x in reach), 1e-300)
        grid = np.geomspace(low / 1.3, high, 300)
        said = curve.predict(grid)
        axes.fill_between(grid, said.low, said.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(grid, said.value, color=colour, label=name or str(curve.shape))
        axes.plot(curve.size, curve.error, "o", color=colour, markersize=4)
        for need in needs.get(name, ()):
            if need.reachable and need.size > 0:
                axes.plot(need.size, need.target, "D", color=colour, markeredgecolor="black")
        if len(curves) == 1:
            _draw_regions(axes, curve, grid)
    axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="error")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="best", fontsize=8)
    return figure


def _draw_regions(axes: Any, curve: LearningCurve, grid: Any) -> None:
    regions = curve.regions
    borders = [
        (border, word)
        for border, word in (
            (regions.small_data_to, "small-data region"),
            (regions.irreducible_from, "irreducible region"),
        )
        if grid[0] < border.size < grid[-1]
    ]
    for border, word in borders:
        axes.axvline(border.size, color="0.4", linestyle=":", linewidth=1)
        axes.axvspan(
            max(border.low, grid[0]),
            min(border.high, grid[-1]),
            color="0.5",
            alpha=0.08,
            linewidth=0,
        )
        left = word.startswith("small")
        axes.annotate(
            f"{word} " if left else f" {word}",
            (border.size, 0.02),
            xycoords=("data", "axes fraction"),
            ha="right" if left else "left",
            fontsize=8,
            color="0.3",
        )


def concept_trend(frequency: ArrayLike, accuracy: ArrayLike, trend: LogLinearTrend) -> Figure:
    """Accuracy of each concept over its frequency, and the line with its band.

    Parameters
    ----------
    frequency, accuracy : (concepts,) numbers
        What the line was fitted to.
    trend : LogLinearTrend
    """
    f, y = np.asarray(frequency, dtype=float), np.asarray(accuracy, dtype=float)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(f[f > 0], y[f > 0], ".", alpha=0.35, color="C0", label="concepts")
    band = trend.predict(np.geomspace(f[f > 0].min(), f.max(), 100))
    axes.plot(band.frequency, band.accuracy, color="C1", label="fitted line")
    axes.fill_between(band.frequency, band.low, band.high, color="C1", alpha=0.25, linewidth=0)
    axes.set(xscale="log", xlabel="frequency of the concept", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure
