"""Predictor and search, on problems small enough to know the answer."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperworks.compression.eq_net import (
    AccuracyPredictor,
    ElasticQuantization,
    Form,
    Space,
    choose,
    chosen,
    export_subnet,
    measure,
    sample_settings,
    search_precision,
    setting_cost,
)
from paperworks.compression.eq_net.predictor import as_array, binary
from paperworks.compression.eq_net.search import Costs
from paperworks.compression.packed import PackedWeight

X = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)


def supernet(space: Space | None = None, edge_bits: int | None = 8) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, groups=2), nn.Flatten(),
            nn.Linear(144, 20), nn.Linear(20, 4),
        )  # fmt: skip
    return ElasticQuantization(space, edge_bits=edge_bits)(model, [X])


class Additive:
    """A predictor whose best setting can be found by hand: bits count by a worth of each gene."""

    def __init__(self, worth: np.ndarray) -> None:
        self.worth = worth

    def predict_array(self, array: np.ndarray) -> np.ndarray:
        return -(self.worth * 2.0 ** -array[..., :2]).sum((1, 2))


def test_the_size_is_that_of_the_export_to_the_byte() -> None:
    model = supernet(edge_bits=None)
    for form in ("w2a2-tensor-sym", "w3a8-channel-asym", "w8a4-tensor-asym-asym"):
        cost = setting_cost(choose(model, form), X[:1])
        exported = export_subnet(copy.deepcopy(model))
        packed = [each for each in exported.modules() if isinstance(each, PackedWeight)]
        assert cost.size == sum(each.bytes for each in packed)
        bits = Form.parse(form).weight_bits * Form.parse(form).activation_bits
        # Fan-in times filters times places, layer by layer.
        products = 27 * 8 * 64 + 36 * 16 * 9 + 144 * 20 + 20 * 4
        assert cost.bit_operations == bits * products


def test_a_small_search_finds_the_best_of_all() -> None:
    model = supernet(Space((2, 4, 8), (3, 6)), edge_bits=None)
    worth = np.random.default_rng(1).random((4, 2))
    costs = Costs(model, X[:1])
    bits = list(itertools.product((2, 4, 8), (3, 6)))
    every = np.array(list(itertools.product(bits, repeat=4)))
    every = np.concatenate([every, np.ones((*every.shape[:2], 3), int)], -1)
    scores = Additive(worth).predict_array(every)
    for size, operations in ((3200, None), (None, 400_000), (3500, 500_000)):
        fits = np.ones(len(every), bool)
        if size is not None:
            fits &= costs.size(every) <= size
        if operations is not None:
            fits &= costs.bit_operations(every) <= operations
        assert 0 < fits.sum() < len(every)
        found = search_precision(
            model, Additive(worth), X[:1], np.random.default_rng(0),  # type: ignore[arg-type]
            size=size, bit_operations=operations, generations=60,
        )  # fmt: skip
        assert found.accuracy == pytest.approx(scores[fits].max())
        assert found.cost == setting_cost(model, X[:1], found.setting)
        assert size is None or found.cost.size <= size
        assert operations is None or found.cost.bit_operations <= operations
        assert list(found.history) == sorted(found.history)
        choose(model, found.setting)


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000))
def test_the_budget_holds_however_tight(size_share: float, work_share: float, seed: int) -> None:
    model = supernet()
    least = setting_cost(choose(model, "w2a2-tensor"), X[:1])
    most = setting_cost(choose(model, "w8a8-tensor"), X[:1])
    size = least.size + size_share * (most.size - least.size)
    work = least.bit_operations + work_share * (most.bit_operations - least.bit_operations)
    found = search_precision(
        model, Additive(np.ones((4, 2))), X[:1], np.random.default_rng(seed),  # type: ignore[arg-type]
        size=size, bit_operations=work, form="w8a8-tensor", generations=3, population=12,
    )  # fmt: skip
    assert found.cost.size <= size
    assert found.cost.bit_operations <= work
    assert not any(form.per_channel for form in found.setting.values())
    assert (found.setting["0"].weight_bits, found.setting["6"].weight_bits) == (8, 8)


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    model, rng = supernet(), np.random.default_rng(0)
    stub = Additive(np.ones((4, 2)))
    with pytest.raises(ValueError, match="needs a budget"):
        search_precision(model, stub, X[:1], rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size=100 cannot be met: with the fewest bits"):
        search_precision(model, stub, X[:1], rng, size=100)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bit_operations=10 cannot be met"):
        search_precision(model, stub, X[:1], rng, bit_operations=10)  # type: ignore[arg-type]
    only = supernet(Space(per_channel=(True,)))
    with pytest.raises(ValueError, match="0 has no form like w8a8-tensor"):
        search_precision(only, stub, X[:1], rng, size=1e9, form="w8a8-tensor")  # type: ignore[arg-type]


def test_settings_in_binary_code() -> None:
    setting = {"a": Form(2, 8, True, False, True), "b": Form(5, 3, False, True, False)}
    code = binary(as_array([setting]))
    assert code.shape == (1, 40)
    bits = code[0, :28].reshape(2, 2, 7)
    assert [list(row).index(1) + 2 for row in bits.reshape(4, 7)] == [2, 8, 5, 3]
    assert code[0, 28:].reshape(2, 3, 2).argmax(-1).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert code.sum() == 10


def test_random_settings_are_spread_and_share_their_form() -> None:
    model = supernet()
    drawn = as_array(sample_settings(model, 400, np.random.default_rng(0)))
    assert bool((drawn[:, :, 2:] == drawn[:, :1, 2:]).all())
    assert len(np.unique(drawn[:, 0, 2:], axis=0)) == 8
    assert bool((drawn[:, [0, -1], :2] == 8).all())
    mean = drawn[:, 1:-1, 0].mean(1)
    assert (mean <= 3).mean() > 0.15
    assert (mean >= 7).mean() > 0.15


def test_the_predictor_learns_what_forms_cost() -> None:
    model, rng = supernet(edge_bits=None), np.random.default_rng(0)
    drawn = sample_settings(model, 500, rng)
    worth = rng.random((4, 2))
    array = as_array(drawn)
    # Two bits hurt twice as much with one step per tensor.
    coarse = 2 - array[:, :, 2].mean(1)
    accuracies = 0.9 - coarse * (worth * 2.0 ** -array[..., :2]).sum((1, 2)) / 4
    predictor = AccuracyPredictor().fit(drawn[:400], accuracies[:400])
    assert predictor.rank_correlation(drawn[400:], accuracies[400:]) > 0.85
    error = predictor.predict(drawn[400:]) - accuracies[400:]
    assert np.abs(error).mean() < 0.3 * accuracies.std()
    again = AccuracyPredictor().fit(drawn[:400], accuracies[:400])
    assert np.array_equal(again.predict(drawn[400:]), predictor.predict(drawn[400:]))


def test_the_predictor_refuses_what_it_does_not_know() -> None:
    predictor, setting = AccuracyPredictor(), {"a": Form(2, 2)}
    with pytest.raises(ValueError, match="call fit first"):
        predictor.predict([setting])
    with pytest.raises(ValueError, match="got 1 settings"):
        predictor.fit([setting], [0.5])
    with pytest.raises(ValueError, match="finite"):
        predictor.fit([setting] * 2, [0.5, float("nan")])
    predictor.fit([setting, {"a": Form(8, 8)}], [0.1, 0.9])
    with pytest.raises(ValueError, match=r"knows the layers \['a'\], got \['b'\]"):
        predictor.predict([{"b": Form(2, 2)}])


def test_measuring_calibrates_each_setting_and_leaves_no_trace() -> None:
    model = choose(supernet(), "w3a3")
    before, state = chosen(model), copy.deepcopy(model.state_dict())
    drawn = sample_settings(model, 3, np.random.default_rng(0))
    seen = []

    def evaluate(model: nn.Module) -> float:
        seen.append((chosen(model), model[1].running_mean.clone()))
        return 0.5

    assert measure(model, drawn, evaluate, batches=[X]).tolist() == [0.5] * 3
    assert [setting for setting, _ in seen] == drawn
    choose(model, drawn[1])
    expected = (
        nn.functional.conv2d(
            model[0].input_quantizer(X), model[0].weight_quantizer(model[0].weight), padding=1
        ).mean((0, 2, 3))
        + model[0].bias
    )
    torch.testing.assert_close(seen[1][1], expected.detach(), rtol=1e-4, atol=1e-5)
    choose(model, before)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in state.items())
