"""``paperworks report``: what the store knows, as a page."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paperworks.catalog import UnknownPaperError
from paperworks.cli.check import Family, Papers, StorePath, TierName, select
from paperworks.cli.common import user_errors, write_report


class FormatName(StrEnum):
    """The report's formats, for the command line."""

    HTML = "html"
    MD = "md"
    JSON = "json"


def report(
    papers: Papers = None,
    family: Family = None,
    tier: Annotated[TierName | None, typer.Option(help="Only this tier.")] = None,
    format: Annotated[FormatName, typer.Option("--format", "-f")] = FormatName.HTML,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file to write; - for standard output.",
            show_default="report.html; md and json go to standard output",
        ),
    ] = None,
    store: StorePath = None,
) -> None:
    """Show the verdicts that today's code has in the store; nothing is run.

    Without arguments the report covers every claim, also those that have not run yet.
    """
    from paperworks.experiment.store import Store, StoreError
    from paperworks.report import collect, render

    with user_errors(UnknownPaperError, ValueError, StoreError):
        claims = select(papers or [], every=not papers and family is None, family=family)
        with Store(store) as kept:
            text = render(collect(claims, kept, tier=tier), format)
    if out is None and format is FormatName.HTML:
        out = Path("report.html")
    if out is None or str(out) == "-":
        typer.echo(text, nl=not text.endswith("\n"))
        return
    write_report(out, text)
