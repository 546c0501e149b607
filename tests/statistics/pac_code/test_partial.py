"""What a program with holes stands for."""

from __future__ import annotations

import ast
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paperworks.statistics import PartialProgram
from paperworks.statistics.pac_code.languages import parse


def with_holes(text, *pieces, language="python"):
    """The program with a hole at the topmost node whose text is each of the pieces."""
    tree = parse(text, language)
    texts = [text[b:e] for b, e in tree.spans]
    cut = tuple(sorted(texts.index(piece) for piece in pieces))
    return PartialProgram(tree, text, cut, 0.0, 0.0, language)


PROGRAMS = [
    "x", "x + 1", "x - 1", "x  +  1  # same", "f(x)", "f(x, y)", "f(x, y=1)", "f(*x)",
    "def f(a, b=1): pass", "def f(a=1, b=1): pass", "[i for i in x]", "[i for i in x if i]",
    "x < 1 < 2", "x < 1", "{1: 2}", "{**a}", "return x", "return", "'a'", "b'a'", "1", "True",
    "1.0", "x = 1", "x: int = 1", "if x:\n  a", "if x:\n  a\nelse:\n  b", "a\nb", "lambda: 0",
    "print(f'{x}')", "print(f'{y}')", "match x:\n  case {'a': 1}: pass", "x[1:2]", "x[1:]", "-x",
]  # fmt: skip


def test_without_holes_a_program_holds_those_of_the_same_tree():
    dumps = {text: ast.dump(ast.parse(text)) for text in PROGRAMS}
    for first, second in product(PROGRAMS, PROGRAMS):
        whole = PartialProgram(parse(first), first, (), 0.0, 0.0)
        assert whole.contains(second) == (dumps[first] == dumps[second]), (first, second)


@pytest.mark.parametrize(
    ("text", "pieces", "inside", "outside"),
    [
        ("f(x, y)", ["x"], ["f(x, y)", "f(g(1), y)", "f(y)", "f(1, 2, y)", "f(*a, y)"],
         ["f(x)", "g(x, y)", "f(x, z)", "f(x, y, z)"]),
        ("x + y", ["y"], ["x + 1", "x + (a * b)"], ["x - y", "x", "y + x"]),
        ("return x", ["x"], ["return", "return f(x)"], ["x", "yield x"]),
        ("a\nb\nc", ["b"], ["a\nc", "a\nx = 1\ny = 2\nc"], ["a\nb", "b\nc", "a\nb\nd"]),
        ("{1: 2, 3: 4}", ["2"], ["{1: 5, 3: 4}"], ["{3: 4}", "{1: 2, 3: 4, 5: 6}"]),
        ("x < y < z", ["y"], ["x < 3 < z"], ["x < z", "x < y <= z"]),
        ("f(x)(y)", ["f(x)"], ["g(y)", "a.b(y)"], ["f(x)(z)", "f(x)"]),
        ("if x:\n    a\n", ["x"], ["if not x: a"], ["if x: b", "while x: a", "if x: a\nelse: b"]),
        ("print(f'{x}')", ["f'{x}'"], ["print('a')", "print()", "print(f'{x}', 1)"],
         ["print", "f(f'{x}')"]),
    ],
)  # fmt: skip
def test_what_fits_into_holes(text, pieces, inside, outside):
    partial = with_holes(text, *pieces)
    assert partial.contains(text)
    for program in inside:
        assert partial.contains(program), program
    for program in outside:
        assert not partial.contains(program), program


def test_holes_in_sql():
    pytest.importorskip("sqlglot")
    text = "SELECT a, b FROM t WHERE x = 1 AND y = 2 LIMIT 3"
    partial = with_holes(text, "b", "x = 1", language="sql")
    assert partial.code() == "SELECT a, ?? FROM t WHERE ?? AND y = 2 LIMIT 3"
    assert partial.contains("select A, b, c from t where z in (1, 2) and y = 2 limit 3")
    assert not partial.contains("SELECT a FROM t WHERE x = 1 AND y = 3 LIMIT 3")
    assert not partial.contains("SELECT a FROM t WHERE x = 1 AND y = 2")
    clause = with_holes(text, "WHERE x = 1 AND y = 2", language="sql")
    assert clause.code("[...]") == "SELECT a, b FROM t [...] LIMIT 3"
    assert clause.contains("SELECT a, b FROM t LIMIT 3")
    assert not clause.contains("SELECT a, b FROM u LIMIT 3")


@given(st.lists(st.sampled_from("ab?"), max_size=5), st.lists(st.sampled_from("abc"), max_size=6))
@hypothesis_settings(max_examples=200, deadline=None)
def test_runs_of_items_match_as_regular_expressions_do(pattern, items):
    text = f"f({', '.join('h' if p == '?' else p for p in pattern)})"
    tree = parse(text)
    call = next(n for n, label in enumerate(tree.labels) if label[0] == "Call")
    args = tree.fields[call].get("args", ())
    cut = tuple(node for node, p in zip(args, pattern, strict=True) if p == "?")
    partial = PartialProgram(tree, text, cut, 0.0, 0.0)
    wanted = re.fullmatch("".join(".*" if p == "?" else p for p in pattern), "".join(items))
    assert partial.contains(f"f({', '.join(items)})") == bool(wanted)
    assert partial.holes == pattern.count("?")


def test_one_hole_holds_everything():
    tree = parse("x + 1")
    whole = PartialProgram(tree, "x + 1", (0,), 0.0, 0.0)
    assert whole.contains("import os")
    assert (whole.code(), whole.removed, whole.holes) == ("??", 1.0, 1)
    unparsed = PartialProgram(None, "x +", (), 0.0, 0.0)
    assert unparsed.contains("x")
    assert (str(unparsed), unparsed.removed, unparsed.holes) == ("??", 1.0, 1)


def test_size_is_the_share_of_nodes():
    partial = with_holes("f(x, y + z)", "y + z")
    assert partial.removed == pytest.approx(3 / 8)  # of module, statement, call, f, x, +, y, z
    assert partial.code("HOLE") == "f(x, HOLE)"


def test_a_program_that_does_not_parse_is_refused():
    with pytest.raises(ValueError, match="not Python"):
        with_holes("x + 1", "1").contains("x +")


def test_a_line_is_printed_without_the_blanks_around_and_a_block_with_its_own():
    assert with_holes(" f(x)\n", "x").code() == "f(??)"
    assert with_holes("    a = x\n    b = y\n", "x").code() == "    a = ??\n    b = y"
