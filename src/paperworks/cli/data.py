"""``paperworks data``: what data sets and small models there are, and where their files are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli.common import Json, console, errors, print_json, user_errors

if TYPE_CHECKING:
    from rich.progress import Progress

    from paperworks.data.registry import File

_HERE = {"PAPERWORKS_DATA": "folder", "cache": "cache", "generated": "built in", None: "no"}

app = typer.Typer(help="List, fetch and find the data sets and small models.", no_args_is_help=True)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show every data set and model: what it is, its size, its licence, and whether it is here.

    Whether a file is sound is not checked here, that would read them all; "data where" does so.
    """
    from paperworks.data.errors import DataError

    with user_errors(DataError):
        rows = _rows()
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    from paperworks.data.files import human_size

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("name", ratio=1)
    for column in ("size", "here", "licence"):
        table.add_column(column, no_wrap=True, justify="right" if column == "size" else "left")
    for row in rows:
        size = human_size(row["size"]) if row["size"] else "-"
        name = f"{row['name']}\n[dim]  {row['summary']}[/]"
        table.add_row(name, size, _HERE[row["here"]], row["licence"])
    console.print(table)
    console.print(
        "\n[dim]size: of the download. here: in the folder of PAPERWORKS_DATA, in the cache, or"
        " built in.\nGet one with `paperworks data fetch NAME`; `paperworks data where NAME` prints"
        " its files.[/]"
    )


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Data sets, models, or groups (planetoid, uci).", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is not here yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download data sets and models into the cache, checked; put damaged copies there right."""
    import pooch
    from rich.markup import escape

    from paperworks.data.errors import DataError
    from paperworks.data.registry import datasets, models

    if bool(names) == everything:
        errors.print("[bold red]error:[/] name what to fetch, or give --all (and not both)")
        raise typer.Exit(2)
    with user_errors(ValueError):
        chosen = [*datasets(), *models()] if everything else _expand(names or [])
    pooch.get_logger().setLevel("WARNING")  # the progress bars say it
    results = []
    for name in chosen:
        try:
            where = _fetch_one(name)
        except (DataError, ImportError, OSError) as error:
            errors.print("[bold red]error:[/]", escape(str(error)), soft_wrap=True, highlight=False)
            results.append({"name": name, "path": None, "error": str(error)})
        else:
            results.append({"name": name, "path": where, "error": None})
            if not as_json:
                console.print(
                    f"{name}:", where or "generated, needs no file", soft_wrap=True, highlight=False
                )
    if as_json:
        print_json(results)
    if any(result["error"] for result in results):
        raise typer.Exit(1)


@app.command()
def where(
    name: Annotated[
        str, typer.Argument(help="A data set, a model or a group.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Print the files of a data set or model, their checksums checked; or say how to get them."""
    from paperworks.data import files as data_files
    from paperworks.data import model_path
    from paperworks.data.errors import DataError
    from paperworks.data.registry import find_dataset, models

    found: list[dict[str, Any]] = []
    with user_errors(ValueError, DataError):
        for each in _expand([name]):
            if each in models():
                paths = [model_path(each, download=False)]
                origin = "cache"
            elif find_dataset(each).generator:
                paths, origin = [], "generated"
            else:
                here = data_files.ensure(find_dataset(each), may_download=False)
                paths, origin = here.paths, here.origin
            found.append({"name": each, "origin": origin, "paths": [str(path) for path in paths]})
    if as_json:
        print_json(found)
        return
    for entry in found:
        for path in entry["paths"]:
            typer.echo(path)
        if not entry["paths"]:
            errors.print(f"{entry['name']} is generated: it needs no file")


def _rows() -> list[dict[str, Any]]:
    from paperworks.data import files
    from paperworks.data.models import model_folder
    from paperworks.data.registry import datasets, models

    rows = []
    here: str | None
    for dataset in datasets().values():
        if dataset.generator:
            here, size = "generated", 0
        else:
            found = files.locate(dataset, verify=False)
            here = found.origin if found else None
            size = (dataset.download or dataset.forms[0]).size
        rows.append(_row(dataset, dataset.kind, size, here))
    for model in models().values():
        here = "cache" if model_folder(model).is_dir() else None
        rows.append(_row(model, "model", model.wheel.size, here))
    return rows


def _row(record: Any, kind: str, size: int, here: str | None) -> dict[str, Any]:
    return {
        "name": record.name,
        "kind": kind,
        "summary": record.summary,
        "size": size,
        "licence": record.licence,
        "homepage": record.homepage,
        "here": here,
    }


def _expand(names: list[str]) -> list[str]:
    """Full names of data sets and models; a group stands for its members."""
    from paperworks.data.registry import find_dataset, members, models

    full = []
    for name in names:
        if name in models():
            full.append(name)
        else:
            full += members(name) or [find_dataset(name).name]
    return list(dict.fromkeys(full))


def _fetch_one(name: str) -> str | None:
    """Fetch one data set or model under a progress bar; its path, or None for a generated set."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from paperworks.data import fetch as fetch_data
    from paperworks.data import fetch_model
    from paperworks.data.registry import datasets, models

    if name in models():
        with errors.status(f"{name}: downloading and preparing"):
            return str(fetch_model(name))
    if datasets()[name].generator:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bars = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
    with bars as progress:
        return str(fetch_data(name, progress=lambda file: _Bar(progress, file)))


class _Bar:
    """Shows one file's download; what pooch expects of a progress object."""

    def __init__(self, progress: Progress, file: File) -> None:
        self.total = file.size
        self._progress = progress
        self._task = progress.add_task(file.name, total=file.size)

    def update(self, size: int) -> None:
        self._progress.update(self._task, advance=size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.update(self._task, completed=self.total)
