"""The concepts to count: names, their synonyms, and a file of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from paperworks.scaling.concept_frequency.words import words


@dataclass(frozen=True)
class Concepts:
    """Names, and for each the forms that count as it: the name itself first, then its synonyms."""

    names: tuple[str, ...]
    forms: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("there must be at least one concept, got none")
        seen: set[str] = set()
        for name, forms in zip(self.names, self.forms, strict=True):
            if name in seen:
                raise ValueError(f"the concept {name!r} is named twice; name each once")
            seen.add(name)
            for form in forms:
                if not words(form):
                    raise ValueError(
                        f"the concept {name!r} holds no letter or digit in {form!r}; leave it out"
                    )

    def __len__(self) -> int:
        return len(self.names)

    def patterns(self, lemma: Callable[[str], str]) -> list[tuple[int, tuple[str, ...]]]:
        """Each different (concept number, lemmas in order)."""
        found = {
            (number, tuple(lemma(word) for word in words(form))): None
            for number, forms in enumerate(self.forms)
            for form in forms
        }
        return list(found)


def as_concepts(
    concepts: Concepts | Iterable[str] | Mapping[str, Iterable[str]] | str | PathLike[str],
) -> Concepts:
    """Concepts from a list of names, a mapping of names to synonyms, or the path of a file."""
    if isinstance(concepts, Concepts):
        return concepts
    if isinstance(concepts, (str, PathLike)):
        return read_concepts(concepts)
    if isinstance(concepts, Mapping):
        pairs = [(name, (name, *synonyms)) for name, synonyms in concepts.items()]
    else:
        pairs = [(name, (name,)) for name in concepts]
    for name, _ in pairs:
        if not isinstance(name, str):
            raise ValueError(f"a concept must be a string, got {name!r}")
    return Concepts(tuple(name for name, _ in pairs), tuple(forms for _, forms in pairs))


def read_concepts(path: str | PathLike[str]) -> Concepts:
    r"""Concepts from a UTF-8 file: one a line, synonyms after it with tabs between.

    Blank lines and lines that start with ``#`` are passed over.

    Raises
    ------
    ValueError
        Naming the line: a concept without a letter or digit, or one that was named before.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "concepts.txt"
    ...     _ = file.write_text("# animals\ntree frog\nleaf\tleaves\n")
    ...     read_concepts(file).forms
    (('tree frog',), ('leaf', 'leaves'))
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    lines: dict[str, int] = {}
    forms: list[tuple[str, ...]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        parts = [part.strip() for part in line.split("\t") if part.strip()]
        if not parts or parts[0].startswith("#"):
            continue
        if parts[0] in lines:
            raise ValueError(
                f"{path}, line {number}: {parts[0]!r} was named on line {lines[parts[0]]} already"
            )
        for part in parts:
            if not words(part):
                raise ValueError(f"{path}, line {number}: {part!r} holds no letter or digit")
        lines[parts[0]] = number
        forms.append(tuple(parts))
    if not forms:
        raise ValueError(f"{path} names no concept; write one a line")
    return Concepts(tuple(lines), tuple(forms))
