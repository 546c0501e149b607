"""Small encoder-decoder Transformers on a made-up translation task, over a grid of depths.

A source token and the one before it name a code, by a random table; the code and the target state
before it name the next state, by another. So the encoder has a table to learn and the decoder has
one. Everything is drawn by Zipf's law, so that a larger model learns more of the rare entries and
no size learns them all. Each state has two words. Half of the pairs are "source-original": their
source is rich and their target, as translated text does, nearly always takes the plain word. The
other half is "target-original": the source is poor, and the target takes the rarer word often.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

IntArray = NDArray[np.int64]

SOURCES, CODES, STATES, LENGTH = 64, 32, 32, 12
TARGETS = 2 * STATES
BEGIN = TARGETS  # one more target token, which the decoder reads first
WIDTH, HEADS = 32, 2
STEPS, BATCH, RATE = 800, 64, 3e-3  # the first eighth of the steps warms up
TESTED = 4096  # pairs of each test set; BLEU sees the first quarter


@dataclass(frozen=True)
class Kind:
    """How the pairs of one origin are drawn."""

    name: str
    zipf: float  # exponent of the source's words: the larger, the poorer
    rare: float  # how often the target takes the second word


KINDS = (Kind("source-original", 1.0, 0.02), Kind("target-original", 1.5, 0.3))


@dataclass(frozen=True)
class Run:
    """One trained model on one test set."""

    seed: int
    encoder_layers: int
    decoder_layers: int
    encoder_params: int
    decoder_params: int
    test_set: str
    loss: float
    bleu: float


def zipf(count: int, exponent: float) -> NDArray[np.float64]:
    """Chances of ``count`` words by Zipf's law."""
    weight = np.arange(1, count + 1) ** -exponent
    return np.asarray(weight / weight.sum())


class Task:
    """The two tables, and pairs drawn from them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.code = rng.choice(CODES, (SOURCES, SOURCES), p=zipf(CODES, 1.0))
        self.state = rng.choice(STATES, (STATES, CODES), p=zipf(STATES, 1.0))

    def pairs(self, count: int, kind: Kind, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Source (count, LENGTH) and target (count, LENGTH)."""
        source = rng.choice(SOURCES, (count, LENGTH), p=zipf(SOURCES, kind.zipf))
        before = np.concatenate([np.zeros((count, 1), np.int64), source[:, :-1]], 1)
        codes = self.code[before, source]
        state = np.zeros(count, np.int64)
        states = np.empty_like(codes)
        for t in range(LENGTH):
            state = states[:, t] = self.state[state, codes[:, t]]
        return source, 2 * states + (rng.random((count, LENGTH)) < kind.rare)


class Attention(nn.Module):
    """Multi-head attention."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        """From x (b, t, WIDTH) to memory (b, s, WIDTH)."""
        query, key, value = (
            each.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each in (self.query(x), *self.key_value(memory).chunk(2, -1))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A Transformer layer with its norms first; one of the decoder also reads the encoder."""

    def __init__(self, decoder: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3 if decoder else 2))
        self.own = Attention()
        self.cross = Attention() if decoder else None
        self.feed = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """One layer."""
        y = self.norms[0](x)
        x = x + self.own(y, y, causal=memory is not None)
        if self.cross is not None and memory is not None:
            x = x + self.cross(self.norms[1](x), memory)
        return x + self.feed(self.norms[-1](x))


