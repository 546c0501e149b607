"""f-distill: a one-step generator out of a diffusion model, by matching distributions under any
f-divergence.

Xu, Nie and Vahdat 2025, arXiv:2502.15681. With p_t the teacher's and q_t the student's distribution
at noise level t, ``x_t = alpha G(z) + sigma eps`` and ``r = p_t / q_t``, the gradient of
``D_f(p_t || q_t)`` with respect to the student's parameters is (the paper's theorem)::

    - E [ h(r(x_t)) (score of p_t - score of q_t)(x_t)  alpha dG(z) / dtheta ],   h(r) = r^2 f''(r)

The teacher gives the first score. The second one, the fake score, is a network that is trained on
the student's own samples; ``log r`` is the logit of a discriminator on diffused samples, which
gives a GAN term by the way. Reverse KL has h = 1: that is DMD2 (Yin et al. 2024, arXiv:2405.14867),
from which the rest is: several updates of these two for each one of the student, the logistic GAN
loss, and a gradient in units of each sample's own error, ``1 / mean |G(z) - x0 of the teacher|``.
DMD's regression on pairs of the teacher may be added.

What departs
------------
- The features that a discriminator reads are not trained to discriminate (see
  :class:`~paperworks.diffusion.f_distill.FeatureDiscriminator`).
- DMD's regression is in LPIPS, a network of its own; here it is the mean square.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from paperworks.diffusion.checkpoints import (
    check_settings,
    digest,
    load_checkpoint,
    save_checkpoint,
)
from paperworks.diffusion.f_distill.divergences import Divergence
from paperworks.diffusion.f_distill.matching import FROZEN, Matching, Network, trainable
from paperworks.diffusion.f_distill.noising import Noising
from paperworks.diffusion.f_distill.student import OneStep
from paperworks.diffusion.f_distill.weighting import Weighting
from paperworks.diffusion.predictions import Prediction
from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.solver import not_finite

Data = Tensor | Callable[[int, torch.Generator], Tensor]

_FORMAT = "state of FDistillTrainer, version 2"


class FDistillTrainer:
    """Trains a generator that needs one evaluation to match a diffusion model's distribution.

    Parameters
    ----------
    teacher : callable
        ``teacher(x, t)``, x (batch, ...) and t (batch,): the diffusion model, which is not trained.
    generator : nn.Module
        ``generator(x, t)`` of the shape of x, to be trained: usually a copy of the teacher's
        network.
    fake_score : callable
        ``fake_score(x, t)``, of the teacher's kind: another copy. A module is trained; any other
        callable counts as the exact score of what the generator makes now.
    discriminator : callable or None
        ``discriminator(x, t)`` to logits, (batch,) or (batch, several) of which the mean is taken.
        A module is trained; any other callable counts as the exact ``log r``. None is possible for
        reverse KL without the GAN term.
    schedule : Schedule
        The noise schedule of the teacher.
    shape : tuple of int
        Of one sample: (2,) or (channels, height, width).
    divergence : str, Divergence, callable or Weighting
        A name of :data:`~paperworks.diffusion.f_distill.DIVERGENCES`, a row of that table, one's
        own convex f, or a :class:`~paperworks.diffusion.f_distill.Weighting` for other settings of
        its normalisation. The default is the paper's best on ImageNet-64 and on text.
    prediction : str
        What the teacher and the fake score predict.
    generator_prediction, start
        See :class:`~paperworks.diffusion.f_distill.OneStep`.
    batch : int
        Samples in every update.
    lr, critic_lr : float
        Of AdamW, for the generator, and for fake score and discriminator (by default the same).
        1e-4 is the paper's for CIFAR-10.
    critic_updates : int
        Updates of fake score and discriminator before each one of the generator: the paper's 5,
        10 for text.
    weight_decay : float
        The paper's.
    gan_weight : float
        Of the GAN term; the paper's is 1e-3, and 3e-3 for ImageNet-64. 0 leaves it out.
    r1_weight : float
        Of the R1 penalty on the discriminator's slope at the data, ``r1_weight / 2 |slope|**2``.
        The paper has 1 for CIFAR-10 and text, 0 for ImageNet-64; 0 is the default since it pulls
        the ratio to 1.
    regression : (noise, samples), optional
        Pairs of :func:`~paperworks.diffusion.f_distill.teacher_pairs`, for DMD's regression.
    regression_weight : float
        Of its mean square; DMD's is 0.25, in LPIPS.
    ema : float
        Decay of the average of the generator's weights, which :meth:`sample` uses.
    scale : {"dmd", "exact"}
        "dmd" divides the gradient of a sample by its own mean error; "exact" leaves the gradient
        of the theorem.
    spacing : str, optional
        How noise levels are drawn: as often as the steps of
        :func:`paperworks.diffusion.timesteps.spaced` come. By default uniform in time, and
        "karras" where the variance explodes.
    time_range : (float, float)
        The share of these levels to use, from clean to noisy: DMD's.
    rng : torch.Generator, optional
        Draws all noise, times and batches, on its device; by default one of seed 0.

    Raises
    ------
    ValueError
        For an unknown name or a setting outside its range; for a divergence or a GAN term that
        needs a discriminator, without one; for networks to be trained whose parameters ask for no
        gradient; for a regression of values that are not finite; in training for data or a network
        that returns values that are not finite or of another shape, named with the step.

    Notes
    -----
    A step takes one evaluation and one gradient of the generator, and one evaluation each of
    teacher, fake score and discriminator; and ``critic_updates`` times an evaluation of the
    generator and an update of fake score and discriminator.

    Networks are left in the mode they are in. All randomness is ``rng``'s, but for dropout: that is
    torch's own, and then a training that was cut off does not go on to the same bits.

    Examples
    --------
    >>> from paperworks.diffusion.f_distill import PointNetwork
    >>> from paperworks.diffusion.mixtures import GaussianMixture
    >>> from paperworks.diffusion.schedules import LinearVP
    >>> mixture, schedule = GaussianMixture.ring(8), LinearVP()
    >>> trainer = FDistillTrainer(
    ...     mixture.model(schedule),
    ...     PointNetwork(schedule, 2),
    ...     PointNetwork(schedule, 2),
    ...     PointNetwork(schedule, 2, 1),
    ...     schedule,
    ...     shape=(2,),
    ...     divergence="js",
    ... )
    >>> trainer.train(2, mixture.sample)
    >>> trainer.steps, trainer.sample(5).shape
    (2, torch.Size([5, 2]))
    """

    def __init__(
        self,
        teacher: Network,
        generator: nn.Module,
        fake_score: Network,
        discriminator: Network | None,
        schedule: Schedule,
        *,
        shape: tuple[int, ...],
        divergence: str | Divergence | Callable[[Tensor], Tensor] | Weighting = "js",
        prediction: Prediction = "epsilon",
        generator_prediction: Prediction = "sample",
        start: float | None = None,
        batch: int = 256,
        lr: float = 1e-4,
        critic_lr: float | None = None,
        critic_updates: int = 5,
        weight_decay: float = 1e-2,
        gan_weight: float = 1e-3,
        r1_weight: float = 0.0,
        regression: tuple[Tensor, Tensor] | None = None,
        regression_weight: float = 0.25,
        ema: float = 0.999,
        scale: Literal["dmd", "exact"] = "dmd",
        spacing: str | None = None,
        time_range: tuple[float, float] = (0.02, 0.98),
        rng: torch.Generator | None = None,
    ):
        if batch < 1 or critic_updates < 1:
            raise ValueError(
                f"batch and critic_updates must be at least 1, got {batch} and {critic_updates}"
            )
        rate = lr if critic_lr is None else critic_lr
        for name, value in {
            "lr": lr, "critic_lr": rate, "weight_decay": weight_decay,
            "regression_weight": regression_weight,
        }.items():  # fmt: skip
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {value}")
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be from 0 to below 1, got {ema}")
        if regression is not None:
            sizes = [tuple(each.shape) for each in regression]
            if sizes[0] != sizes[1] or sizes[0][1:] != tuple(shape) or sizes[0][0] < 1:
                raise ValueError(
                    "regression must be noise and samples, both of the shape (count, "
                    f"{', '.join(map(str, shape))}), got {sizes[0]} and {sizes[1]}"
                )
            for values, has in zip(regression, ("noise has", "samples have"), strict=True):
                bad = not_finite(values)
                if bad:
                    raise ValueError(
                        f"regression must be finite, but its {has} {bad} values that are NaN or "
                        "infinite"
                    )
        if not trainable(generator):
            raise ValueError(f"the generator {FROZEN}")
        own = list(generator.parameters())
        for name, each in (("teacher", teacher), ("fake score", fake_score)):
            if isinstance(each, nn.Module) and {*map(id, own)} & {*map(id, each.parameters())}:
                raise ValueError(
                    f"the generator shares parameters with the {name}: give it a copy.deepcopy"
                )
        self.shape, self.batch, self.critic_updates = tuple(shape), batch, critic_updates
        self.regression, self.regression_weight = regression, regression_weight
        self.student = OneStep(generator, schedule, prediction=generator_prediction, start=start)
        self.ema = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(ema))
        self.like = own[0].detach().new_empty(0)
        self.rng = torch.Generator(self.like.device).manual_seed(0) if rng is None else rng
        self.noising = Noising(
            schedule, self.rng, self.like, spacing=spacing, time_range=time_range
        )
        # A copy: what a weighting remembers is of one training.
        self.weighting = (
            deepcopy(divergence) if isinstance(divergence, Weighting) else Weighting(divergence)
        )
        self.matching = Matching(
            teacher,
            fake_score,
            discriminator,
            self.noising,
            self.weighting,
            prediction=prediction,
            gan_weight=gan_weight,
            r1_weight=r1_weight,
            scale=scale,
        )
        critics = [p for each in self.matching.critics.values() for p in each.parameters()]
        adamw = partial(torch.optim.AdamW, weight_decay=weight_decay, fused=True)
        self.optimizers = {"optimizer": adamw(own, lr)}
        if critics:
            self.optimizers["critic optimizer"] = adamw(critics, rate)
        self.steps = 0
        """Updates of the generator so far."""
        self.settings = json.loads(json.dumps({
            **self.weighting.settings(), "schedule": schedule.digest(), "shape": shape,
            "prediction": prediction, "generator_prediction": generator_prediction,
            "start": self.student.start, "batch": batch, "lr": lr, "critic_lr": rate,
            "critic_updates": critic_updates, "weight_decay": weight_decay,
            "gan_weight": gan_weight, "r1_weight": r1_weight,
            "regression": None if regression is None else digest(*regression),
            "regression_weight": regression_weight, "ema": ema, "scale": scale,
            "spacing": spacing, "time_range": time_range,
        }))  # fmt: skip
        """What a checkpoint must agree with."""

    def train(
        self,
        steps: int,
        data: Data | None = None,
        *,
        checkpoint: str | Path | None = None,
        save_every: int = 500,
        progress: Callable[[int, int, dict[str, float]], None] | None = None,
    ) -> None:
        """Train until the generator has had so many updates in all.

        Parameters
        ----------
        steps : int
            Counted from the start of the training, so that one which was cut off goes on.
        data : (count, ...) Tensor or callable, optional
            What the discriminator is to tell from the student's samples: the training data of the
            teacher, samples of the teacher, or ``data(count, rng)`` that draws some. Only a
            discriminator that is trained needs it.
        checkpoint : path, optional
            Where the state is kept; if there is one, training goes on from it, to the last bit as
            if it had not stopped. Its settings must be these, and it must not lie behind this
            trainer.
        save_every : int
            Steps between saves, at least 1.
        progress : callable, optional
            ``progress(step, steps, figures)`` after every step; see :meth:`step`.

        Raises
        ------
        ValueError
            As in the class and in :meth:`load`; or if there is no data where it is needed.
        """
        if save_every < 1:
            raise ValueError(f"save_every must be at least 1, got {save_every}")
        if checkpoint is not None and Path(checkpoint).exists():
            self._restore(checkpoint, back=False)
        while self.steps < steps:
            figures = self.step(data)
            if progress is not None:
                progress(self.steps, steps, figures)
            if checkpoint is not None and (self.steps % save_every == 0 or self.steps == steps):
                self.save(checkpoint)

    def step(self, data: Data | None = None) -> dict[str, float]:
        """One update of the generator, after ``critic_updates`` of fake score and discriminator.

        Returns
        -------
        dict
            The losses ("fake score", "discriminator", "gan", "regression"), "gap", the root mean
            square of what is left between the teacher's data prediction and the fake one, and
            "variance" of the weights over their squared mean.
        """
        self.matching.where = f"at step {self.steps + 1}"
        figures: dict[str, float] = {}
        if self.matching.critics:
            for _ in range(self.critic_updates):
                figures = self._update_critics(data)
        figures |= self._update_generator()
        self.ema.update_parameters(self.student)
        self.steps += 1
        return figures

    @torch.no_grad()
    def sample(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """(count, ...) samples in one evaluation, by the averaged weights.

        ``rng`` defaults to the trainer's own, which moves on. :attr:`one_step` is the generator by
        itself.
        """
        return self.one_step(self.noising.noise((count, *self.shape), rng))

    @property
    def one_step(self) -> OneStep:
        """The generator with the averaged weights: a module from standard normal noise to data."""
        return self.ema.module  # type: ignore[return-value]

    def save(self, path: str | Path) -> None:
        """Write all that training needs to go on; a file is there whole or not at all."""
        save_checkpoint(path, self._state())

    def load(self, path: str | Path) -> None:
        """Go back to what :meth:`save` wrote.

        Raises
        ------
        ValueError
            If it is damaged, or was written under other settings or by other networks.
        """
        self._restore(path, back=True)

    def _restore(self, path: str | Path, *, back: bool) -> None:
        state = load_checkpoint(path, _FORMAT)
        check_settings(path, state["settings"], self.settings)
        if state["steps"] < self.steps and not back:
            raise ValueError(
                f"{path} is of step {state['steps']}, but this trainer has gone {self.steps}: "
                "load(checkpoint) goes back to it, save(checkpoint) takes its place"
            )
        try:
            for key, each in self._parts().items():
                each.load_state_dict(state[key])
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{path} is of a training of other networks: {error}") from error
        self.rng.set_state(state["rng"].cpu())
        self.weighting.log_means = state["log_means"].to(self.like.device)
        self.steps = state["steps"]

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.student,
            "ema": self.ema,
            **self.matching.critics,
            **self.optimizers,
        }

    def _state(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "steps": self.steps,
            "settings": self.settings,
            "rng": self.rng.get_state(),
            "log_means": self.weighting.log_means,
            **{key: each.state_dict() for key, each in self._parts().items()},
        }

    def _update_critics(self, data: Data | None) -> dict[str, float]:
        with torch.no_grad():
            x0 = self._generate()
        real = self._draw(data) if "discriminator" in self.matching.critics else None
        losses = self.matching.critic_losses(x0, real)
        optimizer = self.optimizers["critic optimizer"]
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _update_generator(self) -> dict[str, float]:
        x0 = self._generate()
        gradient, figures = self.matching.gradient(x0)
        optimizer = self.optimizers["optimizer"]
        optimizer.zero_grad()
        x0.backward(gradient)
        if self.regression is not None:
            which = self.noising.indices(len(self.regression[0]), self.batch)
            noise, samples = (each[which.to(each.device)].to(self.like) for each in self.regression)
            loss = mse_loss(self.student(noise), samples)
            (self.regression_weight * loss).backward()
            figures["regression"] = float(loss.detach())
        optimizer.step()
        return figures

    def _generate(self) -> Tensor:
        x0 = self.student(self.noising.noise((self.batch, *self.shape)))
        self.matching.check(x0, "generator", (self.batch, *self.shape))
        return x0

    def _draw(self, data: Data | None) -> Tensor:
        if data is None:
            raise ValueError("a discriminator is trained on data: give train(steps, data)")
        if isinstance(data, Tensor):
            if len(data) == 0:
                raise ValueError("data is empty: a discriminator needs a sample or more")
            found = data[self.noising.indices(len(data), self.batch).to(data.device)]
        else:
            found = data(self.batch, self.rng)
        if found.shape[1:] != self.shape:
            raise ValueError(f"samples of data must be {self.shape}, got {tuple(found.shape[1:])}")
        bad = not_finite(found)
        if bad:
            raise ValueError(
                f"data has {bad} values that are NaN or infinite {self.matching.where}"
            )
        return found.to(self.like)
