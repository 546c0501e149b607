"""The pruner against PyTorch's own, brute force, and PyTorch's counter of FLOPs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from paperworks.compression.global_magnitude import (
    GlobalMagnitudePruner,
    GradualPruning,
    multiply_adds,
)
from paperworks.compression.layers import compressible
from paperworks.compression.masks import MaskedTraining
from paperworks.compression.rounding import RoundToNearest


class Net(nn.Module):
    """A stem, a grouped convolution, a strided one, and a linear head."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.down = nn.Conv2d(16, 16, 3, stride=2)
        self.head = nn.Linear(16, 8)
        generator = torch.Generator().manual_seed(seed)
        for i, parameter in enumerate(self.parameters()):
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator) / (1 + i)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(torch.relu(self.grouped(torch.relu(self.stem(x)))))
        return self.head(x.mean((2, 3)))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight.detach() for name, layer in compressible(model).items()}  # type: ignore[operator]


def kept(model: nn.Module) -> dict[str, int]:
    return {name: int(weight.count_nonzero()) for name, weight in weights(model).items()}


@pytest.mark.parametrize("sparsity", [0.0, 0.31, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_floor_it_does_as_pytorch(sparsity: float, dtype: torch.dtype) -> None:
    ours, theirs = Net().to(dtype), Net().to(dtype)
    GlobalMagnitudePruner(sparsity, floor=0)(ours)
    prune.global_unstructured(
        [(layer, "weight") for layer in compressible(theirs).values()],
        pruning_method=prune.L1Unstructured,
        amount=sparsity,
    )
    for name, layer in compressible(ours).items():
        assert torch.equal(layer.weight, theirs.get_submodule(name).weight)  # type: ignore[arg-type]
        assert layer.weight.dtype == dtype


def test_it_returns_the_model_and_leaves_the_rest_alone() -> None:
    model, before = Net(), Net()
    assert GlobalMagnitudePruner(0.9, skip=["head", "st*"])(model, calibration=None) is model
    for (name, parameter), old in zip(model.named_parameters(), before.parameters(), strict=True):
        touched = name in ("grouped.weight", "down.weight")
        assert torch.equal(parameter == 0, old == 0) != touched
        assert torch.equal(parameter[parameter != 0], old[parameter != 0])


def test_the_floor_is_the_best_mask_that_respects_it() -> None:
    """Brute force: protect each layer's largest, then drop the smallest of all others."""
    model = Net()
    old = {name: weight.clone() for name, weight in weights(model).items()}
    total = sum(weight.numel() for weight in old.values())
    keep = total - round(0.95 * total)
    GlobalMagnitudePruner(0.95, floor=25)(model)
    entries = []
    for name, weight in old.items():
        rank = weight.abs().flatten().argsort(descending=True)
        for place, i in enumerate(rank.tolist()):
            entries.append((place < 25, float(weight.flatten()[i].abs()), name, i))
    expected = {(name, i) for _, _, name, i in sorted(entries, reverse=True)[:keep]}
    found = {
        (name, int(i))
        for name, weight in weights(model).items()
        for i in weight.flatten().nonzero()
    }
    assert found == expected
    assert min(kept(model).values()) == 25


def test_a_small_layer_vanishes_without_the_floor() -> None:
    for floor, collapses in ((0, True), (1, False), (0.1, False)):
        model = Net()
        model.head.weight.data *= 1e-3
        GlobalMagnitudePruner(0.9, floor=floor)(model)
        assert (kept(model)["head"] == 0) == collapses


def test_a_part_is_of_an_equal_share_and_small_layers_stay_whole() -> None:
    model = Net()
    model.head.weight.data *= 1e-3
    total = sum(weight.numel() for weight in weights(model).values())
    keep = total - round(0.9 * total)
    GlobalMagnitudePruner(0.9, floor=0.25)(model)
    assert kept(model)["head"] == int(0.25 * keep / 4)
    assert sum(kept(model).values()) == keep
    model = Net()
    model.head.weight.data *= 1e-3
    GlobalMagnitudePruner(0.5, floor=200)(model)
    assert kept(model)["head"] == 128  # all of them


def test_pruning_again_goes_on_from_the_zeros() -> None:
    once, twice = Net(), Net()
    GlobalMagnitudePruner(0.9, floor=0)(once)
    for sparsity in (0.5, 0.7, 0.9):
        GlobalMagnitudePruner(sparsity, floor=0)(twice)
    assert all(
        torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True)
    )


@pytest.mark.parametrize(("pattern", "n", "m"), [("2:4", 2, 4), ("1:4", 1, 4), ("4:8", 4, 8)])
@pytest.mark.parametrize("sparsity", [None, 0.9])
def test_n_of_m_holds_along_the_channels(
    pattern: str, n: int, m: int, sparsity: float | None
) -> None:
    if m == 8:
        model: nn.Module = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Linear(16, 4))
    else:
        model = Net()
    GlobalMagnitudePruner(sparsity or 1 - n / m, pattern=pattern)(model)
    total = sum(weight.numel() for weight in weights(model).values())
    assert sum(kept(model).values()) == total - round((sparsity or 1 - n / m) * total)
    for weight in weights(model).values():
        groups = weight.movedim(1, -1).reshape(-1, m)
        assert int((groups != 0).sum(1).max()) <= n


