"""Classification tasks, measured from data, alone and two at once.

Boopathy et al., arXiv 2305.01034. A task is its few numbers, given by hand or measured.

Departures. Dimensions are not rounded. Of two tasks at once, a hypothesis returns one number less
than it tells classes apart, as for one task; the authors' program returns as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.generalization_difficulty.complexity import (
    Complexity,
    inductive_bias_complexity,
    with_interval,
)
from paperworks.scaling.generalization_difficulty.dimension import (
    DimensionEstimate,
    as_labels,
    estimate,
)
from paperworks.scaling.generalization_difficulty.neighbors import (
    FloatArray,
    Points,
    as_points,
    distinct_rows,
    only,
)
from paperworks.scaling.generalization_difficulty.separation import (
    ClassDistance,
    refuse_equal_rivals,
    separation,
)

_NONE = np.empty((0, 2))


@dataclass(frozen=True, eq=False)
class ClassificationTask:
    """Tell classes apart.

    Attributes
    ----------
    dimension, radius, class_distance, samples
        As in :func:`inductive_bias_complexity`.
    classes : int
        Classes to tell apart, two or more. A hypothesis returns one number less.
    distractors : int
        Combinations of discrete features that the answer must not depend on: the classes of the
        other task, where two are combined. Default 1, none.
    name : str
        What to call it.
    measured_dimension, measured_distance : DimensionEstimate, ClassDistance or None
        The estimates behind the numbers, where the task was measured.
    draws : (B, 2) ndarray
        Draws of dimension and class distance, for the interval; empty where nothing was measured.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 3))
    >>> X = X[abs(X[:, 0]) > 0.2]  # a gap of 0.4 between two halves of a cube
    >>> task = ClassificationTask.from_data(X, X[:, 0] > 0, rng=0)
    >>> round(task.dimension, 1), round(task.class_distance, 1)
    (2.9, 0.4)
    >>> task.complexity(0.01).bits > task.complexity(0.1).bits
    True
    """

    dimension: float
    radius: float
    class_distance: float
    samples: int
    classes: int
    distractors: int = 1
    name: str = ""
    measured_dimension: DimensionEstimate | None = None
    measured_distance: ClassDistance | None = None
    draws: FloatArray = field(default_factory=lambda: _NONE, repr=False)

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"classes must be >= 2, got {self.classes}")
        self._complexity(self.dimension, self.class_distance, 0.01)  # checks the other numbers

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        k: int = 5,
        queries: int | None = 10_000,
        dimension: float | None = None,
        class_distance: float | Literal["auto", "evt", "exact"] = "auto",
        pairs: int = 4_000_000,
        tail: int = 2000,
        center: bool = False,
        resamples: int = 200,
        name: str = "",
        rng: int | np.random.Generator | None = None,
    ) -> ClassificationTask:
        """Measure a task from its training set.

        Parameters
        ----------
        X : (n, ...) array_like
            Inputs; images are flattened. Their unit does not matter.
        y : (n,) array_like
            Classes, of any kind.
        k, queries
            Of :func:`intrinsic_dimension`.
        dimension : float, optional
            Use this instead of an estimate.
        class_distance : {"auto", "evt", "exact"} or float
            How to find it (see :func:`class_distance`), or its value. Default "auto": exact up to
            100,000 points.
        pairs, tail
            Of :func:`class_distance`.
        center : bool
            Measure the radius from the mean instead of from zero. Default False, as the authors;
            True for data whose zero means nothing.
        resamples : int
            Bootstrap draws of dimension and distance.
        name : str
            What to call the task.
        rng : int, Generator or None
            Draws queries, pairs and resamples.

        Raises
        ------
        ValueError
            For data or settings that the estimates refuse.

        Notes
        -----
        The number of samples counts every row, also repeated ones.
        """
        rng = np.random.default_rng(rng)
        table = as_points(X)
        labels = as_labels(y, len(table), "y")
        classes = int(labels.max()) + 1
        if classes < 2:
            raise ValueError("y holds one class only: there is nothing to tell apart")
        measured_dimension = measured_distance = None
        keep, which = distinct_rows(table)
        if isinstance(class_distance, str):
            refuse_equal_rivals(labels, keep, which)
        points = Points.of(only(table, keep))
        if dimension is None:
            measured_dimension = estimate(
                points,
                k=k,
                queries=queries,
                groups=None,
                duplicates=len(table) - len(keep),
                confidence=0.95,
                resamples=resamples,
                rng=rng,
            )
            dimension = measured_dimension.dimension
        if isinstance(class_distance, str):
            measured_distance = separation(
                points,
                labels[keep],
                method=class_distance,
                pairs=pairs,
                tail=tail,
                confidence=0.95,
                resamples=resamples,
                rng=rng,
            )
            class_distance = measured_distance.distance
        draws = _NONE
        if measured_dimension is not None or measured_distance is not None:
            sizes = [dimension] if measured_dimension is None else measured_dimension.draws
            columns = (
                sizes,
                [class_distance] if measured_distance is None else measured_distance.draws,
            )
            draws = np.stack([np.resize(column, resamples) for column in columns], axis=1)
        origin = table.mean(axis=0, dtype=np.float64) if center else 0.0
        return cls(
            dimension=float(dimension),
            radius=max(
                float(np.linalg.norm(part - origin, axis=1).max())
                for part in np.array_split(table, max(1, table.size >> 24))
            ),
            class_distance=float(class_distance),
            samples=len(table),
            classes=classes,
            name=name,
            measured_dimension=measured_dimension,
            measured_distance=measured_distance,
            draws=draws,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the measured numbers doubtful."""
        return () if self.measured_dimension is None else self.measured_dimension.warnings

    def complexity(self, target_error: float, *, confidence: float = 0.95) -> Complexity:
        """Bits that the task asks for at an error, with an interval where it was measured.

        The error of a model gives the bits that this model has supplied.
        """
        found = self._complexity(self.dimension, self.class_distance, target_error)
        return with_interval(
            found,
            [self._complexity(m, d, target_error).log10_bits for m, d in self.draws.tolist()],
            confidence,
        )

    def _complexity(self, dimension: float, distance: float, target_error: float) -> Complexity:
        return inductive_bias_complexity(
            dimension,
            self.radius,
            distance,
            self.samples,
            target_error,
            outputs=self.classes - 1,
            combinations=self.classes * self.distractors,
        )

    def combined_with(self, other: ClassificationTask) -> ClassificationTask:
        """The task of naming the class of this task's input beside an input of the other.

        Inputs are all pairs of inputs; the other's part has to be ignored. Both must be in one
        unit, since the radius is that of the pair and the class distance is this task's.
        """
        size = max(len(self.draws), len(other.draws))
        draws = _NONE
        if size:
            mine, theirs = (
                task.draws if len(task.draws) else np.array([[task.dimension, task.class_distance]])
                for task in (self, other)
            )
            mine, theirs = np.resize(mine, (size, 2)), np.resize(theirs, (size, 2))
            draws = np.stack([mine[:, 0] + theirs[:, 0], mine[:, 1]], axis=1)
        return replace(
            self,
            dimension=self.dimension + other.dimension,
            radius=math.hypot(self.radius, other.radius),
            samples=self.samples * other.samples,
            distractors=self.distractors * other.classes * other.distractors,
            name=f"{self.name} beside {other.name}" if self.name and other.name else "",
            measured_dimension=None,
            measured_distance=None,
            draws=draws,
        )
