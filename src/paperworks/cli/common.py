"""What every command shares: where output goes, how errors read, the ``--json`` option."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from paperworks.writing import write_bytes

_PIPED_WIDTH = 160  # a table that goes into a file is not cut to a terminal's 80 columns

console = Console()
if not console.is_terminal:
    console = Console(width=_PIPED_WIDTH)
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on standard output, unwrapped and uncoloured."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


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
