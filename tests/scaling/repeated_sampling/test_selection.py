"""Selection without a verifier, against all subsets counted out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.scaling import best_of_n, majority_vote, pass_at_k, score_weighted_vote

Case = tuple[list[str | None], list[bool], list[float]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 8))
    answers = draw(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=n, max_size=n))
    right = draw(st.sets(st.sampled_from(["a", "b", "c", "d"])))
    scores = draw(st.lists(st.integers(0, 3).map(float), min_size=n, max_size=n))
    return answers, [answer in right for answer in answers], scores


def voted(answers: Sequence, correct: Sequence[bool], weights: Sequence[float], k: int) -> float:
    """Share of right answers among the leaders, averaged over every subset of size k."""
    total, subsets = 0.0, list(itertools.combinations(range(len(answers)), k))
    for subset in subsets:
        tally: dict[str, float] = {}
        for i in subset:
            if answers[i] is not None:
                tally[answers[i]] = tally.get(answers[i], 0.0) + weights[i]
        top = max(tally.values(), default=0.0)
        if top > 0:
            leaders = [answer for answer, votes in tally.items() if votes == top]
            total += sum(correct[list(answers).index(a)] for a in leaders) / len(leaders)
    return total / len(subsets)


def best(correct: Sequence[bool], scores: Sequence[float], k: int) -> float:
    total, subsets = 0.0, list(itertools.combinations(range(len(correct)), k))
    for subset in subsets:
        top = max(scores[i] for i in subset)
        leaders = [i for i in subset if scores[i] == top]
        total += sum(correct[i] for i in leaders) / len(leaders)
    return total / len(subsets)


@given(cases())
def test_majority_is_exact(case: Case) -> None:
    answers, correct, _ = case
    ks = range(1, len(answers) + 1)
    result = majority_vote([answers], [correct], list(ks))
    assert result.exact.all()
    assert (result.monte_carlo_error == 0).all()
    expected = [voted(answers, correct, [1.0] * len(answers), k) for k in ks]
    np.testing.assert_allclose(result.accuracy, expected, atol=1e-12)


@given(cases())
def test_best_of_n_is_exact(case: Case) -> None:
    _, correct, scores = case
    ks = range(1, len(correct) + 1)
    result = best_of_n([correct], [scores], list(ks))
    assert result.exact.all()
    np.testing.assert_allclose(result.accuracy, [best(correct, scores, k) for k in ks], atol=1e-12)


@settings(max_examples=30)
@given(cases())
def test_weighted_vote_is_right_within_its_stated_error(case: Case) -> None:
    answers, correct, scores = case
    ks = list(range(1, len(answers) + 1))
    result = score_weighted_vote([answers], [correct], [scores], ks, draws=2000)
    assert result.exact[[0, -1]].all()
    expected = np.array([voted(answers, correct, scores, k) for k in ks])
    np.testing.assert_allclose(result.accuracy[result.exact], expected[result.exact], atol=1e-12)
    # 5 standard errors, and the least step of one draw where the error itself came out as 0.
    assert (np.abs(result.accuracy - expected) <= 5 * result.monte_carlo_error + 5 / 2000).all()


def test_sampled_majority_agrees_with_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    answers = rng.choice(30, (6, 200), p=np.r_[0.2, 0.15, np.full(28, 0.65 / 28)])
    exact = majority_vote(answers, answers == 0, [18])
    # Weights of 1 make a weighted vote a majority vote, and that one is always sampled.
    ones = np.ones(answers.shape)
    sampled = score_weighted_vote(answers, answers == 0, ones, [18], draws=4000, rng=1)
    assert exact.exact.all()
    assert not sampled.exact.any()
    assert 0 < sampled.monte_carlo_error[0] < 0.01
    gap = abs(exact.accuracy[0] - sampled.accuracy[0])
    assert gap < 4 * sampled.monte_carlo_error[0]


def test_stated_error_is_the_spread_over_seeds() -> None:
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 12, (5, 300))
    runs = [majority_vote(answers, answers == 0, [80], draws=100, rng=seed) for seed in range(60)]
    spread = np.std([run.accuracy[0] for run in runs], ddof=1)
    stated = np.mean([run.monte_carlo_error[0] for run in runs])
    assert stated == pytest.approx(spread, rel=0.35)


def test_majority_plateaus_where_coverage_goes_on() -> None:
    # The paper's figure 7: a right answer in 1 of 20 samples wins no vote, and is there anyway.
    answers = [["wrong"] * 60 + ["right"] * 5 + ["other"] * 35]
    correct = [[answer == "right" for answer in answers[0]]]
    vote = majority_vote(answers, correct, [1, 10, 100])
    np.testing.assert_array_less(vote.accuracy[1:], vote.accuracy[:-1])
    assert pass_at_k(100, 5, 100) == 1.0


def test_a_vote_of_the_right_against_one_wrong_is_a_hypergeometric_tail() -> None:
    from scipy.stats import hypergeom

    n, c, k = 400, 180, 51
    answers = [["r"] * c + ["w"] * (n - c)]
    result = majority_vote(answers, [[a == "r" for a in answers[0]]], [k])
    assert result.exact.all()
    assert result.accuracy[0] == pytest.approx(hypergeom.sf(k // 2, n, c, k), rel=1e-9)


def test_problems_may_have_different_numbers_of_samples() -> None:
    result = best_of_n([[True, False], [False, False, True]], [[2, 1], [3, 2, 1]], [1, 2])
    np.testing.assert_allclose(result.per_problem, [[1 / 2, 1], [1 / 3, 0]])
    np.testing.assert_allclose(result.accuracy, result.per_problem.mean(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_either_precision(dtype: type) -> None:
    scores = np.array([[0.1, 0.9, 0.9, 0.3]], dtype)
    result = best_of_n(np.array([[0, 1, 0, 1]]), scores, [4])
    assert result.accuracy[0] == pytest.approx(0.5)
    assert result.accuracy.dtype == np.float64


def test_refuses() -> None:
    with pytest.raises(ValueError, match="'a' of problem 0 is marked both right and wrong"):
        majority_vote([["a", "a"]], [[True, False]], [1])
    with pytest.raises(ValueError, match="k must be between 1 and 2, the fewest samples"):
        majority_vote([["a", "b"], ["a", "b", "c"]], [[1, 0], [1, 0, 0]], [3])
    with pytest.raises(ValueError, match=r"must be >= 0, got -2 at problem 0; map scores"):
        score_weighted_vote([["a", "b"]], [[1, 0]], [[-2, 1]], [1])
    with pytest.raises(ValueError, match="scores must be finite, got nan at problem 0"):
        best_of_n([[1, 0]], [[np.nan, 1]], [1])
    with pytest.raises(ValueError, match="problem 0 has 3 answers and 2 entries in correct"):
        majority_vote([["a", "b", "c"]], [[1, 0]], [1])
    with pytest.raises(ValueError, match="problem 0 has 1 scores and 2 entries"):
        best_of_n([[1, 0]], [[1.0]], [1])
    with pytest.raises(ValueError, match="answers of 2 problems, but correct of 1"):
        majority_vote([["a"], ["b"]], [[1]], [1])
    with pytest.raises(ValueError, match="one non-empty row of booleans per problem"):
        best_of_n([[0.5, 1]], [[1, 2]], [1])
    with pytest.raises(ValueError, match="draws must be >= 2"):
        majority_vote([["a"]], [[1]], [1], draws=1)
    with pytest.raises(ValueError, match="holds no problem"):
        best_of_n([], [], [1])
