"""One part counted, and its state on disk: a checksum, then a compressed NumPy archive."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.scaling.concept_frequency.arrays import IntArray
from paperworks.scaling.concept_frequency.batches import Batch, BrokenFileError, Ledger
from paperworks.scaling.concept_frequency.concepts import Concepts
from paperworks.scaling.concept_frequency.jsonl import read_jsonl
from paperworks.scaling.concept_frequency.matcher import Matcher, accepted_tags
from paperworks.scaling.concept_frequency.parquet import read_parquet
from paperworks.scaling.concept_frequency.parts import Part
from paperworks.scaling.concept_frequency.webdataset import read_tar
from paperworks.scaling.concept_frequency.words import Lemmas, describe
from paperworks.writing import write_bytes

_READERS = {"parquet": read_parquet, "jsonl": read_jsonl, "tar": read_tar}
_FORMAT = 1
TEXT, IMAGE = 1, 2
"""Bits of where a sample has a concept: its caption, its tags; both bits are a match of both."""


@dataclass(frozen=True)
class Settings:
    """All that a count depends on, besides the corpus."""

    concepts: Concepts
    caption: str
    tags: str | None
    tag_threshold: float
    match: str
    lemmas: Lemmas
    keep_samples: bool

    def key(self, part: Part) -> str:
        """What the state of a part is found by: other settings or another file give another key."""
        own = {
            "format": _FORMAT,
            "concepts": [*self.concepts.names, *map(list, self.concepts.forms)],
            "caption": self.caption,
            "tags": [self.tags, self.tag_threshold if self.tags is not None else None],
            "match": self.match,
            "lemmas": describe(self.lemmas),
            "keep": self.keep_samples,
            "part": asdict(part),
        }
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:32]


@dataclass
class Tally:
    """Counts of one part. ``text``, ``image`` and ``both`` are (concepts,) int64."""

    text: IntArray
    image: IntArray
    both: IntArray
    samples: int = 0
    empty: int = 0
    tagged: int = 0
    misaligned: int = 0
    lines: int = 0
    bad_total: int = 0
    bad: tuple[tuple[int, str], ...] = ()
    broken: str = ""
    hit_numbers: IntArray | None = None
    hit_concepts: NDArray[np.int32] | None = None
    hit_places: NDArray[np.uint8] | None = None


def blank(concepts: int, *, broken: str = "") -> Tally:
    """A tally of nothing."""
    text, image, both = (np.zeros(concepts, dtype=np.int64) for _ in range(3))
    return Tally(text, image, both, broken=broken)


_NUMBERS = ("samples", "empty", "tagged", "misaligned", "lines", "bad_total", "bad", "broken")
_ARRAYS = ("text", "image", "both", "hit_numbers", "hit_concepts", "hit_places")


def count_part(part: Part, settings: Settings, matcher: Matcher) -> Tally:
    """Count one part. A file that is broken gives a tally of nothing that says so."""
    size = len(settings.concepts)
    tally = blank(size)
    ledger = Ledger()
    hits: list[tuple[Any, Any, Any]] = []
    reader = _READERS[part.kind]
    try:
        for batch in reader(part, settings.caption, settings.tags, ledger):
            found = add_batch(tally, batch, settings, matcher, ledger)
            if settings.keep_samples:
                hits.append(found)
    except BrokenFileError as error:
        return blank(size, broken=str(error))
    tally.lines = ledger.lines
    tally.bad, tally.bad_total = tuple(ledger.bad), ledger.bad_total
    if settings.keep_samples:
        numbers, concepts, places = zip(*hits, strict=True) if hits else ((), (), ())
        tally.hit_numbers = np.concatenate([np.zeros(0, dtype=np.int64), *numbers])
        tally.hit_concepts = np.concatenate([*concepts, []]).astype(np.int32)
        tally.hit_places = np.concatenate([*places, []]).astype(np.uint8)
    return tally


def add_batch(
    tally: Tally, batch: Batch, settings: Settings, matcher: Matcher, ledger: Ledger
) -> tuple[IntArray, NDArray[np.int64], NDArray[np.uint8]]:
    """Add a batch to the tally; the hits by the sample's number, concept and place."""
    size = len(settings.concepts)
    rows, concepts = matcher.find(batch.data, batch.offsets)
    count = batch.number.size
    good = np.ones(count, dtype=bool)
    image = np.zeros(0, dtype=np.int64)
    if batch.tags is not None:
        pairs: set[int] = set()
        for row, value in enumerate(batch.tags):
            try:
                labels = accepted_tags(value, settings.tag_threshold)
            except ValueError as error:
                ledger.note(int(batch.number[row]), str(error))
                good[row] = False
                continue
            tally.tagged += value is not None
            for label in labels:
                pairs.update(row * size + concept for concept in matcher.of_tag(label))
        image = np.array(sorted(pairs), dtype=np.int64)
    text = rows * size + concepts
    text = text[good[rows]]
    both = np.intersect1d(text, image, assume_unique=True)
    for total, codes in ((tally.text, text), (tally.image, image), (tally.both, both)):
        total += np.bincount(codes % size, minlength=size)
    tally.samples += int(good.sum())
    tally.empty += int((good & (np.diff(batch.offsets) == 0)).sum())
    apart = np.intersect1d(np.unique(text // size), np.unique(image // size), assume_unique=True)
    tally.misaligned += int(np.setdiff1d(apart, both // size).size)
    if not settings.keep_samples:
        text = image = both[:0]
    codes = np.union1d(text, image)
    places = TEXT * np.isin(codes, text) + IMAGE * np.isin(codes, image)
    return batch.number[codes // size], codes % size, places.astype(np.uint8)


def save_tally(path: Path, tally: Tally) -> None:
    """Write the state of a part whole or not at all."""
    values = dict(zip(tally.__dataclass_fields__, astuple(tally), strict=True))
    arrays = {name: values[name] for name in _ARRAYS if values[name] is not None}
    record = json.dumps({name: values[name] for name in _NUMBERS})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, record=np.array(record), **arrays)
    content = buffer.getvalue()
    write_bytes(path, hashlib.sha256(content).digest() + content)


def load_tally(path: Path) -> Tally | None:
    """The state of a part; None where there is none, or none that its checksum fits."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            record = json.loads(str(held["record"]))
            record["bad"] = tuple((number, why) for number, why in record["bad"])
            return Tally(**record, **{name: held[name] for name in _ARRAYS if name in held})
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
