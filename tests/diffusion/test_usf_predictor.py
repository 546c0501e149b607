from __future__ import annotations

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from paperworks.diffusion.usf.predictor import RankPredictor


def drawn(seed: int = 0, count: int = 160) -> tuple[Tensor, Tensor]:
    """Schedules whose score depends on an early step and on the order of two of them."""
    x = torch.rand(count, 6, 4, generator=torch.Generator().manual_seed(seed))
    return x, torch.exp(5 * x[:, 1, 0] + 3 * torch.relu(x[:, 4, 2] - x[:, 3, 2]))


def test_it_ranks_what_it_has_not_seen() -> None:
    x, scores = drawn()
    predictor = RankPredictor(4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = kendalltau(predictor(x[120:]), scores[120:]).statistic
    predictor.fit(x[:120], scores[:120], epochs=200)
    with torch.no_grad():
        after = kendalltau(predictor(x[120:]), scores[120:]).statistic
    assert abs(before) < 0.4
    assert after > 0.6


def test_only_the_order_of_scores_matters() -> None:
    x, scores = drawn()
    found = []
    for each in (scores, scores.log() * 1e-3, torch.where(scores > 100, torch.inf, scores)):
        predictor = RankPredictor(4, torch.Generator().manual_seed(0))
        predictor.fit(x, each, epochs=5)
        with torch.no_grad():
            found.append(predictor(x))
    torch.testing.assert_close(found[0], found[1])
    assert torch.isfinite(found[2]).all()


def test_equal_scores_teach_nothing() -> None:
    x, _ = drawn()
    predictor = RankPredictor(4, torch.Generator().manual_seed(0))
    predictor.fit(x, torch.ones(len(x)), epochs=2)
    with torch.no_grad():
        assert torch.isfinite(predictor(x)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_randomness_is_the_generators(seed: int) -> None:
    state = torch.random.get_rng_state()
    x, scores = drawn()
    found = []
    for _ in range(2):
        predictor = RankPredictor(4, torch.Generator().manual_seed(seed))
        predictor.fit(x, scores, epochs=2)
        found.append(predictor.judge.weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert torch.equal(state, torch.random.get_rng_state())
