"""Figures as inline SVG: the effects with their intervals, and the curves of the trials.

Text and axes take the colour of the page around them, so that one figure serves light and dark.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from paperworks.experiment.claim import Curve
from paperworks.experiment.verdict import unit_effects
from paperworks.report.entries import Entry

_INK = "#010203"  # stands for the page's own text colour, and is replaced by it
_OURS = "#d1495b"
_OTHERS = ("#3d85c6", "#e69f00", "#2a9d6f", "#9b72cf", "#7f8c8d", "#b5835a")
_PANELS = 4  # curves of at most so many pieces of work are drawn

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}


def figures(entry: Entry) -> list[str]:
    """The figures of one entry, as SVG elements. None for an entry that has no results."""
    if not entry.verdict.comparisons:
        return []
    drawn = [_effects(entry)]
    if entry.claim.axes is not None:
        drawn += [_curves(entry, work, curves) for work, curves in _by_work(entry)[:_PANELS]]
    return drawn


def _effects(entry: Entry) -> str:
    """Every repeat's effect against each contender, the mean, its interval, and both thresholds."""
    claim, comparisons = entry.claim, entry.verdict.comparisons[::-1]
    ratio = claim.effect.scale == "ratio"
    results = {
        (key.work, key.seed): record.outcome.result
        for key, record in entry.trials
        if record.outcome.result is not None
    }

    def draw(axes: Any) -> None:
        for row, comparison in enumerate(comparisons):
            dots = unit_effects(claim, results, comparison.contender)
            dots = np.exp(dots) if ratio else dots
            axes.plot(dots, np.full(len(dots), row + 0.18), "|", color=_OURS, alpha=0.7, ms=7)
            axes.plot([comparison.low, comparison.high], [row, row], color=_OURS, lw=2.5)
            axes.plot(comparison.effect, row, "o", color=_OURS, ms=6)
        axes.axvline(claim.effect.parity, color=_INK, lw=1, label="parity")
        if claim.effect.at_least != claim.effect.parity:
            axes.axvline(
                claim.effect.at_least, color=_INK, lw=1, ls="--", label="what the paper needs"
            )
        if ratio:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(comparisons)), [f"vs {c.contender}" for c in comparisons])
        axes.set_ylim(-0.6, len(comparisons) - 0.3)
        axes.set_xlabel("times better" if ratio else f"better by ({claim.metric})")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    height = 1.5 + 0.4 * len(comparisons)
    return _svg(draw, f"{entry.command} effects", height, f"Effects of {claim.id}")


def _by_work(entry: Entry) -> list[tuple[str, list[Curve]]]:
    found: dict[str, list[Curve]] = {}
    for key, record in entry.trials:
        if record.outcome.result is not None and record.outcome.result.curves:
            found.setdefault(entry.label(key.work), []).extend(record.outcome.result.curves)
    return list(found.items())


def _curves(entry: Entry, work: str, curves: list[Curve]) -> str:
    """All seeds as thin lines; their median where the seeds share an x axis."""
    style = entry.claim.axes
    if style is None:
        raise ValueError(f"claim {entry.claim.id} returns curves but has no axes")

    def draw(axes: Any) -> None:
        others = iter(_OTHERS * len(curves))
        for label in dict.fromkeys(curve.label for curve in curves):
            lines = [curve for curve in curves if curve.label == label]
            color = _OURS if label == entry.claim.ours else next(others)
            shared = all(line.x == lines[0].x for line in lines)
            for line in lines:
                alone = len(lines) == 1
                axes.plot(line.x, line.y, color=color, lw=1.8 if alone else 0.7, alpha=0.8)
            if shared and len(lines) > 1:
                median = np.median([line.y for line in lines], axis=0)
                axes.plot(lines[0].x, median, color=color, lw=1.8)
            axes.plot([], [], color=color, label=label)
        axes.set(xlabel=style.x, ylabel=style.y, xscale=style.x_scale, yscale=style.y_scale)
        axes.set_title(work if work != "all" else "")
        axes.legend()

    return _svg(draw, f"{entry.command} {work}", 3.2, f"Curves of {entry.claim.id}, {work}")


def _svg(draw: Any, name: str, height: float, label: str) -> str:
    style: Any = {**_STYLE, "svg.hashsalt": name}  # a fixed salt makes the output reproducible
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.0, height), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'<svg[^>]*?width="[^"]*"', lambda m: m[0].rsplit(" width", 1)[0], svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # Several figures stand on one page: their ids must differ.
    prefix = hashlib.sha256(name.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{prefix}-", svg)
    title = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1).strip()
