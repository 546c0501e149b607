"""Training a small U-Net: ours beside the plain loop of diffusers' own example.

The peer is the loop of diffusers' unconditional example: a DataLoader, ``DDPMScheduler.add_noise``,
``torch.optim.AdamW``, the clipped gradient and diffusers' ``EMAModel``. Both build the same
``UNet2DModel`` and go as many steps with batches of one size; ours also writes its checkpoint and
the model at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paperworks.diffusion.training import Recipe, build_network, train

STEPS = 30
SIZES = {
    "digits 1x8x8": ((1, 8, 8), Recipe((16, 32), steps=STEPS, batch=64)),
    "mnist 1x28x28": ((1, 28, 28), Recipe((16, 32, 64), steps=STEPS, batch=64)),
    "cifar10 3x32x32": ((3, 32, 32), Recipe((32, 64, 64), steps=STEPS, batch=32)),
}


def ours(images: Tensor, recipe: Recipe, folder: Path) -> float:
    return train(images, folder, recipe, device="cpu").loss


def plain(images: Tensor, recipe: Recipe, folder: Path) -> float:
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    network = build_network(images.shape[1:], recipe.channels, recipe.layers)
    average = EMAModel(network.parameters(), decay=recipe.ema, use_ema_warmup=True)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=0.0)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / recipe.warmup, 1.0, recipe.warmup)
    data = torch.utils.data.TensorDataset(images)
    loader = torch.utils.data.DataLoader(data, recipe.batch, shuffle=True, drop_last=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    network.train()
    total = 0.0
    for (clean,) in itertools.islice(batches, recipe.steps):
        noise = torch.randn_like(clean)
        t = torch.randint(0, 1000, (len(clean),))
        found = network(scheduler.add_noise(clean, noise, t), t).sample
        loss = torch.nn.functional.mse_loss(found, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        total += loss.item()
    return total / recipe.steps


LOOPS: dict[str, tuple[bool, Callable[[Tensor, Recipe, Path], float]]] = {
    "train": (True, ours),
    "diffusers loop": (False, plain),
}


@pytest.mark.parametrize("contender", LOOPS)
@pytest.mark.parametrize("size", SIZES)
def test_training(race: Any, tmp_path: Path, size: str, contender: str) -> None:
    pytest.importorskip("diffusers")
    is_ours, loop = LOOPS[contender]
    shape, recipe = SIZES[size]
    images = torch.rand(512, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rounds = itertools.count()

    def run() -> float:
        return loop(images, recipe, tmp_path / str(next(rounds)))

    race(
        run,
        group=f"{STEPS} steps on {size}",
        contender=contender,
        ours=is_ours,
        rounds=5,
        note=lambda loss: f"loss {loss:.2f}",
    )
