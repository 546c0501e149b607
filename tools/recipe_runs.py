"""Train the runs that the claim of scaling-law-estimation replays, and write them as a table.

    python tools/recipe_runs.py src/paperworks/claims/character_lm_runs.csv

Some twenty minutes on one core. Runs that the file already has are kept, so it can be interrupted.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import torch

from paperworks.claims._character_lm import Run, train
from paperworks.claims.scaling_law_estimation import SMALL, TARGET

SEEDS = range(5)
COLUMNS = ("seed", "run", "N", "B", "step", "loss")


def main(path: Path) -> None:
    """Train what is missing from ``path``."""
    torch.set_num_threads(1)
    done: set[tuple[int, str]] = set()
    if path.exists():
        with path.open() as file:
            done = {(int(row["seed"]), row["run"]) for row in csv.DictReader(file)}
    else:
        path.write_text(",".join(COLUMNS) + "\n")
    for seed in SEEDS:
        for run in (*SMALL, TARGET):
            if (seed, run.name) in done:
                continue
            start = time.perf_counter()
            rows = [
                (seed, run.name, run.size, run.batch, step, f"{loss:.5f}")
                for step, loss in train(Run(run.width, run.batch), seed)
            ]
            with path.open("a", newline="") as file:  # whole runs at a time
                csv.writer(file, lineterminator="\n").writerows(rows)
            print(seed, run.name, rows[-1][-1], f"{time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
