"""The OpenAI-compatible backend against a local server of the standard library."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from paperworks.scaling import BackendError, OpenAIBackend


class Server:
    """Answers with what ``reply(path, body, count)`` gives: (status, headers, bytes or object)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.reply: Callable[..., Any] = self.echo
        self.lock, self.busy, self.busiest = threading.Lock(), 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append((self.path, body, dict(self.headers)))
                    count = len(outer.requests)
                status, headers, answer = outer.reply(self.path, body, count)
                raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    @staticmethod
    def echo(path: str, body: dict[str, Any], count: int) -> Any:
        text = f"{body['seed']}"
        choice = (
            {"message": {"role": "assistant", "content": text}}
            if path.endswith("/chat/completions")
            else {"text": text}
        )
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        return 200, {}, {"choices": [{**choice, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def backend(server: Server, **settings: Any) -> OpenAIBackend:
    return OpenAIBackend(server.url, "tiny", **{"backoff": 0.01, "timeout": 10, **settings})


def test_one_request_per_seed_in_the_order_of_the_seeds(server: Server) -> None:
    seeds = list(range(100, 130))
    completions = backend(server, api_key="secret", stop=["\n"]).sample("6 * 7 =", seeds)
    assert [c.text for c in completions] == [str(seed) for seed in seeds]
    assert (completions[0].prompt_tokens, completions[0].completion_tokens) == (5, 2)
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert {k: body[k] for k in ("model", "temperature", "top_p", "max_tokens", "stop")} == {
        "model": "tiny", "temperature": 0.6, "top_p": 1.0, "max_tokens": 512, "stop": ["\n"],
    }  # fmt: skip
    assert body["messages"] == [{"role": "user", "content": "6 * 7 ="}]
    assert sorted(request[1]["seed"] for request in server.requests) == seeds


def test_bare_prompts_and_extra_fields(server: Server) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 9}
    completions = backend(server, chat=False, extra=extra).sample("2 +", [2**40 + 7])
    path, body, headers = server.requests[0]
    assert path == "/v1/completions"
    assert body["prompt"] == "2 +"
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 9
    assert body["seed"] == 7  # in 31 bits
    assert "Authorization" not in headers
    assert completions[0].text == "7"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_and_gets_there(server: Server, status: int) -> None:
    def reply(path: str, body: dict[str, Any], count: int) -> Any:
        return (
            (status, {"Retry-After": "0.01"}, b"busy") if count < 3 else Server.echo(path, body, 0)
        )

    server.reply = reply
    assert backend(server).sample("p", [1])[0].text == "1"
    assert len(server.requests) == 3


def test_waits_longer_each_time_and_as_long_as_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.reply = lambda *_: (503, {}, b"")
    with pytest.raises(BackendError, match="no answer in 4 tries, the last: HTTP 503"):
        backend(server, retries=3, backoff=1.0).sample("p", [1])
    assert [0.5 * 2**i <= wait <= 2**i for i, wait in enumerate(waits)] == [True] * 3
    waits.clear()
    server.reply = lambda *_: (429, {"Retry-After": "7"}, b"")
    with pytest.raises(BackendError):
        backend(server, retries=1).sample("p", [1])
    assert waits == [7.0]
    waits.clear()
    server.reply = lambda *_: (429, {"Retry-After": "86400"}, b"")
    with pytest.raises(BackendError):
        backend(server, retries=1).sample("p", [1])
    assert waits == [60.0]


def test_refusal_is_not_tried_again_and_says_the_servers_words(server: Server) -> None:
    server.reply = lambda *_: (401, {}, {"error": {"message": "bad key\nfor tiny"}})
    with pytest.raises(BackendError, match=r"refused the request, HTTP 401: bad key for tiny") as e:
        backend(server, api_key="secret").sample("p", [1])
    assert len(server.requests) == 1
    assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    "answer", [b"<html>", b"", {"choices": []}, {"choices": [{"text": "x"}]}, [1], {}]
)
def test_an_answer_in_another_form_is_named(server: Server, answer: Any) -> None:
    server.reply = lambda *_: (200, {}, answer)
    with pytest.raises(BackendError, match="in a form that is not OpenAI's"):
        backend(server).sample("p", [1])


def test_an_empty_message_is_an_empty_completion(server: Server) -> None:
    server.reply = lambda *_: (200, {}, {"choices": [{"message": {"content": None}}]})
    completion = backend(server).sample("p", [1])[0]
    assert (completion.text, completion.completion_tokens) == ("", None)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = OpenAIBackend(f"http://127.0.0.1:{port}/v1", "m", retries=1, backoff=0.001)
    with pytest.raises(BackendError, match=r"no answer in 2 tries, the last: .*refused"):
        nobody.sample("p", [1])


def test_a_server_that_hangs_runs_into_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        slow = OpenAIBackend(f"http://127.0.0.1:{port}/v1", "m", retries=0, timeout=0.2)
        with pytest.raises(BackendError, match="in 1 tries, the last: timed out"):
            slow.sample("p", [1])


def test_several_requests_at_once_and_no_more_than_asked(server: Server) -> None:
    gate = threading.Barrier(4, timeout=10)  # answers only when four requests are there at once

    def reply(path: str, body: dict[str, Any], count: int) -> Any:
        with server.lock:
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        gate.wait()
        with server.lock:
            server.busy -= 1
        return Server.echo(path, body, count)

    server.reply = reply
    backend(server, concurrency=4).sample("p", range(12))
    assert server.busiest == 4


def test_description_holds_no_key() -> None:
    secret = OpenAIBackend("https://host/v1/", "m", api_key="secret")
    assert "secret" not in json.dumps(secret.describe()) + repr(secret)
    assert secret.describe()["base_url"] == "https://host/v1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8000"}, "must start with http:// or https://, got 'localhost"),
        ({"temperature": 0}, "temperature must be > 0"),
        ({"top_p": 0}, r"top_p must be in \(0, 1\], got 0"),
        ({"retries": -1}, "retries and backoff >= 0"),
        ({"stop": "\n"}, "stop must be a list of strings"),
    ],
)
def test_refuses(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OpenAIBackend(**{"base_url": "http://x/v1", "model": "m", **settings})
