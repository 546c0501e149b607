"""The state file: one budget for many processes, across crashes, and for nobody else."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from paperworks.statistics.adaptive import (
    BudgetExhausted,
    FiniteDomain,
    Gaussian,
    LedgerError,
    MultiplicativeWeights,
    ReusableHoldout,
    Thresholdout,
)

X = np.linspace(0, 1, 200)
FORK = multiprocessing.get_context("fork")


def identity(x):
    return x


def ask_until_refused(guard, results):
    count = 0
    try:
        while True:
            guard.ask(identity)
            count += 1
    except BudgetExhausted:
        results.put(count)


def run(*processes):
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None


@pytest.mark.parametrize(
    ("train", "mechanism"),
    [(None, Gaussian(60, 0.1)), (X / 2, Thresholdout(10_000, 60, 0.05, 0.01))],
)
def test_processes_never_spend_the_same_unit(tmp_path, train, mechanism):
    guard = ReusableHoldout(train, X, mechanism, path=tmp_path / "state")
    results = FORK.Queue()
    run(*(FORK.Process(target=ask_until_refused, args=(guard, results)) for _ in range(4)))
    counts = [results.get(timeout=10) for _ in range(4)]
    history = guard.history()
    assert sum(counts) == len(history) == guard.status().queries_asked
    assert sum(row["cost"] for row in history) == 60
    assert [row["number"] for row in history] == list(range(1, len(history) + 1))


def test_a_second_turn_waits_for_the_first(tmp_path):
    first, second = (
        ReusableHoldout(None, X, Gaussian(9, 0.1), path=tmp_path / "state") for _ in range(2)
    )
    other = threading.Thread(target=second.ask, args=(identity,))
    with first._ledger.turn() as turn:
        other.start()
        other.join(0.5)
        assert other.is_alive()
        turn.state["asked"] += 1
    other.join(30)
    assert first.status().queries_asked == 2


def test_a_later_run_goes_on_with_what_is_left(tmp_path):
    path = tmp_path / "folder" / "state"
    ReusableHoldout(None, X, Gaussian(3, 0.1), path=path).ask(identity, name="first")
    again = ReusableHoldout(None, X, Gaussian(3, 0.1), path=path)
    assert again.status().queries_left == 2
    assert again.history()[0]["name"] == "first"
    again.ask(identity)
    again.ask(identity)
    with pytest.raises(BudgetExhausted):
        ReusableHoldout(None, X, Gaussian(3, 0.1), path=path).ask(identity)
    assert len(again.history(2)) == 2


def test_a_model_is_kept_too(tmp_path):
    domain = FiniteDomain(range(8))
    mechanism = MultiplicativeWeights(100, 50, 0.1, 1e-3, domain, 0.3)
    sample = np.zeros(300, dtype=int)
    guard = ReusableHoldout(None, sample, mechanism, path=tmp_path / "state")
    for _ in range(10):
        guard.ask(lambda x: x == 0)
    state = ReusableHoldout(None, sample, mechanism, path=tmp_path / "state")._ledger.state()
    assert mechanism.model(state)[0] > 0.3
    assert guard.status().budget_spent > 1


def test_noise_differs_between_forked_processes(tmp_path):
    guard = ReusableHoldout(None, X, Gaussian(4, 0.1), path=tmp_path / "state")
    run(*(FORK.Process(target=guard.ask, args=(identity,)) for _ in range(4)))
    assert len({row["value"] for row in guard.history()}) == 4


def test_a_turn_that_fails_or_dies_leaves_the_state_as_it_was(tmp_path):
    guard = ReusableHoldout(None, X, Gaussian(4, 0.1), path=tmp_path / "state")

    def die():
        with guard._ledger.turn() as turn:
            turn.state["asked"] = 3
            os._exit(1)

    run(FORK.Process(target=die))
    assert guard.status().queries_left == 4

    def fail():
        with guard._ledger.turn() as turn:
            turn.state["asked"] = 3
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert guard.ask(identity).queries_left == 3


def test_a_cost_is_on_disk_before_the_answer_is_seen(tmp_path, monkeypatch):
    guard = ReusableHoldout(None, X, Gaussian(4, 0.1), path=tmp_path / "state")
    seen = []
    monkeypatch.setattr(
        guard, "_left", lambda state: seen.append(guard.status_asked()) or (0, 0), raising=True
    )
    guard.status_asked = lambda: guard._ledger.state()["asked"]
    guard.ask(identity)
    assert seen == [1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"holdout": X[::-1].copy()}, "the holdout data are others"),
        ({"mechanism": Gaussian(4, 0.1)}, "queries is 3 there and 4 here"),
        ({"mechanism": Gaussian(3, 0.2)}, "scale is 0.1 there and 0.2 here"),
        ({"confidence": 0.9}, "confidence is 0.95 there and 0.9 here"),
    ],
)
def test_another_guards_file_is_refused(tmp_path, change, word):
    arguments = {"train": None, "holdout": X, "mechanism": Gaussian(3, 0.1)}
    ReusableHoldout(**arguments, path=tmp_path / "state")
    with pytest.raises(LedgerError, match=word):
        ReusableHoldout(**{**arguments, **change}, path=tmp_path / "state")


def damage(path):
    content = bytearray(path.read_bytes())
    content[100:] = b"\x07" * (len(content) - 100)
    path.write_bytes(bytes(content))


def newer(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def foreign(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (damage, "is damaged"),
        (newer, "newer paperworks"),
        (foreign, "another program's"),
        (lambda path: path.write_text("not a database at all " * 9), "file is not a database"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_left(tmp_path, spoil, word):
    path = tmp_path / "state"
    ReusableHoldout(None, X, Gaussian(3, 0.1), path=path)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=word):
        ReusableHoldout(None, X, Gaussian(3, 0.1), path=path)
    assert path.read_bytes() == before


def test_a_file_that_vanishes_is_not_made_anew(tmp_path):
    guard = ReusableHoldout(None, X, Gaussian(3, 0.1), path=tmp_path / "state")
    (tmp_path / "state").unlink()
    with pytest.raises(LedgerError, match="there is no state file"):
        guard.ask(identity)
    assert not (tmp_path / "state").exists()


def test_copies_share_the_budget(tmp_path):
    guard = ReusableHoldout(None, X, Gaussian(3, 0.1))
    copy.deepcopy(guard).ask(identity)
    copy.copy(guard).ask(identity)
    assert guard.status().queries_left == 1
    on_disk = ReusableHoldout(None, X, Gaussian(3, 0.1), path=tmp_path / "state")
    pickle.loads(pickle.dumps(on_disk)).ask(identity)
    assert on_disk.status().queries_left == 2


def test_a_guard_in_memory_stays_in_its_process():
    guard = ReusableHoldout(None, X, Gaussian(3, 0.1))
    with pytest.raises(TypeError, match="give path= to share it through a file"):
        pickle.dumps(guard)
    caught = FORK.Queue()

    def child():
        try:
            guard.ask(identity)
        except LedgerError as error:
            caught.put(str(error))

    run(FORK.Process(target=child))
    assert "memory of another process" in caught.get(timeout=10)


def test_a_seed_and_a_file_do_not_go_together(tmp_path):
    with pytest.raises(ValueError, match="would repeat it in every process"):
        ReusableHoldout(None, X, Gaussian(3, 0.1), path=tmp_path / "state", random_state=0)
