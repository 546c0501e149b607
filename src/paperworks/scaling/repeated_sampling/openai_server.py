"""Any server that speaks OpenAI's protocol (vLLM, llama.cpp, Ollama, a provider) as a backend.

One request per sample, several at once, each with the sample's own seed: every such server
understands that, and one that batches (vLLM) batches them, while the field ``n`` and its seeds are
left out or read in different ways. Only the standard library is used.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

from paperworks.scaling.repeated_sampling.backends import check_sampling, check_stop
from paperworks.scaling.repeated_sampling.problem import Completion

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT = 60.0


class BackendError(RuntimeError):
    """A server that could not be reached, or would not or did not answer as it should."""


class OpenAIBackend:
    """Sample a model behind an OpenAI-compatible server.

    Parameters
    ----------
    base_url : str
        Where the API lives, with its version: ``http://127.0.0.1:8000/v1``.
    model : str
        Name of the model on that server.
    api_key : str, optional
        Sent as a bearer token. Never taken from the environment, so that it cannot go to a server
        it was not meant for, and never recorded.
    max_tokens, temperature, top_p, stop
        As in :class:`TransformersBackend`.
    chat : bool
        Use ``/chat/completions`` (default), else ``/completions`` with the bare prompt.
    concurrency : int
        Requests in flight at once, default 8.
    retries : int
        How often a request is tried again after 408, 409, 425, 429 or 5xx, a broken connection or
        a timeout; default 5. The wait doubles from ``backoff`` seconds, with jitter, and heeds
        ``Retry-After`` up to a minute.
    backoff : float
        First wait in seconds, default 1.
    timeout : float
        Seconds to wait for one answer, default 300.
    extra : dict, optional
        More fields of the request, such as ``{"max_completion_tokens": 512}``; a value of None
        takes a field out.

    Notes
    -----
    The seed is sent and recorded, but whether it is heeded is up to the server; hosted models
    promise no more than an effort.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_tokens: int = 512,
        temperature: float = 0.6,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        chat: bool = True,
        concurrency: int = 8,
        retries: int = 5,
        backoff: float = 1.0,
        timeout: float = 300.0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must start with http:// or https://, got {base_url!r}")
        if max_tokens < 1 or concurrency < 1 or retries < 0 or not backoff >= 0 or not timeout > 0:
            raise ValueError(
                "needs max_tokens and concurrency >= 1, retries and backoff >= 0 and timeout > 0, "
                f"got {max_tokens}, {concurrency}, {retries}, {backoff} and {timeout}"
            )
        check_sampling(temperature, top_p)
        self.base_url, self.model, self._api_key = base_url.rstrip("/"), model, api_key
        self.max_tokens, self.temperature, self.top_p = max_tokens, temperature, top_p
        self.stop, self.chat, self.concurrency = check_stop(stop), chat, concurrency
        self.retries, self.backoff, self.timeout = retries, backoff, timeout
        self.extra = dict(extra or {})

    def __repr__(self) -> str:
        return f"OpenAIBackend({self.base_url!r}, {self.model!r})"

    def describe(self) -> dict[str, Any]:
        """Server, model and settings, without the key."""
        return {
            "kind": "openai",
            "base_url": self.base_url,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": list(self.stop),
            "chat": self.chat,
            "extra": self.extra,
        }

    def sample(self, prompt: str, seeds: Sequence[int]) -> list[Completion]:
        """One completion per seed, ``concurrency`` at once.

        Raises
        ------
        BackendError
            Naming the server, the status and its message.
        """
        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            try:
                return list(pool.map(lambda seed: self._one(prompt, seed), seeds))
            except BaseException:  # Ctrl-C too: no request that has not begun is worth waiting for
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, prompt: str, seed: int) -> Completion:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed % 2**31,  # some servers read 32 bits
        }
        if self.stop:
            body["stop"] = list(self.stop)
        if self.chat:
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        body = {key: value for key, value in (body | self.extra).items() if value is not None}
        url = self.base_url + ("/chat/completions" if self.chat else "/completions")
        return self._read(url, self._post(url, json.dumps(body).encode(), seed))

    def _post(self, url: str, body: bytes, seed: int) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "paperworks"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        jitter = random.Random(seed)  # of its own: no global state, and the same on every run
        for attempt in range(self.retries + 1):
            asked = 0.0
            try:
                request = urllib.request.Request(url, data=body, headers=headers)
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    why = f"HTTP {error.code}: {_message(error.read())}"
                    asked = _seconds(error.headers.get("Retry-After"))
                if error.code not in _RETRIED:
                    raise BackendError(f"{url} refused the request, {why}") from None
            except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
                why = str(getattr(error, "reason", None) or error) or type(error).__name__
            if attempt < self.retries:
                wait = self.backoff * 2**attempt * jitter.uniform(0.5, 1.0)
                time.sleep(min(max(wait, asked), _LONGEST_WAIT))
        raise BackendError(f"{url} gave no answer in {self.retries + 1} tries, the last: {why}")

    def _read(self, url: str, raw: bytes) -> Completion:
        try:
            answer = json.loads(raw)
            choice = answer["choices"][0]
            text = choice["message"]["content"] if self.chat else choice["text"]
            usage = answer.get("usage") or {}
            return Completion(
                text=text or "",  # null where a model said nothing
                prompt_tokens=usage.get("prompt_tokens"),
                completion_tokens=usage.get("completion_tokens"),
                finish=str(choice.get("finish_reason") or "stop"),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BackendError(
                f"{url} answered in a form that is not OpenAI's: {_message(raw)}"
            ) from None


def _message(raw: bytes) -> str:
    """A server's own words on an error, shortened."""
    try:
        error = json.loads(raw)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        text = raw.decode("utf-8", errors="replace")
    text = " ".join(str(text).split())
    return text[:300] if text else "no message"


def _seconds(header: str | None) -> float:
    """``Retry-After`` in seconds; 0 for a missing one, a date or nonsense."""
    try:
        return max(float(header or 0), 0.0)
    except ValueError:
        return 0.0
