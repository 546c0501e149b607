"""Files that are there whole or not at all: written beside their name, forced to disk, renamed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under another name in this block; it gets its own name when the block ends.

    Parameters
    ----------
    path : path
        Its folder is made where it is not there. An older file stays until the end.

    Yields
    ------
    Path
        The name to write, beside ``path``. Removed if the block raises.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(f"{folder}/made/note.txt") as part:
    ...         _ = part.write_text("done")
    ...     [each.name for each in Path(folder, "made").iterdir()]
    ['note.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb+") as stream:  # else a power cut may keep the name and not the content
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content)


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; what JSON does not know is written as a list."""
    write_bytes(path, (json.dumps(dict(value), indent=1, default=list) + "\n").encode())


def finite(value: Any) -> Any:
    """``value`` with None for the numbers that JSON has no word for.

    Parameters
    ----------
    value : dict, list, tuple or anything that these hold

    Examples
    --------
    >>> finite({"before": 31.5, "after": [float("inf"), float("nan")]})
    {'before': 31.5, 'after': [None, None]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object from a file; ValueError where it is not there or none, naming it."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(found).__name__}")
    return found
