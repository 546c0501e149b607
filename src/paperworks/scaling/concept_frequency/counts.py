"""The result of a count: frequencies by concept, and what was left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.scaling.concept_frequency.arrays import IntArray
from paperworks.scaling.concept_frequency.concepts import Concepts
from paperworks.scaling.concept_frequency.tally import IMAGE, TEXT, Tally, load_tally
from paperworks.writing import write_bytes

PLACES = ("text", "image", "both")


@dataclass(frozen=True)
class BadSample:
    """A sample that was left out: its file, its line (or row or place in the archive) from 1."""

    path: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.why}"


@dataclass(frozen=True)
class ConceptCounts:
    """In how many samples each concept occurs.

    Parameters
    ----------
    names : tuple of str
        The concepts.
    text, image, both : (concepts,) int64
        Samples with the concept in the caption, in the image tags, and in both. Without tags
        ``image`` and ``both`` are zero.
    samples, empty, tagged, misaligned : int
        Samples read; of these, with an empty caption, with tags, and with concepts in caption and
        tags of which none is the same.
    bad : tuple of BadSample
        Samples that were left out, the first 1,000 of each part; ``bad_total`` counts all.
    broken : tuple of str
        Files that end too early or are damaged, and why. A part that is broken is left out whole.
    parts, resumed : int
        Parts of the corpus, and how many of them an earlier run had counted.

    Examples
    --------
    >>> from paperworks.scaling.concept_frequency.counting import count_captions
    >>> counts = count_captions(["two dogs", "a cat and a dog"], ["dog", "cat"])
    >>> counts.frequency("text").tolist()
    [2, 1]
    """

    names: tuple[str, ...]
    text: IntArray
    image: IntArray
    both: IntArray
    samples: int
    empty: int = 0
    tagged: int = 0
    misaligned: int = 0
    bad: tuple[BadSample, ...] = ()
    bad_total: int = 0
    broken: tuple[str, ...] = ()
    parts: int = 0
    resumed: int = 0
    _states: tuple[tuple[str, int, Path], ...] = field(default=(), repr=False)

    def frequency(self, place: str | None = None) -> IntArray:
        """The counts of one place, by default ``both`` where there are tags and else ``text``.

        Raises
        ------
        ValueError
            Where ``place`` is none of text, image and both.
        """
        if place is None:
            place = "both" if self.tagged else "text"
        if place not in PLACES:
            raise ValueError(f"place must be one of {', '.join(PLACES)}, got {place!r}")
        return {"text": self.text, "image": self.image, "both": self.both}[place]

    def samples_of(self, name: str, place: str = "text") -> Iterator[tuple[str, int]]:
        """(file, line from 1) of each sample that has the concept, where samples were kept.

        Raises
        ------
        ValueError
            Where the concept is unknown, or the samples were not kept (``keep_samples=True``).
        """
        self.frequency(place)
        if name not in self.names:
            raise ValueError(f"{name!r} is not among the {len(self.names)} concepts")
        if not self._states:
            raise ValueError("the samples were not kept; count with out=... and keep_samples=True")
        return self._walk(self.names.index(name), place)

    def _walk(self, number: int, place: str) -> Iterator[tuple[str, int]]:
        bits = {"text": TEXT, "image": IMAGE, "both": TEXT | IMAGE}[place]
        for path, before, state in self._states:
            tally = load_tally(state)
            if tally is None or tally.hit_concepts is None:
                raise ValueError(f"{state} is gone or damaged; count again")
            assert tally.hit_places is not None
            assert tally.hit_numbers is not None
            chosen = (tally.hit_concepts == number) & (tally.hit_places & bits == bits)
            for line in tally.hit_numbers[chosen].tolist():
                yield path, before + line + 1

    def save(self, path: str | PathLike[str]) -> None:
        """Write the counts as a table: concept, text, image, both (CSV, UTF-8)."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\n")
        table.writerow(("concept", *PLACES))
        rows = zip(self.names, self.text, self.image, self.both, strict=True)
        table.writerows((name, int(a), int(b), int(c)) for name, a, b, c in rows)
        write_bytes(path, buffer.getvalue().encode())


def total(
    concepts: Concepts,
    placed: Sequence[tuple[str, int, Tally]],
    *,
    broken: tuple[str, ...] = (),
    **more: Any,
) -> ConceptCounts:
    """The tallies of all parts, each with its file and the lines of the file before it, as one."""
    tallies = [tally for _, _, tally in placed]
    sums: dict[str, Any] = {
        place: np.sum([getattr(tally, place) for tally in tallies], axis=0, dtype=np.int64)
        if tallies
        else np.zeros(len(concepts), dtype=np.int64)
        for place in PLACES
    }
    for name in ("samples", "empty", "tagged", "misaligned", "bad_total"):
        sums[name] = sum(getattr(tally, name) for tally in tallies)
    bad = tuple(
        BadSample(path, before + number + 1, why)
        for path, before, tally in placed
        for number, why in tally.bad
    )
    faults = dict.fromkeys([*broken, *(tally.broken for tally in tallies if tally.broken)])
    return ConceptCounts(concepts.names, **sums, bad=bad, broken=tuple(faults), **more)


def read_counts_table(path: str | PathLike[str]) -> dict[str, dict[str, int]]:
    """Counts that ``ConceptCounts.save`` wrote: place to concept to count.

    Any CSV table with the columns ``concept`` and one or more of text, image and both will do.

    Raises
    ------
    ValueError
        Naming the line that cannot be read.
    """
    path = Path(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        places = [place for place in PLACES if place in columns]
        if "concept" not in columns or not places:
            raise ValueError(
                f"{path} needs the columns concept and text, image or both, "
                f"got {', '.join(columns) or 'none'}"
            )
        table: dict[str, dict[str, int]] = {place: {} for place in places}
        for row in rows:
            for place in places:
                try:
                    value = int(row[place])
                except (TypeError, ValueError):
                    value = -1
                if value < 0:
                    raise ValueError(
                        f"{path}, line {rows.line_num}: {place} must be a whole number >= 0, "
                        f"got {row[place]!r}"
                    )
                if row["concept"] in table[place]:
                    raise ValueError(
                        f"{path}, line {rows.line_num}: {row['concept']!r} is there already"
                    )
                table[place][row["concept"]] = value
    return table
