"""What several tests share."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

# Several processes test at once. Each takes its share of the cores, and its threads wait asleep:
# spinning, they would take the cores from one another. Read when torch and numba are loaded.
workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
threads = str(max((os.cpu_count() or 1) // workers, 1))
for name, value in (("OMP_WAIT_POLICY", "passive"), ("OMP_NUM_THREADS", threads)):
    os.environ.setdefault(name, value)

# A shell starts what runs in its background with Ctrl-C ignored; the tests of it need Python's own.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A change that fails here must fail again on another machine, and one that passes must pass.
# `pytest --hypothesis-profile=default` draws new examples.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of toy trials, importable here and in the processes that trials run in."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "toys"))
    return importlib.import_module("toy_claims")


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes the results of whoever runs it."""
    monkeypatch.setenv("PAPERWORKS_STORE", str(tmp_path / "results.sqlite"))


LETTERS = "abcdefghijklmnopqrstuvwxyz .,"


def tiny_llama(*, tied: bool = True, layers: int = 3) -> Any:
    """A language model small enough for any test."""
    import torch

    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=len(LETTERS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
        # Initial weights are so small that no error of theirs shows in the output.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(8)
    return model.eval()


@pytest.fixture
def build_llama() -> Any:
    return tiny_llama


@pytest.fixture
def llama() -> Any:
    return tiny_llama()


@pytest.fixture
def tokenizer() -> Any:
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(LETTERS)}, "."))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token=".")


@pytest.fixture
def text() -> str:
    import torch

    generator = torch.Generator().manual_seed(1)
    return "".join(LETTERS[i] for i in torch.randint(29, (3000,), generator=generator).tolist())


@pytest.fixture
def llama_folder(tmp_path: Path, llama: Any, tokenizer: Any) -> Path:
    folder = tmp_path / "llama"
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
