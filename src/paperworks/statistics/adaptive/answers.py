"""What a guard hands out: an answer, and how much is left."""

from __future__ import annotations

from dataclasses import dataclass

from paperworks.statistics.adaptive.mechanisms import Source


@dataclass(frozen=True)
class Answer:
    """An answer to one query.

    Attributes
    ----------
    value : float
        The answer, in the query's own range.
    source : {"holdout", "train", "model"}
        What it is made from: the holdout with noise, or a guess that the holdout did not reject.
    cost : int
        Units of budget that it took.
    queries_left, budget_left : int
        What is left after it.
    error_bound : float
        With the guard's confidence, no answer at all is further from the truth; in the query's
        own range.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import ReusableHoldout, Splitting
    >>> guard = ReusableHoldout(None, [0.0, 1.0, 1.0, 1.0], Splitting(queries=1))
    >>> guard.ask(lambda x: x).value
    0.75
    """

    value: float
    source: Source
    cost: int
    queries_left: int
    budget_left: int
    error_bound: float


@dataclass(frozen=True)
class Status:
    """What a guard has spent, and what its answers promise.

    Attributes
    ----------
    mechanism : str
        Its name.
    samples : int
        In the holdout.
    queries_asked, queries_left : int
        The promised accuracy lasts for so many more.
    budget_spent, budget_left : int
        Answers that depend on the holdout.
    error_bound : float
        With probability ``confidence`` no answer is further from the truth, for a range of [0, 1].
        1 or more promises nothing.
    confidence : float
        See there.

    Examples
    --------
    >>> from paperworks.statistics.adaptive import ReusableHoldout, Splitting
    >>> guard = ReusableHoldout(None, [0.0, 1.0, 1.0, 1.0], Splitting(queries=2))
    >>> guard.status().queries_left
    2
    """

    mechanism: str
    samples: int
    queries_asked: int
    queries_left: int
    budget_spent: int
    budget_left: int
    error_bound: float
    confidence: float
