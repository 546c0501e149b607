"""Programs and log-probabilities of a transformers model, on a tiny one with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paperworks.statistics import score_programs

transformers = pytest.importorskip("transformers", reason="needs the extra llm")


class Letters:
    """A tokenizer of letters: token i is the letter i, and 25 ends a text."""

    eos_token_id = 25
    pad_token_id = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) - 97 for letter in text]}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(chr(97 + each) for each in ids)


@pytest.fixture(scope="module")
def model() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=26, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, eos_token_id=25, bos_token_id=None,
        initializer_range=0.6,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return transformers.LlamaForCausalLM(config)


PROMPTS = ["abc", "q", "hello", "xyz", "mnopqrst"]


def test_log_probabilities_are_those_of_one_forward_pass(model):
    found = score_programs(model, Letters(), PROMPTS, max_tokens=7, batch_size=3)
    assert [each.prompt for each in found] == PROMPTS
    for prompt, scored in zip(PROMPTS, found, strict=True):
        ids = Letters()(prompt + scored.text)["input_ids"]
        ids += [25] * (scored.tokens[-1] == "")
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
        at = range(len(prompt) - 1, len(ids) - 1)
        wanted = [float(logs[i, ids[i + 1]]) for i in at]
        assert scored.logprobs == pytest.approx(wanted, abs=1e-5)
        assert [int(logs[i].argmax()) for i in at] == [ids[i + 1] for i in at]
    assert model.training  # as it was


def test_batches_make_no_difference_and_generate_agrees(model):
    together = score_programs(model, Letters(), PROMPTS, max_tokens=6)
    for prompt, scored in zip(PROMPTS, together, strict=True):
        (alone,) = score_programs(model, Letters(), [prompt], max_tokens=6)
        assert alone.tokens == scored.tokens
        ids = torch.tensor([Letters()(prompt)["input_ids"]])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6,
            pad_token_id=0,
        )  # fmt: skip
        new = [each for each in out[0, ids.shape[1] :].tolist() if each != 25]
        assert Letters().decode(new) == scored.text


def test_a_stop_string_is_cut_off_and_paid_for(model):
    prompt, free = max(
        ((p, score_programs(model, Letters(), [p], max_tokens=8)[0]) for p in PROMPTS),
        key=lambda pair: len(set(pair[1].text)),
    )
    at = next(i for i in range(1, len(free.text)) if free.text[i] not in free.text[:i])
    (cut,) = score_programs(model, Letters(), [prompt], max_tokens=8, stop=[free.text[at]])
    assert cut.text == free.text[:at]
    assert cut.tokens[-1] == ""
    assert cut.logprobs == pytest.approx(free.logprobs[: at + 1], abs=1e-6)
    (kept,) = score_programs(
        model, Letters(), [prompt], max_tokens=2, targets=["t"], prefixes=["p"]
    )
    assert (kept.target, kept.prefix, kept.code) == ("t", "p", "p" + free.text[:2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 0}, "max_tokens must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"stop": "x"}, "stop must be a list"),
        ({"stop": [""]}, "stop must be a list"),
        ({"targets": []}, "1 prompts, but 0 targets"),
        ({"prompts": [""]}, r"prompt 0 \(''\) has no tokens"),
    ],
)
def test_bad_calls(model, options, words):
    with pytest.raises(ValueError, match=words):
        score_programs(model, Letters(), **({"prompts": ["a"]} | options))
