"""Text as a language model's input: calibration windows, and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.running import evaluation


class Perplexity(NamedTuple):
    """Perplexity of a text under a model, and over how many predicted tokens."""

    value: float
    tokens: int


def check_causal(model: nn.Module) -> None:
    """Refuse a model of transformers that gives no scores of a text's next tokens.

    Raises
    ------
    ValueError
        Naming its class.
    """
    generates = getattr(model, "can_generate", None)
    both = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if both or (generates is not None and not generates()):
        raise ValueError(
            f"{type(model).__name__} has no scores of the next token, so no perplexity: it takes a "
            "causal language model, whose config.json names one under architectures; in Python "
            "the methods work on any model"
        )


def encode(tokenizer: Any, text: str, length: int, what: str = "text") -> Tensor:
    """The tokens of a text, (tokens,) int64; ``what`` names it in errors.

    Raises
    ------
    ValueError
        If there are fewer than ``length``, or the model came without a tokenizer.
    """
    if tokenizer is None:
        raise ValueError("the model's folder holds no tokenizer: copy the files of its own there")
    # Of a whole book a tokenizer would warn that no model takes it at once.
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if len(tokens) < length:
        raise ValueError(
            f"the {what} has {len(tokens):,} tokens, fewer than one sequence of {length:,}: give a "
            "longer text or shorter sequences"
        )
    return torch.tensor(tokens, dtype=torch.int64)


def calibration_windows(
    tokenizer: Any, text: str, *, length: int = 512, count: int = 32, seed: int = 0
) -> list[Tensor]:
    """Windows at random places of a text, as GPTQ and those after it calibrate.

    Parameters
    ----------
    tokenizer : callable
        A transformers tokenizer.
    text : str
    length : int
        Tokens of a window.
    count : int
        How many; of a text too short for so many without overlap, they overlap.
    seed : int

    Returns
    -------
    list of (1, length) int64

    Raises
    ------
    ValueError
        If the text is shorter than one window.
    """
    tokens = encode(tokenizer, text, length, "calibration text")
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(tokens.numel() - length + 1, (count,), generator=generator)
    return [tokens[start : start + length][None] for start in starts.tolist()]


def perplexity(
    model: nn.Module,
    tokenizer: Any,
    text: str,
    *,
    length: int = 512,
    windows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Perplexity of a causal language model on a text, in windows that do not overlap.

    Each window is predicted on its own, from its second token on: the field's convention for
    comparing compressed models. Numbers depend on ``length`` and on the tokenizer.

    Parameters
    ----------
    model : causal language model of transformers
    tokenizer : its tokenizer
    text : str
    length : int
        Tokens of a window. What is left at the end of the text is not used.
    windows : int, optional
        At most so many, from the start of the text. Default: all.
    progress : callable (done, total), optional

    Raises
    ------
    ValueError
        If the text is shorter than one window, the model is no causal language model, or it has
        fewer positions than a window has tokens.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Uniform(nn.Module):
    ...     def forward(self, tokens, **_):
    ...         return SimpleNamespace(logits=torch.zeros(*tokens.shape, 7))
    >>> tokenizer = lambda text, **_: {"input_ids": [ord(letter) % 7 for letter in text]}
    >>> round(perplexity(Uniform(), tokenizer, "a seven-sided die", length=4).value, 6)
    7.0
    """
    check_causal(model)
    tokens = encode(tokenizer, text, length)
    rows = tokens[: tokens.numel() // length * length].view(-1, length)[:windows]
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    total = 0.0
    with evaluation(model):
        for done, row in enumerate(rows):
            if progress is not None:
                progress(done, len(rows))
            logits = _scores(model, row[None].to(device))[0, :-1]
            total += float(
                functional.cross_entropy(logits.float(), row[1:].to(device), reduction="sum")
            )
    if progress is not None:
        progress(len(rows), len(rows))
    predicted = len(rows) * (length - 1)
    mean = total / predicted
    return Perplexity(math.exp(mean) if mean < 700 else math.inf, predicted)


def _scores(model: nn.Module, tokens: Tensor) -> Tensor:
    """The scores of each next token, (1, length, vocabulary)."""
    try:
        with torch.no_grad():
            return model(tokens, use_cache=False).logits
    except (IndexError, RuntimeError) as error:
        # Only learned positions end; a model with rotary ones runs on, and is let.
        positions = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if positions is None or tokens.shape[1] <= positions:
            raise
        raise ValueError(
            f"{type(model).__name__} has {positions} positions, fewer than the {tokens.shape[1]} "
            f"tokens of a sequence: give --length (length=) of at most {positions}"
        ) from error
