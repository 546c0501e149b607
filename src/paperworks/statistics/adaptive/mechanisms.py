"""Ways to answer a stream of adaptive queries: what they share, and the three that need no guess.

A mechanism is plain parameters. What it remembers between queries is a dictionary of JSON values
(and arrays) that the ledger keeps; ``answer`` changes it, and the ledger writes it before the
answer is shown to anyone. All sums are whole numbers of units (see ``queries``).
"""

from __future__ import annotations

import abc
import dataclasses
import math
import random
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.adaptive import bounds
from paperworks.statistics.adaptive.noise import discrete_gaussian, discrete_laplace
from paperworks.statistics.adaptive.queries import ROUNDING, UNIT
from paperworks.statistics.checking import probability, whole

State = dict[str, Any]
Source = Literal["holdout", "train", "model"]


class BudgetExhausted(RuntimeError):  # noqa: N818 a refusal, not a fault
    """The guard refuses: another answer could not be kept as accurate as promised.

    Raised by :meth:`ReusableHoldout.ask` before the holdout is looked at. Take fresh samples, or
    report with what has been answered; the refusal itself tells nothing about the holdout.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import Gaussian, ReusableHoldout
    >>> guard = ReusableHoldout(None, [0.2, 0.4, 0.9], Gaussian(queries=1, scale=0.1))
    >>> _ = guard.ask(lambda x: x)
    >>> guard.ask(lambda x: x)
    Traceback (most recent call last):
    ...
    paperworks.statistics.adaptive.mechanisms.BudgetExhausted: all 1 queries have been asked; ...
    """


class Reply(NamedTuple):
    """An answer in [0, 1], where it came from, and the units of budget that it cost."""

    value: float
    source: Source
    cost: int


@dataclass(frozen=True)
class Mechanism(abc.ABC):
    """What every mechanism has: a number of queries, a proven error, and an answer."""

    queries: int

    name: ClassVar[str]
    # What an answer starts from beside the holdout: nothing, the training set, or a model.
    guess: ClassVar[Literal["none", "train", "model"]] = "none"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
                if not whole or value < 1:
                    raise ValueError(f"{field.name} must be a whole number >= 1, got {value!r}")
                object.__setattr__(self, field.name, int(value))
            elif field.type == "float":
                if not isinstance(value, int | float | np.floating) or not 0 < value < math.inf:
                    raise ValueError(f"{field.name} must be > 0 and finite, got {value!r}")
                object.__setattr__(self, field.name, float(value))

    @property
    def units(self) -> int:
        """How many answers may depend on the holdout."""
        return self.queries

    def error_bound(self, n: int, confidence: float = 0.95) -> float:
        """Proven distance of every answer from the truth, together, with this confidence.

        Parameters
        ----------
        n : int
            Samples in the holdout.
        confidence : float, default=0.95
            Probability with which no answer at all is further off.

        Returns
        -------
        float
            For queries with values in [0, 1]; multiply by ``high - low`` for others. 1 or more
            promises nothing.
        """
        return self._error(whole("n", n, 1), 1 - probability("confidence", confidence)) + ROUNDING

    @abc.abstractmethod
    def _error(self, n: int, failure: float) -> float: ...

    def start(self, n: int, draw: random.Random) -> State:
        """What to remember before the first query."""
        return {"asked": 0, "spent": 0}

    def check(self, state: State) -> None:
        """Refuse where nothing is left."""
        if state["asked"] >= self.queries:
            raise BudgetExhausted(
                f"all {self.queries:,} queries have been asked; the promised accuracy lasts no "
                "further, and a new holdout is needed"
            )

    def answer(
        self, state: State, values: NDArray[np.int64], guess: int | None, draw: random.Random
    ) -> Reply:
        """Answer one query, and change ``state``.

        Parameters
        ----------
        state : dict
            As :meth:`start` made it and earlier answers changed it.
        values : (n,) int64
            The query on the holdout, in units.
        guess : int or None
            The sum that the training set or the model expects, in units over the holdout.
        draw : random.Random
            Where noise comes from.
        """
        self.check(state)
        reply = self._reply(state, values, guess, draw)
        state["asked"] += 1
        state["spent"] += reply.cost
        return reply

    @abc.abstractmethod
    def _reply(
        self, state: State, values: NDArray[np.int64], guess: int | None, draw: random.Random
    ) -> Reply: ...

    def describe(self) -> dict[str, Any]:
        """Everything that decides its answers, as JSON values."""
        return {"mechanism": self.name, **dataclasses.asdict(self)}


