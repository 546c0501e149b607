"""Train a small U-Net on images as DDPM does: Ho, Jain and Abbeel 2020, arXiv:2006.11239.

Algorithm 1 with the paper's linear betas and its simple loss (equation 14): at a random step of
1000 the network predicts the noise in a noisy image. The network is ``diffusers.UNet2DModel``, far
smaller than the paper's; the weights that are kept are an exponential moving average, as there. The
average is over few steps to begin with, so that a short training does not keep its random start.

All that a training is made of, the state of the random numbers too, is written to one file every
minute, whole or not at all, and on Ctrl-C. A training that was killed goes on from there and ends,
on a CPU with as many threads, in the same bits as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from paperworks.data.models import require
from paperworks.diffusion.checkpoints import (
    alone_in,
    check_settings,
    digest,
    interrupts_later,
    load_checkpoint,
    save_checkpoint,
)
from paperworks.diffusion.images import check_images, load_images
from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.trained import TrainedModel, folder_of

CHECKPOINT = "checkpoint.pt"
_FORMAT = "checkpoint of `paperworks diffusion train`, version 1"
_REPORT = 25  # steps between two reports, looks for NaN, and looks at the clock
_UNIT = 8  # channels come in multiples of it

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """What a network is and how it is trained.

    Parameters
    ----------
    channels : tuple of int
        Of each level of the U-Net, multiples of 8; every level halves the image.
    layers : int
        Residual blocks of each level on the way down; one more on the way up.
    steps : int
        Of the optimiser.
    batch : int
        Images a step, drawn with repeats.
    lr : float
        Of AdamW, after the warm-up. It does not fall: the average does the settling, and a
        training may go on.
    warmup : int
        Steps in which it rises from 0.
    ema : float
        The decay of the average of the weights, once that is old enough.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    layers: int = 1
    steps: int = 20_000
    batch: int = 128
    lr: float = 5e-4
    warmup: int = 200
    ema: float = 0.999

    def __post_init__(self) -> None:
        if not self.channels or any(c < _UNIT or c % _UNIT for c in self.channels):
            raise ValueError(f"channels must be multiples of {_UNIT}, got {self.channels}")
        for name in ("layers", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lr > 0 or self.warmup < 0 or not 0 <= self.ema < 1:
            raise ValueError(
                "lr must be > 0, warmup >= 0 and ema from 0 to below 1; got "
                f"{self.lr}, {self.warmup} and {self.ema}"
            )
        object.__setattr__(self, "channels", tuple(self.channels))


RECIPES = {
    "digits": Recipe((16, 32), steps=4000, batch=64, lr=2e-3, ema=0.998),
    "mnist": Recipe((16, 32, 64), steps=4000, batch=32, lr=1e-3, ema=0.998),
    "fashion-mnist": Recipe((16, 32, 64), steps=4000, batch=32, lr=1e-3, ema=0.998),
    "cifar10": Recipe((64, 128, 128), layers=2, steps=50_000, lr=3e-4, ema=0.9995),
}
"""By data set; small ones, for minutes on a CPU, but for CIFAR-10, which wants a GPU."""


@dataclass(frozen=True)
class Training:
    """What :func:`train` returns.

    Attributes
    ----------
    model : TrainedModel
        With the averaged weights, on the device of the training.
    steps : int
        All that it has gone, earlier calls included.
    loss : float
        The mean squared error of the last steps; NaN if none were left to do.
    seconds, images_per_second : float
        Of this call.
    """

    model: TrainedModel
    steps: int
    loss: float
    seconds: float
    images_per_second: float


def train(
    images: Tensor,
    folder: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    data: str = "",
    device: str | torch.device = "auto",
    save_every: float = 60.0,
    progress: Progress | None = None,
) -> Training:
    """Train a network, or go on training it.

    Parameters
    ----------
    images : (n, channels, height, width) float32
        From -1 to 1.
    folder : path
        Gets the model, as :class:`TrainedModel` reads it, and the checkpoint. A checkpoint that is
        there is gone on from; its settings must be these, but for the steps, which may be more.
    recipe : Recipe, optional
        By default for images of 28 to 64 pixels.
    seed : int
        Of the initial weights and of all that is drawn.
    data : str
        The name of the images, for ``training.json``.
    device : str or torch.device
        "auto" takes a GPU where there is one.
    save_every : float
        Seconds between two checkpoints, which come after whole reports.
    progress : callable, optional
        ``progress(step, steps, loss)`` every 25 steps, with the mean loss since the last report.

    Returns
    -------
    Training

    Raises
    ------
    ImportError
        Without diffusers: ``pip install 'paperworks[diffusion]'``.
    ValueError
        For images as :func:`paperworks.diffusion.images.check_images` refuses; a size that the
        levels cannot halve; a checkpoint that is damaged, of something else, or of other settings;
        fewer steps than it has gone.
    RuntimeError
        If the loss is no longer finite, or another process trains in the folder.
    KeyboardInterrupt
        On Ctrl-C: after the step that it came in, when that is kept.

    Notes
    -----
    Memory holds the images once, four copies of the weights, and the activations of a batch.

    Examples
    --------
    >>> import tempfile
    >>> images = torch.rand(8, 1, 8, 8) * 2 - 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained = train(images, folder, Recipe((8,), steps=2, batch=4))
    >>> trained.steps, trained.model.shape
    (2, (1, 8, 8))
    """
    require("diffusion", "diffusers", "safetensors")
    recipe = recipe or Recipe()
    settings = {
        **asdict(recipe), "channels": list(recipe.channels), "seed": seed,
        "shape": list(check_images(images).shape[1:]),
        "images": digest(images),
    }  # fmt: skip
    steps = settings.pop("steps")
    run, folder = _Run(settings, choose_device(device)), Path(folder)
    with alone_in(folder), interrupts_later() as interrupted:
        if (folder / CHECKPOINT).is_file():
            run.restore(folder / CHECKPOINT)
        if run.step > steps:
            raise ValueError(
                f"the training in {folder} has gone {run.step} steps, asked for {steps}: ask for "
                "more, or choose another folder"
            )
        begun, first, loss = time.perf_counter(), run.step, float("nan")
        saved, images = begun, images.to(run.device)
        while run.step < steps:
            loss = run.advance(images, min(steps, run.step + _REPORT), interrupted)
            if interrupted():
                break
            if time.perf_counter() - saved >= save_every and run.step < steps:
                run.save(folder / CHECKPOINT)
                run.model(data).save(folder)
                saved = time.perf_counter()
            if progress is not None:
                progress(run.step, steps, loss)
        seconds = time.perf_counter() - begun
        if run.step > first:
            run.save(folder / CHECKPOINT)
        model = run.model(data)
        model.save(folder)
    if interrupted():
        raise KeyboardInterrupt
    rate = (run.step - first) * recipe.batch / seconds if run.step > first else 0.0
    return Training(model, run.step, loss, seconds, rate)


def trained(
    name: str,
    *,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> TrainedModel:
    """The model of a data set by its recipe; trained first, and kept, where it is not there.

    Parameters
    ----------
    name : str
        One of ``RECIPES``. "digits" ships and takes no training, "mnist" takes about half an hour
        on a CPU.
    device, progress
        As for :func:`train`.

    Raises
    ------
    ValueError
        For another name, or where its folder in the cache holds another training.
    """
    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}; got {name!r}")
    folder = folder_of(name)
    if name != "digits":
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{name}.lock")):  # others wait for the one that trains
            images = load_images(name).images
            try:
                train(images, folder, RECIPES[name], data=name, device=device, progress=progress)
            except ValueError as error:
                raise ValueError(
                    f"{error}. {folder} is for the model of the recipe: move what is there away"
                ) from error
    return TrainedModel.load(name).to(choose_device(device))


def choose_device(device: str | torch.device) -> torch.device:
    """The device; of "auto" a GPU where there is one.

    Raises
    ------
    ValueError
        For CUDA where there is none.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device} is not there: torch sees no GPU; use cpu or auto")
    return chosen


def build_network(shape: Sequence[int], channels: Sequence[int], layers: int) -> Any:
    """A ``diffusers.UNet2DModel`` for images (channels, height, width), with attention between the
    way down and the way up.

    Raises
    ------
    ValueError
        If a side of the image cannot be halved between the levels.
    """
    from diffusers import UNet2DModel

    planes, height, width = shape
    levels = len(channels)
    if height % 2 ** (levels - 1) or width % 2 ** (levels - 1):
        raise ValueError(
            f"images of {width}x{height} cannot be halved {levels - 1} times between {levels} "
            "levels: give fewer channels, or another size"
        )
    return UNet2DModel(
        sample_size=height if height == width else (height, width),
        in_channels=planes,
        out_channels=planes,
        layers_per_block=layers,
        block_out_channels=tuple(channels),
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        # Of two channels or more: normalised alone, a channel would forget the time added to it.
        norm_num_groups=min(8, min(channels) // 2),
        attention_head_dim=_UNIT,
    )


class _Run:
    """All that changes while a network is trained."""

    def __init__(self, settings: dict[str, Any], device: torch.device):
        self.settings, self.device, self.step = settings, device, 0
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings["seed"])
            network = build_network(settings["shape"], settings["channels"], settings["layers"])
        self.network = network.to(device).train()
        self.average = AveragedModel(self.network, multi_avg_fn=self._averaged)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), settings["lr"], weight_decay=0.0, fused=True
        )
        # On the CPU whatever the device: the same numbers everywhere.
        self.generator = torch.Generator().manual_seed(settings["seed"])
        self.schedule = DiscreteVP.linear()
        steps = range(len(self.schedule.betas))
        self.alpha, self.sigma = (
            torch.from_numpy(part(steps)).float()[:, None, None, None].to(device)
            for part in (self.schedule.alpha, self.schedule.sigma)
        )

    def advance(self, images: Tensor, until: int, interrupted: Callable[[], bool]) -> float:
        """Go to a step, or one on if interrupted; the mean loss on the way. RuntimeError if that is
        not finite.
        """
        first, total = self.step, self._step(images)
        while self.step < until and not interrupted():
            total = total + self._step(images)
        loss = float(total) / (self.step - first)
        if not math.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss} at step {self.step}: try a smaller lr than "
                f"{self.settings['lr']} in another folder"
            )
        return loss

    def _step(self, images: Tensor) -> Tensor:
        """One step of the optimiser; the loss before it."""
        batch = self.settings["batch"]
        rows = torch.randint(len(images), (batch,), generator=self.generator).to(self.device)
        t = torch.randint(len(self.alpha), (batch,), generator=self.generator).to(self.device)
        noise = torch.randn(batch, *images.shape[1:], generator=self.generator).to(self.device)
        noisy = self.alpha[t] * images[rows] + self.sigma[t] * noise
        found = self.network(noisy, t, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(found, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        rising = min(1.0, (self.step + 1) / max(1, self.settings["warmup"]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings["lr"] * rising
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss.detach()

    def model(self, data: str) -> TrainedModel:
        """With the weights averaged so far."""
        network = self.average.module.eval().requires_grad_(False)
        about = {"data": data, "step": self.step, "settings": self.settings}
        return TrainedModel(network, self.schedule, "epsilon", about)

    def save(self, path: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "format": _FORMAT,
            "settings": self.settings,
            "step": self.step,
            "generator": self.generator.get_state(),
            **{name: each.state_dict() for name, each in self._parts().items()},
        }
        save_checkpoint(path, state)

    def restore(self, path: Path) -> None:
        """Go back to where a checkpoint was written; see :func:`train` for what is refused."""
        kept = load_checkpoint(path, _FORMAT)
        check_settings(path, kept["settings"], self.settings)
        for name, each in self._parts().items():
            each.load_state_dict(kept[name])
        self.generator.set_state(kept["generator"])
        self.step = kept["step"]

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}

    def _averaged(self, averaged: Any, current: Any, count: Any) -> None:
        decay = min(self.settings["ema"], (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(averaged, current, count)
