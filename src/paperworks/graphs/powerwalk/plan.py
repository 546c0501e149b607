"""A batch of queries, checked, and the shape of its answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from paperworks.graphs.powerwalk.ranking import PersonalizedRanks

Dangling = Literal["restart", "stay"]

MOST_ROUNDS = 10_000


class Plan:
    """A checked batch of queries as flat arrays."""

    def __init__(
        self, starts: np.ndarray, rows: np.ndarray, weights: np.ndarray, targets: np.ndarray,
        mass: np.ndarray, *, error: float, top: int, rounds: int, fixed: bool, gain: float,
    ):  # fmt: skip
        self.starts, self.rows, self.weights = starts, rows, weights
        self.targets, self.mass = targets, mass
        self.error, self.top, self.rounds = error, top, rounds
        self.fixed, self.gain = fixed, gain

    @property
    def size(self) -> int:
        """How many queries."""
        return self.starts.size - 1

    @classmethod
    def of(
        cls, walk: Any, sources: Iterable[Any], *, top: int | None, error: float,
        rounds: int | None, dangling: str,
    ) -> Plan:  # fmt: skip
        """Check the queries of a batch."""
        if top is not None and (not isinstance(top, (int, np.integer)) or top < 1):
            raise ValueError(f"top must be a whole number >= 1, got {top!r}")
        if not (isinstance(error, (int, float, np.floating)) and 0 < error < math.inf):
            raise ValueError(f"error must be > 0 and finite, got {error!r}")
        if rounds is not None and (not isinstance(rounds, (int, np.integer)) or rounds < 0):
            raise ValueError(f"rounds must be a whole number >= 0, got {rounds!r}")
        if dangling not in ("restart", "stay"):
            raise ValueError(f"dangling must be 'restart' or 'stay', got {dangling!r}")
        names = walk._names
        plain = isinstance(sources, np.ndarray) and sources.ndim == 1
        listed: Any = sources if plain else list(sources)
        if all(isinstance(each, (int, np.integer, str)) for each in listed[:1]) and not any(
            isinstance(each, (dict, np.ndarray)) for each in (() if plain else listed)
        ):
            rows = names.rows(listed)
            weights, starts = np.ones(rows.size), np.arange(rows.size + 1)
        else:
            given = [names.distribution(source) for source in listed]
            sizes = [part[0].size for part in given]
            starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
            rows = np.concatenate([part[0] for part in given] or [np.empty(0, dtype=np.int64)])
            weights = np.concatenate([part[1] for part in given] or [np.empty(0)])
        mass, gain = np.ones(starts.size - 1), 1.0
        if walk.has_dangling and dangling == "restart":
            mass = np.add.reduceat(walk._mass[rows] * weights, starts[:-1]) if rows.size else mass
        elif walk.has_dangling:
            gain = 1.0 / walk.restart  # of x at a dangling vertex, to stay there until a restart
        return cls(
            starts, rows, weights, error * mass / gain, mass, error=error, top=int(top or 0),
            rounds=MOST_ROUNDS if rounds is None else int(rounds), fixed=rounds is not None,
            gain=gain,
        )  # fmt: skip

    def results(self, pieces: list[tuple[np.ndarray, ...]], names: np.ndarray) -> PersonalizedRanks:
        """The answers, one after another, each with its largest scores first."""
        if not pieces:
            none = np.empty(0)
            whole = np.empty(0, dtype=np.int64)
            return PersonalizedRanks(
                np.zeros(1, dtype=np.int64), whole, none, none, whole.astype(bool), whole, none,
                names,
            )  # fmt: skip
        sizes, rows, scores, numbers = (np.concatenate(part) for part in zip(*pieces, strict=True))
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        if not self.top:
            for a, b in pairwise(indptr):
                order = np.lexsort((rows[a:b], -scores[a:b]))
                rows[a:b], scores[a:b] = rows[a:b][order], scores[a:b][order]
        errors = numbers[:, 0]
        return PersonalizedRanks(
            indptr=indptr,
            rows=rows,
            scores=scores,
            error=errors,
            converged=np.full(errors.size, True)
            if self.fixed
            else errors <= self.error * (1 + 1e-9),
            rounds=numbers[:, 2].astype(np.int64),
            left=numbers[:, 1],
            names=names,
        )
