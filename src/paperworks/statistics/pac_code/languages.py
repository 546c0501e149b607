"""The languages by name."""

from __future__ import annotations

from paperworks.statistics.pac_code.tree import ProgramTree

LANGUAGES = ("python", "sql")


def parse(text: str, language: str = "python", dialect: str = "") -> ProgramTree:
    """The syntax tree of a program.

    Raises
    ------
    ValueError
        For an unknown language, or a text that is no program of it (then a ``ProgramError``).
    """
    if language == "python":
        from paperworks.statistics.pac_code.python_trees import parse_python

        return parse_python(text)
    if language == "sql":
        from paperworks.statistics.pac_code.sql_trees import parse_sql

        return parse_sql(text, dialect)
    raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
