r"""Verifier for problems with a number as their final answer, as in GSM8K.

Brown et al., arXiv 2407.21787, appendix A.4, grade GSM8K by the string after ``####``. Departures:
numbers are compared as exact fractions, so that 1,000 equals 1000.00 and 0.5 equals 1/2; and by
default an answer without the marker is read from ``\boxed{}``, from "answer is", or as the last
number, because most chat models were never shown the marker. ``require_marker=True`` is the
paper's rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from paperworks.scaling.repeated_sampling.problem import Judgement, Problem

# Digits with or without thousands separators, decimals, and a fraction or mixed number of such.
_PLAIN = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,2}(?!\w))?"
_NUMBER = re.compile(
    rf"(?P<sign>[-−–]?)\s*[$€£¥]?\s*(?P<sign2>[-−]?)"
    rf"(?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?"
    rf"(?P<top>{_PLAIN})(?:\s*/\s*(?P<bottom>{_PLAIN}))?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*\{\s*(-?[\d.,]+)\s*\}")
_MARKER = re.compile(r"####\s*([^\n]*)")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_PHRASE = re.compile(r"answer\s*(?:is|=|:)\s*:?\s*([^\n]*)", re.IGNORECASE)
_MAX_DIGITS = 400


def final_answer(text: str, *, require_marker: bool = False) -> Fraction | None:
    r"""The number that a solution ends with, as an exact fraction.

    Parameters
    ----------
    text : str
        A solution in words, or an answer alone.
    require_marker : bool
        Read only what follows ``####``. Default False: try, in this order, the first ``####``, the
        last ``\boxed{}``, the last "answer is" or "answer:", and the last number of the text.

    Returns
    -------
    Fraction or None
        None where there is no number to read. Currency signs, thousands separators, units and
        dots at the end are passed over. A per cent sign is a unit too: ``50%`` reads as 50, since
        that is how GSM8K writes its answers.

    Notes
    -----
    The last number of a text need not be the answer. A model that ends with a remark is then judged
    by the remark, mostly to its harm and now and then in its favour.

    Examples
    --------
    >>> [str(final_answer(t)) for t in ("#### 1,234.50", "It costs $18.", "so 3/4 of it", "none")]
    ['2469/2', '18', '3/4', 'None']
    """
    marked = _MARKER.search(text)
    answer = _first_number(marked.group(1)) if marked else None
    if answer is not None or require_marker:
        return answer
    for pattern in (_BOXED, _PHRASE):
        found = pattern.findall(text)
        if found:
            answer = _first_number(found[-1].rpartition("=")[2])  # "12 - 5 = 7" ends in its result
            if answer is not None:
                return answer
    return _last_number(text)


@dataclass(frozen=True)
class FinalAnswerVerifier:
    """Compare the final number of a completion with ``problem.reference["answer"]``.

    Parameters
    ----------
    require_marker : bool
        As in :func:`final_answer`, for the completion. The reference may be a full GSM8K solution
        or an answer alone.

    Examples
    --------
    >>> problem = Problem("p", "6 * 7 =", {"answer": "42"})
    >>> FinalAnswerVerifier()(problem, " 42.").correct
    True
    """

    require_marker: bool = False

    def __call__(self, problem: Problem, completion: str) -> Judgement:
        """Judge one completion."""
        if "answer" not in problem.reference:
            raise ValueError(f"problem {problem.id!r} needs reference['answer'], a number")
        truth = final_answer(str(problem.reference["answer"]))
        if truth is None:
            raise ValueError(
                f"problem {problem.id!r}: reference answer {problem.reference['answer']!r} holds "
                "no number"
            )
        answer = final_answer(completion, require_marker=self.require_marker)
        if answer is None:
            return Judgement(False, "no answer")
        correct = answer == truth
        return Judgement(correct, "passed" if correct else "failed", str(answer))

    def describe(self) -> dict[str, Any]:
        """Kind and settings."""
        return {"kind": "final answer", "require_marker": self.require_marker}


def _first_number(text: str) -> Fraction | None:
    text = _plain_fractions(text)
    match = _NUMBER.search(text)
    return _value(match) if match else None


def _last_number(text: str) -> Fraction | None:
    last = None
    for match in _NUMBER.finditer(_plain_fractions(text)):
        last = match
    return _value(last) if last else None


def _plain_fractions(text: str) -> str:
    return _FRACTION.sub(r"\1/\2", text)


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match.group()) > _MAX_DIGITS:  # no text may buy an hour of arithmetic
        return None
    top = Fraction(match["top"].replace(",", ""))
    if match["bottom"]:
        bottom = Fraction(match["bottom"].replace(",", ""))
        if bottom == 0:
            return None
        top /= bottom
    if match["whole"]:
        top += int(match["whole"])
    # In "12-5" the dash joins, it does not negate; in "-5" and "$-5" it does.
    before = match.string[: match.start()].rstrip()
    joined = bool(match["sign"]) and before[-1:].isalnum()
    negative = bool(match["sign2"]) or (bool(match["sign"]) and not joined)
    return -top if negative else top
