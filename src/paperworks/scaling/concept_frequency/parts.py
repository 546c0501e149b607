"""A corpus as a list of parts, each small enough to be counted again after an interruption.

A large parquet file is parted by row groups and a large plain JSON lines file by bytes; what is
compressed, and tar archives, can only be read from the front and are one part each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from paperworks.scaling.concept_frequency.arrow import open_parquet

ENDINGS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
}
ROWS_PER_PART = 2_000_000
BYTES_PER_PART = 256 * 2**20

Path_ = str | PathLike[str]


@dataclass(frozen=True)
class Part:
    """Row groups ``start`` to ``stop`` of a parquet file, bytes of a JSON lines file, or a whole.

    ``size`` and ``modified`` (nanoseconds) tell a later run whether the file is still the same.
    """

    path: str
    kind: str
    start: int
    stop: int
    size: int
    modified: int


def corpus_files(corpus: Path_ | Iterable[Path_]) -> list[Path]:
    """The files of a corpus, folders replaced by the files below them, each once.

    Raises
    ------
    ValueError
        Where a path is not there, a file has a name that says no known format, or a folder holds
        no file of a known format.
    """
    paths = [corpus] if isinstance(corpus, (str, PathLike)) else list(corpus)
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file() and _kind(each))
            if not inside:
                raise ValueError(f"{path} holds no file that ends in {', '.join(ENDINGS)}")
        elif not path.is_file():
            raise ValueError(f"{path} is not there")
        elif _kind(path) is None:
            raise ValueError(f"{path} must end in one of {', '.join(ENDINGS)}")
        else:
            inside = [path]
        files.update(dict.fromkeys(each.resolve() for each in inside))
    if not files:
        raise ValueError("the corpus names no file")
    return list(files)


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    return next((kind for end, kind in ENDINGS.items() if name.endswith(end)), None)


def parts_of(path: Path, *, rows: int | None = None, size: int | None = None) -> list[Part]:
    """The parts of one file, in order.

    Raises
    ------
    BrokenFileError
        Where a parquet file has no whole footer.
    ModuleNotFoundError
        For a parquet file where the extra is not installed.
    """
    kind = _kind(path)
    assert kind is not None
    state = path.stat()
    same = {"size": state.st_size, "modified": state.st_mtime_ns}
    if kind == "parquet":
        bounds = _row_groups(path, rows or ROWS_PER_PART)
    elif kind == "jsonl" and not path.name.lower().endswith(".gz"):
        step = size or BYTES_PER_PART
        bounds = [(at, min(at + step, state.st_size)) for at in range(0, state.st_size, step)]
        bounds = bounds or [(0, 0)]
    else:
        bounds = [(0, 0)]
    return [Part(str(path), kind, start, stop, **same) for start, stop in bounds]


def _row_groups(path: Path, rows: int) -> list[tuple[int, int]]:
    with open_parquet(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    bounds, start, held = [], 0, 0
    for number, size in enumerate(sizes):
        if held and held + size > rows:
            bounds.append((start, number))
            start, held = number, 0
        held += size
    return [*bounds, (start, len(sizes))]
