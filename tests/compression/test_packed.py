from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from paperworks.compression.grids import FloatGrid, Grid, IntegerGrid, float_grids
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.kernels import tables
from paperworks.compression.packed import FEW_ROWS, PackedWeight, padded_size
from paperworks.compression.packed_layers import (
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    quantized,
)


def power_table(bits: int) -> Grid:
    magnitude = torch.linspace(0, 1, 2 ** (bits - 1)) ** 1.7
    return Grid(torch.cat([magnitude, -magnitude]), f"power{bits}")


def crooked_table(bits: int) -> Grid:
    table = torch.randn(2**bits, generator=torch.Generator().manual_seed(bits))
    table[2] = 0
    return Grid(table, f"crooked{bits}")


GRIDS = [
    *(IntegerGrid(bits) for bits in range(2, 9)),
    IntegerGrid(4, signed=False),
    *(grid for bits in range(3, 9) for grid in float_grids(bits)),
    *(power_table(bits) for bits in (2, 3, 4, 5, 8)),
    *(crooked_table(bits) for bits in (2, 3, 4, 6, 8)),
]
names = lambda grid: grid.name  # noqa: E731


def make(
    grid: Grid, shape: tuple[int, ...], groups: int = 1, offset: bool = False, seed: int = 0
) -> tuple[PackedWeight, torch.Tensor, torch.Tensor]:
    """A packed weight, its codes, and the weight computed here in float64."""
    generator = torch.Generator().manual_seed(seed)
    out, fan_in = shape[0], math.prod(shape[1:])
    codes = torch.randint(2**grid.bits, (out, fan_in), generator=generator, dtype=torch.uint8)
    scale = torch.rand(out, groups, generator=generator) + 0.5
    shift = torch.randn(out, groups, generator=generator) if offset else None
    packed = PackedWeight.pack(codes, grid, scale, offset=shift, shape=shape)
    levels = grid.table.double()[codes.long()].view(out, groups, -1) * scale.double()[:, :, None]
    if shift is not None:
        levels += shift.double()[:, :, None]
    return packed, codes, levels.view(shape)


