"""A generated program with the log-probability of each token, and files of them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SLACK = 1e-3
"""Probabilities rounded to three digits may sum to a little more than one."""


@dataclass(frozen=True)
class ScoredProgram:
    """A program that a model wrote, token by token, and how sure it was of each.

    Parameters
    ----------
    tokens : sequence of str
        The texts of the tokens; joined they are the generated text. One that is empty (the
        end-of-text token) counts towards the program as a whole.
    logprobs : sequence of float
        Natural log-probability of each token given those before it, at most 0.
    prompt : str
        What the model was asked. Kept for the reader; nothing is computed from it.
    target : str, optional
        The true program. Needed to calibrate.
    prefix : str
        Code that stands before the generated text and is certain, such as a ``return`` that ended
        the prompt. ``prefix`` and tokens together are the program.

    Raises
    ------
    ValueError
        For lists of different length, a log-probability above 0 or not a number, or no text.

    Examples
    --------
    >>> program = ScoredProgram(["x", " +", " y"], [-0.1, -0.2, -2.5], prefix="return ")
    >>> program.code
    'return x + y'
    >>> round(program.nll, 3)
    2.8
    """

    tokens: Sequence[str]
    logprobs: Sequence[float]
    prompt: str = ""
    target: str | None = None
    prefix: str = ""

    def __post_init__(self) -> None:
        for name, value in (("prompt", self.prompt), ("prefix", self.prefix)):
            if not isinstance(value, str):
                raise ValueError(f"{name} must be a string, got {value!r}")
        if self.target is not None and not isinstance(self.target, str):
            raise ValueError(f"target must be a string, got {self.target!r}")
        if isinstance(self.tokens, str) or not all(isinstance(t, str) for t in self.tokens):
            raise ValueError(f"tokens must be a list of strings, got {self.tokens!r:.80}")
        if len(self.tokens) != len(self.logprobs):
            raise ValueError(
                f"{len(self.tokens)} tokens, but {len(self.logprobs)} log-probabilities; each "
                "token needs one"
            )
        logprobs = []
        for at, each in enumerate(self.logprobs):
            logprobs.append(_logprob(each, f"token {at} ({self.tokens[at]!r})"))
        if not "".join(self.tokens).strip():
            raise ValueError("the generated text is empty; leave such a record out")
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "logprobs", tuple(logprobs))

    @property
    def text(self) -> str:
        """What was generated: the tokens, joined."""
        return "".join(self.tokens)

    @property
    def code(self) -> str:
        """The program: prefix and generated text."""
        return self.prefix + self.text

    @property
    def nll(self) -> float:
        """Negative log-likelihood of all tokens, in nats."""
        return -math.fsum(self.logprobs)

    def to_json(self) -> dict[str, Any]:
        """As a line of a file, with the fields that :func:`read_programs` reads."""
        line: dict[str, Any] = {"prompt": self.prompt}
        if self.target is not None:
            line["target"] = self.target
        if self.prefix:
            line["prefix"] = self.prefix
        return line | {"tokens": list(self.tokens), "logprobs": list(self.logprobs)}


def _logprob(value: Any, where: str) -> float:
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        value = float(value)  # NumPy's and torch's numbers too
    except (TypeError, ValueError):
        raise ValueError(f"log-probability of {where} must be a number, got {value!r}") from None
    if math.isnan(value) or value == -math.inf:
        raise ValueError(
            f"log-probability of {where} must be finite, got {value}; the model cannot have "
            "written a token of probability 0"
        )
    if value > 0:
        way_out = "; it looks like a probability: take its natural logarithm" if value <= 1 else ""
        raise ValueError(f"log-probability of {where} must be <= 0, got {value}{way_out}")
    return value


def from_json(line: Mapping[str, Any]) -> ScoredProgram:
    """One record from its JSON object; see :func:`read_programs` for the fields.

    Raises
    ------
    ValueError
        As :class:`ScoredProgram`; and where ``top_logprobs`` are no probabilities: a sum above
        one.
    """
    if not isinstance(line, Mapping):
        raise ValueError(f"a record must be a JSON object, got {line!r:.80}")
    for name in ("tokens", "logprobs"):
        if not isinstance(line.get(name), list):
            raise ValueError(
                f"field {name!r} must be a list, got {line.get(name)!r:.80}; a record is "
                '{"prompt": ..., "target": ..., "tokens": [...], "logprobs": [...]}'
            )
    program = ScoredProgram(
        tokens=line["tokens"],
        logprobs=line["logprobs"],
        prompt=line.get("prompt") or "",
        target=line.get("target"),
        prefix=line.get("prefix") or "",
    )
    alternatives = line.get("top_logprobs")
    if alternatives is not None:
        _check_alternatives(program, alternatives)
    return program


def _check_alternatives(program: ScoredProgram, alternatives: Any) -> None:
    """The alternatives of a token are disjoint, so their probabilities sum to at most one."""
    if not isinstance(alternatives, list) or len(alternatives) != len(program.tokens):
        raise ValueError(
            f"top_logprobs must be a list with an object for each of the {len(program.tokens)} "
            "tokens"
        )
    for at, each in enumerate(alternatives):
        if each is None:
            continue
        if not isinstance(each, Mapping):
            raise ValueError(f"top_logprobs of token {at} must be an object, got {each!r:.80}")
        where = f"token {at} ({program.tokens[at]!r})"
        total = math.fsum(
            math.exp(_logprob(v, f"an alternative to {where}")) for v in each.values()
        )
        if program.tokens[at] not in each:
            total += math.exp(program.logprobs[at])
        if total > 1 + _SLACK:
            raise ValueError(
                f"the probabilities of {where} and its alternatives sum to {total:.4g}, above 1; "
                "were they renormalised, or are the logarithms not natural ones?"
            )


def read_programs(path: str | Path) -> Iterator[tuple[int, ScoredProgram]]:
    r"""Records of a file of JSON lines, with their line numbers from 1.

    Parameters
    ----------
    path : path
        One object a line: ``tokens`` (list of str) and ``logprobs`` (list of float, natural);
        ``target`` (str), the true program, to calibrate; ``prompt`` and ``prefix`` (str) where
        wanted; ``top_logprobs`` (an object token -> log-probability for each token) is checked
        where it is there. Other fields are ignored, and blank lines. A name that ends in .gz is
        unpacked.

    Yields
    ------
    line : int
    program : ScoredProgram

    Raises
    ------
    ValueError
        Naming the line, where one is no such record.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.jsonl")
    ...     line = {"target": "f(x)", "tokens": ["f", "(y)"], "logprobs": [-0.1, -2]}
    ...     _ = path.write_text(json.dumps(line))
    ...     [(line, program.code) for line, program in read_programs(path)]
    [(1, 'f(y)')]
    """
    path = Path(path)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            try:
                yield number, from_json(json.loads(raw))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def write_programs(path: str | Path, programs: Iterable[ScoredProgram]) -> None:
    """Write records as JSON lines, whole or not at all; a name that ends in .gz is packed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.jsonl.gz")
    ...     write_programs(path, [ScoredProgram(["x"], [-0.5], target="y")])
    ...     next(read_programs(path))[1].target
    'y'
    """
    from paperworks.writing import write_bytes

    text = "".join(json.dumps(each.to_json(), ensure_ascii=False) + "\n" for each in programs)
    path = Path(path)
    content = text.encode()
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
