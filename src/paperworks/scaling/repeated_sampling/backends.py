"""A transformers model as a backend of the sampler.

Sampling follows the paper (arXiv 2407.21787, appendix A): a temperature, 0.6 by default, and
nucleus sampling where wanted. Departure from ``model.generate``: every sample has a random stream
of its own, made from its seed, so that a sample does not depend on the batch it was drawn in and
PyTorch's global seed is never touched. The prompt is read once for the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paperworks.scaling.repeated_sampling.problem import Completion

if TYPE_CHECKING:
    import torch


class TransformersBackend:
    """Sample a causal language model of the transformers library.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any causal model with a key-value cache, on any device. Its mode and settings stay as they
        are; it is in evaluation mode while it samples.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer.
    max_tokens : int
        Most new tokens of a sample, default 512 as in the paper.
    temperature : float
        Default 0.6, as in the paper. Must be > 0: without it all samples are one.
    top_p : float
        Nucleus of probability to sample from, default 1, that is, all.
    stop : sequence of str
        Strings that end a sample; they are cut off, with all that follows.
    chat : bool
        Put the prompt through the tokenizer's chat template, as one message of the user.
    name : str, optional
        Name of the model in the records; by default its ``name_or_path``.

    Notes
    -----
    A sample needs O(max_tokens) forward passes shared by its batch, and its share of the cache.
    The draw of one sample is the same in any batch but for rounding: a matrix product of another
    batch size can differ in the last bits and tip a draw that lies on an edge.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_tokens: int = 512,
        temperature: float = 0.6,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        chat: bool = False,
        name: str | None = None,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {max_tokens}")
        check_sampling(temperature, top_p)
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.temperature, self.top_p = max_tokens, temperature, top_p
        self.stop = check_stop(stop)
        self.chat = chat
        self.name = name if name is not None else str(getattr(model, "name_or_path", ""))

    def describe(self) -> dict[str, Any]:
        """Model and settings."""
        return {
            "kind": "transformers",
            "model": self.name,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": list(self.stop),
            "chat": self.chat,
        }

    def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
        """One completion per seed."""
        import torch  # late: coverage and the command line need none of it

        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                return self._sample(prompt, seeds)
        finally:
            self.model.train(training)

    def _sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
        import torch

        ids = self._encode(prompt)
        device, rows = self.model.device, len(seeds)
        # All draws of a sample are made up front, on the CPU: the same on every device.
        uniform = torch.stack(
            [
                torch.rand(
                    self.max_tokens,
                    generator=torch.Generator().manual_seed(seed),
                    dtype=torch.float64,
                )
                for seed in seeds
            ]
        ).to(device)
        out = self.model(input_ids=ids.to(device), use_cache=True)
        cache = out.past_key_values
        cache.batch_repeat_interleave(rows)
        logits = out.logits[:, -1].expand(rows, -1)
        ends = torch.tensor(self._end_ids(), dtype=torch.long, device=device)
        tokens: list[list[int]] = [[] for _ in seeds]
        finish = ["length"] * rows
        going = list(range(rows))  # the samples that the rows of the batch stand for
        for step in range(self.max_tokens):
            chosen = self._draw(logits, uniform[going, step])
            ended = torch.isin(chosen, ends).tolist()
            stay = []
            for at, (row, token) in enumerate(zip(going, chosen.tolist(), strict=True)):
                if ended[at]:
                    finish[row] = "stop"
                    continue
                tokens[row].append(token)
                if self.stop and self._cut(self._decode(tokens[row])) is not None:
                    finish[row] = "stop"
                else:
                    stay.append(at)
            if not stay or step + 1 == self.max_tokens:
                break
            if len(stay) < len(going):
                keep = torch.tensor(stay, device=device)
                cache.batch_select_indices(keep)
                chosen, going = chosen[keep], [going[at] for at in stay]
            out = self.model(input_ids=chosen[:, None], past_key_values=cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[:, -1]
        completions = []
        for row in range(rows):
            text = self._decode(tokens[row])
            cut = self._cut(text)
            completions.append(
                Completion(
                    text if cut is None else cut, ids.shape[1], len(tokens[row]), finish[row]
                )
            )
        return completions

    def _draw(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Next token of each row by inverting the cumulative probabilities at ``uniform``."""
        import torch

        chances = torch.softmax(logits.double() / self.temperature, dim=-1)
        if self.top_p < 1:
            ranked, order = chances.sort(dim=-1, descending=True)
            outside = ranked.cumsum(-1) - ranked >= self.top_p
            chances = chances.masked_fill(outside.gather(-1, order.argsort(-1)), 0.0)
        climb = chances.cumsum(-1)
        # ``right``: a token without any chance is never hit, not even by a draw of exactly 0.
        at = torch.searchsorted(climb, (uniform * climb[:, -1])[:, None], right=True)[:, 0]
        return at.clamp(max=logits.shape[-1] - 1)

    def _encode(self, prompt: str) -> torch.Tensor:
        if self.chat:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            ids = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        else:
            ids = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        if ids.shape[1] == 0:
            raise ValueError("the prompt has no tokens; give a prompt that is not empty")
        return ids

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _cut(self, text: str) -> str | None:
        """``text`` up to the first stop string in it, or None where there is none."""
        places = [place for place in (text.find(word) for word in self.stop) if place >= 0]
        return text[: min(places)] if places else None

    def _end_ids(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        if ends is None:
            return []
        return list(ends) if isinstance(ends, (list, tuple)) else [int(ends)]


def check_sampling(temperature: float, top_p: float) -> None:
    """Raise a ValueError for settings that cannot give repeated samples."""
    if not temperature > 0:
        raise ValueError(
            f"temperature must be > 0, got {temperature}: at 0 all samples of a problem are one"
        )
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")


def check_stop(stop: Sequence[str]) -> tuple[str, ...]:
    """``stop`` as a tuple, or a ValueError."""
    if isinstance(stop, str) or not all(isinstance(word, str) and word for word in stop):
        raise ValueError(f"stop must be a list of strings that are not empty, got {stop!r}")
    return tuple(stop)
