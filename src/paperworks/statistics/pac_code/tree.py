"""A program's syntax tree as arrays, with the text that each node owns.

Nodes are numbered from the root in the order of the text (a node before its children), so that a
parent always has a smaller number. What a node says of itself (its class, names, constants,
operators) is its label; what hangs below it sits in named fields, each of them one child or a list.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperworks.statistics.pac_code.records import ScoredProgram


class ProgramError(ValueError):
    """A text that is no program of its language."""


@dataclass
class Draft:
    """A node while the tree is built: label, span in the text or None, fields, and its role."""

    label: Hashable
    span: tuple[int, int] | None
    fields: dict[str, Any] = field(default_factory=dict)
    unit: bool = False

    def children(self) -> list[Draft]:
        """All nodes right below."""
        found: list[Draft] = []
        for value in self.fields.values():
            found += value if isinstance(value, list) else [value]
        return found


@dataclass(frozen=True)
class ProgramTree:
    """A syntax tree over its text.

    Parameters
    ----------
    text : str
        The program.
    labels : tuple
        Of each node: what it says of itself, children apart.
    fields : tuple of dict
        Of each node: field name -> the child's number, or a tuple of numbers where it is a list.
    parent : (n,) int
        The parent's number, -1 for the root, which is node 0. ``parent[v] < v``.
    spans : (n, 2) int
        Begin and end of each node in ``text``.
    units : (n,) bool
        Whole statements (Python) or clauses (SQL); the root is one.
    comments : tuple of (begin, end)
        Stretches of the text that are no part of the program.
    """

    text: str
    labels: tuple[Hashable, ...]
    fields: tuple[dict[str, int | tuple[int, ...]], ...]
    parent: NDArray[np.int64]
    spans: NDArray[np.int64]
    units: NDArray[np.bool_]
    comments: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def removed_by(self, cut: Any) -> NDArray[np.bool_]:
        """Which nodes go when the subtrees at ``cut`` (numbers) do."""
        gone = np.zeros(len(self), dtype=bool)
        gone[list(cut)] = True
        for node in range(1, len(self)):
            gone[node] |= gone[self.parent[node]]
        return gone

    def cut_of(self, removed: NDArray[np.bool_]) -> tuple[int, ...]:
        """The topmost removed nodes, in the order of the text."""
        top = removed.copy()
        top[1:] &= ~removed[self.parent[1:]]
        return tuple(int(node) for node in np.flatnonzero(top))

    def owners(self) -> NDArray[np.int64]:
        """For each character, the deepest node whose span holds it; -1 in comments."""
        owner = np.zeros(len(self.text), dtype=np.int64)
        for node, (begin, end) in enumerate(self.spans):
            owner[begin:end] = node  # children come after their parents
        for begin, end in self.comments:
            owner[begin:end] = -1
        return owner

    def depth(self) -> NDArray[np.int64]:
        """Steps from the root."""
        depth = np.zeros(len(self), dtype=np.int64)
        for node in range(1, len(self)):
            depth[node] = depth[self.parent[node]] + 1
        return depth


def flatten(root: Draft, text: str, comments: tuple[tuple[int, int], ...] = ()) -> ProgramTree:
    """Arrays of a drafted tree; children are ordered by where they stand in the text."""
    _settle_spans(root)
    root.span = (0, len(text))
    labels: list[Hashable] = []
    fields: list[dict[str, Any]] = []
    parent: list[int] = []
    spans: list[tuple[int, int]] = []
    units: list[bool] = []

    def place(node: Draft, above: int) -> None:
        number = len(labels)
        labels.append(node.label)
        parent.append(above)
        spans.append(node.span or (0, 0))
        units.append(node.unit)
        fields.append({})
        numbers: dict[int, int] = {}
        for child in sorted(node.children(), key=lambda each: each.span or (0, 0)):
            numbers[id(child)] = len(labels)
            place(child, number)
        for name, value in node.fields.items():
            fields[number][name] = (
                tuple(numbers[id(each)] for each in value)
                if isinstance(value, list)
                else numbers[id(value)]
            )

    place(root, -1)
    return ProgramTree(
        text,
        tuple(labels),
        tuple(fields),
        np.array(parent, dtype=np.int64),
        np.array(spans, dtype=np.int64).reshape(-1, 2),
        np.array([True, *units[1:]]),
        comments,
    )


def _settle_spans(node: Draft) -> None:
    """Every span holds those below it; a node of no place of its own takes theirs."""
    inside = []
    for child in node.children():
        _settle_spans(child)
        if child.span is not None:
            inside.append(child.span)
    if node.span is not None:
        inside.append(node.span)
    if inside:
        node.span = (min(begin for begin, _ in inside), max(end for _, end in inside))


def charge(tree: ProgramTree, program: ScoredProgram) -> NDArray[np.float64]:
    """Negative log-likelihood of each node: every token is charged to one node.

    A token goes to the deepest node that owns one of its characters, blanks apart (the first of
    them in the text), so that a token ``(x`` belongs to ``x`` and not to the call. A token without
    text goes to the root; one that is only part of a comment to none.

    Departure: the authors' code charges a token to every node that it touches, so that the costs
    of the nodes sum to more than the program's. With the rule here they sum to it exactly,
    comments apart.

    Returns
    -------
    (n,) float64
        Not negative.
    """
    owner, depth = tree.owners(), tree.depth()
    cost = np.zeros(len(tree))
    begin = len(program.prefix)
    for token, logprob in zip(program.tokens, program.logprobs, strict=True):
        end = begin + len(token)
        seen = [at for at in range(begin, end) if not tree.text[at].isspace()]
        touched = owner[seen or list(range(begin, end))]
        begin = end
        if touched.size and (touched < 0).all():
            continue
        touched = touched[touched >= 0]
        node = touched[np.argmax(depth[touched])] if touched.size else 0
        cost[node] -= logprob
    return cost
