"""The weight of every sample in a step of f-distill, with the paper's two normalisations.

The mean of ``r = p / q`` under q is 1 at every noise level; that of an estimate is not. First the
ratio is divided by its mean over samples of about the same noise, then the weights ``h(r)`` by
their mean over the batch (arXiv:2502.15681), so that neither the scale of f nor an
offset of the discriminator changes the size of a step. The figures of the defaults are from FastGen
(NVlabs), the library of the authors' group: ratios are clipped to 0.1 to 20, and ten bins of noise
level each remember their mean.

All of it is done with logarithms: normalised weights are at most the size of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from paperworks.diffusion.f_distill.divergences import Divergence, divergence_named


class Weighting:
    """From log density ratios to the weights of a batch.

    Parameters
    ----------
    divergence : str, Divergence or callable
        A name of the table, a row of it, or one's own convex f.
    clip : (low, high) or None
        The least and the largest ratio that counts; None takes ratios as they are.
    bins : int
        Of the noise level, each with a mean of its own.
    memory : float
        The share of a bin's mean that stays when a batch comes, from 0 to below 1. 0.5 is what
        FastGen has for ImageNet-64; with thousands in a batch 0 will do.
    normalize : bool
        False takes ``h`` of the clipped ratio as it is; with ``clip=None`` too the gradient is that
        of the divergence, in its scale.

    Raises
    ------
    ValueError
        For an unknown name, or a setting outside its range.

    Examples
    --------
    >>> weigh = Weighting("forward-kl", clip=None)
    >>> weigh(torch.tensor([1.0, 3.0]).log(), torch.tensor([0.1, 0.1]))
    tensor([0.5000, 1.5000])
    """

    def __init__(
        self,
        divergence: str | Divergence | Callable[[Tensor], Tensor] = "js",
        *,
        clip: tuple[float, float] | None = (0.1, 20.0),
        bins: int = 10,
        memory: float = 0.5,
        normalize: bool = True,
    ):
        self.divergence = divergence_named(divergence)
        if clip is not None and not 0 < clip[0] < 1 < clip[1]:
            raise ValueError(f"clip must be (low, high) with 0 < low < 1 < high, got {clip}")
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        if not 0 <= memory < 1:
            raise ValueError(f"memory must be from 0 to below 1, got {memory}")
        self.clip, self.memory, self.normalize = clip, memory, normalize
        self.log_means = torch.zeros(bins)
        """(bins,) logarithms of the mean ratio in each bin, as remembered."""

    def settings(self) -> dict[str, Any]:
        """What tells one weighting from another, as plain data; a divergence by its weights too,
        for those of one's own functions have no names.
        """
        ratios = torch.tensor([-3.0, -1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
        weights = self.divergence.log_weight(ratios)
        return {
            "divergence": self.divergence.name,
            "weights": [f"{each:.6g}" for each in weights.detach().tolist()],
            "clip": self.clip,
            "bins": len(self.log_means),
            "memory": self.memory,
            "normalize": self.normalize,
        }

    def __call__(self, log_ratio: Tensor, level: Tensor) -> Tensor:
        """The weights, (batch,), of mean 1 where normalised.

        Parameters
        ----------
        log_ratio : (batch,) float
            Of the teacher's density over the student's, at the noisy sample.
        level : (batch,) float
            How noisy each sample is, from 0 to 1.
        """
        if self.clip is not None:
            log_ratio = log_ratio.clamp(math.log(self.clip[0]), math.log(self.clip[1]))
        if not self.normalize:
            return self.divergence.weight(log_ratio)
        which = (level * len(self.log_means)).long().clamp(0, len(self.log_means) - 1)
        self._remember(log_ratio, which)
        log_weight = self.divergence.log_weight(log_ratio - self.log_means[which])
        return (log_weight - log_weight.logsumexp(0) + math.log(len(log_weight))).exp()

    def _remember(self, log_ratio: Tensor, which: Tensor) -> None:
        self.log_means = self.log_means.to(log_ratio)
        for each in which.unique():
            here = log_ratio[which == each]
            now = here.logsumexp(0) - math.log(len(here))
            shares = torch.tensor([self.memory, 1 - self.memory]).to(log_ratio).log()
            self.log_means[each] = torch.logaddexp(
                shares[0] + self.log_means[each], shares[1] + now
            )


def normalized_variance(weight: Tensor) -> float:
    """The variance of weights over their squared mean: what the paper compares divergences by.

    Examples
    --------
    >>> normalized_variance(torch.tensor([0.5, 1.5]))
    0.25
    """
    return float(weight.var(correction=0) / weight.mean() ** 2)
