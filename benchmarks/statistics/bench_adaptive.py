"""Noise beside OpenDP's, which is exact too; and what a guarded answer costs beside a plain mean.

`python -m pytest benchmarks/statistics/bench_adaptive.py -o python_files='bench_*.py'`
"""

from __future__ import annotations

import numpy as np
import pytest

from paperworks.statistics.adaptive import (
    FiniteDomain,
    Gaussian,
    MultiplicativeWeights,
    ReusableHoldout,
    Thresholdout,
)
from paperworks.statistics.adaptive.noise import discrete_gaussian, discrete_laplace, source

DRAWS, SCALES = 1_000, [10, 10**7]
SIZES = [1_000, 30_000, 1_000_000]
NOISE = {"Laplace": discrete_laplace, "Gaussian": discrete_gaussian}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", NOISE)
def test_noise_ours(race, kind, scale):
    draw, sampler = source(None), NOISE[kind]
    race(
        lambda: [sampler(scale, draw) for _ in range(DRAWS)],
        group=f"discrete {kind} noise, {DRAWS} draws, scale {scale:,}",
        contender="ours",
        ours=True,
        note=lambda found: f"mean of sizes {np.abs(found).mean() / scale:.2f} scales",
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", NOISE)
def test_noise_opendp(race, kind, scale):
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    space = dp.atom_domain(T=int), dp.absolute_distance(T=int)
    make = dp.m.make_laplace if kind == "Laplace" else dp.m.make_gaussian
    sampler = make(*space, scale=float(scale))
    race(
        lambda: [sampler(0) for _ in range(DRAWS)],
        group=f"discrete {kind} noise, {DRAWS} draws, scale {scale:,}",
        contender="OpenDP",
        note=lambda found: f"mean of sizes {np.abs(found).mean() / scale:.2f} scales",
    )


def sample(n):
    return np.random.default_rng(0).random(n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["Gaussian", "Thresholdout", "Gaussian, in a file"])
def test_guarded_answer(race, tmp_path, name, n):
    train, holdout = sample(n), sample(n)
    if name == "Thresholdout":
        guard = ReusableHoldout(train, holdout, Thresholdout(10**6, 10**6, 0.1, 0.01))
    else:
        path = tmp_path / "state" if "file" in name else None
        guard = ReusableHoldout(None, holdout, Gaussian(10**6, 0.01), path=path)
    race(
        lambda: guard.ask(lambda x: x > 0.5),
        group=f"one answer, n={n}",
        contender=name,
        ours=True,
        rounds=5,
    )


@pytest.mark.parametrize("n", SIZES)
def test_plain_mean(race, n):
    holdout = sample(n)
    race(
        lambda: float(np.mean(holdout > 0.5)),
        group=f"one answer, n={n}",
        contender="plain mean",
        rounds=5,
    )


@pytest.mark.parametrize("size", [256, 16_384, 1_048_576])
def test_answer_of_a_model(race, size):
    points = np.random.default_rng(0).integers(0, size, 10_000)
    domain = FiniteDomain(np.arange(size))
    mechanism = MultiplicativeWeights(10**6, 10**6, 0.1, 0.01, domain, 0.3)
    guard = ReusableHoldout(None, points, mechanism)
    race(
        lambda: guard.ask(lambda x: x % 2),
        group=f"one answer of multiplicative weights, domain of {size:,}, n=10000",
        contender="MultiplicativeWeights",
        ours=True,
        rounds=5,
    )