def test_two_of_four_keeps_the_two_largest_channels() -> None:
    model = nn.Conv2d(4, 1, (1, 2), bias=False)
    model.weight.data = torch.tensor([[[[1.0, 8.0]], [[-4.0, 7.0]], [[3.0, -6.0]], [[2.0, 5.0]]]])
    GlobalMagnitudePruner(0.5, pattern="2:4", floor=0)(model)
    assert model.weight.flatten().tolist() == [0, 8, -4, 7, 3, 0, 0, 0]


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.61, 0.9])
def test_filters_go_whole_by_mean_magnitude(sparsity: float) -> None:
    model = Net()
    old = {name: weight.clone() for name, weight in weights(model).items() if name != "head"}
    GlobalMagnitudePruner(sparsity, pattern="filter", floor=0)(model)
    ranked = sorted(
        (float(filter_.abs().mean()), name, i, filter_.numel())
        for name, weight in old.items()
        for i, filter_ in enumerate(weight)
    )
    left = round(sparsity * sum(weight.numel() for weight in old.values()))
    gone = set()
    for _, name, i, size in ranked:
        if size > left:
            break
        left -= size
        gone.add((name, i))
    for name, weight in weights(model).items():
        for i, filter_ in enumerate(weight):
            assert bool((filter_ == 0).all()) == ((name, i) in gone)
            assert (name, i) in gone or bool((filter_ != 0).all())


def test_the_floor_holds_for_filters() -> None:
    model = Net()
    model.down.weight.data *= 1e-3  # 16 filters of 144 weights
    GlobalMagnitudePruner(0.7, pattern="filter", floor=145)(model)
    assert kept(model)["down"] == 2 * 144


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5)
        self.out.weight = self.embed.weight


def broken() -> nn.Module:
    model = Net()
    model.down.weight.data[0, 0, 0, 0] = float("nan")
    return model


def half_and_half() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).half())


@pytest.mark.parametrize(
    ("settings", "model", "words"),
    [
        ({"sparsity": 1.0}, Net, r"\[0, 1\), got 1.0"),
        ({"sparsity": -0.1}, Net, "got -0.1"),
        ({"floor": -1}, Net, "floor .* got -1"),
        ({"floor": 1.5}, Net, "floor .* got 1.5"),
        ({"floor": float("nan")}, Net, "floor .* got nan"),
        ({"floor": "0.1"}, Net, "floor .* got '0.1'"),
        ({"floor": 200}, Net, r"floor=200 holds 728 weights in 4 layers.* 330 .* at most 82 fits"),
        ({"pattern": "block"}, Net, "'block'"),
        ({"pattern": "5:4"}, Net, "'5:4'"),
        ({"pattern": "2:4", "sparsity": 0.4}, Net, "'2:4' drops 50% at least.*sparsity=0.4"),
        ({"pattern": "4:8"}, Net, r"stem has 4 inputs.*skip=\[..., 'stem'\]"),
        ({"pattern": "filter"}, lambda: nn.Linear(3, 3), "has no Conv2d layer"),
        ({}, lambda: nn.ReLU(), "has no Linear or Conv2d layer"),
        ({}, broken, "down has 1 weights that are NaN"),
        ({}, Tied, "weight of out is tied to that of embed"),
        ({}, half_and_half, "those of 1 torch.float16"),
    ],
)
def test_bad_input_is_named_and_nothing_is_changed(settings: Any, model: Any, words: str) -> None:
    built = model()
    before = copy.deepcopy(built.state_dict())
    with pytest.raises(ValueError, match=words):
        GlobalMagnitudePruner(**settings)(built)
    for key, value in built.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[key].nan_to_num())


