"""Names of nodes and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np


class UnknownNodeError(KeyError):
    """A node that is not in the graph."""

    def __str__(self) -> str:
        # A KeyError would show its message in quotes.
        return str(self.args[0])


class Names:
    """Finds the numbers of nodes by their names.

    Parameters
    ----------
    values : (n,) ndarray
        Integers, strings, or any hashable objects.
    """

    def __init__(self, values: np.ndarray):
        self.values = values

    @cached_property
    def _counted(self) -> bool:
        n = len(self.values)
        return self.values.dtype.kind in "iu" and bool(np.array_equal(self.values, np.arange(n)))

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {name: i for i, name in enumerate(self.values.tolist())}

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.values, kind="stable")

    def rows(self, names: Iterable[Any]) -> np.ndarray:
        """The number of each name, (k,) int64; KeyError for one that is not there."""
        listed = names if isinstance(names, np.ndarray) else list(names)
        if len(listed) == 0:
            return np.empty(0, dtype=np.int64)
        if self.values.dtype.kind in "iu":
            wanted = np.asarray(listed)
            if wanted.dtype.kind not in "iu" or wanted.ndim != 1:
                wrong = next((x for x in listed if not isinstance(x, (int, np.integer))), listed)
                raise UnknownNodeError(
                    f"node {wrong!r} is not in the graph, whose nodes are integers"
                )
            if self._counted:
                bad = (wanted < 0) | (wanted >= len(self.values))
                found = wanted.astype(np.int64)
            else:
                at = np.searchsorted(self.values, wanted, sorter=self._order)
                found = self._order[np.minimum(at, len(self.values) - 1)]
                bad = self.values[found] != wanted
            if bad.any():
                raise UnknownNodeError(f"node {wanted[bad][0]} is not in the graph")
            return found
        found = np.empty(len(listed), dtype=np.int64)
        for i, name in enumerate(listed):
            try:
                found[i] = self._places[name.item() if isinstance(name, np.generic) else name]
            except (KeyError, TypeError):
                raise UnknownNodeError(f"node {name!r} is not in the graph") from None
        return found

    def distribution(self, source: Any) -> tuple[np.ndarray, np.ndarray]:
        """A source as rows, ascending, and weights that add up to 1.

        Raises
        ------
        KeyError
            For a name that is not there.
        ValueError
            For weights that are negative, not finite, or all 0.
        """
        n = len(self.values)
        if isinstance(source, Mapping):
            rows = self.rows(source.keys())
            weights = _numbers(list(source.values()))
        elif isinstance(source, np.ndarray) and source.ndim == 1:
            if source.size != n:
                raise ValueError(
                    f"a start distribution over all {n} nodes must have {n} weights, got "
                    f"{source.size}; for some nodes give a dict of their weights"
                )
            rows, weights = np.arange(n), _numbers(source)
        else:
            return self.rows([source]), np.ones(1)
        bad = ~np.isfinite(weights) | (weights < 0)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"weights of a start distribution must be >= 0 and finite, got {weights[at]} for "
                f"node {self.values[rows[at]]}"
            )
        kept = weights > 0
        rows, weights = rows[kept], weights[kept]
        if not rows.size:
            raise ValueError("the weights of a start distribution are all 0")
        order = np.argsort(rows)
        with np.errstate(over="ignore"):
            total = weights.sum()
        if not np.isfinite(total):
            raise ValueError("the weights of a start distribution add up to infinity")
        return rows[order], weights[order] / total


def _numbers(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights of a start distribution must be numbers: {error}") from None


def storable(names: np.ndarray) -> np.ndarray:
    """Names as integers or fixed-width strings."""
    if names.dtype.kind in "iuU":
        return names
    if all(isinstance(name, str) for name in names):
        return names.astype(str)
    wrong = next(name for name in names if not isinstance(name, str))
    raise ValueError(
        f"an index file holds nodes named by integers or strings, got {wrong!r}: relabel the "
        "graph (networkx.convert_node_labels_to_integers) before building"
    )
