from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from paperworks.compression.describe import describe, model_bytes
from paperworks.compression.grids import FloatGrid, IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedLinear
from paperworks.compression.rounding import RoundToNearest


def test_a_packed_layer_is_described_by_its_codes() -> None:
    codes = torch.tensor([[7, 8, 0, 0] * 16, [15, 1, 2, 0] * 16], dtype=torch.uint8)
    packed = PackedWeight.pack(codes, FloatGrid(2, 1), torch.ones(2))
    layer = QuantizedLinear(packed, None, InputQuantizer(IntegerGrid(8)))
    model = nn.Sequential(nn.Linear(64, 64, bias=False), layer)
    with torch.no_grad():
        model[0].weight[:16] = 0
    plain, small = describe(model)
    assert (small.name, small.kind, small.format, small.inputs) == (
        "1",
        "QuantizedLinear",
        "e2m1",
        "int8",
    )
    # 64 bytes of codes, 16 levels and two scales of 4 bytes.
    assert small.bytes == 64 + 64 + 8
    assert small.bits_per_weight == 8 * 136 / 128
    assert small.sparsity == 4 / 8  # code 8 is the negative zero
    counted = dict.fromkeys(small.levels, 0)
    for level, count in zip(small.levels, small.counts, strict=True):
        counted[level] += count
    assert counted[6.0] == 16
    assert counted[-6.0] == 16
    assert counted[0.0] == 64
    assert sum(small.counts) == 128
    assert (plain.format, plain.bits_per_weight, plain.inputs) == ("float32", 32, "")
    assert plain.sparsity == pytest.approx(0.25)
    assert sum(plain.counts) == 64 * 64
    assert plain.counts[len(plain.counts) // 2] >= 16 * 64
    assert (plain.levels[0], plain.levels[-1]) == (-1, 1)


def test_what_small_convolutions_keep_is_counted() -> None:
    """They stay decoded from their first run on, in the dtype of the model's inputs."""
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), nn.Flatten())
    model = RoundToNearest(4)(model.append(nn.Linear(256, 10)))
    stored = model_bytes(model)
    assert [each.decoded for each in describe(model)] == [0, 0, 0]
    model(torch.randn(1, 8, 6, 6))
    again = describe(model)
    assert [each.decoded for each in again] == [4 * 8 * 9, 4 * 16 * 8, 0]
    assert model_bytes(model) == stored + 4 * (8 * 9 + 16 * 8)
    # What a weight takes in a file, and with it the bits that are reported, stay the same.
    assert [each.bytes for each in again] == [
        layer.weight.bytes for layer in (*model[:2], model[3])
    ]


def test_tied_weights_count_once(llama: Any) -> None:
    names = [each.name for each in describe(llama)]
    assert "lm_head" not in names
    assert len(names) == 1 + 3 * 7
    parameters = sum(each.numel() for each in llama.parameters())
    buffers = sum(each.numel() * each.element_size() for each in llama.buffers())
    assert model_bytes(llama) == 4 * parameters + buffers
