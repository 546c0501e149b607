"""Draw the picture of docs/papers/linf-regression.md: how often a sketch breaks the bound, by rows.

    python tools/linf_regression_figures.py

The adversarial inputs of the claims at d = 32, eps = 0.5; 200 sketches a point; the line is
Student's law, which is exact for a Gaussian sketch of orthonormal columns up to a union bound.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from paperworks.claims.linf_regression import adversarial, broken
from paperworks.numerics import sketch_rows

N, D, EPS, REPEATS = 8192, 32, 0.5, 200
PICTURE = Path(__file__).parent.parent / "docs" / "papers" / "linf-regression.png"


def main() -> None:
    rows = np.unique(np.geomspace(300, 4096, 9).astype(int))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for kind, entries, label, style in (
        ("srht", 1, "SRHT", "o-"),
        ("srct", 1, "SRCT", "s-"),
        ("countsketch", 1, "CountSketch", "v--"),
        ("osnap", 4, "OSNAP, 4 entries a column", "^--"),
    ):
        A, B = adversarial(N, D, EPS, (entries,))
        options = {"nonzeros": entries} if kind == "osnap" else {}
        rates = [broken(A, B, kind, int(m), EPS, REPEATS, 0, **options)[0] for m in rows]
        axes.plot(rows, rates, style, label=label)
        print(label, dict(zip(rows.tolist(), rates, strict=True)))
    nu = rows - D + 1
    law = 1 - (1 - 2 * stats.t.sf(EPS * np.sqrt(nu / D), nu)) ** D
    axes.plot(rows, law, "k:", label="Gaussian, by its law")
    for delta in (0.1, 0.01):
        m = sketch_rows(D, eps=EPS, delta=delta)
        axes.axvline(m, color="grey", linewidth=0.8)
        axes.text(m * 1.02, 0.2, f"rows for delta = {delta}", rotation=90, fontsize=8)
    axes.set(
        xscale="log",
        xlabel="rows of the sketch",
        ylabel="share of sketches that break the bound",
        ylim=(-0.02, 1.02),
    )
    ticks = [300, 500, 1000, 2000, 4000]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8, loc="upper right")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
