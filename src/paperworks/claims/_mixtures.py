"""The mixtures that the claims about samplers are tested on."""

from __future__ import annotations

import torch

from paperworks.diffusion.mixtures import GaussianMixture


def build(name: str, seed: int) -> GaussianMixture:
    """By its name: "ring", or "random-D" for ten components in D dimensions."""
    if name == "ring":
        return GaussianMixture.ring(8)
    return GaussianMixture.random(int(name[7:]), 10, torch.Generator().manual_seed(seed))
