"""What a supernet is trained with (section 3.4): GPG and WDR.

Group progressive guidance, equations 7 and 8, with ``H`` a network of the highest bits, ``R`` of
random and ``L`` of the lowest, all with random granularity and symmetry in every layer::

    loss_H = CE(H, y)
    loss_R = strength * KL(H || R) + (1 - strength) * CE(R, y)
    loss_L = strength * KL(R || L) + (1 - strength) * CE(L, y)

A teacher's output has no gradient. Weight distribution regularisation, equations 4 to 6, over the
layers' weights in full precision::

    mean over layers of  skewness * Skew**2 + kurtosis * (Kurt - 1.8)**2

Departures. Equation 6 has weights 1 and 1; the defaults here, 1 and 0.015, are those of the
authors' code. Like it, the first layer is left out. Moments are those of the population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.eq_net.convert import choose, elastic_layers

UNIFORM_KURTOSIS = 1.8
Task = Callable[[Tensor, Tensor], Tensor]


class GroupProgressiveGuidance:
    """The loss of a training step: high bits learn from labels and teach those below.

    Called as ``loss(model, x, y)`` it returns the sum, for one ``backward()``. To hold the
    activations of one network at a time and not of all, go through :meth:`parts` and call
    ``backward()`` on each; the gradients add up to the same.

    Parameters
    ----------
    rng : numpy Generator
        Draws the forms.
    strength : float
        lambda, from 0 (labels alone) to 1; 0.5 in the authors' code.
    random_networks : int
        How many networks of random bits stand between the highest and the lowest; each is taught
        by the one before it. 1, as in the paper.
    task : callable
        The loss on the labels; the cross-entropy by default.

    Notes
    -----
    A step costs ``2 + random_networks`` forward and backward passes. It leaves the model in the
    last, lowest form: :func:`choose` one before it is used.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization, GroupProgressiveGuidance
    >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    >>> x, y = torch.randn(16, 4), torch.arange(16) % 2
    >>> model = ElasticQuantization()(mlp, [x])
    >>> loss = GroupProgressiveGuidance(np.random.default_rng(0))
    >>> len([part.backward() for part in loss.parts(model, x, y)])
    3
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        strength: float = 0.5,
        random_networks: int = 1,
        task: Task = functional.cross_entropy,
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {strength}")
        if random_networks < 0:
            raise ValueError(f"random_networks must be 0 or more, got {random_networks}")
        self.rng, self.strength, self.task = rng, strength, task
        self.random_networks = random_networks

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the losses of all networks."""
        return torch.stack(list(self.parts(model, x, y))).sum()

    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Iterator[Tensor]:
        """The loss of one network after the other, from high to low."""
        layers = elastic_layers(model)
        teacher = None
        for bits in ("highest", *["any"] * self.random_networks, "lowest"):
            choose(
                model, {name: each.space.random(self.rng, bits) for name, each in layers.items()}
            )
            scores = model(x)
            loss = self.task(scores, y)
            if teacher is not None:
                guidance = guided(scores, teacher)
                loss = self.strength * guidance + (1 - self.strength) * loss
            teacher = scores.detach()
            yield loss


def guided(scores: Tensor, teacher: Tensor) -> Tensor:
    """The mean over rows of ``KL(teacher || scores)``; both ``(..., classes)``, not normalised."""
    student, teacher = (each.flatten(0, -2).log_softmax(-1) for each in (scores, teacher))
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def weight_distribution_loss(
    model: nn.Module, *, skewness: float = 1.0, kurtosis: float = 0.015
) -> Tensor:
    """How far the weights of a supernet are from flat and even distributions; add it to the loss.

    A uniform distribution is the same to every grid: its skewness is 0 and its kurtosis 1.8.

    Parameters
    ----------
    model : nn.Module
        Made by :class:`ElasticQuantization`; the first layer is left out where there are more.
    skewness, kurtosis : float
        The weights of the two terms. The paper prints 1 and 1; with it the kurtosis of trained
        weights, easily 5 or 10, drowns the task, and the authors' code has 0.015.

    Returns
    -------
    scalar float
        With gradients. A layer whose weights are all equal counts 0.

    Notes
    -----
    A handful of passes over the weights, whatever the batch.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from paperworks.compression.eq_net import ElasticQuantization
    >>> model = ElasticQuantization(edge_bits=None)(nn.Sequential(nn.Linear(1000, 1)))
    >>> model[0].weight.data[0] = torch.linspace(-3, 3, 1000)
    >>> bool(weight_distribution_loss(model, kurtosis=1) < 1e-6)
    True
    """
    layers = list(elastic_layers(model).values())
    losses = []
    for layer in layers[1:] or layers:
        weight = layer.weight
        centred = weight - weight.mean()
        variance = centred.square().mean()
        if not variance > 0:
            continue
        skew = centred.pow(3).mean() / variance**1.5
        kurt = centred.pow(4).mean() / variance**2
        losses.append(skewness * skew**2 + kurtosis * (kurt - UNIFORM_KURTOSIS) ** 2)
    if not losses:
        return layers[0].weight.new_zeros(())
    return torch.stack(losses).mean()
