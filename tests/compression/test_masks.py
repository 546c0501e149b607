"""Masks against brute force in NumPy, allocations against bisection."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paperworks.compression.layers import compressible
from paperworks.compression.masks import (
    MaskedTraining,
    allocate,
    apply_mask,
    lowest_mask,
    n_m_mask,
)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def drop_lowest(row: np.ndarray, drop: int) -> np.ndarray:
    """What a stable sort drops: of equal scores the earlier."""
    mask = np.ones(len(row), dtype=bool)
    mask[np.argsort(row, kind="stable")[:drop]] = False
    return mask


@st.composite
def score_matrices(draw: Any) -> Tensor:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    # Few distinct values, so that most draws have ties; infinities count as scores.
    value = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, float("inf")])
    values = draw(st.lists(value, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(values).reshape(rows, columns).to(draw(st.sampled_from(DTYPES)))


@settings(deadline=None, max_examples=150)
@given(score_matrices(), st.floats(0, 1), st.sampled_from(["tensor", "row"]))
def test_lowest_mask_is_a_stable_sort(scores: Tensor, sparsity: float, per: Any) -> None:
    rows = scores.double().numpy().reshape(1 if per == "tensor" else len(scores), -1)
    expected = np.stack([drop_lowest(row, round(sparsity * len(row))) for row in rows])
    mask = lowest_mask(scores, sparsity, per=per)
    assert mask.dtype == torch.bool
    assert mask.shape == scores.shape
    assert mask.numpy().ravel().tolist() == expected.ravel().tolist()


def test_of_equal_scores_the_earlier_go() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0], [2.0, 2.0, 3.0]])
    assert lowest_mask(scores, 1 / 2).int().tolist() == [[0, 0, 0], [1, 1, 1]]
    assert lowest_mask(scores, 1 / 3, per="row").int().tolist() == [[0, 1, 1], [0, 1, 1]]
    assert n_m_mask(torch.ones(4), 1, 4).int().tolist() == [0, 0, 0, 1]


def test_lowest_mask_in_blocks_of_rows_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randint(0, 4, (7, 3, 5), generator=torch.Generator().manual_seed(0)).float()
    whole = lowest_mask(scores, 0.6, per="row")
    monkeypatch.setattr("paperworks.compression.masks._BLOCK", 20)
    assert torch.equal(lowest_mask(scores, 0.6, per="row"), whole)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 2), (3, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_n_m_mask_is_the_best_choice_in_every_group(n: int, m: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    scores = torch.randint(0, 5, (3, 4, 2 * m), generator=generator).to(dtype)  # many ties
    mask = n_m_mask(scores, n, m)
    assert mask.shape == scores.shape
    for group, kept in zip(
        scores.reshape(-1, m).tolist(), mask.reshape(-1, m).tolist(), strict=True
    ):
        best = max(sum(choice) for choice in itertools.combinations(group, n))
        assert sum(kept) == n
        assert sum(score for score, keep in zip(group, kept, strict=True) if keep) == best
        assert kept == drop_lowest(np.array(group), m - n).tolist()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lowest_mask(torch.ones(3), 1.5), "got 1.5"),
        (lambda: lowest_mask(torch.tensor([1.0, float("nan")]), 0.5), "a score is NaN"),
        (lambda: n_m_mask(torch.tensor([1.0, float("nan")]), 1, 2), "a score is NaN"),
        (lambda: n_m_mask(torch.ones(4), 5, 4), "got 5:4"),
        (lambda: n_m_mask(torch.ones(3, 6), 2, 4), r"multiple of 4.*\(3, 6\)"),
        (lambda: allocate({"a": nn.Linear(2, 2)}, 1.0), "got 1.0"),
        (lambda: allocate({"a": nn.Linear(2, 2)}, 0.5, "lamp"), "'lamp'"),  # type: ignore[arg-type]
        (lambda: apply_mask(nn.Linear(2, 3), torch.ones(2, 3).bool()), r"shape \(3, 2\)"),
        (lambda: apply_mask(nn.Linear(2, 3), torch.ones(3, 2)), "must be bool"),
    ],
)
def test_bad_input_is_named(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, groups=2), nn.Conv2d(16, 16, 1), nn.Linear(16, 5)
    )


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.98, 0.999])
def test_erk_is_the_solution_of_its_equation(sparsity: float) -> None:
    layers = compressible(network())
    shapes = [tuple(layer.weight.shape) for layer in layers.values()]  # type: ignore[union-attr,arg-type]
    sizes = np.array([np.prod(shape) for shape in shapes])
    raw = np.array([sum(shape) / np.prod(shape) for shape in shapes])
    keep = sizes.sum() - round(sparsity * sizes.sum())
    low, high = 0.0, 1 / raw.min()
    for _ in range(200):  # bisection of sum(sizes * min(1, eps * raw)) = keep
        middle = (low + high) / 2
        low, high = (
            (middle, high) if (sizes * np.minimum(1, middle * raw)).sum() < keep else (low, middle)
        )
    wanted = sizes * np.minimum(1, high * raw)
    counts = np.array(list(allocate(layers, sparsity, "erk").values()))
    assert counts.sum() == keep
    assert np.all(np.abs(counts - wanted) < 1 + 1e-9)
    assert np.all(counts <= sizes)


def test_erk_on_resnet50_costs_what_rigl_publishes() -> None:
    """RigL's table of sparse ResNet-50 models: 0.42, 0.24 and 0.12 of the dense inference FLOPs."""
    with torch.device("meta"):
        layers: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 64, 7), "fc": nn.Linear(2048, 1000)}
        places, wide, side = {"stem": 112**2, "fc": 1}, 64, 56
        for stage, (size, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
            for block in range(blocks):
                small = side // (2 if stage and not block else 1)
                add = {
                    "reduce": (nn.Conv2d(wide, size, 1), side**2),
                    "conv": (nn.Conv2d(size, size, 3), small**2),
                    "expand": (nn.Conv2d(size, 4 * size, 1), small**2),
                }
                if not block:
                    add["shortcut"] = (nn.Conv2d(wide, 4 * size, 1), small**2)
                for name, (layer, at) in add.items():
                    layers[f"{stage}.{block}.{name}"], places[f"{stage}.{block}.{name}"] = layer, at
                wide, side = 4 * size, small
    dense = sum(layers[name].weight.numel() * places[name] for name in layers)  # type: ignore[union-attr,operator]
    assert 2 * dense == pytest.approx(8.2e9, rel=0.01)
    for sparsity, published in ((0.8, 0.42), (0.9, 0.24), (0.95, 0.12)):
        counts = allocate(layers, sparsity, "erk")
        part = sum(counts[name] * places[name] for name in layers) / dense
        assert part == pytest.approx(published, abs=0.0075)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.97])
