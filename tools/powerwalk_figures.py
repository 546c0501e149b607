"""Draw the picture of docs/papers/powerwalk.md: the error over rounds, on the claim's graphs.

python tools/powerwalk_figures.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from paperworks.claims.powerwalk import (
    AS_MANY,
    BOUND,
    MEMORY,
    MOST_ROUNDS,
    PRINTS,
    convergence,
    errors,
)

WORK = {"scale": 11, "edges": 16_000}
SEEDS = 5
PICTURE = Path(__file__).parent.parent / "docs" / "papers" / "powerwalk-rounds.svg"


def main() -> None:
    found = [convergence(seed=seed, device="cpu", **WORK) for seed in range(SEEDS)]
    other = [errors(seed=seed, device="cpu", **WORK).values for seed in range(SEEDS)]
    after = np.mean([result.curves[0].y for result in found], axis=0)
    rounds = np.arange(MOST_ROUNDS + 1)
    figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    axes.plot(rounds, after, "o-", label="decomposition over fingerprints")
    axes.plot(rounds, after[0] * 0.85**rounds, "k:", label="(1 - c)^T times the first")
    for name, style, label in (
        (PRINTS, "-", "fingerprints alone"),
        (MEMORY, "--", "end points, as much memory"),
        (AS_MANY, "-.", "end points, as many walks"),
    ):
        level = np.mean([values[name] for values in other])
        axes.axhline(level, ls=style, color="0.5", lw=1, label=label)
        print(name, round(float(level), 4))
    print("after rounds", np.round(after, 4).tolist(), BOUND)
    axes.set(xlabel="rounds T", ylabel="L1 error, mean of 100 sources", yscale="log")
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.68))
    figure.savefig(PICTURE)
    print(PICTURE)


if __name__ == "__main__":
    main()
