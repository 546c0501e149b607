"""What can go wrong between here and a file, each error with its way out in the message."""

from __future__ import annotations

from pathlib import Path


class DataError(RuntimeError):
    """A data set or a model cannot be had; the parent of the errors below."""


class MissingDataError(DataError):
    """The files are not on this machine."""


class DownloadError(DataError):
    """No host gave the file, or what it gave was refused."""


class CorruptDataError(DataError):
    """A file's bytes are not those of its checksum; ``path`` is the file."""

    def __init__(self, path: Path, wrong: str, way_out: str) -> None:
        super().__init__(f"{path} is damaged or not the expected version ({wrong}). {way_out}")
        self.path = path
