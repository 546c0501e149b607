from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import paperworks.data
from paperworks.data import (
    CorruptDataError,
    DataError,
    DownloadError,
    MissingDataError,
    files,
    registry,
)
from paperworks.data.registry import Dataset

TEXT = ("so much depends\nupon\na red wheel\nbarrow\n" * 50).encode()


def whole(text) -> bytes:
    return (text.train + text.valid + text.test).encode()


def everything_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_download_once_then_cache(poem, host, own):
    assert whole(paperworks.data.load("poem")) == TEXT
    assert whole(paperworks.data.load("poem")) == TEXT
    assert host.asked == ["/v1/text"]
    assert everything_below(own / "cache") == [own / "cache/data/poems/poem.txt"]
    assert paperworks.data.path("poem").read_bytes() == TEXT


def test_folder_of_paperworks_data_comes_first(poem, host, own, monkeypatch):
    paperworks.data.load("poem")
    (own / "given/poems").mkdir(parents=True)
    (own / "given/poems/poem.txt").write_bytes(TEXT)
    monkeypatch.setenv("PAPERWORKS_DATA", str(own / "given"))
    assert paperworks.data.path("poem") == own / "given/poems/poem.txt"
    assert files.locate(poem).origin == "PAPERWORKS_DATA"
    (own / "given/poems/poem.txt").unlink()
    assert paperworks.data.path("poem") == own / "cache/data/poems/poem.txt"
    assert len(host.asked) == 1


def test_default_cache_is_the_users_own(monkeypatch):
    monkeypatch.delenv("PAPERWORKS_CACHE", raising=False)
    assert files.cache_dir().name == "paperworks"


def test_missing_says_what_to_run_and_what_to_set(poem, own, host):
    with pytest.raises(MissingDataError, match="paperworks data fetch poem") as caught:
        paperworks.data.load("poem", download=False)
    assert "set PAPERWORKS_DATA to a folder that holds poems/poem.txt" in str(caught.value)
    assert "PAPERWORKS_DATA is not set" in str(caught.value)
    with pytest.raises(MissingDataError):
        paperworks.data.path("poem")
    assert not paperworks.data.available("poem")
    assert host.asked == []


def test_without_a_public_host_only_the_folder_is_named(poem, monkeypatch):
    local = replace(poem, forms=(replace(poem.forms[0], hosts=()),))
    monkeypatch.setattr(registry, "_registry", lambda: ({"poem": local}, {}))
    for attempt in (paperworks.data.load, paperworks.data.fetch):
        with pytest.raises(MissingDataError, match="set PAPERWORKS_DATA") as caught:
            attempt("poem")
        assert "data fetch" not in str(caught.value)


def test_paperworks_data_that_is_no_folder(poem, own, monkeypatch):
    monkeypatch.setenv("PAPERWORKS_DATA", str(own / "nowhere"))
    with pytest.raises(DataError, match="nowhere is not a folder"):
        paperworks.data.load("poem")


@pytest.mark.parametrize("damage", ["half", "flipped"])
def test_damaged_file_in_the_cache_is_refused_and_fetch_mends_it(poem, host, own, damage):
    path = paperworks.data.fetch("poem")
    path.write_bytes(TEXT[:700] if damage == "half" else b"S" + TEXT[1:])
    for attempt in (paperworks.data.load, paperworks.data.path, paperworks.data.available):
        with pytest.raises(CorruptDataError, match=r"poem\.txt is damaged") as caught:
            attempt("poem")
        assert "paperworks data fetch poem" in str(caught.value)
    assert ("700 bytes, not" if damage == "half" else "its sha256 is") in str(caught.value)
    assert caught.value.path == path
    paperworks.data.fetch("poem")
    assert whole(paperworks.data.load("poem")) == TEXT


@pytest.mark.parametrize("attempt", ["load", "fetch"])
def test_damaged_file_in_the_given_folder_is_refused_and_left_alone(
    poem, host, own, monkeypatch, attempt
):
    path = own / "given/poems/poem.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT[:-1])
    monkeypatch.setenv("PAPERWORKS_DATA", str(own / "given"))
    with pytest.raises(CorruptDataError, match="Replace it in the folder of PAPERWORKS_DATA"):
        getattr(paperworks.data, attempt)("poem")
    assert path.read_bytes() == TEXT[:-1]
    assert host.asked == []


def test_half_download_is_refused_and_leaves_nothing(poem, host, own):
    host.broken.add("/v1/text")
    with pytest.raises(DownloadError, match="the connection broke off"):
        paperworks.data.load("poem")
    assert everything_below(own) == []
    host.broken.clear()
    assert whole(paperworks.data.load("poem")) == TEXT


def test_wrong_bytes_are_refused_and_leave_nothing(poem, host, own):
    host.files["/v1/text"] = TEXT[::-1]
    with pytest.raises(DownloadError, match="refused, what it sent is not the file"):
        paperworks.data.load("poem")
    assert everything_below(own) == []


def test_next_host_is_asked_and_all_failures_are_named(poem, host, monkeypatch):
    mirrors = (f"{host.url}/gone", "http://127.0.0.1:9", host.url)

    def with_hosts(hosts) -> Dataset:
        return replace(poem, forms=(replace(poem.forms[0], hosts=hosts),))

    with pytest.raises(DownloadError, match="HTTP 404") as caught:
        files.download(with_hosts(mirrors[:2]))
    assert "no connection" in str(caught.value)
    assert files.download(with_hosts(mirrors)).paths[0].read_bytes() == TEXT


def test_several_at_once_get_the_same_whole_file(poem, own):
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: whole(paperworks.data.load("poem")), range(4)))
    assert texts == [TEXT] * 4
    assert everything_below(own / "cache") == [own / "cache/data/poems/poem.txt"]


def test_hashed_once_until_the_file_changes(poem, monkeypatch):
    path = paperworks.data.fetch("poem")
    files._hashed.clear()
    hashed = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda stream, kind: hashed.append(1) or digest(stream, kind)
    )
    for _ in range(3):
        paperworks.data.load("poem")
    assert len(hashed) == 1
    os.utime(path, ns=(1, 1))
    paperworks.data.load("poem")
    assert len(hashed) == 2


def test_progress_is_told_of_every_byte(poem):
    class Bar:
        total = 0
        done = 0
        closed = False

        def update(self, n):
            self.done += n

        def reset(self):
            self.done = 0

        def close(self):
            self.closed = True

    bars = {}
    paperworks.data.fetch("poem", progress=lambda file: bars.setdefault(file.name, Bar()))
    assert bars["poem.txt"].done == bars["poem.txt"].total == len(TEXT)
    assert bars["poem.txt"].closed


def test_import_is_light():
    code = (
        "import sys, paperworks.data; "
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'pooch', 'requests'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
