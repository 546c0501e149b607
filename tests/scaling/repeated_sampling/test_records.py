"""Reading a person's file, line by line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from paperworks.scaling import BadLineError, read_counts


def write(path: Path, *lines: object) -> Path:
    path.write_text(
        "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), "utf-8"
    )
    return path


def test_both_formats_in_one_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        {"problem": "a", "correct": True, "model": "x"},
        {"problem": 7, "n": 100, "c": 3},
        "",
        {"problem": "a", "correct": False},
        {"problem": "b", "correct": 1},
        {"problem": "a", "correct": False, "sample": 4},
    )
    counts = read_counts(path, strict=True)
    assert counts.problems == ("a", "7", "b")
    np.testing.assert_array_equal(counts.n, [3, 100, 1])
    np.testing.assert_array_equal(counts.c, [1, 3, 1])
    assert (counts.sample_lines, counts.count_lines, counts.bad) == (4, 1, ())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{oops", "not JSON"),
        ("[1, 2]", "must be a JSON object, got list"),
        ('{"correct": true}', "needs 'problem'"),
        ('{"problem": null, "correct": true}', "needs 'problem'"),
        ('{"problem": true, "correct": true}', "needs 'problem'"),
        ('{"problem": "", "correct": true}', "needs 'problem'"),
        ('{"problem": "x"}', "needs 'correct', or both 'n' and 'c'"),
        ('{"problem": "x", "n": 3}', "needs 'correct', or both 'n' and 'c'"),
        ('{"problem": "x", "correct": "yes"}', "'correct' must be true or false, got \"yes\""),
        ('{"problem": "x", "correct": 2}', "'correct' must be true or false, got 2"),
        ('{"problem": "x", "correct": null}', "'correct' must be true or false, got null"),
        ('{"problem": "x", "n": 3, "c": 4}', "needs 0 <= c <= n and n >= 1, got n = 3 and c = 4"),
        ('{"problem": "x", "n": 0, "c": 0}', "n >= 1, got n = 0"),
        ('{"problem": "x", "n": 3, "c": -1}', "got n = 3 and c = -1"),
        ('{"problem": "x", "n": 3.5, "c": 1}', "must be whole numbers, got 3.5 and 1"),
        ('{"problem": "x", "n": true, "c": 1}', "must be whole numbers, got True"),
        ('{"problem": "x", "correct": true, "n": 3, "c": 1}', "is it one sample or a count?"),
        ('{"problem": "one", "n": 3, "c": 1}', "counted already on line 1"),
        ('{"problem": "one", "correct": true}', "counted already on line 1"),
        ('{"problem": "many", "n": 3, "c": 1}', "counted already on line 2"),
        ('{"problem": "many", "sample": 0, "correct": true}', "sample 0 of problem 'many' appears"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_lines_are_left_out_with_their_number(tmp_path: Path, line: str, why: str) -> None:
    path = write(
        tmp_path / "r",
        {"problem": "one", "n": 9, "c": 2},
        {"problem": "many", "sample": 0, "correct": False},
        "",
        line,
        {"problem": "many", "sample": 1, "correct": True},
    )
    counts = read_counts(path)
    assert counts.problems == ("one", "many")
    assert (counts.n.tolist(), counts.c.tolist()) == ([9, 2], [2, 1])
    assert [bad.line for bad in counts.bad] == [4]
    assert why in counts.bad[0].why
    with pytest.raises(BadLineError, match="line 4: "):
        read_counts(path, strict=True)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(b'\xff\xfe{"problem"\n\xef\xbb\xbf\n{"problem": "a", "correct": true}\r\n')
    counts = read_counts(path)
    assert [bad.line for bad in counts.bad] == [1, 2]
    assert counts.c.tolist() == [1]


def test_byte_order_mark_windows_line_ends_no_last_newline_and_gzip(tmp_path: Path) -> None:
    text = '\ufeff{"problem": "é", "correct": true}\r\n{"problem": "é", "correct": false}'
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.gz"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        counts = read_counts(path, strict=True)
        assert (counts.problems, counts.n.tolist(), counts.c.tolist()) == (("é",), [2], [1])


def test_nothing_to_use(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no usable line; it is empty"):
        read_counts(write(tmp_path / "r"))
    with pytest.raises(ValueError, match="the first of 2 bad: line 1: not JSON"):
        read_counts(write(tmp_path / "r", "x", "y"))
    with pytest.raises(FileNotFoundError):
        read_counts(tmp_path / "missing")
