"""Draw the figure of unsupervised-pretraining.md: `python tools/pretraining_figures.py`.

Excess risk over the number of unlabelled rows, for 100 labelled ones, in the claims' three
examples: pretrained, and labelled rows alone. A minute; nothing is downloaded.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from paperworks.claims.unsupervised_pretraining import KINDS, World

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
INK, RED, BLUE = "#808080", "#d1495b", "#3d85c6"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unsupervised-pretraining",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
LABELLED, SEEDS = 100, 5
SIZES = np.geomspace(50, 12_800, 7).astype(int)


def measured(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Excess risks of pretraining (seeds, sizes) and of labelled rows alone (seeds,)."""
    pretrained, alone = [], []
    for seed in range(SEEDS):
        world = World(kind, seed)
        X, y = world.labelled(LABELLED)
        alone.append(world.excess(world.alone(X, y)))
        pretrained.append([world.excess(world.pretrained(int(m), X, y)) for m in SIZES])
    return np.array(pretrained), np.array(alone)


def draw(axes: Any, kind: str) -> None:
    pretrained, alone = measured(kind)
    middle = np.median(pretrained, axis=0)
    low, high = np.quantile(pretrained, [0.1, 0.9], axis=0)
    axes.fill_between(SIZES, low, high, color=RED, alpha=0.2, linewidth=0)
    axes.plot(SIZES, middle, "o-", color=RED, markersize=3, linewidth=1.2, label="pretrained")
    axes.axhline(np.median(alone), color=BLUE, linewidth=1.2, label="labelled rows alone")
    axes.axvline(LABELLED, color=INK, linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", title=kind, xlabel="unlabelled rows, m")


def main() -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.8), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(KINDS)), KINDS, strict=True):
            draw(axes, kind)
        figure.axes[0].set_ylabel("excess risk")
        figure.axes[0].legend(loc="lower left", fontsize=8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    drawn = re.sub(r"[ \t]+$", "", text.getvalue(), flags=re.MULTILINE)
    (FOLDER / "unsupervised-pretraining.svg").write_text(drawn)


if __name__ == "__main__":
    main()
