"""What the paper of GBLM-Pruner says, on SmolLM2: gradients make a better pruning score.

Every contender starts from the same weights and sees the same calibration samples, drawn anew for
each seed; perplexity is on other text. Alpha is the paper's 100 and the norm its l1. With it the
gradients weigh against the activations by (samples / tokens of a sample), since a sum over samples
of noisy means meets the root of a sum over tokens; the paper's 128 samples of 2048 tokens are kept
in that ratio: 3 of 48, and 32 of 512.

The quick tier prunes the last two of thirty blocks, on the help texts that Python brings; the claim
about SparseGPT is not in it, since it needs more calibration data than there is time for. The full
tier prunes all blocks; it calibrates on the validation part of WikiText-2 and measures on its test
part (the paper calibrates on C4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from paperworks.claims import _smollm
from paperworks.claims._text import texts
from paperworks.compression.gblm import GBLMPruner
from paperworks.compression.layers import compressible, weight_matrix
from paperworks.compression.pruning import MagnitudePruner, Pruner, Wanda
from paperworks.compression.sparsegpt import SparseGPT
from paperworks.experiment import Claim, Effect, Tier, TrialResult

PAPER = "gblm-pruner"
OURS, WANDA, SPARSEGPT, MAGNITUDE = "GBLM-Pruner", "Wanda", "SparseGPT", "magnitude"


def samples_of(
    model: _smollm.SmolLM, source: str, length: int, count: int, held_out: int, seed: int
) -> tuple[_smollm.Samples, _smollm.Samples]:
    """Calibration samples at random places of one text, and the start of the other in windows."""
    calibration, test = texts(source, "\n")
    tokens = model.tokens(calibration)
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(tokens) - length + 1, (count,), generator=generator).tolist()
    drawn = [tokens[start : start + length] for start in starts]
    fixed = model.tokens(test[: 10 * length * held_out])[: held_out * length].view(-1, length)
    return model.samples(drawn), model.samples(list(fixed))


def pruned(
    label: str, model: _smollm.SmolLM, samples: _smollm.Samples, pattern: str | None
) -> nn.Module:
    """A fresh copy of the blocks under test, pruned by one contender."""
    methods: dict[str, Callable[..., Pruner]] = {
        OURS: lambda **options: GBLMPruner(loss=_smollm.loss, samples=samples, **options),
        WANDA: Wanda,
        SPARSEGPT: SparseGPT,
        MAGNITUDE: MagnitudePruner,
    }
    method = methods[label](sparsity=None if pattern else 0.5, pattern=pattern)
    return method(model.tail(), [hidden for hidden, _ in samples])


def measure_perplexity(
    *,
    seed: int,
    device: str,
    labels: Sequence[str],
    source: str,
    blocks: int,
    length: int,
    samples: int,
    held_out: int,
    pattern: str | None = None,
) -> TrialResult:
    """Perplexity after pruning by each of ``labels``."""
    model = _smollm.SmolLM(blocks, device)
    drawn, fixed = samples_of(model, source, length, samples, held_out, seed)
    return TrialResult(
        {label: _smollm.perplexity(pruned(label, model, drawn, pattern), fixed) for label in labels}
    )


def measure_structure(
    *, seed: int, device: str, source: str, blocks: int, length: int, samples: int
) -> TrialResult:
    """How unevenly the weights that stay lie over the inputs."""
    model = _smollm.SmolLM(blocks, device)
    drawn, _ = samples_of(model, source, length, samples, 0, seed)
    return TrialResult(
        {label: unevenness(pruned(label, model, drawn, None)) for label in (OURS, WANDA)}
    )


def unevenness(model: nn.Module) -> float:
    """The variance over input columns of the part that stays, in that of a random mask.

    Each output row keeps half its weights in any case; so 1 is no structure. The mean over layers.
    """
    found = []
    for layer in compressible(model).values():
        stay = (weight_matrix(layer) != 0).double()
        chance = stay.mean() * (1 - stay.mean()) / len(stay)
        found.append(float(stay.mean(0).var() / chance))
    return sum(found) / len(found)


QUICK: dict[str, Any] = {"source": "pydoc", "blocks": 2, "length": 48, "samples": 3}
FULL: dict[str, Any] = {"source": "wikitext-2-raw", "blocks": 30, "length": 512, "samples": 32}


# Three samples of 48 tokens are fewer rows than a Hessian of 576 or 1,536 inputs needs: there
# SparseGPT would be judged on damping.
_FEW, _ALL = [OURS, WANDA, MAGNITUDE], [OURS, WANDA, SPARSEGPT, MAGNITUDE]


def _claim(
    name: str, statement: str, ours: str, rival: str, *, pattern: str | None = None
) -> Claim:
    """A claim that one method leaves a lower perplexity than another.

    Those without a pattern share their trials.
    """
    small = {**QUICK, "held_out": 4, "labels": _FEW, "pattern": None}
    large = {**FULL, "held_out": 40, "pattern": pattern}
    large["labels"] = [ours, rival] if pattern else _ALL
    return Claim(
        paper=PAPER,
        name=name,
        statement=statement,
        metric="perplexity on held-out text",
        better="lower",
        ours=ours,
        contenders=(rival,),
        effect=Effect("ratio", 1.0),
        trial=measure_perplexity,
        quick=Tier([small], seeds=5) if rival in _FEW and not pattern else None,
        full=Tier([large], seeds=5, timeout=7200),
        requires=("safetensors", "transformers"),
    )


CLAIMS = (
    _claim(
        "below-wanda",
        "At 50 % GBLM-Pruner leaves a lower perplexity than Wanda.",
        OURS,
        WANDA,
    ),
    _claim(
        "wanda-below-magnitude",
        "At 50 % Wanda leaves a lower perplexity than layer-wise magnitude pruning.",
        WANDA,
        MAGNITUDE,
    ),
    _claim(
        "below-sparsegpt",
        "At 50 % GBLM-Pruner leaves a lower perplexity than SparseGPT, which changes the weights "
        "that stay.",
        OURS,
        SPARSEGPT,
    ),
    _claim(
        "below-wanda-2-4",
        "At 2:4 GBLM-Pruner leaves a lower perplexity than Wanda.",
        OURS,
        WANDA,
        pattern="2:4",
    ),
    Claim(
        paper=PAPER,
        name="leaves-structure",
        statement=(
            "With gradients the weights that stay show structure: they lie less evenly over the "
            "inputs than those that Wanda keeps."
        ),
        metric="variance over inputs of the part that stays, in that of a random mask",
        better="higher",
        ours=OURS,
        contenders=(WANDA,),
        effect=Effect("ratio", 1.0),
        trial=measure_structure,
        quick=Tier([QUICK], seeds=5),
        full=Tier([FULL], seeds=5, timeout=3600),
        requires=("safetensors", "transformers"),
    ),
)
