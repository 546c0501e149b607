"""Generations of a transformers model with the log-probability of every token.

Greedy decoding: the set is built around the one program that the model writes, and the threshold
asks how sure it was of each part. The paper takes its programs from beam search (PICARD) and from
an interface (Codex) that gave log-probabilities; any such file does as well, see
:mod:`paperworks.statistics.pac_code.records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paperworks.statistics.pac_code.records import ScoredProgram


def score_programs(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    targets: Sequence[str | None] | None = None,
    prefixes: Sequence[str] | None = None,
    max_tokens: int = 64,
    stop: Sequence[str] = ("\n",),
    batch_size: int = 8,
) -> list[ScoredProgram]:
    r"""Let a transformers model write a program for each prompt, and keep its log-probabilities.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model, on any device. It is in evaluation mode meanwhile.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer.
    prompts : sequence of str
        What the model continues, none of them empty.
    targets : sequence of str or None, optional
        The true programs, one per prompt; needed to calibrate.
    prefixes : sequence of str, optional
        Code that stands before each generated text, such as a ``return`` that ends the prompt.
    max_tokens : int
        Most new tokens, default 64. A program that is cut off there seldom parses.
    stop : sequence of str
        Strings that end a program. They are cut off; what the token before the cut cost is kept.
        Default a line break: one line.
    batch_size : int
        Prompts in a batch, default 8. Those of similar length go together.

    Returns
    -------
    list of ScoredProgram
        In the order of ``prompts``. The log-probability of the end (the end-of-text token, or the
        token that holds the stop string alone) is kept with an empty text: ending is part of it.

    Raises
    ------
    ValueError
        For an empty prompt, lists of different length, or counts below one.

    Notes
    -----
    O(prompt + max_tokens) forward steps shared by a batch. Rounding differs with the batch.

    Examples
    --------
    >>> from paperworks.data import load_model  # doctest: +SKIP
    >>> model, tokenizer = load_model("smollm2-135m-instruct")  # doctest: +SKIP
    >>> score_programs(model, tokenizer, ["def double(x):\n    "])[0].text  # doctest: +SKIP
    'return x * 2'
    """
    import torch

    for name, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    if isinstance(stop, str) or not all(isinstance(word, str) and word for word in stop):
        raise ValueError(f"stop must be a list of strings that are not empty, got {stop!r}")
    for name, given in (("targets", targets), ("prefixes", prefixes)):
        if given is not None and len(given) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts, but {len(given)} {name}; one for each")
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    for at, (prompt, row) in enumerate(zip(prompts, ids, strict=True)):
        if not row:
            raise ValueError(f"prompt {at} ({prompt!r}) has no tokens; give one that is not empty")
    order = sorted(range(len(prompts)), key=lambda at: len(ids[at]))
    found: dict[int, tuple[list[str], list[float]]] = {}
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                rows = _generate(model, tokenizer, [ids[at] for at in batch], max_tokens, stop)
                found.update(zip(batch, rows, strict=True))
    finally:
        model.train(training)
    return [
        ScoredProgram(
            tokens=tuple(found[at][0]),
            logprobs=tuple(found[at][1]),
            prompt=prompts[at],
            target=None if targets is None else targets[at],
            prefix="" if prefixes is None else prefixes[at],
        )
        for at in range(len(prompts))
    ]


def _generate(
    model: Any, tokenizer: Any, ids: list[list[int]], max_tokens: int, stop: Sequence[str]
) -> list[tuple[list[str], list[float]]]:
    """Token texts and log-probabilities of each row of a batch, padded on the left."""
    import torch

    longest = max(map(len, ids))
    pad = getattr(tokenizer, "pad_token_id", None) or 0
    tokens = torch.tensor([[pad] * (longest - len(row)) + row for row in ids], device=model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
    mask = mask.to(model.device)
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    ends = _end_ids(model, tokenizer)
    texts: list[list[str]] = [[] for _ in ids]
    scores: list[list[float]] = [[] for _ in ids]
    written: list[list[int]] = [[] for _ in ids]
    done = [False] * len(ids)
    cache, step = None, tokens
    for _ in range(max_tokens):
        out = model(
            input_ids=step,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        logs = torch.log_softmax(out.logits[:, -1].float(), -1)
        best = logs.max(-1)
        for row, (token, score) in enumerate(
            zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ):
            if done[row]:
                continue
            scores[row].append(min(score, 0.0))
            before = "".join(texts[row])
            if token in ends:
                texts[row].append("")
                done[row] = True
                continue
            written[row].append(token)
            after = tokenizer.decode(written[row], clean_up_tokenization_spaces=False)
            if after.endswith("\ufffd"):  # a character of which some bytes are yet to come
                after = before
            cut = min((at for at in map(after.find, stop) if at >= 0), default=None)
            texts[row].append(after[len(before) : cut])
            done[row] = cut is not None
        if all(done):
            break
        step = best.indices[:, None]
        mask = torch.cat([mask, mask.new_ones(len(ids), 1)], -1)
        places = places[:, -1:] + 1
    return list(zip(texts, scores, strict=True))


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end a text."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        return set()
    return set(ends) if isinstance(ends, (list, tuple)) else {int(ends)}
