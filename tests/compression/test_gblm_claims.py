"""What the claims of GBLM-Pruner stand on: SmolLM2 in plain PyTorch, and the measures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paperworks.claims import _smollm, gblm_pruner


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A random Llama of transformers, in a folder as SmolLM2 lies in."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    config = transformers.LlamaConfig(
        vocab_size=60,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters={"rope_theta": 100.0, "rope_type": "default"},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data *= 5 if parameter.dim() > 1 else 0.7
    model.save_pretrained(tmp_path)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(60)}, "0"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr("paperworks.data.model_path", lambda name: tmp_path)
    return model


@pytest.mark.parametrize("blocks", [2, 5])
def test_the_cut_model_gives_the_logits_and_the_loss_of_transformers(
    small: Any, blocks: int
) -> None:
    model = _smollm.SmolLM(blocks)
    tokens = model.tokens(" ".join(str(i * 7 % 60) for i in range(30)))
    assert tokens.tolist() == [i * 7 % 60 for i in range(30)]
    tail, hidden = model.tail(), model.front(tokens[None])
    with torch.no_grad():
        expected = small(tokens[None], labels=tokens[None])
    torch.testing.assert_close(tail(hidden), expected.logits, rtol=1e-4, atol=1e-4)
    sample = (hidden, tokens[None])
    torch.testing.assert_close(_smollm.loss(tail, sample), expected.loss, rtol=1e-4, atol=1e-4)
    found = _smollm.perplexity(tail, [sample, sample])
    assert found == pytest.approx(math.exp(expected.loss), rel=1e-3)


def test_each_tail_is_a_copy_but_for_the_head(small: Any) -> None:
    model = _smollm.SmolLM(2)
    first, second = model.tail(), model.tail()
    with torch.no_grad():
        first.layers[0].mlp["up_proj"].weight.zero_()
    assert second.layers[0].mlp["up_proj"].weight.any()
    assert first.head.data_ptr() == second.head.data_ptr()


def test_a_trial_has_all_contenders_and_draws_by_its_seed(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = [" ".join(str(i * i * step % 60) for i in range(400)) for step in (7, 11)]
    monkeypatch.setattr(gblm_pruner, "texts", lambda source, between: tuple(text))
    labels = [gblm_pruner.OURS, gblm_pruner.WANDA, gblm_pruner.SPARSEGPT, gblm_pruner.MAGNITUDE]
    work: Any = {"source": "toy", "blocks": 4, "length": 16, "samples": 3}

    def run(seed: int) -> Any:
        return gblm_pruner.measure_perplexity(
            seed=seed, device="cpu", labels=labels, held_out=4, pattern="2:4", **work
        ).values

    first, again, other = run(0), run(0), run(1)
    assert list(first) == labels
    assert first == again
    assert first["magnitude"] == other["magnitude"]
    assert first["Wanda"] != other["Wanda"]
    structure = gblm_pruner.measure_structure(seed=0, device="cpu", **work).values
    assert set(structure) == {gblm_pruner.OURS, gblm_pruner.WANDA}


def test_unevenness_is_one_for_chance_and_the_rows_for_whole_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(400, 300, bias=False)
    layer.weight.data = (torch.rand(300, 400, generator=generator) < 0.5).float()
    assert gblm_pruner.unevenness(layer) == pytest.approx(1, abs=0.2)
    layer.weight.data = torch.ones(300, 400)
    layer.weight.data[:, ::2] = 0
    assert gblm_pruner.unevenness(layer) == pytest.approx(300, rel=0.01)
