"""Measure what the guide to scaling laws shows: its figure, its tables. Some minutes of one core.

Needs PAPERWORKS_DATA with the folder ``scaling``.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from paperworks.scaling import LAWS, compare_laws, fit_law, plots

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guides"
OFFSET = {"E": 1.0, "A": 30.0, "alpha": 0.4}
CHINCHILLA = {"E": 1.8, "A": 480.0, "alpha": 0.35, "B": 2100.0, "beta": 0.37}


def published() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sizes, tokens and losses of Hoffmann et al., as read off their figure 4."""
    path = Path(os.environ["PAPERWORKS_DATA"], "scaling", "chinchilla_svg_extracted_data.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    size = np.array([float(row["Model Size"]) for row in rows])
    tokens = np.array([float(row["Training FLOP"]) for row in rows]) / (6 * size)
    return {"N": size, "D": tokens}, np.array([float(row["loss"]) for row in rows])


def refit() -> None:
    x, loss = published()
    kept = np.argsort(x["D"])[5:]
    some = {name: column[kept] for name, column in x.items()}
    print("\n| constant | theirs | the same runs, delta = 0.001 | all runs, delta by noise |")
    print("|---|---|---|---|")
    theirs = {"E": 1.82, "A": 482.01, "alpha": 0.35, "B": 2085.43, "beta": 0.37}
    same = fit_law("chinchilla", some, loss[kept], delta=1e-3).parameters
    every = fit_law("chinchilla", x, loss)
    for name, value in theirs.items():
        cells = [
            f"{each.value:.4g} ({each.low:.3g} to {each.high:.3g})"
            for each in (same[name], every.parameters[name])
        ]
        print(f"| `{name}` | {value} | {cells[0]} | {cells[1]} |")
    figure = plots.law_fit(every, points=[{"N": 7e10, "D": 1.4e12}])
    figure.savefig(GUIDE / "scaling-chinchilla.png", dpi=150)
    print("\n| law | error on the 61 largest runs | bias | error of the fit |\n|---|---|---|---|")
    for name, held in compare_laws(["chinchilla", "kaplan"], x, loss).ranked.items():
        errors = [np.expm1(v) for v in (held.rms, held.bias, held.fit.rms)]
        print(f"| `{name}` | {errors[0]:.1%} | {errors[1]:+.1%} | {errors[2]:.1%} |")


def coverage(repeats: int = 400) -> None:
    """How often nominal 95 % intervals hold, over repeats of the whole fit."""
    print("\n| law | runs | noise | constants | prediction | one more run |")
    print("|---|---|---|---|---|---|")
    for name, true, n, heavy in (
        ("power-offset", OFFSET, 12, False),
        ("power-offset", OFFSET, 12, True),
        ("power-offset", OFFSET, 30, False),
        ("power-offset", OFFSET, 100, False),
        ("chinchilla", CHINCHILLA, 60, False),
        ("chinchilla", CHINCHILLA, 60, True),
    ):
        law = LAWS[name]
        far = {"x": 1e7} if name == "power-offset" else {"N": 1e11, "D": 1e12}
        constants, curve, one = [], 0, 0
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            low, high = (3, 12) if name == "power-offset" else (np.log(1e7), np.log(1e10))
            x = {v: np.exp(rng.uniform(low, high, n)) for v in law.variables}
            noise = 0.01 * (rng.standard_t(3, n + 1) if heavy else rng.normal(0, 1, n + 1))
            found = fit_law(law, x, law(true, x) * np.exp(noise[:-1]), resamples=300, rng=seed)
            constants.append([e.low <= true[k] <= e.high for k, e in found.parameters.items()])
            exact = float(law(true, far))
            said, new = found.predict(far), found.predict(far, new_run=True)
            curve += bool(said.low <= exact <= said.high)
            one += bool(new.low <= exact * np.exp(noise[-1]) <= new.high)
        held = np.mean(constants, 0)
        tails = "Student's t, 3 degrees" if heavy else "normal"
        print(
            f"| `{name}` | {n} | {tails} | {held.min():.1%} to {held.max():.1%} "
            f"| {curve / repeats:.1%} | {one / repeats:.1%} |"
        )


if __name__ == "__main__":
    refit()
    coverage()
