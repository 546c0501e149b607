"""A trained network with its noise schedule: the second test bed, where nothing is known exactly.

A folder holds it as diffusers does, so that ``DDPMPipeline.from_pretrained(folder)`` takes it, and
so that a pipeline's folder from elsewhere is taken here::

    model_index.json
    scheduler/scheduler_config.json           the betas, and what the network predicts
    unet/config.json                          a diffusers.UNet2DModel
    unet/diffusion_pytorch_model.safetensors
    training.json                             ours alone: the data, and how it was trained

The network of scikit-learn's digits ships with the package: ``TrainedModel.load("digits")``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

import paperworks.data
from paperworks.data.files import cache_dir, check
from paperworks.data.models import require
from paperworks.data.registry import File
from paperworks.diffusion.predictions import Prediction
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.solver import Solver
from paperworks.writing import read_json, write_bytes, write_json

UNET, WEIGHTS = "unet", "diffusion_pytorch_model.safetensors"
TRAINING = "training.json"
_SHIPPED = Path(paperworks.data.__file__).parent / "weights" / "diffusion"
SHIPPED = {
    "digits": (
        File(
            f"{UNET}/{WEIGHTS}",
            339154,
            "b1349b513e66d0222e770c9a734a0501d619b0acc8ece057bd38ef23309f7420",
        ),
        File(
            "features/model.safetensors",
            83676,
            "bc7293b35d9a45bbd5e17faa14d6afc5bfc2769839f874ee4e3641c85551304f",
        ),
    )
}
"""The weights that ship, by data set; to name them here ties the claims' fingerprint to them."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network that predicts noise, callable as ``model(x, t)``.

    Attributes
    ----------
    network : diffusers.UNet2DModel
        In evaluation mode; its weights ask for no gradients.
    schedule : DiscreteVP
        The noise that it was trained with.
    prediction : str
        What it predicts, as :func:`paperworks.diffusion.sampling.sample` takes it.
    training : mapping
        How it was trained (``data``, ``step``, ``settings``), for models of this package.

    Examples
    --------
    >>> model = TrainedModel.load("digits")
    >>> model.shape
    (1, 8, 8)
    >>> model.sample(4, torch.Generator().manual_seed(0), steps=5).shape
    torch.Size([4, 1, 8, 8])
    """

    network: Any
    schedule: DiscreteVP
    prediction: Prediction = "epsilon"
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a sample: (channels, height, width)."""
        config, size = self.network.config, self.network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return config.in_channels, height, width

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    def to(self, *args: Any, **kwargs: Any) -> TrainedModel:
        """Move the network, as ``torch.nn.Module.to`` does, in place; returns this model."""
        self.network.to(*args, **kwargs)
        return self

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """What the network predicts of noisy samples.

        Parameters
        ----------
        x : (batch, channels, height, width) float
            The network sees it in its own dtype.
        t : float, or (batch,) float
            The schedule's time; it need not be a whole step.

        Returns
        -------
        (batch, channels, height, width) float
            Of the dtype of ``x``. Gradients flow where they are on.
        """
        # A number would be cut down to a whole step by diffusers; a tensor is not.
        times = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        return self.network(x.to(self.network.dtype), times, return_dict=False)[0].to(x.dtype)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, channels, height, width) float32 of what a sampler starts from."""
        x = torch.randn(count, *self.shape, generator=generator, device=generator.device)
        return x.mul_(float(self.schedule.sigma(self.schedule.t_max))).to(self.device)

    def sample(
        self,
        count: int,
        generator: torch.Generator,
        *,
        solver: Solver | str = "tab3",
        steps: int = 10,
        spacing: str = "quadratic",
        times: ArrayLike | None = None,
        batch: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Images, from noise of the generator.

        Parameters
        ----------
        count : int
        generator : torch.Generator
            All noise is drawn at once, so that the batch changes no more than rounding.
        solver, steps, spacing, times
            See :func:`paperworks.diffusion.sampling.sample`.
        batch : int
            How many are made at once.
        progress : callable, optional
            ``progress(done, count)`` after each batch.

        Returns
        -------
        (count, channels, height, width) float32
            Clipped to -1 and 1.

        Raises
        ------
        ValueError
            For less than one image, and as ``sample`` does.
        """
        if count < 1 or batch < 1:
            raise ValueError(f"count and batch must be at least 1, got {count} and {batch}")
        made: list[Tensor] = []
        for x in self.noise(count, generator).split(batch):
            found = sample(
                self, self.schedule, x,
                solver=solver, steps=steps, spacing=spacing, times=times,
                prediction=self.prediction,
            )  # fmt: skip
            made.append(found.x.clamp(-1, 1))
            if progress is not None:
                progress(sum(map(len, made)), count)
        return torch.cat(made)

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> TrainedModel:
        """Read a model on the CPU, in float32.

        Parameters
        ----------
        source : str or path
            ``"digits"``, which ships; the name of another data set, whose model
            ``paperworks diffusion train --data NAME`` has put into the cache; or a folder: of that
            command, or of a ``DDPMPipeline`` of diffusers.

        Raises
        ------
        ImportError
            Without diffusers: ``pip install 'paperworks[diffusion]'``.
        ValueError
            Where there is no model, or it is damaged; the file is named. And for a model whose
            noise is not that of betas.
        """
        require("diffusion", "diffusers", "safetensors")
        from diffusers import UNet2DModel
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from paperworks.diffusion.scheduler import schedule_of

        folder = folder_of(source)
        weights = folder / UNET / WEIGHTS
        if not weights.is_file():
            raise ValueError(_missing(str(source), folder))
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        training = read_json(folder / TRAINING) if (folder / TRAINING).is_file() else {}
        with torch.device("meta"):  # no random weights: the global generator stays as it is
            network = UNet2DModel.from_config(read_json(folder / UNET / "config.json"))
        try:
            tensors = {name: each.float() for name, each in load_file(weights).items()}
            network.load_state_dict(tensors, assign=True)
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{weights} does not fit its config.json: {error}") from error
        return cls(
            network.eval().requires_grad_(False),
            schedule_of(scheduler),
            scheduler.get("prediction_type", "epsilon"),
            training,
        )

    def save(self, folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> None:
        """Write the model so that :meth:`load`, and diffusers, read it.

        Each file is written whole or not at all.

        Parameters
        ----------
        folder : path
            Made where it is not there.
        dtype : torch.dtype
            Of the weights in the file; float16 takes half the space.
        """
        import diffusers
        from safetensors.torch import save

        folder = Path(folder)
        config = {k: v for k, v in self.network.config.items() if not k.startswith("_")}
        about = {"_class_name": "UNet2DModel", "_diffusers_version": diffusers.__version__}
        write_json(folder / UNET / "config.json", about | config)
        write_json(
            folder / "scheduler" / "scheduler_config.json",
            {
                **about, "_class_name": "DDPMScheduler",
                "num_train_timesteps": len(self.schedule.betas),
                **_betas(self.schedule), "prediction_type": self.prediction,
            },
        )  # fmt: skip
        write_json(
            folder / "model_index.json",
            {
                **about, "_class_name": "DDPMPipeline",
                "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"],
            },
        )  # fmt: skip
        if self.training:
            write_json(folder / TRAINING, self.training)
        tensors = {
            name: each.detach().to("cpu", dtype).contiguous()
            for name, each in self.network.state_dict().items()
        }
        write_bytes(folder / UNET / WEIGHTS, save(tensors, metadata={"format": "pt"}))


