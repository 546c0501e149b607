"""The claims of USF: schedules are chosen by what the search saw, and judged by what it did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.claims import usf as claims
from paperworks.claims.usf import BY_HAND, CLAIMS, OURS, Bed, best_by_hand, sliced_wasserstein
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.diffusion.usf.presets import by_hand
from paperworks.diffusion.usf.search import Found, search_schedule

SMALL: dict[str, Any] = {"budget": 70, "population": 44, "batch": 2}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_best_by_hand_is_that_with_the_least_error_on_what_the_search_saw() -> None:
    bed = Bed("ring", 3)
    objective = bed.objective(8, 1003)
    found = search_schedule(objective, bed.schedule, 5, seed=3, **SMALL)
    best = best_by_hand(bed, found, 5)
    errors = {objective(each): each for each in by_hand(bed.schedule, 5).values()}
    assert objective(best) == min(errors) < max(errors)
    assert best in by_hand(bed.schedule, 5).values()
    # What the search itself came to is not made by hand, however good it is.
    better = Found(found.decisions, 0.0, ((found.decisions, 0.0), *found.history))
    assert best_by_hand(bed, better, 5) == best


def test_it_is_judged_on_other_noise_than_the_search_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    judged: list[tuple[Tensor, Sequence[Decisions], int]] = []
    draw, judge = Bed.noise, Bed.judge

    def noise(self: Bed, count: int, seed: int) -> Tensor:
        seen.append(draw(self, count, seed))
        return seen[-1]

    def spied(self: Bed, x: Tensor, many: Sequence[Decisions], seed: int) -> list[float]:
        judged.append((x, many, seed))
        return judge(self, x, many, seed)

    monkeypatch.setattr(Bed, "noise", noise)
    monkeypatch.setattr(Bed, "judge", spied)
    found = claims.held_out(
        seed=2, device="cpu", data="ring", evaluations=5, seen=8, unseen=64, **SMALL
    )
    ((x, many, seed),) = judged
    assert len(seen) == 2
    assert seen[0].shape == (8, 2)
    assert x is seen[1]
    assert x.shape == (64, 2)
    assert float(torch.cdist(x, seen[0]).min()) > 1e-6  # not one of them was seen
    bed = Bed("ring", 2)
    expected = judge(bed, x, many, seed)
    assert [found.values[label] for label in (OURS, BY_HAND)] == pytest.approx(expected)
    assert many[0] != many[1]


def test_judged_is_by_fresh_samples_of_the_data() -> None:
    """An exact sampler is as near as other samples of the data are, not at 0."""
    bed = Bed("ring", 0)
    x = bed.noise(2000, 5)

    class Exact(Bed):
        def samples(self, decisions: Decisions, x: Tensor) -> Tensor:
            return self.exact(x)

    near = Exact("ring", 0).judge(x, [by_hand(bed.schedule, 5)["DDIM, uniform"]], 9)[0]
    apart = sliced_wasserstein(bed.fresh(2000, 1), bed.fresh(2000, 2), rng())
    assert 0.5 * apart < near < 2 * apart
    far = bed.judge(x, [by_hand(bed.schedule, 5)["DDIM, uniform"]], 9)[0]
    assert far > 1.5 * near


def test_fresh_samples_have_the_noise_of_the_end() -> None:
    bed = Bed("ring", 0)
    found = bed.fresh(40_000, 3)
    alpha, sigma = (float(part(0)) for part in (bed.schedule.alpha, bed.schedule.sigma))
    away = torch.cdist(found, alpha * bed.mixture.means).min(1).values
    # The mean square of a normal vector in the plane is twice its variance.
    expected = 2 * (alpha**2 * 0.05**2 + sigma**2)
    assert float(away.square().mean()) == pytest.approx(expected, rel=0.02)


def test_sliced_wasserstein_of_a_shift_and_by_brute_force() -> None:
    x = torch.randn(300, 2, generator=rng(), dtype=torch.float64)
    # Along a direction u a shift by s moves all by s.u, whose mean square is |s|**2 / dim.
    moved = sliced_wasserstein(x, x + torch.tensor([3.0, 4.0]), rng())
    assert moved == pytest.approx(5 / np.sqrt(2), rel=0.1)
    y = torch.randn(300, 2, generator=rng(1), dtype=torch.float64)
    directions = torch.randn(2, 200, generator=rng(), dtype=torch.float64)
    squares = [
        np.square(np.sort(x.numpy() @ u) - np.sort(y.numpy() @ u)).mean()
        for u in (directions / directions.norm(dim=0)).T.numpy()
    ]
    assert sliced_wasserstein(x, y, rng()) == pytest.approx(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("rival", ["random search", "evolution alone"])
def test_both_searches_have_the_same_budget_and_beginning(rival: str) -> None:
    given: dict[str, Any] = {**SMALL, "budget": 60, "batch": 6}
    found = claims.searches(
        seed=1, device="cpu", rival=rival, data="ring", evaluations=4, seen=8, **given
    )
    ours, its = found.curves
    assert (ours.label, its.label) == (OURS, rival)
    assert len(ours.x) == len(its.x) == 60
    assert ours.y[:44] == its.y[:44]
    assert ours.y != its.y
    for curve in (ours, its):
        assert list(curve.y) == sorted(curve.y, reverse=True)
        assert found.values[curve.label] == curve.y[-1]


def test_the_claims_keep_the_settings_that_were_made_first() -> None:
    for claim in CLAIMS:
        rounds = {
            (work["population"], work["batch"])
            for tier in (claim.quick, claim.full)
            if tier is not None
            for work in tier.works
        }
        assert rounds == {(48, 10) if claim.name.endswith("-in-short-rounds") else (60, 15)}
