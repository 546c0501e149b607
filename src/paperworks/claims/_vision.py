"""Small image classifiers, trained in one plain way: what the claims on vision models share.

Everything is float32 and draws its randomness from a seed or a generator; no global one is touched.
The network is the CIFAR ResNet of He et al. (arXiv:1512.03385, section 4.2) with a width factor.

>>> import torch
>>> data = load_images("digits", train=200, test=100, seed=0)
>>> model = initialised(lambda: ResNet(depth=8, width=0.25, channels=1), seed=0)
>>> generator = torch.Generator().manual_seed(0)
>>> losses = train(model, data.x, data.y, epochs=2, batch=50, lr=0.1, generator=generator)
>>> 0.0 <= accuracy(model, data.x_test, data.y_test) <= 1.0
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import paperworks.data

M = TypeVar("M", bound=nn.Module)


class ImageData(NamedTuple):
    """Images ``(n, channels, height, width)`` float32 and labels ``(n,)`` int64."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    def to(self, device: str) -> ImageData:
        """The same on another device."""
        return ImageData(*(part.to(device) for part in self))


def load_images(
    name: str, train: int | None = None, test: int | None = None, seed: int = 0
) -> ImageData:
    """Part of a data set, drawn by ``seed``: shuffled, as many of each class as there can be.

    ``digits`` (8 x 8; 1,437 and 360 images) and ``mnist1d`` (1 x 40; 4,000 and 1,000) are embedded;
    ``mnist``, ``fashion-mnist`` (28 x 28) and ``cifar10`` (3 x 32 x 32) are real. For ``digits``
    the seed draws the split too. Each channel is centred and scaled by the training part.
    """
    options: dict[str, Any] = {"seed": seed} if name == "digits" else {}
    data = paperworks.data.load(name, **options)
    rng = np.random.default_rng(seed)
    parts = []
    for x, y, n in ((data.x_train, data.y_train, train), (data.x_test, data.y_test, test)):
        rows = _balanced(y, n, rng)
        images = torch.from_numpy(x[rows]).float()
        # One channel where there is no axis for it; a signal is an image one pixel high.
        shape = (len(rows), 1, -1, x.shape[-1])
        images = images.movedim(3, 1) if x.ndim == 4 else images.reshape(shape)
        parts += [images, torch.from_numpy(y[rows])]
    mean = parts[0].mean((0, 2, 3), keepdim=True)
    std = parts[0].std((0, 2, 3), keepdim=True)
    x, x_test = (((x - mean) / std).contiguous() for x in parts[::2])
    return ImageData(x, parts[1], x_test, parts[3])


def _balanced(labels: np.ndarray, n: int | None, rng: np.random.Generator) -> np.ndarray:
    """``n`` shuffled rows: one of each class in turn, until a class has no more."""
    if n is not None and not 0 < n <= len(labels):
        raise ValueError(f"there are {len(labels)} images, asked for {n}")
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = labels[order] == label
        turn[of_class] = np.arange(of_class.sum())
    return rng.permutation(order[np.argsort(turn, kind="stable")[:n]])


def initialised(build: Callable[[], M], seed: int) -> M:
    """The model that ``build()`` makes, its weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy of a batch."""
    return functional.cross_entropy(model(x), y)


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch: int,
    lr: float,
    generator: torch.Generator,
    optimizer: Literal["sgd", "adamw"] = "sgd",
    weight_decay: float = 5e-4,
    warmup: float = 0.05,
    augment: bool = False,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] = cross_entropy,
    after_step: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Train in place; returns the mean loss of each epoch.

    Every epoch takes the whole batches of a new order. The step size rises linearly to ``lr`` over
    the first ``warmup`` part of all steps and falls to zero along a cosine. SGD has Nesterov
    momentum 0.9; ``weight_decay`` is on all parameters. ``augment`` flips images and crops them
    after padding by an eighth of their width (4 pixels for CIFAR-10). ``loss(model, x, y)`` is a
    scalar. ``after_step(step, steps)`` is called after each step, counted from 1. Model, images
    and labels are on one device, the generator on the CPU.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    stepper: torch.optim.Optimizer = torch.optim.AdamW(parameters, lr, weight_decay=weight_decay)
    if optimizer == "sgd":
        stepper = torch.optim.SGD(parameters, lr, 0.9, nesterov=True, weight_decay=weight_decay)
    batch = min(batch, len(images))
    steps = epochs * (len(images) // batch)
    rising = max(1, round(warmup * steps))
    model.train()
    step, losses = 0, []
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        found = []
        for rows in order[: len(order) // batch * batch].split(batch):
            falling = math.pi * max(0, step - rising) / max(1, steps - rising)
            for group in stepper.param_groups:
                group["lr"] = lr * min(1, (step + 1) / rising) * 0.5 * (1 + math.cos(falling))
            x = images[rows]
            value = loss(model, _augmented(x, generator) if augment else x, labels[rows])
            stepper.zero_grad()
            value.backward()
            stepper.step()
            step += 1
            found.append(float(value.detach()))
            if after_step is not None:
                after_step(step, steps)
        losses.append(sum(found) / len(found))
    return losses


def _augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image flipped with probability 1/2 and moved by up to an eighth of its width."""
    n, _, height, width = x.shape
    pad = width // 8
    flip = torch.rand(n, generator=generator).to(x.device) < 0.5
    x = functional.pad(torch.where(flip[:, None, None, None], x.flip(3), x), (pad,) * 4)
    top, left = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator).to(x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    picture = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 500) -> float:
    """The share of images put in their class, in evaluation mode."""
    training = model.training
    model.eval()
    pairs = zip(images.split(batch), labels.split(batch), strict=True)
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in pairs)
    model.train(training)
    return right / len(labels)


class ResNet(nn.Module):
    """The CIFAR ResNet of ``depth = 6 n + 2`` layers: three stages of ``n`` blocks.

    The stages have 16, 32 and 64 times ``width`` channels; the second and third halve the image.
    Shortcuts have no weights (option A). Takes ``(batch, channels, height, width)`` of any size,
    8 x 8 digits too. ResNet-20 has 0.27 M weights and 41 M multiply-adds on a CIFAR-10 image.
    """

    def __init__(self, depth: int = 20, width: float = 1, channels: int = 3, classes: int = 10):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 (8, 14, 20, ...), got {depth}")
        sizes = [max(1, round(base * width)) for base in (16, 32, 64)]
        self.stem = nn.Sequential(_conv(channels, sizes[0]), nn.BatchNorm2d(sizes[0]), nn.ReLU())
        blocks, wide = [], sizes[0]
        for stage, size in enumerate(sizes):
            for i in range((depth - 2) // 6):
                blocks.append(Block(wide, size, stride=2 if stage and not i else 1))
                wide = size
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(batch, classes)``."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut that drops pixels and adds empty channels."""

    def __init__(self, wide: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(wide, size, stride), nn.BatchNorm2d(size)
        self.conv2, self.norm2 = _conv(size, size), nn.BatchNorm2d(size)
        self.stride, self.empty = stride, size - wide

    def forward(self, x: Tensor) -> Tensor:
        """From ``(batch, wide, h, w)`` to ``(batch, size, h / stride, w / stride)``."""
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.empty:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.empty))
        return functional.relu(y + shortcut)


def _conv(wide: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(wide, size, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv
