"""Small language models of characters, trained in one pass: the runs that the recipe is tried on.

A decoder of two layers with heads of 16, rotary places and a context of 64 characters, on
WikiText-2. Every window of text is seen once, in an order of the seed's, so that no run overfits:
the recipe's laws are those of unlimited data. The learning rate is constant after a warm-up, as
curves that are compared at equal steps need; it grows with the square root of the batch, as Adam's
noise asks, and for matrices falls with the width (Yang et al., arXiv 2203.03466), so that one
choice serves all sizes.

How the setting was found: the rate is the best of 2e-3, 4e-3 and 8e-3 for 250 steps of the smallest
model. Places that were learned instead of turned were given up after the seven small runs of one
seed, because half a million characters hardly told the sizes apart; no law had been fitted by then,
and no large model trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import paperworks.data

CONTEXT = 64
VOCABULARY = 96  # the most frequent bytes of the training text; the rest share the last code
TOKENS = 524_288  # seen by every run
WARMUP = 30  # steps
RATE = 8e-3  # at width 48 and a batch of 1,024 tokens
VALIDATION = 128  # windows
LAYERS, HEAD = 2, 16


@dataclass(frozen=True)
class Run:
    """One training: the model's width and the batch in tokens."""

    width: int
    batch: int

    @property
    def size(self) -> int:
        """Parameters without embeddings and norms, N."""
        return 12 * self.width**2 * LAYERS

    @property
    def name(self) -> str:
        """Such as ``d48-b1024``."""
        return f"d{self.width}-b{self.batch}"


class Block(nn.Module):
    """Causal attention, then a network four times as wide, each after a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.heads = width // HEAD

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, length, width)`` to the same."""
        b, t, width = x.shape
        shape = (b, t, 3, self.heads, HEAD)
        q, k, v = self.qkv(self.norm1(x)).view(shape).permute(2, 0, 3, 1, 4)
        q, k = _turned(q), _turned(k)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, width))
        hidden = functional.gelu(self.up(self.norm2(x)), approximate="tanh")
        return x + self.down(hidden)


class CharacterModel(nn.Module):
    """The decoder: codes ``(batch, CONTEXT)`` to logits ``(batch, CONTEXT, VOCABULARY)``."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                spread = 0.02 if name == "embedding.weight" else parameter.shape[1] ** -0.5
                if name.endswith(("out.weight", "down.weight")):
                    spread /= math.sqrt(2 * LAYERS)
                elif name == "head.weight":
                    spread = 0.0  # starts from the uniform guess
                with torch.no_grad():
                    parameter.normal_(0.0, spread, generator=generator)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits of the next character."""
        x = self.embedding(codes)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@lru_cache(1)
def _angles() -> tuple[Tensor, Tensor]:
    """Cosines and sines, (CONTEXT, HEAD / 2), of places; the slowest turns once in some 350."""
    angles = torch.arange(CONTEXT)[:, None] / 100.0 ** (torch.arange(HEAD // 2) / (HEAD // 2))
    return angles.cos(), angles.sin()


def _turned(x: Tensor) -> Tensor:
    """Queries or keys turned by their places (Su et al., arXiv 2104.09864)."""
    cos, sin = (each.to(x.device) for each in _angles())
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


@lru_cache(1)
def windows() -> tuple[Tensor, Tensor]:
    """Training and validation windows of CONTEXT + 1 codes each."""
    text = paperworks.data.load("wikitext-2")
    train = np.frombuffer(text.train.encode(), dtype=np.uint8)
    valid = np.frombuffer(text.valid.encode(), dtype=np.uint8)
    frequent = np.argsort(-np.bincount(train, minlength=256), kind="stable")[: VOCABULARY - 1]
    code = np.full(256, VOCABULARY - 1, dtype=np.uint8)
    code[frequent] = np.arange(VOCABULARY - 1)

    def cut(part: np.ndarray) -> Tensor:
        count = (len(part) - 1) // CONTEXT
        starts = CONTEXT * np.arange(count)[:, None]
        return torch.from_numpy(code[part][starts + np.arange(CONTEXT + 1)])

    held_out = cut(valid)
    spaced = torch.linspace(0, len(held_out) - 1, VALIDATION).long()
    return cut(train), held_out[spaced].long()


def train(run: Run, seed: int, device: str = "cpu") -> Iterator[tuple[int, float]]:
    """Train one model; yields (step, validation loss in nats per character) at some 18 steps."""
    generator = torch.Generator().manual_seed(1000 * seed + run.width)
    model = CharacterModel(run.width, generator).to(device)
    rate = RATE * math.sqrt(run.batch / 1024)
    wide = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks")]
    known = {id(p) for p in wide}
    rest = [p for p in model.parameters() if id(p) not in known]
    rates = (rate * 48 / run.width, rate)
    optimizer = torch.optim.AdamW(
        [{"params": wide}, {"params": rest}],
        betas=(0.9, 0.95),
        weight_decay=0.0,
        fused=device == "cpu",
    )
    text, held_out = windows()
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))
    rows = run.batch // CONTEXT
    steps = TOKENS // run.batch
    looks = set(np.unique(np.geomspace(20, steps, 18).round().astype(int)).tolist())
    for step in range(1, steps + 1):
        batch = text[order[(step - 1) * rows : step * rows]].long().to(device)
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * min(1.0, step / WARMUP)
        loss = _loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in looks:
            with torch.no_grad():
                yield step, float(_loss(model, held_out.to(device)))


def _loss(model: nn.Module, batch: Tensor) -> Tensor:
    logits = model(batch[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
