"""The commands list, search and show, on an app of their own."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from paperworks import catalog
from paperworks.cli import catalog as commands
from paperworks.cli.common import console, errors

app = typer.Typer()
app.command("list")(commands.list_papers)
app.command("search")(commands.search)
app.command("show")(commands.show)

IDS = [paper.id for paper in catalog.load()]
STATUS = {"presto": "ready", "lion-k": "method"}


@pytest.fixture(autouse=True)
def width(monkeypatch):
    """Eighty columns, as in a pipe, whatever the terminal that runs the tests."""
    monkeypatch.setattr(console, "width", 80)
    monkeypatch.setattr(errors, "width", 80)


@pytest.fixture
def some_exist(monkeypatch):
    """One paper ready and one with a method only, whatever the installed package holds."""
    monkeypatch.setattr(catalog, "status", lambda paper: STATUS.get(paper.id, "planned"))


def run(*args):
    result = CliRunner().invoke(app, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(result):
    assert result.exit_code == 0, result.output
    rows = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, rows)) <= 80
    assert "\x1b" not in result.stdout, "no colour codes in a pipe"
    return rows


# list


@pytest.mark.usefixtures("some_exist")
def test_list_has_a_line_per_paper():
    head, *rows, total = lines(run("list"))
    assert head.split() == ["paper", "family", "status", "title"]
    table = [row.split(maxsplit=3) for row in rows]
    assert [row[0] for row in table] == IDS
    for id, family, status, title in table:
        paper = catalog.get(id)
        assert family == paper.family
        assert status == STATUS.get(id, "planned")
        assert paper.title.startswith(title.removesuffix("…").rstrip())
        assert len(title) >= 20 or title == paper.title
    assert total == "63 papers: 1 ready, 1 method (no claim yet), 61 planned (not there yet)"


@pytest.mark.usefixtures("some_exist")
@pytest.mark.parametrize(
    ("args", "ids"),
    [
        (["--family", "graphs"], ["log-proximity", "powerwalk"]),
        (["--status", "ready"], ["presto"]),
        (["--status", "method", "--family", "training"], ["lion-k"]),
        (["--status", "ready", "--family", "training"], []),
    ],
)
def test_list_filters(args, ids):
    *rows, total = lines(run("list", *args))
    assert [row.split()[0] for row in rows[1:]] == ids
    assert total.split()[0] == str(len(ids))
    assert [record["id"] for record in json.loads(run("list", "--json", *args).stdout)] == ids


def test_list_cuts_no_title_in_a_wide_terminal(monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    text = run("list").stdout
    assert all(paper.title in text for paper in catalog.load())


def test_list_json_is_the_whole_catalogue():
    records = json.loads(run("list", "--json").stdout)
    assert [record["id"] for record in records] == IDS
    for record, paper in zip(records, catalog.load(), strict=True):
        for name, value in record.items():
            expected = getattr(paper, name)
            assert value == (list(expected) if isinstance(expected, tuple) else expected)
    assert set(records[0]) >= {"title", "arxiv", "url", "year", "status", "summary", "claim"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--family", "graph"], ["no family 'graph'", "graphs", "training"]),
        (["--status", "done"], ["no status 'done'", "ready, method, planned"]),
    ],
)
def test_list_refuses_what_does_not_exist(args, words):
    result = run("list", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert all(word in result.stderr for word in words)


# search


def test_search_shows_the_best_first():
    head, *rows = lines(run("search", "outlier activations"))
    assert head.split() == ["paper", "family", "status", "title"]
    assert [row.split()[0] for row in rows] == [
        hit.paper.id for hit in catalog.search("outlier activations")
    ]
    assert rows[0].startswith("llm-fp4 ")


def test_search_takes_words_with_and_without_quotes():
    assert run("search", "optimal transport").stdout == run("search", "optimal", "transport").stdout


def test_search_limit_and_json():
    records = json.loads(run("search", "pruning", "--limit", "2", "--json").stdout)
    hits = catalog.search("pruning", limit=2)
    assert [record["id"] for record in records] == [hit.paper.id for hit in hits]
    assert [record["score"] for record in records] == pytest.approx(
        [hit.score for hit in hits], abs=1e-3
    )
    assert len(lines(run("search", "pruning", "--limit", "2"))) == 3


def test_search_without_a_match():
    result = run("search", "[/xylophone]")
    assert lines(result) == ["no paper matches '[/xylophone]'; try other words"]
    assert json.loads(run("search", "xylophone", "--json").stdout) == []


def test_search_for_nothing_and_limit_0():
    result = run("search", "the")
    assert result.exit_code == 2
    assert "nothing to search for in 'the'" in result.stderr
    assert run("search", "graph", "--limit", "0").exit_code == 2


# show


@pytest.mark.usefixtures("some_exist")
def test_show_ready():
    text = " ".join(" ".join(lines(run("show", "presto"))).split())
    paper = catalog.get("presto")
    for part in (
        paper.title,
        "https://arxiv.org/abs/2305.18700 (2023)",
        "family statistics",
        "status ready",
        paper.summary,
        paper.claim,
        "from paperworks.statistics import PrestoClassifier, PrestoClassifierCV",
        "paperworks check presto",
        "https://github.com/gregfaletto/presto",
    ):
        assert part in text


@pytest.mark.usefixtures("some_exist")
def test_show_a_method_without_claim():
    text = "\n".join(lines(run("show", "lion-k")))
    assert "method (no claim yet)" in text
    assert "from paperworks.training import LionK" in text
    assert "paperworks check" not in text
    assert "github.com" not in text, "no authors' repository is known"


@pytest.mark.usefixtures("some_exist")
@pytest.mark.parametrize("id", ["sinkhorn-newton-sparse", "kat"])
def test_show_what_is_not_there_yet(id):
    text = "\n".join(lines(run("show", id)))
    assert "planned (not there yet)" in text
    assert "import" not in text
    assert "paperworks check" not in text


@pytest.mark.parametrize("id", IDS)
def test_show_fits_and_loses_nothing(id):
    paper = catalog.get(id)
    text = "".join("".join(lines(run("show", id))).split())
    for part in (paper.title, paper.url, paper.summary, paper.claim, *paper.tags):
        assert "".join(part.split()) in text


@pytest.mark.usefixtures("some_exist")
def test_show_json():
    record = json.loads(run("show", "lion-k", "--json").stdout)
    assert record["id"] == "lion-k"
    assert record["status"] == "method"
    assert record["public"] == ["paperworks.training.LionK"]
    assert record["code"] is None


def test_show_an_unknown_paper():
    result = run("show", "lionk")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no paper 'lionk'; did you mean lion-k?" in result.stderr
