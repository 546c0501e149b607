"""Few-shot learning as a task: what one example of each class asks of a learner.

Boopathy et al., arXiv 2305.01034, for Omniglot: a hypothesis takes one example of each of 20
characters of an alphabet and returns a classifier.

Departures. Dimensions are not rounded, and episodes are counted as choices of classes of one group
and of one example of each; the authors' program counts an alphabet of fewer than 20 as one of 20.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.generalization_difficulty.complexity import (
    Complexity,
    complexity_of_logs,
    inductive_bias_complexity,
    log_eigenfunctions,
    with_interval,
)
from paperworks.scaling.generalization_difficulty.dimension import (
    as_labels,
    check_settings,
    intrinsic_dimension,
)
from paperworks.scaling.generalization_difficulty.neighbors import (
    FloatArray,
    IntArray,
    Points,
    as_points,
    distinct_rows,
    only,
)
from paperworks.scaling.generalization_difficulty.separation import refuse_equal_rivals, separation


@dataclass(frozen=True, eq=False)
class MetaLearningTask:
    """Learn to tell any ``ways`` classes of a group apart from one example of each, as in Omniglot.

    The input is one example of each class; the answer is a classifier.

    Attributes
    ----------
    class_dimension : float
        Dimension of inputs within a group (characters of one alphabet), the paper's ``m0``.
    group_dimension : float
        Dimension of inputs over all groups, the paper's ``m1``.
    radius, class_distance : float
        As for :class:`ClassificationTask`.
    samples : int
        Training sets of ``ways`` examples that the data hold. Of any size.
    ways : int
        Classes of one episode. Default 20, the paper's.
    name : str
        What to call it.
    warnings : tuple of str
        What makes the measured numbers doubtful.
    draws : (B, 3) ndarray
        Draws of the two dimensions and the class distance; empty where nothing was measured.

    Examples
    --------
    Omniglot by the paper's numbers, with one alphabet of 20 characters by 20 hands:

    >>> print(MetaLearningTask(22, 29, 49.4065, 5.47723, samples=20**20).complexity(0.01))
    1.8e145 bits
    """

    class_dimension: float
    group_dimension: float
    radius: float
    class_distance: float
    samples: int | float
    ways: int = 20
    name: str = ""
    warnings: tuple[str, ...] = ()
    draws: FloatArray = field(default_factory=lambda: np.empty((0, 3)), repr=False)

    def __post_init__(self) -> None:
        if self.ways < 2:
            raise ValueError(f"ways must be >= 2, got {self.ways}")
        inductive_bias_complexity(  # checks the other numbers
            self.class_dimension, self.radius, self.class_distance, self.samples, 1.0
        )
        inductive_bias_complexity(self.group_dimension, 1.0, 1.0, 1, 1.0)

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike,
        *,
        ways: int = 20,
        k: int = 5,
        queries: int | None = 10_000,
        class_distance: float | Literal["auto", "evt", "exact"] = "auto",
        resamples: int = 200,
        name: str = "",
        rng: int | np.random.Generator | None = None,
    ) -> MetaLearningTask:
        """Measure a task from inputs ``X`` (n, ...), classes ``y`` and ``groups`` of classes (n,).

        Dimensions are those of :func:`intrinsic_dimension`: within groups, averaged over points,
        and over all. ``samples`` counts, over the groups with ``ways`` classes or more, the choices
        of ``ways`` classes and of one example of each.

        Raises
        ------
        ValueError
            If a class lies in two groups, or no group has ``ways`` classes.
        """
        rng = np.random.default_rng(rng)
        table = as_points(X)
        group = as_labels(groups, len(table), "groups")
        label = as_labels(y, len(table), "y")
        pairs = np.unique(np.stack([label, group]), axis=1)
        if pairs.shape[1] != label.max() + 1:
            shared = int(pairs[0][np.flatnonzero(np.diff(pairs[0]) == 0)[0]])
            raise ValueError(
                f"class {np.unique(np.asarray(y))[shared]!r} lies in more than one group"
            )
        classes_in = np.bincount(pairs[1])
        samples = _episodes(np.bincount(label), pairs[1], ways)
        if samples == 0:
            raise ValueError(
                f"no group has {ways} classes, the most is {classes_in.max()}; choose fewer ways"
            )
        check_settings(k=k, confidence=0.95, resamples=resamples)
        options = {"k": k, "queries": queries, "resamples": resamples}
        whole = intrinsic_dimension(table, rng=rng, **options)  # type: ignore[arg-type]
        parts = [
            intrinsic_dimension(table[group == g], rng=rng, **options)  # type: ignore[arg-type]
            for g in range(group.max() + 1)
        ]
        share = np.array([part.queries for part in parts], float) / sum(p.queries for p in parts)
        within = 1 / float(share @ [1 / part.dimension for part in parts])
        within_draws = 1 / (share @ np.stack([1 / part.draws for part in parts]))
        if isinstance(class_distance, str):
            keep, which = distinct_rows(table)
            refuse_equal_rivals(label, keep, which)
            measured = separation(
                Points.of(only(table, keep)),
                label[keep],
                method=class_distance,
                pairs=4_000_000,
                tail=2000,
                confidence=0.95,
                resamples=resamples,
                rng=rng,
            )
            class_distance, far = measured.distance, measured.draws
        else:
            far = np.full(1, float(class_distance))
        return cls(
            class_dimension=within,
            group_dimension=whole.dimension,
            radius=float(np.linalg.norm(table, axis=1).max()),
            class_distance=float(class_distance),
            samples=samples,
            ways=ways,
            name=name,
            warnings=whole.warnings,
            draws=np.stack([within_draws, whole.draws, np.resize(far, resamples)], axis=1),
        )

    def complexity(self, target_error: float, *, confidence: float = 0.95) -> Complexity:
        """Bits that the task asks for at an error, with an interval where it was measured."""
        here = (self.class_dimension, self.group_dimension, self.class_distance)
        drawn = [self._complexity(a, b, c, target_error) for a, b, c in self.draws.tolist()]
        return with_interval(
            self._complexity(*here, target_error),
            [one.log10_bits for one in drawn],
            confidence,
        )

    def _complexity(self, m0: float, m1: float, distance: float, error: float) -> Complexity:
        # A hypothesis returns a classifier: all coefficients of one on the inputs of a group.
        numbers = self.ways * (self.ways - 1)
        log_turns = math.log(2 * math.pi * self.radius / distance)
        log_outputs = math.log(2 * numbers) + log_eigenfunctions(m0, log_turns, "sphere")[1]
        if not error > 0 or not math.isfinite(error):
            raise ValueError(f"target_error must be a finite number > 0, got {error!r}")
        return complexity_of_logs(
            m1 + (self.ways - 1) * m0,
            math.log(self.radius) + 0.5 * math.log(self.ways),
            math.log(distance),
            math.log(self.samples),
            math.log(error),
            log_outputs=log_outputs,
            log_combinations=0.0,
            log_bound=0.5 * math.log(numbers),
            geometry="sphere",
        )


def _episodes(examples: IntArray, group_of: IntArray, ways: int) -> int:
    """Choices of ``ways`` classes of one group and of one example of each, over all groups."""
    total = 0
    for group in range(int(group_of.max()) + 1):
        # Elementary symmetric polynomial of the classes' sizes, in whole numbers of any size.
        sums = [1] + [0] * ways
        for size in examples[group_of == group].tolist():
            for at in range(ways, 0, -1):
                sums[at] += sums[at - 1] * size
        total += sums[ways]
    return total