@pytest.mark.parametrize("grid", GRIDS, ids=names)
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1])
def test_the_product_is_that_of_the_decoded_weight(grid: Grid, rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for fan_in, groups, offset in ((64, 1, False), (256, 2, True), (27, 1, True), (100, 1, False)):
        packed, codes, weight = make(grid, (10, fan_in), groups, offset)
        assert torch.equal(packed.unpack(), codes)
        torch.testing.assert_close(packed.dequantize(torch.float64), weight, rtol=1e-6, atol=1e-6)
        x = torch.randn(rows, fan_in, generator=generator)
        bias = torch.randn(10, generator=generator)
        expected = functional.linear(x.double(), weight, bias.double())
        size = functional.linear(x.double().abs(), weight.abs()) + 1
        error = (packed.linear(x, bias).double() - expected).abs() / size
        assert error.max() < 1e-6


@pytest.mark.parametrize("in_bytes", [True, False])
@pytest.mark.parametrize(
    "grid",
    [power_table(bits) for bits in (4, 5, 6, 7, 8)]
    + [crooked_table(bits) for bits in (4, 5, 6, 7, 8)],
    ids=names,
)
def test_levels_of_a_table_are_decoded_in_registers_to_the_bit(
    grid: Grid, in_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of the identity picks one column out, whichever instructions the processor has."""
    if in_bytes and not tables.HAS_BYTE_PERMUTE:
        pytest.skip("the processor has no AVX-512 VBMI")
    monkeypatch.setattr(tables, "HAS_BYTE_PERMUTE", in_bytes)
    packed, codes, _ = make(grid, (24, 128), groups=2)
    assert len(codes.unique()) == 2**grid.bits
    weight = grid.table[codes.long()].view(24, 2, 64) * packed.scale[:, :, None]
    found = [packed.linear(rows) for rows in torch.eye(128).split(FEW_ROWS)]
    assert torch.equal(torch.cat(found).T, weight.view(24, 128))


@pytest.mark.parametrize(
    "grid",
    [*GRIDS, *(IntegerGrid(bits, signed=False) for bits in range(1, 9)), power_table(6)],
    ids=names,
)
@pytest.mark.parametrize("in_bytes", [True, False])
def test_a_weight_is_decoded_to_the_bit(
    grid: Grid, in_bytes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole tiles and what is left of them, as a look-up in the table gives it."""
    if in_bytes and not tables.HAS_BYTE_PERMUTE:
        pytest.skip("the processor has no AVX-512 VBMI")
    monkeypatch.setattr(tables, "HAS_BYTE_PERMUTE", in_bytes)
    for shape, groups in (((9, 192), 3), ((9, 100), 1), ((8, 7, 3, 3), 1), ((8, 64, 3, 3), 1)):
        packed, codes, _ = make(grid, shape, groups, offset=True)
        levels = grid.table[codes.long()].view(shape[0], groups, -1)
        expected = levels * packed.scale[:, :, None] + packed.offset[:, :, None]
        assert torch.equal(packed.dequantize(), expected.view(shape))
        packed.offset = None  # which would hide the sign of a zero
        signs = (levels * packed.scale[:, :, None]).view(shape).signbit()
        assert torch.equal(packed.dequantize().signbit(), signs)


def test_every_kind_of_decoding_is_reached() -> None:
    kinds = {tables.kind_of(grid.table)[0] for grid in GRIDS}
    assert {tables.AFFINE, tables.TABLE, tables.SIGNED} <= kinds
    assert max(kinds) >= tables.FLOAT + 2


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_code_takes_its_own_bits(bits: int) -> None:
    packed, _, _ = make(IntegerGrid(bits, signed=False), (32, 640))
    assert packed.codes.numel() * 8 == bits * 32 * 640
    # Beside the codes: a scale a row, and the table.
    assert packed.bytes == packed.codes.numel() + 4 * 32 + 4 * 2**bits


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_short_rows_take_no_more(bits: int) -> None:
    """A depthwise kernel has nine columns."""
    grid = IntegerGrid(bits)
    packed, codes, weight = make(grid, (96, 1, 3, 3))
    assert packed.codes.numel() <= math.ceil(96 * 9 / 64) * 8 * bits
    assert torch.equal(packed.unpack(), codes)
    torch.testing.assert_close(packed.dequantize().double(), weight, rtol=1e-6, atol=1e-6)
    flat = weight.flatten(1)
    torch.testing.assert_close(packed.row(torch.tensor([3, 95])).double(), flat[[3, 95]])
    x = torch.randn(1, 9)
    expected = x.double() @ flat.T
    torch.testing.assert_close(packed.linear(x).double(), expected, rtol=1e-4, atol=1e-5)
    again = PackedWeight.from_spec(packed.spec())
    again.load_state_dict(packed.state_dict())
    assert torch.equal(again.dequantize(), packed.dequantize())


@pytest.mark.parametrize("columns", [1, 3, 8, 20, 32])
@pytest.mark.parametrize("grid", [IntegerGrid(4), IntegerGrid(3), power_table(8)], ids=names)
def test_narrow_matrices_take_no_more_either(columns: int, grid: Grid) -> None:
    packed, codes, weight = make(grid, (1000, columns))
    assert packed.codes.numel() == math.ceil(1000 * columns / 64) * 8 * grid.bits
    assert padded_size((1000, columns)) == packed.codes.numel() * 8 // grid.bits
    assert torch.equal(packed.unpack(), codes)
    assert torch.equal(packed.dequantize().double(), weight.float().double())
    for rows in (1, FEW_ROWS + 1):
        x = torch.randn(rows, columns)
        found = packed.linear(x, torch.ones(1000))
        torch.testing.assert_close(found.double(), x.double() @ weight.T + 1, rtol=1e-4, atol=1e-5)
    # An embedding decodes the tiles that its rows lie in, and no more.
    index = torch.tensor([[0, 999], [500, 63], [500, 1]])
    assert torch.equal(packed.row(index), packed.dequantize()[index])
    half = packed.to(torch.bfloat16).row(index)
    assert torch.equal(half, packed.dequantize(torch.bfloat16)[index])


def test_padding_never_doubles_a_weight() -> None:
    """A row of many columns keeps its padding, which the product in registers needs."""
    for columns in range(1, 200):
        packed, _, _ = make(IntegerGrid(4), (64, columns))
        assert 2 * packed.codes.numel() < 2 * (64 * columns)


def test_a_large_product_runs_in_parts_and_threads() -> None:
    packed, _, weight = make(FloatGrid(2, 1), (4100, 1024))
    x = torch.randn(1, 1024, generator=torch.Generator().manual_seed(1))
    many = x.repeat(FEW_ROWS + 1, 1)
    expected = x.double() @ weight.T
    torch.testing.assert_close(packed.linear(x).double(), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(packed.linear(many).double()[2:3], expected, rtol=1e-4, atol=1e-3)
    bias = torch.linspace(-50, 50, 4100)
    for given in (x, many):
        product = packed.linear(given, bias).double()[:1]
        torch.testing.assert_close(product, expected + bias, rtol=1e-4, atol=1e-3)


def test_gradients_reach_the_input() -> None:
    packed, _, weight = make(IntegerGrid(4), (6, 64))
    x = torch.randn(2, 64, requires_grad=True)
    packed.linear(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0].double(), weight.sum(0), rtol=1e-5, atol=1e-4)


def test_shapes_of_inputs_are_kept() -> None:
    packed, _, _ = make(IntegerGrid(4), (6, 64))
    assert packed.linear(torch.zeros(64)).shape == (6,)
    assert packed.linear(torch.zeros(1, 1, 64)).shape == (1, 1, 6)
    assert packed.linear(torch.zeros(2, 9, 64)).shape == (2, 9, 6)
    assert packed.linear(torch.zeros(0, 64)).shape == (0, 6)
    assert packed.linear(torch.zeros(2, 64, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((8, 3, 3, 3), {"padding": 1}),
        ((8, 2, 3, 3), {"groups": 2, "stride": 2}),
        ((4, 4, 1, 1), {}),
        ((4, 1, 3, 3), {"groups": 4, "padding": "same", "dilation": 2}),
    ],
)
def test_a_convolution_is_torchs_on_the_decoded_weight(
    shape: tuple[int, ...], settings: dict[str, object]
) -> None:
    packed, _, weight = make(power_table(4), shape)
    layer = nn.Conv2d(shape[1] * settings.get("groups", 1), shape[0], shape[2], **settings)  # type: ignore[arg-type,operator]
    small = quantized(layer, packed)
    assert isinstance(small, QuantizedConv2d)
    x = torch.randn(2, layer.in_channels, 7, 7)
    layer.weight.data = weight.float()
    torch.testing.assert_close(small(x), layer(x).detach(), rtol=1e-4, atol=1e-4)


def test_a_small_convolution_is_decoded_once_and_again_where_it_changes() -> None:
    layer = nn.Conv2d(3, 4, 3)
    packed, _, _ = make(power_table(4), (4, 3, 3, 3))
    other, _, _ = make(power_table(4), (4, 3, 3, 3), seed=1)
    small, x = quantized(layer, packed), torch.randn(1, 3, 5, 5)
    first = small(x)
    assert packed.shared(torch.float32) is packed.shared(torch.float32)
    assert packed.bytes == other.bytes
    assert torch.equal(copy.deepcopy(small)(x), first)
    packed.load_state_dict(other.state_dict())
    assert not torch.allclose(small(x), first)
    torch.testing.assert_close(small(x), quantized(layer, other)(x))
    assert small.double()(x.double()).dtype == torch.float64
    large, _, _ = make(IntegerGrid(4), (64, 64, 3, 3))
    assert large.shared(torch.float32) is not large.shared(torch.float32)


def test_an_embedding_decodes_the_rows_asked_for() -> None:
    packed, _, weight = make(FloatGrid(4, 3), (50, 16))
    small = quantized(nn.Embedding(50, 16), packed)
    assert isinstance(small, QuantizedEmbedding)
    index = torch.tensor([[0, 49, 7], [7, 7, 1]])
    torch.testing.assert_close(small(index).double(), weight[index], rtol=1e-6, atol=1e-6)


def test_rounded_inputs_come_before_the_product() -> None:
    packed, _, weight = make(IntegerGrid(4), (6, 64))
    quantizer = InputQuantizer(FloatGrid(2, 1), torch.tensor(0.25))
    layer = QuantizedLinear(packed, None, quantizer)
    x = torch.randn(3, 64)
    expected = (FloatGrid(2, 1).round(x / 0.25) * 0.25).double() @ weight.T
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-4)


def test_copies_and_state_dicts_are_whole() -> None:
    packed, _, _ = make(FloatGrid(2, 1), (6, 128), groups=2, offset=True)
    x = torch.randn(1, 128)
    before = packed.linear(x)
    for again in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert torch.equal(again.linear(x), before)
    other = PackedWeight.from_spec(packed.spec())
    other.linear(torch.zeros(1, 128))  # what is prepared for the kernels must not outlive a load
    other.load_state_dict(packed.state_dict())
    assert torch.equal(other.linear(x), before)


def test_changing_the_dtype_of_a_model_leaves_scales_alone() -> None:
    packed, _, _ = make(FloatGrid(2, 1), (6, 128))
    scale = packed.scale.clone()
    layer = QuantizedLinear(packed).to(torch.bfloat16)
    assert torch.equal(layer.weight.scale, scale)
    assert layer(torch.randn(2, 128, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_what_cannot_be_packed_is_refused() -> None:
    codes = torch.zeros(4, 128, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"128 columns do not make 4 groups of a multiple of 64"):
        PackedWeight.pack(codes, IntegerGrid(4), torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"code 16 is beyond int4's 4 bits"):
        PackedWeight.pack(codes + 16, IntegerGrid(4), torch.ones(4))
    packed, _, _ = make(IntegerGrid(4), (4, 64))
    with pytest.raises(ValueError, match="no packed form of Conv1d"):
        quantized(nn.Conv1d(1, 4, 3), packed)
