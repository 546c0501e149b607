"""A program with holes, and which programs are in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paperworks.statistics.pac_code.tree import ProgramTree

HOLE = "??"


@dataclass(frozen=True)
class PartialProgram:
    """A program some of whose subtrees are holes; it stands for all ways of filling them.

    A hole stands for any one subtree, and for none where the grammar lets it be absent. A hole in
    a list (statements of a block, arguments of a call, columns of a SELECT) stands for any run of
    items, none included. A hole at the root stands for every program.

    Parameters
    ----------
    tree : ProgramTree or None
        The syntax tree; None where the text does not parse, and the whole is a hole.
    text : str
        The program without holes.
    cut : tuple of int
        Numbers of the nodes that are holes, in the order of the text.
    threshold : float
        The threshold that it was made for.
    nll : float
        Negative log-likelihood of the part that stays, in nats.

    Examples
    --------
    >>> from paperworks.statistics import PACCodeSets, ScoredProgram
    >>> program = ScoredProgram(["f", "(", "x", ", y", ")"], [-0.1, -0.1, -3, -0.2, -0.1])
    >>> partial = PACCodeSets(max_holes=1).cut(program, threshold=1.0)
    >>> print(partial)
    f(??, y)
    >>> partial.contains("f(g(1), y)"), partial.contains("f(x, z)")
    (True, False)
    """

    tree: ProgramTree | None
    text: str
    cut: tuple[int, ...]
    threshold: float
    nll: float
    language: str = "python"
    dialect: str = ""

    @property
    def holes(self) -> int:
        """How many holes."""
        return 1 if self.tree is None else len(self.cut)

    @property
    def removed(self) -> float:
        """Share of the nodes that are gone, from 0 to 1: how large the set is."""
        return 1.0 if self.tree is None else float(self.tree.removed_by(self.cut).mean())

    def code(self, hole: str = HOLE) -> str:
        """The program's text with ``hole`` in place of each hole."""
        if self.tree is None or 0 in self.cut:
            return hole
        pieces, at = [], 0
        for node in self.cut:
            begin, end = self.tree.spans[node]
            pieces += [self.tree.text[at:begin], hole]
            at = int(end)
        text = "".join([*pieces, self.tree.text[at:]]).strip("\n")
        return text if "\n" in text else text.strip()  # the indentation of a block matters

    def __str__(self) -> str:
        return self.code()

    def contains(self, program: str | ProgramTree) -> bool:
        """Whether a program is one of those that this stands for.

        Layout, comments and, in SQL, the case of names make no difference.

        Raises
        ------
        ValueError
            Where ``program`` does not parse, and its tree decides.
        """
        if self.tree is None or 0 in self.cut:
            return True
        if isinstance(program, str):
            from paperworks.statistics.pac_code.languages import parse

            program = parse(program, self.language, self.dialect)
        return _matches(self.tree, frozenset(self.cut), program)


def _matches(pattern: ProgramTree, holes: frozenset[int], tree: ProgramTree) -> bool:
    """Whether filling the holes of ``pattern`` can give ``tree``."""

    def same(node: int, there: int) -> bool:
        if node in holes:
            return True
        if pattern.labels[node] != tree.labels[there]:
            return False
        mine, theirs = pattern.fields[node], tree.fields[there]
        return all(
            field(mine.get(name), theirs.get(name)) for name in dict.fromkeys([*mine, *theirs])
        )

    def field(mine: Any, theirs: Any) -> bool:
        if isinstance(mine, tuple) or isinstance(theirs, tuple):
            return run(mine or (), theirs or ())
        if mine is None:
            return theirs is None
        if mine in holes:
            return True
        return theirs is not None and same(mine, theirs)

    def run(mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
        """As a pattern with wildcards: reach[j] says that the first j of theirs can be matched."""
        reach = [True, *[False] * len(theirs)]
        for node in mine:
            if node in holes:
                first = reach.index(True) if True in reach else len(reach)
                reach = [j >= first for j in range(len(reach))]
            else:
                reach = [
                    False,
                    *(reach[j] and same(node, theirs[j]) for j in range(len(theirs))),
                ]
        return reach[-1]

    return same(0, 0)
