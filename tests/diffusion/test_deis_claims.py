"""The claims of DEIS give every contender the same budget, and end where the flow ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from paperworks.claims import deis
from paperworks.claims.deis import BUDGETS, CLAIMS, CONTENDERS, DIFFUSERS, OURS, Setting, run
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.trained import TrainedModel

pytest.importorskip("diffusers")
pytest.importorskip("safetensors")
ALL = (OURS, *CONTENDERS)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers


@pytest.fixture(scope="module")
def digits() -> TrainedModel:
    return TrainedModel.load("digits")


@pytest.mark.parametrize("label", ALL)
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_budget_is_the_same_for_all(label: str, budget: int) -> None:
    mixture, schedule = GaussianMixture.ring(5), DiscreteVP.linear()
    model, asked = mixture.model(schedule), []

    def counted(x: Tensor, t: Any) -> Tensor:
        asked.append(float(t))
        return model(x, t)

    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
    assert run(label, counted, schedule, x, budget).dtype == torch.float64
    # Heun's method can only have an odd number.
    assert len(asked) == (2 * ((budget + 1) // 2) - 1 if label == "Heun" else budget)
    assert asked[0] == 999.0


@pytest.mark.parametrize("label", ALL)
def test_with_many_evaluations_all_come_to_the_flow(label: str) -> None:
    mixture, schedule = GaussianMixture.ring(5, std=0.3), DiscreteVP.linear()
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(0)).double()
    exact = mixture.flow(x, schedule, schedule.t_max, schedule.t_min)
    few, many = (
        float((run(label, mixture.model(schedule), schedule, x, n) - exact).abs().mean())
        for n in (20, 200)
    )
    assert many < 0.01
    assert many < 0.5 * few


@pytest.mark.slow
def test_the_flow_of_the_network_is_followed_finely(digits: TrainedModel) -> None:
    """What stands for the exact flow in the quick tier, against four times the evaluations of
    another solver.
    """
    x = digits.noise(2, torch.Generator().manual_seed(1)).double()
    follow: Callable[..., Any] = lambda **how: sample(digits, digits.schedule, x, **how).x  # noqa: E731
    coarse = follow(solver="rho-rk4", steps=128, spacing="logrho")
    fine = follow(solver="rho-kutta3", steps=300, spacing="karras")
    nearest = follow(solver="tab3", steps=20)
    apart = float((coarse - fine).abs().mean())
    assert apart < 1e-3
    assert apart < 0.2 * float((nearest - fine).abs().mean())


def test_a_trial_on_the_trained_network() -> None:
    given = {"seed": 3, "device": "cpu", "data": "digits", "evaluations": 20, "count": 2}
    found = deis.trained_distance(**given, fine=80, times="same")
    assert set(found.values) == set(ALL)
    assert found.values[OURS] < found.values["DDIM"]
    again = deis.trained_distance(**given, fine=80, times="same")
    assert again.values == found.values


def test_a_trial_of_the_images() -> None:
    given = {"device": "cpu", "data": "digits", "count": 70}
    few = deis.quality(seed=0, evaluations=5, times="same", **given).values
    more = deis.quality(seed=0, evaluations=20, times="same", **given).values
    assert set(few) == set(more) == set(ALL)
    assert all(value > 0 for value in more.values())
    assert more["DDIM"] < few["DDIM"]
    assert more["Heun"] < few["Heun"]


def test_there_is_a_claim_for_each_budget_and_bed() -> None:
    names = {claim.name: claim for claim in CLAIMS}
    assert len(names) == 5 * len(BUDGETS) + 2
    for budget in BUDGETS:
        for bed in ("", "-trained"):
            for kind, times in (("", "best"), ("-same-times", "same")):
                full = names[f"nearer-at-{budget}{bed}{kind}"].full
                assert full is not None
                assert {work["evaluations"] for work in full.works} == {budget}
                assert {work["times"] for work in full.works} == {times}
        assert names[f"better-images-at-{budget}"].quick is None


def test_each_has_the_setting_that_is_best_for_it_on_other_draws() -> None:
    """Against all runs written out: on the ring at 5 evaluations not all want the same times, nor
    the same ending.
    """
    given: dict[str, Any] = {"device": "cpu", "data": "ring", "evaluations": 5, "count": 16}
    mixture, schedule = GaussianMixture.ring(8), DiscreteVP.linear()
    model = mixture.model(schedule)

    def errors(seed: int) -> dict[tuple[str, Setting], float]:
        x = torch.randn(16, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        exact = mixture.flow(x, schedule, schedule.t_max, schedule.t_min)
        return {
            (label, setting): float(
                (run(label, model, schedule, x, 5, setting) - exact).abs().mean()
            )
            for label in ALL
            for spacing in ("uniform", "quadratic", "logrho", "karras")
            for setting in [
                Setting(spacing, ending)
                for ending in ((True, False) if label in DIFFUSERS else (True,))
            ]
        }

    chosen_on, judged_on = errors(7 + 5000 + 1000), errors(7 + 1000)

    def best(label: str, spacings: set[str]) -> Setting:
        among = {s: e for (each, s), e in chosen_on.items() if each == label}
        return min((s for s in among if s.spacing in spacings), key=among.__getitem__)

    all_spacings = {setting.spacing for _, setting in chosen_on}
    free = {label: best(label, all_spacings) for label in ALL}
    assert len({setting.spacing for setting in free.values()}) > 1
    assert {free[label].lower_order_final for label in DIFFUSERS} == {True, False}
    found = deis.distance(seed=7, times="best", **given).values
    same = deis.distance(seed=7, times="same", **given).values
    for label in ALL:
        assert found[label] == pytest.approx(judged_on[label, free[label]], rel=1e-9)
        setting = best(label, {"quadratic"})
        assert same[label] == pytest.approx(judged_on[label, setting], rel=1e-9)


def test_settings_at_which_one_leaves_all_bounds_are_not_chosen() -> None:
    errors = {"uniform": float("nan"), "quadratic": float("inf"), "logrho": 2.0, "karras": 3.0}
    chosen = deis.chosen("best", 5, lambda label, setting: errors[setting.spacing])
    assert {setting.spacing for setting in chosen.values()} == {"logrho"}


def test_from_15_evaluations_on_there_is_one_ending() -> None:
    """Where diffusers' endings are the same samples, and the claims do not try both."""
    mixture, schedule = GaussianMixture.ring(5), DiscreteVP.linear()
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).double()
    for label in DIFFUSERS:
        for n in (14, 15):
            one, two = (
                run(label, mixture.model(schedule), schedule, x, n, Setting(lower_order_final=each))
                for each in (True, False)
            )
            assert torch.equal(one, two) == (n == 15)
