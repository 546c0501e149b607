"""One entry per claim, tier and device: the verdict and everything that a reader asks next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paperworks import catalog
from paperworks.experiment.claim import TIERS, Claim
from paperworks.experiment.fingerprint import fingerprint, versions
from paperworks.experiment.runner import verdict
from paperworks.experiment.store import Record, Store
from paperworks.experiment.trial import TrialKey, as_text
from paperworks.experiment.verdict import Comparison, Verdict


@dataclass(frozen=True)
class Entry:
    """A claim in one tier on one device, with its stored trials (none where it has not run)."""

    claim: Claim
    tier: str
    device: str
    trials: tuple[tuple[TrialKey, Record], ...] = ()

    @property
    def paper(self) -> catalog.Paper:
        """The paper's record in the catalogue."""
        return catalog.get(self.claim.paper)

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict from the stored trials."""
        return verdict(self.claim, ((key, record.outcome) for key, record in self.trials))

    @property
    def seconds(self) -> float:
        """Wall time of all trials together."""
        return sum(record.outcome.seconds for _, record in self.trials)

    @property
    def failures(self) -> tuple[tuple[TrialKey, Record], ...]:
        """The trials that ended without a result."""
        return tuple(pair for pair in self.trials if pair[1].outcome.result is None)

    @property
    def machine(self) -> Mapping[str, Any]:
        """The machine of the trial that finished last; empty where none has run."""
        if not self.trials:
            return {}
        return max((record for _, record in self.trials), key=lambda r: r.finished).machine

    @property
    def finished(self) -> str:
        """When the last trial finished (UTC, ISO 8601); empty where none has run."""
        return max((record.finished for _, record in self.trials), default="")

    @property
    def complete(self) -> bool:
        """Whether every piece of the tier's work has run with every seed of its own."""
        tier = self.claim.tier(self.tier)
        return tier is not None and len(self.trials) >= len(tier.works) * tier.seeds

    @property
    def current(self) -> bool:
        """Whether all trials ran with today's code."""
        return {key.fingerprint for key, _ in self.trials} <= {fingerprint(self.claim)}

    @property
    def command(self) -> str:
        """The exact command that reproduces this entry."""
        words = ["paperworks", "check", self.claim.id, "--tier", self.tier]
        if self.trials:
            words += ["--device", self.device]
            seeds = len({key.seed for key, _ in self.trials})
            tier = self.claim.tier(self.tier)
            if tier is not None and seeds != tier.seeds:
                words += ["--seeds", str(seeds)]
        return " ".join(words)

    @property
    def effect_text(self) -> str:
        """The effect against the strongest contender; a dash where there is none."""
        best = self.verdict.strongest
        return "–" if best is None else self.format(best.effect)

    @property
    def interval_text(self) -> str:
        """Its 95 % interval; a dash where there is none."""
        best = self.verdict.strongest
        return "–" if best is None else self.interval(best)

    @property
    def needed_text(self) -> str:
        """The effect that the paper's words need."""
        effect = self.claim.effect
        relation = ">" if effect.at_least == effect.parity else "≥"
        return f"{relation} {self.format(effect.at_least)}"

    def format(self, effect: float) -> str:
        """An effect as people write it: ``3.14×`` for a ratio, ``+0.02`` for a difference."""
        if self.claim.effect.scale == "difference":
            return f"{effect:+.3g}" if effect else "0"
        rounded = float(f"{effect:.4g}" if 0.9 < effect < 1.1 else f"{effect:.3g}")
        return f"{rounded:,.0f}×" if rounded >= 1000 else f"{rounded:g}×"

    def interval(self, comparison: Comparison) -> str:
        """The interval of one comparison."""
        return f"{self.format(comparison.low)} to {self.format(comparison.high)}"

    def label(self, work: str) -> str:
        """What tells a piece of work from the tier's others: ``n=500``; "all" for a lone one."""
        tier = self.claim.tier(self.tier)
        works = tier.works if tier is not None else ()

        def differs(name: str) -> bool:
            return len({json.dumps(other.get(name)) for other in works}) > 1

        settings = json.loads(work)
        return ", ".join(f"{name}={settings[name]}" for name in settings if differs(name)) or "all"

    def values(self) -> list[tuple[str, dict[str, list[float]]]]:
        """Per piece of work, the metric's values over seeds, by label."""
        labels = (self.claim.ours, *self.claim.contenders)
        found: dict[str, dict[str, list[float]]] = {}
        for key, record in self.trials:
            if record.outcome.result is not None:
                into = found.setdefault(self.label(key.work), {label: [] for label in labels})
                for label in labels:
                    into[label].append(record.outcome.result.values[label])
        return list(found.items())

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON values."""
        claim, found = self.claim, self.verdict
        return {
            "claim": claim.id,
            "paper": claim.paper,
            "title": self.paper.title,
            "family": self.paper.family,
            "statement": claim.statement,
            "metric": claim.metric,
            "better": claim.better,
            "ours": claim.ours,
            "tier": self.tier,
            "device": self.device,
            "verdict": found.conclusion,
            "reason": found.reason,
            "effect": {"scale": claim.effect.scale, "needed": claim.effect.at_least},
            "comparisons": [
                {
                    "contender": each.contender,
                    "effect": each.effect,
                    "low": each.low,
                    "high": each.high,
                    "verdict": each.conclusion,
                }
                for each in found.comparisons
            ],
            "units": found.units,
            "values": dict(self.values()),
            "trials": len(self.trials),
            "failures": [
                {
                    "work": json.loads(key.work),
                    "seed": key.seed,
                    "status": record.outcome.status,
                    "error": record.outcome.error,
                }
                for key, record in self.failures
            ],
            "seconds": round(self.seconds, 3),
            "command": self.command,
            "machine": dict(self.machine),
            "versions": versions(claim),
            "finished": self.finished,
        }


def collect(
    claims: Iterable[Claim], store: Store, *, tier: str | None = None, device: str | None = None
) -> list[Entry]:
    """The entries of the claims: what today's code has in the store, and what has not run.

    Parameters
    ----------
    claims : iterable of Claim
    store : Store
    tier, device : str or None
        Only this tier, only this device. With None a claim has an entry for each tier and
        device that ran, or one that says "not run".

    Returns
    -------
    list of Entry
        In the order of the claims.
    """
    entries: list[Entry] = []
    for claim in claims:
        groups: dict[tuple[str, str], list[tuple[TrialKey, Record]]] = {}
        for key, record in store.find(claim.id, fingerprint(claim)):
            if tier in (None, key.tier) and device in (None, key.device):
                groups.setdefault((key.tier, key.device), []).append((key, record))
        ran = sorted(groups.items(), key=lambda item: (TIERS.index(item[0][0]), item[0][1]))
        entries += [Entry(claim, *group, trials=tuple(trials)) for group, trials in ran]
        offered = [name for name in TIERS if claim.tier(name) and tier in (None, name)]
        if not ran and offered:
            entries.append(Entry(claim, offered[0], device or "cpu"))
    return entries


def latest(claims: Iterable[Claim], store: Store) -> list[Entry]:
    """The last run to its end of each claim and tier, on any device and with any code.

    So what took hours is still shown when the code has changed; ``current`` tells.

    Parameters
    ----------
    claims : iterable of Claim
    store : Store

    Returns
    -------
    list of Entry
        In the order of the claims; none for a tier that never ran to its end.
    """
    entries: list[Entry] = []
    for claim in claims:
        tiers = {name: tier for name in TIERS if (tier := claim.tier(name)) is not None}
        asked = {(name, as_text(work)) for name, tier in tiers.items() for work in tier.works}
        runs: dict[tuple[str, str, str], list[tuple[TrialKey, Record]]] = {}
        for key, record in store.find(claim.id):
            if (key.tier, key.work) in asked:
                run = (key.tier, key.device, key.fingerprint)
                runs.setdefault(run, []).append((key, record))
        ran = [Entry(claim, name, on, tuple(trials)) for (name, on, _), trials in runs.items()]
        for name in tiers:
            whole = [entry for entry in ran if entry.tier == name and entry.complete]
            entries += sorted(whole, key=lambda entry: entry.finished)[-1:]
    return entries
