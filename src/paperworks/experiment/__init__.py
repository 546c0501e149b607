"""The engine: claims, trials, verdicts, the runner and the store."""

from paperworks.experiment.claim import Axes, Claim, Curve, Effect, Tier, TrialResult

__all__ = ["Claim", "Tier", "Effect", "TrialResult", "Curve", "Axes"]
