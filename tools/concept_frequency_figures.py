"""Draw the figure of docs/papers/concept-frequency.md: `python tools/concept_frequency_figures.py`.

Some minutes. The right half is made again from the claims' own function, at their quick setting.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from deis_figures import INK, OTHERS, RED, STYLE
from matplotlib.figure import Figure

from paperworks.claims.concept_frequency import CLAIMS, published_table, trained_accuracies
from paperworks.scaling.concept_frequency.trend import bin_means, fit_log_linear

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
SHOWN = (("cc3m", "RN50", 1), ("cc12m", "RN50", 1), ("laion400m", "ViT-B-32", 2))
SEEDS = range(5)


def main() -> None:
    """Published bins on the left, models trained here on the right."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = published_table()
    for (pretraining, model, skip), color in zip(SHOWN, OTHERS, strict=False):
        f = np.array(table[pretraining], dtype=float)
        y = np.array(table[f"{model} {pretraining}"], dtype=float)
        bins = bin_means(f, y, skip_low=skip)
        left.plot(bins.frequency[bins.used], bins.accuracy[bins.used], "o", color=color, ms=4)
        line = fit_log_linear(f, y, rng=0)
        ends = np.array([1, f.max()])
        label = f"{model}, {pretraining}: r = {bins.pearson.r:.2f}"
        left.plot(ends, line(ends), color=color, lw=1.2, label=label)
    left.set(xscale="log", xlabel="matched samples of the concept", ylabel="accuracy, %")
    left.set_title("the paper's numbers: bins, and lines through concepts", fontsize=9, color=INK)
    left.legend(fontsize=8)
    for name, color, marker in (("two-towers", RED, "o"), ("equal-similarity", OTHERS[0], "s")):
        claim = next(claim for claim in CLAIMS if claim.name == name)
        assert claim.quick is not None
        runs = [trained_accuracies(seed=seed, **claim.quick.works[0]) for seed in SEEDS]
        f = np.concatenate([run[0] for run in runs]).astype(float)
        y = 100 * np.concatenate([run[1] for run in runs])
        groups = np.array_split(np.argsort(f, kind="stable"), 12)
        x = [10 ** np.log10(f[group]).mean() for group in groups]
        right.plot(x, [y[group].mean() for group in groups], marker, color=color, ms=4)
        line = fit_log_linear(f, y, rng=0)
        ends = np.array([f.min(), f.max()])
        right.plot(ends, line(ends), color=color, lw=1.2, label=name.replace("-", " "))
    right.set(xscale="log", xlabel="captions with the concept", ylabel="accuracy, %")
    right.set_title(f"two-tower models trained here, {len(SEEDS)} seeds", fontsize=9, color=INK)
    right.legend(fontsize=8)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    target = FOLDER / "concept-frequency-trend.svg"
    target.write_text(re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue()), encoding="utf-8")


if __name__ == "__main__":
    with mpl.rc_context({**STYLE, "svg.hashsalt": "concept-frequency"}):
        main()
