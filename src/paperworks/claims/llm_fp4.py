"""What the paper of LLM-FP4 says: at four bits for weights and inputs, whose error is least.

All contenders round the same layers, with four bits for weights and inputs alike, and see the same
calibration data, drawn by the seed. SmoothQuant is there twice: with one scale for a layer's
inputs, which is what the floating-point methods have, and with one for each token, which is more
than they have and how the paper's own figures for it were made (by LLM-QAT's authors).

The quick tier rounds MiniLM's first block and SmolLM2's last one, on Python's own help texts, since
nothing may be downloaded; the full tier rounds all blocks, on WikiText-2. How far all stay from the
float model shows in the metric of MiniLM, which is 0 for it, and as a value of its own for SmolLM2.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import torch
from torch.nn import functional

from paperworks.claims import _smollm
from paperworks.claims._minilm import MiniLM, embeddings
from paperworks.claims._text import texts
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.llm_fp4 import LLMFP4
from paperworks.compression.rounding import MinMaxFP, SmoothQuant
from paperworks.experiment import Claim, Effect, Tier, TrialResult

PAPER = "llm-fp4"
OURS, BASELINE, MINMAX = "LLM-FP4", "searched FP4", "MinMax FP4"
SMOOTH, SMOOTH_TOKEN = "SmoothQuant INT4", "SmoothQuant INT4, per token"
FLOAT = "float32"
METHODS: dict[str, Callable[..., LayerwiseMethod]] = {
    OURS: lambda **options: LLMFP4(4, 4, **options),
    BASELINE: lambda **options: LLMFP4(4, 4, per_channel=False, **options),
    MINMAX: lambda **options: MinMaxFP(4, 4, **options),
    SMOOTH: lambda **options: SmoothQuant(4, 4, per_token=False, **options),
    SMOOTH_TOKEN: lambda **options: SmoothQuant(4, 4, **options),
}


def minilm(*, seed: int, device: str, blocks: int, text: str, size: int) -> TrialResult:
    """How far sentence embeddings turn: the mean of 1 - cosine with those of the float model."""
    model = MiniLM()
    generator = torch.Generator().manual_seed(seed)
    calibration, held_out = _sentences(text, size, 2 * size, generator)
    batches = [model.inputs([sentence]) for sentence in calibration]
    together = model.inputs(held_out)
    wanted = embeddings(model.encoder, together)
    skip = [f"encoder.layer.{block}.*" for block in range(blocks, model.layers)]
    values = {}
    for label, method in METHODS.items():
        compressed = method(skip=skip)(copy.deepcopy(model.encoder), batches)
        turned = 1 - functional.cosine_similarity(embeddings(compressed, together), wanted)
        values[label] = float(turned.mean())
    return TrialResult(values)


def smollm2(
    *,
    seed: int,
    device: str,
    blocks: int,
    text: str,
    length: int,
    windows: int,
    held_out: int,
) -> TrialResult:
    """Perplexity with the last blocks rounded, on other text than they were calibrated on."""
    model = _smollm.SmolLM(blocks, device)
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for part, count in zip(texts(text, " "), (windows, held_out), strict=True):
        tokens = model.tokens(part)
        starts = torch.randint(len(tokens) - length + 1, (count,), generator=generator)
        samples.append(model.samples([tokens[start : start + length] for start in starts.tolist()]))
    calibration, test = samples
    values = {FLOAT: _smollm.perplexity(model.tail(), test)}
    for label, method in METHODS.items():
        compressed = method()(model.tail(), [hidden for hidden, _ in calibration])
        values[label] = _smollm.perplexity(compressed, test)
    return TrialResult(values)


def _sentences(
    text: str, calibration: int, held_out: int, generator: torch.Generator
) -> tuple[list[str], list[str]]:
    """Sentences of 8 to 24 words, drawn from two texts that have nothing in common."""
    drawn = []
    for part, count in zip(texts(text, " "), (calibration, held_out), strict=True):
        found = re.split(r"(?<=[.!?])\s+", " ".join(part.split()))
        found = [each for each in found if 8 <= len(each.split()) <= 24]
        order = torch.randperm(len(found), generator=generator)[:count]
        drawn.append([found[i] for i in order.tolist()])
    return drawn[0], drawn[1]


_ALL = list(METHODS)
_SEARCH = _ALL[1:]
_TURN = "mean of 1 - cosine between sentence embeddings and those of the float model"


def _minilm(name: str, statement: str, labels: list[str]) -> Claim:
    quick = {"blocks": 1, "text": "python-help", "size": 4}
    full = {"blocks": 6, "text": "wikitext-2-raw", "size": 128}
    return Claim(
        paper=PAPER,
        name=name,
        statement=statement,
        metric=_TURN,
        better="lower",
        ours=labels[0],
        contenders=labels[1:],
        effect=Effect("ratio", 1.0),
        trial=minilm,
        quick=Tier([quick], seeds=5, timeout=120),
        full=Tier([full], seeds=5, timeout=1200),
        requires=("transformers", "safetensors"),
    )


def _smollm2(name: str, statement: str, labels: list[str]) -> Claim:
    quick = {"blocks": 1, "text": "python-help", "length": 48, "windows": 2, "held_out": 2}
    full = {"blocks": 30, "text": "wikitext-2-raw", "length": 256, "windows": 16, "held_out": 16}
    return Claim(
        paper=PAPER,
        name=name,
        statement=statement,
        metric="perplexity",
        better="lower",
        ours=labels[0],
        contenders=labels[1:],
        effect=Effect("ratio", 1.0),
        trial=smollm2,
        quick=Tier([quick], seeds=5, timeout=120),
        full=Tier([full], seeds=5, timeout=3600, memory=8.0),
        requires=("safetensors", "transformers"),
    )


CLAIMS = (
    _minilm(
        "minilm",
        "With 4-bit weights and inputs LLM-FP4 leaves MiniLM's sentence embeddings nearer to the "
        "float model's than the searched baseline without per-channel shifts, MinMax FP4 and "
        "SmoothQuant INT4.",
        _ALL,
    ),
    _minilm(
        "minilm-search",
        "With 4-bit weights and inputs the searched floating-point baseline leaves MiniLM's "
        "sentence embeddings nearer to the float model's than MinMax FP4 and SmoothQuant INT4.",
        _SEARCH,
    ),
    _smollm2(
        "smollm2",
        "With 4-bit weights and inputs LLM-FP4 has a lower perplexity on SmolLM2 than the searched "
        "baseline without per-channel shifts, MinMax FP4 and SmoothQuant INT4.",
        _ALL,
    ),
    _smollm2(
        "smollm2-search",
        "With 4-bit weights and inputs the searched floating-point baseline has a lower perplexity "
        "on SmolLM2 than MinMax FP4 and SmoothQuant INT4.",
        _SEARCH,
    ),
)
