"""SQL as trees, by sqlglot.

sqlglot keeps the place in the text of names alone. The rest is seen while it parses: each of its
``_parse_*`` methods is watched, and a node gets the tokens that the method consumed which returned
it, the longest stretch where several did, and those of its children.
"""

from __future__ import annotations

import inspect
from functools import cache, wraps
from typing import Any

from paperworks.statistics.pac_code.tree import Draft, ProgramError, ProgramTree, flatten


def parse_sql(text: str, dialect: str = "") -> ProgramTree:
    """The tree of one SQL statement.

    Names that are not quoted are compared without case; brackets that change nothing are nodes
    of their own, as in sqlglot.

    Parameters
    ----------
    text : str
        One statement; a semicolon may end it.
    dialect : str
        One of sqlglot's, such as ``"sqlite"``; default its own, a superset of most.

    Raises
    ------
    ImportError
        Where sqlglot is not installed, or only as compiled code, which cannot be watched.
    ProgramError
        Where it cannot be parsed, with sqlglot's reason.
    """
    glot = _sqlglot()
    language = _dialect(dialect)
    if not text.strip():
        raise ProgramError("the program is empty")
    try:
        tokens = language.tokenize(text)
        parser = _watching(language.parser_class)(dialect=language)
        trees = parser.parse(tokens, text)
    except (glot.errors.SqlglotError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise ProgramError(f"not SQL: {reason}: {text.strip()[:120]!r}") from None
    trees = [tree for tree in trees if tree is not None]
    if len(trees) != 1:
        raise ProgramError(f"a program is one statement, got {len(trees)}: {text.strip()[:120]!r}")
    if isinstance(trees[0], glot.exp.Command):
        raise ProgramError(f"sqlglot does not parse this statement: {text.strip()[:120]!r}")
    return flatten(_draft(trees[0], _Seen(parser.seen, tokens), True), text)


def _sqlglot() -> Any:
    try:
        import sqlglot
    except ImportError:
        raise ImportError("SQL needs sqlglot: pip install 'paperworks[sql]'") from None
    if not inspect.isfunction(sqlglot.parser.Parser._parse_select):
        raise ImportError(
            "trees of SQL need sqlglot's parser as Python, not compiled: pip uninstall sqlglotc"
        )
    return sqlglot


def _dialect(name: str) -> Any:
    glot = _sqlglot()
    try:
        return glot.Dialect.get_or_raise(name)
    except ValueError as error:
        raise ValueError(f"sql dialect {name!r} is none that sqlglot knows: {error}") from None


@cache
def _watching(base: Any) -> Any:
    """A parser class of sqlglot that notes the tokens that every node was read from."""
    glot = _sqlglot()

    def watched(method: Any) -> Any:
        @wraps(method)
        def call(self: Any, *args: Any, **options: Any) -> Any:
            begin = self._index
            result = method(self, *args, **options)
            if isinstance(result, glot.exp.Expression) and begin < self._index:
                first, last = self._tokens[begin], self._tokens[self._index - 1]
                self.seen.setdefault(id(result), []).append((first.start, last.end + 1))
                self.held.append(result)  # an id is of use only while its object lives
            return result

        return call

    def start(self: Any, *args: Any, **options: Any) -> None:
        base.__init__(self, *args, **options)
        self.seen, self.held = {}, []

    methods = {
        name: watched(method)
        for name, method in inspect.getmembers(base, inspect.isfunction)
        if name.startswith("_parse_")
    }
    return type(f"Watching{base.__name__}", (base,), {"__init__": start, **methods})


def _draft(node: Any, seen: _Seen, unit: bool) -> Draft:
    glot = _sqlglot()
    label: list[Any] = [type(node).__name__]
    draft = Draft(None, None, unit=unit)
    query = glot.exp.Query

    def below(child: Any) -> Draft | None:
        made = _draft(child, seen, isinstance(node, query) or isinstance(child, query))
        return None if made.span is None else made

    for name, value in node.args.items():
        if value is None or value == [] or value is False:
            continue
        if isinstance(value, glot.exp.Expression):
            child = below(value)
            if child is None:  # a bare DISTINCT has no text of its own
                label.append((name, value.sql()))
            else:
                draft.fields[name] = child
        elif isinstance(value, list) and all(isinstance(v, glot.exp.Expression) for v in value):
            made = [below(each) for each in value]
            draft.fields[name] = [each for each in made if each is not None]
            if None in made:
                label.append((name, tuple(v.sql() for v in value)))
        elif isinstance(node, glot.exp.Identifier):
            if name == "this":
                label.append(value if node.args.get("quoted") else str(value).lower())
        else:
            label.append((name, repr(value)))
    draft.label = tuple(label)
    inside = [child.span for child in draft.children() if child.span is not None]
    draft.span = seen.span(node, inside)
    return draft


class _Seen:
    """What was seen while parsing, and the words that only the node above was seen to read."""

    def __init__(self, stretches: dict[int, list[tuple[int, int]]], tokens: list[Any]) -> None:
        self._stretches, self._tokens = stretches, tokens

    def span(self, node: Any, inside: list[tuple[int, int]]) -> tuple[int, int] | None:
        """Where a node stands, given where its children do."""
        found = inside + self._stretches.get(id(node), [])
        if not found and "start" in node.meta:
            found = [(node.meta["start"], node.meta["end"] + 1)]
        if not found:
            return None
        begin, end = min(each[0] for each in found), max(each[1] for each in found)
        if isinstance(node, _sqlglot().exp.Select):  # as an operand of UNION
            words = ("SELECT", "DISTINCT", "ALL")
            for token in reversed([each for each in self._tokens if each.end < begin]):
                if token.text.upper() not in words:
                    break
                begin = token.start
        return begin, end
