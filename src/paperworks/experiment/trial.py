"""One seeded run of a claim, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

from paperworks.experiment.claim import Claim, Tier, TrialResult

Status = Literal["ok", "error", "timeout", "memory", "crashed"]
"""How a trial ended: with a result, by an exception, over its time, over its memory, or killed."""


@dataclass(frozen=True)
class TrialKey:
    """What a stored outcome is found by. All strings and integers, so that it goes to SQL."""

    claim: str
    work: str
    tier: str
    seed: int
    device: str
    fingerprint: str


def as_text(work: Mapping[str, Any]) -> str:
    """A piece of work as a key holds it."""
    return json.dumps(dict(work), sort_keys=True)


@dataclass(frozen=True)
class Trial:
    """One piece of work of one claim under one seed, with the fingerprint of the code to run."""

    claim: Claim
    tier: str
    work: Mapping[str, Any]
    seed: int
    device: str
    fingerprint: str

    @property
    def key(self) -> TrialKey:
        """The key under which the store keeps this trial's outcome."""
        work = as_text(self.work)
        return TrialKey(self.claim.id, work, self.tier, self.seed, self.device, self.fingerprint)

    @property
    def measurement(self) -> tuple[Any, ...]:
        """What runs, of which code and within which limits: trials of several claims may be one."""
        limits = self.limits.timeout, self.limits.memory
        return (self.claim.trial, *limits, *astuple(replace(self.key, claim="")))

    @property
    def limits(self) -> Tier:
        """The tier, which holds the time and memory limits."""
        tier = self.claim.tier(self.tier)
        if tier is None:
            raise ValueError(f"claim {self.claim.id} has no {self.tier} tier")
        return tier


@dataclass(frozen=True)
class Outcome:
    """How one trial ended.

    ``result`` is there when ``status`` is "ok", ``error`` otherwise: the traceback, or what was
    found in its place. ``seconds`` is wall time inside the trial's process; ``memory`` is the
    peak in GiB above what the imports took.
    """

    status: Status
    seconds: float
    memory: float
    result: TrialResult | None = None
    error: str = ""
