"""``paperworks diffusion search``: the solver schedule that is best for a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from paperworks.cli._progress import Device, progress_bar, says_how_to_go_on
from paperworks.cli.common import Json, console, errors, print_json, user_errors


def search(
    model: Annotated[
        str, typer.Argument(help="digits, another data set once trained, or a folder.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for found.json and all scores. There, a search goes on.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Evaluations of the network a sample.")] = 5,
    budget: Annotated[int, typer.Option(min=1, help="Schedules to evaluate in all.")] = 200,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=2, help="Images that each is scored by. Default: 32; by frechet 1000."
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="flow: distance from 100 steps from the same noise. frechet: from data."),
    ] = "flow",
    strategy: Annotated[str, typer.Option(help="s3, evolution or random.")] = "s3",
    seed: Annotated[int, typer.Option(help="Of the noise and of the search.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes that evaluate; -1 for all cores.")] = 1,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Search for the solver schedule that is best for a model at few evaluations (USF's S3).

    It begins with 32 solvers made by hand, so what is found is at least as good on the noise of the
    search. Judge it on another: paperworks diffusion sample MODEL --decisions OUT/found.json
    --quality. The Fréchet distance wants a thousand images and more; the flow a few dozen.
    """
    from paperworks.data import DataError
    from paperworks.diffusion.quality import objective
    from paperworks.diffusion.trained import TrainedModel
    from paperworks.diffusion.training import choose_device
    from paperworks.diffusion.usf import by_hand, search_schedule

    with user_errors(ValueError, RuntimeError, OSError, ImportError, DataError):
        network = TrainedModel.load(model).to(choose_device(device))
        began = time.perf_counter()
        with errors.status("making what it is scored by"):
            # A distance of Gaussians wants many more images than there are features, 64.
            count = n or (1000 if by == "frechet" else 32)
            error = objective(model, network, count, by, seed + 1000)
        with progress_bar("searching", budget) as bar, says_how_to_go_on(out):
            found = search_schedule(
                error,
                network.schedule,
                steps,
                budget=budget,
                strategy=strategy,
                seed=seed,
                jobs=jobs,
                folder=out,
                progress=lambda done, _, best, score: bar(done, f"best {score:.4g}"),
            )
    hand = by_hand(network.schedule, steps)
    scores = dict(found.history)
    name = min(hand, key=lambda each: scores.get(hand[each], float("inf")))
    report = {
        "model": model,
        "found": str(out / "found.json"),
        "steps": steps,
        "evaluated": found.evaluations,
        "n": count,
        "score": found.score,
        "by_hand": name,
        "by_hand_score": scores[hand[name]],
        "by": by,
        "seed": seed,
        "seconds": time.perf_counter() - began,
    }
    if json:
        print_json(report)
        return
    console.print(
        f"{found.evaluations} schedules of {steps} steps · best {found.score:.4g} · by hand "
        f"{report['by_hand_score']:.4g} ({name}) · {report['seconds']:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"now: paperworks diffusion sample {model} --decisions {report['found']} --out grid.png",
        highlight=False,
        soft_wrap=True,
    )
