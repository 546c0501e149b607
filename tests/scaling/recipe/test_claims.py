"""The claim's own parts: its table, its contenders, its trainer."""

from __future__ import annotations

import hashlib
import os
from importlib import resources

import numpy as np
import pytest
import torch

from paperworks.claims import _character_lm as lm
from paperworks.claims import scaling_law_estimation as claims
from paperworks.scaling import RunLog, TrajectoryLaw

FOLDER = resources.files("paperworks.claims")


def test_table_is_the_one_that_its_provenance_names() -> None:
    table = (FOLDER / claims.TABLE).read_bytes()
    assert hashlib.sha256(table).hexdigest() in (FOLDER / "character_lm_runs.md").read_text()
    for seed in range(5):
        rows = claims.table(seed)
        names = {run.name for run in (*claims.SMALL, claims.TARGET)}
        assert {row[0] for row in rows} == names
        assert all(row[2] * row[3] <= lm.TOKENS for row in rows)
        steps, _ = claims.target_curve(rows)
        assert steps[0] >= claims.FROM_STEP
        assert steps[-1] == lm.TOKENS // claims.TARGET.batch


def test_no_prediction_sees_the_large_model() -> None:
    rows = claims.table(0)
    log = claims.small_log(rows)
    assert set(log.runs) == {run.name for run in claims.SMALL}
    spoilt = [(*row[:4], row[4] * 2) if row[0] == claims.TARGET.name else row for row in rows]
    one, other = (
        {curve.label: curve.y for curve in claims.compare(each).curves} for each in (rows, spoilt)
    )
    assert one.pop("measured") != other.pop("measured")
    assert one == other


def of_law(loss) -> RunLog:  # type: ignore[no-untyped-def]
    """The claim's small runs, made from a law."""
    S = np.geomspace(40, 500, 15)
    parts = [(run, run.name, S * 1024 / run.batch) for run in claims.SMALL]
    return RunLog(
        np.concatenate([[name] * 15 for _, name, _ in parts]),
        np.concatenate([[run.size] * 15 for run, _, _ in parts]),
        np.concatenate([[run.batch] * 15 for run, _, _ in parts]),
        np.concatenate([steps for *_, steps in parts]),
        np.concatenate([loss(run.size, steps, run.batch) for run, _, steps in parts]),
    )


def chinchilla(N: float, S: np.ndarray, B: float) -> np.ndarray:
    return 1.2 + 30 * N**-0.4 + 60 * (B * S) ** -0.35


def power_at_each_step(N: float, S: np.ndarray, B: float) -> np.ndarray:
    return 8 * N**-0.08 * S**-0.05


RECIPE = TrajectoryLaw(1e9, 0.08, 20.0, 0.6, 1e5, 0.3)


@pytest.mark.parametrize(
    ("predict", "loss"),
    [
        (claims.by_recipe, lambda N, S, B: RECIPE.loss(N, S, B)),
        (claims.by_each_step, power_at_each_step),
        (claims.by_chinchilla, chinchilla),
    ],
)
def test_every_contender_finds_a_curve_of_its_own_kind(predict, loss) -> None:  # type: ignore[no-untyped-def]
    steps = np.geomspace(45, 480, 8)
    exact = loss(claims.TARGET.size, steps, claims.TARGET.batch)
    rel = 1e-3 if predict is claims.by_each_step else 5e-3
    np.testing.assert_allclose(predict(of_law(loss), steps), exact, rtol=rel)


def test_carried_over_is_the_largest_at_that_batch() -> None:
    log = of_law(power_at_each_step)
    steps = np.array([50.0, 400.0])
    exact = power_at_each_step(claims.Run(80, 1024).size, steps, 1024)
    np.testing.assert_allclose(claims.by_largest(log, steps), exact, rtol=1e-4)


def test_size_counts_the_matrices_of_the_blocks() -> None:
    run = lm.Run(48, 1024)
    model = lm.CharacterModel(run.width, torch.Generator().manual_seed(0))
    inside = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    assert inside == run.size


def test_model_sees_no_future_and_knows_places() -> None:
    model = lm.CharacterModel(48, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.head.weight.normal_()
    codes = torch.randint(
        lm.VOCABULARY, (1, lm.CONTEXT), generator=torch.Generator().manual_seed(1)
    )
    changed = codes.clone()
    changed[0, 40] = (changed[0, 40] + 1) % lm.VOCABULARY
    with torch.no_grad():
        a, b = model(codes), model(changed)
    torch.testing.assert_close(a[:, :40], b[:, :40])
    assert not torch.allclose(a[:, 41:], b[:, 41:])
    # Attention depends on how far apart two places are, and on nothing else of them.
    q = torch.randn(lm.HEAD, generator=torch.Generator().manual_seed(2)).expand(lm.CONTEXT, -1)
    turned = lm._turned(q)
    scores = turned @ turned.T
    torch.testing.assert_close(scores[10, 5], scores[30, 25])
    assert not torch.isclose(scores[10, 5], scores[10, 2])


@pytest.mark.skipif("PAPERWORKS_DATA" not in os.environ, reason="PAPERWORKS_DATA is not set")
def test_training_repeats_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm, "TOKENS", 40 * 256)
    monkeypatch.setattr(lm, "VALIDATION", 8)
    lm.windows.cache_clear()
    try:
        run = lm.Run(48, 256)
        first, again, other = (list(lm.train(run, seed)) for seed in (0, 0, 1))
    finally:
        lm.windows.cache_clear()
    assert first == again
    assert first != other
    assert first[-1][0] == 40
    assert first[-1][1] < first[0][1] < np.log(lm.VOCABULARY)
