"""Tasks whose difficulty is measured: classification, meta-learning, control, and two at once.

Boopathy et al., arXiv 2305.01034. A task is its few numbers, given by hand or measured from data.

Departures. Dimensions are not rounded. Of two tasks at once, a hypothesis returns one number less
than it tells classes apart, as for one task; the authors' program returns as many. Their states of
a controlled system come from its equations; here they may also come from trajectories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.generalization_difficulty.complexity import (
    Complexity,
    complexity_of_logs,
    inductive_bias_complexity,
    interval,
    log_eigenfunctions,
)
from paperworks.scaling.generalization_difficulty.dimension import (
    DimensionEstimate,
    as_labels,
    check_settings,
    estimate,
    intrinsic_dimension,
)
from paperworks.scaling.generalization_difficulty.neighbors import (
    FloatArray,
    Points,
    as_points,
    distinct_rows,
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
        points = Points.of(table[keep])
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
        return _with_interval(
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
                Points.of(table[keep]),
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
        return _with_interval(
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


@dataclass(frozen=True, eq=False)
class ControlTask:
    """Reinforcement learning: the best action from what was observed.

    States live on a flat torus of side 2 pi; ``resolution`` is in its unit.

    Attributes
    ----------
    dimension : float
        Dimension of what a policy sees: of one observation, or of ``T`` of them where the state is
        hidden. Cartpole with T observations of two numbers has 2 T.
    actions : int
        Numbers in an action.
    samples : int
        Time steps seen.
    resolution : float
        Distance on which the best action changes. Default 0.001 rad, the paper's.
    name : str
        What to call it.
    measured_dimension : DimensionEstimate or None
        The estimate behind the dimension, where it was measured.

    Examples
    --------
    The paper's Reacher, and its cartpole seen through two observations:

    >>> print(ControlTask(dimension=6, actions=2, samples=1_000_000).complexity(0.001))
    2.9e25 bits
    >>> print(ControlTask(dimension=4, actions=1, samples=10_000).complexity(0.001))
    3.3e17 bits
    """

    dimension: float
    actions: int
    samples: int
    resolution: float = 1e-3
    name: str = ""
    measured_dimension: DimensionEstimate | None = None

    def __post_init__(self) -> None:
        self._complexity(self.dimension, 1.0)  # checks every number

    @classmethod
    def from_trajectories(
        cls,
        observations: Sequence[ArrayLike],
        actions: int,
        *,
        history: int = 1,
        resolution: float = 1e-3,
        k: int = 5,
        queries: int | None = 10_000,
        resamples: int = 200,
        name: str = "",
        rng: int | np.random.Generator | None = None,
    ) -> ControlTask:
        """Measure the dimension of what a policy sees from episodes.

        Parameters
        ----------
        observations : sequence of (T_i, d) array_like
            One table of observations for each episode, two episodes or more.
        actions : int
            Numbers in an action.
        history : int
            How many observations in a row the policy sees. Default 1.
        resolution, name
            As above.
        k, queries, resamples, rng
            Of :func:`intrinsic_dimension`. Neighbours are taken in other episodes.

        Notes
        -----
        Columns are brought to one spread first, and constant ones dropped. Where the dynamics are
        free of noise, a long history has the dimension of state and actions, not ``history`` times
        that of one observation.
        """
        if history < 1:
            raise ValueError(f"history must be >= 1, got {history}")
        windows, episode, steps = [], [], 0
        for number, given in enumerate(observations):
            table = np.asarray(given, dtype=np.float64)
            if table.ndim != 2 or len(table) < history:
                raise ValueError(
                    f"episode {number} must be a table of {history} observations or more, one a "
                    f"row, got shape {table.shape}"
                )
            seen = np.lib.stride_tricks.sliding_window_view(table, history, axis=0)
            windows.append(seen.reshape(len(seen), -1))
            episode.append(np.full(len(seen), number))
            steps += len(table)
        if len(windows) < 2:
            raise ValueError(
                f"two episodes or more are needed, got {len(windows)}: neighbours within one lie "
                "along its path, whatever the dimension of the states"
            )
        points = np.concatenate(windows)
        spread = points.std(axis=0)
        if not (spread > 0).any():
            raise ValueError("the observations are constant: there is nothing to measure")
        found = intrinsic_dimension(
            points[:, spread > 0] / spread[spread > 0],
            k=k,
            queries=queries,
            groups=np.concatenate(episode),
            resamples=resamples,
            rng=rng,
        )
        return cls(found.dimension, actions, steps, resolution, name, found)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the measured dimension doubtful."""
        return () if self.measured_dimension is None else self.measured_dimension.warnings

    def complexity(self, target_error: float, *, confidence: float = 0.95) -> Complexity:
        """Bits that the task asks for; the error is the distance from the best action."""
        found = self.measured_dimension
        draws = [] if found is None else found.draws.tolist()
        return _with_interval(
            self._complexity(self.dimension, target_error),
            [self._complexity(m, target_error).log10_bits for m in draws],
            confidence,
        )

    def _complexity(self, dimension: float, target_error: float) -> Complexity:
        return inductive_bias_complexity(
            dimension,
            1.0,
            self.resolution,
            self.samples,
            target_error,
            outputs=self.actions,
            geometry="torus",
        )


def _with_interval(found: Complexity, draws: Sequence[float], confidence: float) -> Complexity:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if not draws:
        return found
    low, high = interval(draws, confidence)
    return replace(found, log10_low=low, log10_high=high)


def _episodes(examples: np.ndarray, group_of: np.ndarray, ways: int) -> int:
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
