"""The folder of a compression that is not finished: whose it is, and what it took so far."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paperworks.writing import read_json, write_json


class OtherRunError(ValueError):
    """What lies in the way was begun with other settings, or is at work now."""


class Partial:
    """``OUT.partial``, and what the runs that work in it take together.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._started = time.perf_counter()
        self._before: dict[str, Any] = {"seconds": 0.0, "peak_memory": None}

    @contextmanager
    def claimed(self, request: dict[str, Any]) -> Iterator[None]:
        """Take what an interrupted run of the same request left, or begin anew.

        Left again when the block raises before any layer is finished, the folder is removed:
        nothing in it is worth to go on from.

        Raises
        ------
        OtherRunError
            If the folder was begun with another request, or another process works in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            self._compare(request)
            try:
                yield
            finally:
                if not holds_blocks(self.folder):
                    shutil.rmtree(self.folder, ignore_errors=True)

    def note(self) -> None:
        """Write what was taken so far, for a run that goes on from here."""
        write_json(self.folder / "taken.json", self.taken())

    def taken(self) -> dict[str, Any]:
        """Seconds of all runs together, and the most bytes that one of them has held."""
        peaks = [peak for peak in (self._before["peak_memory"], peak_memory()) if peak is not None]
        return {
            "seconds": self._before["seconds"] + time.perf_counter() - self._started,
            "peak_memory": max(peaks, default=None),
        }

    def _compare(self, request: dict[str, Any]) -> None:
        note = self.folder / "request.json"
        if not note.is_file():
            write_json(note, request)
            return
        begun = read_json(note)
        differing = [key for key in request if begun.get(key) != request[key]]
        if differing:
            raise OtherRunError(
                f"{self.folder} was begun with another {' and '.join(differing)}: remove it, or "
                "choose another --out"
            )
        if (self.folder / "taken.json").is_file():
            self._before = read_json(self.folder / "taken.json")


def holds_blocks(folder: Path) -> bool:
    """Whether there is something in a folder to go on from."""
    return any(folder.rglob("*.safetensors"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; POSIX only."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OtherRunError(
                f"another process works on {folder} now: wait for it, or choose another --out"
            ) from None
        yield


def peak_memory() -> int | None:
    """The most bytes that this process has held so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def files_of(model: str | os.PathLike[str]) -> list[list[Any]] | None:
    """Name, size and time of each file of a model's folder; None where it is no folder."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        [path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for path in found
    ]
