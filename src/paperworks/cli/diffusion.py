"""``paperworks diffusion``: train a small diffusion model of images, search for its best solver
schedule, and sample from it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from paperworks.cli._diffusion_search import search
from paperworks.cli._progress import Device, progress_bar, says_how_to_go_on
from paperworks.cli.common import Json, console, errors, print_json, user_errors

app = typer.Typer(
    help="Train a small diffusion model of images, search for its solver, and sample from it.",
    no_args_is_help=True,
)
app.command()(search)


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="digits, mnist, fashion-mnist, cifar10, or a folder of images.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write. Default: one in the cache, which is told at the end."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=4, help="Cut and resize a folder's images to this square.")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Of the U-Net's levels, multiples of 8, as 32,64,64.")
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Residual blocks of a level.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the optimiser, in all.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Step size of AdamW.")] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the moving average of the weights.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and all that is drawn.")] = 0,
    device: Device = "auto",
    save_every: Annotated[float, typer.Option(help="Seconds between two checkpoints.")] = 60.0,
    json: Json = False,
) -> None:
    """Train a U-Net to predict the noise in images (DDPM), and keep its averaged weights.

    What is not given is the data set's own recipe: minutes on a CPU, but for cifar10, which wants a
    GPU; sample finds that model by the data set's name. What is trained otherwise has a folder of
    its own. The same command goes on where an interrupted training stopped, in the same bits; with
    more steps it goes on with a finished one in that folder.
    """
    from dataclasses import replace

    from paperworks.data import DataError
    from paperworks.data.models import require
    from paperworks.diffusion.images import load_images
    from paperworks.diffusion.trained import folder_of
    from paperworks.diffusion.training import RECIPES, Recipe
    from paperworks.diffusion.training import train as run

    with user_errors(ValueError, RuntimeError, OSError, ImportError, DataError):
        require("diffusion", "diffusers", "safetensors")
        given = {"layers": layers, "steps": steps, "batch": batch, "lr": lr, "ema": ema}
        changes: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        if channels is not None:
            changes["channels"] = _numbers(channels)
        recipe = replace(RECIPES.get(data, Recipe()), **changes)
        folder = out or _home(data, by_recipe=recipe == RECIPES.get(data) and seed == 0)
        images = load_images(data, size=size)
        with progress_bar("training", recipe.steps) as bar, says_how_to_go_on(folder):
            trained = run(
                images.images,
                folder,
                recipe,
                seed=seed,
                data=images.name,
                device=device,
                save_every=save_every,
                progress=lambda step, _, loss: bar(step, f"loss {loss:.4f}"),
            )
            bar(trained.steps, "")  # also where there was nothing left to do
    shape = trained.model.shape
    report = {
        "folder": str(folder),
        "images": len(images.images),
        "shape": list(shape),
        "parameters": sum(p.numel() for p in trained.model.network.parameters()),
        "device": str(trained.model.device),
        "steps": trained.steps,
        "loss": trained.loss if trained.seconds and trained.loss == trained.loss else None,
        "seconds": trained.seconds,
        "images_per_second": trained.images_per_second,
    }
    if json:
        print_json(report)
        return
    loss = "" if report["loss"] is None else f" · loss {trained.loss:.4f}"
    console.print(
        f"{trained.steps:,} steps on {len(images.images):,} images of "
        f"{'x'.join(map(str, shape))}{loss} · {trained.images_per_second:,.0f} images a second "
        f"on {trained.model.device}",
        highlight=False,
        soft_wrap=True,
    )
    name = data if folder == folder_of(data) else folder
    console.print(f"written: {folder}", soft_wrap=True, highlight=False)
    console.print(f"now: paperworks diffusion sample {name} --out grid.png", soft_wrap=True)


@app.command("sample")
def draw(
    model: Annotated[
        str, typer.Argument(help="digits, another data set once trained, or a folder.")
    ],
    out: Annotated[Path, typer.Option(help="Picture to write, as grid.png.")],
    decisions: Annotated[
        Path | None,
        typer.Option(help="The found.json of a search, in place of solver, steps and spacing."),
    ] = None,
    solver: Annotated[
        str, typer.Option(help="ddim, tab0 to tab3, rhoab0 to 3, rho-heun, rho-rk4, ipndm, ...")
    ] = "tab3",
    steps: Annotated[int, typer.Option(min=1, help="Of the solver.")] = 10,
    spacing: Annotated[
        str, typer.Option(help="Of the times: quadratic, uniform, logrho, karras.")
    ] = "quadratic",
    n: Annotated[int, typer.Option("--n", min=1, help="Images to make.")] = 64,
    columns: Annotated[int | None, typer.Option(min=1, help="Of the grid.")] = None,
    shown: Annotated[int, typer.Option(min=1, help="Images in the grid, at most.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Images made at once.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also the Fréchet distance from the real images.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Sample images from a trained model and write them as one picture.

    --quality measures all --n images in the features of a small classifier trained on the same
    data. That is not Inception FID and not comparable with it; where Inception's weights are on
    this machine, FID is told too.
    """
    import torch

    from paperworks.data import DataError
    from paperworks.diffusion.images import check_picture, save_grid
    from paperworks.diffusion.integrators import solver_named
    from paperworks.diffusion.quality import measure
    from paperworks.diffusion.solver import Solver
    from paperworks.diffusion.trained import TrainedModel
    from paperworks.diffusion.training import choose_device
    from paperworks.diffusion.usf import Decisions, USFSolver

    with user_errors(ValueError, OSError, ImportError, DataError):
        check_picture(out)
        chosen: Solver
        if decisions is None:
            chosen, times = solver_named(solver), None
            chosen.check_steps(steps)
        else:
            chosen = USFSolver(Decisions.load(decisions))
            times, solver = chosen.decisions.times, str(decisions)
            steps = len(chosen.decisions)
        network = TrainedModel.load(model).to(choose_device(device))
        began = time.perf_counter()
        with progress_bar("sampling", n) as bar:
            images = network.sample(
                n,
                torch.Generator().manual_seed(seed),
                solver=chosen,
                steps=steps,
                spacing=spacing,
                times=times,
                batch=batch,
                progress=lambda done, _: bar(done, ""),
            ).cpu()
        seconds = time.perf_counter() - began
        out.parent.mkdir(parents=True, exist_ok=True)
        save_grid(images[:shown], out, columns=columns)
        report: dict[str, Any] = {
            "model": model,
            "out": str(out),
            "n": n,
            "solver": solver,
            "evaluations": steps * chosen.stages,
            "seed": seed,
            "seconds": seconds,
        }
        if quality:
            with errors.status("measuring"):
                report |= measure(model, network, images)
    if json:
        print_json(report)
        return
    console.print(
        f"{n} images · {solver}, {report['evaluations']} evaluations · {seconds:.1f} s",
        highlight=False,
    )
    if quality:
        _show_quality(report)
    console.print(f"written: {out}", soft_wrap=True, highlight=False)


def _show_quality(report: dict[str, Any]) -> None:
    if report["features"] is not None:
        text = f"Fréchet distance {report['frechet']:.3f} in the features of {report['features']}"
        if "real" in report:
            text += f" · {report['frechet_real']:.3f} for {report['real']} real test images"
        console.print(text, highlight=False, soft_wrap=True)
    if report["fid"] is None:
        console.print("not Inception FID, and not comparable with it", highlight=False)
    else:
        console.print(f"Inception FID {report['fid']:.2f}", highlight=False)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"channels must be numbers as 32,64,64; got {text!r}") from None


def _home(data: str, *, by_recipe: bool) -> Path:
    """Where the model of a data set is kept when no folder is given.

    That of the recipe is what the claims go by: no other training may come in its place.
    """
    from paperworks import data as sets
    from paperworks.data.files import cache_dir
    from paperworks.diffusion.trained import SHIPPED

    if data not in sets.names():
        raise ValueError("give --out for the model of a folder")
    own = not by_recipe and data not in SHIPPED  # what ships is not in the cache
    return cache_dir() / "diffusion" / (f"{data}-own" if own else data)
