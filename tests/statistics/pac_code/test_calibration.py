"""How many misses are allowed, against exact binomial sums; and the promise itself, simulated."""

from __future__ import annotations

import warnings
from fractions import Fraction
from math import comb, inf

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from paperworks.statistics import PACCodeSets, ScoredProgram, calibration_size
from paperworks.statistics.pac_code import sets as module
from paperworks.statistics.pac_code.calibration import allowed_misses, miss_bound
from paperworks.statistics.pac_code.languages import parse


def cdf(k, n, p):
    return sum(comb(n, h) * p**h * (1 - p) ** (n - h) for h in range(k + 1))


@pytest.mark.parametrize("epsilon", ["0.01", "0.1", "0.25", "0.5", "0.9"])
@pytest.mark.parametrize("delta", ["0.001", "0.05", "0.1", "0.5"])
def test_allowed_misses_are_those_of_exact_sums(epsilon, delta):
    p, d = Fraction(epsilon), Fraction(delta)
    needed = calibration_size(float(epsilon), float(delta))
    assert (1 - p) ** needed <= d
    assert needed == 1 or (1 - p) ** (needed - 1) > d
    for n in {needed, needed + 1, needed + 7, 2 * needed + 3}:
        if n > 1500:
            continue
        k = allowed_misses(n, float(epsilon), float(delta))
        assert cdf(k, n, p) <= d
        assert k == n or cdf(k + 1, n, p) > d


def test_the_bound_is_clopper_and_pearsons():
    for n, k, delta in [(20, 0, 0.05), (50, 7, 0.1), (200, 13, 0.01)]:
        scipys = binomtest(k, n, alternative="less").proportion_ci(1 - delta, method="exact").high
        assert miss_bound(k, n, delta) == pytest.approx(scipys, rel=1e-9)
        assert cdf(k, n, miss_bound(k, n, delta)) == pytest.approx(delta, rel=1e-6)
    assert miss_bound(5, 5, 0.1) == 1
    # Both ways to say it agree.
    for n in (30, 77):
        k = allowed_misses(n, 0.2, 0.1)
        assert miss_bound(k, n, 0.1) <= 0.2 < miss_bound(k + 1, n, 0.1)


def test_too_few_programs_say_how_many_are_needed():
    with pytest.raises(ValueError, match=r"at least 29 calibration programs, got 28; add 1"):
        allowed_misses(28, 0.1, 0.05)
    assert allowed_misses(29, 0.1, 0.05) == 0
    program = ScoredProgram(["x"], [-0.1], target="x")
    with pytest.raises(ValueError, match="at least 22 calibration programs, got 3; add 19"):
        PACCodeSets(0.1, 0.1).fit([program] * 3)


@pytest.mark.parametrize("value", [0, 1, -0.1, 2, "a", None, float("nan")])
def test_levels_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match="epsilon must lie"):
        calibration_size(value, 0.1)
    with pytest.raises(ValueError, match="delta must lie"):
        calibration_size(0.1, value)


def pool(rng, size):
    """Generated programs and their truth: each part is wrong about as often as the model thinks.

    The model is a little too sure, and its certainty says something but not all.
    """
    programs = []
    for _ in range(size):
        doubt = rng.exponential(0.4, 4)
        wrong = rng.random(4) > np.exp(-1.5 * doubt)
        names = ["a", "b", "c", "d"]
        truth = [n if not w else n + "2" for n, w in zip(names, wrong, strict=True)]
        programs.append(
            ScoredProgram(
                ["f(", "a", ", ", "b", ", ", "c", ", ", "d", ")"],
                [0, -doubt[0], 0, -doubt[1], 0, -doubt[2], 0, -doubt[3], 0],
                target=f"f({', '.join(truth)})",
            )
        )
    return programs


@pytest.fixture(scope="module")
def drawn():
    return pool(np.random.default_rng(0), 300)


@pytest.mark.parametrize(
    ("method", "epsilon", "delta", "n"),
    [("milp", 0.2, 0.1, 60), ("greedy", 0.1, 0.3, 50), ("uniform", 0.3, 0.2, 40)],
)
def test_the_promise_holds_in_all_but_delta_of_the_calibrations(
    drawn, method, epsilon, delta, n, monkeypatch
):
    """Draws from a finite pool, with replacement, are independent, and the miss rate is known."""
    levels = np.linspace(0, 1, 9) if method == "uniform" else np.linspace(0.05, 3, 25)
    sets = PACCodeSets(epsilon, delta, max_holes=2, method=method, thresholds=levels)
    # Sets, truths and verdicts depend on the program alone: those of the pool are made once.
    families = dict(zip(map(id, drawn), sets._families(drawn, levels), strict=True))
    truths = {id(each): parse(each.target) for each in drawn}
    judged = {id(f): module.judged(f, truths[at]) for at, f in families.items()}
    monkeypatch.setattr(sets, "_families", lambda some, _: [families[id(each)] for each in some])
    monkeypatch.setattr(module, "true_trees", lambda some, *_: [truths[id(each)] for each in some])
    monkeypatch.setattr(module, "judged", lambda family, _: judged[id(family)])
    covered = np.array([judged[id(families[id(each)])][0] for each in drawn])
    assert (covered[:, :-1] >= covered[:, 1:]).all(), "not nested"
    miss_rate = 1 - covered.mean(0)
    assert miss_rate[-1] > epsilon > miss_rate[0], "nothing to decide"
    rng = np.random.default_rng(1)
    repeats, broken, used = 1000, 0, []
    for _ in range(repeats):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # single holes are an honest answer
            sets.fit([drawn[at] for at in rng.integers(0, len(drawn), n)])
        rate = 0.0 if sets.threshold_ == -inf else miss_rate[levels == sets.threshold_][0]
        assert sets.miss_bound_ <= epsilon
        used.append(rate)
        broken += rate > epsilon
    assert broken <= binom.ppf(0.999, repeats, delta)
    # And it is not bought by sets that hold everything.
    if method != "uniform":
        assert np.mean(used) > epsilon / 4


def test_a_model_sure_of_what_is_wrong_gets_single_holes():
    programs = [ScoredProgram(["x"], [-1e-6], target="y")] * 30
    with pytest.warns(UserWarning, match=r"30 of 30 true programs are missed and 0 may be"):
        sets = PACCodeSets(0.1, 0.05).fit(programs)
    assert sets.threshold_ == -inf
    assert str(sets.predict(programs[:1])[0]) == "??"
    assert sets.evaluate(programs).coverage == 1
