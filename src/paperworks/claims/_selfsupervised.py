"""A small self-supervised encoder of images, trained without labels: SimCLR (arXiv 2002.05709).

Two random views of each image, turned, scaled, shifted, blurred by noise and changed in contrast,
must find each other among all views of the batch. The features before the projection head are the
embedding. What claims need where the paper takes a published self-supervised model.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def encoder(side: int, width: int = 64) -> nn.Sequential:
    """Images (n, 1, side, side) to features (n, width); no convolutions where there is no room."""
    if side <= 8:
        hidden = nn.Linear(side * side, 128)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(128, width))
    channels, layers, size = (1, 8, 16, 32), list[nn.Module](), side
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU()]
        size = math.ceil(size / 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, width))


def classifier(side: int, classes: int = 10) -> nn.Sequential:
    """The same network with labels at its end."""
    return nn.Sequential(encoder(side), nn.ReLU(), nn.Linear(64, classes))


def views(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of each image."""

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(x), generator=generator)

    angle, size = draw(-0.35, 0.35), draw(0.8, 1.25)
    cosine, sine = angle.cos() * size, angle.sin() * size
    shift = draw(-0.2, 0.2), draw(-0.2, 0.2)
    rows = [torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    seen = nn.functional.grid_sample(x, grid, align_corners=False)
    seen = seen * draw(0.6, 1.4)[:, None, None, None]
    return seen + 0.1 * torch.randn(x.shape, generator=generator)


def embed(x: Tensor, *, epochs: int, seed: int, batch_size: int = 256) -> np.ndarray[Any, Any]:
    """Train on images (n, 1, side, side) without labels, and embed them: (n, 64) float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = encoder(x.shape[-1])
        head = nn.Sequential(nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(epochs):
        for at in torch.randperm(len(x), generator=generator).split(batch_size):
            if len(at) < 2:
                continue
            pair = torch.cat([views(x[at], generator), views(x[at], generator)])
            z = nn.functional.normalize(head(body(pair)), dim=1)
            likeness = z @ z.T / 0.5
            likeness.fill_diagonal_(-torch.inf)
            partner = torch.arange(len(pair)).roll(len(at))
            loss = nn.functional.cross_entropy(likeness, partner)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return torch.cat([body(part) for part in x.split(1024)]).numpy()
