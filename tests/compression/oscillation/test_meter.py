from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.lsq import LSQuantizer
from paperworks.compression.oscillation import OscillationMeter, QuantizationAware, StatsQuantizer


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Part(nn.Module):
    """The least that the meter needs."""

    def __init__(self, weight: Tensor, bits: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.weight_quantizer = StatsQuantizer(bits)


def by_hand(history: list[list[int]], momentum: float, threshold: float) -> tuple[float, float]:
    """Nagel et al., weight by weight: the flips of the last step and the oscillating share."""
    oscillating = flipped = 0
    weights = list(zip(*history, strict=True))
    for codes in weights:
        last = frequency = 0
        for before, now in pairwise(codes):
            way = (now > before) - (now < before)
            back = way != 0 and way == -last
            frequency = momentum * back + (1 - momentum) * frequency
            last = way or last
        flipped += codes[-1] != codes[-2]
        oscillating += frequency > threshold
    return flipped / len(weights), oscillating / len(weights)


@pytest.mark.parametrize(("momentum", "threshold"), [(0.01, 0.005), (0.2, 0.1)])
def test_shares_are_those_counted_by_hand(momentum: float, threshold: float) -> None:
    model = nn.ModuleList([Part(draw(3, 10)), Part(draw(4, 5, seed=1), bits=3)])
    meter = OscillationMeter(model, momentum=momentum, threshold=threshold)
    history: list[list[int]] = []

    def note() -> None:
        parts = [p.weight_quantizer.codes(p.weight.detach()).flatten() for p in model]
        history.append(torch.cat(parts).int().tolist())

    note()
    for step in range(60):
        for i, part in enumerate(model):
            part.weight.data += 0.1 * draw(*part.weight.shape, seed=10 * step + i)
        meter.step()
        note()
        flips, oscillating = by_hand(history, momentum, threshold)
        assert meter.flips[-1] == pytest.approx(flips)
        assert meter.oscillating[-1] == pytest.approx(oscillating)
    assert 0 < meter.oscillating[-1] < 1
    shares = meter.by_part()
    assert (30 * shares["0"] + 20 * shares["1"]) / 50 == pytest.approx(meter.oscillating[-1])


@pytest.mark.parametrize("signed", [True, False])
def test_jumps_across_all_levels_of_eight_bits_are_counted(signed: bool) -> None:
    part = Part(torch.tensor([[2.0, -2.0, 1.0]]) + (0 if signed else 2), bits=8)
    part.weight_quantizer = LSQuantizer(8, signed=signed)
    part.weight_quantizer.step.data.fill_(2 / 127 if signed else 4 / 255)
    part.weight_quantizer.initialized = True
    meter = OscillationMeter(part, max_bits=8)
    for _ in range(4):
        part.weight.data = part.weight.data.neg() if signed else 4 - part.weight.data
        meter.step()
    assert meter.flips == [1.0] * 4
    assert meter.oscillating == [0.0, 1.0, 1.0, 1.0]


def test_a_weight_that_moves_one_way_does_not_oscillate() -> None:
    part = Part(torch.tensor([[-2.0, 1.0, -1.0]]))
    part.weight_quantizer = LSQuantizer(4)  # its step does not follow the weights
    meter = OscillationMeter(part)
    for _ in range(20):
        part.weight.data[0, 0] += 0.2
        meter.step()
    assert sum(meter.flips) > 0
    assert meter.oscillating[-1] == 0


def test_the_histogram_counts_distances() -> None:
    # alpha = 2: thresholds at -1, 0, 1, and levels one apart.
    part = Part(torch.tensor([[0.02, -1.03, 0.48, -0.5, 2.97, 1.0]]))
    assert float(part.weight.abs().mean()) == pytest.approx(1.0)
    share, edges = OscillationMeter(part).threshold_distances(5)
    assert edges.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert share.tolist() == pytest.approx([3 / 6, 0, 0, 0, 3 / 6])


def test_the_ends_are_not_counted() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    QuantizationAware(2)(model)
    assert list(OscillationMeter(model).by_part()) == ["1"]
    assert list(OscillationMeter(model, max_bits=8).by_part()) == ["0", "1", "2"]
    with pytest.raises(ValueError, match="no weight has max_bits=1 or less; the fewest are 2"):
        OscillationMeter(model, max_bits=1)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"momentum must be in \(0, 1\].* got 0 and 0.005"):
        OscillationMeter(Part(draw(2, 2)), momentum=0)
    with pytest.raises(ValueError, match="make it quantization-aware first"):
        OscillationMeter(nn.Linear(2, 2))
