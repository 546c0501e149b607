"""Quantization-aware training: StatsQ beside LSQ and torch's own fake quantizers, at 2 bits.

First the quantizer of a weight alone, forward and backward, with what it keeps in between. Then a
whole training step of a vision transformer (dim 192, 3 heads as in DeiT-T, 2 blocks, 64 tokens, a
batch of 8). PyTorch's modules come by its own ``prepare_qat``; it rounds layers and not the inside
of attention, so that it does less than ours with activations.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torch.ao.quantization._learnable_fake_quantize import _LearnableFakeQuantize

from paperworks.claims._vit import VisionTransformer
from paperworks.compression.lsq import LSQuantizer
from paperworks.compression.oscillation import OscillationMeter, QuantizationAware, StatsQuantizer

WEIGHT = {"quant_min": -2, "quant_max": 1, "dtype": torch.qint8}
PER_CHANNEL = {**WEIGHT, "qscheme": torch.per_channel_symmetric, "ch_axis": 0}


def _observed(weight: Tensor) -> nn.Module:
    return ao.FakeQuantize(ao.MovingAveragePerChannelMinMaxObserver, **PER_CHANNEL)


def _learnable(weight: Tensor) -> nn.Module:
    observer = ao.MovingAveragePerChannelMinMaxObserver
    quantizer = _LearnableFakeQuantize(
        observer, channel_len=len(weight), use_grad_scaling=True, **PER_CHANNEL
    )
    quantizer.scale.data.copy_(2 * weight.abs().mean(1))
    quantizer.toggle_qparam_learning()
    return quantizer


QUANTIZERS: dict[str, tuple[bool, Callable[[Tensor], nn.Module]]] = {
    "StatsQuantizer": (True, lambda w: StatsQuantizer(2)),
    "LSQuantizer": (True, lambda w: LSQuantizer(2, channels=len(w))),
    "torch FakeQuantize": (False, _observed),
    "torch _LearnableFakeQuantize": (False, _learnable),
}


def _kept(step: Callable[[], Tensor]) -> float:
    """Bytes that are kept from forward to backward, each storage once."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(storages.values())


@pytest.mark.parametrize("contender", QUANTIZERS)
@pytest.mark.parametrize("n", [256, 1024, 2048])
def test_weight_quantizer(race: Any, n: int, contender: str) -> None:
    ours, build = QUANTIZERS[contender]
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(n, n, generator=generator))
    upstream = torch.randn(n, n, generator=generator)
    quantizer = build(weight.detach())
    quantizer(weight)

    def step() -> None:
        weight.grad = None
        quantizer(weight).backward(upstream)

    # The weight itself is there anyway, and so is the output, for the product behind it.
    output = quantizer(weight)
    kept = _kept(lambda: quantizer(weight)) / output.nbytes
    race(
        step,
        group=f"fake-quantize a weight of {n} x {n}, forward and backward",
        contender=contender,
        ours=ours,
        rounds=4,
        warmup=1,
        note=f"keeps {kept:.2g} times the weight's size",
    )


def _torch_qat(model: nn.Module) -> nn.Module:
    inputs = ao.FakeQuantize.with_args(
        observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=3, dtype=torch.quint8
    )
    weights = ao.FakeQuantize.with_args(
        observer=ao.MovingAveragePerChannelMinMaxObserver, **PER_CHANNEL
    )
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.qconfig = ao.QConfig(activation=inputs, weight=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way to torchao
        return ao.prepare_qat(model.train())


def _ours(**options: Any) -> Callable[[nn.Module], nn.Module]:
    return lambda model: QuantizationAware(2, **options)(model)


MODELS: dict[str, tuple[bool, Callable[[nn.Module], nn.Module]]] = {
    "StatsQ + QKR": (True, _ours()),
    "StatsQ": (True, _ours(query_key=False)),
    "LSQ": (True, _ours(weights="lsq", query_key=False)),
    "StatsQ, weights alone": (True, _ours(query_key=False, activation_bits=None)),
    "torch prepare_qat": (False, _torch_qat),
    "float32": (False, lambda model: model),
}


@pytest.mark.parametrize("contender", [*MODELS, "StatsQ + QKR, with a meter"])
def test_training_step(race: Any, contender: str) -> None:
    ours, build = MODELS[contender.removesuffix(", with a meter")]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionTransformer(32, 4, channels=3, dim=192, depth=2, heads=3)
        x, y = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    model = build(copy.deepcopy(model))
    model(x)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    meter = OscillationMeter(model) if contender.endswith("meter") else None

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        if meter is not None:
            meter.step()

    kept = _kept(lambda: model(x)) / 2**20
    race(
        step,
        group="training step of a vision transformer",
        contender=contender,
        ours=ours,
        rounds=4,
        warmup=1,
        note=f"keeps {kept:.0f} MiB for the backward pass",
    )
