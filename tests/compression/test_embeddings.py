from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import QuantizedEmbedding, QuantizedLinear
from paperworks.compression.saving import load_compressed, save_compressed


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


class Scaled(nn.Embedding):
    """Scales its rows and starts at the second, as word and position embeddings do."""

    def __init__(self, count: int, size: int):
        super().__init__(count, size)
        self.register_buffer("gain", torch.tensor(3.0), persistent=False)

    def forward(self, index: Tensor, start: int = 1) -> Tensor:
        return super().forward(index + start) * self.gain.to(self.weight.dtype)


def test_subclasses_keep_their_forward() -> None:
    model, index = nn.Sequential(Scaled(9, 64)), torch.tensor([[0, 3], [7, 3]])
    before = model(index).detach()
    small = EmbeddingQuantizer(8)(model)
    rows = small[0].weight.dequantize()
    assert torch.equal(small(index), 3 * rows[index + 1])
    assert torch.equal(small[0](index, start=0), 3 * rows[index])
    torch.testing.assert_close(small(index), before, rtol=0, atol=0.05)
    for again in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.equal(again(index), small(index))
    assert copy.deepcopy(small).to(torch.bfloat16)(index).dtype == torch.bfloat16


def test_packed_layers_have_the_sizes_of_plain_ones() -> None:
    model = EmbeddingQuantizer(8)(Twins())
    table, head = model.shared, model.head
    assert (table.num_embeddings, table.embedding_dim) == (10, 64)
    assert (head.in_features, head.out_features) == (64, 10)


def test_a_forward_that_needs_the_whole_table_says_so() -> None:
    class Mean(nn.Embedding):
        def forward(self, index: Tensor) -> Tensor:
            return super().forward(index) - self.weight.mean(0)

    model = EmbeddingQuantizer(8)(nn.Sequential(Mean(9, 64)))
    with pytest.raises(TypeError, match=r"an embedding of few bits gives rows alone, .* mean"):
        model(torch.arange(3))


@pytest.mark.parametrize(
    "name", ["Gemma3ForCausalLM", "OPTForCausalLM", "T5ForConditionalGeneration"]
)
def test_all_tables_of_a_model_of_transformers(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokens = {"input_ids": torch.arange(12)[None]}
    if name.startswith("Gemma"):
        config = transformers.Gemma3TextConfig(
            vocab_size=29, hidden_size=64, intermediate_size=24, num_hidden_layers=1, head_dim=8,
            num_attention_heads=2, num_key_value_heads=1,
        )  # fmt: skip
    elif name.startswith("OPT"):
        config = transformers.OPTConfig(
            vocab_size=29, hidden_size=64, ffn_dim=24, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=20, word_embed_proj_dim=64,
        )  # fmt: skip
    else:
        config = transformers.T5Config(vocab_size=29, d_model=64, d_ff=24, num_layers=1)
        tokens["decoder_input_ids"] = tokens["input_ids"]
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        before = model(**tokens).logits
        EmbeddingQuantizer(8)(model)
        left = [each for each in model.modules() if isinstance(each, nn.Embedding)]
        assert all(each.weight is None for each in left)
        small = model(**tokens).logits
        assert 0 < (small - before).norm() < 0.05 * before.norm()
        save_compressed(model, tmp_path / "small")
        assert torch.equal(load_compressed(tmp_path / "small").model(**tokens).logits, small)


def test_bad_tables() -> None:
    clipped = nn.ModuleDict({"words": nn.Embedding(3, 4, max_norm=1.0)})
    with pytest.raises(ValueError, match=r"words scales its rows to max_norm=1.0 .*set it to None"):
        EmbeddingQuantizer(8)(clipped)
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
