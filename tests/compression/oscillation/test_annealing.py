from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.oscillation import ConfidenceGuidedAnnealing, QuantizationAware


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(**options: object) -> nn.Module:
    model = nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)
    )
    for i, p in enumerate(model.parameters()):
        p.data = draw(*p.shape, seed=i)
    return QuantizationAware(2, **options)(model, [draw(20, 6)])


def unsure(weight: Tensor, boundary: float) -> Tensor:
    """Within ``boundary`` half-alphas of -alpha/2, 0 or alpha/2, row by row."""
    spacing = weight.abs().mean(1, keepdim=True)
    thresholds = torch.stack([-spacing, torch.zeros_like(spacing), spacing])
    return ((weight - thresholds).abs() / spacing <= boundary).any(0)


def test_sure_weights_are_held_whatever_the_optimizer_does() -> None:
    model = network()
    # Momentum and decay would move a weight without a gradient.
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad()
        model(draw(20, 6, seed=2)).square().sum().backward()
        optimizer.step()

    for _ in range(3):
        step()
    annealing = ConfidenceGuidedAnnealing(model, 0.1)
    moved = 0
    for _ in range(5):
        before = model[2].weight.detach().clone()
        step()
        annealing.step()
        free = unsure(before, 0.1)
        assert 0 < free.sum() < free.numel() / 2
        assert torch.equal(model[2].weight[~free], before[~free])
        moved += int((model[2].weight[free] != before[free]).sum())
        head = model[4].weight.detach().clone()
    assert moved > 50
    assert annealing.free == pytest.approx(float(unsure(model[2].weight, 0.1).float().mean()))

    step()  # an end of the model has learned steps, and trains on
    annealing.step()
    assert not torch.equal(model[4].weight, head)
    annealing.stop()
    before = model[2].weight.detach().clone()
    step()
    assert (model[2].weight != before).float().mean() > 0.9


def test_the_gradient_of_sure_weights_is_zero() -> None:
    model = network()
    other = copy.deepcopy(model)
    ConfidenceGuidedAnnealing(model, 0.1)
    for each in (model, other):
        each(draw(20, 6, seed=2)).square().sum().backward()
    free = unsure(model[2].weight.detach(), 0.1)
    assert torch.equal(model[2].weight.grad, other[2].weight.grad * free)


def test_the_product_of_query_and_key_is_masked() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(4, 8), block, nn.Linear(8, 2))
    for i, p in enumerate(model.parameters()):
        p.data = draw(*p.shape, seed=i)
    model = QuantizationAware(2, activation_bits=None)(model, [draw(3, 5, 4)])
    ConfidenceGuidedAnnealing(model, 0.2)
    product = model[1].self_attn.scores.product
    rounding = product.weight_quantizer
    weight = product.weight.detach().requires_grad_()
    rounding(weight).sum().backward()
    assert torch.equal(weight.grad.bool(), unsure(weight.detach(), 0.2))
    assert 0 < weight.grad.sum() < weight.numel()


def test_what_is_refused() -> None:
    for boundary in (0.0, 0.6, -1.0):
        with pytest.raises(ValueError, match=rf"boundary must be in \(0, 0.5\].* got {boundary}"):
            ConfidenceGuidedAnnealing(network(), boundary)
    with pytest.raises(ValueError, match="annealing needs StatsQ weights"):
        ConfidenceGuidedAnnealing(network(weights="lsq"))
    with pytest.raises(ValueError, match="Linear has no fake-quantized weight"):
        ConfidenceGuidedAnnealing(nn.Linear(2, 2))
