"""Global pruning of 1, 10 and 100 million float32 weights: ours beside PyTorch's own.

The weights lie in four square matrices. Each contest runs in a process of its own, which has its
kernels loaded and a model for every round in memory before the clock starts; the note gives the
rise of its peak resident memory from there, as the operating system counts it. Both leave the
pruned weights in the layers and nothing else: ``prune.remove`` is timed with PyTorch's pruning,
which without it goes on holding its masks and the weights as they were. That both drop the same
weights is checked on a small model before.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

LAYERS, ROUNDS = 4, 3

CHILD = """
import resource, sys
import torch
from torch import nn
from torch.nn.utils import prune
from paperworks.compression.global_magnitude import GlobalMagnitudePruner

def build(size, layers):
    side = round((size / layers) ** 0.5)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = nn.Sequential(*[nn.Linear(side, side, bias=False) for _ in range(layers)])
    model.to_empty(device="cpu")
    for layer in model:
        layer.weight.data.normal_(0, 0.02, generator=generator)
    return model

def pytorch(model):
    pairs = [(layer, "weight") for layer in model]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.9)
    for pair in pairs:
        prune.remove(*pair)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

size, layers, rounds = map(int, sys.argv[2:])
plain = GlobalMagnitudePruner(0.9, floor=0)
run = {"floor": GlobalMagnitudePruner(0.9), "plain": plain, "pytorch": pytorch}[sys.argv[1]]
small = build(40_000, layers), build(40_000, layers)
plain(small[0]), pytorch(small[1])
assert all(torch.equal(a.weight, b.weight) for a, b in zip(*small))
run(build(40_000, layers))
models = [build(size, layers) for _ in range(rounds)]
before = peak()
print("ready", flush=True)
for model in models:
    sys.stdin.readline()
    run(model)
    print(peak() - before, flush=True)
"""

CONTENDERS = {
    "GlobalMagnitudePruner": ("floor", True),
    "GlobalMagnitudePruner(floor=0)": ("plain", True),
    "prune.global_unstructured": ("pytorch", False),
}


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("size", [1_000_000, 10_000_000, 100_000_000])
def test_global_pruning(race: Any, size: int, contender: str) -> None:
    name, ours = CONTENDERS[contender]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, name, str(size), str(LAYERS), str(ROUNDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    send, receive = child.stdin, child.stdout

    def once() -> float:
        send.write("go\n")
        send.flush()
        return float(receive.readline())

    try:
        assert receive.readline() == "ready\n"
        race(
            once,
            group=f"90 % of {size // 1_000_000} M weights",
            contender=contender,
            ours=ours,
            rounds=ROUNDS,
            warmup=0,
            note=lambda rise: f"peak memory rises by {rise:,.1f} MiB",
        )
    finally:
        child.communicate()
