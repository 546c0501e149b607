"""The scores by name, from data alone or with a model factory: what ``prune_dataset`` looks up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.data_pruning.clusters import prototypes, supervised_prototypes
from paperworks.scaling.data_pruning.dynamics import TrainingDynamics
from paperworks.scaling.data_pruning.gradients import grand
from paperworks.scaling.data_pruning.outputs import el2n
from paperworks.scaling.data_pruning.subsets import estimate_memorization
from paperworks.scaling.data_pruning.training import Factory, logits_of, train

FloatArray = NDArray[np.float64]


def _prototypes(data: Any, y: Any, rng: np.random.Generator, **options: Any) -> FloatArray:
    return prototypes(data, rng=rng, **options).scores


def _supervised(data: Any, y: Any, rng: np.random.Generator) -> FloatArray:
    return supervised_prototypes(data, y).scores


def _random(data: Any, y: Any, rng: np.random.Generator) -> FloatArray:
    return rng.random(len(data))


def _el2n(
    data: Any,
    y: Any,
    rng: np.random.Generator,
    *,
    model: Factory,
    models: int = 10,
    **training: Any,
) -> FloatArray:
    """After a few epochs, over several models."""
    made = _trained(model, data, y, rng, models, training, epochs=10)
    return el2n(np.stack([logits_of(each, data) for each in made]), y)


def _margin(
    data: Any, y: Any, rng: np.random.Generator, *, model: Factory, models: int = 1, **training: Any
) -> FloatArray:
    """Area under the margin, over the epochs of several runs."""
    runs = _recorded(model, data, y, rng, models, training)
    return np.mean([run.margin() for run in runs], axis=0)


def _forgetting(
    data: Any, y: Any, rng: np.random.Generator, *, model: Factory, models: int = 5, **training: Any
) -> FloatArray:
    """Events added up over several runs, as Toneva et al. do."""
    runs = _recorded(model, data, y, rng, models, training)
    return np.sum([run.forgetting() for run in runs], axis=0)


def _grand(
    data: Any,
    y: Any,
    rng: np.random.Generator,
    *,
    model: Factory,
    models: int = 10,
    parameters: Callable[[str], bool] | None = None,
    **training: Any,
) -> FloatArray:
    """At initialisation, or after ``epochs``, over several models."""
    made = _trained(model, data, y, rng, models, training, epochs=0)
    return grand(made, data, y, parameters=parameters)


def _memorization(
    data: Any,
    y: Any,
    rng: np.random.Generator,
    *,
    model: Any,
    models: int = 100,
    share: float = 0.7,
    n_jobs: int | None = None,
    **training: Any,
) -> FloatArray:
    """With a scikit-learn classifier, or a module's factory that is trained on each subset."""
    if hasattr(model, "fit"):
        if training:
            raise ValueError(
                f"{next(iter(training))!r} is an option of torch models; a scikit-learn classifier "
                "has its own"
            )
        fit = model
    else:

        def fit(x: Any, labels: Any, seed: int) -> Callable[[Any], Any]:
            made = train(model, x, labels, seed=seed, **training)
            return lambda inputs: logits_of(made, inputs).argmax(1)

    found = estimate_memorization(fit, data, y, models=models, share=share, rng=rng, n_jobs=n_jobs)
    return found.scores


METRICS: dict[str, Callable[..., FloatArray]] = {
    "prototypes": _prototypes,
    "supervised-prototypes": _supervised,
    "el2n": _el2n,
    "grand": _grand,
    "forgetting": _forgetting,
    "margin": _margin,
    "memorization": _memorization,
    "random": _random,
}
NEED_MODEL = frozenset({"el2n", "grand", "forgetting", "margin", "memorization"})
NEED_LABELS = NEED_MODEL | {"supervised-prototypes"}


def _trained(
    model: Factory,
    data: Any,
    y: Any,
    rng: np.random.Generator,
    models: int,
    training: Any,
    **rest: Any,
) -> list[Any]:
    seeds = _seeds(rng, models)
    return [train(model, data, y, seed=seed, **{**rest, **training}) for seed in seeds]


def _recorded(
    model: Factory, data: Any, y: Any, rng: np.random.Generator, models: int, training: Any
) -> list[TrainingDynamics]:
    runs = []
    for seed in _seeds(rng, models):
        runs.append(TrainingDynamics(len(data)))
        train(model, data, y, seed=seed, dynamics=runs[-1], **{"epochs": 20, **training})
    return runs


def _seeds(rng: np.random.Generator, models: int) -> list[int]:
    if models < 1:
        raise ValueError(f"models must be >= 1, got {models}")
    return [int(seed) for seed in rng.integers(2**31, size=models)]
