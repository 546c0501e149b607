"""What a solver schedule decides: where its steps end, and for each step how it gets there.

The decisions of the paper's framework, one record a step, and their JSON form::

    {
      "times": [999, 731, 402, 118, 0],
      "steps": [
        {"order": 1, "prediction": "data", "corrector": true},
        {"order": 2, "prediction": "data", "scaling": "bh2"},
        {"order": 3, "prediction": "noise", "points": [[1], [1, 2]]},
        {"order": 3, "prediction": "noise", "estimate": "adams-t"}
      ]
    }

What a step leaves out has the default of :class:`Step`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

PREDICTIONS = ("noise", "data")
ESTIMATES = ("taylor", "adams-t", "adams-rho", "adams-equal")
SCALINGS = ("none", "bh1", "bh2", "exp+", "exp-", "3m")
MOST = 4
"""The highest order: that of the paper's search."""


@dataclass(frozen=True)
class Step:
    """How one step is made, from a point that is known to the next time.

    Parameters
    ----------
    order : int
        1 to 4: the terms of the Taylor expansion, or the predictions that a polynomial goes
        through. Order 1 is DDIM's step, whatever the other choices are.
    prediction : {"noise", "data"}
        What is expanded: the predicted noise or the predicted data.
    estimate : {"taylor", "adams-t", "adams-rho", "adams-equal"}
        Where the derivatives come from. "taylor": differences of the predictions over
        log(alpha / sigma). The others are of Adams and Bashforth's type: the polynomial through the
        last predictions, in the time or in sigma / alpha (alpha / sigma for data), integrated
        exactly; or the classical weights for equal steps.
    start : int
        Which point the step starts from: the last one (0), or as many before it. Other than 0 it
        makes single-step solvers.
    points : sequence of sequences of int
        For "taylor": which predictions estimate the first, second, ... derivative, as their
        distance from the last one. Derivative k needs at least k. Fewer than ``order - 1`` are the
        paper's low-order estimates. Empty: the ``order - 1`` last ones for each.
    scaling : str or float
        Factor of the first derivative, with h the step in log(alpha / sigma), and z = h for noise,
        -h for data: "none"; "bh1" and "bh2", UniPC's (the latter DPM-Solver's of order 2 as well);
        "exp+" and "exp-", ``1 +- (exp(z) - 1) / 2``; a number c, ``1 + c h``. "3m" halves the
        second derivative, as DPM-Solver's multistep method of order 3 does in its code.
    corrector : bool
        Whether the point that the step comes to is corrected by the prediction made there, as in
        UniPC; that takes no evaluation of its own.
    """

    order: int = 1
    prediction: str = "noise"
    estimate: str = "taylor"
    start: int = 0
    points: Sequence[Sequence[int]] = ()
    scaling: str | float = "none"
    corrector: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(map(tuple, self.points)))
        for name, allowed in (("prediction", PREDICTIONS), ("estimate", ESTIMATES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
        named = isinstance(self.scaling, str) and self.scaling in SCALINGS
        if not named and not _finite(self.scaling):
            raise ValueError(
                f"scaling must be a finite number or one of {', '.join(SCALINGS)}; got "
                f"{self.scaling!r}"
            )
        if not named:  # NumPy's numbers are none for JSON
            object.__setattr__(self, "scaling", float(self.scaling))
        if type(self.order) is not int or not 1 <= self.order <= MOST:
            raise ValueError(f"order must be 1 to {MOST}, got {self.order!r}")
        if type(self.start) is not int or self.start < 0:
            raise ValueError(f"start must be 0 or above, got {self.start!r}")
        if not isinstance(self.corrector, bool):
            raise ValueError(f"corrector must be true or false, got {self.corrector!r}")
        if self.estimate != "taylor" and (self.start or self.points or self.scaling != "none"):
            raise ValueError(
                f"estimate {self.estimate!r} takes no start, points or scaling: those are of "
                "'taylor'"
            )
        if self.points and len(self.points) != self.order - 1:
            raise ValueError(
                f"order {self.order} has {self.order - 1} derivatives to estimate, but points are "
                f"given for {len(self.points)}"
            )
        for k, used in enumerate(self.points, 1):
            good = all(type(p) is int and p >= 0 and p != self.start for p in used)
            if not good or len(set(used)) < max(k, len(used)):
                raise ValueError(
                    f"derivative {k} needs {k} or more different predictions other than the "
                    f"start's ({self.start}), got points {list(used)}"
                )

    @property
    def used(self) -> Sequence[Sequence[int]]:
        """The points of every derivative, with the default filled in."""
        if self.points:
            return self.points
        others = [p for p in range(self.order + self.start) if p != self.start]
        return (tuple(others[: self.order - 1]),) * (self.order - 1)

    @property
    def reach(self) -> int:
        """How many predictions must be there."""
        return max([self.start, *(p for used in self.used for p in used)]) + 1


@dataclass(frozen=True)
class Decisions:
    """A solver schedule: the times between the steps, and how each step is made.

    Parameters
    ----------
    times : (steps + 1,) sequence of float
        Falling from noise to data, in the time of the noise schedule.
    steps : sequence of Step
        Each takes one evaluation of the network.

    Raises
    ------
    ValueError
        If the lengths do not match, the times do not fall, a step's order is above what the
        predictions before it allow, or the last step has a corrector; the step is named, counted
        from 1.

    Examples
    --------
    >>> decisions = Decisions([999, 500, 0], [Step(), Step(order=2, prediction="data")])
    >>> Decisions.from_json(decisions.to_json()) == decisions
    True
    """

    times: Sequence[float]
    steps: Sequence[Step]

    def __post_init__(self) -> None:
        for index, time in enumerate(self.times, 1):
            if not _finite(time):
                raise ValueError(
                    f"times must be finite numbers, got {time!r} as number {index} of "
                    f"{len(self.times)}"
                )
        object.__setattr__(self, "times", tuple(float(t) for t in self.times))
        object.__setattr__(self, "steps", tuple(self.steps))
        count = len(self.steps)
        if count < 1 or len(self.times) != count + 1:
            raise ValueError(
                f"{count} steps need {count + 1} times and at least one step, "
                f"got {len(self.times)} times"
            )
        for index, step in enumerate(self.steps):
            here, there = self.times[index : index + 2]
            where = f"step {index + 1} of {count}"
            if not here > there:
                raise ValueError(
                    f"times must fall from noise to data, but {where} goes from {here:g} to "
                    f"{there:g}"
                )
            if step.reach > index + 1:
                raise ValueError(
                    f"{where} has order {step.order} and needs the last {step.reach} predictions, "
                    f"but only {index + 1} are there: take a lower order or points closer by"
                )
        if self.steps[-1].corrector:
            raise ValueError(
                f"step {count} of {count} is the last: no prediction follows to correct it with; "
                "set its corrector to false"
            )

    def __len__(self) -> int:
        return len(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        times = [int(t) if t.is_integer() else t for t in self.times]
        blank = asdict(Step())
        steps = [
            {key: value for key, value in asdict(step).items() if value != blank[key]}
            for step in self.steps
        ]
        return {"times": times, "steps": json.loads(json.dumps(steps))}  # tuples become lists

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decisions:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ValueError
            For what is no such record; a step is named.
        """
        if not isinstance(data, Mapping) or set(data) != {"times", "steps"}:
            got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
            raise ValueError(f"decisions need 'times' and 'steps' and nothing else, got {got}")
        for key in ("times", "steps"):
            if not isinstance(data[key], Sequence) or isinstance(data[key], str):
                raise ValueError(f"{key!r} must be a list, got {data[key]!r}")
        known = {field.name for field in fields(Step)}
        steps = []
        for index, each in enumerate(data["steps"], 1):
            where = f"step {index} of {len(data['steps'])}"
            if not isinstance(each, Mapping) or not set(each) <= known:
                raise ValueError(f"{where} must have keys of {sorted(known)}, got {each!r}")
            try:
                steps.append(Step(**each))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where}: {error}") from error
        return cls(data["times"], steps)

    def to_json(self) -> str:
        """As JSON, a line for every step."""
        data = self.to_dict()
        lines = ",\n    ".join(json.dumps(step) for step in data["steps"])
        return f'{{\n  "times": {json.dumps(data["times"])},\n  "steps": [\n    {lines}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Decisions:
        """The inverse of :meth:`to_json`; ValueError for what is no such JSON."""
        return cls.from_dict(json.loads(text))

    def save(self, path: str | Path) -> None:
        """Write the JSON to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Decisions:
        """Read what :meth:`save` wrote; ValueError, with the file's name, for anything else."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # of JSON and of UTF-8 as well
            raise ValueError(f"{path} holds no decisions: {error}") from error


def _finite(value: object) -> bool:
    """Whether it is a number, NumPy's among them, that is one of float64 too, and no NaN."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
