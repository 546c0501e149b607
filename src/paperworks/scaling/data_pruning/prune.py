"""``prune_dataset``: score, rank, keep.

Sorscher, Geirhos, Shekhar, Ganguli and Morcos, "Beyond neural scaling laws: beating power law
scaling via data pruning", arXiv 2206.14486.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.data_pruning.metrics import METRICS, NEED_LABELS, NEED_MODEL
from paperworks.scaling.data_pruning.outputs import plain
from paperworks.scaling.data_pruning.selection import (
    PrunedDataset,
    check_labels,
    check_scores,
    select,
)


def prune_dataset(
    data: Any = None,
    y: ArrayLike | None = None,
    *,
    keep: float,
    metric: str | Callable[..., ArrayLike] | None = None,
    scores: ArrayLike | None = None,
    order: str = "hard",
    balance: float = 0.5,
    rng: int | np.random.Generator = 0,
    **options: Any,
) -> PrunedDataset:
    """Choose which training examples to keep.

    Parameters
    ----------
    data : (n, ...) array or tensor, optional
        Embeddings (n, d) for the prototype metrics; the inputs of the model for those that train
        one; anything with a length for ``"random"``. Not needed with ``scores``.
    y : (n,), optional
        Labels. Whole numbers from 0 for metrics that train a model.
    keep : float or int
        The share to keep, in (0, 1], or the number.
    metric : str or callable, optional
        ``"prototypes"`` (the default, no labels needed), ``"supervised-prototypes"``, ``"el2n"``,
        ``"grand"``, ``"forgetting"``, ``"margin"``, ``"memorization"``, ``"random"``, or a function
        ``metric(data, y)`` that returns difficulties, higher for harder.
    scores : (n,) float, optional
        Difficulties computed already, in place of a metric.
    order : {"hard", "easy"}
        Which end to keep. By the theory hard is better with much data, easy with little; real data
        do not always follow it, so compare with a random subset of the same size.
    balance : float
        With labels, each class keeps at least this part of its equal share. Default 0.5 as in the
        paper; 1 prunes all classes alike, 0 balances nothing.
    rng : int or numpy.random.Generator
        Source of all randomness: clusterings, seeds of models, ties.
    **options
        Of the metric. ``"prototypes"``: ``clusters``, ``method``, ``iterations``. Those that train:
        ``model`` (a function that makes a fresh ``torch.nn.Module``; for ``"memorization"`` a
        scikit-learn classifier will do), ``models`` (how many), and ``epochs``, ``batch_size``,
        ``optimizer``, ``device`` of :func:`paperworks.scaling.data_pruning.train`. ``"grand"``:
        ``parameters``. ``"memorization"``: ``share``, ``n_jobs``.

    Returns
    -------
    PrunedDataset
        ``kept`` are indices: ``x[result.kept]``.

    Raises
    ------
    ValueError
        For unknown names, scores that hold NaN, or labels and lengths that do not fit.

    Notes
    -----
    Ranking is O(n log n). The metrics cost: prototypes a k-means, O(n k d) a pass; supervised
    prototypes O(n d); the others as many short trainings as ``models``.

    Examples
    --------
    >>> import numpy as np
    >>> embeddings = np.random.default_rng(0).standard_normal((200, 8))
    >>> result = prune_dataset(embeddings, keep=0.7, clusters=5)
    >>> hardest_left_out = result.scores[result.pruned].max()
    >>> result.kept.size, bool(result.scores[result.kept].min() >= hardest_left_out)
    (140, True)
    """
    generator = np.random.default_rng(rng)
    if scores is not None:
        if metric is not None or options:
            given = "metric" if metric is not None else next(iter(options))
            raise ValueError(f"scores are given: leave out {given!r}, which would be ignored")
        name, values = "scores", check_scores(scores)
        if data is not None and len(data) != values.size:
            raise ValueError(f"data hold {len(data)} examples and scores {values.size}")
    else:
        if data is None:
            raise ValueError("give data to score, or scores")
        name, values = _score(data, y, metric or "prototypes", generator, options)
    labels = None if y is None else check_labels(plain(y), values.size)
    kept = select(values, keep, order=order, y=labels, balance=balance, rng=generator)
    classes: dict[object, tuple[int, int]] = {}
    if labels is not None:
        found, codes = np.unique(labels, return_inverse=True)
        before = np.bincount(codes, minlength=len(found))
        after = np.bincount(codes[kept], minlength=len(found))
        classes = {
            label: (int(b), int(a))
            for label, b, a in zip(found.tolist(), before, after, strict=True)
        }
    return PrunedDataset(kept, values, name, order, float(balance), classes)


def _score(
    data: Any, y: Any, metric: Any, rng: np.random.Generator, options: dict[str, Any]
) -> tuple[str, np.ndarray]:
    if callable(metric):
        name = getattr(metric, "__name__", "callable")
        values = check_scores(metric(data, y, **options))
    else:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        if metric in NEED_LABELS and y is None:
            raise ValueError(f"metric {metric!r} needs labels y; 'prototypes' needs none")
        if metric in NEED_MODEL and "model" not in options:
            raise ValueError(
                f"metric {metric!r} trains models: give model=, a function that makes a fresh one"
            )
        name = metric
        values = check_scores(METRICS[metric](data, y, rng, **options))
    if values.size != len(data):
        raise ValueError(f"metric {name!r} gave {values.size} scores for {len(data)} examples")
    return name, values
