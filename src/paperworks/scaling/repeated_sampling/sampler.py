"""Draw many samples of each problem, judge them, and keep every one.

Brown et al., arXiv 2407.21787, figure 1: independent samples of one prompt, then a verifier.
Departure: the authors' scripts keep one YAML file per problem and draw a problem anew when its file
is missing; here each judged sample is one JSON line, so that a run goes on from the sample where it
stopped, and the file is what ``paperworks passk`` reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paperworks.scaling.repeated_sampling.coverage import IntArray
from paperworks.scaling.repeated_sampling.problem import (
    Backend,
    Completion,
    Judgement,
    Problem,
    Verifier,
)

_START = b'{"problem": '


@dataclass(frozen=True)
class SamplingRun:
    """What a run left behind.

    Parameters
    ----------
    path : Path
        The JSON lines.
    problems : tuple of str
        Their ids, in the order given.
    n, c : ndarray of int, shape (P,)
        Samples and correct samples of each, ready for :func:`~paperworks.scaling.coverage`.
    drawn : int
        Samples drawn by this run.
    resumed : int
        Samples that the file held already.
    repaired : bool
        Whether the file ended in a half-written line, which was cut off and drawn again.
    """

    path: Path
    problems: tuple[str, ...]
    n: IntArray
    c: IntArray
    drawn: int
    resumed: int
    repaired: bool


class RepeatedSampler:
    """Sample a backend and judge the samples.

    Parameters
    ----------
    backend : Backend
        :class:`TransformersBackend`, :class:`OpenAIBackend`, or anything with their two methods.
    verifier : Verifier
        :class:`FinalAnswerVerifier`, :class:`CodeVerifier`, or anything like them.
    batch_size : int
        Samples asked of the backend at once, default 32. They share one prompt.
    verifier_workers : int
        Judgements at once, default 1. More help where a judgement waits for a process, as
        :class:`CodeVerifier` does.

    Examples
    --------
    >>> class Coin:
    ...     def sample(self, prompt, seeds):
    ...         return [Completion(str(seed % 2)) for seed in seeds]
    ...     def describe(self):
    ...         return {"kind": "coin"}
    >>> import tempfile
    >>> from paperworks.scaling import FinalAnswerVerifier
    >>> sampler = RepeatedSampler(Coin(), FinalAnswerVerifier())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = sampler.run([Problem("p", "toss", {"answer": 1})], 50, f"{folder}/r.jsonl")
    >>> run.n.tolist(), bool(10 < run.c[0] < 40)
    ([50], True)
    """

    def __init__(
        self,
        backend: Backend,
        verifier: Verifier,
        *,
        batch_size: int = 32,
        verifier_workers: int = 1,
    ) -> None:
        if batch_size < 1 or verifier_workers < 1:
            raise ValueError(
                "batch_size and verifier_workers must be >= 1, got "
                f"{batch_size} and {verifier_workers}"
            )
        self.backend, self.verifier = backend, verifier
        self.batch_size, self.verifier_workers = batch_size, verifier_workers

    def run(
        self,
        problems: Sequence[Problem],
        samples: int,
        path: str | PathLike[str],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> SamplingRun:
        """Draw ``samples`` of each problem into ``path``, going on where an earlier run stopped.

        Parameters
        ----------
        problems : sequence of Problem
            With different ids.
        samples : int
            Samples of each. More than an earlier run asked for adds to it.
        path : path
            JSON lines, made if missing. One line per sample: ``problem``, ``sample`` (its number),
            ``seed`` (its own), ``correct``, ``status``, ``answer``, ``completion``, the token
            counts, ``finish``, and ``settings``, a digest of all that the sample depends on.
            Beside it, ``path`` + ``.settings.json`` spells those settings out.
        seed : int
            Each sample's own seed is made from this, the problem's id and the sample's number, so
            that neither batches nor interruptions change what is drawn.
        progress : callable, optional
            Called with (samples in the file, samples wanted) after every batch.

        Returns
        -------
        SamplingRun

        Raises
        ------
        ValueError
            Where ids repeat, where the file holds anything that is no sample of this run (another
            model, prompt, seed, verifier), or where another run is writing it.

        Notes
        -----
        A batch is on disk before the next is asked for. A crash costs the batch under way.
        """
        ids = [problem.id for problem in problems]
        if not ids or len(set(ids)) < len(ids):
            raise ValueError(
                f"problems must be there and have different ids, got {len(ids)} with "
                f"{len(set(ids))} different ids"
            )
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}")
        file_path = Path(path)
        settings = {
            "seed": seed,
            "backend": self.backend.describe(),
            "verifier": self.verifier.describe(),
        }
        marks = {problem.id: _digest({**settings, **asdict(problem)}) for problem in problems}
        file_path.parent.mkdir(parents=True, exist_ok=True)
        with file_path.open("a+b") as file:
            _lock(file, file_path)
            done, repaired = _recover(file, file_path, marks)
            resumed = sum(map(len, done.values()))
            missing = {name: [i for i in range(samples) if i not in done[name]] for name in ids}
            wanted = resumed + sum(map(len, missing.values()))
            settings_path = file_path.with_name(file_path.name + ".settings.json")
            settings_path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            drawn = 0
            with ThreadPoolExecutor(max_workers=self.verifier_workers) as pool:
                for problem in problems:
                    todo = missing[problem.id]
                    for first in range(0, len(todo), self.batch_size):
                        numbers = todo[first : first + self.batch_size]
                        batch = list(self._batch(problem, numbers, seed, pool))
                        lines = [
                            json.dumps({**record, "settings": marks[problem.id]}) + "\n"
                            for record in batch
                        ]
                        file.write("".join(lines).encode())
                        file.flush()
                        os.fsync(file.fileno())
                        done[problem.id].update((r["sample"], r["correct"]) for r in batch)
                        drawn += len(batch)
                        if progress is not None:
                            progress(resumed + drawn, wanted)
        return SamplingRun(
            path=file_path,
            problems=tuple(ids),
            n=np.array([len(done[name]) for name in ids]),
            c=np.array([sum(done[name].values()) for name in ids]),
            drawn=drawn,
            resumed=resumed,
            repaired=repaired,
        )

    def _batch(
        self, problem: Problem, numbers: list[int], seed: int, pool: ThreadPoolExecutor
    ) -> Iterator[dict[str, Any]]:
        seeds = [sample_seed(seed, problem.id, number) for number in numbers]
        completions = self.backend.sample(problem.prompt, seeds)
        if len(completions) != len(seeds):
            raise ValueError(
                f"the backend gave {len(completions)} completions for {len(seeds)} seeds"
            )

        def judge(completion: Completion) -> Judgement:
            return self.verifier(problem, completion.text)

        judgements = pool.map(judge, completions)
        for number, own, completion, judgement in zip(
            numbers, seeds, completions, judgements, strict=True
        ):
            yield {
                "problem": problem.id,  # first: a half-written line is known by its start
                "sample": number,
                "seed": own,
                "correct": bool(judgement.correct),
                "status": judgement.status,
                "answer": judgement.answer,
                "detail": judgement.detail,
                "completion": completion.text,
                "prompt_tokens": completion.prompt_tokens,
                "completion_tokens": completion.completion_tokens,
                "finish": completion.finish,
            }


def sample_seed(seed: int, problem: str, number: int) -> int:
    """The seed of one sample, 63 bits, from the run's seed, the problem's id and its number.

    Examples
    --------
    >>> sample_seed(0, "p", 0) == sample_seed(0, "p", 0) != sample_seed(0, "p", 1)
    True
    """
    return (
        int.from_bytes(
            hashlib.sha256(json.dumps([seed, problem, number]).encode()).digest()[:8], "big"
        )
        >> 1
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other runs off the file until it is closed; POSIX only."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another run is writing {path}; wait for it or give another path"
            ) from None


def _recover(
    file: BinaryIO, path: Path, marks: dict[str, str]
) -> tuple[dict[str, dict[int, bool]], bool]:
    """Whether each sample of ``file`` is correct, by problem and number, a torn last line cut off.

    Nothing is cut before every whole line has been recognised, and the last line only if it starts
    as ours do: a file that is not ours is left as it is.
    """
    done: dict[str, dict[int, bool]] = {name: {} for name in marks}
    file.seek(0)
    end, torn = 0, b""
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            torn = line
            break
        name, sample, correct = _record(line, path, number, marks)
        if sample in done[name]:
            raise ValueError(f"{path}, line {number}: sample {sample} of {name!r} appears twice")
        done[name][sample] = correct
        end += len(line)
    if torn:
        if not (torn.startswith(_START) or _START.startswith(torn)):
            raise ValueError(f"{path} does not end in a line of this sampler's; give another path")
        file.truncate(end)
    file.seek(0, os.SEEK_END)
    return done, bool(torn)


def _record(line: bytes, path: Path, number: int, marks: dict[str, str]) -> tuple[str, int, bool]:
    where = f"{path}, line {number}"
    try:
        record = json.loads(line)
        name, sample = record["problem"], record["sample"]
        mark, correct = record["settings"], record["correct"]
        if type(sample) is not int or type(correct) is not bool or type(name) is not str:
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{where}: not a sample of this sampler's; mend the line or give another path"
        ) from None
    if name not in marks:
        raise ValueError(f"{where}: problem {name!r} is not among those given; give another path")
    if mark != marks[name]:
        raise ValueError(
            f"{where}: the sample was drawn with other settings (model, sampling, prompt, verifier "
            f"or seed), see {path}.settings.json; give another path"
        )
    return name, sample, correct
