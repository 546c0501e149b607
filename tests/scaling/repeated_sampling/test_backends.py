"""The transformers backend, on tiny models with random weights; no download."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from paperworks.scaling import TransformersBackend

transformers = pytest.importorskip("transformers", reason="needs the extra llm")


class Letters:
    """A tokenizer of 26 letters: token i is the letter i."""

    eos_token_id = 25

    def __call__(self, text: str, **_: Any) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor([[ord(ch) - 97 for ch in text]], dtype=torch.long)}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(chr(97 + i) for i in ids)

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "x" + messages[0]["content"] + "y"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    # Threads of a model this small only wait for each other, for long on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=26, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, eos_token_id=25, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8)  # or all tokens are about as likely
    return model.eval()


def backend(model: Any, **settings: Any) -> TransformersBackend:
    return TransformersBackend(model, Letters(), **{"max_tokens": 10, **settings})


def test_first_tokens_follow_the_models_probabilities(model: Any) -> None:
    temperature = 0.8
    texts = [
        completion.text
        for completion in backend(model, max_tokens=1, temperature=temperature).sample(
            "abc", range(4000)
        )
    ]
    with torch.no_grad():
        logits = model(torch.tensor([[0, 1, 2]])).logits[0, -1].double()
    chance = torch.softmax(logits / temperature, 0).numpy()
    seen = np.array([texts.count(chr(97 + i)) for i in range(25)] + [texts.count("")])
    common = chance * 4000 > 5
    observed = np.r_[seen[common], seen[~common].sum()]
    expected = np.r_[chance[common], chance[~common].sum()] * 4000
    filled = expected > 0.5
    assert chisquare(observed[filled], expected[filled] * observed[filled].sum()
                     / expected[filled].sum()).pvalue > 1e-4  # fmt: skip


def test_equals_sampling_one_token_at_a_time_without_a_cache(model: Any) -> None:
    ours = backend(model).sample("hello", [3, 4, 5])
    for seed, completion in zip([3, 4, 5], ours, strict=True):
        uniform = torch.rand(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ids = [ord(ch) - 97 for ch in "hello"]
        text = ""
        for u in uniform:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].double()
            climb = torch.softmax(logits / 0.6, 0).cumsum(0)
            token = int((climb <= u * climb[-1]).sum())
            if token == 25:
                break
            ids.append(token)
            text += chr(97 + token)
        assert completion.text == text


def test_a_sample_does_not_depend_on_its_batch(model: Any) -> None:
    seeds = list(range(8))
    whole = backend(model).sample("abc", seeds)
    parts = [c for s in seeds for c in backend(model).sample("abc", [s])]
    assert whole == parts
    assert len({c.text for c in whole}) > 3
    assert backend(model).sample("abc", seeds[::-1]) == whole[::-1]


def test_global_seed_and_mode_stay_as_they_are(model: Any) -> None:
    before = torch.random.get_rng_state()
    model.train()
    try:
        backend(model).sample("abc", [1])
        assert model.training
    finally:
        model.eval()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_nucleus_keeps_the_likeliest_tokens_only(model: Any) -> None:
    with torch.no_grad():
        chance = torch.softmax(model(torch.tensor([[0, 1, 2]])).logits[0, -1].double(), 0)
    ranked = chance.sort(descending=True)
    kept = int((ranked.values.cumsum(0) - ranked.values < 0.5).sum())
    nucleus = {chr(97 + int(i)) for i in ranked.indices[:kept]}
    settings = {"max_tokens": 1, "temperature": 1.0, "top_p": 0.5}
    seen = {c.text or "z" for c in backend(model, **settings).sample("abc", range(500))}
    assert seen <= nucleus
    assert len(seen) > 1 or kept == 1


def test_stop_strings_end_and_are_cut_off(model: Any) -> None:
    free = backend(model).sample("abc", range(24))
    letter = max("abcdefghijklmnopqrstuvwxy", key=lambda ch: sum(ch in c.text for c in free))
    stopped = backend(model, stop=[letter]).sample("abc", range(24))
    assert any(letter in c.text for c in free)
    for long, short in zip(free, stopped, strict=True):
        assert short.text == long.text.split(letter)[0]
        if letter in long.text:
            assert short.finish == "stop"
            assert short.completion_tokens == len(short.text) + 1


def test_end_of_text_and_length(model: Any) -> None:
    for c in backend(model, temperature=2.0).sample("abc", range(100)):
        assert (c.finish == "length") == (len(c.text) == 10)
        assert c.prompt_tokens == 3
        assert c.completion_tokens == len(c.text)


def test_chat_goes_through_the_template(model: Any) -> None:
    chat = backend(model, chat=True).sample("abc", [1, 2])
    plain = backend(model).sample("xabcy", [1, 2])
    assert chat == plain


def test_half_precision_weights() -> None:
    config = transformers.LlamaConfig(
        vocab_size=26, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    small = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    assert len(backend(small, max_tokens=3).sample("ab", [0, 1])) == 2


def test_describes_all_that_matters_and_refuses_what_cannot_be(model: Any) -> None:
    assert backend(model, stop=["\n"], name="tiny").describe() == {
        "kind": "transformers", "model": "tiny", "max_tokens": 10, "temperature": 0.6,
        "top_p": 1.0, "stop": ["\n"], "chat": False,
    }  # fmt: skip
    with pytest.raises(ValueError, match="temperature must be > 0, got 0: at 0 all samples"):
        backend(model, temperature=0)
    with pytest.raises(ValueError, match=r"top_p must be in \(0, 1\], got 1.5"):
        backend(model, top_p=1.5)
    with pytest.raises(ValueError, match="max_tokens must be >= 1, got 0"):
        backend(model, max_tokens=0)
    with pytest.raises(ValueError, match="stop must be a list of strings"):
        backend(model, stop="\n")
    with pytest.raises(ValueError, match="the prompt has no tokens"):
        backend(model).sample("", [0])


def test_draw_never_takes_a_token_without_a_chance() -> None:
    one = TransformersBackend(SimpleNamespace(), Letters(), max_tokens=1, temperature=1.0)
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(3, 1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert one._draw(logits, uniform).tolist() == [1, 3, 3]