def folder_of(source: str | os.PathLike[str]) -> Path:
    """Where the model of a data set is, or would be; or the folder itself.

    Raises
    ------
    paperworks.data.CorruptDataError
        Where weights that ship are not what they were.
    """
    name = str(source)
    if name not in paperworks.data.names():
        return Path(source)
    if name not in SHIPPED:
        return cache_dir() / "diffusion" / name
    for file in SHIPPED[name]:
        check(_SHIPPED / name / file.name, file, "It ships with paperworks: install it again.")
    return _SHIPPED / name


def _betas(schedule: DiscreteVP) -> dict[str, Any]:
    """As diffusers writes them: by their ends where they are linear, else one by one."""
    betas = schedule.betas
    start, end = float(betas[0]), float(betas[-1])
    if (DiscreteVP.linear(len(betas), start, end).betas == betas).all():
        return {"beta_schedule": "linear", "beta_start": start, "beta_end": end}
    return {"trained_betas": betas.tolist()}


def _missing(source: str, folder: Path) -> str:
    if source in paperworks.data.names():
        return (
            f"there is no model of {source} yet: run `paperworks diffusion train --data {source}`"
        )
    if (folder / "checkpoint.pt").is_file():
        return f"the training in {folder} has not come to a model yet: let it go on"
    return f"{folder} holds no model: {UNET}/{WEIGHTS} is not there"
