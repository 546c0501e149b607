from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paperworks.data import registry
from paperworks.data.registry import Dataset, File, Form


@dataclass
class Host:
    """A public host on 127.0.0.1: what it serves by path, and what it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # paths whose answer stops half-way
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def host() -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            body = here.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in here.broken else body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Host(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield here
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """An empty cache of this test's own, and no PAPERWORKS_DATA."""
    monkeypatch.delenv("PAPERWORKS_DATA", raising=False)
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def file_of(name: str, body: bytes, remote: str = "") -> File:
    return File(name, len(body), hashlib.sha256(body).hexdigest(), remote)


POEM = b"so much depends\nupon\na red wheel\nbarrow\n" * 50


@pytest.fixture
def poem(own, host, monkeypatch) -> Dataset:
    """A registered text of one file, ``poems/poem.txt``, which the host serves."""
    form = Form(
        about="as written",
        reader="one_text",
        folder="poems",
        files=(file_of("poem.txt", POEM, "v1/text"),),
        hosts=(host.url,),
    )
    dataset = Dataset("poem", "text", "a poem", "none", "http://127.0.0.1", forms=(form,))
    host.files["/v1/text"] = POEM
    monkeypatch.setattr(registry, "_registry", lambda: ({"poem": dataset}, {}))
    return dataset
