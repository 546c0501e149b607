"""Plans against brute force, and refusals that say what is needed."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from paperworks.statistics.adaptive import (
    FiniteDomain,
    Gaussian,
    Laplace,
    Splitting,
    Thresholdout,
    plan_holdout,
)


@pytest.mark.parametrize(("name", "kind"), [("gaussian", Gaussian), ("laplace", Laplace)])
@pytest.mark.parametrize(("n", "queries"), [(2000, 1), (20_000, 30), (500_000, 4000)])
def test_no_noise_is_better_than_the_planned_one(name, kind, n, queries):
    plan = plan_holdout(n, queries=queries, mechanism=name)
    scales = plan.scale * np.geomspace(0.1, 10, 60)
    best = min(kind(queries, scale).error_bound(n) for scale in scales)
    assert plan.error_bound(n) <= best * 1.001


@pytest.mark.parametrize("name", ["splitting", "laplace", "gaussian"])
def test_a_tolerance_lasts_for_as_many_queries_as_it_can(name):
    n, tolerance, confidence = 60_000, 0.12, 0.9
    plan = plan_holdout(n, tolerance=tolerance, mechanism=name, confidence=confidence)
    assert plan.error_bound(n, confidence) <= tolerance
    more = plan_holdout(n, queries=math.ceil(plan.queries * 1.003) + 1, mechanism=name)
    assert more.error_bound(n, confidence) > tolerance


def test_splitting_by_hand():
    n, queries = 100_000, 219
    error = math.sqrt(math.log(2 * queries / 0.05) / (2 * (n // queries)))
    assert Splitting(queries).error_bound(n) == pytest.approx(error, abs=1e-6)
    assert plan_holdout(n, tolerance=0.1, mechanism="splitting").queries == queries
    # That many samples in each part leave room for a few more parts, at the next size only.
    assert Splitting(220).error_bound(n) > 0.1


def test_the_accountant_prefers_what_theory_prefers():
    """Splitting for few queries, Gaussian noise for many, a model for very many."""
    n, domain = 1_000_000, FiniteDomain(range(256))

    def error(name, queries):
        where = domain if name == "multiplicative-weights" else None
        return plan_holdout(n, queries=queries, mechanism=name, domain=where).error_bound(n)

    names = ("splitting", "gaussian", "multiplicative-weights")
    for queries, best in ((10, 0), (5_000, 1), (10**9, 2)):
        errors = [error(name, queries) for name in names]
        assert int(np.argmin(errors)) == best


def test_errors_grow_as_theory_says():
    n, counts = 10**8, np.array([10**3, 10**4, 10**5, 10**6])
    for name, rate in (("splitting", 0.5), ("gaussian", 0.25)):
        errors = [plan_holdout(n, queries=k, mechanism=name).error_bound(n) for k in counts]
        slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
        assert rate <= slope < rate + 0.06  # the logarithm adds a little
    domain = FiniteDomain(range(16))
    errors = [
        plan_holdout(
            10**6, queries=10**e, mechanism="multiplicative-weights", domain=domain
        ).error_bound(10**6)
        for e in (4, 8, 12)
    ]
    assert errors[2] < 1.3 * errors[0]


@pytest.mark.parametrize(("n", "tolerance"), [(20_000, 0.1), (200_000, 0.05)])
def test_thresholdout_gets_the_largest_budget(n, tolerance):
    plan = plan_holdout(n, queries=5000, tolerance=tolerance, mechanism="thresholdout")
    assert isinstance(plan, Thresholdout)
    assert plan.error_bound(n) <= tolerance
    more = [
        Thresholdout(5000, plan.budget + 1, plan.threshold, plan.scale * factor)
        for factor in (0.97, 1, 2, 10)
    ]
    assert min(each.error_bound(n) for each in more) > tolerance


def test_a_model_gets_enough_updates():
    domain = FiniteDomain(range(64))
    plan = plan_holdout(200_000, queries=10**6, mechanism="multiplicative-weights", domain=domain)
    apart = plan.step / 4
    assert apart < plan.threshold
    assert plan.budget == math.floor(math.log(64) / (2 * apart**2)) or plan.budget == 10**6
    with_tolerance = plan_holdout(
        200_000, tolerance=0.3, mechanism="multiplicative-weights", domain=domain
    )
    assert with_tolerance.error_bound(200_000) <= 0.3


@pytest.mark.parametrize(
    "arguments",
    [
        {"queries": 3, "tolerance": 0.05, "mechanism": "gaussian"},
        {"tolerance": 0.02, "mechanism": "splitting"},
        {"queries": 1000, "tolerance": 0.1, "mechanism": "thresholdout"},
    ],
)
def test_too_few_samples_say_how_many_are_needed(arguments):
    n = 500
    with pytest.raises(ValueError, match="500 samples are too few") as caught:
        plan_holdout(n, **arguments)
    needed = int(re.search(r"about ([\d,]+) are needed", str(caught.value))[1].replace(",", ""))
    plan_holdout(needed, **arguments)
    with pytest.raises(ValueError, match="too few"):
        plan_holdout(int(needed * 0.9), **arguments)
    possible = float(re.search(r"the tolerance can be (\d\.\d+)", str(caught.value))[1])
    plan_holdout(n, **{**arguments, "tolerance": possible + 0.002})


def test_plans_are_the_same_on_every_machine():
    """Four digits: a file is shared by guards of equal parameters."""
    for plan in (
        plan_holdout(50_000, queries=500),
        plan_holdout(50_000, queries=500, tolerance=0.1, mechanism="thresholdout"),
    ):
        assert plan.scale == float(f"{plan.scale:.4g}")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "give queries .how many. or tolerance"),
        ({"queries": 0}, "queries must be a whole number >= 1, got 0"),
        ({"queries": 2.0}, "queries must be a whole number >= 1, got 2.0"),
        ({"tolerance": 0.0}, "tolerance must lie strictly between 0 and 1, got 0.0"),
        ({"tolerance": float("nan")}, "tolerance must lie strictly between 0 and 1, got nan"),
        ({"queries": 1, "confidence": 1.5}, "confidence must lie strictly between 0 and 1"),
        ({"queries": 1, "mechanism": "magic"}, "must be one of splitting, .* got 'magic'"),
        ({"queries": 9, "mechanism": "thresholdout"}, "needs both queries and tolerance"),
        ({"queries": 9, "mechanism": "multiplicative-weights"}, "needs domain"),
        ({"queries": 9, "domain": FiniteDomain(range(3))}, "gaussian takes no domain"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(ValueError, match=word):
        plan_holdout(1000, **arguments)


def test_bad_n():
    with pytest.raises(ValueError, match="n must be a whole number >= 1, got 0"):
        plan_holdout(0, queries=1)
