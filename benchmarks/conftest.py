"""The one way to race ours against a peer: both in one group, in one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def race(benchmark: Any) -> Callable[..., Any]:
    """Time ``func`` as one contender of a group and return its result.

    ``group`` names the contest and its size ("sinkhorn n=500"), ``contender`` who runs.
    ``rounds`` timed calls follow ``warmup`` untimed ones. ``note`` goes into the table (the
    accuracy reached, say): a string, or a function of the result.
    """

    def run(
        func: Callable[[], Any],
        *,
        group: str,
        contender: str,
        ours: bool = False,
        rounds: int = 3,
        warmup: int = 1,
        note: str | Callable[[Any], str] = "",
    ) -> Any:
        benchmark.group = group
        benchmark.extra_info.update(contender=contender, ours=ours)
        result = benchmark.pedantic(func, rounds=rounds, iterations=1, warmup_rounds=warmup)
        benchmark.extra_info["note"] = note(result) if callable(note) else note
        return result

    return run
