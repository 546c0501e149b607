"""Parquet files, opened by pyarrow where it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paperworks.scaling.concept_frequency.batches import BrokenFileError


def pyarrow() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "parquet files need the extra: pip install 'paperworks[concepts]'"
        ) from error
    return pyarrow


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """An open ``ParquetFile``; what pyarrow says of a broken one, with the file's name."""
    arrow = pyarrow()
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowInvalid, arrow.ArrowIOError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise BrokenFileError(f"{path} cannot be read as parquet: {first}") from error
