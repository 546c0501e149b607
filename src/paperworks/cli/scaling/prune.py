"""``paperworks scaling prune``: which examples of a person's own data set to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paperworks.cli.common import Json, console, print_json, say, user_errors

FROM_FILES = ("prototypes", "supervised-prototypes", "random", "scores")


def prune(
    data: Annotated[
        Path,
        typer.Argument(help="Embeddings (n, d) as .npy, or scores (n,) with --metric scores."),
    ],
    keep: Annotated[
        str, typer.Option(help="What to keep: a share such as 0.7, or a number such as 50000.")
    ],
    out: Annotated[Path, typer.Option(help="Write the kept indices here, as .npy of int64.")],
    metric: Annotated[str, typer.Option(help=f"One of {', '.join(FROM_FILES)}.")] = "prototypes",
    labels: Annotated[
        Path | None, typer.Option(help="Labels (n,) as .npy: to balance classes, or as metric.")
    ] = None,
    order: Annotated[
        str, typer.Option(help="hard: keep the highest scores; easy: the lowest.")
    ] = "hard",
    balance: Annotated[
        float, typer.Option(help="With labels: least part of its equal share a class keeps.")
    ] = 0.5,
    clusters: Annotated[
        int | None, typer.Option(help="Number of prototypes. Default: the square root of n.")
    ] = None,
    scores_out: Annotated[
        Path | None, typer.Option(help="Write the scores of all examples here, as .npy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the clustering and of ties.")] = 0,
    json: Json = False,
) -> None:
    """Keep the training examples that are worth keeping.

    DATA holds one row per example: embeddings of any model, best a self-supervised one. Examples
    far from their cluster's centre count as hard. Keeping the hard ones can pay with much data;
    with little, theory keeps the easy ones (--order easy). Hold either against --metric random.

    Scores of your own, higher for harder, are ranked with --metric scores.
    """
    import numpy as np

    from paperworks.scaling import prune_dataset
    from paperworks.writing import write_bytes

    with user_errors(ValueError, OSError):
        if metric not in FROM_FILES:
            raise ValueError(
                f"--metric must be one of {', '.join(FROM_FILES)}, got {metric!r}; metrics that "
                "train models are in Python: paperworks.scaling.prune_dataset"
            )
        if clusters is not None and metric != "prototypes":
            raise ValueError(f"--clusters is of --metric prototypes, got it with {metric!r}")
        values = _load(data)
        y = None if labels is None else _load(labels)
        options: dict[str, Any] = {} if clusters is None else {"clusters": clusters}
        what: dict[str, Any] = (
            {"scores": values} if metric == "scores" else {"data": values, "metric": metric}
        )
        result = prune_dataset(
            y=y, keep=_amount(keep), order=order, balance=balance, rng=seed, **what, **options
        )
        write_bytes(out, _npy(result.kept))
        if scores_out is not None:
            write_bytes(scores_out, _npy(result.scores))

    n = int(result.scores.size)
    quantiles = [float(v) for v in np.quantile(result.scores, [0, 0.25, 0.5, 0.75, 1])]
    if json:
        classes = [
            {"label": label, "before": before, "after": after}
            for label, (before, after) in result.classes.items()
        ]
        print_json(
            {
                "examples": n,
                "kept": int(result.kept.size),
                "metric": result.metric,
                "order": result.order,
                "balance": result.balance if y is not None else None,
                "score_quartiles": quantiles,
                "classes": classes,
                "out": str(out),
            }
        )
        return
    say(f"kept {result.kept.size:,} of {n:,} examples, the {result.order} ones by {result.metric}")
    say("scores: " + ", ".join(f"{value:.4g}" for value in quantiles) + " (quartiles)")
    if result.classes:
        _show_classes(result.classes)
    say(f"written: {out}")


def _show_classes(classes: dict[object, tuple[int, int]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = sorted(classes.items(), key=lambda item: item[1][1] / item[1][0])
    if len(shown) > 20:
        say(f"the 20 most pruned of {len(shown):,} classes:")
    table = Table("class", "before", "kept", "share")
    for label, (before, after) in shown[:20]:
        table.add_row(escape(str(label)), f"{before:,}", f"{after:,}", f"{after / before:.1%}")
    console.print(table)


def _amount(text: str) -> float | int:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise ValueError(f"--keep must be a share or a whole number, got {text!r}") from None


def _load(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of plain numbers or strings: {error}") from error


def _npy(values: Any) -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
