"""One optimizer step on 50 million float32 weights: ours, lion-pytorch, and PyTorch's AdamW.

lion-pytorch is timed in both of its CPU forms. AdamW is a different method, and here since it is
what Lion would replace. That our Lion does lion-pytorch's arithmetic is checked to the bit before
it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from paperworks.training.lion_k import LionK, kappa

# One large tensor, and the shapes of a small transformer.
SHAPES = {
    "one tensor": [(50_000_000,)],
    "transformer": [(32_000, 512), (512, 32_000)] + [(512, 512), (2048, 512), (512,)] * 13,
}
CONTENDERS: dict[str, tuple[bool, Callable[[Any], Any]]] = {
    "LionK": (True, lambda p: LionK(p, weight_decay=0.1)),
    "LionK(fused=True)": (True, lambda p: LionK(p, weight_decay=0.1, fused=True)),
    "LionK(kappa=tanh)": (True, lambda p: LionK(p, weight_decay=0.1, kappa="tanh")),
    "LionK(kappa=l2)": (True, lambda p: LionK(p, weight_decay=0.1, kappa=kappa("l2"))),
    "lion-pytorch": (False, lambda p: _lion_pytorch(p)),
    "lion-pytorch foreach": (False, lambda p: _lion_pytorch_foreach(p)),
    "AdamW(foreach=True)": (False, lambda p: torch.optim.AdamW(p, foreach=True)),
    "AdamW(fused=True)": (False, lambda p: torch.optim.AdamW(p, fused=True)),
}


def _lion_pytorch(parameters: list[Parameter]) -> Any:
    return pytest.importorskip("lion_pytorch").Lion(parameters, weight_decay=0.1)


def _lion_pytorch_foreach(parameters: list[Parameter]) -> Any:
    return pytest.importorskip("lion_pytorch.foreach").Lion(parameters, weight_decay=0.1)


def _parameters(shapes: list[tuple[int, ...]]) -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    parameters = [Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)
    return parameters


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("size", SHAPES)
def test_step(race: Any, size: str, contender: str) -> None:
    ours, build = CONTENDERS[contender]
    note = ""
    if contender in ("LionK", "LionK(fused=True)"):
        a, b = _parameters([(300_001,)]), _parameters([(300_001,)])
        for optimizer in (build(a), _lion_pytorch(b)):
            for _ in range(3):
                optimizer.step()
        assert torch.equal(a[0], b[0])
        note = "equal to lion-pytorch to the bit"
    optimizer = build(_parameters(SHAPES[size]))
    race(
        optimizer.step,
        group=f"step of 50 M weights, {size}",
        contender=contender,
        ours=ours,
        rounds=5,
        warmup=2,
        note=note,
    )
