"""Reinforcement learning as a task: the best action from what was observed.

Boopathy et al., arXiv 2305.01034, for cartpole and MuJoCo. The paper takes the dimension of states
from the equations of a system; here it may also come from trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from paperworks.scaling.generalization_difficulty.complexity import (
    Complexity,
    inductive_bias_complexity,
    with_interval,
)
from paperworks.scaling.generalization_difficulty.dimension import (
    DimensionEstimate,
    intrinsic_dimension,
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
        return with_interval(
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
