"""Bars on standard error, and what long work of the diffusion commands has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from paperworks.cli.common import errors

Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Any]:
    """A bar on standard error; ``bar(done, note)`` moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Bar(*columns, console=errors) as bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


@contextmanager
def says_how_to_go_on(folder: Path) -> Iterator[None]:
    """On Ctrl-C, that the work so far is kept."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print(
            f"interrupted; the same command goes on from what is kept in {folder}",
            soft_wrap=True,
        )
        raise
