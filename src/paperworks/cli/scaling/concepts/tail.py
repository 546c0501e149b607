"""``paperworks scaling concepts tail``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import typer

from paperworks.cli.common import Json, print_json, say, user_errors
from paperworks.cli.scaling.concepts.common import KINDS, Lemmas, PlaceName, frequencies, lemmas_of
from paperworks.writing import write_bytes


def tail(
    counts: Annotated[Path, typer.Argument(help="counts.csv, or any table like it.")],
    out: Annotated[Path, typer.Option(help="Folder for concepts.csv (and images.csv).")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many concepts.")] = 290,
    place: Annotated[
        PlaceName | None, typer.Option(help="Which counts. Default: both if any, else text.")
    ] = None,
    max_frequency: Annotated[
        int | None, typer.Option(help="Concepts above this are no tail.")
    ] = None,
    images_per_concept: Annotated[int, typer.Option(help="Test images wanted of each.")] = 450,
    concepts: Annotated[
        Path | None, typer.Option(help="The file of concepts, for its synonyms.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder with one folder of images per concept, to draw the set from."),
    ] = None,
    lemmas: Lemmas = "en",
    seed: Annotated[int, typer.Option(help="Seed of the draw of images.")] = 0,
    json: Json = False,
) -> None:
    """The rarest concepts, each once, how many test images they need, and the balanced set."""
    from paperworks.scaling import balance_images, long_tail
    from paperworks.scaling.concept_frequency.concepts import read_concepts

    with user_errors(*KINDS):
        frequency = frequencies(counts, place)
        chosen = long_tail(
            frequency,
            count,
            concepts=None if concepts is None else read_concepts(concepts),
            max_frequency=max_frequency,
            images_per_concept=images_per_concept,
            lemmas=lemmas_of(lemmas),
        )
        drawn = None if images is None else balance_images(images, chosen, rng=seed)
        rows = [
            (name, int(times), images_per_concept)
            for name, times in zip(chosen.concepts, chosen.frequency, strict=True)
        ]
        _table(out / "concepts.csv", ("concept", "frequency", "images_wanted"), rows)
        if drawn is not None:
            files = [(name, file) for name, group in drawn.images.items() for file in group]
            _table(out / "images.csv", ("concept", "file"), files)
    summary: dict[str, Any] = {
        "concepts": len(chosen.concepts),
        "short": chosen.short,
        "highest_frequency": int(chosen.frequency[-1]),
        "images_wanted": chosen.images_wanted,
        "same": chosen.same,
        "too_frequent": chosen.frequent,
    }
    if drawn is not None:
        summary["drawn_concepts"] = len(drawn.images)
        summary["drawn_images"] = sum(map(len, drawn.images.values()))
        summary["duplicates"] = drawn.duplicates
        summary["too_few"] = drawn.too_few
        summary["unreadable"] = list(drawn.unreadable)
    if json:
        print_json(summary)
        return
    for key, value in summary.items():
        many = isinstance(value, (dict, list))
        text = f"{len(value)}" if many else f"{value:,}"
        say(f"{key.replace('_', ' ')}: {text}")
    say(f"written: {out}")


def _table(path: Path, columns: tuple[str, ...], rows: list[Any]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())
