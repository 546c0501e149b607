"""SmolLM2 in plain PyTorch, cut in two: a front that is run once, and the blocks under test.

A trial of a claim runs in a process of its own, and importing transformers there costs more than
the work. The front's output is the same for all contenders; so only the last blocks, the norm and
the head are run for each, and a claim on few blocks is cheap. With all blocks the front is the
embedding. Logits are those of transformers (see the tests).
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import paperworks.data

NAME = "smollm2-135m-instruct"

Samples = list[tuple[Tensor, Tensor]]
"""Hidden states, and the tokens they come from."""


class Block(nn.Module):
    """A block of a Llama: attention with shared keys, then a gated network."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        wide, inner = config["hidden_size"], config["intermediate_size"]
        self.heads, self.shared = config["num_attention_heads"], config["num_key_value_heads"]
        self.size = wide // self.heads
        self.input_layernorm = nn.RMSNorm(wide, config["rms_norm_eps"])
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(wide, self.heads * self.size, bias=False),
                "k_proj": nn.Linear(wide, self.shared * self.size, bias=False),
                "v_proj": nn.Linear(wide, self.shared * self.size, bias=False),
                "o_proj": nn.Linear(self.heads * self.size, wide, bias=False),
            }
        )
        self.post_attention_layernorm = nn.RMSNorm(wide, config["rms_norm_eps"])
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": nn.Linear(wide, inner, bias=False),
                "up_proj": nn.Linear(wide, inner, bias=False),
                "down_proj": nn.Linear(inner, wide, bias=False),
            }
        )

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """From ``(batch, length, wide)`` to the same."""
        part, y = self.self_attn, self.input_layernorm(x)
        query, key, value = (
            part[name](y).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        y = functional.scaled_dot_product_attention(
            _turned(query, angles), _turned(key, angles), value, is_causal=True, enable_gqa=True
        )
        x = x + part["o_proj"](y.transpose(1, 2).flatten(2))
        part, y = self.mlp, self.post_attention_layernorm(x)
        return x + part["down_proj"](functional.silu(part["gate_proj"](y)) * part["up_proj"](y))


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions: pairs are (i, i + half)."""
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


class Blocks(nn.Module):
    """A run of blocks on a hidden state."""

    def __init__(self, config: dict[str, Any], count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(count))
        self.pairs = config["hidden_size"] // config["num_attention_heads"] // 2
        self.theta = config["rope_parameters"]["rope_theta"]

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, length, wide)`` to the same."""
        places = torch.arange(x.shape[1], device=x.device)[:, None]
        rates = self.theta ** -(torch.arange(self.pairs, device=x.device) / self.pairs)
        angles = (places * rates).repeat(1, 2)
        for layer in self.layers:
            x = layer(x, angles)
        return x


class Tail(Blocks):
    """The last blocks, the norm and the head: logits from a hidden state."""

    def __init__(self, config: dict[str, Any], count: int) -> None:
        super().__init__(config, count)
        self.norm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.head = nn.Parameter(torch.empty(config["vocab_size"], config["hidden_size"]))

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, length, wide)`` to ``(batch, length, words)``."""
        return functional.linear(self.norm(super().forward(x)), self.head)


class SmolLM:
    """The weights and the tokenizer, and what is made of them.

    ``tokens(text)`` is ``(tokens,)`` int64; ``front(tokens)`` takes ``(batch, length)`` to the
    hidden state before the last ``blocks``, and ``samples(windows)`` does so for windows of one
    length; ``tail()`` is a fresh copy of the rest.
    """

    def __init__(self, blocks: int, device: str = "cpu") -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = paperworks.data.model_path(NAME)
        self._config = json.loads((folder / "config.json").read_text())
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._blocks, self._device = blocks, device
        self._cut = self._config["num_hidden_layers"] - blocks
        state = load_file(folder / "model.safetensors", device=device)
        self._state = {name.removeprefix("model."): value for name, value in state.items()}
        with torch.device("meta"):
            front = Blocks(self._config, self._cut)
        front.load_state_dict({name: self._state[name] for name in front.state_dict()}, assign=True)
        self._front = front.requires_grad_(False)

    def tokens(self, text: str) -> Tensor:
        """The tokens of a text."""
        return torch.tensor(self._tokenizer.encode(text, add_special_tokens=False).ids)

    @torch.no_grad()
    def front(self, tokens: Tensor) -> Tensor:
        """The hidden state before the last blocks."""
        embedding = self._state["embed_tokens.weight"]
        return self._front(functional.embedding(tokens.to(self._device), embedding))

    def samples(self, windows: list[Tensor]) -> Samples:
        """The hidden state ``(1, length, wide)`` and the tokens ``(1, length)`` of each window."""
        if not windows:
            return []
        tokens = torch.stack(windows)
        # All at once: a matrix product of many rows is faster for each of them.
        return list(zip(self.front(tokens).split(1), tokens.split(1), strict=True))

    def tail(self) -> Tail:
        """A fresh copy of the last blocks, with the norm and the head."""
        with torch.device("meta"):
            tail = Tail(self._config, self._blocks)
        wanted = {
            f"layers.{i}.{name}": self._state[f"layers.{self._cut + i}.{name}"].clone()
            for i in range(self._blocks)
            for name in tail.layers[i].state_dict()
        }
        wanted |= {"norm.weight": self._state["norm.weight"]}
        wanted |= {"head": self._state["embed_tokens.weight"]}
        tail.load_state_dict(wanted, assign=True)
        return tail.eval()


def loss(model: nn.Module, sample: tuple[Tensor, Tensor]) -> Tensor:
    """The mean cross-entropy of the next token, from a hidden state and its ``(1, n)`` tokens."""
    hidden, tokens = sample
    return functional.cross_entropy(model(hidden)[0, :-1], tokens[0, 1:].to(hidden.device))


@torch.no_grad()
def perplexity(model: nn.Module, samples: Samples) -> float:
    """Of samples of one length, each predicted on its own from its second token on."""
    return math.exp(sum(float(loss(model, sample)) for sample in samples) / len(samples))
