"""Readers of regression tables and their published splits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paperworks.data.readers.raw import Fields, unpacked


def regression_npz(paths: Sequence[Path]) -> Fields:
    """The converted tables: X, y, and where published test_splits and feature_names."""
    with np.load(paths[0], allow_pickle=False) as file:
        arrays = dict(file)
    splits = arrays.get("test_splits", np.zeros((0, 0)))
    return {
        "X": arrays["X"],
        "y": arrays["y"],
        "test_splits": splits.astype(np.int64),
        "feature_names": tuple(map(str, arrays.get("feature_names", ()))),
    }


def regression_table(
    paths: Sequence[Path], *, splits: int, target: int = -1, names: Sequence[str] = ()
) -> Fields:
    """A table of numbers, its target in column ``target`` and its features before that.

    The published splits are those of Hernandez-Lobato and Adams (2015): in turn for each split a
    permutation from NumPy's legacy generator seeded with 1, its last tenth for testing.
    """
    text = unpacked(paths[0]).decode("utf-8")
    delimiter = "," if "," in text.partition("\n")[0] else None
    table = np.loadtxt(io.StringIO(text), delimiter=delimiter, ndmin=2)
    n = len(table)
    legacy = np.random.RandomState(1)
    cut = round(n * 9.0 / 10)
    tests = [legacy.choice(n, n, replace=False)[cut:] for _ in range(splits)]
    return {
        "X": np.ascontiguousarray(table[:, :target]),
        "y": table[:, target].copy(),
        "test_splits": np.array(tests, dtype=np.int64).reshape(splits, n - cut if splits else 0),
        "feature_names": tuple(names),
    }
