"""How long packed convolutions take beside float32: ``python tools/packed_ratios.py``.

Each ratio is of two stretches of calls that follow each other, so that a machine that is busy now
and quiet then says the same; the median of 60 of them is printed. One thread, one image.
"""

from __future__ import annotations

import copy
import importlib.util
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

RATIOS, CALLS, IMAGES = 60, 3, 20


def main() -> None:
    """Print the table of the guide."""
    path = Path(__file__).parents[1] / "benchmarks" / "compression" / "bench_packed.py"
    spec = importlib.util.spec_from_file_location("bench_packed", path)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    names = [build.__name__.removeprefix("conv_") for build in bench.OUR_CONVOLUTIONS]
    print("| 3 x 3 convolution |", " | ".join(names), "|")
    print("|---|" + "---:|" * len(names))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for channels, side, groups in bench.CONVOLUTIONS:
        layer = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        images = [torch.randn(1, channels, side, side) for _ in range(IMAGES)]
        made = [build(copy.deepcopy(layer)) for build in bench.OUR_CONVOLUTIONS]
        kind = "depthwise, " if groups > 1 else ""
        ratios = " | ".join(f"{ratio(layer, each, images):.2f}" for each in made)
        print(f"| {kind}{channels} channels, {side} x {side} | {ratios} |", flush=True)


@torch.no_grad()
def ratio(layer: nn.Module, packed: nn.Module, images: list[torch.Tensor]) -> float:
    """The median ratio of the packed layer's time to the layer's."""

    def seconds(model: nn.Module, x: torch.Tensor) -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            model(x)
        return time.perf_counter() - start

    for model in (layer, packed):
        seconds(model, images[0])
    found = []
    for i in range(RATIOS):
        x = images[i % len(images)]
        plain = seconds(layer, x)
        found.append(seconds(packed, x) / plain)
    return float(np.median(found))


if __name__ == "__main__":
    main()
