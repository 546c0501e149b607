"""From generated programs to their sets at every threshold, and to the judgement of these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from paperworks.statistics.pac_code.cuts import best_cuts
from paperworks.statistics.pac_code.greedy import (
    greedy_sequence,
    stopped_at_cost,
    stopped_at_share,
)
from paperworks.statistics.pac_code.languages import parse
from paperworks.statistics.pac_code.partial import PartialProgram
from paperworks.statistics.pac_code.records import ScoredProgram, from_json
from paperworks.statistics.pac_code.tree import ProgramError, ProgramTree, charge

METHODS = ("milp", "greedy", "statements", "uniform")


def scored_programs(
    programs: Iterable[ScoredProgram | Mapping[str, Any]],
) -> list[ScoredProgram]:
    """The programs, those that are dicts read as lines of a file."""
    if isinstance(programs, (str, Mapping, ScoredProgram)):
        raise ValueError("programs must be a list of ScoredProgram or dict, got a single one")
    listed = []
    for at, each in enumerate(programs):
        if isinstance(each, ScoredProgram):
            listed.append(each)
            continue
        try:
            listed.append(from_json(each))
        except ValueError as error:
            raise ValueError(f"program {at}: {error}") from None
    return listed


def true_trees(
    programs: Sequence[ScoredProgram], targets: Any, language: str, dialect: str
) -> list[ProgramTree]:
    """The true programs: the targets given, or else each program's own."""
    if targets is None:
        targets = [program.target for program in programs]
    elif isinstance(targets, str):
        raise ValueError(f"targets must be a list of programs, got a string: {targets!r:.80}")
    elif len(targets) != len(programs):
        raise ValueError(f"{len(programs)} programs, but {len(targets)} targets; one for each")
    found = []
    for at, target in enumerate(targets):
        if target is None:
            raise ValueError(f"program {at} has no target; each needs its true program")
        try:
            found.append(parse(target, language, dialect))
        except ProgramError as error:
            raise ProgramError(f"the target of program {at} does not parse: {error}") from None
    return found


def families(
    programs: Sequence[ScoredProgram],
    levels: NDArray[np.float64],
    *,
    max_holes: int,
    method: str,
    language: str,
    dialect: str,
    unparsed: str,
    time_limit: float | None,
    n_jobs: int,
) -> list[list[PartialProgram]]:
    """The sets of every program at every level, from the largest to the smallest."""
    trees = [_tree(at, program, language, dialect, unparsed) for at, program in enumerate(programs)]
    costs = [
        None if tree is None else charge(tree, program)
        for tree, program in zip(trees, programs, strict=True)
    ]
    work = Parallel(n_jobs=n_jobs)(
        delayed(_removed)(tree.parent, cost, tree.units, levels, max_holes, method, time_limit)
        for tree, cost in zip(trees, costs, strict=True)
        if tree is not None and cost is not None
    )
    rest = iter(work)
    found = []
    for program, tree, cost in zip(programs, trees, costs, strict=True):
        removed = None if tree is None else next(rest)
        family = []
        for at, level in enumerate(levels):
            cut: tuple[int, ...] = ()
            kept = 0.0
            if tree is not None and removed is not None and cost is not None:
                cut, kept = tree.cut_of(removed[at]), float(cost[~removed[at]].sum())
            family.append(
                PartialProgram(tree, program.code, cut, float(level), kept, language, dialect)
            )
        found.append(family)
    return found


def _tree(
    at: int, program: ScoredProgram, language: str, dialect: str, unparsed: str
) -> ProgramTree | None:
    try:
        return parse(program.code, language, dialect)
    except ProgramError as error:
        if unparsed == "hole":
            return None
        raise ProgramError(
            f"program {at} does not parse: {error}; leave it out, or set unparsed='hole'"
        ) from None


def _removed(
    parent: NDArray[np.int64],
    cost: NDArray[np.float64],
    units: NDArray[np.bool_],
    levels: NDArray[np.float64],
    max_holes: int,
    method: str,
    time_limit: float | None,
) -> NDArray[np.bool_]:
    """Removed nodes at every level, by one of the methods."""
    if method in ("milp", "statements"):
        allowed = units if method == "statements" else None
        return best_cuts(parent, cost, levels, max_holes, allowed=allowed, time_limit=time_limit)
    steps = greedy_sequence(parent, cost, max_holes)
    if method == "greedy":
        return stopped_at_cost(steps, cost, levels)
    return stopped_at_share(steps, levels)


def judged(
    family: Sequence[PartialProgram], truth: ProgramTree
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of each level: whether the truth is in the set, and the share of nodes removed."""
    known: dict[tuple[int, ...], tuple[bool, float]] = {}
    for each in family:
        if each.cut not in known:  # many levels share a cut
            known[each.cut] = each.contains(truth), each.removed
    held, gone = zip(*(known[each.cut] for each in family), strict=True)
    return np.array(held), np.array(gone)


def set_at(family: Sequence[PartialProgram], at: int) -> PartialProgram:
    """The set at a level; below the first it is one hole."""
    if at >= 0:
        return family[at]
    first = family[0]
    return PartialProgram(
        first.tree,
        first.text,
        (0,) if first.tree else (),
        -math.inf,
        0.0,
        first.language,
        first.dialect,
    )
