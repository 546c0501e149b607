"""Draw the figures of docs/papers/log-proximity.md: `python tools/log_proximity_figures.py`.

Two minutes on one core. They are made from the claims' own functions: the parameters of section 2
(figure 3 of the paper: G(200, (2) 0.3, 0.1)), and reject curves on G(100, (2) 0.3, 0.1) at the
parameters that the paper prints.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score

from paperworks.claims.log_proximity import FAMILIES, draw, planted, reject
from paperworks.graphs.log_proximity.clustering import ward
from paperworks.graphs.log_proximity.proximity import GraphProximity

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
INK, PLAIN, LOG = "#808080", "#3d85c6", "#d1495b"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "log-proximity",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
TITLES = {"walk": "walk", "forest": "forest", "comm": "communicability", "heat": "heat"}
GRAPHS, GRID = 10, np.arange(1, 32) / 32


def panels() -> tuple[Figure, list]:
    figure = Figure(figsize=(7.6, 2.3), layout="constrained")
    axes = list(figure.subplots(1, 4, sharey=True))
    for axis, family in zip(axes, FAMILIES, strict=True):
        axis.set_title(TITLES[family], fontsize=9)
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    return figure, axes


def save(figure: Figure, name: str) -> None:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"[ \t]+$", "", stream.getvalue(), flags=re.MULTILINE)
    (FOLDER / f"{name}.svg").write_text(text, encoding="utf-8")
    print(name)


def parameters() -> None:
    found = {name: np.zeros(len(GRID)) for f in FAMILIES for name in (f, f"log-{f}")}
    for seed in range(GRAPHS):
        A, classes = draw(seed, **planted(200, 2, 0.3, 0.1))
        proximity = GraphProximity(A)
        for name, total in found.items():
            for i, p in enumerate(GRID):
                labels = ward(proximity.distance(name, float(p)), 2)
                total[i] += adjusted_rand_score(classes, labels) / GRAPHS
    figure, axes = panels()
    for axis, family in zip(axes, FAMILIES, strict=True):
        axis.plot(GRID, found[family], color=PLAIN, label="plain")
        axis.plot(GRID, found[f"log-{family}"], color=LOG, label="logarithmic")
        axis.set_xlabel("parameter")
    axes[0].set_ylabel("adjusted Rand index")
    axes[1].legend(loc="lower center")
    save(figure, "log-proximity-parameters")


def rejects() -> None:
    runs = [reject(seed=seed, device="cpu", p_out=0.1).curves for seed in range(50)]
    figure, axes = panels()
    for axis, family in zip(axes, FAMILIES, strict=True):
        for name, color, label in (
            (family, PLAIN, "plain"),
            (f"log-{family}", LOG, "logarithmic"),
        ):
            curves = [curve for run in runs for curve in run if curve.label == name]
            axis.plot(curves[0].x, np.mean([c.y for c in curves], axis=0), color=color, label=label)
        axis.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        axis.set_xlabel("pairs between classes")
    axes[0].set_ylabel("pairs within a class")
    axes[1].legend(loc="lower right")
    save(figure, "log-proximity-reject")


if __name__ == "__main__":
    with mpl.rc_context(STYLE):
        parameters()
        rejects()
