"""What every reader yields and raises, and how bad samples are kept account of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from paperworks.scaling.concept_frequency.arrays import Bytes, IntArray
from paperworks.scaling.concept_frequency.matcher import pack

ROWS = 1 << 16
TEXT = 1 << 24
_LISTED = 1000


class BrokenFileError(ValueError):
    """A file that ends too early or is not what its name says, named in the message."""


@dataclass(frozen=True)
class Batch:
    """Some samples: the captions' bytes, and each one's number in its part.

    ``tags`` holds a sample's tags as they were read, None where it has none; it is None as a whole
    where tags were not asked for. ``number`` is a line from 0, a row or a place in the archive.
    """

    data: Bytes
    offsets: IntArray
    number: IntArray
    tags: list[Any] | None


@dataclass
class Ledger:
    """What was wrong in a part: (number of the line, row or sample from 0, why)."""

    bad: list[tuple[int, str]] = field(default_factory=list)
    bad_total: int = 0
    lines: int = 0

    def note(self, number: int, why: str) -> None:
        """Keep account of one sample that is left out; the first 1,000 are listed."""
        self.bad_total += 1
        if len(self.bad) < _LISTED:
            self.bad.append((number, why))


class Pending:
    """Samples that are gathered one by one until they make a batch."""

    def __init__(self, tagged: bool) -> None:
        self._tagged = tagged
        self._clear()

    def _clear(self) -> None:
        self._captions: list[str] = []
        self._numbers: list[int] = []
        self._tags: list[Any] = []
        self._held = 0

    def add(self, number: int, caption: str, tags: Any) -> None:
        """Add one sample."""
        self._captions.append(caption)
        self._numbers.append(number)
        self._tags.append(tags)
        self._held += len(caption)

    @property
    def full(self) -> bool:
        """Whether it should be taken."""
        return len(self._captions) >= ROWS or self._held >= TEXT

    def take(self) -> Iterable[Batch]:
        """What was gathered, as one batch or none; then it is empty."""
        import numpy as np

        if self._captions:
            data, offsets = pack(self._captions)
            number = np.array(self._numbers, dtype=np.int64)
            yield Batch(data, offsets, number, self._tags if self._tagged else None)
        self._clear()
