"""What a paper says, as something that can turn out false.

A :class:`Claim` is one falsifiable sentence: a metric with its direction, our method, the
contenders, and the size of effect that the paper's words need. Its trial function runs one
seeded piece of work and returns one number per contender. Everything here is plain data; the
runner, the store and the verdict live beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TIERS = ("quick", "full")


@dataclass(frozen=True)
class Curve:
    """One line to draw: ``y`` over ``x`` for the contender named ``label``.

    ``x`` and ``y`` are sequences of floats of the same length. Curves of one label are drawn
    over all seeds of a claim, with their median.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(
                f"curve {self.label!r} has {len(self.x)} x values and {len(self.y)} y values"
            )
        object.__setattr__(self, "x", tuple(float(v) for v in self.x))
        object.__setattr__(self, "y", tuple(float(v) for v in self.y))


@dataclass(frozen=True)
class TrialResult:
    """What one trial found.

    Parameters
    ----------
    values : mapping of str to float
        The claim's metric for ours and for every contender, by label. All finite: a contender
        that did not reach its goal within its budget is reported at the budget.
    curves : sequence of Curve
        Anything worth drawing, such as error over iterations.
    """

    values: Mapping[str, float]
    curves: Sequence[Curve] = ()

    def __post_init__(self) -> None:
        values = {label: float(value) for label, value in self.values.items()}
        for label, value in values.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"the trial's value for {label!r} is {value}; report a finite number "
                    "(the budget, where a contender did not finish)"
                )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "curves", tuple(self.curves))


@dataclass(frozen=True)
class Axes:
    """How the curves of a claim are drawn."""

    x: str
    y: str
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Effect:
    """The size of effect that the paper's words need.

    ``Effect("ratio", 5.0)`` asks that ours be five times better than every contender, and takes
    geometric means; ``Effect("difference", 0.02)`` asks for 0.02 in the metric's own unit. An
    effect is always counted so that larger is better for ours. Parity is 1 for a ratio and 0 for
    a difference; ``Effect("ratio", 1.0)`` asks for "better", no more.
    """

    scale: Literal["ratio", "difference"]
    at_least: float

    def __post_init__(self) -> None:
        if self.scale not in ("ratio", "difference"):
            raise ValueError(f"effect scale must be 'ratio' or 'difference', got {self.scale!r}")
        if self.at_least < self.parity:
            raise ValueError(
                f"the effect asked for must be at least parity ({self.parity:g} for a "
                f"{self.scale}), got {self.at_least}"
            )

    @property
    def parity(self) -> float:
        """The effect at which ours and a contender are level."""
        return 1.0 if self.scale == "ratio" else 0.0


@dataclass(frozen=True)
class Tier:
    """How much work one tier of a claim does.

    Parameters
    ----------
    works : sequence of mappings
        Keyword arguments of the trial function, one mapping per piece of work (a data set, a
        size). Plain JSON values. Every seed runs every work.
    seeds : int
        How many seeds, counted from 0. At least 5 where the trial is random.
    timeout : float
        Seconds that one trial may take.
    memory : float
        GiB that one trial may hold, on top of what the imports take.
    """

    works: Sequence[Mapping[str, Any]] = field(default_factory=lambda: ({},))
    seeds: int = 5
    timeout: float = 60.0
    memory: float = 4.0

    def __post_init__(self) -> None:
        if not self.works:
            raise ValueError("a tier needs at least one piece of work, got none")
        if self.seeds < 1:
            raise ValueError(f"seeds must be >= 1, got {self.seeds}")
        if not self.timeout > 0 or not self.memory > 0:
            raise ValueError(
                f"timeout and memory must be > 0, got {self.timeout} s and {self.memory} GiB"
            )
        object.__setattr__(self, "works", tuple(dict(work) for work in self.works))
        for work in self.works:
            json.dumps(work)  # a work is part of the store's key


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One falsifiable sentence of a paper, and how to test it.

    Parameters
    ----------
    paper : str
        The paper's id in the catalogue.
    name : str
        A short slug, unique within the paper.
    statement : str
        The sentence, in plain words, with its numbers.
    metric : str
        What a trial's numbers are, with their unit.
    better : {"lower", "higher"}
        Which direction of the metric is better.
    ours : str
        The label of the paper's method among a trial's values.
    contenders : sequence of str
        The labels of what it is compared with: the strongest baselines.
    effect : Effect
        What the paper's words need. Must hold against every contender.
    trial : callable
        A module-level function ``trial(*, seed, device, **work) -> TrialResult``. Draws all its
        randomness from ``seed``; runs on ``device`` ("cpu" or "cuda"). Claims with one function
        and the same work share its trials.
    quick, full : Tier or None
        The two tiers. ``quick`` uses embedded data only and takes at most 20 s in all on two
        cores; None where a claim has no such tier.
    random : bool
        False where a trial is fully determined by its work; its seed count is then 1.
    requires : sequence of str
        Distribution names of the optional libraries that a trial imports ("POT"). Their versions
        are part of the fingerprint, and a missing one is named before anything is run.
    axes : Axes or None
        How to draw the curves; None where a trial returns none.
    """

    paper: str
    name: str
    statement: str
    metric: str
    better: Literal["lower", "higher"]
    ours: str
    contenders: Sequence[str]
    effect: Effect
    trial: Callable[..., TrialResult]
    quick: Tier | None = None
    full: Tier | None = None
    random: bool = True
    requires: Sequence[str] = ()
    axes: Axes | None = None

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better must be 'lower' or 'higher', got {self.better!r}")
        if not self.contenders or self.ours in self.contenders:
            raise ValueError(
                f"claim {self.id} needs contenders other than ours ({self.ours!r}), "
                f"got {list(self.contenders)}"
            )
        if self.quick is None and self.full is None:
            raise ValueError(f"claim {self.id} has no tier: give quick, full or both")
        for tier in (self.quick, self.full):
            if tier is not None and self.random != (tier.seeds > 1):
                raise ValueError(
                    f"claim {self.id}: a random trial needs several seeds and a fixed one exactly "
                    f"one, got random={self.random} with {tier.seeds} seed(s)"
                )
        object.__setattr__(self, "contenders", tuple(self.contenders))
        object.__setattr__(self, "requires", tuple(self.requires))

    @property
    def id(self) -> str:
        """``paper/name``, unique in the project."""
        return f"{self.paper}/{self.name}"

    def run(self, *, work: Mapping[str, Any], seed: int, device: str) -> TrialResult:
        """One trial, with its result held against what the claim says a trial returns.

        Raises
        ------
        TypeError
            If the trial returned something other than a TrialResult.
        ValueError
            As :meth:`accept` does.
        """
        result = self.trial(**work, seed=seed, device=device)
        if not isinstance(result, TrialResult):
            raise TypeError(f"a trial must return a TrialResult, got {type(result).__name__}")
        self.accept(result)
        return result

    def accept(self, result: TrialResult) -> None:
        """Hold a result against what the claim says a trial returns.

        Raises
        ------
        ValueError
            If a label is missing, or a value is not positive where the effect is a ratio.
        """
        for label in (self.ours, *self.contenders):
            if label not in result.values:
                raise ValueError(f"a trial of {self.id} returned no value for {label!r}")
            if self.effect.scale == "ratio" and result.values[label] <= 0:
                raise ValueError(
                    f"{self.id} takes ratios, which need positive values; "
                    f"got {result.values[label]} for {label!r}"
                )

    def tier(self, name: str) -> Tier | None:
        """The tier called ``name``, or None where the claim has none of that name."""
        if name not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {name!r}")
        return self.quick if name == "quick" else self.full
