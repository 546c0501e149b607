"""The losses of f-distill: what the student follows, and what its two critics learn.

See :mod:`paperworks.diffusion.f_distill.trainer` for the paper and for what departs from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softplus

from paperworks.diffusion.f_distill.noising import Noising, Noisy
from paperworks.diffusion.f_distill.student import evaluate
from paperworks.diffusion.f_distill.weighting import Weighting, normalized_variance
from paperworks.diffusion.predictions import Prediction, noise_and_data, of_noise_and_data
from paperworks.diffusion.solver import not_finite

Network = Callable[[Tensor, Tensor], Any]
"""``network(x, t)``, x (batch, ...) and t (batch,)."""
FROZEN = "has no parameters that ask for a gradient: call requires_grad_(True) on it"


class Matching:
    """The three networks that judge generated samples, and how they are weighed.

    The parameters are those of :class:`~paperworks.diffusion.f_distill.FDistillTrainer`.
    """

    def __init__(
        self,
        teacher: Network,
        fake_score: Network,
        discriminator: Network | None,
        noising: Noising,
        weighting: Weighting,
        *,
        prediction: Prediction,
        gan_weight: float,
        r1_weight: float,
        scale: Literal["dmd", "exact"],
    ):
        if discriminator is None and (weighting.divergence.name != "reverse-kl" or gan_weight > 0):
            raise ValueError(
                f"{weighting.divergence.name} with gan_weight={gan_weight:g} needs a discriminator "
                "for the density ratio; without one there is divergence='reverse-kl', gan_weight=0"
            )
        for name, value in (("gan_weight", gan_weight), ("r1_weight", r1_weight)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {value}")
        if scale not in ("dmd", "exact"):
            raise ValueError(f"scale must be 'dmd' or 'exact', got {scale!r}")
        self.networks = {"teacher": teacher, "fake score": fake_score}
        if discriminator is not None:
            self.networks["discriminator"] = discriminator
        self.critics: dict[str, nn.Module] = {}
        """The networks that are trained along with the generator."""
        for name, each in self.networks.items():
            if (
                name != "teacher"
                and isinstance(each, nn.Module)
                and next(each.parameters(), None) is not None
            ):
                if not trainable(each):
                    raise ValueError(f"the {name} {FROZEN}; or pass a function if it is exact")
                self.critics[name] = each
        self.noising, self.weighting = noising, weighting
        self.prediction, self.scale = prediction, scale
        self.gan_weight, self.r1_weight = gan_weight, r1_weight
        self.where = "before training"
        """Names the step in errors."""

    def gradient(self, x0: Tensor) -> tuple[Tensor, dict[str, float]]:
        """What generated samples are to follow downhill.

        Parameters
        ----------
        x0 : (batch, ...) float
            Generated samples; each is diffused to a noise level of its own.

        Returns
        -------
        gradient : (batch, ...) float
            Of a mean over the batch. With ``scale="exact"``, without normalisation and GAN term,
            its expectation is that of ``D_f(p_t || q_t)`` in the mean over the noise levels.
        figures : dict of str to float
            See :meth:`~paperworks.diffusion.f_distill.FDistillTrainer.step`.
        """
        x0 = x0.detach().requires_grad_(self.gan_weight > 0)
        noisy = self.noising(x0)
        figures: dict[str, float] = {}
        weight, gan = x0.new_ones(len(x0)), torch.zeros_like(x0)
        if "discriminator" in self.networks:
            with torch.set_grad_enabled(self.gan_weight > 0):
                logits = self._ask("discriminator", noisy.x, noisy.t)
            if self.gan_weight > 0:
                loss = softplus(-logits).mean()
                (gan,) = torch.autograd.grad(loss, x0)
                figures["gan"] = float(loss.detach())
            log_ratio = logits.detach().to(x0).reshape(len(x0), -1).mean(1)
            weight = self.weighting(log_ratio, noisy.level)
        with torch.no_grad():
            real, fake = self._data("teacher", noisy), self._data("fake score", noisy)
            gap = fake - real
            if self.scale == "dmd":
                error = (x0 - real).abs().flatten(1).sum(1)
                size = weight / error.clamp(min=1e-6)
            else:
                # alpha times the difference of the scores, which is alpha / sigma**2 of this one.
                size = weight * (noisy.alpha / noisy.sigma).square().flatten()
            matching = size.reshape(noisy.alpha.shape) * gap / len(gap)
        figures["gap"] = float(gap.square().mean().sqrt())
        figures["variance"] = normalized_variance(weight)
        return matching + self.gan_weight * gan, figures

    def critic_losses(self, x0: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        """The losses of the critics that are trained, by name.

        Parameters
        ----------
        x0, real : (batch, ...) float
            Generated samples, and data for a discriminator to tell from them.
        """
        fake = self.noising(x0)
        losses: dict[str, Tensor] = {}
        if "fake score" in self.critics:
            found = self._ask("fake score", fake.x, fake.t)
            target = of_noise_and_data(fake.noise, x0, self.prediction, fake.alpha, fake.sigma)
            losses["fake score"] = mse_loss(found, target)
        if "discriminator" in self.critics and real is not None:
            losses["discriminator"] = self._discriminate(fake, self.noising(real))
        return losses

    def check(self, values: Tensor, name: str, shape: tuple[int, ...]) -> None:
        """Refuse values that are not finite, or whose shape does not begin with ``shape``.

        Raises
        ------
        ValueError
            Naming the network and the step.
        """
        if values.shape[: len(shape)] != shape:
            raise ValueError(
                f"the {name} must return the shape {tuple(shape)}, got {tuple(values.shape)} "
                f"{self.where}"
            )
        bad = not_finite(values)
        if bad:
            raise ValueError(
                f"the {name} returned {bad} values that are NaN or infinite {self.where}"
            )

    def _discriminate(self, fake: Noisy, real: Noisy) -> Tensor:
        """The logistic loss, at whose minimum the logit is log r, and the R1 penalty."""
        x = real.x.requires_grad_(self.r1_weight > 0)
        # Both in one call: small networks are mostly overhead.
        logits = self._ask("discriminator", torch.cat([x, fake.x]), torch.cat([real.t, fake.t]))
        of_real, of_fake = logits.split([len(x), len(fake.x)])
        loss = softplus(-of_real).mean() + softplus(of_fake).mean()
        if self.r1_weight > 0:
            (slope,) = torch.autograd.grad(of_real.sum(), x, create_graph=True)
            loss = loss + 0.5 * self.r1_weight * slope.square().flatten(1).sum(1).mean()
        return loss

    def _data(self, name: str, noisy: Noisy) -> Tensor:
        """The clean sample that a network sees in a noisy one."""
        found = self._ask(name, noisy.x, noisy.t)
        return noise_and_data(found, self.prediction, noisy.x, noisy.alpha, noisy.sigma)[1]

    def _ask(self, name: str, x: Tensor, t: Tensor) -> Tensor:
        found = evaluate(self.networks[name], x, t)
        self.check(found, name, (len(x),) if name == "discriminator" else x.shape)
        return found


def trainable(network: nn.Module) -> bool:
    """Whether any of its parameters wants a gradient."""
    return any(each.requires_grad for each in network.parameters())