def in_units(scale: float, n: int) -> int:
    """A scale of noise on a mean of ``n`` values as whole units of their sum, rounded up."""
    return max(1, math.ceil(scale * n * UNIT))


def effective(scale: float, n: int) -> float:
    """The scale that noise really has, after :func:`in_units`."""
    return in_units(scale, n) / (n * UNIT)


def mean(total: int, n: int) -> float:
    """A sum in units as a mean, put back into [0, 1] where noise drove it out."""
    return min(max(total, 0), n * UNIT) / (n * UNIT)


@dataclass(frozen=True)
class Additive(Mechanism):
    """The holdout's mean with noise of its own for each query."""

    scale: float

    @staticmethod
    @abc.abstractmethod
    def _noise(scale: int, draw: random.Random) -> int: ...

    def _reply(
        self, state: State, values: NDArray[np.int64], guess: int | None, draw: random.Random
    ) -> Reply:
        n = len(values)
        noise = self._noise(in_units(self.scale, n), draw)
        return Reply(mean(int(values.sum()) + noise, n), "holdout", 1)


@dataclass(frozen=True)
class Gaussian(Additive):
    """Every answer is the holdout's mean with Gaussian noise; the error grows as queries^(1/4).

    The choice for some thousands of unrelated queries. For fewer, :class:`Splitting` has the
    smaller proven error; where most queries have a good guess, :class:`Thresholdout` answers more.

    Parameters
    ----------
    queries : int
        How many will be answered.
    scale : float
        Standard deviation of the noise, for values in [0, 1]. :func:`plan_holdout` finds the
        best one.

    Raises
    ------
    ValueError
        If either is out of range.

    Notes
    -----
    The noise is the exact discrete Gaussian on a grid of ``2^-20 / n``. Bassily et al.
    (arXiv 1511.02513); the bound is described in the module ``bounds``.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import Gaussian
    >>> round(Gaussian(queries=1000, scale=0.01).error_bound(n=100_000), 3)
    0.146
    """

    name: ClassVar[str] = "gaussian"

    _noise = staticmethod(discrete_gaussian)

    def _error(self, n: int, failure: float) -> float:
        return bounds.gaussian_error(n, self.queries, effective(self.scale, n), failure)


@dataclass(frozen=True)
class Laplace(Additive):
    """Every answer is the holdout's mean with Laplace noise, the paper's first mechanism.

    Pure differential privacy. :class:`Gaussian` has the smaller proven error for more than a few
    queries, and :class:`Splitting` for few.

    Parameters
    ----------
    queries : int
        How many will be answered.
    scale : float
        Scale of the noise, for values in [0, 1]; its standard deviation is 1.41 times as large.

    Raises
    ------
    ValueError
        If either is out of range.

    Notes
    -----
    The noise is the exact discrete Laplace distribution on a grid of ``2^-20 / n``.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import Laplace
    >>> round(Laplace(queries=10, scale=0.01).error_bound(n=100_000), 3)
    0.073
    """

    name: ClassVar[str] = "laplace"

    _noise = staticmethod(discrete_laplace)

    def _error(self, n: int, failure: float) -> float:
        return bounds.laplace_error(n, self.queries, effective(self.scale, n), failure)


@dataclass(frozen=True)
class Splitting(Mechanism):
    """Every query gets samples of its own: the baseline, and the best choice for few queries.

    Parameters
    ----------
    queries : int
        How many will be answered, each from ``n // queries`` samples.

    Raises
    ------
    ValueError
        If it is out of range; :class:`ReusableHoldout` also refuses more queries than samples.

    Notes
    -----
    The parts are drawn at random once, so that sorted rows do no harm. No noise, no privacy.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import Splitting
    >>> round(Splitting(queries=10).error_bound(n=100_000), 3)
    0.017
    """

    name: ClassVar[str] = "splitting"

    def _error(self, n: int, failure: float) -> float:
        return bounds.splitting_error(n, self.queries, failure)

    def start(self, n: int, draw: random.Random) -> State:
        """Remember the seed of the parts."""
        if n < self.queries:
            raise ValueError(
                f"{self.queries:,} parts of {n:,} samples would be empty; ask fewer queries, or "
                "use another mechanism"
            )
        return {**super().start(n, draw), "parts": draw.randrange(1 << 63)}

    def _reply(
        self, state: State, values: NDArray[np.int64], guess: int | None, draw: random.Random
    ) -> Reply:
        size = len(values) // self.queries
        order = np.random.default_rng(state["parts"]).permutation(len(values))
        part = values[order[state["asked"] * size :][:size]]
        return Reply(mean(int(part.sum()), size), "holdout", 1)
