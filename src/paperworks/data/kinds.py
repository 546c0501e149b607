"""What :func:`paperworks.data.load` returns: one frozen record per kind of data, NumPy throughout.

The arrays are the caller's own: every call reads afresh, so changing one changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Array = np.ndarray[Any, np.dtype[Any]]


class _Brief:
    """Prints shapes and lengths in place of the data."""

    def __repr__(self) -> str:
        parts = [f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(parts)})"


def _brief(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"<{value.dtype} {value.shape}>"
    if isinstance(value, tuple) and value and not isinstance(value[0], str):
        return f"<{len(value)} records>"
    if isinstance(value, str) and len(value) > 200:
        return f"<{len(value)} characters>"
    return repr(value)


@dataclass(frozen=True, eq=False, repr=False)
class Images(_Brief):
    """Labelled inputs in a training and a test part.

    Attributes
    ----------
    x_train, x_test : ndarray
        Grey images ``(n, height, width)`` uint8, colour images ``(n, height, width, 3)`` uint8, or
        signals ``(n, length)`` float64 for ``mnist1d``.
    y_train, y_test : (n,) ndarray of int64
        The class of each, an index into ``classes``.
    classes : tuple of str
        What the classes are called.
    name : str
        The data set's name.
    about : str
        Which form of the data this is, and where it departs from the original.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: tuple[str, ...]
    name: str = ""
    about: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Text(_Brief):
    """Running text in three parts; a part that is not here is None.

    Attributes
    ----------
    train, valid, test : str or None
        The parts, as published.
    name, about : str
        As for :class:`Images`.
    """

    train: str | None
    valid: str | None
    test: str | None
    name: str = ""
    about: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Records(_Brief):
    """Problems as a list of dictionaries, their fields as published.

    Attributes
    ----------
    train, test : tuple of dict
        The two parts; ``train`` is empty where a set is for testing alone.
    name, about : str
        As for :class:`Images`.
    """

    train: tuple[Mapping[str, Any], ...]
    test: tuple[Mapping[str, Any], ...]
    name: str = ""
    about: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Graph(_Brief):
    """One undirected graph with node features and labels.

    Attributes
    ----------
    adjacency : (n, n) scipy.sparse.csr_array of float64
        Symmetric, entries 0 and 1, no self-loops.
    features : (n, d) scipy.sparse.csr_array of float32
        As published, rows not normalised.
    labels : (n,) ndarray of int64
        The class of each node; -1 where unknown.
    train_index, val_index, test_index : ndarray of int64
        The public split; empty where there is none.
    has_features : (n,) ndarray of bool
        False for nodes whose features are not here (their rows are empty).
    name, about : str
        As for :class:`Images`.
    """

    adjacency: csr_array
    features: csr_array
    labels: Array
    train_index: Array
    val_index: Array
    test_index: Array
    has_features: Array
    name: str = ""
    about: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Regression(_Brief):
    """A table for regression with its published splits.

    Attributes
    ----------
    X : (n, d) ndarray of float64
        The features in their raw units.
    y : (n,) ndarray of float64
        The target in its raw unit.
    test_splits : (splits, m) ndarray of int64
        Row ``i`` holds the test rows of split ``i``; no row at all where no splits are published.
    feature_names : tuple of str
        Empty where the source does not name them.
    name, about : str
        As for :class:`Images`.
    """

    X: Array
    y: Array
    test_splits: Array
    feature_names: tuple[str, ...] = ()
    name: str = ""
    about: str = ""

    def split(self, i: int) -> tuple[Array, Array]:
        """Row numbers of the training part (ascending) and of the test part of split ``i``.

        Raises
        ------
        ValueError
            Where there is no split ``i``.
        """
        if not 0 <= i < len(self.test_splits):
            raise ValueError(
                f"{self.name} has {len(self.test_splits)} published splits, counted from 0; got {i}"
            )
        test = self.test_splits[i]
        return np.setdiff1d(np.arange(len(self.y)), test), test


Kind = Images | Text | Records | Graph | Regression
KINDS: Mapping[str, type[Kind]] = {
    "images": Images,
    "text": Text,
    "records": Records,
    "graph": Graph,
    "regression": Regression,
}


def class_names(names: Sequence[str] | int) -> tuple[str, ...]:
    """The names given, or "0", "1", ... for a number of classes."""
    return tuple(map(str, range(names))) if isinstance(names, int) else tuple(names)
