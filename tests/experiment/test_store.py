from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from paperworks.experiment.claim import Curve, TrialResult
from paperworks.experiment.store import SCHEMA_VERSION, Store, StoreError
from paperworks.experiment.trial import Outcome, TrialKey

KEY = TrialKey("p/c", "{}", "quick", 0, "cpu", "abc")
GOOD = Outcome(
    "ok", 1.5, 0.25, TrialResult({"ours": 1.0, "theirs": 2.0}, [Curve("ours", [1, 2], [3, 4])])
)
BAD = Outcome("timeout", 9.0, 0.5, error="too long")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "results.sqlite"


def test_what_is_put_comes_back_in_another_process_s_store(path: Path) -> None:
    with Store(path) as store:
        assert store.get(KEY) is None
        store.put(KEY, GOOD, {"cores": 2})
        other = TrialKey("p/c", "{}", "quick", 1, "cpu", "abc")
        store.put(other, BAD, {"cores": 2})
    with Store(path) as store:
        record = store.get(KEY)
        assert record is not None
        assert (record.outcome, record.machine) == (GOOD, {"cores": 2})
        assert [(key, each.outcome) for key, each in store.find("p/c", "abc")] == [
            (KEY, GOOD),
            (other, BAD),
        ]


@pytest.mark.parametrize("field", ["claim", "work", "tier", "seed", "device", "fingerprint"])
def test_every_part_of_the_key_counts(path: Path, field: str) -> None:
    changed = TrialKey(**{**KEY.__dict__, field: 7 if field == "seed" else "else"})
    with Store(path) as store:
        store.put(KEY, GOOD, {})
        assert store.get(changed) is None


def test_a_later_outcome_replaces_an_earlier_one(path: Path) -> None:
    with Store(path) as store:
        store.put(KEY, BAD, {})
        store.put(KEY, GOOD, {})
        record = store.get(KEY)
    assert record is not None
    assert record.outcome == GOOD


def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    with Store(path) as store:
        store.put(KEY, GOOD, {})
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer paperworks \(schema 2.*upgrade paperworks"):
        Store(path)
    assert path.read_bytes() == before


def test_another_program_s_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE trials (mine TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the bytes of a database" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"is damaged: .*left as it is"):
        Store(path)
    assert path.read_bytes() == before


def test_damage_within_is_found(path: Path) -> None:
    with Store(path) as store:
        for seed in range(300):
            store.put(TrialKey("p/c", "{}", "quick", seed, "cpu", "abc"), GOOD, {})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        Store(path)
    assert path.read_bytes() == bytes(content)


def test_a_folder_in_the_way_is_a_clear_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)


def test_many_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    start = Barrier(8)

    def open_it(path: Path) -> None:
        start.wait()
        Store(path).close()

    with ThreadPoolExecutor(8) as pool:
        for i in range(40):
            list(pool.map(open_it, [tmp_path / f"{i}.sqlite"] * 8))


def test_many_writers_lose_nothing(path: Path) -> None:
    def write(worker: int) -> None:
        with Store(path) as store:
            for seed in range(25):
                store.put(TrialKey("p/c", str(worker), "quick", seed, "cpu", "abc"), GOOD, {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    with Store(path) as store:
        assert len(store.find("p/c", "abc")) == 200
