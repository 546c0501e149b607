"""Claim of "Unraveling the Mystery of Scaling Laws: Part I", arXiv 2403.06563.

Laws fitted to small models predict the loss curve of a large one before it is trained. Here: seven
runs of character models with 55 k to 154 k parameters on WikiText-2 (a ladder of five batches at
the smallest size, two larger sizes at the middle batch), and a model of 614 k, four times the
largest.

The error is that of the whole curve behind the warm-up: the root mean square of the relative error
at 16 or so steps, evenly spaced in log S. Contenders predict the same curve from the same runs:

- the curve of the largest small model, carried over;
- a power law in N at each step by itself, through the three sizes at that batch;
- Chinchilla's law in N and D = B S, fitted by the same robust core to the runs at that batch. It
  knows no batch, so other batches would only harm it.

The quick tier replays runs that ``tools/recipe_runs.py`` trained (``character_lm_runs.md`` says
when and on what); the full tier trains new ones, with other seeds. The second claim, of fitting all
constants at once, was made after that had been tried on the runs of the table, and so has no quick
tier.
"""

from __future__ import annotations

import csv
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.claims._character_lm import WARMUP, Run, train
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.fitting.fit import fit_law
from paperworks.scaling.recipe.log import RunLog
from paperworks.scaling.recipe.recipe import Method, estimate_recipe

FloatArray = NDArray[np.float64]

SMALL = (
    Run(48, 256),
    Run(48, 512),
    Run(48, 1024),
    Run(48, 2048),
    Run(48, 4096),
    Run(64, 1024),
    Run(80, 1024),
)
TARGET = Run(160, 1024)
FROM_STEP = WARMUP + 10

NAMES: dict[Method, str] = {"stepwise": "recipe", "joint": "recipe, at once"}
CARRIED, EACH_STEP, CHINCHILLA = (
    "largest small model's curve",
    "power law in N at each step",
    "Chinchilla's law",
)
TABLE = "character_lm_runs.csv"
TRAINED_SEEDS = 100  # runs of the full tier are not the table's

Rows = list[tuple[str, int, int, int, float]]  # run, N, B, step, loss


def curve(*, seed: int, device: str, retrain: bool, method: Method) -> TrialResult:
    """One set of runs: from the table that ships beside this module, or trained now."""
    if not retrain:
        return compare(table(seed), method)
    rows: Rows = []
    for run in (*SMALL, TARGET):
        points = train(run, TRAINED_SEEDS + seed, device)
        rows += [(run.name, run.size, run.batch, *point) for point in points]
    return compare(rows, method)


def table(seed: int) -> Rows:
    """Rows of one seed in the shipped table."""
    text = (resources.files("paperworks.claims") / TABLE).read_text()
    return [
        (row["run"], int(row["N"]), int(row["B"]), int(row["step"]), float(row["loss"]))
        for row in csv.DictReader(text.splitlines())
        if int(row["seed"]) == seed
    ]


def small_log(rows: Rows) -> RunLog:
    """All runs but the large one."""
    return RunLog(*zip(*(row for row in rows if row[0] != TARGET.name), strict=True))


def target_curve(rows: Rows) -> tuple[FloatArray, FloatArray]:
    """Steps and losses of the large model, behind the warm-up."""
    points = np.array([row[3:] for row in rows if row[0] == TARGET.name and row[3] >= FROM_STEP])
    return points[:, 0], points[:, 1]


def compare(rows: Rows, method: Method = "stepwise") -> TrialResult:
    """Error of each prediction of the large model's curve, in per cent of the loss."""
    log = small_log(rows)
    steps, measured = target_curve(rows)
    values, curves = {}, [Curve("measured", steps.tolist(), measured.tolist())]
    for label, predict in (
        (NAMES[method], partial(by_recipe, method=method)),
        (CARRIED, by_largest),
        (EACH_STEP, by_each_step),
        (CHINCHILLA, by_chinchilla),
    ):
        predicted = predict(log, steps)
        error = np.log(predicted / measured)
        values[label] = 100 * float(np.sqrt((error * error).mean()))
        curves.append(Curve(label, steps.tolist(), predicted.tolist()))
    return TrialResult(values, curves)


def by_recipe(log: RunLog, steps: FloatArray, method: Method = "stepwise") -> FloatArray:
    """The paper's recipe with its defaults."""
    recipe = estimate_recipe(log, method=method, from_step=FROM_STEP, resamples=1)
    if not recipe.trajectory.converged:
        raise RuntimeError("the recipe did not converge")
    return recipe.predict_curve(TARGET.size, TARGET.batch, steps).value


def by_largest(log: RunLog, steps: FloatArray) -> FloatArray:
    """The curve of the largest small model at the batch of the large one."""
    same = log.where(np.equal(log.B, TARGET.batch))
    return _at(same.where(np.equal(same.N, same.N.max())), steps)


def by_each_step(log: RunLog, steps: FloatArray) -> FloatArray:
    """A straight line in log N for log L, step by step."""
    same = log.where(np.equal(log.B, TARGET.batch))
    parts = list(same.parts().values())
    log_n = np.log([part.N[0] for part in parts])
    curves = np.log([_at(part, steps) for part in parts])
    slope, level = np.polyfit(log_n, curves, 1)
    return np.asarray(np.exp(level + slope * np.log(TARGET.size)))


def by_chinchilla(log: RunLog, steps: FloatArray) -> FloatArray:
    """``E + A N^-alpha + B D^-beta`` of the curves at that batch, D in tokens."""
    same = log.where(np.equal(log.B, TARGET.batch) & (log.S >= FROM_STEP))
    fit = fit_law("chinchilla", {"N": same.N, "D": same.B * same.S}, same.loss, resamples=1)
    return fit({"N": np.full(steps.shape, float(TARGET.size)), "D": TARGET.batch * steps})


def _at(part: RunLog, steps: FloatArray) -> FloatArray:
    """Losses of a run at other steps, between its rows in log L and log S."""
    return np.exp(np.interp(np.log(steps), np.log(part.S), np.log(part.loss)))


_TRAINED = {"seeds": 5, "timeout": 3600, "memory": 8}
_COMMON: dict[str, Any] = {
    "paper": "scaling-law-estimation",
    "metric": "root mean squared error of the predicted curve, per cent of the loss",
    "better": "lower",
    "contenders": (CARRIED, EACH_STEP, CHINCHILLA),
    "effect": Effect("ratio", 1.0),
    "axes": Axes("step", "loss, nats per character", x_scale="log", y_scale="log"),
    "trial": curve,
}

CLAIMS = (
    Claim(
        **_COMMON,
        name="curve",
        statement=(
            "From seven runs of character models of 55 k to 154 k parameters on WikiText-2, the "
            "recipe predicts the whole loss curve of a model of 614 k before it is trained better "
            "than the largest small model's curve, a power law in N at each step and Chinchilla's "
            "law."
        ),
        ours=NAMES["stepwise"],
        quick=Tier([{"retrain": False, "method": "stepwise"}], seeds=5, timeout=60),
        full=Tier([{"retrain": True, "method": "stepwise"}], **_TRAINED),
    ),
    Claim(
        **_COMMON,
        name="curve-at-once",
        statement=(
            "Fitted to all curves at once instead of step by step, the recipe's six constants "
            "predict the whole loss curve of a model of 614 k better than the largest small "
            "model's curve, a power law in N at each step and Chinchilla's law."
        ),
        ours=NAMES["joint"],
        full=Tier([{"retrain": True, "method": "joint"}], **_TRAINED),
    ),
)
