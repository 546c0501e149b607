"""Rounding baselines against loops over single numbers, and against their papers' formulas."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.describe import bits_per_weight, describe
from paperworks.compression.rounding import MinMaxFP, RoundToNearest, SmoothQuant
from paperworks.data.efficientnet_lite import EfficientNetLite0


def linear(out: int = 6, columns: int = 128, seed: int = 0, **options: Any) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(columns, out, **options))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def inputs(n: int = 30, columns: int = 128, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, columns, generator=generator) * torch.exp2(
        torch.randn(columns, generator=generator)
    )


def nearest(value: float, levels: list[float]) -> float:
    return min(levels, key=lambda level: abs(level - value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("group", [None, 64])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_symmetric_integers(bits: int, group: int | None, dtype: torch.dtype) -> None:
    model = linear(dtype=dtype)
    weight = model[0].weight.detach().clone()
    got = RoundToNearest(bits, group=group)(model)[0].weight.dequantize()
    size = group or 128
    for row in range(6):
        for start in range(0, 128, size):
            part = weight[row, start : start + size].double()
            step = float(part.abs().max()) / (2 ** (bits - 1) - 1)
            levels = [k * step for k in range(1 - 2 ** (bits - 1), 2 ** (bits - 1))]
            expected = [nearest(float(value), levels) for value in part]
            np.testing.assert_allclose(got[row, start : start + size], expected, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_asymmetric_integers_reach_both_ends_and_keep_zero(bits: int) -> None:
    model = linear()
    model[0].weight.data += 1.0
    model[0].weight.data[:, ::5] = 0.0
    model[0].weight.data[2] = model[0].weight.data[2].abs() + 1
    weight = model[0].weight.detach().clone()
    got = RoundToNearest(bits, symmetric=False)(model)[0].weight.dequantize()
    low, high = weight.amin(1).clamp(max=0), weight.amax(1).clamp(min=0)
    step = (high - low) / (2**bits - 1)
    assert not got[weight == 0].any()
    assert bool(((got - weight).abs() <= step[:, None] * 1.01).all())  # the offset is rounded too
    assert int((got / step[:, None]).round().unique(dim=1).shape[1]) >= 1
    for row, one in zip(got, step, strict=True):
        assert row.unique().numel() <= 2**bits
        torch.testing.assert_close(row / one, (row / one).round(), atol=1e-3, rtol=0)
    if bits > 2:
        plain = RoundToNearest(bits)(linear())[0].weight.dequantize()
        assert (got - weight)[:, 1:].square().mean() < (plain - linear()[0].weight).square().max()


def test_tokens_are_rounded_by_their_own_largest() -> None:
    model, x = linear(), inputs()
    compressed = RoundToNearest(8, 4)(copy.deepcopy(model))
    step = x.abs().amax(1, keepdim=True) / 7
    weight = compressed[0].weight.dequantize()
    expected = (x / step).round() * step @ weight.T + model[0].bias
    torch.testing.assert_close(compressed(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("bits", "form"), [(4, (2, 1)), (6, (3, 2)), (8, (4, 3)), (4, (1, 2))])
def test_minmax_is_the_grid_at_the_largest(bits: int, form: tuple[int, int]) -> None:
    model, x = linear(), inputs()
    options = {"weight_format": form, "activation_format": form} if form == (1, 2) else {}
    compressed = MinMaxFP(bits, bits, **options)(copy.deepcopy(model), [x])  # type: ignore[arg-type]
    e, m = form
    positive = [
        (k % 2**m + (k >= 2**m) * 2**m) * 2.0 ** (max(k >> m, 1) - m) for k in range(2 ** (e + m))
    ]
    top = max(positive)
    levels = sorted({*positive, *(-level for level in positive)})

    def rounded(values: Tensor, largest: float) -> list[float]:
        return [nearest(float(v) * top / largest, levels) * largest / top for v in values]

    row = model[0].weight[3]
    got = compressed[0].weight.dequantize()[3]
    np.testing.assert_allclose(got, rounded(row, float(row.abs().max())), atol=1e-5)
    token = compressed[0].input_quantizer(x[:1])[0]
    np.testing.assert_allclose(token, rounded(x[0], float(x.abs().max())), atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smoothing_moves_the_spread_as_in_equation_4(alpha: float) -> None:
    model, x = linear(), inputs()
    layer = SmoothQuant(8, 8, alpha=alpha)(copy.deepcopy(model), [x])[0]
    factor = x.abs().amax(0) ** alpha / model[0].weight.abs().amax(0) ** (1 - alpha)
    torch.testing.assert_close(layer.input_quantizer.divide, factor)
    moved = model[0].weight * factor
    step = moved.abs().amax(1, keepdim=True) / 127
    assert bool(((layer.weight.dequantize() - moved).abs() <= step * 0.501).all())
    wanted = model(x)
    assert (layer(x) - wanted).square().sum() < 1e-3 * wanted.square().sum()


def test_smoothing_by_tensor_has_one_scale_from_the_calibration_data() -> None:
    model, x = linear(), inputs()
    layer = SmoothQuant(8, 4, per_token=False)(model, [x[:10], x[10:]])[0]
    divided = x / layer.input_quantizer.divide
    assert float(layer.input_quantizer.scale) == pytest.approx(float(divided.abs().max()) / 7)


def test_smoothing_helps_where_channels_differ() -> None:
    model, x = linear(), inputs()
    x[:, 5] *= 50
    wanted = model(x)
    plain = RoundToNearest(4, 4)(copy.deepcopy(model))
    smooth = SmoothQuant(4, 4)(copy.deepcopy(model), [x])
    assert (smooth(x) - wanted).square().sum() < 0.7 * (plain(x) - wanted).square().sum()


@pytest.mark.parametrize(
    "method",
    [RoundToNearest(8, 8), MinMaxFP(8, 8), SmoothQuant(8, 8), SmoothQuant(8, 8, per_token=False)],
    ids=["nearest", "minmax", "smooth", "smooth by tensor"],
)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(method: Any, groups: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=groups))
    x = torch.randn(2, 4, 7, 7) * torch.tensor([4.0, 1.0, 0.5, 2.0]).view(1, 4, 1, 1)
    wanted = model(x)
    got = method(copy.deepcopy(model), [x])(x)
    assert float((got - wanted).square().sum() / wanted.square().sum()) < 5e-3


@pytest.mark.parametrize(
    "method", [RoundToNearest(4, 4), MinMaxFP(), SmoothQuant(4, 4)], ids=["nearest", "fp", "smooth"]
)
def test_zeros_stay_and_silent_channels_do_no_harm(method: Any) -> None:
    model, x = linear(), inputs()
    model[0].weight.data[:, ::2] = 0
    model[0].weight.data[1] = 0
    x[:, 9] = 0
    zero = model[0].weight == 0
    layer = method(model, [x])[0]
    assert not layer.weight.dequantize()[zero].any()
    assert bool(torch.isfinite(layer(x)).all())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RoundToNearest(9), "2 to 8 bits, got 9"),
        (lambda: RoundToNearest("4"), "2 to 8 bits, got '4'"),
        (lambda: MinMaxFP("4"), "2 to 8 bits, got '4'"),
        (lambda: MinMaxFP(4, 4.0), "2 to 8 bits, got 4.0"),
        (lambda: RoundToNearest(4, 1), "2 to 8 bits, got 1"),
        (lambda: RoundToNearest(4, group=48)(linear()), "group=48 does not divide the 128 columns"),
        (lambda: RoundToNearest(4, group=32)(linear()), "multiples of 64: 64 would do"),
        (lambda: MinMaxFP(4, weight_format=(3, 2)), "E3M2 with its sign is not of 4 bits"),
        (lambda: SmoothQuant(4, 4, alpha=1.5), "alpha must be from 0 to 1, got 1.5"),
    ],
)
def test_bad_settings_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_network_of_convolution_subclasses_is_four_bits_all_over() -> None:
    model = EfficientNetLite0().eval()
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        exact = model(x)
        eight = (RoundToNearest(8)(copy.deepcopy(model))(x) - exact).norm() / exact.norm()
    assert eight < 0.2
    layers = describe(RoundToNearest(4)(model))
    assert {each.format for each in layers} == {"int4"}
    assert len(layers) == 50
    assert 4 < bits_per_weight(layers) < 4.4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "method",
    [
        RoundToNearest(4),
        RoundToNearest(4, symmetric=False),
        MinMaxFP(4, 4),
        SmoothQuant(4, 4),
        SmoothQuant(8, 8, per_token=False),
    ],
    ids=lambda method: type(method).__name__,
)
def test_half_precision_weights_are_rounded_in_float32(method: Any, dtype: torch.dtype) -> None:
    """Scales of so few digits, or below the smallest normal number, would cost accuracy."""
    model, x = linear().to(dtype), inputs().to(dtype)
    model[0].weight.data *= 1e-4
    small = method(copy.deepcopy(model), [x])[0]
    expected = method(copy.deepcopy(model).float(), [x.float()])[0]
    assert torch.equal(small.weight.codes, expected.weight.codes)
    assert torch.equal(small.weight.scale, expected.weight.scale)
    if small.input_quantizer is not None:
        for name, buffer in expected.input_quantizer.named_buffers():
            assert torch.equal(small.input_quantizer.get_buffer(name), buffer)
    assert small(x).dtype == dtype
