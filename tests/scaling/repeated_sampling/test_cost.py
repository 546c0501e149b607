"""The cost model: the paper's formulas term by term, its table 1, and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paperworks.scaling import (
    CoverageLaw,
    MeasuredCoverage,
    SamplingCost,
    cheapest,
    coverage,
    pass_at_k,
)


def test_flops_are_the_papers_sums() -> None:
    parameters, layers, width, prompt, new = 1000.0, 3, 16, 7, 5

    def per_token(context: int) -> float:
        return 2 * (parameters + 2 * layers * width * context)

    cost = SamplingCost.from_flops(prompt, new, parameters=parameters, layers=layers, width=width)
    for k in (1, 10):
        expected = sum(per_token(t) for t in range(1, prompt + 1))
        expected += k * sum(per_token(t + prompt) for t in range(1, new + 1))
        assert cost(k) == expected
    assert cost.unit == "FLOP"


def test_prices_with_and_without_a_shared_prompt() -> None:
    every = SamplingCost.from_prices(1000, 200, prompt_price=3, completion_price=15)
    once = SamplingCost.from_prices(
        1000, 200, prompt_price=3, completion_price=15, prompt_every_time=False
    )
    assert every(10) == pytest.approx(10 * (0.003 + 0.003))
    assert once(10) == pytest.approx(0.003 + 10 * 0.003)
    assert every(1) == once(1)


@pytest.mark.parametrize("target", [0.3, 0.5, 0.9, 1.0])
def test_measured_coverage_finds_the_least_k(target: float) -> None:
    n, c = [40, 50, 60], [3, 9, 30]
    reach = MeasuredCoverage(n, c).samples_to_reach(target)
    curve = coverage(n, c, np.arange(1, 41)).coverage
    enough = np.flatnonzero(curve >= target - 1e-12)
    assert reach.samples == (enough[0] + 1 if enough.size else math.inf)
    assert not math.isfinite(reach.samples) or not reach.extrapolated


def test_the_cheapest_is_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    models = {}
    for name, skill, price in (("small", 0.2, 1.0), ("middle", 0.5, 4.0), ("large", 2.0, 30.0)):
        c = rng.binomial(500, rng.beta(skill, 3, 60))
        models[name] = MeasuredCoverage(500, c), SamplingCost(0.5, price, "USD")
    for target in (0.2, 0.5, 0.7):
        result = cheapest(models, target)
        k = np.arange(1, 501)
        brute = {
            name: min(cost(at) for at in k[pass_at_k(500, curve.c, k).mean(0) >= target])
            for name, (curve, cost) in models.items()
        }
        assert result.best is not None
        assert result.best.model == min(brute, key=brute.__getitem__)
        assert {option.model: option.cost for option in result.options} == pytest.approx(brute)
        costs = [option.cost for option in result.options]
        assert costs == sorted(costs)


def test_table_1_of_the_paper() -> None:
    # Five attempts of DeepSeek solve 29.62 % of 300 issues for $10.8, one of GPT-4o 24.00 % for
    # $39, one of Claude 3.5 Sonnet 26.70 % for $51: at 24 % DeepSeek is "over 3x cheaper".
    deepseek = CoverageLaw.fit([1, 5, 250], [0.159, 0.2962, 0.56])
    others = {"GPT-4o": (0.24, 39.0), "Claude 3.5 Sonnet": (0.267, 51.0)}
    models = {"DeepSeek": (deepseek, SamplingCost(0.0, 10.8 / 5, "USD"))}
    for name, (solved, price) in others.items():
        single = MeasuredCoverage(1, [1] * round(1000 * solved) + [0] * round(1000 * (1 - solved)))
        models[name] = single, SamplingCost(0.0, price, "USD")
    result = cheapest(models, 0.24)
    assert result.best is not None
    assert result.best.model == "DeepSeek"
    assert result.options[1].cost / result.best.cost > 3
    out_of_reach = {option.model for option in cheapest(models, 0.5).options if option.cost > 1e9}
    assert out_of_reach == {"GPT-4o", "Claude 3.5 Sonnet"}


def test_nobody_reaches_it() -> None:
    models = {"one": (MeasuredCoverage(10, [0, 5]), SamplingCost(0, 1, "USD"))}
    result = cheapest(models, 0.9)
    assert result.best is None
    assert not result.clear
    assert result.options[0].cost == math.inf


def test_clear_needs_intervals_apart() -> None:
    rng = np.random.default_rng(1)
    law = CoverageLaw.fit_counts(100, rng.binomial(100, rng.beta(0.5, 2, 40)))
    near = {"a": (law, SamplingCost(0, 1, "USD")), "b": (law, SamplingCost(0, 1.01, "USD"))}
    far = {"a": (law, SamplingCost(0, 1, "USD")), "b": (law, SamplingCost(0, 1e9, "USD"))}
    assert not cheapest(near, 0.9).clear
    assert cheapest(far, 0.9).clear


def test_refuses() -> None:
    curve = MeasuredCoverage(10, [5])
    with pytest.raises(ValueError, match="in one unit, got FLOP, USD"):
        cheapest(
            {"a": (curve, SamplingCost(0, 1, "USD")), "b": (curve, SamplingCost(0, 1, "FLOP"))}, 0.5
        )
    with pytest.raises(ValueError, match="no model to compare"):
        cheapest({}, 0.5)
    with pytest.raises(ValueError, match=r"target must be in \(0, 1\], got 50"):
        cheapest({"a": (curve, SamplingCost(0, 1, "USD"))}, 50)
    with pytest.raises(ValueError, match="per_sample must be finite and >= 0, got -1"):
        SamplingCost(0, -1, "USD")
    with pytest.raises(ValueError, match="a cost of 0 compares nothing"):
        SamplingCost(0, 0, "USD")
    with pytest.raises(ValueError, match="c must be <= n"):
        MeasuredCoverage(10, [11])
