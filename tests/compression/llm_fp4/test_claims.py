"""What the claims of LLM-FP4 stand on: MiniLM in plain PyTorch, and its trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from paperworks.claims import llm_fp4
from paperworks.claims._minilm import MiniLM, embeddings

SENTENCES = ["3 1 4 1 5 9", "2 6", "5 3 5 8 9 7 9 3 2"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A random BERT of transformers, in a folder as MiniLM lies in."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        layer_norm_eps=1e-3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(tmp_path)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({str(i): i for i in range(60)}, "0"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.enable_padding(length=20)  # as MiniLM's file has it
    words.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr("paperworks.data.model_path", lambda name: tmp_path)
    return model


def test_the_plain_encoder_gives_the_states_of_transformers(small: Any) -> None:
    model = MiniLM()
    tokens, mask = model.inputs(SENTENCES)
    assert mask.sum(1).tolist() == [6, 2, 9]
    assert tokens[0].tolist() == [3, 1, 4, 1, 5, 9, 0, 0, 0]
    with torch.no_grad():
        expected = small(tokens, attention_mask=mask).last_hidden_state
        found = model.encoder(tokens, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-4)
    alone = torch.cat([embeddings(model.encoder, model.inputs([each])) for each in SENTENCES])
    torch.testing.assert_close(embeddings(model.encoder, (tokens, mask)), alone)
    torch.testing.assert_close(alone[1], expected[1, :2].mean(0), rtol=1e-4, atol=1e-4)


def test_a_trial_has_every_method_and_draws_by_its_seed(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(step: int) -> str:
        sentences = (" ".join(str(i * k * step % 60) for i in range(12)) for k in range(1, 30))
        return "".join(f"{each} . " for each in sentences)

    monkeypatch.setattr(llm_fp4, "texts", lambda name, between: (text(7), text(11)))

    def run(seed: int) -> Any:
        return llm_fp4.minilm(seed=seed, device="cpu", blocks=1, text="toy", size=3).values

    first = run(0)
    assert list(first) == list(llm_fp4.METHODS)
    assert all(value > 0 for value in first.values())
    # Where in memory a tensor lies can change the last bits of a product.
    assert first == pytest.approx(run(0), rel=1e-4)
    assert first != run(1)
