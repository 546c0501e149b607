from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import paperworks.data
from paperworks.cli.data import app
from paperworks.data import registry
from paperworks.data.registry import Dataset, File, Form

TEXT = b"the sea, the sea\n" * 40


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command with one text in the registry, its file in the folder given."""
    import hashlib

    file = File("sea.txt", len(TEXT), hashlib.sha256(TEXT).hexdigest())
    # Port 9 refuses connections: there is no network in tests.
    form = Form("as written", "one_text", "poems", (file,), ("http://127.0.0.1:9",))
    here = Dataset("poems/sea", "text", "a poem about [the] sea", "CC0", "http://x", forms=(form,))
    made = Dataset("digits", "images", "digits", "CC BY 4.0", "http://x", generator="digits")
    monkeypatch.setattr(registry, "_registry", lambda: ({"digits": made, "poems/sea": here}, {}))
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PAPERWORKS_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    runner = CliRunner()
    return lambda *args: runner.invoke(app, list(args))


@pytest.fixture
def given(tmp_path, monkeypatch):
    path = tmp_path / "given/poems/sea.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT)
    monkeypatch.setenv("PAPERWORKS_DATA", str(tmp_path / "given"))
    return path


def test_list(run, given):
    result = run("list")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("poems/sea"))
    assert line.split()[1:] == ["680", "B", "folder", "CC0"]
    assert next(line for line in result.stdout.splitlines() if "digits" in line).split()[2:4] == [
        "built",
        "in",
    ]
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == ["digits", "poems/sea"]
    assert rows[1] == {
        "name": "poems/sea",
        "kind": "text",
        "summary": "a poem about [the] sea",
        "size": len(TEXT),
        "licence": "CC0",
        "homepage": "http://x",
        "here": "PAPERWORKS_DATA",
    }


def test_list_where_nothing_is_here(run):
    rows = json.loads(run("list", "--json").stdout)
    assert [row["here"] for row in rows] == ["generated", None]


def test_list_of_the_real_registry_names_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    for name in [*paperworks.data.names(), *paperworks.data.model_names()]:
        assert name in result.stdout


def test_where(run, given):
    result = run("where", "poems/sea")
    assert (result.exit_code, result.stdout) == (0, f"{given}\n")
    assert run("where", "sea").stdout == f"{given}\n"
    assert run("where", "poems").stdout == f"{given}\n"
    found = json.loads(run("where", "sea", "--json").stdout)
    assert found == [{"name": "poems/sea", "origin": "PAPERWORKS_DATA", "paths": [str(given)]}]
    generated = run("where", "digits")
    assert (generated.exit_code, generated.stdout) == (0, "")
    assert "needs no file" in generated.stderr


def test_where_says_what_to_run_or_set(run):
    result = run("where", "poems/sea")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "paperworks data fetch poems/sea" in result.stderr
    assert "set PAPERWORKS_DATA to a folder that holds poems/sea.txt" in result.stderr


def test_where_refuses_a_damaged_file(run, given):
    given.write_bytes(TEXT[:-5])
    result = run("where", "sea")
    assert result.exit_code == 2
    assert "sea.txt is damaged" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_names_are_caught(run):
    for command in ("where", "fetch"):
        result = run(command, "see")
        assert result.exit_code == 2
        assert "no data set is called 'see'" in result.stderr


def test_fetch_what_is_here(run, given):
    result = run("fetch", "sea", "digits", "poems")
    assert result.exit_code == 0
    assert result.stdout == f"poems/sea: {given}\ndigits: generated, needs no file\n"
    assert json.loads(run("fetch", "--all", "--json").stdout) == [
        {"name": "digits", "path": None, "error": None},
        {"name": "poems/sea", "path": str(given), "error": None},
    ]


def test_fetch_goes_on_after_a_failure_and_ends_non_zero(run):
    result = run("fetch", "sea", "digits")
    assert result.exit_code == 1
    assert "poems/sea could not be downloaded; http://127.0.0.1:9/sea.txt: no conn" in result.stderr
    assert result.stdout == "digits: generated, needs no file\n"
    told = json.loads(run("fetch", "sea", "--json").stdout)
    assert told[0]["error"].startswith("poems/sea could not be downloaded")


@pytest.mark.parametrize("arguments", [["fetch"], ["fetch", "sea", "--all"]])
def test_fetch_wants_names_or_all(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "name what to fetch, or give --all" in result.stderr
