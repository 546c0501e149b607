"""Magnitude and Wanda: against loops over single weights, and as methods on whole models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paperworks.compression.pruning import MagnitudePruner, Pruner, Wanda
from paperworks.compression.sparsegpt import SparseGPT

PRUNERS = [MagnitudePruner, Wanda, SparseGPT]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeded(build: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def lowest(scores: np.ndarray, drop: int) -> np.ndarray:
    """Which of a row go, by sorting."""
    gone = np.zeros(len(scores), dtype=bool)
    gone[np.argsort(scores, kind="stable")[:drop]] = True
    return gone


def dropped(weight: Tensor) -> np.ndarray:
    return (weight.detach() == 0).numpy()


# --- The scores


@settings(deadline=None, max_examples=25)
@given(
    out=st.integers(1, 5),
    fan=st.integers(1, 12),
    sparsity=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    double=st.booleans(),
    seed=st.integers(0, 999),
)
def test_wanda_on_a_linear_layer(
    out: int, fan: int, sparsity: float, double: bool, seed: int
) -> None:
    dtype = torch.float64 if double else torch.float32
    layer = seeded(lambda: nn.Linear(fan, out).to(dtype), seed)
    weight = layer.weight.detach().clone().numpy()
    batches = [torch.randn(2, 3, fan, generator=generator(seed)).to(dtype) * 2 for _ in range(3)]
    Wanda(sparsity)(layer, batches)
    rows = torch.cat(batches).reshape(-1, fan).double().numpy()
    for i in range(out):
        scores = np.array([abs(weight[i, j]) * np.linalg.norm(rows[:, j]) for j in range(fan)])
        gone = lowest(scores, round(sparsity * fan))
        np.testing.assert_array_equal(dropped(layer.weight)[i], gone)
        np.testing.assert_array_equal(layer.weight.detach().numpy()[i, ~gone], weight[i, ~gone])
    assert layer.weight.dtype == dtype


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_wanda_on_a_convolution(groups: int, memory_format: torch.memory_format) -> None:
    layer = seeded(lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=groups))
    layer = layer.to(memory_format=memory_format)
    weight = layer.weight.detach().clone()
    x = torch.randn(2, 8, 7, 6, generator=generator(1))
    Wanda(0.5)(layer, [x])
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for o in range(12):
        first = o // (12 // groups) * (8 // groups)
        scores = np.zeros(weight[0].shape)
        for c, ky, kx in np.ndindex(*scores.shape):
            seen = padded[:, first + c, ky : ky + 7 : 2, kx : kx + 6 : 2][:, :4, :3]
            scores[c, ky, kx] = abs(float(weight[o, c, ky, kx])) * float(seen.double().norm())
        gone = lowest(scores.ravel(), round(0.5 * scores.size)).reshape(scores.shape)
        np.testing.assert_array_equal(dropped(layer.weight[o]), gone)


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_magnitude_compares_over_what_it_says(per: Any) -> None:
    layer = seeded(lambda: nn.Conv2d(6, 4, 3))
    weight = layer.weight.detach().clone().flatten(1).numpy()
    MagnitudePruner(0.7, per=per)(layer)
    parts = np.abs(weight).reshape(1, -1) if per == "tensor" else np.abs(weight)
    gone = np.stack([lowest(part, round(0.7 * part.size)) for part in parts])
    np.testing.assert_array_equal(dropped(layer.weight).reshape(gone.shape), gone)


@pytest.mark.parametrize("method", PRUNERS)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4)])
def test_n_of_m_stay_in_the_direction_of_the_channels(method: Any, n: int, m: int) -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, groups=1), nn.Flatten(), nn.Linear(8 * 4, 16))
    )
    x = torch.randn(40, 8, 4, 4, generator=generator(0))
    method(pattern=f"{n}:{m}")(model, [x])
    stay = (model[0].weight != 0).movedim(1, -1).reshape(-1, m).sum(1)
    assert (stay == n).all()
    assert ((model[2].weight != 0).view(-1, m).sum(1) == n).all()


def test_wandas_n_m_keeps_the_highest_scores() -> None:
    layer = seeded(lambda: nn.Linear(16, 6, bias=False))
    x = torch.randn(50, 16, generator=generator(3)) * torch.rand(16, generator=generator(4))
    scores = layer.weight.detach().abs() * x.norm(dim=0)
    Wanda(pattern="2:4")(layer, [x])
    kept = (layer.weight != 0).view(6, 4, 4)
    best = torch.zeros(6, 4, 4, dtype=torch.bool)
    best.scatter_(2, scores.view(6, 4, 4).topk(2, dim=2).indices, True)
    assert torch.equal(kept, best)


# --- As methods


@pytest.mark.parametrize("method", PRUNERS)
def test_a_layer_is_pruned_from_what_the_pruned_ones_before_it_give(method: Any) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3)))

    whole, single = seeded(build), seeded(build)
    x = [torch.randn(30, 8, generator=generator(seed)) for seed in range(2)]
    method(0.5)(whole, x)
    hidden = x
    for block in single:
        method(0.5)(block, hidden)
        with torch.no_grad():
            hidden = [block(each) for each in hidden]
    for ours, theirs in zip(whole.parameters(), single.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", PRUNERS)
def test_only_weights_change_and_the_count_is_right(method: Any) -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 5))
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = [torch.randn(4, 3, 4, 4, generator=generator(0))]
    assert method(0.5, skip=["3"])(model, x) is model
    assert model.training
    assert int((model[0].weight == 0).sum()) in (round(0.5 * 27) * 6, round(0.5 * 27 * 6))
    for name, value in model.state_dict().items():
        if name != "0.weight":
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("method", PRUNERS)
def test_half_precision_stays_half(method: Any) -> None:
    layer = seeded(lambda: nn.Linear(16, 8)).bfloat16()
    method(0.5)(layer, [torch.randn(20, 16, generator=generator(0)).bfloat16()])
    assert layer.weight.dtype == torch.bfloat16
    assert int((layer.weight == 0).sum()) == 64


@pytest.mark.parametrize("method", PRUNERS)
def test_what_cannot_be_is_refused_before_any_work(method: Any) -> None:
    with pytest.raises(ValueError, match=r"sparsity or pattern, not both.*'2:4'.*0\.5"):
        method(0.5, pattern="2:4")
    with pytest.raises(ValueError, match=r"n:m with 0 < n <= m, such as '2:4', got '5:4'"):
        method(pattern="5:4")
    with pytest.raises(ValueError, match=r"got 'half'"):
        method(pattern="half")
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1\.5"):
        method(1.5)
    model = seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Conv2d(6, 4, 1)))
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=r"2 has 6 inputs, which 4 does not divide.*skip"):
        method(pattern="2:4")(model, [torch.zeros(1, 8)])
    assert torch.equal(model[0].weight, before)


def test_defaults() -> None:
    assert MagnitudePruner().sparsity == Wanda().sparsity == 0.5
    assert Wanda(pattern="1:4").sparsity == 0.75
    assert MagnitudePruner.calibration == "unused"
    assert issubclass(SparseGPT, Pruner)
    with pytest.raises(ValueError, match=r"per must be 'tensor' or 'row', got 'column'"):
        MagnitudePruner(per="column")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs calibration data"):
        Wanda()(nn.Linear(2, 2))
