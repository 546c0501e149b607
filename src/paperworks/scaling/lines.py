"""Lines of a person's own files: read one by one, and reported by number where they are bad."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BadLine:
    """A line that was left out, by its number from 1, and why."""

    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


class BadLineError(ValueError):
    """A bad line in a file that was to be read strictly."""


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1; a name that ends in .gz is unpacked."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            stripped = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
            if stripped:
                yield number, stripped
