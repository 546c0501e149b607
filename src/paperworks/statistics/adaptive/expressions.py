"""Queries written as text: ``prediction == label``, ``clip(age / 100, 0, 1)``.

An expression of a table's columns, row by row by construction: there is nothing in it that could
look at two rows. The syntax is Python's; only what is listed here is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: np.logical_not,
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "clip": np.clip,
    "exp": np.exp,
    "log": np.log,
    "max": np.maximum,
    "min": np.minimum,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "where": np.where,
}


class Expression:
    """A query over the columns of a table.

    Parameters
    ----------
    text : str
        Column names, numbers, strings in quotes, ``+ - * / % **``, comparisons (also chained),
        ``and or not``, and the functions abs, clip, exp, log, max, min, sign, sqrt and where.
        ``col("blood pressure")`` is a column whose name is no Python name.

    Raises
    ------
    ValueError
        If it does not parse or holds anything else.

    Examples
    --------
    >>> import numpy as np
    >>> Expression("0 < x < 3 and label == 'yes'")(
    ...     {"x": np.array([1.0, 5.0]), "label": np.array(["yes", "yes"])}
    ... )
    array([ True, False])
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(
                f"the query {text!r} does not parse: {error.msg}, at character {error.offset}"
            ) from error
        self.columns = sorted(set(self._names(self._tree)))
        if not self.columns:
            raise ValueError(f"the query {text!r} names no column, so there is nothing to ask")

    def _names(self, node: ast.AST) -> list[str]:
        """Columns below a node; a node that is not known is refused."""
        match node:
            case ast.Name(id=name):
                return [name]
            case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))]):
                return [name]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return [each for arg in args for each in self._names(arg)]
            case ast.Constant(value=bool() | int() | float() | str()):
                return []
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._names(left) + self._names(right)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return self._names(operand)
            case ast.BoolOp(values=values):
                return [each for value in values for each in self._names(value)]
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _OPERATORS for op in ops
            ):
                return [each for value in (left, *others) for each in self._names(value)]
        raise ValueError(
            f"the query {self.text!r} holds {ast.unparse(node)!r}; only columns, numbers, strings, "
            f"arithmetic, comparisons, and/or/not and {', '.join(_FUNCTIONS)} may be used"
        )

    def __call__(self, table: Mapping[str, Any]) -> Any:
        """Values, one a row."""
        with np.errstate(all="ignore"):  # NaN and infinity are refused where values are checked
            try:
                return self._value(self._tree, table)
            except (TypeError, ValueError) as error:
                raise ValueError(f"the query {self.text!r} cannot be computed: {error}") from error

    def _value(self, node: ast.AST, table: Mapping[str, Any]) -> Any:
        match node:
            case (
                ast.Name(id=name)
                | ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))])
            ):
                return table[name]
            case ast.Constant(value=value):
                return value
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name](*(self._value(arg, table) for arg in args))
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](self._value(left, table), self._value(right, table))
            case ast.UnaryOp(op=op, operand=operand):
                return _OPERATORS[type(op)](self._value(operand, table))
            case ast.BoolOp(op=op, values=values):
                found = [self._value(value, table) for value in values]
                result = found[0]
                for other in found[1:]:
                    result = _OPERATORS[type(op)](result, other)
                return result
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [self._value(value, table) for value in (left, *others)]
                results = [
                    _comparable(_OPERATORS[type(op)], a, b)
                    for op, a, b in zip(ops, sides[:-1], sides[1:], strict=True)
                ]
                return np.logical_and.reduce(results)
        raise AssertionError(ast.dump(node))  # _names has refused it


def _comparable(compare: Callable[..., Any], a: Any, b: Any) -> Any:
    """Compare, but not a text with a number: they are never equal, and that is never meant."""
    kinds = {np.asarray(side).dtype.kind in "US" for side in (a, b)}
    if len(kinds) > 1:
        raise TypeError("a text is compared with a number")
    return compare(a, b)
