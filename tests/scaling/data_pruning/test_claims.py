"""The claims' own beds: labels never reach what is called self-supervised, budgets are equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paperworks.claims import _selfsupervised
from paperworks.claims import data_pruning as claims


def test_the_encoder_learns_to_match_views() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 1, 8, 8, generator=generator)
    state = torch.get_rng_state()
    one, two = (_selfsupervised.embed(x, epochs=2, seed=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(one, two)
    assert one.shape == (64, 64)
    assert not np.array_equal(one, _selfsupervised.embed(x, epochs=0, seed=3))


@pytest.mark.parametrize("side", [8, 28])
def test_networks_take_images(side: int) -> None:
    assert _selfsupervised.classifier(side)(torch.zeros(2, 1, side, side)).shape == (2, 10)


def test_contenders_keep_as_many_and_train_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, steps = [], []

    def error(self: claims.Images, at: np.ndarray, count: int) -> float:
        kept.append(np.asarray(at))
        steps.append(count)
        return 1.0 + len(kept)

    monkeypatch.setattr(claims.Images, "error", error)
    common = {"data": "digits", "pool": 100, "keep": 0.7, "epochs": 1, "steps": 9}
    for against in (claims.RANDOM, "supervised"):
        claims.metrics(seed=0, device="cpu", against=against, **common)
    claims.ends_of_images(seed=0, device="cpu", data="digits", pool=100, keep=0.7, steps=9)
    assert {at.size for at in kept} == {70}
    assert set(steps) == {9}
    np.testing.assert_array_equal(kept[0], kept[2])  # ours, in both claims
    np.testing.assert_array_equal(np.union1d(kept[6], kept[7]), np.arange(100))  # hard and easy
    assert len({tuple(at) for at in kept}) == len(kept) - 2  # random is the same in both


def test_the_tolerance_is_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims.Images, "error", lambda self, at, count: 2.0)
    found = claims.metrics(
        seed=0, device="cpu", data="digits", pool=200, keep=0.5, epochs=1, steps=1, against="s"
    ).values
    assert found[claims.SELF] == 2.0
    assert sorted(set(found.values())) == [2.0, pytest.approx(2.2)]
