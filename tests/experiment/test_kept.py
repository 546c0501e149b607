"""What trials share is made once, and anew where it would not be the same."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from paperworks.claims import _kept
from paperworks.claims._kept import SINCE, kept

MADE: list[int] = []


def squares(*, seed: int) -> dict[str, object]:
    MADE.append(seed)
    return {"x": torch.arange(3.0) ** 2 + seed, "seed": seed, "all": [1.5, 2.5]}


def cubes(*, seed: int) -> float:
    return float(seed) ** 3


def slow(*, seed: int) -> int:
    MADE.append(seed)
    time.sleep(0.2)
    return seed


def broken(*, seed: int) -> int:
    MADE.append(seed)
    raise ArithmeticError("no")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    monkeypatch.delenv(SINCE, raising=False)
    MADE.clear()
    return tmp_path / "kept"


def test_it_is_made_once() -> None:
    first, second = kept(squares, seed=1), kept(squares, seed=1)
    assert MADE == [1]
    assert torch.equal(second.pop("x"), first.pop("x"))
    assert second == first == {"seed": 1, "all": [1.5, 2.5]}


def test_others_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(squares, seed=2)["seed"] == 2
    assert kept(cubes, seed=2) == 8.0
    assert kept(squares, seed=3)["seed"] == 3
    assert MADE == [2, 3]
    monkeypatch.setattr(torch, "__version__", "0.1")
    kept(squares, seed=2)
    assert MADE == [2, 3, 2]
    monkeypatch.setattr(_kept, "module_fingerprint", lambda name: f"{name} changed")
    kept(squares, seed=2)
    assert MADE == [2, 3, 2, 2]


def test_what_is_older_than_a_time_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(squares, seed=1)
    monkeypatch.setenv(SINCE, str(time.time() + 3600))
    kept(squares, seed=1)
    monkeypatch.setenv(SINCE, str(time.time() - 3600))
    kept(squares, seed=1)
    assert MADE == [1, 1]


def test_those_who_want_it_at_once_wait_for_the_first() -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(kept(slow, seed=5))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (found, MADE) == ([5, 5, 5], [5])


def test_nothing_stays_of_what_failed(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            kept(broken, seed=1)
    assert MADE == [1, 1]
    assert [each for each in folder.iterdir() if each.suffix != ".lock"] == []
