"""The method on whole modules: what it stores, what it computes, and the folding, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.llm_fp4 import LLMFP4, fold
from paperworks.compression.packed_layers import QuantizedConv2d, QuantizedLinear
from paperworks.compression.rounding import MinMaxFP


def rows(n: int, columns: int, seed: int = 0) -> Tensor:
    """Inputs whose channels differ by binades."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, columns, generator=generator) * torch.exp2(
        torch.randn(columns, generator=generator) * 2
    )


def perceptron(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 10))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model


def convolutions(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2, stride=2)
    )
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model


def images(n: int = 3) -> Tensor:
    spread = torch.tensor([8.0, 1.0, 0.25, 2.0]).view(1, 4, 1, 1)
    return torch.randn(n, 4, 9, 9, generator=torch.Generator().manual_seed(5)) * spread


def wrong(model: nn.Module, compressed: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        wanted = model(x)
        return float((compressed(x) - wanted).square().sum() / wanted.square().sum())


def compress(model: nn.Module, x: Any, *arguments: Any, **options: Any) -> Any:
    return LLMFP4(*arguments, **options)(copy.deepcopy(model), [x])


@pytest.mark.parametrize("bits", [(4, 4), (4, 6), (3, 5), (6, 3)])
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_folded_and_unfolded_agree_bit_for_bit(kind: str, bits: tuple[int, int]) -> None:
    model, x = (perceptron(), rows(50, 24)) if kind == "linear" else (convolutions(), images())
    compressed = compress(model, x, *bits)
    folded = fold(copy.deepcopy(compressed))
    shifts = 0
    for layer in folded.modules():
        if isinstance(layer, QuantizedLinear | QuantizedConv2d):
            assert layer.input_quantizer is not None
            assert layer.input_quantizer.scale is not None
            assert layer.input_quantizer.scale.dim() == 0  # one for the tensor
            divide = layer.input_quantizer.divide
            assert divide is not None
            assert torch.equal(torch.frexp(divide).mantissa, torch.full_like(divide, 0.5))
            shifts += int((divide < 1).sum())
    assert shifts  # else there is nothing to fold
    for size in (len(x), 1):  # one row is decoded in registers, many in memory
        assert torch.equal(folded(x[:size]), compressed(x[:size]))


def test_folding_is_refused_where_it_takes_more_than_8_bits() -> None:
    compressed = compress(perceptron(), rows(50, 24), 8, 8)
    with pytest.raises(ValueError, match=r"folded, the weights of 0 would be E\dM\d, over 8 bits"):
        fold(compressed)


def test_folding_leaves_other_layers_alone() -> None:
    compressed = compress(perceptron(), rows(50, 24), 4, 4, per_channel=False)
    before = [layer.weight for layer in compressed if isinstance(layer, QuantizedLinear)]
    after = [layer.weight for layer in fold(compressed) if isinstance(layer, QuantizedLinear)]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_a_layer_computes_with_rounded_weights_and_inputs() -> None:
    x = rows(50, 24)
    layer = compress(perceptron(), x)[0]
    quantizer = layer.input_quantizer
    levels = quantizer.grid.decode(quantizer.grid.encode(x / quantizer.scale)) * quantizer.scale
    table = set(quantizer.grid.table.tolist())
    assert set((levels / quantizer.scale).unique().tolist()) <= table
    weight = layer.weight.dequantize()
    assert int(torch.tensor([len(row.abs().unique()) for row in weight]).max()) <= 8
    torch.testing.assert_close(layer(x), levels @ weight.T + layer.bias)
    assert layer.weight.codes.numel() == 40 * 24 // 2  # half a byte each


def test_a_channel_has_the_scale_of_the_tensor_times_a_power_of_two() -> None:
    x = rows(50, 24)
    quantizer = compress(perceptron(), x)[0].input_quantizer
    ratio = torch.log2(quantizer.scale / quantizer.scale.max())
    assert torch.equal(ratio, ratio.round())
    assert float(ratio.min()) >= 1 - 2**quantizer.grid.exponent
    # Channels of small inputs have small levels.
    order = x.abs().amax(0).argsort()
    assert bool((quantizer.scale[order].diff() >= 0).all())


def test_shifts_search_and_range_each_help() -> None:
    model, x, held_out = perceptron(), rows(400, 24), rows(400, 24)
    ours, baseline = compress(model, x), compress(model, x, per_channel=False)
    minmax = MinMaxFP(4, 4)(copy.deepcopy(model), [x])
    results = [wrong(model, each, held_out) for each in (ours, baseline, minmax)]
    assert results[0] < 0.7 * results[1] < 0.7 * results[2]


def test_more_bits_are_nearer() -> None:
    model, x = perceptron(), rows(100, 24)
    results = [wrong(model, compress(model, x, bits, bits), x) for bits in (3, 4, 6, 8)]
    assert results == sorted(results, reverse=True)
    assert results[-1] < 1e-3


@pytest.mark.parametrize("untouched", [None, 16])
def test_inputs_may_be_left_alone(untouched: int | None) -> None:
    model, x = perceptron(), rows(100, 24)
    compressed = compress(model, x, 4, untouched)
    assert compressed[0].input_quantizer is None
    assert wrong(model, compressed, x) < wrong(model, compress(model, x, 4, 8), x)


def test_only_the_second_moment_of_untouched_inputs_counts() -> None:
    model, x = nn.Sequential(perceptron()[0]), rows(100, 24)
    factor = torch.linalg.cholesky(x.double().T @ x.double() / 24).T.float() * (24 / 100) ** 0.5
    one, other = compress(model, x, 4, None), compress(model, factor, 4, None)
    same = one[0].weight.unpack() == other[0].weight.unpack()
    assert float(same.float().mean()) > 0.98  # but for ties in float32


def test_mixed_widths_go_by_the_first_pattern() -> None:
    method = LLMFP4({"2": 8, "*": 3}, {"0": None, "*": 5})
    compressed = method(perceptron(), [rows(50, 24)])
    assert (compressed[0].weight.bits, compressed[0].input_quantizer) == (3, None)
    assert (compressed[2].weight.bits, compressed[2].input_quantizer.grid.bits) == (8, 5)


def test_a_convolution_of_one_place_is_a_linear_layer() -> None:
    model, x = nn.Sequential(perceptron()[0]), rows(36, 24)
    flat = nn.Conv2d(24, 40, 1)
    flat.weight.data = model[0].weight.data[:, :, None, None].clone()
    flat.bias.data = model[0].bias.data.clone()
    linear = compress(model, x)
    convolution = compress(nn.Sequential(flat), x.T.reshape(1, 24, 6, 6))
    assert torch.equal(linear[0].weight.unpack(), convolution[0].weight.unpack())
    assert torch.equal(linear[0].input_quantizer.scale, convolution[0].input_quantizer.scale)


def test_zeros_stay_and_silent_channels_do_no_harm() -> None:
    model, x = perceptron(), rows(50, 24)
    model[0].weight.data[:, ::3] = 0
    model[0].weight.data[4] = 0
    x[:, 7] = 0
    compressed = compress(model, x)
    weight = compressed[0].weight.dequantize()
    assert not weight[:, ::3].any()
    assert not weight[4].any()
    assert bool(torch.isfinite(compressed(x)).all())


def test_float64_weights_are_rounded_as_float32_ones() -> None:
    model, x = perceptron(), rows(50, 24)
    one, other = compress(model, x), compress(model.double(), x.double())
    assert torch.equal(one[0].weight.unpack(), other[0].weight.unpack())
    assert other(x.double()).dtype == torch.float64


def test_the_same_call_gives_the_same_model() -> None:
    model, x = perceptron(), rows(2000, 24)
    state = torch.random.get_rng_state()
    one, other = (compress(model, x, samples=64) for _ in range(2))
    assert torch.equal(one(x), other(x))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 2}, r"weight_bits must be 3 to 8, got 2 for '\*'"),
        ({"weight_bits": 16}, "weight_bits must be 3 to 8, got 16"),
        ({"weight_bits": {"a": None}}, "weight_bits must be 3 to 8, got None for 'a'"),
        ({"activation_bits": 9}, "activation_bits must be 3 to 8, or 16 or None"),
        ({"gammas": (0.1, 0.9)}, "gammas must enclose the full range"),
        ({"weight_bits": 4.0}, "weight_bits must be 3 to 8, got 4.0"),
        ({"activation_bits": "4"}, "activation_bits must be 3 to 8, or 16 or None .*, got '4'"),
        ({"rounds": 0}, "rounds must be a whole number >= 1, got 0"),
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number >= 1, got 2.5"),
        ({"shortlist": 0}, "shortlist must be a whole number >= 1 or None for all, got 0"),
    ],
)
def test_bad_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LLMFP4(**options)


def test_a_layer_without_a_width_is_named_before_any_work() -> None:
    model = perceptron()
    with pytest.raises(ValueError, match=r"no pattern of weight_bits matches the layer '2': add"):
        LLMFP4({"0": 4})(model, [rows(5, 24)])
    assert isinstance(model[0], nn.Linear)
