"""Gaussian mixtures: data whose score is known exactly at every noise level.

Noise keeps a mixture a mixture: at ``x = alpha x0 + sigma eps`` a component of mean ``m`` and
covariance ``C`` has mean ``alpha m`` and covariance ``alpha**2 C + sigma**2 I``. So a solver's
error on it is the solver's own, and no network's.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from paperworks.diffusion.predictions import Factor, Prediction, convert
from paperworks.diffusion.schedules import Schedule


class GaussianMixture:
    """A mixture of Gaussians under a noise schedule.

    Parameters
    ----------
    weights : (components,) float64
        Positive; they are divided by their sum.
    means : (components, dim) float64
    covariances : (components, dim, dim) or (components,) float64
        Full ones, or the variance of isotropic components.

    Raises
    ------
    ValueError
        For no component, shapes that do not match, numbers that are not finite, weights that are
        not positive, or a covariance that is not symmetric with eigenvalues of at least 0.

    Notes
    -----
    A score costs O(batch * components * dim**2), and no more memory than
    O(batch * components * dim); isotropic components cost O(batch * components * dim).

    Examples
    --------
    >>> mixture = GaussianMixture.ring(8)
    >>> x = mixture.sample(4, torch.Generator().manual_seed(0))
    >>> mixture.score(x, 0.6, 0.8).shape
    torch.Size([4, 2])
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        means = torch.as_tensor(means, dtype=torch.float64)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        covariances = torch.as_tensor(covariances, dtype=torch.float64)
        if means.dim() != 2 or weights.shape != means.shape[:1]:
            raise ValueError(
                f"weights (components,) and means (components, dim) do not match: "
                f"{tuple(weights.shape)} and {tuple(means.shape)}"
            )
        count, dim = means.shape
        if count == 0 or dim == 0:
            raise ValueError(
                f"a mixture needs a component and a dimension or more, got {count} components in "
                f"{dim} dimensions"
            )
        if not bool(((weights > 0) & weights.isfinite()).all()):
            raise ValueError(f"weights must be > 0 and finite, got {weights.tolist()}")
        for name, each in (("means", means), ("covariances", covariances)):
            bad = int((~each.isfinite()).sum())
            if bad:
                raise ValueError(f"{name} must be finite, but {bad} values are NaN or infinite")
        self.weights, self.means = weights / weights.sum(), means
        # Component k has variances[k] along the columns of axes[k].
        self._axes: Tensor | None = None
        if covariances.shape == (count,):
            self._variances = covariances[:, None].expand(count, dim)
        elif covariances.shape == (count, dim, dim):
            if not torch.allclose(covariances, covariances.mT):
                raise ValueError("covariances must be symmetric")
            self._variances, self._axes = torch.linalg.eigh(covariances)
        else:
            raise ValueError(
                f"covariances must have shape {(count,)} or {(count, dim, dim)}, "
                f"got {tuple(covariances.shape)}"
            )
        if not bool((self._variances >= -1e-12).all()):
            raise ValueError(f"a covariance has the eigenvalue {float(self._variances.min()):.3g}")

    @classmethod
    def ring(cls, modes: int = 8, *, radius: float = 1.0, std: float = 0.05) -> GaussianMixture:
        """Equal modes on a circle in the plane."""
        angle = 2 * torch.pi * torch.arange(modes, dtype=torch.float64) / modes
        means = radius * torch.stack([angle.cos(), angle.sin()], 1)
        return cls(torch.ones(modes), means, torch.full((modes,), std**2))

    @classmethod
    def random(
        cls, dim: int, components: int, generator: torch.Generator, *, std: float = 0.3
    ) -> GaussianMixture:
        """Means of standard normal entries, covariances of trace ``dim * std**2``."""
        means = torch.randn(components, dim, generator=generator, dtype=torch.float64)
        root = torch.randn(components, dim, dim, generator=generator, dtype=torch.float64)
        covariances = root @ root.mT
        trace = covariances.diagonal(dim1=1, dim2=2).sum(1)
        weights = 0.5 + torch.rand(components, generator=generator, dtype=torch.float64)
        return cls(weights, means, covariances * (dim * std**2 / trace)[:, None, None])

    @property
    def dim(self) -> int:
        """Of a sample."""
        return self.means.shape[1]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, dim) float64 of clean data, on the generator's device."""
        device = generator.device
        weights, means, variances, axes = self._on(device)
        which = torch.multinomial(weights, count, replacement=True, generator=generator)
        noise = torch.randn(
            count, self.dim, generator=generator, dtype=torch.float64, device=device
        )
        spread = variances.clamp(min=0).sqrt()[which] * noise
        if axes is not None:
            spread = (axes[which] @ spread[:, :, None])[:, :, 0]
        return means[which] + spread

    def log_prob(self, x: Tensor, alpha: Factor = 1.0, sigma: Factor = 0.0) -> Tensor:
        """Log density of noisy samples, (batch, dim) to (batch,) float64.

        ``alpha`` and ``sigma`` are those of all samples, or (batch, 1) for one each.
        """
        return torch.logsumexp(self._terms(x, alpha, sigma)[0], 1)

    def score(self, x: Tensor, alpha: Factor = 1.0, sigma: Factor = 0.0) -> Tensor:
        """Gradient of :meth:`log_prob`, (batch, dim), in the dtype of ``x``."""
        terms, pull = self._terms(x, alpha, sigma)
        return -torch.einsum("bk,bkd->bd", terms.softmax(1), pull).to(x)

    def model(self, schedule: Schedule, prediction: Prediction = "epsilon") -> NoisyMixture:
        """The perfect network: ``model(x, t)``."""
        return NoisyMixture(self, schedule, prediction)

    def flow(self, x: Tensor, schedule: Schedule, start: float, end: float) -> Tensor:
        """Where the probability flow takes samples (batch, dim) from one time to another.

        By SciPy's DOP853 in ``x / alpha`` over ``log(sigma / alpha)``, to a relative tolerance of
        1e-12, on the CPU; for one Gaussian in closed form.
        """
        given, x = x, x.cpu()
        alpha, sigma = float(schedule.alpha(start)), float(schedule.sigma(start))
        to_alpha, to_sigma = float(schedule.alpha(end)), float(schedule.sigma(end))
        if len(self.weights) == 1:
            before = alpha**2 * self._variances[0] + sigma**2
            after = to_alpha**2 * self._variances[0] + to_sigma**2
            moved = x.double() - alpha * self.means[0]
            turn = self._axes[0] if self._axes is not None else torch.eye(self.dim).double()
            moved = (moved @ turn * (after / before).sqrt()) @ turn.T
            return (to_alpha * self.means[0] + moved).to(given)

        def slope(log_rho: float, y: np.ndarray) -> np.ndarray:
            # With y = x / alpha and rho = sigma / alpha: dy / drho = eps = -rho score(y; 1, rho).
            rho = float(np.exp(log_rho))
            score = self.score(torch.from_numpy(y).view(x.shape), 1.0, rho)
            return (-(rho**2) * score).numpy().ravel()

        span = np.log([sigma / alpha, to_sigma / to_alpha])
        y = (x.double() / alpha).numpy().ravel()
        found = solve_ivp(slope, span, y, method="DOP853", rtol=1e-12, atol=1e-12)
        if not found.success:
            raise RuntimeError(f"the flow from {start} to {end} failed: {found.message}")
        return (to_alpha * torch.from_numpy(found.y[:, -1]).view(x.shape)).to(given)

    def _terms(self, x: Tensor, alpha: Factor, sigma: Factor) -> tuple[Tensor, Tensor]:
        """Log weighted densities (batch, k), and inverse covariances on distances (batch, k, d)."""
        weights, means, variances, axes = self._on(x.device)
        alpha, sigma = (
            torch.as_tensor(each, dtype=torch.float64, device=x.device).reshape(-1, 1, 1)
            for each in (alpha, sigma)
        )
        variances = alpha**2 * variances.clamp(min=0) + sigma**2
        away = x.double()[:, None] - alpha * means
        along = away if axes is None else torch.einsum("bkd,kde->bke", away, axes)
        scaled = along / variances
        size = (along * scaled + (2 * torch.pi * variances).log()).sum(2)
        pull = scaled if axes is None else torch.einsum("bke,kde->bkd", scaled, axes)
        return weights.log() - 0.5 * size, pull

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Weights, means, variances and axes; on the CPU as they are, without a copy."""
        axes = None if self._axes is None else self._axes.to(device)
        return self.weights.to(device), self.means.to(device), self._variances.to(device), axes


class NoisyMixture:
    """A Gaussian mixture as a network without error, by :meth:`GaussianMixture.model`.

    Parameters
    ----------
    mixture : GaussianMixture
    schedule : Schedule
    prediction : str
        What it predicts.

    Examples
    --------
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> model = GaussianMixture.ring(8).model(LinearVP())
    >>> x, t = torch.randn(5, 2), torch.linspace(0.1, 0.9, 5)
    >>> model(x, t).shape, model.log_prob(x, t).shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, mixture: GaussianMixture, schedule: Schedule, prediction: Prediction):
        self.mixture, self.schedule, self.prediction = mixture, schedule, prediction

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The prediction for (batch, dim) samples at one time, or at (batch,) times."""
        alpha, sigma, exact = *self._factors(t, x.device), x.double()
        score = self.mixture.score(exact, alpha, sigma)
        return convert(score, exact, alpha, sigma, source="score", target=self.prediction).to(x)

    def log_prob(self, x: Tensor, t: Tensor | float) -> Tensor:
        """(batch,) float64 log densities of noisy samples."""
        return self.mixture.log_prob(x, *self._factors(t, x.device))

    def _factors(self, t: Tensor | float, device: torch.device) -> tuple[Tensor, Tensor]:
        """Alpha and sigma, (batch or 1, 1)."""
        times = np.atleast_1d(t.numpy(force=True) if isinstance(t, Tensor) else t)[:, None]
        alpha, sigma = self.schedule.alpha(times), self.schedule.sigma(times)
        return torch.from_numpy(alpha).to(device), torch.from_numpy(sigma).to(device)
