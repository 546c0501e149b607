"""The command line: it parses, calls the library and prints."""

from __future__ import annotations

from typing import Annotated

import typer

import paperworks
from paperworks.cli import (
    catalog,
    check,
    compress,
    data,
    diffusion,
    graph,
    holdout,
    pac_code,
    passk,
    report,
    scaling,
)

app = typer.Typer(
    name="paperworks",
    help="Published machine-learning methods as working parts, and their claims as experiments.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

PAPERS, CLAIMS, TOOLS = "The papers", "Their claims", "Tools for your own files"

app.command("list", rich_help_panel=PAPERS)(catalog.list_papers)
app.command("search", rich_help_panel=PAPERS)(catalog.search)
app.command("show", rich_help_panel=PAPERS)(catalog.show)
app.command("check", rich_help_panel=CLAIMS)(check.check)
app.command("report", rich_help_panel=CLAIMS)(report.report)
app.add_typer(data.app, name="data", rich_help_panel=CLAIMS)
app.command("compress", rich_help_panel=TOOLS)(compress.compress)
app.command("eval", rich_help_panel=TOOLS)(compress.evaluate)
app.add_typer(diffusion.app, name="diffusion", rich_help_panel=TOOLS)
app.add_typer(graph.app, name="graph", rich_help_panel=TOOLS)
app.add_typer(holdout.app, name="holdout", rich_help_panel=TOOLS)
app.add_typer(pac_code.app, name="pac-code", rich_help_panel=TOOLS)
app.command("passk", rich_help_panel=TOOLS)(passk.passk)
app.add_typer(scaling.app, name="scaling", rich_help_panel=TOOLS)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"paperworks {paperworks.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the ``paperworks`` command."""
    app()
