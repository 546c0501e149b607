"""What a sampler, a backend and a verifier hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Problem:
    """One problem.

    Parameters
    ----------
    id : str
        Unique in its set; names the problem in the results.
    prompt : str
        What the model is given.
    reference : mapping
        What the verifier needs, in plain JSON values: ``{"answer": "42"}`` for final answers,
        ``{"prompt": ..., "test": ..., "entry_point": ...}`` for code.
    """

    id: str
    prompt: str
    reference: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """One sample of a model.

    ``finish`` is "stop" where the model ended by itself or at a stop string and "length" where it
    ran into its token limit. Token counts are None where a server does not tell.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish: str = "stop"


@dataclass(frozen=True)
class Judgement:
    """What a verifier says of one completion.

    ``answer`` is what it read out of the completion, for votes; ``status`` says how it went:
    "passed", "failed", or what stood in the way.
    """

    correct: bool
    status: str
    answer: str | None = None
    detail: str = ""


class Backend(Protocol):
    """A model that can be sampled."""

    def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
        """One completion per seed, in the order of the seeds."""
        ...

    def describe(self) -> dict[str, Any]:
        """Model and settings in plain JSON values, without secrets."""
        ...


class Verifier(Protocol):
    """A judge of completions."""

    def __call__(self, problem: Problem, completion: str) -> Judgement:
        """Whether ``completion`` solves ``problem``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Kind and settings in plain JSON values."""
        ...
