"""Draw the pictures of samples in the documentation, and print the guide's table of quality.

``python tools/diffusion_figures.py``: some ten minutes on one core once MNIST's network is there;
it is trained first where it is not. Needs MNIST (``paperworks data fetch mnist``).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from matplotlib.figure import Figure

from paperworks.claims.deis import run
from paperworks.diffusion.frechet import Features, frechet_distance
from paperworks.diffusion.images import grid, load_images, save_grid
from paperworks.diffusion.integrators import SOLVERS
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.trained import TrainedModel
from paperworks.diffusion.training import trained

DOCS = Path(__file__).parent.parent / "docs"
INK = "#808080"  # a grey that can be read on light and dark
ROWS = ("DDIM", "DPM-Solver++ 2M", "DEIS 3 of diffusers", "tAB-DEIS 3")
COUNT = {"digits": 1000, "mnist": 500}
TABLE = ("ddim", "tab1", "tab3", "ipndm", "rho-heun")
BUDGETS = (6, 10, 20)


def samples_figure(model: TrainedModel, evaluations: int = 10, count: int = 12) -> Figure:
    """Each solver's images of the same noise, above those of the network's own flow."""
    x = model.noise(count, torch.Generator().manual_seed(0))
    exact = sample(model, model.schedule, x, solver="rho-rk4", steps=128, spacing="logrho").x
    rows = {name: run(name, model, model.schedule, x, evaluations).float() for name in ROWS}
    rows["the network's flow"] = exact
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (name, images) in zip(figure.subplots(len(rows), 1), rows.items(), strict=True):
        axes.imshow(grid(images, columns=count, scale=2), cmap="gray", vmin=0, vmax=255)
        away = float((images - exact).abs().mean())
        text = name if images is exact else f"{name}\n{away:.3f} away"
        axes.set_ylabel(text, rotation=0, ha="right", va="center", color=INK, fontsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def quality(name: str, model: TrainedModel) -> str:
    """A table in Markdown: the Fréchet distance by solver and evaluations, and of real images."""
    features, count = Features.load(name), COUNT[name]
    real = features(load_images(name).images)
    test = features(load_images(name, part="test").images[:count])
    lines = [f"{name}, {count} images: {len(test)} real ones {frechet_distance(test, real):.2f}"]
    for solver in TABLE:
        stages = SOLVERS[solver].stages
        found = [
            model.sample(
                count, torch.Generator().manual_seed(0), solver=solver, steps=budget // stages
            )
            for budget in BUDGETS
        ]
        cells = [f"{frechet_distance(features(images), real):.2f}" for images in found]
        lines.append(f"| `{solver}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    for name in ("digits", "mnist"):
        model = trained(name)
        images = model.sample(64, torch.Generator().manual_seed(0))
        save_grid(images, DOCS / "guides" / f"diffusion-{name}.png", columns=16)
        if name == "digits":
            target = DOCS / "papers" / "deis-samples.png"
            samples_figure(model).savefig(target, dpi=120, transparent=True)
        print(quality(name, model), flush=True)
