"""The picture of docs/papers/quantile-aggregation.md: an aggregate, and its weights over x.

python tools/quantile_aggregation_figures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from paperworks.statistics import QuantileAggregator

OUT = Path(__file__).parent.parent / "docs" / "papers" / "quantile-aggregation-weights.png"
LEVELS = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]


def main() -> None:
    # A straight line with normal noise on the left, waves with skewed noise on the right.
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, 1500))
    waves = np.where(x > 0, np.sin(14 * x), 0)
    noise = np.where(x > 0, rng.gamma(1, 0.3, x.size) - 0.3, 0.15 * rng.standard_normal(x.size))
    X, y = x[:, None], x + waves + noise
    model = QuantileAggregator(
        ["gaussian", "forest", "linear"], LEVELS, resolution="medium", random_state=0
    ).fit(X, y)
    grid = np.linspace(-1, 1, 401)[:, None]
    q, weights = model.predict(grid), model.model_weights(grid)

    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, y, ".", color="0.6", markersize=2)
    for k in range(3):
        left.fill_between(grid[:, 0], q[:, k], q[:, -1 - k], color="C0", alpha=0.2, linewidth=0)
    left.plot(grid[:, 0], q[:, 3], color="C0", label="median; 50, 80 and 90 % intervals")
    left.set(xlabel="x", ylabel="y")
    left.legend(loc="upper left")
    for j, name in enumerate(model.names_):
        right.plot(grid[:, 0], weights[:, j, 3], color=f"C{j}", label=f"{name}, median")
        right.plot(grid[:, 0], weights[:, j, 0], "--", color=f"C{j}", label=f"{name}, 5 %")
    right.set(xlabel="x", ylabel="weight", ylim=(-0.02, 1.02))
    right.legend(loc="best", fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(OUT, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
