"""One row of input through a packed layer, beside float32 and what others have for few bits.

torch's own int4 product is in bfloat16, as it is meant to be used. torchao's int8 weights run
without ``torch.compile``, as ours do (compiled they were no faster here). torchao is not in the
extra ``bench``, since transformers imports it wherever it is and takes twice as long: install it by
hand for this one. Every contender's error against float64 is in the note, relative to the output:
what is left of it is the rounding of the weight, which is not the same in all formats.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedLinear
from paperworks.compression.rounding import RoundToNearest

SHAPES = [(576, 576), (1536, 576), (2048, 2048), (4096, 4096)]
GROUP = 64


def packed(weight: torch.Tensor, grid: Grid, groups: int) -> QuantizedLinear:
    rows = weight.view(weight.shape[0], groups, -1)
    scale = rows.abs().amax(-1) / grid.largest
    codes = grid.encode(rows / scale[:, :, None]).view(weight.shape)
    return QuantizedLinear(PackedWeight.pack(codes, grid, scale))


def power(bits: int) -> Grid:
    magnitude = torch.linspace(0, 1, 2 ** (bits - 1)) ** 2
    return Grid(torch.cat([magnitude, -magnitude]), f"power{bits}")


def float32(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: functional.linear(x, weight)


def int4_groups(weight: torch.Tensor) -> Any:
    return packed(weight, IntegerGrid(4), weight.shape[1] // GROUP)


def int4(weight: torch.Tensor) -> Any:
    return packed(weight, IntegerGrid(4), 1)


def e2m1(weight: torch.Tensor) -> Any:
    return packed(weight, FloatGrid(2, 1), 1)


def power4(weight: torch.Tensor) -> Any:
    return packed(weight, power(4), 1)


def power5(weight: torch.Tensor) -> Any:
    return packed(weight, power(5), 1)


def power6(weight: torch.Tensor) -> Any:
    return packed(weight, power(6), 1)


def power8(weight: torch.Tensor) -> Any:
    return packed(weight, power(8), 1)


def e5m2(weight: torch.Tensor) -> Any:
    return packed(weight, FloatGrid(5, 2), 1)


def w4a4(weight: torch.Tensor) -> Any:
    """Inputs rounded too, each row by its own largest magnitude."""
    layer = packed(weight, IntegerGrid(4), 1)
    layer.input_quantizer = InputQuantizer(IntegerGrid(4))
    return layer


def e2m1_inputs(weight: torch.Tensor) -> Any:
    """Weights and inputs in E2M1, with a scale for each channel, as LLM-FP4 has them."""
    layer = packed(weight, FloatGrid(2, 1), 1)
    layer.input_quantizer = InputQuantizer(FloatGrid(2, 1), torch.full((weight.shape[1],), 0.5))
    return layer


def int8(weight: torch.Tensor) -> Any:
    return packed(weight, IntegerGrid(8), 1)


def e4m3(weight: torch.Tensor) -> Any:
    return packed(weight, FloatGrid(4, 3), 1)


def torch_int4(weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    out, fan_in = weight.shape
    groups = weight.view(out, -1, GROUP)
    scale = groups.abs().amax(-1) / 7
    codes = (groups / scale[:, :, None]).round().clamp(-7, 7).view(out, fan_in) + 8
    codes_packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    # The product subtracts 8 from the codes; the second number of a pair is added.
    factors = torch.stack([scale.T, torch.zeros_like(scale.T)], -1).bfloat16().contiguous()
    product = torch.ops.aten._weight_int4pack_mm_for_cpu
    return lambda x: product(x.bfloat16(), codes_packed, GROUP, factors).float()


def torchao_int8(weight: torch.Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization = pytest.importorskip("torchao.quantization")
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data = weight.clone()
        model = nn.Sequential(layer)
        quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    return model


OURS = (
    int4, int4_groups, e2m1, power4, power5, power6, power8, int8, e4m3, e5m2, w4a4, e2m1_inputs
)  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("build", [float32, *OURS, torch_int4, torchao_int8])
def test_one_row(race: Any, shape: tuple[int, int], build: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    x = torch.randn(1, shape[1], generator=generator)
    layer = build(weight)
    exact = x.double() @ weight.double().T

    def call() -> torch.Tensor:
        with torch.no_grad():
            for _ in range(10):
                y = layer(x)
        return y

    race(
        call,
        group=f"ten products of a row with {shape[0]} x {shape[1]} weights",
        contender=build.__name__,
        ours=build in OURS,
        rounds=20,
        warmup=2,
        note=lambda y: f"error {float((y.double() - exact).norm() / exact.norm()):.2%}",
    )


def conv_float32(layer: nn.Module) -> nn.Module:
    return layer


def conv_int4(layer: nn.Module) -> nn.Module:
    return RoundToNearest(4)(nn.Sequential(layer))


def conv_w4a4(layer: nn.Module) -> nn.Module:
    """Inputs rounded too, each place by its own largest magnitude."""
    return with_inputs(conv_int4(layer), IntegerGrid(4))


def conv_power4_inputs(layer: nn.Module) -> nn.Module:
    return with_inputs(conv_int4(layer), power(4))


def conv_power8_inputs(layer: nn.Module) -> nn.Module:
    return with_inputs(conv_int4(layer), power(8))


def with_inputs(model: Any, grid: Grid) -> nn.Module:
    model[0].input_quantizer = InputQuantizer(grid, axis=1)
    return model


OUR_CONVOLUTIONS = (conv_int4, conv_w4a4, conv_power4_inputs, conv_power8_inputs)
# Channels, height and width, groups.
CONVOLUTIONS = [(32, 56, 1), (64, 32, 1), (256, 8, 1), (512, 4, 1), (64, 32, 64), (256, 8, 256)]


@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids="{0[0]}x{0[1]}-{0[2]}".format)
@pytest.mark.parametrize("build", [conv_float32, *OUR_CONVOLUTIONS])
def test_one_image(race: Any, sizes: tuple[int, int, int], build: Any) -> None:
    channels, side, groups = sizes
    torch.manual_seed(0)
    layer = build(nn.Conv2d(channels, channels, 3, padding=1, groups=groups))
    x = torch.randn(1, channels, side, side)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return layer(x)

    race(
        call,
        group=f"3x3 convolution of {channels} channels in {groups} groups, {side} x {side}",
        contender=build.__name__,
        ours=build in OUR_CONVOLUTIONS,
        rounds=20,
        warmup=2,
    )
