"""The report of one compression as a page that stands alone."""

from __future__ import annotations

from math import sqrt
from typing import Any

from markupsafe import Markup

import paperworks
from paperworks.data.files import human_size
from paperworks.report.render import environment

_WIDTH, _HEIGHT = 100.0, 20.0


def render_compression(report: dict[str, Any]) -> str:
    """The report of :func:`paperworks.compression.pipeline.compress` as one HTML page."""
    templates = environment()
    templates.filters |= {"size": human_size, "histogram": _histogram}
    return templates.get_template("compression.html").render(
        report=report, version=paperworks.__version__
    )


def _histogram(layer: dict[str, Any]) -> Markup:
    """Bars at the levels; a level that is there twice (two zeros) has one bar."""
    heights: dict[float, float] = {}
    for level, count in zip(layer["levels"], layer["counts"], strict=True):
        heights[level] = heights.get(level, 0) + count
    top = max(abs(level) for level in heights) or 1.0
    tallest = sqrt(max(heights.values())) or 1.0
    width = min(_WIDTH / len(heights) * 0.8, 4.0)
    bars = []
    for level, count in heights.items():
        height = _HEIGHT * sqrt(count) / tallest
        x = (level / top + 1) / 2 * (_WIDTH - width)
        bars.append(
            f'<rect x="{x:.2f}" y="{_HEIGHT - height:.2f}" width="{width:.2f}" '
            f'height="{height:.2f}"/>'
        )
    label = f"histogram of the weights of {layer['name']}"
    return Markup(
        '<svg viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("".join(bars)))
