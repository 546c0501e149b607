"""LLM-FP4: the search of one layer over growing sizes, and what the rounded layer costs to run.

The search races itself with nothing spared (every format and candidate by the whole error), which
is the authors' search but for their calibration set, a hundred times larger, on which all of it
is run. Their own code needs a GPU and a LLaMA. The layer runs beside float32 and, where they are
installed, torchao's and optimum-quanto's 4-bit integer weights (group of 128), which leave the
inputs as they are: compare them with the first of ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.llm_fp4 import LLMFP4, fold
from paperworks.compression.rounding import MinMaxFP

SIZES = [256, 512, 1024]
WIDE = [1024, 4096]


def _layer(size: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(size, size, bias=False)).requires_grad_(False)
    model[0].weight.copy_(torch.randn(size, size, generator=generator) * size**-0.5)
    return model


def _inputs(rows: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    channels = torch.exp2(torch.randn(size, generator=generator) * 2)
    return torch.randn(rows, size, generator=generator) * channels


SEARCHES: dict[str, dict[str, Any]] = {
    "LLMFP4, W4A4": {},
    "LLMFP4, W4A16": {"activation_bits": None},
    "LLMFP4, W4A4, nothing spared": {"shortlist": None},
}


@pytest.mark.parametrize("contender", SEARCHES)
@pytest.mark.parametrize("size", SIZES)
def test_search(race: Any, size: int, contender: str) -> None:
    if size > 512 and contender.endswith("spared"):
        pytest.skip("minutes")
    x, model = _inputs(512, size), _layer(size)

    def run() -> nn.Module:
        return LLMFP4(**SEARCHES[contender], samples=512)(copy.deepcopy(model), [x])

    def note(found: nn.Module) -> str:
        wanted = model(x)
        return f"error {float((found(x) - wanted).square().sum() / wanted.square().sum()):.4f}"

    race(
        run,
        group=f"search, {size} x {size}, 512 rows",
        contender=contender,
        ours=not contender.endswith("spared"),
        rounds=2,
        note=note,
    )


def _ours(activation_bits: int | None, folded: bool = False) -> Callable[[nn.Module], nn.Module]:
    def build(model: nn.Module) -> nn.Module:
        x = _inputs(64, model[0].in_features)  # type: ignore[index]
        # Searched ranges cost the same as others: one round is enough for a timing.
        made = LLMFP4(4, activation_bits, rounds=1, steps=10, shortlist=1)(model, [x])
        return fold(made) if folded else made

    return build


def _minmax(model: nn.Module) -> nn.Module:
    """One scale for all inputs: what the shifts of ours cost shows beside it."""
    return MinMaxFP(4, 4)(model, [_inputs(64, model[0].in_features)])  # type: ignore[index]


def _torchao(model: nn.Module) -> nn.Module:
    quantization = pytest.importorskip("torchao.quantization")
    quantization.quantize_(model, quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4))
    return model


def _quanto(model: nn.Module) -> nn.Module:
    quanto = pytest.importorskip("optimum.quanto")
    quanto.quantize(model, weights=quanto.qint4)
    quanto.freeze(model)
    return model


LAYERS: dict[str, tuple[bool, Callable[[nn.Module], nn.Module]]] = {
    "float32": (False, lambda model: model),
    "LLMFP4, W4A16": (True, _ours(None)),
    "LLMFP4, W4A4": (True, _ours(4)),
    "LLMFP4, W4A4, folded": (True, _ours(4, folded=True)),
    "MinMaxFP, W4A4": (True, _minmax),
    "torchao int4": (False, _torchao),
    "optimum-quanto qint4": (False, _quanto),
}


@pytest.mark.parametrize("contender", LAYERS)
@pytest.mark.parametrize("size", WIDE)
def test_layer_at_batch_1(race: Any, size: int, contender: str) -> None:
    ours, build = LAYERS[contender]
    model, x = build(_layer(size)), _inputs(1, size)

    def run() -> Tensor:
        with torch.no_grad():
            for _ in range(20):
                y = model(x)
        return y

    race(run, group=f"20 products, {size} x {size}, batch 1", contender=contender, ours=ours,
         rounds=5)  # fmt: skip
