"""Finished trials, kept in one SQLite file in the user's data directory.

Every trial is written as soon as it ends, keyed by claim, work, tier, seed, device and the
fingerprint of the code that ran. Two runs may share the file: a writer waits for the other, which
a rollback journal allows from the first moment on (the change to write-ahead logging would not
wait). A file that is damaged, of another program, or from a newer paperworks is refused and left as
it is.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from paperworks.experiment.claim import Curve, TrialResult
from paperworks.experiment.trial import Outcome, TrialKey

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x70617077  # "papw", so that another program's database is recognised
_BUSY_SECONDS = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    claim TEXT NOT NULL, work TEXT NOT NULL, tier TEXT NOT NULL, seed INTEGER NOT NULL,
    device TEXT NOT NULL, fingerprint TEXT NOT NULL,
    status TEXT NOT NULL, seconds REAL NOT NULL, memory REAL NOT NULL, error TEXT NOT NULL,
    "values" TEXT, curves TEXT, machine TEXT NOT NULL, finished TEXT NOT NULL,
    PRIMARY KEY (claim, work, tier, seed, device, fingerprint)
) WITHOUT ROWID;
"""


class StoreError(RuntimeError):
    """The store's file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Record:
    """A stored outcome, with the machine that it came from and when it finished (UTC, ISO)."""

    outcome: Outcome
    machine: Mapping[str, Any]
    finished: str


def default_path() -> Path:
    """``PAPERWORKS_STORE``, or else ``results.sqlite`` in the user's data directory."""
    named = os.environ.get("PAPERWORKS_STORE")
    return Path(named) if named else platformdirs.user_data_path("paperworks") / "results.sqlite"


class Store:
    """The finished trials in one SQLite file.

    Parameters
    ----------
    path : path or None
        The file; made with its folder where it is missing. None takes :func:`default_path`.

    Raises
    ------
    StoreError
        If the file is damaged, belongs to another program or to a newer paperworks.

    Notes
    -----
    A store may be used from several threads of one process through one object, and from several
    processes through one object each.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(self._message(f"cannot be opened: {error}")) from error
        try:
            self._check()
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreError(self._message(f"is damaged: {error}")) from error
        except StoreError:
            self._connection.close()
            raise

    def _check(self) -> None:
        run = self._connection.execute
        if self.path.stat().st_size > 0:
            # Read everything that decides before anything is written. The tables come first: where
            # another run has just made them, its mark is there too, as one transaction wrote both.
            tables = run("SELECT count(*) FROM sqlite_master").fetchone()[0]
            owner = run("PRAGMA application_id").fetchone()[0]
            version = run("PRAGMA user_version").fetchone()[0]
            if tables and owner != _APPLICATION_ID:
                raise StoreError(self._message("is another program's database"))
            if version > SCHEMA_VERSION:
                raise StoreError(
                    self._message(
                        f"was written by a newer paperworks (schema {version}; this one knows "
                        f"{SCHEMA_VERSION}): upgrade paperworks"
                    )
                )
            damage = run("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise StoreError(self._message(f"is damaged: {damage}"))
            if tables:
                return
        # One transaction: a second run that starts now sees either nothing or the whole schema.
        run("BEGIN IMMEDIATE")
        run(_SCHEMA)
        run(f"PRAGMA application_id = {_APPLICATION_ID}")
        run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        run("COMMIT")

    def _message(self, what: str) -> str:
        return (
            f"the store {self.path} {what}. It was left as it is; move it away, or set "
            "PAPERWORKS_STORE to another file."
        )

    def get(self, key: TrialKey) -> Record | None:
        """The stored outcome of this trial, or None."""
        found = self._select(**asdict(key))
        return found[0][1] if found else None

    def find(self, claim: str, fingerprint: str | None = None) -> list[tuple[TrialKey, Record]]:
        """Every stored trial of a claim, over all tiers and devices: with this code, or any."""
        if fingerprint is None:
            return self._select(claim=claim)
        return self._select(claim=claim, fingerprint=fingerprint)

    def _select(self, **fields: Any) -> list[tuple[TrialKey, Record]]:
        where = " AND ".join(f"{name} = :{name}" for name in fields)
        rows = self._execute(
            "SELECT claim, work, tier, seed, device, fingerprint, "
            'status, seconds, memory, error, "values", curves, machine, finished '
            f"FROM trials WHERE {where} ORDER BY tier, device, seed, work",
            fields,
        )
        return [(TrialKey(*row[:6]), _record(row[6:])) for row in rows]

    def put(self, key: TrialKey, outcome: Outcome, machine: Mapping[str, Any]) -> None:
        """Write one outcome; an earlier one of the same key is replaced."""
        result = outcome.result
        curves = None if result is None else [asdict(curve) for curve in result.curves]
        row = {
            **asdict(key),
            "status": outcome.status,
            "seconds": outcome.seconds,
            "memory": outcome.memory,
            "error": outcome.error,
            "values": None if result is None else json.dumps(dict(result.values)),
            "curves": None if curves is None else json.dumps(curves),
            "machine": json.dumps(dict(machine)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(f":{name}" for name in row)
        self._execute(f"INSERT OR REPLACE INTO trials ({columns}) VALUES ({marks})", row)

    def _execute(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, dict(values)).fetchall()
        except sqlite3.Error as error:
            raise StoreError(self._message(f"failed: {error}")) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _record(row: Iterable[Any]) -> Record:
    status, seconds, memory, error, values, curves, machine, finished = row
    result = None
    if values is not None:
        drawn = [Curve(**curve) for curve in json.loads(curves)]
        result = TrialResult(json.loads(values), drawn)
    outcome = Outcome(status, seconds, memory, result, error)
    return Record(outcome, json.loads(machine), finished)
