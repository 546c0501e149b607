"""Reading a person's own results: JSON lines, one per sample or one per problem.

One line per sample::

    {"problem": "HumanEval/0", "correct": true}

or one line per problem::

    {"problem": "HumanEval/0", "n": 100, "c": 7}

Other fields are ignored, but for ``sample``: where a line per sample has one, the same sample of
the same problem on a second line is a duplicate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from paperworks.scaling.lines import BadLine, BadLineError, numbered_lines
from paperworks.scaling.repeated_sampling.coverage import IntArray


@dataclass(frozen=True)
class Counts:
    """What a file says: ``c[i]`` of ``n[i]`` samples of ``problems[i]`` are correct.

    ``sample_lines`` and ``count_lines`` tell how many lines of each format were used, ``bad`` which
    were left out.
    """

    problems: tuple[str, ...]
    n: IntArray
    c: IntArray
    sample_lines: int
    count_lines: int
    bad: tuple[BadLine, ...]


def read_counts(path: str | PathLike[str], *, strict: bool = False) -> Counts:
    r"""Read results, one JSON object a line; a name that ends in ``.gz`` is unpacked.

    Parameters
    ----------
    path : path
        The file, UTF-8. Blank lines are passed over.
    strict : bool
        Stop at the first bad line. By default bad lines are left out and listed in ``bad``: broken
        JSON, missing or wrong fields, ``c > n``, a duplicate, a problem given in both formats.

    Returns
    -------
    Counts
        In the order in which problems first appear.

    Raises
    ------
    BadLineError
        With ``strict``, at the first bad line.
    ValueError
        Where no good line is left.
    OSError
        Where the file cannot be read.

    Notes
    -----
    One file may hold both formats, for different problems. The first good line of a problem settles
    its format: a later line in the other one, or a second line of counts, would count samples
    twice and is bad.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "results.jsonl"
    ...     _ = file.write_text('{"problem": "a", "n": 9, "c": 2}\n{"problem": "b"}\n')
    ...     counts = read_counts(file)
    >>> counts.n.tolist(), counts.c.tolist(), str(counts.bad[0])
    ([9], [2], "line 2: needs 'correct', or both 'n' and 'c'")
    """
    table: dict[str, _Tally] = {}
    bad: list[BadLine] = []
    used = {"sample": 0, "count": 0}
    for number, raw in numbered_lines(Path(path)):
        try:
            used[_take(raw, number, table)] += 1
        except _LineError as error:
            bad.append(BadLine(number, str(error)))
            if strict:
                raise BadLineError(f"{path}, {bad[-1]}") from None
    if not table:
        seen = f"; the first of {len(bad)} bad: {bad[0]}" if bad else "; it is empty"
        raise ValueError(f"{path} holds no usable line{seen}")
    return Counts(
        problems=tuple(table),
        n=np.array([tally.n for tally in table.values()], dtype=np.int64),
        c=np.array([tally.c for tally in table.values()], dtype=np.int64),
        sample_lines=used["sample"],
        count_lines=used["count"],
        bad=tuple(bad),
    )


class _LineError(ValueError):
    """Why a line cannot be used."""


@dataclass
class _Tally:
    n: int
    c: int
    line: int
    per_sample: bool
    samples: set[str]


def _take(raw: bytes, number: int, table: dict[str, _Tally]) -> str:
    """Add one line to the table and say which format it had."""
    try:
        record = json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _LineError(f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise _LineError(f"must be a JSON object, got {type(record).__name__}")
    name = record.get("problem")
    if isinstance(name, bool) or not isinstance(name, (str, int)) or name == "":
        raise _LineError("needs 'problem', a string or a whole number")
    per_sample = "correct" in record
    if per_sample and ("n" in record or "c" in record):
        raise _LineError("has 'correct' and 'n' or 'c': is it one sample or a count?")
    old = table.get(str(name))
    if old is not None and (not per_sample or not old.per_sample):
        raise _LineError(
            f"problem {name!r} is counted already on line {old.line}; this would count it twice"
        )
    if per_sample:
        right = record["correct"]
        if not isinstance(right, bool) and not (type(right) is int and right in (0, 1)):
            raise _LineError(f"'correct' must be true or false, got {json.dumps(right)}")
        tally = old or _Tally(0, 0, number, True, set())
        if "sample" in record:
            key = json.dumps(record["sample"], sort_keys=True)
            if key in tally.samples:
                raise _LineError(f"sample {key} of problem {name!r} appears twice")
            tally.samples.add(key)
        tally.n += 1
        tally.c += int(right)
    else:
        if "n" not in record or "c" not in record:
            raise _LineError("needs 'correct', or both 'n' and 'c'")
        n, c = record["n"], record["c"]
        if type(n) is not int or type(c) is not int:
            raise _LineError(f"'n' and 'c' must be whole numbers, got {n!r} and {c!r}")
        if not (0 <= c <= n and 1 <= n < 2**53):
            raise _LineError(f"needs 0 <= c <= n and n >= 1, got n = {n} and c = {c}")
        tally = _Tally(n, c, number, False, set())
    table[str(name)] = tally
    return "sample" if per_sample else "count"
