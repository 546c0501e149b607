"""Claim of "Scaling Laws for Neural Machine Translation", arXiv 2109.07740: the sizes of encoder
and decoder predict the loss, which the total number of parameters alone does not.

Models of 1, 2 and 4 layers in each half are fitted; larger ones, two of them lopsided, are
predicted. Both laws are fitted by the same function to the same models: ours has four constants,
the rival, ``E + A (N_e + N_d)^-alpha``, three. Each of the two test sets gets laws of its own. The
task, the models and their training are in ``_transduction``; it was sized by three models of one
seed (1000) that no law was fitted to, and which are in no tier.

The quick tier reads the losses of 60 models from a table beside this module, which
``tools/nmt_runs.py`` made; ``nmt_scaling_laws_runs.md`` says when and on what. The full tier trains
60 others, on tasks of other seeds. In so short a training a deeper encoder does not pay. So a
second claim, in the full tier alone, asks the same of models that were trained five times as long;
it was made after sixteen of these, on the tasks of seeds 0 and 100, which are not its own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib import resources
from typing import Any

import numpy as np

from paperworks.claims._transduction import KINDS, STEPS, Run, train
from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.fitting.fit import fit_law
from paperworks.scaling.nmt.law import TOTAL

BIVARIATE, BY_TOTAL = "encoder and decoder sizes", "total parameters"
FITTED = tuple((e, d) for e in (1, 2, 4) for d in (1, 2, 4))
HELD_OUT = ((8, 2), (2, 8), (6, 6))
TABLE = "nmt_scaling_laws_runs.csv"
TRAINED_SEEDS = 200  # the full tier's tasks are not the table's


def held_out(*, seed: int, device: str, steps: int | None) -> TrialResult:
    """Error of both laws on the larger models of one seed, over both test sets.

    The models are those of the table, or new ones that are trained for so many steps.
    """
    if steps is None:
        return judge(run for run in table() if run.seed == seed)
    return judge(
        run
        for depths in (*FITTED, *HELD_OUT)
        for run in train(TRAINED_SEEDS + seed, depths, device, steps=steps)
    )


def table() -> list[Run]:
    """The measured runs that ship."""
    text = (resources.files("paperworks.claims") / TABLE).read_text("utf-8")
    return [
        Run(
            int(row["seed"]),
            int(row["encoder_layers"]),
            int(row["decoder_layers"]),
            int(row["encoder_params"]),
            int(row["decoder_params"]),
            row["test_set"],
            float(row["loss"]),
            float(row["bleu"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def csv_columns() -> tuple[str, ...]:
    """Columns of the table: the fields of a run."""
    return tuple(Run.__dataclass_fields__)


def judge(runs: Iterable[Run]) -> TrialResult:
    """Root mean squared error of log loss on the held-out models, in per cent."""
    found = list(runs)
    errors: dict[str, list[float]] = {BIVARIATE: [], BY_TOTAL: []}
    curves = []
    for kind in KINDS:
        of_kind = [run for run in found if run.test_set == kind.name]
        total = np.array([run.encoder_params + run.decoder_params for run in of_kind])
        sizes = {
            "Ne": np.array([run.encoder_params for run in of_kind]),
            "Nd": np.array([run.decoder_params for run in of_kind]),
        }
        loss = np.array([run.loss for run in of_kind])
        small = np.array([(run.encoder_layers, run.decoder_layers) in FITTED for run in of_kind])
        order = np.argsort(total[~small])
        x = total[~small][order]
        if kind is KINDS[-1]:
            curves.append(Curve("measured", x.tolist(), loss[~small][order].tolist()))
        for label, law in ((BIVARIATE, "encoder-decoder"), (BY_TOTAL, TOTAL)):
            fit = fit_law(
                law, {name: each[small] for name, each in sizes.items()}, loss[small], resamples=1
            )
            said = fit({name: each[~small] for name, each in sizes.items()})
            errors[label] += np.log(said / loss[~small]).tolist()
            if kind is KINDS[-1]:
                curves.append(Curve(label, x.tolist(), said[order].tolist()))
    values = {
        label: 100 * float(np.sqrt(np.mean(np.square(each)))) for label, each in errors.items()
    }
    return TrialResult(values, curves)


_COMMON: dict[str, Any] = {
    "paper": "nmt-scaling-laws",
    "metric": "root mean squared error of the log loss of held-out larger models, per cent",
    "better": "lower",
    "ours": BIVARIATE,
    "contenders": (BY_TOTAL,),
    "effect": Effect("ratio", 1.0),
    "trial": held_out,
    "axes": Axes("parameters of both halves", "loss, nats per token", x_scale="log"),
}

CLAIMS = (
    Claim(
        **_COMMON,
        name="held-out",
        statement=(
            "On encoder-decoder Transformers of 1, 2 and 4 layers in each half, trained on a "
            "synthetic transduction task, a law in encoder and decoder size predicts the loss of "
            "larger models (8 + 2, 2 + 8 and 6 + 6 layers) better than a law in total parameters."
        ),
        quick=Tier(works=({"steps": None},), seeds=5, timeout=60),
        full=Tier(works=({"steps": STEPS},), seeds=5, timeout=3600),
    ),
    Claim(
        **_COMMON,
        name="held-out-trained-longer",
        statement=(
            "Where such models are trained five times as long, so that a deeper encoder pays, a "
            "law in encoder and decoder size predicts the loss of those of 8 + 2, 2 + 8 and 6 + 6 "
            "layers from those of 1, 2 and 4 in each half better than a law in total parameters."
        ),
        full=Tier(works=({"steps": 5 * STEPS},), seeds=5, timeout=4 * 3600),
    ),
)
