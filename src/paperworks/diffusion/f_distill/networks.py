"""What f-distill trains besides the user's own networks: a discriminator that reads the features
of a diffusion model, and a small network for points.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from paperworks.diffusion.schedules import Schedule

FREQUENCIES = (0.25, 0.5, 1.0, 2.0)
"""Of the sines in which :class:`PointNetwork` sees the log signal-to-noise ratio."""


class FeatureDiscriminator(nn.Module):
    """A head on the features that a diffusion model computes of a noisy sample, as in DMD2.

    Only the head has parameters here: the model serves as it is, in the loss of the discriminator
    too. Of the three ways that the paper's figure 7 compares, these are the two in which the
    features are not trained to discriminate.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t)``: the teacher's (the authors' choice) or that of the fake score (DMD2's).
    layer : str
        The name of the submodule whose output are the features, "mid_block" for a U-Net of
        diffusers.
    head : nn.Module
        From these features to logits, (batch,) or (batch, several).

    Raises
    ------
    ValueError
        If the network has no such layer.

    Notes
    -----
    ``forward(x, t)`` runs the network as far as the layer; gradients go to ``x`` and to the head.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> score = PointNetwork(LinearVP(), 2, width=16)
    >>> judge = FeatureDiscriminator(score, "hidden", nn.Linear(16, 1))
    >>> judge(torch.zeros(5, 2), torch.full((5,), 0.5)).shape
    torch.Size([5, 1])
    """

    def __init__(self, network: nn.Module, layer: str, head: nn.Module):
        super().__init__()
        known = dict(network.named_modules())
        if layer not in known or layer == "":
            top = ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"the network has no layer {layer!r}; at its top are {top}")
        self.head = head
        # In a tuple it is no submodule: its parameters are not the discriminator's.
        self._features = (network, known[layer])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits of (batch, ...) noisy samples at times (batch,)."""
        network, layer = self._features
        handle = layer.register_forward_hook(_leave)
        frozen = {name: each.detach() for name, each in network.named_parameters()}
        try:
            functional_call(network, frozen, (x, t))
        except _Reached as reached:
            features = reached.features
        else:
            raise RuntimeError("the network did not come to the layer of the discriminator")
        finally:
            handle.remove()
        # Attention leaves strides on which a GroupNorm in the head crashes torch 2.13 on a CPU, in
        # the gradient of its weights alone.
        return self.head(features.contiguous())


class _Reached(Exception):  # noqa: N818 (a way out, not an error)
    """Leaves a network where its features are there."""

    def __init__(self, features: Tensor):
        super().__init__()
        self.features = features


def _leave(layer: nn.Module, inputs: Any, output: Tensor) -> None:
    raise _Reached(output)


class PointNetwork(nn.Module):
    """A multilayer perceptron of points and time: a score, a generator or a discriminator.

    Parameters
    ----------
    schedule : Schedule
        Time is seen as sines of the log signal-to-noise ratio, and ``x`` in units of its size.
    dim : int
        Of a point.
    outputs : int, optional
        ``dim`` by default; 1 for a discriminator.
    width, depth : int
        Of the hidden layers.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> network = PointNetwork(LinearVP(), 2)
    >>> network(torch.zeros(5, 2), 0.5).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        schedule: Schedule,
        dim: int,
        outputs: int | None = None,
        *,
        width: int = 128,
        depth: int = 3,
    ):
        super().__init__()
        self.schedule = schedule
        sizes = [dim + 2 * len(FREQUENCIES), *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(width, dim if outputs is None else outputs)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """(batch, outputs) of (batch, dim) points at one time or (batch,) times."""
        alpha, sigma, log_snr = _factors(self.schedule, t, x)
        phase = log_snr * x.new_tensor(FREQUENCIES)
        size = (alpha**2 + sigma**2).sqrt()
        waves = torch.cat([phase.sin(), phase.cos()], 1).expand(len(x), -1)
        return self.last(self.hidden(torch.cat([x / size, waves], 1)))


def _factors(schedule: Schedule, t: Tensor | float, like: Tensor) -> tuple[Tensor, ...]:
    """alpha, sigma and the log signal-to-noise ratio, (batch or 1, 1) each."""
    times = np.atleast_1d(t.detach().cpu().numpy() if isinstance(t, Tensor) else t)
    alpha, log_snr = schedule.alpha(times), schedule.log_snr(times)
    sigma = schedule.sigma(times)
    return tuple(torch.from_numpy(each).to(like)[:, None] for each in (alpha, sigma, log_snr))
