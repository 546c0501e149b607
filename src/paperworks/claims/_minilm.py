"""MiniLM in plain PyTorch, for the claims on encoders.

As for SmolLM2 (:mod:`paperworks.claims._smollm`): importing transformers in the process of a trial
costs more than the work. Hidden states are those of transformers (see the tests), and so are the
names of the layers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

import paperworks.data

NAME = "minilm-l6"


class Layer(nn.Module):
    """A layer of a BERT: attention, then a two-layer network, each with a LayerNorm after it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        wide, inner = config["hidden_size"], config["intermediate_size"]
        self.heads = config["num_attention_heads"]

        def output(size: int) -> nn.ModuleDict:
            norm = nn.LayerNorm(wide, config["layer_norm_eps"])
            return nn.ModuleDict({"dense": nn.Linear(size, wide), "LayerNorm": norm})

        parts = {name: nn.Linear(wide, wide) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(parts), "output": output(wide)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(wide, inner)})
        self.output = output(inner)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """From ``(batch, length, wide)`` to the same; mask: ``(batch, length)`` bool."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.attention["self"].values()  # type: ignore[operator]
        )
        y = functional.scaled_dot_product_attention(query, key, value, mask[:, None, None])
        x = _added(self.attention["output"], y.transpose(1, 2).flatten(2), x)
        return _added(self.output, functional.gelu(self.intermediate["dense"](x)), x)


def _added(part: Any, y: Tensor, x: Tensor) -> Tensor:
    return part["LayerNorm"](part["dense"](y) + x)


class Encoder(nn.Module):
    """Embeddings of words and places, and the layers. Without the pooler, which has no use here."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        wide = config["hidden_size"]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config["vocab_size"], wide),
                "position_embeddings": nn.Embedding(config["max_position_embeddings"], wide),
                "token_type_embeddings": nn.Embedding(config["type_vocab_size"], wide),
                "LayerNorm": nn.LayerNorm(wide, config["layer_norm_eps"]),
            }
        )
        layers = [Layer(config) for _ in range(config["num_hidden_layers"])]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """From tokens and a mask, ``(batch, length)`` int64 and bool, to hidden states."""
        part: Any = self.embeddings
        x = part["word_embeddings"](tokens) + part["token_type_embeddings"].weight[0]
        x = part["LayerNorm"](x + part["position_embeddings"].weight[: tokens.shape[1]])
        for layer in self.encoder["layer"]:  # type: ignore[attr-defined]
            x = layer(x, mask)
        return x


class MiniLM:
    """The encoder and what turns sentences into its inputs."""

    def __init__(self) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = paperworks.data.model_path(NAME)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        config = json.loads((folder / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        with torch.device("meta"):
            self.encoder = Encoder(config)
        state = load_file(folder / "model.safetensors")
        wanted = {name: state[name] for name in self.encoder.state_dict()}
        self.encoder.load_state_dict(wanted, assign=True)
        self.encoder.eval()

    def inputs(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and mask of a batch of sentences, filled up to the longest."""
        rows = [torch.tensor(each.ids) for each in self._tokenizer.encode_batch(list(sentences))]
        mask = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], True)
        return pad_sequence(rows, True), mask


@torch.no_grad()
def embeddings(model: nn.Module, inputs: tuple[Tensor, Tensor]) -> Tensor:
    """Of each sentence, ``(batch, wide)``: the mean over its tokens."""
    mask = inputs[1][:, :, None]
    return (model(*inputs) * mask).sum(1) / mask.sum(1)
