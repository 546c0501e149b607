"""Options and readings that the commands on concepts share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

KINDS = (ValueError, OSError, ModuleNotFoundError)


class PlaceName(StrEnum):
    """Which counts are used."""

    TEXT = "text"
    IMAGE = "image"
    BOTH = "both"


Lemmas = Annotated[
    str, typer.Option(help="Language of the lemmas, as en or de; none takes words as they are.")
]


def lemmas_of(name: str) -> str | None:
    """What the library takes."""
    return None if name == "none" else name


def frequencies(path: Path, place: str | None) -> dict[str, int]:
    """The counts of each concept in one place: by default both if any is there, else the text."""
    from paperworks.scaling.concept_frequency.counts import read_counts_table

    table = read_counts_table(path)
    if place is None:
        place = next((p for p in ("both", "text") if any(table.get(p, {}).values())), None)
        if place is None:
            raise ValueError(
                f"{path} holds no count above 0 of text or both; name one with --place"
            )
    if place not in table:
        raise ValueError(f"{path} has no column {place}")
    return table[place]
