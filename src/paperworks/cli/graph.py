"""``paperworks graph``: personalized PageRank on a person's own edge lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paperworks.cli._progress import progress_bar
from paperworks.cli.common import Json, errors, print_json, say, user_errors

if TYPE_CHECKING:
    from paperworks.graphs import (
        PartitionedPowerWalk,
        PersonalizedRanks,
        PowerWalk,
        WeightedGraph,
    )

app = typer.Typer(help="Graphs in files of edges.", no_args_is_help=True)
ppr = typer.Typer(
    help="Personalized PageRank, thousands of sources a second, from an index.",
    no_args_is_help=True,
)
app.add_typer(ppr, name="ppr")

Index = Annotated[Path, typer.Argument(help="What `build` wrote: a file, or a folder of parts.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the index goes.")]
Jobs = Annotated[int, typer.Option(help="Threads or workers; -1 for all cores.")]


class Duplicates(StrEnum):
    """What an edge is that the file has twice."""

    RAISE = "raise"
    SUM = "sum"
    MAX = "max"


class Engine(StrEnum):
    """Where the work runs."""

    LOCAL = "local"
    RAY = "ray"


Unweighted = Annotated[
    bool, typer.Option("--unweighted", help="Ignore all columns after the second.")
]
StringIds = Annotated[bool, typer.Option("--string-ids", help="Node ids are names of any kind.")]
EngineOption = Annotated[
    Engine, typer.Option(help="For parts: this machine, or a Ray cluster (extra ray).")
]


@ppr.command()
def build(
    edges: Annotated[
        Path,
        typer.Argument(help="Edges: two ids a line, and a weight if any (.gz), or .parquet."),
    ],
    output: Output,
    restart: Annotated[
        float, typer.Option(help="Chance to go back to the source at each step.")
    ] = 0.15,
    walks: Annotated[int, typer.Option(help="Walks from each node, on average.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the walks.")] = 0,
    undirected: Annotated[
        bool, typer.Option("--undirected", help="Each line is an edge both ways.")
    ] = False,
    unweighted: Unweighted = False,
    string_ids: StringIds = False,
    duplicates: Annotated[
        Duplicates,
        typer.Option(help="What an edge is that the file has twice: an error, their sum, the max."),
    ] = Duplicates.RAISE,
    parts: Annotated[
        int, typer.Option(help="Make a folder of so many parts; 0 makes one file.")
    ] = 0,
    engine: EngineOption = Engine.LOCAL,
    jobs: Jobs = -1,
    json: Json = False,
) -> None:
    """Walk from every node of a graph, and write the index that `query` reads.

    With --parts an interrupted build goes on where it stopped, when the command is given again.
    """
    with user_errors(ValueError, OSError, ImportError):
        from paperworks.graphs import PartitionedPowerWalk, PowerWalk

        if engine is Engine.RAY and not parts:
            raise ValueError("--engine ray builds an index in parts: give --parts, as 16")
        begun = time.perf_counter()
        graph = _read(edges, undirected, unweighted, string_ids, duplicates.value)
        read = time.perf_counter()
        options: dict[str, Any] = {
            "restart": restart, "walks": walks, "seed": seed, "n_jobs": jobs,
        }  # fmt: skip
        if parts:
            with _bar("building parts") as progress:
                PartitionedPowerWalk.build(
                    graph, output, parts=parts, engine=engine.value, progress=progress, **options
                )
            size = sum(file.stat().st_size for file in output.iterdir())
        else:
            with _bar("walking") as progress:
                walk = PowerWalk(graph, progress=progress, **options)
            size = walk.save(output)
    report = {
        "index": str(output), "nodes": graph.n_nodes, "edges": graph.n_edges, "bytes": size,
        "seconds_reading": round(read - begun, 3),
        "seconds_building": round(time.perf_counter() - read, 3),
    }  # fmt: skip
    if json:
        print_json(report)
        return
    say(
        f"{graph.n_nodes:,} nodes, {graph.n_edges:,} edges; read in "
        f"{report['seconds_reading']:.3g} s, built in {report['seconds_building']:.3g} s"
    )
    say(f"written: {output} ({size / 2**20:,.1f} MiB)")


@ppr.command()
def query(
    index: Index,
    nodes: Annotated[
        list[str] | None, typer.Argument(help="Source nodes; NODE=WEIGHT with --together.")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option("--from", help="A file with a source node on each line.")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="All nodes given are one source, by their weights.")
    ] = False,
    top: Annotated[int, typer.Option(help="So many nodes for each source.")] = 10,
    error: Annotated[
        float, typer.Option(help="Largest root mean square distance to the true vector.")
    ] = 0.01,
    rounds: Annotated[
        int | None, typer.Option(help="Exactly so many rounds of decomposition, as in the paper.")
    ] = None,
    stay: Annotated[
        bool,
        typer.Option("--stay", help="A walker stays at a node without out-edges until a restart."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write source,node,score lines here (.csv, .parquet)."),
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Check the index's checksums, which reads all of it.")
    ] = True,
    engine: EngineOption = Engine.LOCAL,
    jobs: Jobs = -1,
    json: Json = False,
) -> None:
    """The nodes nearest to each source, by personalized PageRank."""
    with user_errors(ValueError, OSError, ImportError, KeyError):
        walk = _open(index, verify, engine, jobs)
        given = list(nodes or [])
        if sources is not None:
            given += sources.read_text("utf-8").split()
        if not given:
            raise ValueError("no source: give nodes, or --from with a file of them")
        asked, labels = _asked(walk, given, together)
        begun = time.perf_counter()
        options: dict[str, Any] = {
            "top": top, "error": error, "rounds": rounds,
            "dangling": "stay" if stay else "restart",
        }  # fmt: skip
        if _whole(walk):
            with _bar("answering") as progress:
                found = walk.query_batch(asked, n_jobs=jobs, progress=progress, **options)
        else:
            found = walk.query_batch(asked, **options)
        seconds = time.perf_counter() - begun
        if output is not None:
            _write(output, labels, found)
    if json:
        print_json({"seconds": seconds, "results": [
            {
                "source": label, "error": each.error, "converged": each.converged,
                "rounds": each.rounds, "nodes": each.nodes.tolist(),
                "scores": each.scores.tolist(),
            }
            for label, each in zip(labels, found, strict=True)
        ]})  # fmt: skip
        return
    if output is None:
        for label, each in zip(labels, found, strict=True):
            say(f"{label}  (error {each.error:.2g}, {each.rounds} rounds)")
            for node, score in zip(each.nodes, each.scores, strict=True):
                say(f"  {score:.6f}  {node}")
    else:
        say(f"{len(found):,} sources in {seconds:.3g} s; written: {output}")
    if not found.converged.all():
        errors.print(f"{int((~found.converged).sum())} sources missed the error asked for")


@ppr.command()
def update(
    index: Annotated[Path, typer.Argument(help="An index in one file.")],
    output: Output,
    add: Annotated[Path | None, typer.Option(help="A file of edges to add.")] = None,
    remove: Annotated[Path | None, typer.Option(help="A file of edges to remove.")] = None,
    unweighted: Unweighted = False,
    jobs: Jobs = -1,
    json: Json = False,
) -> None:
    """The index after some edges have come or gone; only walks that this concerns are made anew."""
    with user_errors(ValueError, OSError, ImportError, KeyError):
        from paperworks.graphs import PowerWalk

        if add is None and remove is None:
            raise ValueError("nothing to do: give --add or --remove, or both")
        if index.is_dir():
            raise ValueError(f"{index} is an index in parts: only one in one file is updated")
        walk = PowerWalk.load(index)
        strings = walk.nodes.dtype.kind == "U"
        begun = time.perf_counter()
        new = walk.updated(
            add=_edges(add, unweighted, strings),
            remove=_edges(remove, True, strings),
            n_jobs=jobs,
        )
        size = new.save(output)
    report = {
        "index": str(output), "nodes": new.n_nodes, "edges": new.n_edges, "bytes": size,
        "rewalked": new.rewalked, "seconds": round(time.perf_counter() - begun, 3),
    }  # fmt: skip
    if json:
        print_json(report)
        return
    say(
        f"{new.n_nodes:,} nodes, {new.n_edges:,} edges; walked anew from {new.rewalked:,} nodes "
        f"in {report['seconds']:.3g} s"
    )
    say(f"written: {output} ({size / 2**20:,.1f} MiB)")


def _read(
    path: Path, undirected: bool, unweighted: bool, string_ids: bool, duplicates: Any
) -> WeightedGraph:
    from paperworks.graphs import read_edge_list

    with _bar("reading") as progress:
        return read_edge_list(
            path,
            directed=not undirected,
            weighted=False if unweighted else None,
            duplicates=duplicates,
            ids="str" if string_ids else "int",
            progress=progress,
        )


def _edges(path: Path | None, unweighted: bool, strings: bool) -> tuple[Any, ...]:
    """The edges of a file, as arrays of names."""
    if path is None:
        return ()
    graph = _read(path, False, unweighted, strings, "raise")
    found = graph.adjacency.tocoo()
    rows, cols = found.coords
    return graph.nodes[rows], graph.nodes[cols], *(() if unweighted else (found.data,))


def _open(index: Path, verify: bool, engine: Engine, jobs: int) -> Any:
    from paperworks.graphs import PartitionedPowerWalk, PowerWalk

    walk: PowerWalk | PartitionedPowerWalk
    if index.is_dir():
        walk = PartitionedPowerWalk(index, engine=engine.value, n_jobs=jobs, verify=verify)
    elif engine is Engine.RAY:
        raise ValueError("--engine ray queries an index in parts: build one with --parts")
    else:
        walk = PowerWalk.load(index, verify=verify)
    return walk


def _whole(walk: Any) -> bool:
    from paperworks.graphs import PowerWalk

    return isinstance(walk, PowerWalk)


def _asked(walk: Any, given: list[str], together: bool) -> tuple[Any, list[Any]]:
    """The sources as the index knows them, and as they are shown."""
    if not together:
        names = [_name(walk, text) for text in given]
        return names, names
    weights: dict[Any, float] = {}
    for text in given:
        node, equals, weight = text.rpartition("=")
        try:
            name, value = (_name(walk, node), float(weight)) if equals else (_name(walk, text), 1.0)
        except ValueError as error:
            raise ValueError(f"a source must be NODE or NODE=WEIGHT, got {text!r}") from error
        weights[name] = weights.get(name, 0.0) + value
    return [weights], [" ".join(given)]


def _name(walk: Any, text: str) -> Any:
    if walk.nodes.dtype.kind not in "iu":
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"nodes of this index are whole numbers, got {text!r}") from None


def _write(path: Path, labels: list[Any], found: PersonalizedRanks) -> None:
    """All results as lines of source, node and score, whole or not at all."""
    import csv

    import numpy as np

    from paperworks.writing import whole

    sources = [label for label, each in zip(labels, found, strict=True) for _ in range(len(each))]
    nodes = found.names[found.rows]
    with whole(path) as part:
        if path.suffix == ".parquet":
            try:
                import pyarrow
                from pyarrow import parquet
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    "writing Parquet needs the extra: pip install 'paperworks[graphs]'"
                ) from error
            table = {"source": np.array(sources), "node": nodes, "score": found.scores}
            parquet.write_table(pyarrow.table(table), part)
            return
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["source", "node", "score"])
            writer.writerows(zip(sources, nodes.tolist(), found.scores.tolist(), strict=True))


@contextmanager
def _bar(what: str) -> Iterator[Any]:
    """A bar on standard error for work that says (done, all)."""
    with progress_bar(f"{what}, %", 100) as bar:
        yield lambda done, total: bar(100 * done // max(total, 1), f"{done:,} of {total:,}")
