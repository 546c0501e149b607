"""``paperworks scaling difficulty``: how hard a person's own task is to generalize on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, say, user_errors

if TYPE_CHECKING:
    from paperworks.scaling import ClassificationTask, Complexity, MetaLearningTask


def difficulty(
    data: Annotated[
        str,
        typer.Argument(
            help="A .npz file with X and y (or x_train and y_train), or a data set's name."
        ),
    ],
    target_error: Annotated[
        float, typer.Option(help="Error to reach on new inputs, as a share.")
    ] = 0.01,
    ways: Annotated[
        int | None,
        typer.Option(help="Few-shot task with this many classes an episode; needs groups, too."),
    ] = None,
    k: Annotated[int, typer.Option(help="Neighbours per point for the dimension.")] = 5,
    queries: Annotated[
        int, typer.Option(help="Points whose neighbours are taken; 0 for all.")
    ] = 10_000,
    class_distance: Annotated[
        str,
        typer.Option(help="auto, exact (every pair), evt (extreme value theory), or a number."),
    ] = "auto",
    center: Annotated[
        bool, typer.Option("--center", help="Radius from the mean instead of from zero.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    json: Json = False,
) -> None:
    """Bits of inductive bias that a classification task asks for, beside the paper's tasks.

    DATA holds the training set: X with one input a row (images are flattened) and y with the
    classes. With --ways it also holds "groups", the group of classes (an alphabet, say) of each.
    Nothing is trained.
    """
    with user_errors(ValueError, OSError):
        arrays = _load(data)
        distance = _distance(class_distance)
        name = Path(data).stem if data.endswith(".npz") else data
        task = _measure(arrays, name, ways, k, queries or None, distance, center, seed)
        found = task.complexity(target_error)
    if json:
        print_json(_as_json(task, found, target_error))
    else:
        _show(task, found, target_error)
    for warning in task.warnings:
        if not json:
            errors.print(f"[yellow]{warning}[/]", soft_wrap=True, highlight=False)


def _load(data: str) -> dict[str, Any]:
    import numpy as np

    if data.endswith(".npz"):
        with np.load(data, allow_pickle=False) as file:
            names = {"X": ("X", "x", "x_train"), "y": ("y", "y_train"), "groups": ("groups",)}
            found = {
                ours: file[theirs]
                for ours, candidates in names.items()
                for theirs in candidates[::-1]
                if theirs in file
            }
            missing = [name for name in ("X", "y") if name not in found]
            if missing:
                held = ", ".join(file.files) or "nothing"
                raise ValueError(
                    f"{data} has no array {' and none '.join(missing)}; it holds {held}"
                )
        return found
    from paperworks.data import load
    from paperworks.data.kinds import Images
    from paperworks.data.registry import find_dataset

    if Path(data).exists():
        raise ValueError(f"{data} is no .npz file; save one with numpy.savez(path, X=X, y=y)")
    if find_dataset(data).kind != "images":  # before anything is downloaded
        raise ValueError(f"{data} holds no classes of inputs; sets of images and signals do")
    loaded = load(data)
    assert isinstance(loaded, Images)
    return {"X": loaded.x_train, "y": loaded.y_train}


def _distance(text: str) -> Any:
    if text in ("auto", "evt", "exact"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--class-distance must be auto, exact, evt or a number, got {text!r}"
        ) from None


def _measure(
    arrays: dict[str, Any],
    name: str,
    ways: int | None,
    k: int,
    queries: int | None,
    distance: Any,
    center: bool,
    seed: int,
) -> ClassificationTask | MetaLearningTask:
    from paperworks.scaling import ClassificationTask, MetaLearningTask

    options: dict[str, Any] = {
        "k": k, "queries": queries, "class_distance": distance, "name": name, "rng": seed,
    }  # fmt: skip
    if ways is None:
        return ClassificationTask.from_data(arrays["X"], arrays["y"], center=center, **options)
    if "groups" not in arrays:
        raise ValueError("--ways needs an array 'groups' in the file: the group of each input")
    if center:
        raise ValueError("--center goes with a classification task, not with --ways")
    return MetaLearningTask.from_data(
        arrays["X"], arrays["y"], arrays["groups"], ways=ways, **options
    )


def _numbers(task: ClassificationTask | MetaLearningTask) -> dict[str, Any]:
    from paperworks.scaling import ClassificationTask

    if isinstance(task, ClassificationTask):
        dimension, distance = task.measured_dimension, task.measured_distance
        assert dimension is not None  # measured just now
        return {
            "dimension": task.dimension,
            "dimension_low": dimension.low,
            "dimension_high": dimension.high,
            "dimension_by_k": {str(k): value for k, value in dimension.by_k.items()},
            "radius": task.radius,
            "class_distance": task.class_distance,
            "class_distance_low": task.class_distance if distance is None else distance.low,
            "class_distance_high": task.class_distance if distance is None else distance.high,
            "class_distance_method": "given" if distance is None else distance.method,
            "samples": task.samples,
            "classes": task.classes,
        }
    return {
        "dimension_within_groups": task.class_dimension,
        "dimension_over_groups": task.group_dimension,
        "radius": task.radius,
        "class_distance": task.class_distance,
        "episodes": task.samples,
        "ways": task.ways,
    }


def _as_json(
    task: ClassificationTask | MetaLearningTask, found: Complexity, target_error: float
) -> dict[str, Any]:
    from paperworks.scaling import published_tasks

    return {
        "task": task.name,
        "target_error": target_error,
        "log10_bits": found.log10_bits,
        "log10_low": found.log10_low,
        "log10_high": found.log10_high,
        "answered_by": found.answered_by,
        "bits_each": found.bits_each,
        "log10_free": found.log10_free,
        **_numbers(task),
        "warnings": list(task.warnings),
        "published_log10_bits": {
            name: published.complexity().log10_bits for name, published in published_tasks().items()
        },
    }


def _show(
    task: ClassificationTask | MetaLearningTask, found: Complexity, target_error: float
) -> None:
    from rich.table import Table

    from paperworks.scaling import published_tasks

    numbers = _numbers(task)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in numbers.items():
        if name.endswith(("_low", "_high", "_method", "_by_k")):
            continue
        text = f"{value:,}" if isinstance(value, int) and value < 10**9 else f"{value:.4g}"
        if name == "dimension":
            text += f"  ({numbers['dimension_low']:.4g} to {numbers['dimension_high']:.4g})"
        if name == "class_distance" and "class_distance_method" in numbers:
            method = numbers["class_distance_method"]
            if method == "evt":
                low, high = numbers["class_distance_low"], numbers["class_distance_high"]
                text += f"  ({low:.4g} to {high:.4g}, extrapolated)"
            else:
                text += f"  ({method})"
        table.add_row(name.replace("_", " "), text)
    console.print(table, highlight=False)
    reason = {
        "": "",
        "data": ": the data fix every coefficient of a hypothesis at this detail",
        "target": ": any hypothesis that fits the data meets this error",
    }[found.answered_by]
    say(f"[bold]{task.name}: {found}[/] at an error of {target_error:g}{reason}")
    rows = [
        (p.complexity().log10_bits, n, str(p.complexity())) for n, p in published_tasks().items()
    ]
    rows.append((found.log10_bits, f"{task.name} (this)", str(found).split(" (")[0]))
    table = Table("task", "bits", box=None, header_style="bold", pad_edge=False)
    for _, name, text in sorted(rows):
        table.add_row(f"[bold]{name}[/]" if name.endswith("(this)") else name, text)
    console.print(table, highlight=False)
    console.print("[dim]others: the paper's tasks by its authors' numbers and errors[/]")
