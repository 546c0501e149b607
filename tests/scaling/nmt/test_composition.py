"""Test sets apart and mixed: recovery, the mixture's arithmetic, splits by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperworks.scaling.nmt.composition import Composition, fit_test_sets
from paperworks.scaling.nmt.law import EncoderDecoderLaw

SOURCE = EncoderDecoderLaw(0.3, 0.05, 0.20, 1.0, 1e8, 2e8)
TARGET = EncoderDecoderLaw(0.6, 0.30, 0.35, 1.4, 1e8, 2e8)
BOTH = Composition({"source-original": SOURCE, "target-original": TARGET})


def rows(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    n_e, n_d = (
        each.ravel() for each in np.meshgrid(np.geomspace(2e7, 1e9, 5), np.geomspace(2e7, 1e9, 5))
    )
    rng = np.random.default_rng(0)
    loss = np.concatenate([SOURCE(n_e, n_d), TARGET(n_e, n_d)])
    loss *= np.exp(rng.normal(0, noise, 50))
    names = np.repeat(["source-original", "target-original"], 25)
    order = rng.permutation(50)
    return np.tile(n_e, 2)[order], np.tile(n_d, 2)[order], loss[order], names[order]


def test_each_set_gets_its_own_constants() -> None:
    n_e, n_d, loss, names = rows(1e-4)
    found = fit_test_sets(
        n_e, n_d, loss, names, N_e_bar=1e8, N_d_bar=2e8, resamples=20, delta=math.inf
    )
    assert set(found.laws) == set(BOTH.laws)
    for name, law in found.laws.items():
        for field in ("alpha", "p_e", "p_d", "L_inf", "N_e_bar", "N_d_bar"):
            assert getattr(law, field) == pytest.approx(getattr(BOTH.laws[name], field), rel=0.03)
        assert law.source is not None
        assert law.source.y.size == 25


def test_all_sets_share_their_default_reference() -> None:
    n_e, n_d, loss, names = rows(1e-3)
    found = fit_test_sets(n_e[:40], n_d[:40], loss[:40], names[:40], resamples=5)
    for law in found.laws.values():
        assert law.N_e_bar == pytest.approx(np.exp(np.log(n_e[:40]).mean()))
        assert law.N_d_bar == pytest.approx(np.exp(np.log(n_d[:40]).mean()))


@given(st.floats(0, 1), st.floats(1e6, 1e10), st.floats(1e6, 1e10))
def test_a_mixture_is_the_mean_by_tokens(weight: float, n_e: float, n_d: float) -> None:
    mixed = BOTH.mixture({"source-original": 5 * weight, "target-original": 5 * (1 - weight)})
    mean = weight * float(SOURCE(n_e, n_d)) + (1 - weight) * float(TARGET(n_e, n_d))
    assert float(mixed(n_e, n_d)) == pytest.approx(mean, rel=1e-12)
    assert mixed.L_inf == pytest.approx(weight * 1.0 + (1 - weight) * 1.4)
    # Slopes by differences of the logarithm of what is left.
    step = 1e-4

    def left(a: float, b: float) -> float:
        return math.log(float(mixed(a, b)) - mixed.L_inf)

    p_e, p_d = mixed.exponents(n_e, n_d)
    up, down = math.exp(step), math.exp(-step)
    assert float(p_e) == pytest.approx(
        (left(n_e * down, n_d) - left(n_e * up, n_d)) / (2 * step), abs=1e-5
    )
    assert float(p_d) == pytest.approx(
        (left(n_e, n_d * down) - left(n_e, n_d * up)) / (2 * step), abs=1e-5
    )


def test_the_slopes_drift_to_the_slowest_set() -> None:
    mixed = BOTH.mixture()
    sizes = np.geomspace(1e5, 1e16, 12)
    p_e, p_d = mixed.exponents(sizes, sizes)
    assert (np.diff(p_e) < 0).all()
    assert (np.diff(p_d) < 0).all()
    assert p_e[0] == pytest.approx(0.30, abs=0.05)
    assert p_e[-1] == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("weight", [0.2, 0.7])
@pytest.mark.parametrize("budget", [1e7, 1e9, 1e12])
def test_a_mixtures_split_is_the_best_of_many(weight: float, budget: float) -> None:
    mixed = BOTH.mixture({"source-original": weight, "target-original": 1 - weight})
    split = mixed.optimal_split(budget)
    shares = np.linspace(1e-4, 1 - 1e-4, 200_001)
    losses = mixed(budget * shares, budget * (1 - shares))
    assert split.loss <= losses.min() + 1e-12
    assert split.share == pytest.approx(shares[losses.argmin()], abs=1e-4)
    assert split.loss == pytest.approx(float(mixed(split.encoder, split.decoder)))
    own = sorted(law.optimal_split(budget).share for law in BOTH.laws.values())
    assert own[0] < split.share < own[1]


def test_a_mixture_of_one_is_that_law() -> None:
    only = BOTH.mixture({"target-original": 3})
    assert len(only.parts) == 1
    one, other = only.optimal_split(1e9), TARGET.optimal_split(1e9)
    assert one.share == other.share
    assert one.loss == pytest.approx(other.loss)
    layers = only.best_layers(1e9, 2e7, 3e7)
    assert layers == TARGET.best_layers(1e9, 2e7, 3e7)


def test_one_law_of_a_mixture_misreads_its_floor_and_its_future() -> None:
    """What the page says a mixture does to a single fit, on exact losses."""
    n_e, n_d = (
        each.ravel() for each in np.meshgrid(np.geomspace(2e7, 1e9, 8), np.geomspace(2e7, 1e9, 8))
    )
    mixed = BOTH.mixture()
    one = EncoderDecoderLaw.fit(n_e, n_d, mixed(n_e, n_d), resamples=5, delta=math.inf)
    assert one.L_inf > mixed.L_inf + 0.02
    far = float(one(1e13, 1e13)) - float(mixed(1e13, 1e13))
    assert far > 0.02


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"natural": 1}, "there is no test set 'natural'; there are 'source-original'"),
        (
            {"source-original": -1},
            "the weight of 'source-original' must be finite and >= 0, got -1",
        ),
        ({"source-original": 0}, "some weight must be > 0"),
    ],
)
def test_refuses_weights_that_mean_nothing(weights: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BOTH.mixture(weights)


def test_refuses_rows_that_do_not_go_together() -> None:
    n_e, n_d, loss, names = rows(1e-3)
    with pytest.raises(ValueError, match="loss and test_set must have one entry for each row"):
        fit_test_sets(n_e, n_d, loss[:-1], names)
    with pytest.raises(ValueError, match="test set 'rare': encoder-decoder has 4 parameters"):
        fit_test_sets(n_e, n_d, loss, ["rare", *names[1:]], resamples=5)
    with pytest.raises(ValueError, match="N_e must be finite and > 0, got -1"):
        fit_test_sets([-1, *n_e[1:]], n_d, loss, names)
    with pytest.raises(ValueError, match="test_set holds no row"):
        fit_test_sets([], [], [], [])
