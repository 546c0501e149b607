"""Picking one of k samples without a verifier, as a function of k.

Brown et al., arXiv 2407.21787, section 4.1 and appendix D: majority vote, best of n by a score
(a reward model's, say), and a vote weighted by the score. ``k`` samples are drawn without
replacement from the ``N`` at hand and the share of problems answered rightly is reported, beside
which coverage is the ceiling.

Departures. The paper averages 100 random subsets. Here best-of-n is exact, by counting subsets, and
majority vote is exact where k is small (a polynomial in the counts of each answer); the rest is
Monte Carlo with its error stated. Ties are the mean over the tied answers, in place of a coin.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paperworks.scaling.repeated_sampling.coverage import (
    FloatArray,
    IntArray,
    pass_at_k,
    whole,
)
from paperworks.scaling.repeated_sampling.votes import exact_majority, sampled_vote, winners

# Exact majority votes take about (answers x k^2) short convolutions: some milliseconds up to here.
_EXACT_WORK = 10_000

Answers = Sequence[Sequence[Hashable]] | NDArray


@dataclass(frozen=True)
class Selection:
    """Accuracy of a way to pick one of k samples.

    Parameters
    ----------
    method : str
        Which one.
    k : ndarray of int, shape (K,)
        Numbers of samples picked from.
    accuracy : ndarray of float, shape (K,)
        Expected share of problems answered rightly.
    monte_carlo_error : ndarray of float, shape (K,)
        Standard error of ``accuracy`` from drawing subsets; 0 where it is exact. It does not hold
        the luck of the problems: for that, bootstrap ``per_problem``.
    exact : ndarray of bool, shape (K,)
        Whether every problem was counted out exactly at this k.
    per_problem : ndarray of float, shape (P, K)
        Chance that each problem is answered rightly.
    """

    method: str
    k: IntArray
    accuracy: FloatArray
    monte_carlo_error: FloatArray
    exact: NDArray[np.bool_]
    per_problem: FloatArray


def best_of_n(correct: ArrayLike, scores: ArrayLike, k: ArrayLike) -> Selection:
    """Take the sample with the highest score. Exact.

    Parameters
    ----------
    correct : P sequences of bool, or an array (P, N)
        Whether each sample of each problem is right.
    scores : P sequences of float, or an array (P, N)
        The higher, the better. Samples with one score share the win evenly.
    k : int or array of int, shape (K,)
        Numbers of samples, at most the fewest that a problem has.

    Returns
    -------
    Selection

    Notes
    -----
    With r samples scored higher than a group, and s in and above it, the best of k lies in the
    group with chance ``C(N-r, k)/C(N, k) - C(N-s, k)/C(N, k)``, two values of
    :func:`~paperworks.scaling.pass_at_k`. Cost O(P N (K + log N)).

    Examples
    --------
    >>> best_of_n([[True, False, False]], [[0.9, 0.5, 0.1]], [1, 2, 3]).accuracy.round(3).tolist()
    [0.333, 0.667, 1.0]
    """
    right = _flags(correct)
    marks = _scores(scores, right)
    ks = _check_k(k, right)
    rows = []
    for flags, mark in zip(right, marks, strict=True):
        _, group = np.unique(-mark, return_inverse=True)
        size = np.bincount(group)
        share = np.bincount(group, weights=flags) / size
        above = np.concatenate([[0], np.cumsum(size)])
        reached = pass_at_k(len(flags), above, ks)
        rows.append(share @ np.diff(reached, axis=0))
    return _selection(
        "best of n", ks, rows, [np.zeros(ks.size)] * len(rows), np.ones(ks.size, bool)
    )


def majority_vote(
    answers: Answers,
    correct: ArrayLike,
    k: ArrayLike,
    *,
    draws: int = 1000,
    rng: int | np.random.Generator = 0,
) -> Selection:
    """Take the most frequent answer.

    Parameters
    ----------
    answers : P sequences of N hashable answers
        Equal answers must compare equal: normalise them first (``final_answer`` does so for
        numbers). None stands for a sample that gave no answer; it casts no vote.
    correct : P sequences of bool, or an array (P, N)
        Whether each is right; the same for equal answers of one problem.
    k : int or array of int, shape (K,)
        Numbers of samples, at most the fewest that a problem has.
    draws : int
        Random subsets per problem where the count is not exact. Default 1000; the paper takes 100.
    rng : int or numpy.random.Generator
        Source of the subsets.

    Returns
    -------
    Selection
        Tied answers share the win evenly. Where all k gave no answer, the problem counts as missed.

    Raises
    ------
    ValueError
        Where equal answers of a problem are marked both right and wrong, or k is too large.

    Notes
    -----
    Exact for k up to about ``sqrt(10,000 / distinct answers)`` and for k = N; else Monte Carlo at a
    cost O(P draws max(k)), on nested subsets so that the curve over k is smooth.

    Examples
    --------
    >>> vote = majority_vote([["6", "6", "7"]], [[True, True, False]], [1, 3])
    >>> vote.accuracy.round(3).tolist(), vote.exact.tolist()
    ([0.667, 1.0], [True, True])
    """
    right = _flags(correct)
    return _vote("majority vote", answers, right, None, k, draws, rng)


def score_weighted_vote(
    answers: Answers,
    correct: ArrayLike,
    scores: ArrayLike,
    k: ArrayLike,
    *,
    draws: int = 1000,
    rng: int | np.random.Generator = 0,
) -> Selection:
    """Take the answer with the largest sum of scores.

    Parameters
    ----------
    answers, correct, k, draws, rng
        As in :func:`majority_vote`.
    scores : P sequences of float, or an array (P, N)
        Weight of each sample's vote, >= 0. A reward model's logits can be negative, and a sum of
        those punishes an answer for being frequent: map them to positive numbers first.

    Returns
    -------
    Selection
        Exact for k = 1 and k = N, else Monte Carlo.

    Examples
    --------
    >>> vote = score_weighted_vote([["6", "7", "7"]], [[True, False, False]], [[5, 1, 1]], [3])
    >>> vote.accuracy.tolist()
    [1.0]
    """
    right = _flags(correct)
    marks = _scores(scores, right)
    for problem, mark in enumerate(marks):
        if mark.min() < 0:
            raise ValueError(
                f"vote weights must be >= 0, got {mark.min():g} at problem {problem}; map scores "
                "to positive weights first, for instance with exp or a sigmoid"
            )
    return _vote("score-weighted vote", answers, right, marks, k, draws, rng)


def _vote(
    method: str,
    answers: Answers,
    right: list[FloatArray],
    weights: list[FloatArray] | None,
    k: ArrayLike,
    draws: int,
    rng: int | np.random.Generator,
) -> Selection:
    ks = _check_k(k, right)
    if draws < 2:
        raise ValueError(f"draws must be >= 2, to tell the Monte Carlo error, got {draws}")
    if len(answers) != len(right):
        raise ValueError(f"answers of {len(answers)} problems, but correct of {len(right)}")
    generator = np.random.default_rng(rng)
    rows, variances, exact = [], [], np.ones(ks.size, dtype=bool)
    for problem, flags in enumerate(right):
        codes, good = _encode(answers[problem], flags, problem)
        n = codes.size
        weight = np.ones(n) if weights is None else weights[problem]
        sure = (ks == n) | (ks == 1)
        if weights is None:
            sure |= good.size * ks**2 <= _EXACT_WORK
        mean, variance = np.zeros(ks.size), np.zeros(ks.size)
        for at in np.flatnonzero(sure):
            mean[at] = _exact_vote(codes, good, weight, weights is None, int(ks[at]))
        if not sure.all():
            mean[~sure], variance[~sure] = sampled_vote(
                codes, good, weight, ks[~sure], draws, generator
            )
        exact &= sure
        rows.append(mean)
        variances.append(variance)
    return _selection(method, ks, rows, variances, exact)


def _exact_vote(
    codes: IntArray, good: NDArray[np.bool_], weight: FloatArray, plain: bool, k: int
) -> float:
    if k == codes.size:
        voters = codes >= 0
        tally = np.bincount(codes[voters], weights=weight[voters], minlength=good.size)[None]
        return float(winners(tally, good)[0])
    if k == 1:
        # A vote of weight 0 elects nobody, as it does not in a larger vote.
        voters = (codes >= 0) & (weight > 0)
        return float(good[codes[voters]].sum() / codes.size)
    assert plain  # the caller asks for nothing else
    return exact_majority(np.bincount(codes[codes >= 0], minlength=good.size), good, codes.size, k)


def _encode(
    answers: Sequence[Hashable] | NDArray, flags: FloatArray, problem: int
) -> tuple[IntArray, NDArray[np.bool_]]:
    """Answers as numbers, -1 for None, and whether each distinct answer is right."""
    if len(answers) != flags.size:
        raise ValueError(
            f"problem {problem} has {len(answers)} answers and {flags.size} entries in correct"
        )
    names: dict[Hashable, int] = {}
    codes = np.array(
        [-1 if answer is None else names.setdefault(answer, len(names)) for answer in answers],
        dtype=np.int64,
    )
    voters = codes >= 0
    right = np.bincount(codes[voters], weights=flags[voters], minlength=len(names))
    seen = np.bincount(codes[voters], minlength=len(names))
    mixed = (right > 0) & (right < seen)
    if mixed.any():
        name = list(names)[int(np.argmax(mixed))]
        raise ValueError(f"answer {name!r} of problem {problem} is marked both right and wrong")
    return codes, right > 0


def _flags(correct: ArrayLike) -> list[FloatArray]:
    rows = []
    for problem, row in enumerate(cast("Sequence[Any]", correct)):
        flags = np.asarray(row)
        if flags.ndim != 1 or flags.size == 0 or not np.isin(flags, (0, 1)).all():
            raise ValueError(
                f"correct must hold one non-empty row of booleans per problem, got {row!r} "
                f"at problem {problem}"
            )
        rows.append(flags.astype(np.float64))
    if not rows:
        raise ValueError("correct holds no problem")
    return rows


def _scores(scores: ArrayLike, right: list[FloatArray]) -> list[FloatArray]:
    rows = [np.asarray(row, dtype=np.float64) for row in cast("Sequence[Any]", scores)]
    if len(rows) != len(right):
        raise ValueError(f"scores of {len(rows)} problems, but correct of {len(right)}")
    for problem, (row, flags) in enumerate(zip(rows, right, strict=True)):
        if row.shape != flags.shape:
            raise ValueError(
                f"problem {problem} has {row.size} scores and {flags.size} entries in correct"
            )
        if not np.isfinite(row).all():
            raise ValueError(
                f"scores must be finite, got {row[~np.isfinite(row)][0]} at problem {problem}"
            )
    return rows


def _check_k(k: ArrayLike, right: list[FloatArray]) -> IntArray:
    ks = np.atleast_1d(whole(k, "k"))
    fewest = min(row.size for row in right)
    if ks.ndim != 1 or ks.size == 0 or ks.min() < 1 or ks.max() > fewest:
        raise ValueError(
            f"k must be between 1 and {fewest}, the fewest samples that a problem has, got {k!r}"
        )
    return ks


def _selection(
    method: str,
    ks: IntArray,
    rows: list[FloatArray],
    variances: list[FloatArray],
    exact: NDArray[np.bool_],
) -> Selection:
    table = np.clip(np.stack(rows), 0.0, 1.0)  # rounding
    error = np.sqrt(np.stack(variances).sum(0)) / len(rows)
    return Selection(method, ks, table.mean(0), error, exact, table)