def test_uniform_keeps_one_density(sparsity: float) -> None:
    layers = compressible(network())
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}  # type: ignore[union-attr,operator]
    total = sum(sizes.values())
    counts = allocate(layers, sparsity)
    assert sum(counts.values()) == total - round(sparsity * total)
    for name, size in sizes.items():
        assert abs(counts[name] - (1 - sparsity) * size) <= 1


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_training_keeps_zeros_and_moves_the_rest(optimizer: str) -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    for layer in (model[0], model[2]):
        layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
        apply_mask(layer, lowest_mask(layer.weight.abs(), 0.7))
    zero = [model[i].weight == 0 for i in (0, 2)]
    before = [model[i].weight.detach().clone() for i in (0, 2)]
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    stepper = getattr(torch.optim, optimizer)(
        model.parameters(), lr=0.1, weight_decay=0.1, **options
    )
    MaskedTraining(model).follow(stepper)
    x = torch.randn(8, 1, 8, 8, generator=generator)
    for _ in range(3):
        stepper.zero_grad()
        model(x).square().mean().backward()
        stepper.step()
    for i, dropped, old in zip((0, 2), zero, before, strict=True):
        assert torch.equal(model[i].weight == 0, dropped)
        assert (model[i].weight != old)[~dropped].all()
    assert (model[0].bias != 0).all()


def test_a_step_of_masked_sgd_is_that_of_the_free_weights_alone() -> None:
    layer = nn.Linear(3, 1, bias=False).double()
    layer.weight.data = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    stepper = torch.optim.SGD(layer.parameters(), lr=0.5)
    masked = MaskedTraining(layer).follow(stepper)
    layer(torch.tensor([[1.0, 7.0, 3.0]], dtype=torch.float64)).sum().backward()
    stepper.step()
    assert layer.weight.tolist() == [[1.5, 0.0, -2.5]]
    assert masked.masks[""].tolist() == [[True, False, True]]
