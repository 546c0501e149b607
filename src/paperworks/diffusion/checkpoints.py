"""The state of a training in one file: there whole or not at all, and refused if damaged."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paperworks.writing import whole

WAY_OUT = "remove it to begin again, or choose another folder"


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write what ``torch.save`` can; an older file stays until the new one is whole."""
    with whole(path) as part:
        torch.save(dict(state), part)


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
