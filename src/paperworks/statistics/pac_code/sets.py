"""PAC prediction sets of programs.

Khakhar, Mell and Bastani, "PAC Prediction Sets for Large Language Models of Code" (ICML 2023,
arXiv 2302.08703). A set is one partial program: the model's own program with at most ``max_holes``
subtrees cut out. For a threshold ``tau`` as few nodes as possible go such that the negative
log-likelihood of what stays is at most ``tau`` (:mod:`paperworks.statistics.pac_code.cuts`); the
sets shrink as ``tau`` grows. Calibration takes the largest threshold with which few enough of the
calibration programs are missed (:mod:`paperworks.statistics.pac_code.calibration`).

Departures. A token is charged to one node (see :func:`paperworks.statistics.pac_code.tree.charge`).
A hole in a list stands for any run of items; the authors' code asks only that what stays be found
among the target's children, which leaves unclear what a reader may fill in. Where no threshold will
do, the set is one hole, which misses nothing; the authors' code has no such level.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from paperworks.statistics.checking import probability
from paperworks.statistics.pac_code.calibration import allowed_misses, miss_bound
from paperworks.statistics.pac_code.families import (
    METHODS,
    families,
    judged,
    scored_programs,
    set_at,
    true_trees,
)
from paperworks.statistics.pac_code.languages import LANGUAGES
from paperworks.statistics.pac_code.partial import PartialProgram
from paperworks.statistics.pac_code.records import ScoredProgram
from paperworks.writing import write_json

_FORMAT = "paperworks pac-code 1"


@dataclass(frozen=True)
class SetReport:
    """How sets do on programs whose truth is known.

    Parameters
    ----------
    programs : int
        How many.
    misses : int
        True programs that are not in their sets.
    removed : float
        Mean share of nodes that are holes, 0 to 1.
    holes : float
        Mean number of holes.
    whole : float
        Share of sets that are one hole.

    Examples
    --------
    >>> SetReport(programs=40, misses=4, removed=0.3, holes=1.2, whole=0.0).coverage
    0.9
    """

    programs: int
    misses: int
    removed: float
    holes: float
    whole: float

    @property
    def coverage(self) -> float:
        """Share of true programs that are in their sets."""
        return 1 - self.misses / self.programs


class PACCodeSets(BaseEstimator):
    """Prediction sets of programs, each one partial program with holes, with a PAC guarantee.

    For a model that writes code and says how sure it was of each token. With probability at least
    ``1 - delta`` over the calibration programs, the true program of a new prompt is in the set
    with probability at least ``1 - epsilon``. The guarantee assumes that calibration programs and
    new ones are independent draws from one distribution (prompt, truth and generation), and that
    the settings here, thresholds included, were fixed without looking at the calibration programs.
    It holds on average over new programs, not for each kind of them.

    Parameters
    ----------
    epsilon : float, default=0.1
        Largest probability of a miss, in (0, 1).
    delta : float, default=0.05
        Largest probability that the guarantee does not hold, in (0, 1).
    max_holes : int, default=3
        m, the most subtrees that are cut. More give smaller sets, and holes that are harder to
        read. The paper shows 1 to 4.
    method : {"milp", "greedy", "statements", "uniform"}, default="milp"
        How to choose them. ``"milp"``: the fewest nodes, by an integer program over all
        thresholds at once. ``"greedy"``: the costliest leaf after the other, the paper's variant;
        faster, larger sets. Two baselines: ``"statements"``: the integer program where only whole
        statements (Python) or clauses (SQL) may go; ``"uniform"``: in the greedy order the same
        share of every program, however sure the model was.
    thresholds : (k,) array of float, optional
        Increasing levels of what may stay: negative log-likelihood in nats, or for ``"uniform"``
        a share of the nodes. Default: 30 levels, 0.01 to 100 nats in equal ratios, or 0 to 1.
        More levels cost time and lose less between two of them.
    language : {"python", "sql"}, default="python"
        SQL needs the extra ``sql``.
    dialect : str, default=""
        Of sqlglot, for SQL.
    unparsed : {"error", "hole"}, default="error"
        What to do with a generated program that does not parse: raise, or take one hole for its
        set, at every threshold.
    time_limit : float, optional
        Seconds for one integer program, default 60; None for no limit.
    n_jobs : int, default=1
        Programs in parallel (joblib).

    Attributes
    ----------
    threshold_ : float
        The calibrated threshold; ``-inf`` where only single holes will do.
    n_calibration_ : int
        Calibration programs.
    allowed_misses_, misses_ : int
        Misses that were allowed, and those at ``threshold_``.
    miss_bound_ : float
        Upper Clopper-Pearson bound, at level ``1 - delta``, of the miss rate at ``threshold_``.
        At most ``epsilon``.
    thresholds_ : (k,) float
        The levels.
    misses_at_ : (k,) int
        Calibration misses at each level; not decreasing.
    removed_at_ : (k,) float
        Mean share of nodes removed at each level; not increasing.

    Raises
    ------
    ValueError
        For parameters out of range, too few calibration programs (with the number needed),
        missing targets, and programs that do not parse.

    Notes
    -----
    An integer program of up to k n binary variables for a program of n nodes: tens of
    milliseconds for one line, seconds for 80 nodes with many holes. Greedy cuts are O(n^2).

    Examples
    --------
    >>> sure, unsure = [-0.02, -0.01, -0.05], [-0.02, -0.01, -2.0]
    >>> programs = [ScoredProgram(["x", " + ", "y"], sure, target="x + y") for _ in range(30)]
    >>> programs += [ScoredProgram(["x", " + ", "y"], unsure, target="x + z") for _ in range(10)]
    >>> sets = PACCodeSets(epsilon=0.1, max_holes=1).fit(programs)
    >>> print(*sets.predict([programs[0], programs[-1]]), sep="; ")
    x + y; x + ??
    >>> sets.n_calibration_, sets.misses_, sets.miss_bound_ <= 0.1
    (40, 0, True)
    """

    def __init__(
        self,
        epsilon: float = 0.1,
        delta: float = 0.05,
        *,
        max_holes: int = 3,
        method: str = "milp",
        thresholds: ArrayLike | None = None,
        language: str = "python",
        dialect: str = "",
        unparsed: str = "error",
        time_limit: float | None = 60.0,
        n_jobs: int = 1,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.max_holes = max_holes
        self.method = method
        self.thresholds = thresholds
        self.language = language
        self.dialect = dialect
        self.unparsed = unparsed
        self.time_limit = time_limit
        self.n_jobs = n_jobs

    def fit(
        self, programs: Iterable[ScoredProgram | Mapping[str, Any]], targets: Any = None
    ) -> PACCodeSets:
        """Calibrate the threshold.

        Parameters
        ----------
        programs : iterable of ScoredProgram or dict
            Generated programs (a dict as a line of a file, see :func:`read_programs`).
        targets : sequence of str, optional
            The true programs; default each program's own ``target``.

        Returns
        -------
        PACCodeSets
            Itself, calibrated.
        """
        levels = self._check()
        listed = scored_programs(programs)
        allowed = allowed_misses(len(listed), self.epsilon, self.delta)
        truths = true_trees(listed, targets, self.language, self.dialect)
        families = self._families(listed, levels)
        misses = np.zeros(len(levels), dtype=np.int64)
        removed = np.zeros(len(levels))
        for family, truth in zip(families, truths, strict=True):
            held, gone = judged(family, truth)
            misses += ~held
            removed += gone
        # The first level with too many misses ends it. The sets are nested, so that a later one
        # cannot have fewer; with any family of sets this rule keeps the guarantee.
        too_many = np.flatnonzero(misses > allowed)
        last = (int(too_many[0]) if too_many.size else len(levels)) - 1
        self.thresholds_ = levels
        self.n_calibration_ = len(listed)
        self.allowed_misses_ = allowed
        self.misses_at_ = misses
        self.removed_at_ = removed / len(listed)
        self.threshold_ = float(levels[last]) if last >= 0 else -math.inf
        self.misses_ = int(misses[last]) if last >= 0 else 0
        self.miss_bound_ = miss_bound(self.misses_, len(listed), self.delta)
        if last < 0:
            warnings.warn(
                f"even at the smallest threshold, {levels[0]:g}, {misses[0]} of {len(listed)} "
                f"true programs are missed and {allowed} may be: every set is one hole. The model "
                "is sure of what is wrong; ask for a larger epsilon, or allow more holes",
                UserWarning,
                stacklevel=2,
            )
        return self

    def predict(
        self, programs: Iterable[ScoredProgram | Mapping[str, Any]]
    ) -> list[PartialProgram]:
        """The set of each generated program, at the calibrated threshold.

        Returns
        -------
        list of PartialProgram
        """
        check_is_fitted(self, "threshold_")
        listed = scored_programs(programs)
        at = int(np.searchsorted(self.thresholds_, self.threshold_, side="right")) - 1
        families = self._families(listed, self.thresholds_)
        return [set_at(family, at) for family in families]

    def evaluate(
        self, programs: Iterable[ScoredProgram | Mapping[str, Any]], targets: Any = None
    ) -> SetReport:
        """Coverage and size of the calibrated sets on programs whose truth is known.

        Returns
        -------
        SetReport
        """
        check_is_fitted(self, "threshold_")
        listed = scored_programs(programs)
        if not listed:
            raise ValueError("no programs to evaluate on")
        truths = true_trees(listed, targets, self.language, self.dialect)
        sets = self.predict(listed)
        misses = sum(not each.contains(truth) for each, truth in zip(sets, truths, strict=True))
        return SetReport(
            programs=len(listed),
            misses=misses,
            removed=float(np.mean([each.removed for each in sets])),
            holes=float(np.mean([each.holes for each in sets])),
            whole=float(np.mean([each.removed == 1 for each in sets])),
        )

    def family(self, program: ScoredProgram | Mapping[str, Any]) -> list[PartialProgram]:
        """The sets of one program at every threshold, nested: the first is the largest."""
        return self._families(scored_programs([program]), self._check())[0]

    def cut(self, program: ScoredProgram | Mapping[str, Any], threshold: float) -> PartialProgram:
        """The set of one program at the largest level that is not above ``threshold``.

        Needs no calibration, and gives no guarantee.
        """
        levels = self._check()
        if math.isnan(threshold):
            raise ValueError(f"threshold must be a number, got {threshold}")
        at = int(np.searchsorted(levels, threshold, side="right")) - 1
        return set_at(self.family(program), at)

    def save(self, path: str | Path) -> None:
        """Write settings and calibration as JSON, whole or not at all."""
        check_is_fitted(self, "threshold_")
        settings = self.get_params() | {"thresholds": self.thresholds_.tolist()}
        fitted = {
            "threshold": None if self.threshold_ == -math.inf else self.threshold_,
            "n_calibration": self.n_calibration_,
            "allowed_misses": self.allowed_misses_,
            "misses": self.misses_,
            "miss_bound": self.miss_bound_,
            "misses_at": self.misses_at_.tolist(),
            "removed_at": self.removed_at_.tolist(),
        }
        write_json(path, {"format": _FORMAT, "settings": settings, "calibration": fitted})

    @classmethod
    def load(cls, path: str | Path) -> PACCodeSets:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            Where the file is no such calibration.
        """
        try:
            content = json.loads(Path(path).read_text("utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}")
            fitted = content["calibration"]
            sets = cls(**content["settings"])
            sets.thresholds_ = sets._check()
            sets.misses_at_ = np.array(fitted["misses_at"], dtype=np.int64)
            sets.removed_at_ = np.array(fitted["removed_at"], dtype=float)
            none = fitted["threshold"] is None
            sets.threshold_ = -math.inf if none else float(fitted["threshold"])
            for name in ("n_calibration", "allowed_misses", "misses"):
                setattr(sets, f"{name}_", int(fitted[name]))
            sets.miss_bound_ = float(fitted["miss_bound"])
        except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} holds no calibration of PACCodeSets ({error})") from None
        return sets

    def _check(self) -> NDArray[np.float64]:
        """The levels, all parameters checked."""
        probability("epsilon", self.epsilon)
        probability("delta", self.delta)
        if isinstance(self.max_holes, bool) or not isinstance(self.max_holes, Integral):
            raise ValueError(f"max_holes must be a whole number, got {self.max_holes!r}")
        if self.max_holes < 1:
            raise ValueError(f"max_holes must be >= 1, got {self.max_holes}")
        limit = self.time_limit
        if limit is not None and not (isinstance(limit, Real) and limit > 0):
            raise ValueError(f"time_limit must be > 0 or None, got {self.time_limit!r}")
        for name, allowed in (
            ("method", METHODS),
            ("language", LANGUAGES),
            ("unparsed", ("error", "hole")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        share = self.method == "uniform"
        if self.thresholds is None:
            return np.linspace(0, 1, 30) if share else np.geomspace(0.01, 100, 30)
        try:
            levels = np.asarray(self.thresholds, dtype=float)
        except (TypeError, ValueError):
            levels = np.empty(0)
        if levels.ndim != 1 or not levels.size or not np.isfinite(levels).all():
            raise ValueError(
                f"thresholds must be a list of finite numbers, got {self.thresholds!r}"
            )
        if (np.diff(levels) <= 0).any() or levels[0] < 0:
            raise ValueError("thresholds must be >= 0 and increase")
        if share and levels[-1] > 1:
            raise ValueError(
                f"thresholds of method='uniform' are shares of 0 to 1, got {levels[-1]}"
            )
        return levels

    def _families(
        self, programs: list[ScoredProgram], levels: NDArray[np.float64]
    ) -> list[list[PartialProgram]]:
        self._check()
        return families(
            programs,
            levels,
            max_holes=self.max_holes,
            method=self.method,
            language=self.language,
            dialect=self.dialect,
            unparsed=self.unparsed,
            time_limit=self.time_limit,
            n_jobs=self.n_jobs,
        )
