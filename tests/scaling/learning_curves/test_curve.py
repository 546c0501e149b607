"""A fitted curve against the constants that made it, simulation, and its own symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from paperworks.scaling import LearningCurve
from paperworks.scaling.learning_curves.results import Border, Regions

SIZE = np.geomspace(20, 1e6, 14)


def three(size: np.ndarray, e: float = 0.03, alpha: float = 0.5, d: float = 300) -> np.ndarray:
    return e + (0.9 - e) * (1 + size / d) ** -alpha


@settings(max_examples=6, deadline=None)
@given(st.floats(0.005, 0.1), st.floats(0.3, 0.8), st.floats(100, 2000))
def test_finds_the_constants_of_an_exact_curve(e: float, alpha: float, d: float) -> None:
    curve = LearningCurve.fit(SIZE, three(SIZE, e, alpha, d), chance=0.9, resamples=20)
    assert str(curve.shape) == "plateau, power law, floor"
    assert curve.exponent.value == pytest.approx(alpha, rel=1e-4)
    assert curve.floor.value == pytest.approx(e, rel=1e-3)
    assert curve.regions.small_data_to.size == pytest.approx(d, rel=1e-3)
    border = d * ((0.9 - e) / e) ** (1 / alpha)
    assert curve.regions.irreducible_from.size == pytest.approx(border, rel=5e-3)
    np.testing.assert_allclose(curve(SIZE), three(SIZE, e, alpha, d), rtol=1e-5)
    assert curve.warnings == ()


@pytest.mark.parametrize("exponent", [0.07, 0.13, 0.2, 0.27, 0.35])
def test_recovers_the_exponents_that_the_paper_reports(exponent: float) -> None:
    """From -0.07 to -0.35 over its domains, with the scatter of points on such a plot."""
    size = np.geomspace(1e5, 1e9, 9)
    rng = np.random.default_rng(0)
    error = 10 * size**-exponent * np.exp(0.01 * rng.standard_normal(9))
    curve = LearningCurve.fit(size, error, resamples=300)
    assert str(curve.shape) == "power law"
    assert curve.exponent.value == pytest.approx(exponent, abs=0.005)
    assert curve.exponent.low <= exponent <= curve.exponent.high
    assert curve.regions.power_law == (1e5, 1e9)


def test_chance_is_found_where_it_is_not_given() -> None:
    curve = LearningCurve.fit(SIZE, three(SIZE), resamples=20)
    assert curve.chance.value == pytest.approx(0.9, rel=1e-3)
    straight = LearningCurve.fit(SIZE, 2 * SIZE**-0.3, resamples=20)
    assert straight.chance.value == math.inf
    assert straight.floor.value == 0.0
    assert straight.regions.small_data_to.size == 0.0
    assert straight.regions.irreducible_from.size == math.inf


@pytest.mark.parametrize("name", ["with floor", "three regions"])
def test_intervals_cover(name: str) -> None:
    """95 % intervals hold the truth in 30 simulated tables, up to what luck allows."""
    truth = {
        "with floor": (0.5, lambda x: 0.05 + 3 * x**-0.5),
        "three regions": (0.5, three),
    }[name]
    alpha, law = truth
    size = np.geomspace(100, 25_600, 9) if name != "three regions" else SIZE
    ahead = 4 * size.max()
    rng = np.random.default_rng(7)
    hits = np.zeros(3)
    for seed in range(30):
        error = law(size) * np.exp(0.03 * rng.standard_normal(size.size))
        curve = LearningCurve.fit(
            size, error, chance=0.9 if name == "three regions" else None, resamples=150, rng=seed
        )
        said = curve.predict(ahead)
        need = curve.data_for(float(law(np.array([ahead]))[0]))
        hits += [
            curve.exponent.low <= alpha <= curve.exponent.high,
            said.low <= law(np.array([ahead]))[0] <= said.high,
            need.low <= ahead * (1 + 1e-9) and need.high >= ahead * (1 - 1e-9),
        ]
    # The least that 90 % coverage would give in 999 of 1,000 such tests.
    assert (hits >= binom.ppf(0.001, 30, 0.90)).all(), hits


def test_an_interval_knows_that_a_floor_may_come() -> None:
    """Too few points to tell a straight line from one that bends: the interval holds both."""
    size = np.geomspace(100, 3200, 6)
    rng = np.random.default_rng(2)
    error = (0.05 + 3 * size**-0.5) * np.exp(0.02 * rng.standard_normal(6))
    curve = LearningCurve.fit(size, error)
    assert 0 < curve.regions.irreducible_weight < 1
    assert curve.data_for(0.04).high == math.inf
    assert curve.data_for(0.04).never > 0


def test_data_for_undoes_the_curve() -> None:
    curve = LearningCurve.fit(SIZE, three(SIZE), chance=0.9, resamples=100)
    for target in (0.5, 0.1, 0.04):
        need = curve.data_for(target)
        assert float(curve(need.size)) == pytest.approx(target, rel=1e-9)
        assert need.low <= need.size <= need.high
        assert need.more == need.size / 1e6
    never = curve.data_for(0.02)
    assert not never.reachable
    assert never.size == math.inf
    assert curve.data_for(0.95).size == 0.0


def test_more_is_never_less() -> None:
    rng = np.random.default_rng(0)
    curve = LearningCurve.fit(SIZE, three(SIZE) * np.exp(0.05 * rng.standard_normal(14)))
    needs = [curve.data_for(target) for target in (0.3, 0.2, 0.1, 0.05, 0.04)]
    for end in ("size", "low", "high", "never"):
        values = [getattr(need, end) for need in needs]
        assert values == sorted(values), end
    grid = np.geomspace(1, 1e9, 50)
    assert (np.diff(curve(grid)) <= 0).all()
    said = curve.predict(grid)
    assert ((said.low <= said.value) & (said.value <= said.high)).all()
    wide = curve.predict(grid, new_run=True)
    assert (wide.high[20:] >= said.high[20:] * 0.999).all()
    assert said.beyond[-1] == pytest.approx(1e3)


def test_ends_are_quantiles_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    error = three(SIZE) * np.exp(0.05 * rng.standard_normal(14))
    curve = LearningCurve.fit(SIZE, error, chance=0.9, confidence=0.8, resamples=999)
    low, high = np.quantile(curve.draws.alpha, [0.1, 0.9])
    assert curve.exponent.low == pytest.approx(low, rel=0.01)
    assert curve.exponent.high == pytest.approx(high, rel=0.01)
    said = curve.predict(SIZE[7])
    errors = curve.draws.error(SIZE[7:8])[:, 0]
    assert [float(said.low), float(said.high)] == pytest.approx(np.quantile(errors, [0.1, 0.9]))


def test_one_more_measurement_scatters() -> None:
    """Within dense points the curve is sure, and a measurement is as far off as the points are."""
    size = np.geomspace(100, 1e5, 200)
    rng = np.random.default_rng(0)
    curve = LearningCurve.fit(size, 2 * size**-0.3 * np.exp(0.1 * rng.standard_normal(200)))
    line, point = (curve.predict(3000.0, new_run=new) for new in (False, True))
    assert math.log(line.high / line.low) < 0.06
    assert math.log(point.high / point.low) == pytest.approx(2 * 1.96 * 0.1, rel=0.2)


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    error = three(SIZE) * np.exp(0.03 * rng.standard_normal(14))
    first = LearningCurve.fit(SIZE, error, resamples=200)
    other = LearningCurve.fit(SIZE / 1000, 100 * error, resamples=200)
    assert other.shape == first.shape
    assert other.exponent.value == pytest.approx(first.exponent.value, rel=1e-3)
    assert other.floor.value == pytest.approx(100 * first.floor.value, rel=1e-2)
    start, moved = first.regions.small_data_to, other.regions.small_data_to
    assert moved.size == pytest.approx(start.size / 1000, rel=1e-2)
    assert other.data_for(10).size == pytest.approx(first.data_for(0.1).size / 1000, rel=1e-3)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    error = three(SIZE) * np.exp(0.03 * rng.standard_normal(14))
    order = rng.permutation(14)
    first, other = (
        LearningCurve.fit(SIZE[rows], error[rows], resamples=50) for rows in (slice(None), order)
    )
    assert other.exponent == first.exponent
    assert other.data_for(0.05) == first.data_for(0.05)


def test_regions_by_hand() -> None:
    regions = Regions(Border(100, 80, 130), Border(1e5, 5e4, math.inf), 1.0, 0.8, 200.0, 1e6, 0.95)
    assert [regions.at(x) for x in (50, 1e3, 2e5)] == ["small-data", "power-law", "irreducible"]
    assert regions.power_law == (200.0, 1e5)
    outside = Regions(Border(100, 80, 130), Border(150, 1, 2), 1.0, 0.8, 200.0, 1e6, 0.95)
    assert outside.power_law is None


def test_warnings() -> None:
    rng = np.random.default_rng(0)
    up = LearningCurve.fit(SIZE, SIZE**0.1, resamples=20)
    assert any("does not fall" in each for each in up.warnings)

    plateau = LearningCurve.fit(
        [10, 20, 40, 80, 160, 3000, 5000], three(np.array([10, 20, 40, 80, 160, 3000, 5000.0])),
        chance=0.9, resamples=20,
    )  # fmt: skip
    assert any("lie in the power-law region" in each for each in plateau.warnings)

    above = LearningCurve.fit(SIZE, 200 * three(SIZE), chance=0.9, resamples=20)
    assert any("above chance" in each for each in above.warnings)

    wavy = LearningCurve.fit(
        np.geomspace(10, 1e6, 60),
        np.geomspace(10, 1e6, 60) ** -0.3 * np.exp(0.1 * np.sin(np.linspace(0, 9 * np.pi, 60))),
        resamples=20,
    )
    assert any("lean the same way" in each for each in wavy.warnings)

    size = np.geomspace(100, 2e4, 9)
    steep = LearningCurve.fit(size, 0.9 * np.exp(-size / 4000), chance=0.9, resamples=20)
    assert any("faster than a power law" in each for each in steep.warnings)

    size = np.geomspace(100, 1e4, 12)
    vague = LearningCurve.fit(
        size, (0.02 + 3 * size**-0.5) * np.exp(0.05 * rng.standard_normal(12)), resamples=300
    )
    assert vague.shape.floor
    assert any("irreducible error is not determined" in each for each in vague.warnings)


def test_runs_name_what_errs_together() -> None:
    rng = np.random.default_rng(0)
    size = np.tile(np.geomspace(100, 1e5, 7), 8)
    run = np.repeat(np.arange(8), 7)
    error = 3 * size**-0.4 * np.exp(rng.normal(0, 0.2, 8)[run] + rng.normal(0, 0.01, 56))
    order = rng.permutation(56)
    by_run = LearningCurve.fit(size[order], error[order], runs=run[order], resamples=300)
    by_row = LearningCurve.fit(size, error, resamples=300)
    width = [math.log(c.predict(1e4).high / c.predict(1e4).low) for c in (by_run, by_row)]
    assert width[0] > 1.5 * width[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": [1, 2, 3], "error": [3, 2]}, "two 1-d arrays of one length"),
        ({"size": [1, 2, 3, 4, 5], "error": [5, 4, 3, 2, np.nan]}, "error must be finite and > 0, "
         "got nan in row 4"),
        ({"size": [1, 2, 3, 4, 5], "error": [5, 4, 3, 2, 0]}, "got 0.0 in row 4; a law of log"),
        ({"size": [0, 2, 3, 4, 5], "error": [5, 4, 3, 2, 1]}, "size must be finite and > 0, got 0"),
        ({"size": [1, 2, 3, 4], "error": [4, 3, 2, 1]}, "5 rows and 3 different sizes, got 4 rows"),
        ({"size": [1, 1, 1, 2, 2], "error": [4, 3, 2, 1, 1]}, "5 rows of 2 size"),
        ({"chance": 0.0}, "chance must be > 0"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1, got 1.0"),
        ({"resamples": 0}, "resamples must be >= 1, got 0"),
        ({"runs": [1, 2]}, "runs must name the run of each of 14 rows"),
        ({"runs": [1] * 7 + [2] * 7}, "at least 5 of them, got 2; leave runs out"),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        LearningCurve.fit(**{"size": SIZE, "error": three(SIZE), "resamples": 5, **arguments})


def test_bad_questions() -> None:
    curve = LearningCurve.fit(SIZE, three(SIZE), resamples=5)
    with pytest.raises(ValueError, match="target error must be > 0, got -1"):
        curve.data_for(-1)
    with pytest.raises(ValueError, match="size must be finite and > 0, got 0"):
        curve.predict([10, 0])
