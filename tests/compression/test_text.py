from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.text import calibration_windows, perplexity


def test_perplexity_is_that_of_the_models_own_loss(llama: Any, tokenizer: Any, text: str) -> None:
    result = perplexity(llama, tokenizer, text, length=32, windows=3)
    tokens = torch.tensor(tokenizer(text)["input_ids"][: 3 * 32]).view(3, 32)
    losses = []
    with torch.no_grad():
        for row in tokens:
            logits = llama(row[None]).logits[0]
            losses.append(functional.cross_entropy(logits[:-1], row[1:]))
    assert result.tokens == 3 * 31
    assert result.value == pytest.approx(math.exp(sum(losses) / 3), rel=1e-5)
    assert result.value != pytest.approx(29, rel=0.01)  # not blind: the logits are not uniform


def test_the_end_that_fills_no_window_is_left_out(llama: Any, tokenizer: Any, text: str) -> None:
    told: list[tuple[int, int]] = []
    result = perplexity(
        llama, tokenizer, text[:100], length=32, progress=lambda *each: told.append(each)
    )
    assert result.tokens == 3 * 31
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert perplexity(llama, tokenizer, text[:96], length=32) == result


def test_windows_are_pieces_of_the_text(tokenizer: Any, text: str) -> None:
    windows = calibration_windows(tokenizer, text, length=16, count=40, seed=3)
    assert len(windows) == 40
    pieces = [tokenizer.decode(window[0]).replace(" ", "") for window in windows]
    squeezed = "".join(text.split())
    assert all(window.shape == (1, 16) and window.dtype == torch.int64 for window in windows)
    assert all(piece in squeezed for piece in pieces)
    assert len(set(pieces)) > 30
    again = calibration_windows(tokenizer, text, length=16, count=40, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(windows, again, strict=True))
    other = calibration_windows(tokenizer, text, length=16, count=40, seed=4)
    assert not all(torch.equal(a, b) for a, b in zip(windows, other, strict=True))


def test_a_text_of_one_window_is_enough(tokenizer: Any) -> None:
    (window,) = calibration_windows(tokenizer, "abcd", length=4, count=1)
    assert window.tolist() == [[0, 1, 2, 3]]


def test_a_text_shorter_than_a_sequence_is_refused(llama: Any, tokenizer: Any) -> None:
    words = "the {}text has 4 tokens, fewer than one sequence of 5"
    with pytest.raises(ValueError, match=words.format("calibration ")):
        calibration_windows(tokenizer, "abcd", length=5)
    with pytest.raises(ValueError, match=words.format("")):
        perplexity(llama, tokenizer, "abcd", length=5)


@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "T5ForConditionalGeneration"])
def test_a_model_without_next_token_scores_is_refused(tokenizer: Any, text: str, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config if name.startswith("T5") else transformers.BertConfig
    with torch.device("meta"):
        model = getattr(transformers, name)(config(vocab_size=29))
    with pytest.raises(ValueError, match=f"{name} has no scores of the next token"):
        perplexity(model, tokenizer, text, length=32)


@pytest.mark.parametrize("packed", [False, True])
def test_sequences_longer_than_the_positions_are_refused(
    tokenizer: Any, text: str, packed: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.OPTConfig(
        vocab_size=29, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=8,
    )  # fmt: skip
    model = transformers.OPTForCausalLM(config)
    if packed:
        EmbeddingQuantizer(8)(model)
    assert perplexity(model, tokenizer, text, length=64, windows=1).tokens == 63
    words = r"OPTForCausalLM has 64 positions, fewer than the 128 tokens .*--length .* at most 64"
    with pytest.raises(ValueError, match=words):
        perplexity(model, tokenizer, text, length=128)
    # An index that is out of range for another reason stays what it is.
    model.config.vocab_size = 3
    model.model.decoder.embed_tokens = torch.nn.Embedding(3, 8)
    with pytest.raises(IndexError):
        perplexity(model, tokenizer, text, length=64)
