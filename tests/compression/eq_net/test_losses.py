"""The two losses, against SciPy's moments and the Kullback-Leibler divergence of its own module."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from paperworks.compression.eq_net import (
    ElasticQuantization,
    GroupProgressiveGuidance,
    Space,
    choose,
    chosen,
    weight_distribution_loss,
)


def supernet(seed: int = 0, space: Space | None = None) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 3))
        x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
    return ElasticQuantization(space, edge_bits=None)(model, [x]), x, y


def test_the_weight_loss_is_made_of_scipys_moments() -> None:
    model, _, _ = supernet()
    for skewness, kurtosis in ((1.0, 0.015), (0.0, 1.0), (1.0, 0.0)):
        expected = []
        for layer in (model[2], model[3]):  # the first is left out
            w = layer.weight.detach().double().numpy().ravel()
            k = scipy.stats.kurtosis(w, fisher=False)
            expected.append(skewness * scipy.stats.skew(w) ** 2 + kurtosis * (k - 1.8) ** 2)
        found = weight_distribution_loss(model, skewness=skewness, kurtosis=kurtosis)
        assert float(found.detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_following_the_weight_loss_makes_weights_flat_and_even() -> None:
    model, _, _ = supernet()
    weight = model[2].weight
    weight.data = weight.data.exp()  # skewed
    optimizer = torch.optim.Adam([weight], 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        weight_distribution_loss(model).backward()
        optimizer.step()
    w = weight.detach().numpy().ravel()
    assert abs(scipy.stats.skew(w)) < 0.05
    assert scipy.stats.kurtosis(w, fisher=False) < 2.2


def test_equal_weights_cost_nothing() -> None:
    model, _, _ = supernet()
    for layer in (model[2], model[3]):
        nn.init.constant_(layer.weight, 0.5)
    assert float(weight_distribution_loss(model)) == 0


def test_guidance_is_equation_7() -> None:
    model, x, y = supernet()
    forms: list[dict] = []
    scores: list[Tensor] = []
    handle = model.register_forward_hook(lambda *args: scores.append(args[2].detach()))
    losses = []
    guidance = GroupProgressiveGuidance(np.random.default_rng(3), strength=0.3, random_networks=2)
    for part in guidance.parts(model, x, y):
        losses.append(float(part.detach()))
        forms.append(chosen(model))
    handle.remove()
    logp = [each.double().log_softmax(1) for each in scores]
    for i, loss in enumerate(losses):
        ce = -logp[i][torch.arange(20), y].mean()
        if i:
            kl = sum(
                torch.distributions.kl_divergence(
                    torch.distributions.Categorical(logits=logp[i - 1][row]),
                    torch.distributions.Categorical(logits=logp[i][row]),
                )
                for row in range(20)
            )
            ce = 0.3 * kl / 20 + 0.7 * ce
        assert loss == pytest.approx(float(ce), rel=1e-4)
    assert all((f.weight_bits, f.activation_bits) == (8, 8) for f in forms[0].values())
    assert all((f.weight_bits, f.activation_bits) == (2, 2) for f in forms[-1].values())
    assert len({f.weight_bits for each in forms[1:-1] for f in each.values()}) > 1


def test_parts_have_the_gradients_of_the_sum_and_teachers_none() -> None:
    model, x, y = supernet()
    other = copy.deepcopy(model)
    GroupProgressiveGuidance(np.random.default_rng(0))(model, x, y).backward()
    for part in GroupProgressiveGuidance(np.random.default_rng(0)).parts(other, x, y):
        part.backward()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_without_guidance_it_is_the_task_alone() -> None:
    model, x, y = supernet(space=Space.only("w3a3"))
    found = GroupProgressiveGuidance(np.random.default_rng(0), strength=0)(model, x, y)
    one = nn.functional.cross_entropy(choose(model, "w3a3")(x), y)
    torch.testing.assert_close(found, 3 * one)


def test_training_makes_every_form_better() -> None:
    model, x, y = supernet()
    forms = ("w2a2-tensor-sym-sym", "w4a4-channel-asym-asym", "w8a8")

    def losses() -> list[float]:
        with torch.no_grad():
            return [float(nn.functional.cross_entropy(choose(model, f)(x), y)) for f in forms]

    before = losses()
    guidance = GroupProgressiveGuidance(np.random.default_rng(0))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        guidance(model, x, y).backward()
        optimizer.step()
    assert all(new < 0.7 * old for new, old in zip(losses(), before, strict=True))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strength must be from 0 to 1, got 1\.5"):
        GroupProgressiveGuidance(np.random.default_rng(0), strength=1.5)
    with pytest.raises(ValueError, match="random_networks must be 0 or more, got -1"):
        GroupProgressiveGuidance(np.random.default_rng(0), random_networks=-1)
