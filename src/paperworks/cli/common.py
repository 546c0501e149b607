"""What every command shares: where output goes, how errors read, the ``--json`` option."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from paperworks.writing import finite, whole, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 10  # bad lines
_PIPED_WIDTH = 160  # a table that goes into a file is not cut to a terminal's 80 columns

console = Console()
if not console.is_terminal:
    console = Console(width=_PIPED_WIDTH)
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on standard output, unwrapped and uncoloured.

    Numbers that JSON has no word for are null.
    """
    typer.echo(json.dumps(finite(value), indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print a line of plain words and numbers, uncut and uncoloured."""
    console.print(text, soft_wrap=True, highlight=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    errors.print(f"[bold yellow]warning:[/] {text}", soft_wrap=True, highlight=False)


def show_left_out(bad: Sequence[object]) -> None:
    """Name the first bad lines of a file on standard error, and count the rest."""
    for each in bad[:_SHOWN]:
        errors.print(f"[yellow]left out[/] {escape(str(each))}", soft_wrap=True, highlight=False)
    if len(bad) > _SHOWN:
        errors.print(f"[yellow]left out[/] {len(bad) - _SHOWN:,} more bad lines")


def number(value: Any) -> int | float | str:
    """A number for JSON; infinity, which JSON lacks, as a word."""
    as_float = float(value)
    if not math.isfinite(as_float):
        return "never"
    whole_number = as_float.is_integer() and abs(as_float) < 2**53
    return int(as_float) if whole_number else as_float


def count(value: float | str) -> str:
    """A number of things, for people; what :func:`number` made a word stays one."""
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "never"
    part_of_few = value < 10 and value != int(value)
    return f"{value:.3g}" if part_of_few or value >= 1e7 else f"{value:,.0f}"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all, in the format that the name ends in."""
    with whole(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix.removeprefix(".") or "png")


def write_report(path: Path, text: str) -> None:
    """Write a report whole or not at all, and say where it is."""
    write_bytes(path, text.encode())
    where = escape(str(path.resolve()))
    errors.print(f"report: [bold]{where}[/]", soft_wrap=True, highlight=False)


@contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn the given exceptions into one red line on standard error and exit status 2."""
    try:
        yield
    except kinds as error:
        errors.print("[bold red]error:[/]", escape(str(error)), soft_wrap=True, highlight=False)
        raise typer.Exit(2) from error
