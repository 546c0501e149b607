"""What a guard has spent, in one SQLite file that many processes may share.

A turn is one transaction that holds the file's write lock from reading the state until the answer
is on disk. So two processes never spend the same unit, and a crash between the two can lose an
answer but never its cost. The file has a rollback journal, not a write-ahead log, and is opened
anew for each turn: it may lie on a file system with working locks (not every network drive has
them), and a forked process carries no open connection along.

A file that is damaged, of another program, or of a newer paperworks is refused and left as it is.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from paperworks.statistics.adaptive.mechanisms import Reply, State

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x70617068  # "paph": recognised before anything is written
_BUSY_SECONDS = 60.0
_SCHEMA = (
    "CREATE TABLE guard (id INTEGER PRIMARY KEY CHECK (id = 0), header TEXT NOT NULL, "
    "state TEXT NOT NULL, weights BLOB)",
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, asked TEXT NOT NULL, name TEXT NOT NULL, "
    "value REAL NOT NULL, source TEXT NOT NULL, cost INTEGER NOT NULL)",
    "CREATE TABLE files (name TEXT PRIMARY KEY, content BLOB NOT NULL)",
)


class LedgerError(RuntimeError):
    """The state file cannot be used; the message says why and what to do."""


class Turn:
    """One transaction: the state to change, and the answer to record."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.record: tuple[str, float, Reply] | None = None


class Ledger:
    """The state of one guard, in a file or in this process's memory.

    Parameters
    ----------
    path : path or None
        The file, made where there is none; None keeps everything in memory.
    header : mapping
        What the file must agree on: mechanism, data, confidence. JSON values.
    first : callable
        Makes the first state of a new file.
    files : mapping of str to bytes
        Kept in a new file beside the state.

    Raises
    ------
    LedgerError
        If the file cannot be used, or belongs to a guard of another header.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        header: Mapping[str, Any],
        first: Callable[[], State],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path).resolve()
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None
        if self.path is None:
            self._memory = _connect(":memory:")
            self._owner = os.getpid()
        with self._transaction(create=True) as run:
            if _is_new(run, self.path):
                for statement in _SCHEMA:
                    run(statement)
                run(f"PRAGMA application_id = {_APPLICATION_ID}")
                run(f"PRAGMA user_version = {SCHEMA_VERSION}")
                run("INSERT INTO guard VALUES (0, ?, '', NULL)", (json.dumps(dict(header)),))
                for name, content in (files or {}).items():
                    run("INSERT INTO files VALUES (?, ?)", (name, content))
                _write(run, first(), weights=True)
            else:
                _compare(json.loads(_one(run, "header")), header, self.path)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Hold the lock, change the state, record an answer; nothing is kept if the block raises.

        Yields
        ------
        Turn
            What is in its ``state`` and ``record`` when the block ends is written.
        """
        with self._transaction() as run:
            turn = Turn(_read(run))
            yield turn
            # The model is rewritten only where an answer from the holdout has moved it.
            learnt = turn.record is not None and turn.record[2].cost > 0
            _write(run, turn.state, weights=learnt)
            if turn.record is not None:
                name, value, reply = turn.record
                now = datetime.now(UTC).isoformat(timespec="seconds")
                run(
                    "INSERT INTO answers (asked, name, value, source, cost) VALUES (?, ?, ?, ?, ?)",
                    (now, name, value, reply.source, reply.cost),
                )

    def state(self) -> State:
        """The state as it is now."""
        with self._transaction(write=False) as run:
            return _read(run)

    def answers(self, last: int | None = None) -> list[dict[str, Any]]:
        """The answers given so far, the latest at the end."""
        names = ("number", "asked", "name", "value", "source", "cost")
        with self._transaction(write=False) as run:
            rows = run(
                f"SELECT {', '.join(names)} FROM answers ORDER BY number DESC LIMIT ?",
                (-1 if last is None else last,),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in reversed(rows)]

    @contextmanager
    def _transaction(self, *, write: bool = True, create: bool = False) -> Iterator[Any]:
        with self._lock, self._connection(create) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield connection.execute
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise LedgerError(_message(self.path, _reason(error))) from error

    @contextmanager
    def _connection(self, create: bool) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            if os.getpid() != self._owner:
                raise LedgerError(
                    "this guard keeps its budget in the memory of another process, and both could "
                    "spend the same unit; give path= to share it"
                )
            yield self._memory
            return
        with closing(open_file(self.path, create=create)) as connection:
            yield connection


def open_file(path: Path | None, *, create: bool = False) -> sqlite3.Connection:
    """Connect to a state file; with ``create`` also to one that is not there yet."""
    assert path is not None
    if not create and not path.exists():
        raise LedgerError(f"there is no state file {path}; make one, or correct the name")
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        # mode=rw: a file that vanishes meanwhile is not made anew with a fresh budget.
        mode = "rwc" if create else "rw"
        return _connect(f"{path.as_uri()}?mode={mode}")
    except OSError as error:
        raise LedgerError(_message(path, f"cannot be opened: {error}")) from error
    except sqlite3.Error as error:
        raise LedgerError(_message(path, _reason(error))) from error


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header of a state file, and the files kept in it."""
    where = Path(path).resolve()
    with closing(open_file(where)) as connection:
        try:
            if _is_new(connection.execute, where):
                raise LedgerError(_message(where, "is empty"))
            header = json.loads(_one(connection.execute, "header"))
            return header, dict(connection.execute("SELECT name, content FROM files").fetchall())
        except sqlite3.Error as error:
            raise LedgerError(_message(where, _reason(error))) from error


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=uri.startswith("file:"),
    )
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def _is_new(run: Any, path: Path | None) -> bool:
    """Whether the database is empty; another program's, or a newer one's, is refused."""
    if run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return True
    if run("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise LedgerError(_message(path, "is another program's database"))
    version = run("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise LedgerError(
            _message(path, f"was written by a newer paperworks (schema {version}); upgrade")
        )
    return False


def _reason(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return f"is held by another process for more than {_BUSY_SECONDS:.0f} s"
    if isinstance(error, sqlite3.OperationalError):
        return f"cannot be used: {error}"
    return f"is damaged: {error}"


def _message(path: Path | None, what: str) -> str:
    return f"the state file {path} {what}. It was left as it is."


def _one(run: Any, column: str) -> Any:
    return run(f"SELECT {column} FROM guard").fetchone()[0]


def _read(run: Any) -> State:
    text, weights = run("SELECT state, weights FROM guard").fetchone()
    state: State = json.loads(text)
    if weights is not None:
        state["log_weights"] = np.frombuffer(weights, dtype="<f8").astype(np.float64)
    return state


def _write(run: Any, state: State, *, weights: bool) -> None:
    plain = {key: value for key, value in state.items() if key != "log_weights"}
    run("UPDATE guard SET state = ?", (json.dumps(plain),))
    if weights and "log_weights" in state:
        run("UPDATE guard SET weights = ?", (state["log_weights"].astype("<f8").tobytes(),))


def _compare(found: dict[str, Any], wanted: Mapping[str, Any], path: Path | None) -> None:
    """Refuse a file of another guard, and say what differs."""
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if keys:
        differences = "; ".join(
            f"the {key} data are others"
            if key in ("train", "holdout")
            else f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"
            for key in keys
        )
        raise LedgerError(
            _message(path, f"belongs to another guard: {differences}")
            + " Use the same data and parameters, or another path."
        )
