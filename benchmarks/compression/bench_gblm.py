"""Pruning random Llamas of growing size to 50 %: time, and peak memory beside the model.

GBLM-Pruner in full, the same with gradients taken in the plain way (all of them in memory, and as
many sums beside them), and the methods that need no gradients: Wanda, SparseGPT, and torchao's
Wanda, which compares over whole layers and takes all inputs from the model as it was. Every
contender has the same samples. Peak memory is measured once in a process of its own (on Linux): the
most that was resident while it pruned, less what was before.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import torch
from torch import Tensor, nn

from paperworks.compression.gblm import GBLMPruner, gradients
from paperworks.compression.pruning import MagnitudePruner, Wanda
from paperworks.compression.sparsegpt import SparseGPT

SIZES = {"10 M": 256, "41 M": 512, "92 M": 768}  # weights in the blocks, and the model's width
BLOCKS, SAMPLES, LENGTH, VOCABULARY = 12, 4, 256, 4096


def model_and_samples(size: str) -> tuple[nn.Module, list[Tensor]]:
    """A Llama with random weights, and random tokens."""
    transformers = pytest.importorskip("transformers")
    hidden = SIZES[size]
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=BLOCKS,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        use_cache=False,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    shape = (1, LENGTH)
    return model, [torch.randint(VOCABULARY, shape, generator=generator) for _ in range(SAMPLES)]


class InMemory(gradients.GradientNorms):
    """Gradients and their norms as one would write them down: two more copies of the model."""

    def __init__(self, folder: Any, layers: dict[str, nn.Module], norm: str) -> None:
        self.weights = {name: layer.weight for name, layer in layers.items()}
        self.norms = {name: torch.zeros_like(each) for name, each in self.weights.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.norms[name]

    def add(
        self, model: nn.Module, blocks: Any, loss: Any, samples: list[Any], progress: Any = None
    ) -> None:
        for sample in samples:
            model.zero_grad()
            loss(model, sample).backward()
            for name, weight in self.weights.items():
                self.norms[name] += weight.grad.abs()
        model.zero_grad()


def plain(model: nn.Module, samples: list[Tensor]) -> None:
    """GBLM-Pruner with its gradients in memory."""
    with mock.patch("paperworks.compression.gblm.pruner.GradientNorms", InMemory):
        GBLMPruner()(model, samples)


def torchao_wanda(model: nn.Module, samples: list[Tensor]) -> None:
    """The sparsifier of torchao on the same layers."""
    sparsifier = pytest.importorskip("torchao.sparsity").WandaSparsifier(0.5)
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    sparsifier.prepare(model, [{"tensor_fqn": f"{name}.weight"} for name in names])
    with torch.no_grad():
        for sample in samples:
            model(sample)
    sparsifier.step()
    sparsifier.squash_mask()


CONTENDERS: dict[str, tuple[bool, Callable[[nn.Module, list[Tensor]], Any]]] = {
    "GBLMPruner": (True, lambda model, samples: GBLMPruner()(model, samples)),
    "GBLMPruner, gradients in memory": (False, plain),
    "MagnitudePruner": (True, lambda model, _: MagnitudePruner()(model)),
    "Wanda": (True, lambda model, samples: Wanda()(model, samples)),
    "SparseGPT": (True, lambda model, samples: SparseGPT()(model, samples)),
    "torchao's WandaSparsifier": (False, torchao_wanda),
}


def peak(size: str, contender: str, answer: Any) -> None:
    """Send back the bytes of the weights, and the most that were resident beside the model."""
    model, samples = model_and_samples(size)
    with torch.no_grad():
        model(samples[0])  # what the first call sets up is nobody's
    before = psutil.Process().memory_info().rss
    CONTENDERS[contender][1](model, samples)
    # Not getrusage: a child starts there at what its parent held.
    status = Path("/proc/self/status").read_text()
    most = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    answer.send((weights, most - before))


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("size", SIZES)
def test_pruning(race: Any, size: str, contender: str) -> None:
    ours, prune = CONTENDERS[contender]
    if contender.startswith("torchao"):
        pytest.importorskip("torchao")
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(
        target=peak, args=(size, contender, sender)
    )
    child.start()
    weights, beside = receiver.recv()
    child.join()
    race(
        lambda: prune(*model_and_samples(size)),
        group=f"prune {size} weights to 50 %, {SAMPLES} samples of {LENGTH} tokens",
        contender=contender,
        ours=ours,
        rounds=3,
        warmup=0,
        note=f"peak {beside / 1e6:.0f} MB beside {weights / 1e6:.0f} MB of weights",
    )
