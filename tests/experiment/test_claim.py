from __future__ import annotations

from types import ModuleType

import pytest

from paperworks.experiment import Claim, Curve, Effect, Tier, TrialResult


def test_a_result_must_be_finite() -> None:
    with pytest.raises(ValueError, match=r"'ours' is nan; report a finite number"):
        TrialResult({"ours": float("nan")})


def test_a_curve_needs_as_many_x_as_y() -> None:
    with pytest.raises(ValueError, match="'a' has 2 x values and 1 y values"):
        Curve("a", [1, 2], [1])


@pytest.mark.parametrize(
    ("scale", "at_least", "message"),
    [
        ("ratio", 0.9, "at least parity"),
        ("difference", -1, "at least parity"),
        ("odds", 1, "'odds'"),
    ],
)
def test_an_effect_is_at_least_parity(scale: str, at_least: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Effect(scale, at_least)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"better": "smaller"}, "better must be 'lower' or 'higher', got 'smaller'"),
        ({"contenders": ()}, "needs contenders other than ours"),
        ({"contenders": ("ours",)}, "needs contenders other than ours"),
        ({"quick": None}, "has no tier"),
        ({"random": False}, "a fixed one exactly one"),
        ({"quick": Tier(seeds=1)}, "needs several seeds"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(
    toys: ModuleType, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        toys.claim(toys.steady, **change)


def test_a_tier_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="seeds must be >= 1, got 0"):
        Tier(seeds=0)
    with pytest.raises(ValueError, match="timeout and memory must be > 0, got -1"):
        Tier(timeout=-1)
    with pytest.raises(ValueError, match="at least one piece of work"):
        Tier(works=())
    with pytest.raises(TypeError, match="not JSON serializable"):
        Tier(works=({"x": object()},))


def test_a_trial_is_held_to_what_the_claim_says(toys: ModuleType) -> None:
    def run(claim: Claim) -> TrialResult:
        return claim.run(work={}, seed=0, device="cpu")

    assert set(run(toys.claim(toys.steady)).values) == {"ours", "theirs", "others"}
    with pytest.raises(TypeError, match="must return a TrialResult, got str"):
        run(toys.claim(toys.wordy))
    with pytest.raises(ValueError, match="returned no value for 'others'"):
        run(toys.claim(toys.forgetful))
    with pytest.raises(ValueError, match=r"ratios, which need positive values; got -\d"):
        toys.claim(toys.steady).run(work={"factor": -1.0}, seed=0, device="cpu")
    with pytest.raises(ValueError, match="tier must be one of quick, full, got 'slow'"):
        toys.claim(toys.steady).tier("slow")
