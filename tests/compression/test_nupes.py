"""The method on whole models: with data and without, packed, saved, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.kernels.tables import SIGNED, kind_of
from paperworks.compression.nupes import NUPES
from paperworks.compression.packed_layers import QuantizedConv2d, QuantizedLinear
from paperworks.compression.rounding import RoundToNearest
from paperworks.compression.saving import load_compressed, save_compressed


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """With weights on a bell, as trained ones are."""
    g = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.Linear(16, 5)
    )
    for layer in model:
        if hasattr(layer, "weight"):
            layer.weight.data = torch.randn(layer.weight.shape, generator=g) / 5
            layer.bias.data = torch.randn(layer.bias.shape, generator=g)
    return model.to(dtype)


def batches(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    base = torch.randn(20, 4 * 36, generator=g)
    return [(torch.randn(64, 20, generator=g) @ base).view(-1, 4, 6, 6).to(dtype) for _ in "ab"]


def wrong(model: nn.Module, dtype: torch.dtype = torch.float32) -> float:
    with torch.no_grad():
        return float(sum((model(x) - net(dtype)(x)).square().mean() for x in batches(dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [3, 4])
def test_data_and_learning_each_lower_the_error(bits: int, dtype: torch.dtype) -> None:
    uniform = wrong(RoundToNearest(bits)(net(dtype)), dtype)
    plain = wrong(NUPES(bits, clip=False)(net(dtype)), dtype)
    model = net(dtype)
    state = torch.random.get_rng_state()
    NUPES(bits, steps=100)(model, batches(dtype))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert plain < 0.8 * uniform
    assert wrong(model, dtype) < 0.95 * plain


def test_weights_take_the_nearest_level_without_data() -> None:
    model = NUPES(3)(net())
    for before, after in zip(net(), model, strict=True):
        if not hasattr(before, "weight"):
            continue
        packed = after.weight
        weight = before.weight.detach().flatten(1).double().numpy()
        levels = packed.scale.double().numpy() * packed.table.double().numpy()
        nearest = np.abs(weight[..., None] - levels[:, None, :]).min(-1)
        got = np.abs(weight - packed.dequantize().flatten(1).double().numpy())
        np.testing.assert_allclose(got, nearest, atol=1e-6)
        # Levels on a power law: the logarithm of level k is linear in that of k.
        logs = np.log(packed.table[1:4].double().numpy())
        slope = logs[0] / np.log(1 / 3)
        assert logs[1] / np.log(2 / 3) == pytest.approx(slope, rel=1e-4)


def test_packed_layer_runs_on_the_fast_path() -> None:
    model = NUPES(4)(nn.Sequential(nn.Linear(128, 32)))
    layer = model[0]
    assert kind_of(layer.weight.table)[0] == SIGNED
    assert layer.weight.codes.numel() == 128 * 32 // 2
    x = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = nn.functional.linear(x, layer.weight.dequantize(), layer.bias)
        torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


def test_one_exponent_for_the_model_or_one_each() -> None:
    model = net()
    model[3].weight.data **= 3  # longer tails want a lower exponent
    tables = [each.weight.table for each in NUPES(4)(model) if hasattr(each, "weight")]
    assert not torch.equal(tables[0], tables[1])
    model = net()
    model[3].weight.data **= 3
    tables = [
        each.weight.table for each in NUPES(4, exponent="model")(model) if hasattr(each, "weight")
    ]
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_a_given_exponent_is_taken() -> None:
    packed = NUPES(3, exponent=0.5)(net())[3].weight
    torch.testing.assert_close(packed.table[:4], torch.tensor([0.0, 1 / 9, 4 / 9, 1.0]))
    model = NUPES(3, exponent=0.5, exponent_lr=0.0, steps=10)(net(), batches())
    torch.testing.assert_close(model[3].weight.table[:4], torch.tensor([0.0, 1 / 9, 4 / 9, 1.0]))
    learned = NUPES(3, exponent=0.5, exponent_lr=0.01, steps=40)(net(), batches())
    assert not torch.equal(learned[3].weight.table, packed.table)


def test_exponent_one_without_clipping_is_rounding_to_nearest() -> None:
    ours = NUPES(4, exponent=1.0, clip=False)(net())
    theirs = RoundToNearest(4)(net())
    for i in (0, 3, 4):
        torch.testing.assert_close(ours[i].weight.dequantize(), theirs[i].weight.dequantize())


@pytest.mark.parametrize("data", [False, True])
def test_pruned_weights_stay_zero(data: bool) -> None:
    model = net()
    for layer in (model[0], model[3]):
        layer.weight.data[layer.weight.data.abs() < 0.1] = 0
    model[3].weight.data[2] = 0
    masks = [model[i].weight.data == 0 for i in (0, 3)]
    NUPES(3, steps=20)(model, batches() if data else None)
    for i, mask in zip((0, 3), masks, strict=True):
        assert (model[i].weight.dequantize()[mask] == 0).all()


def test_inputs_are_rounded_to_the_layer_s_power_law() -> None:
    x = torch.tensor([[0.0, 1.0, -0.3, 0.02] * 16])
    model = nn.Sequential(nn.Linear(64, 3), nn.Conv2d(3, 2, 1))
    NUPES(4, 4, exponent=0.5)(model)
    assert isinstance(model[0], QuantizedLinear)
    assert isinstance(model[1], QuantizedConv2d)
    assert model[1].input_quantizer.axis == 1
    levels = [(k / 7) ** 2 for k in range(8)]
    nearest = lambda v: np.sign(v) * min(levels, key=lambda level: abs(level - abs(v)))  # noqa: E731
    rounded = model[0].input_quantizer(5 * x)
    wanted = torch.tensor([[nearest(v) * 5 for v in (0.0, 1.0, -0.3, 0.02)] * 16])
    torch.testing.assert_close(rounded, wanted.float())


@pytest.mark.parametrize("bits", [None, 8])
def test_is_the_same_after_saving(tmp_path, bits: int | None) -> None:
    pytest.importorskip("safetensors")
    model = NUPES(3, bits, steps=5)(net(), batches())
    x = batches()[0]
    with torch.no_grad():
        wanted = model(x)
        save_compressed(model, tmp_path / "saved")
        again = load_compressed(tmp_path / "saved", net()).model
        assert torch.equal(again(x), wanted)
    quantizer = again[3].input_quantizer
    assert isinstance(quantizer, InputQuantizer) == (bits is not None)


def test_one_instance_serves_with_data_and_without() -> None:
    method = NUPES(3, steps=20)
    with_data = method(net(), batches())[3].weight.dequantize()
    without = method(net())[3].weight.dequantize()
    assert not torch.equal(with_data, without)
    assert torch.equal(without, NUPES(3)(net())[3].weight.dequantize())
    assert torch.equal(with_data, method(net(), batches())[3].weight.dequantize())


def test_groups_of_columns_have_their_own_scale() -> None:
    model = nn.Sequential(nn.Linear(128, 3))
    model[0].weight.data[:, 64:] *= 100
    packed = NUPES(4, group=64)(model)[0].weight
    assert packed.scale.shape == (3, 2)
    assert (packed.scale[:, 1] > 20 * packed.scale[:, 0]).all()


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="2 to 8 bits, got 9 bits"):
        NUPES(9)
    with pytest.raises(ValueError, match="2 to 8 bits, got 1 bits"):
        NUPES(4, 1)
    with pytest.raises(ValueError, match="'layer', 'model' or a number, got 'each'"):
        NUPES(4, exponent="each")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exponent must be > 0, got 0"):
        NUPES(4, exponent=0.0)
    with pytest.raises(ValueError, match="exponent_lr must be >= 0, got -1"):
        NUPES(4, exponent_lr=-1)
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got 0"):
        NUPES(4, steps=0)
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 1, got 2\.5"):
        NUPES(4, steps=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 to 8 bits, got '4' bits"):
        NUPES("4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give at least one batch"):
        NUPES(4)(net(), [])
    with pytest.raises(ValueError, match="group=48 does not divide the 18 columns of 0"):
        NUPES(4, group=48)(net())
    broken = net()
    broken[3].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="3 has 1 weights that are NaN"):
        NUPES(4)(broken)
