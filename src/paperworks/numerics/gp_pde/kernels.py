r"""Spectral mixtures of one axis, and their derivatives by automatic differentiation.

By the Wiener-Khinchin theorem a stationary covariance is the Fourier transform of a spectrum.
With components of weight ``w``, frequency ``f`` and width ``s``, in cycles per unit of x,

    gaussian:   k(r) = sum w cos(2 pi f r) exp(-2 pi^2 s^2 r^2)
    student-t:  k(r) = sum w cos(2 pi f r) matern(2 pi s r; dof / 2)

at a distance r: a Gaussian spectrum gives the squared exponential, and Student's t with `dof`
degrees of freedom gives the Matern covariance of smoothness ``dof / 2``. Width is the scale of
the law in both, and the second tends to the first as `dof` grows.

Derivatives are taken with respect to r >= 0 and the sign of ``x - x'`` is put on afterwards.
``abs(x - x')`` never enters the graph: PyTorch gives its derivative at zero as 0, which would
wipe out the diagonal of every second-derivative covariance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

KINDS = ("student-t", "gaussian")


@dataclass(frozen=True)
class Mixture:
    """Components of one axis: three tensors of shape (Q,), float64.

    Weights and widths are in the log domain. `dof` is None for Gaussian components, else odd.
    """

    log_weight: Tensor
    log_width: Tensor
    frequency: Tensor
    dof: int | None

    @classmethod
    def spread(
        cls, components: int, highest: float, dof: int | None, rng: np.random.Generator | None
    ) -> Mixture:
        """Equal weights over the band from 0 to `highest`, evenly, or one drawn in each cell."""
        if components == 1:
            frequency, spacing = np.array([highest]), highest
        else:
            spacing = highest / (components - 1)
            frequency = np.linspace(0.0, highest, components)
        if rng is not None:
            moved = frequency + spacing * rng.uniform(-0.5, 0.5, components)
            frequency = np.clip(moved, 0.0, highest)
        # A third of the spacing: neighbours overlap, so that the band has no holes.
        return cls(
            torch.full((components,), -math.log(components), dtype=torch.float64),
            torch.full((components,), math.log(spacing / 3), dtype=torch.float64),
            torch.as_tensor(frequency, dtype=torch.float64),
            dof,
        )

    def __len__(self) -> int:
        return len(self.log_weight)

    @property
    def order(self) -> float:
        """How often a process with this covariance can be differentiated."""
        return math.inf if self.dof is None else (self.dof - 1) // 2

    @property
    def total(self) -> float:
        """The variance, ``k(0)``."""
        return float(self.log_weight.exp().sum())

    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, log widths, frequencies."""
        return self.log_weight, self.log_width, self.frequency

    def replaced(self, parameters: Iterable[Tensor]) -> Mixture:
        """Other parameters, in the order of :meth:`parameters`."""
        log_weight, log_width, frequency = parameters
        return Mixture(log_weight, log_width, frequency, self.dof)

    def pruned(self, least: float) -> Mixture:
        """Without the components below the share `least` of the total weight."""
        weight = self.log_weight.exp()
        keep = weight >= least * weight.sum()
        return self.replaced((self.log_weight[keep], self.log_width[keep], self.frequency[keep]))

    def above(self, floor: Mixture, share: float) -> Mixture:
        """The sum with `floor`, scaled to the share `share` of this one's weight."""
        lift = math.log(share * self.total / floor.total)
        return self.replaced(
            (
                torch.cat((self.log_weight, floor.log_weight + lift)),
                torch.cat((self.log_width, floor.log_width)),
                torch.cat((self.frequency, floor.frequency)),
            )
        )

    def value(self, r: Tensor) -> Tensor:
        """``k(r)`` for distances of any shape, r >= 0; differentiable in everything."""
        r = r.unsqueeze(-1)
        phase = torch.cos(2 * math.pi * self.frequency * r)
        scaled = 2 * math.pi * self.log_width.exp() * r
        envelope = torch.exp(-0.5 * scaled**2) if self.dof is None else matern(scaled, self.dof)
        return (self.log_weight.exp() * envelope * phase).sum(-1)

    def derivatives(self, r: Tensor, order: int, *, traced: bool = False) -> list[Tensor]:
        """``k, dk/dr, ...`` up to `order` at r >= 0, by repeated reverse differentiation.

        `traced` keeps the graph, for a gradient by the parameters.
        """
        distance = r.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            found = [self.value(distance)]
            for _ in range(order):
                (slope,) = torch.autograd.grad(found[-1].sum(), distance, create_graph=True)
                found.append(slope)
        return found if traced else [each.detach() for each in found]

    @cached_property
    def spectrum(self) -> dict[str, np.ndarray]:
        """Frequency, weight (shares of 1) and width of each component, the heaviest first."""
        weight = self.log_weight.exp()
        first = torch.argsort(weight, descending=True)
        return {
            "frequency": self.frequency.abs()[first].numpy(),
            "weight": (weight / weight.sum())[first].numpy(),
            "width": self.log_width.exp()[first].numpy(),
        }


def matern(scaled: Tensor, dof: int) -> Tensor:
    """The Matern correlation of smoothness ``dof / 2`` at ``scaled = distance / length``."""
    p = (dof - 1) // 2
    a = math.sqrt(dof) * scaled
    # Horner's rule for sum_i (p + i)! / (i! (p - i)!) (2 a)^(p - i), from i = 0 on.
    polynomial = torch.zeros_like(a)
    for i in range(p + 1):
        term = math.factorial(p + i) / (math.factorial(i) * math.factorial(p - i))
        polynomial = polynomial * (2 * a) + term
    return math.factorial(p) / math.factorial(2 * p) * polynomial * torch.exp(-a)
