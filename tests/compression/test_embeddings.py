from __future__ import annotations

import pytest
import torch
from torch import nn

from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedEmbedding, QuantizedLinear


class Twins(nn.Module):
    """One table under two names, another that shares its weight, and a head tied to it."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(10, 64)
        self.encoder = nn.ModuleDict({"embed": self.shared})
        self.decoder = nn.Embedding(10, 64)
        self.head = nn.Linear(64, 10, bias=False)
        self.decoder.weight = self.head.weight = self.shared.weight


def test_all_who_share_a_table_get_the_same_codes() -> None:
    model = EmbeddingQuantizer(8)(Twins())
    users = (model.shared, model.encoder["embed"], model.decoder, model.head)
    assert [type(user) for user in users] == [*[QuantizedEmbedding] * 3, QuantizedLinear]
    assert len({user.weight.codes.data_ptr() for user in users}) == 1


@pytest.mark.parametrize("bits", [3, 8])
def test_rows_are_rounded_to_half_a_step(bits: int) -> None:
    table = nn.Embedding(7, 100)
    weight = table.weight.detach().clone()
    weight[3] = 0
    table.weight.data = weight.clone()
    found = EmbeddingQuantizer(bits)(nn.Sequential(table))(torch.arange(7))
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((found - weight).abs() <= 0.5001 * step).all()


def test_bad_tables() -> None:
    with pytest.raises(ValueError, match="Linear has no Embedding layer"):
        EmbeddingQuantizer(8)(nn.Linear(2, 2))
    table = nn.Embedding(3, 4)
    table.weight.data[1, 2] = torch.nan
    with pytest.raises(ValueError, match="0 has 1 weights that are NaN or infinite, of 12"):
        EmbeddingQuantizer(8)(nn.Sequential(table))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_dtype_still_runs(dtype: torch.dtype) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Embedding(9, 64), nn.Linear(64, 9, bias=False))

    index = torch.arange(9)
    model = EmbeddingQuantizer(8)(build().to(dtype))
    assert model(index).dtype == model[0].weight.dtype == dtype
    assert model[0].weight.scale.dtype == torch.float32
    again = PackedWeight.from_spec(model[0].weight.spec())
    assert again.dtype == dtype
    # Or turned into it afterwards.
    assert EmbeddingQuantizer(8)(build()).to(dtype)(index).dtype == dtype
