"""The commands ``list``, ``search`` and ``show``: what the catalogue holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from paperworks import catalog
from paperworks.catalog import Paper
from paperworks.cli.common import Json, console, print_json, user_errors

_NOTE = {"ready": "", "method": " (no claim yet)", "planned": " (not there yet)"}
_STYLE = {"ready": "green", "method": "yellow", "planned": "dim"}


def list_papers(
    family: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="Only the papers of this family.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only ready, method or planned papers.")
    ] = None,
    json: Json = False,
) -> None:
    """List the papers and what there is of each."""
    with user_errors(ValueError):
        papers = catalog.select(family, status)
    if json:
        print_json([_record(paper) for paper in papers])
        return
    if papers:
        _print_table(papers)
    counts = Counter(paper.status for paper in papers)
    parts = [f"{counts[name]} {name}{note}" for name, note in _NOTE.items() if counts[name]]
    console.print(
        f"{len(papers)} paper{'s' * (len(papers) != 1)}"
        + (f": {', '.join(parts)}" if parts else "")
    )


def search(
    query: Annotated[
        list[str], typer.Argument(help="Words to look for, such as: outlier activations")
    ],
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many papers.")] = 10,
    json: Json = False,
) -> None:
    """Search the papers by words, best match first."""
    words = " ".join(query)
    with user_errors(ValueError):
        hits = catalog.search(words, limit)
    if json:
        print_json([_record(hit.paper) | {"score": round(hit.score, 3)} for hit in hits])
    elif hits:
        _print_table(hit.paper for hit in hits)
    else:
        console.print(f"no paper matches {words!r}; try other words", markup=False)


def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The paper's id, such as lion-k.")],
    json: Json = False,
) -> None:
    """Show what one paper is about, what it claims and how to use it."""
    with user_errors(catalog.UnknownPaperError):
        paper = catalog.get(id)
    if json:
        print_json(_record(paper))
        return
    status = paper.status
    rows = {
        "paper": f"{paper.url} ({paper.year})",
        "family": paper.family,
        "status": f"{status}{_NOTE[status]}",
        "tags": ", ".join(paper.tags),
        "summary": paper.summary,
        "claim": paper.claim,
        "use": "not there yet" if status == "planned" else "\n".join(_imports(paper)),
        "run": f"paperworks check {paper.id}" if status == "ready" else "no claim to check yet",
        "code": f"https://github.com/{paper.code} (the authors')" if paper.code else "",
    }
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows.items():
        if text:
            grid.add_row(label, Text(text, style=_STYLE[status] if label == "status" else ""))
    console.print(Text(paper.title, style="bold"))
    console.print(grid)


def _record(paper: Paper) -> dict[str, Any]:
    """A paper as JSON values."""
    return {
        "id": paper.id,
        "title": paper.title,
        "arxiv": paper.arxiv,
        "url": paper.url,
        "year": paper.year,
        "family": paper.family,
        "status": paper.status,
        "summary": paper.summary,
        "claim": paper.claim,
        "tags": list(paper.tags),
        "public": list(paper.public),
        "code": paper.code,
    }


def _print_table(papers: Iterable[Paper]) -> None:
    """One line per paper; only the title is cut where the line ends, so that ids can be copied."""
    header = ("paper", "family", "status", "title")
    rows = [(paper.id, paper.family, paper.status, paper.title) for paper in papers]
    taken = sum(max(map(len, column)) + 2 for column in list(zip(header, *rows, strict=True))[:3])
    table = Table(*header, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for id, family, status, title in rows:
        cut = Text(title)
        cut.truncate(max(console.width - taken, 20), overflow="ellipsis")
        table.add_row(id, family, Text(status, _STYLE[status]), cut)
    console.print(table)


def _imports(paper: Paper) -> list[str]:
    """The import lines of a paper's public names, one per package."""
    names: dict[str, list[str]] = {}
    for full in paper.public:
        package, _, name = full.rpartition(".")
        names.setdefault(package, []).append(name)
    return [f"from {package} import {', '.join(group)}" for package, group in names.items()]
