"""Python programs as trees, by Python's own ``ast``."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from typing import Any

from paperworks.statistics.pac_code.tree import Draft, ProgramError, ProgramTree, flatten

_WRAP = "if 1:\n"

# Lists that run beside another one: a hole may not change how many there are.
_BESIDE = {
    ast.Dict: ("keys",),
    ast.Compare: ("comparators",),
    ast.arguments: ("defaults", "kw_defaults"),
    ast.MatchMapping: ("keys",),
    ast.MatchClass: ("kwd_patterns",),
}


def parse_python(text: str) -> ProgramTree:
    """The tree of a Python program, a block of indented lines, or an expression.

    Nodes are those of ``ast`` that have a text: statements, expressions, arguments, clauses of
    comprehensions and so on. Contexts and operators are part of their parents' labels. An
    f-string is one node (its parts have no reliable places before Python 3.12).

    Raises
    ------
    ProgramError
        Where Python cannot parse it, with the place.
    """
    shift = 0
    source = text
    if not text.strip():
        raise ProgramError("the program is empty")
    first = next(line for line in text.splitlines() if line.strip())
    if first[0] in " \t":
        if "\n" not in text.strip():
            shift = len(text) - len(text.lstrip())
            source = text.lstrip()
        else:
            source, shift = _WRAP + text, -len(_WRAP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a model's "\d" is its own affair
            module: Any = ast.parse(source)
    except SyntaxError as error:
        line = (error.lineno or 1) - (shift < 0)
        raise ProgramError(f"not Python: {error.msg}, line {line} of {_shown(text)}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"not Python: {error}: {_shown(text)}") from None
    if shift < 0:
        module = ast.Module(module.body[0].body, [])
    if not module.body:
        raise ProgramError(f"the program has no statement: {_shown(text)}")
    places = _Places(source, shift)
    root = _draft(module, places)
    return flatten(root, text, places.comments())


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 120 else text[:117] + "...")


class _Places:
    """Offsets in characters from lines and columns in bytes."""

    def __init__(self, source: str, shift: int) -> None:
        self._source, self._shift = source, shift
        # Python ends a line at \n, \r and \r\n alone; str.splitlines knows more.
        self._lines = io.StringIO(source, newline="").readlines()
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        """Offset in the text of a place that ``ast`` gives."""
        head = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(head) + self._shift

    def span(self, node: ast.AST) -> tuple[int, int] | None:
        if getattr(node, "lineno", None) is None:
            return None
        there: Any = node
        begin = self.at(there.lineno, there.col_offset)
        for each in getattr(node, "decorator_list", []):  # they come before the place of the rest
            first = self.at(each.lineno, each.col_offset) - self._shift
            begin = min(begin, self._source.rindex("@", 0, first) + self._shift)
        return begin, self.at(there.end_lineno, there.end_col_offset)

    def comments(self) -> tuple[tuple[int, int], ...]:
        """Where the comments are."""
        found = []
        try:
            for token in tokenize.generate_tokens(io.StringIO(self._source).readline):
                if token.type == tokenize.COMMENT:
                    begin = self._starts[token.start[0] - 1] + token.start[1] + self._shift
                    found.append((begin, begin + len(token.string)))
        except (tokenize.TokenError, IndentationError):  # what it found before is right
            pass
        return tuple(found)


def _draft(node: ast.AST, places: _Places) -> Draft:
    if isinstance(node, ast.JoinedStr):
        return Draft(("JoinedStr", ast.dump(node)), places.span(node))
    draft = Draft(None, places.span(node), unit=isinstance(node, (ast.stmt, ast.excepthandler)))
    label: list[Any] = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name in ("type_comment", "kind", "type_ignores"):
            continue
        if isinstance(value, ast.AST):
            child = _placed(value, places)
            if child is not None:
                draft.fields[name] = child
            elif not isinstance(value, ast.expr_context):
                label.append((name, ast.dump(value)))
        elif isinstance(value, list):
            if any(name in fields for kind, fields in _BESIDE.items() if isinstance(node, kind)):
                label.append((name, len(value)))
            kept, blank = [], []
            for at, each in enumerate(value):
                child = _placed(each, places) if isinstance(each, ast.AST) else None
                if child is not None:
                    kept.append(child)
                else:
                    blank.append((at, ast.dump(each) if isinstance(each, ast.AST) else each))
            draft.fields[name] = kept
            if blank:
                label.append((name, tuple(blank)))
        elif value is not None or isinstance(node, ast.Constant):
            label.append((name, type(value).__name__, repr(value)))
    draft.label = tuple(label)
    return draft


def _placed(node: ast.AST, places: _Places) -> Draft | None:
    """The node's draft, or None where nothing of it stands in the text."""
    if isinstance(node, (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)):
        return None
    draft = _draft(node, places)
    if draft.span is None and not any(child.span or child.fields for child in draft.children()):
        return None
    return draft