class Translator(nn.Module):
    """An encoder-decoder Transformer with these many layers."""

    def __init__(self, encoder_layers: int, decoder_layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(SOURCES + TARGETS + 1, WIDTH)
        self.place = nn.Embedding(LENGTH, WIDTH)
        self.encoder = nn.ModuleList(Layer(decoder=False) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(Layer(decoder=True) for _ in range(decoder_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.head = nn.Linear(WIDTH, TARGETS)
        # Each layer adds to the residual stream: the deeper, the less each one at the start.
        for stack in (self.encoder, self.decoder):
            for layer in stack:
                for name, each in layer.named_parameters():
                    if name.endswith(("out.weight", "feed.2.weight")):
                        nn.init.normal_(each, std=0.02 / math.sqrt(2 * len(stack)))

    def encode(self, source: Tensor) -> Tensor:
        """Memory (b, LENGTH, WIDTH) of source (b, LENGTH)."""
        x = self.words(source) + self.place.weight
        for layer in self.encoder:
            x = layer(x)
        return self.norms[0](x)

    def decode(self, read: Tensor, memory: Tensor) -> Tensor:
        """Logits (b, t, TARGETS) after reading the target tokens (b, t)."""
        x = self.words(read + SOURCES) + self.place.weight[: read.shape[1]]
        for layer in self.decoder:
            x = layer(x, memory)
        return self.head(self.norms[1](x))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token."""
        begin = torch.full_like(target[:, :1], BEGIN)
        logits = self.decode(torch.cat([begin, target[:, :-1]], 1), self.encode(source))
        return functional.cross_entropy(logits.flatten(0, 1), target.flatten())

    @torch.no_grad()
    def translate(self, source: Tensor) -> Tensor:
        """The likeliest word, one after another."""
        memory = self.encode(source)
        read = torch.full_like(source[:, :1], BEGIN)
        for _ in range(LENGTH):
            read = torch.cat([read, self.decode(read, memory)[:, -1:].argmax(-1)], 1)
        return read[:, 1:]


def sizes(model: Translator) -> tuple[int, int]:
    """Parameters of the encoder's and of the decoder's layers, without embeddings and head."""
    encoder, decoder = (
        sum(p.numel() for p in stack.parameters()) for stack in (model.encoder, model.decoder)
    )
    return encoder, decoder


def train(
    seed: int, depths: tuple[int, int], device: str = "cpu", *, steps: int = STEPS
) -> list[Run]:
    """Train one model on the task of ``seed``, and test it on both kinds of pairs.

    The task, the training pairs and the test pairs depend on the seed alone, so that models of one
    seed differ in their depths and in where they start.
    """
    task = Task(np.random.default_rng((seed, 0)))
    rng = np.random.default_rng((seed, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 10_007 + depths[0] * 101 + depths[1])
        model = Translator(*depths).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    warmup = max(1, steps // 8)
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / warmup) * cosine
        halves = [task.pairs(BATCH // 2, kind, rng) for kind in KINDS]
        source, target = (
            torch.from_numpy(np.concatenate(each)).to(device) for each in zip(*halves, strict=True)
        )
        optimizer.zero_grad()
        model(source, target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return [_test(seed, depths, model, task, kind, device) for kind in KINDS]


def _test(
    seed: int, depths: tuple[int, int], model: Translator, task: Task, kind: Kind, device: str
) -> Run:
    pairs = task.pairs(TESTED, kind, np.random.default_rng((seed, 2, KINDS.index(kind))))
    source, target = (torch.from_numpy(each).to(device) for each in pairs)
    model.eval()
    with torch.no_grad():
        parts = zip(source.split(256), target.split(256), strict=True)
        loss = float(np.mean([float(model(*part)) for part in parts]))
        some = TESTED // 4
        bleu = corpus_bleu(model.translate(source[:some]).tolist(), pairs[1][:some].tolist())
    return Run(seed, *depths, *sizes(model), kind.name, loss, bleu)


def corpus_bleu(ours: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> float:
    """BLEU in per cent: up to four words, one reference each, no smoothing, over all sentences."""
    log_precision = 0.0
    for n in range(1, 5):
        hits = total = 0
        for one, two in zip(ours, reference, strict=True):
            said, wanted = (
                Counter(tuple(each[i : i + n]) for i in range(len(each) - n + 1))
                for each in (one, two)
            )
            hits += (said & wanted).total()
            total += said.total()
        if not hits:
            return 0.0
        log_precision += math.log(hits / total) / 4
    length, wished = (sum(map(len, each)) for each in (ours, reference))
    return 100 * math.exp(log_precision + min(0.0, 1 - wished / length))
