"""Draw the figure of docs/papers/adaptive-data-analysis.md: `python tools/adaptive_figures.py`.

Proven errors come from the accountant, reported accuracies from the claims' own experiment.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from paperworks.claims.adaptive_data_analysis import GUARD, PLAIN, freedman
from paperworks.statistics.adaptive import FiniteDomain, plan_holdout

FILE = Path(__file__).parent.parent / "docs" / "papers" / "adaptive-data-analysis.svg"
INK, RED = "#808080", "#d1495b"  # a grey that can be read on light and dark
COLORS = {
    "splitting": "#3d85c6",
    "laplace": "#e69f00",
    "gaussian": "#2a9d6f",
    "multiplicative-weights": "#9b72cf",
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "adaptive",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
N, SEEDS, CHOSEN = 100_000, range(10), [10, 20, 30, 40, 50]


def proven(axes: Any) -> None:
    """Error that the accountant proves over the number of queries."""
    queries = [int(k) for k in np.geomspace(1, 10**7, 29)]
    for name, color in COLORS.items():
        domain = FiniteDomain(range(256)) if name == "multiplicative-weights" else None
        errors = [
            plan_holdout(N, queries=k, mechanism=name, domain=domain).error_bound(N)
            for k in queries
        ]
        label = "weights, 256 points" if domain else name
        axes.plot(queries, errors, color=color, label=label)
    axes.set(
        xscale="log", ylim=(0, 0.5), xlabel="adaptive queries", title=f"proven error, n = {N:,}"
    )
    axes.legend(fontsize=7, loc="upper left")


def reported(axes: Any) -> None:
    """Accuracy on pure noise that the holdout reports, over ten seeds."""
    runs = [list(freedman(seed, 1000, 1000, 0, CHOSEN)) for seed in SEEDS]
    for label, color in ((PLAIN, RED), (GUARD, COLORS["gaussian"])):
        found = np.array([[row[label][0] for row in run] for run in runs])
        axes.plot(CHOSEN, found.mean(axis=0), "o-", ms=3, color=color, label=label)
        low, high = found.min(axis=0), found.max(axis=0)
        axes.fill_between(CHOSEN, low, high, color=color, alpha=0.15, lw=0)
    axes.axhline(0.5, color=INK, lw=0.8, ls=":")
    axes.text(CHOSEN[-1], 0.498, "truth", ha="right", va="top", fontsize=7)
    axes.set(xlabel="features chosen on the holdout", title="reported accuracy on pure noise")
    axes.legend(fontsize=7, loc="upper left")


def main() -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        proven(left)
        reported(right)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
        text = re.sub(r"[ \t]+$", "", stream.getvalue(), flags=re.MULTILINE)
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