def test_gradual_pruning_follows_the_cubic_while_it_trains() -> None:
    model = Net()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 4, 8, 8, generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pruner = GlobalMagnitudePruner(0.9)
    gradual = GradualPruning(pruner, model, start=2, stop=8, every=2).follow(optimizer)
    total = sum(weight.numel() for weight in weights(model).values())
    zero, sparsities = None, []
    for _ in range(10):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        now = torch.cat([weight.flatten() == 0 for weight in weights(model).values()])
        assert zero is None or bool((now | ~zero).all())  # what is gone stays gone
        zero = now
        sparsities.append(int(now.sum()))
    cubic = [0.9 - 0.9 * (1 - t / 3) ** 3 for t in (0, 1, 2, 3)]
    a, b, c, d = (round(part * total) for part in cubic)
    assert sparsities == [0, a, a, b, b, c, c, d, d, d]
    assert gradual.step == 10
    assert pruner.sparsity == 0.9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start": 0, "stop": 8, "every": 2}, "start=0"),
        ({"start": 4, "stop": 4, "every": 2}, "stop=4"),
        ({"start": 1, "stop": 8, "every": 2}, "every=2"),
        ({"start": 1, "stop": 9, "every": 2, "initial": 0.95}, "sparsity=0.9.*got 0.95"),
    ],
)
def test_a_schedule_out_of_order_is_refused(settings: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GradualPruning(GlobalMagnitudePruner(0.9), Net(), **settings)


def test_masks_keep_a_pruned_model_pruned_through_training() -> None:
    model = GlobalMagnitudePruner(0.9)(Net())
    before = kept(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    MaskedTraining(model).follow(optimizer)
    model(torch.ones(2, 4, 8, 8)).square().mean().backward()
    optimizer.step()
    assert kept(model) == before


class Twice(nn.Module):
    """One layer used twice, on three axes; the head not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, *, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Net(), torch.zeros(3, 4, 9, 7)),
        (Twice(), {"x": torch.zeros(2, 5, 6)}),
        (nn.Conv2d(2, 3, 3, dilation=2), (torch.zeros(2, 9, 9),)),
    ],
)
def test_dense_cost_is_what_pytorch_counts(model: nn.Module, batch: Any) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if isinstance(batch, dict):
            model(**batch)
        else:
            model(*(batch if isinstance(batch, tuple) else (batch,)))
    cost = multiply_adds(model, batch)
    assert 2 * cost.dense == counter.get_total_flops()
    assert cost.sparse == cost.dense
    assert cost.saved == 0


def test_sparse_cost_counts_what_is_left() -> None:
    model = GlobalMagnitudePruner(0.8)(Net()).train()
    cost = multiply_adds(model, torch.zeros(1, 4, 8, 8))
    places = {"stem": 64, "grouped": 64, "down": 9, "head": 1}
    left = kept(model)
    assert {name: layer.sparse for name, layer in cost.layers.items()} == {
        name: places[name] * left[name] for name in places
    }
    assert cost.sparse == sum(places[name] * left[name] for name in places)
    assert cost.saved == pytest.approx(1 - cost.sparse / cost.dense)
    assert model.training
    assert not model.stem._forward_hooks
    with pytest.raises(ValueError, match="no Linear or Conv2d layer of ReLU ran"):
        multiply_adds(nn.ReLU(), torch.zeros(1))


def test_autograd_notices_that_weights_changed() -> None:
    model = nn.Linear(4, 4)
    loss = model.weight.square().sum()
    GlobalMagnitudePruner(0.5)(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_global_state_is_touched() -> None:
    model = Net()
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    numpy_state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    GlobalMagnitudePruner(0.9)(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index]


@pytest.mark.parametrize("skip", [[], ["grouped", "head"]], ids=["all packed", "two packed"])
def test_packed_weights_are_counted_too(skip: list[str]) -> None:
    """Prune, then quantize: the zeros stay zeros, and some more weights are rounded to zero."""
    model, batch = Net(), torch.zeros(3, 4, 8, 8)
    GlobalMagnitudePruner(0.5)(model)
    before = multiply_adds(model, batch)
    RoundToNearest(8, skip=skip)(model)
    after = multiply_adds(model, batch)
    assert list(after.layers) == list(before.layers)
    assert after.dense == before.dense
    for name, cost in after.layers.items():
        weight: Any = model.get_submodule(name).weight
        values = weight if name in skip else weight.dequantize()
        assert cost.sparse * values.numel() == cost.dense * int((values != 0).sum())
        assert cost.sparse <= before.layers[name].sparse
    assert after.sparse <= before.sparse < before.dense
