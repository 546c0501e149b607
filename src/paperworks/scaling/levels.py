"""What every interval of the family asks of its level and of its number of draws."""

from __future__ import annotations


def check_level(confidence: float) -> None:
    """Raise a ValueError for a level of confidence that is not a share between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")


def check_bootstrap(confidence: float, resamples: int) -> None:
    """Raise a ValueError for a level or a number of draws that makes no sense."""
    check_level(confidence)
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}")
