"""The state of a training in one file: there whole or not at all, and refused if damaged, or of
other settings; a folder held by one process alone; and Ctrl-C held back until a state is whole.
"""

from __future__ import annotations

import hashlib
import pickle
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from paperworks.writing import whole

WAY_OUT = "remove it to begin again, or choose another folder"


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write what ``torch.save`` can; an older file stays until the new one is whole."""
    with whole(path) as part:
        torch.save(dict(state), part)


def check_settings(path: str | Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on from a state of other settings.

    Raises
    ------
    ValueError
        Naming the file, each setting that differs, and both values.
    """
    other = [
        f"{key} is {theirs.get(key)} there and {value} here"
        for key, value in ours.items()
        if theirs.get(key) != value
    ]
    if other:
        raise ValueError(f"{path} has other settings: {'; '.join(other)}; {WAY_OUT}")


def digest(*tensors: Tensor) -> str:
    """The SHA-256 of the values of tensors, in hexadecimal digits."""
    found = hashlib.sha256()
    for each in tensors:  # as bytes, since NumPy has not all dtypes
        found.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def alone_in(folder: Path, what: str = "trains") -> Iterator[None]:
    """Hold a folder, made where it is not there, for this process.

    Raises
    ------
    RuntimeError
        If another one holds it; ``what`` it does there is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise RuntimeError(f"another process {what} in {folder}: wait for it, or end it") from error


@contextmanager
def interrupts_later() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C, so that work ends where its state is whole; a second one is not held back.

    Yields
    ------
    callable
        ``came()``: whether there was one. Where Ctrl-C does not raise KeyboardInterrupt here, in
        another thread or under the caller's own handler, it is left alone.
    """
    came = threading.Event()

    def remember(*_: object) -> None:
        came.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, remember)
    try:
        yield came.is_set
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def load_checkpoint(path: str | Path, kind: str) -> dict[str, Any]:
    """Read the state of a training on the CPU; no code in the file is run.

    Parameters
    ----------
    path : path
    kind : str
        What the state's "format" must be.

    Raises
    ------
    ValueError
        If the file is damaged or of another kind; it is named.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            damaged = archive.testzip()
        state = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no whole checkpoint ({error}): {WAY_OUT}") from error
    if damaged:
        raise ValueError(f"{path} is no whole checkpoint ({damaged} is damaged): {WAY_OUT}")
    if not isinstance(state, dict) or state.get("format") != kind:
        raise ValueError(f"{path} is no {kind}: {WAY_OUT}")
    return state
