"""Draw the figure of docs/papers/learning-curves.md: `python tools/learning_curves_figures.py`.

Left a generated curve with its three regions; right a published one, fitted to its first half and
extrapolated. Some seconds; nothing is downloaded.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from paperworks.claims.learning_curves import published
from paperworks.scaling import LearningCurve

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
INK, RED, BLUE, GREEN = "#808080", "#d1495b", "#3d85c6", "#2a9d6f"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "learning-curves",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
CURVE = ("BB", "('mult', '2-shot')", "262M")


def draw(axes: Any, curve: LearningCurve, grid: np.ndarray) -> None:
    said = curve.predict(grid)
    axes.fill_between(grid, said.low, said.high, color=RED, alpha=0.2, linewidth=0)
    axes.plot(grid, said.value, color=RED, linewidth=1.2, label=str(curve.shape))
    axes.plot(curve.size, curve.error, "o", color=BLUE, markersize=3.5, label="fitted")
    axes.set(xscale="log", yscale="log")


def generated(axes: Any) -> None:
    rng = np.random.default_rng(0)
    size = np.geomspace(50, 200_000, 14)
    error = (0.04 + 0.86 * (1 + size / 600) ** -0.55) * np.exp(0.03 * rng.standard_normal(14))
    curve = LearningCurve.fit(size, error, chance=0.9)
    draw(axes, curve, np.geomspace(30, 4e6, 300))
    regions = curve.regions
    for border in (regions.small_data_to, regions.irreducible_from):
        axes.axvline(border.size, color=INK, linestyle=":", linewidth=1)
        axes.axvspan(border.low, border.high, color=INK, alpha=0.12, linewidth=0)
    low, high = regions.small_data_to.size, regions.irreducible_from.size
    for at, word in (
        ((30 * low) ** 0.5, "small data"),
        ((low * high) ** 0.5, "power law"),
        ((high * 4e6) ** 0.5, "irreducible"),
    ):
        axes.text(at, 0.96, word, transform=axes.get_xaxis_transform(), ha="center", fontsize=8)
    axes.set(xlabel="training examples", ylabel="error", title="Generated")
    axes.legend(loc="lower left", fontsize=8)


def from_the_benchmark(axes: Any) -> None:
    rows = [
        (float(row["Seen Examples"]), float(row["Loss"]), row["Training"] == "1")
        for row in published("language")
        if (row["Domain"], row["Task"], row["Model"]) == CURVE
    ]
    size, error, training = (np.array(column) for column in zip(*rows, strict=True))
    curve = LearningCurve.fit(size[training], error[training], chance=1.0)
    draw(axes, curve, np.geomspace(size.min(), 1.3 * size.max(), 300))
    axes.plot(
        size[~training], error[~training], "o", color=GREEN, markersize=3.5, label="extrapolated"
    )
    axes.set(xlabel="tokens seen", ylabel="loss", title="BIG-Bench, data wrangling, 2-shot")
    axes.legend(loc="lower left", fontsize=8)


def main() -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        first, second = figure.subplots(1, 2)
        generated(first)
        from_the_benchmark(second)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    target = FOLDER / "learning-curves-regions.svg"
    target.write_text(re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue()), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
