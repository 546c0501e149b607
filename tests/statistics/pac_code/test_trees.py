"""Trees of Python and SQL, and what each node is charged."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import pytest

import paperworks.writing
from paperworks.statistics import ScoredProgram
from paperworks.statistics.pac_code.python_trees import parse_python
from paperworks.statistics.pac_code.tree import ProgramError, charge

SOURCE = inspect.getsource(paperworks.writing)


def texts(tree):
    return [tree.text[begin:end] for begin, end in tree.spans]


def named(tree, kind):
    return [node for node, label in enumerate(tree.labels) if label[0] == kind]


def check_shape(tree):
    assert tree.parent[0] == -1
    assert (tree.parent[1:] < np.arange(1, len(tree))).all()
    below = np.array([tree.spans[tree.parent[node]] for node in range(1, len(tree))])
    assert (below[:, 0] <= tree.spans[1:, 0]).all()
    assert (below[:, 1] >= tree.spans[1:, 1]).all()
    assert tree.units[0]
    for node, fields in enumerate(tree.fields):
        under = [c for v in fields.values() for c in (v if isinstance(v, tuple) else (v,))]
        assert sorted(under) == np.flatnonzero(tree.parent == node).tolist()


def test_every_node_of_a_module_has_the_text_that_python_says():
    tree = parse_python(SOURCE)
    check_shape(tree)
    mine = sorted(zip((label[0] for label in tree.labels), texts(tree), strict=True))
    wanted = []
    inside = set()  # parts of f-strings, which are one node here
    module = ast.parse(SOURCE)
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(each) for each in ast.walk(node)} - {id(node)}
    for node in ast.walk(module):
        if hasattr(node, "lineno") and id(node) not in inside:
            segment = ast.get_source_segment(SOURCE, node)
            if not getattr(node, "decorator_list", None):
                wanted.append((type(node).__name__, segment))
    assert len(wanted) > 150
    for pair in wanted:
        assert pair in mine
    statements = sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(SOURCE)))
    handlers = SOURCE.count("except ")
    assert tree.units.sum() == statements + handlers + 1


def test_decorators_accents_and_indented_lines():
    text = "@wrap(é)\ndef f(x):\n    return x  # é\n"
    tree = parse_python(text)
    check_shape(tree)
    assert texts(tree)[named(tree, "FunctionDef")[0]].startswith("@wrap(é)\ndef")
    assert text[slice(*tree.comments[0])] == "# é"
    block = "    y = é + 1\n    return y\n"
    inner = parse_python(block)
    check_shape(inner)
    assert [texts(inner)[node] for node in np.flatnonzero(inner.units)][1:] == [
        "y = é + 1",
        "return y",
    ]
    assert parse_python("    return é\n").labels == parse_python("return é").labels


def test_f_strings_are_one_node():
    tree = parse_python("print(f'{a} and {b!r}', a)")
    assert [texts(tree)[n] for n in named(tree, "JoinedStr")] == ["f'{a} and {b!r}'"]
    assert len(named(tree, "Name")) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("f(x", "not Python"),
        ("", "empty"),
        ("# only a comment", "no statement"),
        ("x = \x00", "not Python"),
        ("for i in x:", "not Python"),
    ],
)
def test_what_is_no_python_says_so(text, words):
    with pytest.raises(ProgramError, match=words):
        parse_python(text)


def test_charges_sum_to_the_likelihood():
    rng = np.random.default_rng(0)
    text = inspect.getsource(paperworks.writing.read_json)
    places = np.sort(rng.choice(len(text), 200, replace=False))
    tokens = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    program = ScoredProgram(tokens, list(-rng.exponential(size=len(tokens))))
    tree = parse_python(program.code)
    assert not tree.comments
    cost = charge(tree, program)
    assert (cost >= 0).all()
    assert cost.sum() == pytest.approx(program.nll, rel=1e-12)


def test_a_token_is_charged_to_the_deepest_node_it_touches():
    tokens = ["f", "(x", ", ", "y", ")", "  # why", "", "\n"]
    program = ScoredProgram(tokens, [-1, -2, -4, -8, -16, -32, -64, -128], prefix="return ")
    tree = parse_python(program.code)
    cost = charge(tree, program)
    assert cost[named(tree, "Name")].tolist() == [1, 2, 8]
    assert cost[named(tree, "Call")[0]] == 4 + 16
    assert cost[0] == 64 + 128  # the end and the line break are the program's as a whole
    assert cost.sum() == 223  # the comment costs nothing: it is no part of the program


sqlglot = pytest.importorskip("sqlglot", reason="needs the extra sql")

QUERIES = [
    "SELECT DISTINCT a.b, COUNT(*) FROM city AS a JOIN t ON a.x = t.y "
    'WHERE (n = "x" OR z IN (1, 2))'
    " AND NOT u BETWEEN 1 AND 3 GROUP BY a.b HAVING COUNT(*) > 2 ORDER BY c DESC LIMIT 3;",
    "select x from t where y = (select max(y + 1) from t where name like '%a%')",
    "SELECT a FROM t UNION SELECT b FROM u LEFT JOIN v USING (id)",
    "SELECT CASE WHEN a > 1 THEN 'x' ELSE NULL END AS k, CAST(b AS INT) FROM t, u WHERE a IS NULL",
]


@pytest.mark.parametrize("query", QUERIES)
def test_expressions_of_sql_have_the_text_that_gives_them(query):
    from paperworks.statistics.pac_code.sql_trees import parse_sql

    tree = parse_sql(query, "sqlite")
    check_shape(tree)
    whole = sqlglot.parse_one(query.rstrip(";"), read="sqlite")
    known = {each.sql("sqlite").lower() for each in whole.walk()}
    kinds = {"EQ", "GT", "In", "Between", "Not", "And", "Or", "Column", "Literal", "Count", "Max"}
    kinds |= {"Add", "Like", "Case", "Cast", "Is", "Paren", "Identifier", "Select"}
    seen = 0
    for label, text in zip(tree.labels[1:], texts(tree)[1:], strict=True):
        if label[0] in kinds and not (label[0] == "Select" and "UNION" in query):
            again = sqlglot.parse_one(text, read="sqlite")
            assert again.sql("sqlite").lower() in known
            seen += 1
    assert seen >= 4


def test_what_is_read_from_the_left_is_found_by_its_children():
    from paperworks.statistics.pac_code.sql_trees import parse_sql

    tree = parse_sql("SELECT a + b + c FROM t WHERE x AND y AND z")
    assert [texts(tree)[node] for node in named(tree, "Add")] == ["a + b + c", "a + b"]
    assert [texts(tree)[node] for node in named(tree, "And")] == ["x AND y AND z", "x AND y"]


def test_clauses_of_sql_begin_with_their_words():
    from paperworks.statistics.pac_code.sql_trees import parse_sql

    tree = parse_sql(QUERIES[0], "sqlite")
    starts = {"From": "FROM city", "Join": "JOIN t ON", "Where": "WHERE (n", "Group": "GROUP BY",
              "Having": "HAVING", "Order": "ORDER BY", "Limit": "LIMIT 3"}  # fmt: skip
    for kind, begin in starts.items():
        (node,) = named(tree, kind)
        assert texts(tree)[node].startswith(begin)
        assert tree.units[node]
    assert not tree.units[named(tree, "EQ")].any()
    same = parse_sql("select X from T where y = 'A'").labels
    assert same == parse_sql("SELECT x FROM t  WHERE Y='A' ;").labels
    assert same != parse_sql("SELECT x FROM t  WHERE Y='a'").labels
    assert parse_sql("SELECT DISTINCT x FROM t").labels != parse_sql("SELECT x FROM t").labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT FROM WHERE (", "not SQL"),
        ("SELECT 1; SELECT 2", "one statement, got 2"),
        (" ", "empty"),
        ("'open", "not SQL"),
    ],
)
def test_what_is_no_sql_says_so(text, words):
    from paperworks.statistics.pac_code.sql_trees import parse_sql

    with pytest.raises(ProgramError, match=words):
        parse_sql(text)


def test_an_unknown_dialect_is_refused():
    from paperworks.statistics.pac_code.sql_trees import parse_sql

    with pytest.raises(ValueError, match="dialect 'klingon'"):
        parse_sql("SELECT 1", "klingon")
