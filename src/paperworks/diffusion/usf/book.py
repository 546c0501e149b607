"""The scores of a search, in memory and on disk: every sampler has one, and is evaluated once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from paperworks.diffusion.checkpoints import alone_in
from paperworks.diffusion.schedules import Schedule
from paperworks.diffusion.usf.coefficients import function_key
from paperworks.diffusion.usf.decisions import Decisions
from paperworks.writing import read_json, write_bytes

Scored = tuple[Decisions, float]
SAME = 1e-3
"""How far apart, in parts of it, a score may be from itself on another machine or another number of
threads.
"""


class Book:
    """The scores of a search, in memory and on disk."""

    def __init__(
        self,
        objective: Callable[[Decisions], float],
        schedule: Schedule,
        budget: int,
        jobs: int,
        folder: str | Path | None,
        progress: Callable[[int, int, Decisions, float], None] | None,
    ):
        self.objective, self.schedule, self.budget = objective, schedule, budget
        self.jobs, self.progress = jobs, progress
        self.folder = None if folder is None else Path(folder)
        self.scores: dict[str, float] = {}
        self.history: list[Scored] = []
        self._records: dict[str, dict[str, Any]] = {}  # with those of an earlier run
        self._best = math.inf  # of these

    @contextmanager
    def open(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder, and take over the scores of an earlier run of the same search."""
        self._settings = json.loads(json.dumps(settings))
        if self.folder is None:
            yield
            return
        with alone_in(self.folder, "searches"):
            path = self.folder / "search.json"
            if path.exists():
                self._take_over(path)
            yield

    def _take_over(self, path: Path) -> None:
        data = read_json(path)
        for name, value in self._settings.items():
            if data["settings"].get(name) != value:
                raise ValueError(
                    f"{path} is of another search: its {name} is {data['settings'].get(name)!r}, "
                    f"not {value!r}; take another folder"
                )
        records = data["evaluated"]
        # An objective has no name to know it by: one of its scores says whether it is the same.
        finite = [each for each in records if each["score"] is not None]
        if finite:
            first, best = finite[0], min(finite, key=lambda each: each["score"])
            now = _scored(self.objective, _decisions(first))
            if now is None or not math.isclose(now, first["score"], rel_tol=SAME, abs_tol=1e-12):
                raise ValueError(
                    f"{path} is of another objective: its first schedule has the score "
                    f"{first['score']:.6g} there and {now if now is None else f'{now:.6g}'} now; "
                    "take another folder"
                )
            self._keep_best(_decisions(best), best["score"])
        self._records = {each["key"]: each for each in records}

    def evaluate(self, candidates: Sequence[Decisions]) -> None:
        """Score those that are new, as far as the budget goes."""
        fresh: dict[str, Decisions] = {}
        for each in candidates:
            key = function_key(self.schedule, each)
            if key not in self.scores and len(self.scores) + len(fresh) < self.budget:
                fresh.setdefault(key, each)
        unknown = [each for key, each in fresh.items() if key not in self._records]
        scores = Parallel(n_jobs=self.jobs, return_as="generator")(
            delayed(_scored)(self.objective, each) for each in unknown
        )
        for key, each in fresh.items():
            known = key in self._records
            score = self._records[key]["score"] if known else next(scores)
            if not known:
                self._records[key] = {"key": key, "score": score, **each.to_dict()}
            low = math.inf if score is None else score  # JSON has no infinity
            self.scores[key] = low
            self.history.append((each, low))
            if self.folder is not None and not known:
                self._save(self.folder / "search.json")
            self._keep_best(each, low)
            if self.progress is not None:
                self.progress(
                    len(self.history), self.budget, *min(self.history, key=lambda each: each[1])
                )

    def _keep_best(self, decisions: Decisions, score: float) -> None:
        """The best of all records: a run with a smaller budget leaves it as it was."""
        if score < self._best:
            self._best = score
            if self.folder is not None:
                write_bytes(self.folder / "found.json", decisions.to_json().encode())

    def _save(self, path: Path) -> None:
        """Settings, and a line for every sampler."""
        lines = ",\n".join(map(json.dumps, self._records.values()))
        text = f'{{"settings": {json.dumps(self._settings)},\n"evaluated": [\n{lines}\n]}}\n'
        write_bytes(path, text.encode())


def _decisions(record: Mapping[str, Any]) -> Decisions:
    return Decisions.from_dict({key: record[key] for key in ("times", "steps")})


def _scored(objective: Callable[[Decisions], float], decisions: Decisions) -> float | None:
    """None for what is not finite."""
    try:
        score = float(objective(decisions))
    except Exception as error:
        error.add_note(f"in the evaluation of the decisions {decisions.to_dict()}")
        raise
    return score if math.isfinite(score) else None
