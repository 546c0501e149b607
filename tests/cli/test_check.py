"""The commands that run claims and report on them, on toy claims."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result
from typer.testing import CliRunner

from paperworks.cli import app
from paperworks.experiment import Tier, registry
from paperworks.experiment.store import SCHEMA_VERSION

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture
def claimed(toys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Toy claims in the place of those of three papers."""
    claims = {
        "lion-k": (toys.claim(toys.steady), toys.claim(toys.slow, full=Tier(), quick=None)),
        "presto": (toys.claim(toys.partly_raising, paper="presto"),),
        "deis": (toys.claim(toys.steady, paper="deis", requires=("POT",)),),
    }
    monkeypatch.setattr(registry, "papers", lambda: tuple(sorted(claims)))
    monkeypatch.setattr(registry, "claims", claims.__getitem__)
    return toys


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_check_prints_a_verdict_and_keeps_the_trials(claimed: ModuleType) -> None:
    first = run("check", "lion-k", "--device", "cpu")
    assert first.exit_code == 0, first.stderr
    assert "lion-k/steady" in first.stdout
    assert "holds" in first.stdout
    assert "lion-k/slow" not in first.stdout  # has no quick tier
    [entry] = json.loads(run("check", "lion-k", "--device", "cpu", "--json").stdout)
    assert (entry["verdict"], entry["trials"], entry["failures"]) == ("holds", 5, [])
    assert entry["comparisons"][0]["contender"] == "theirs"
    assert entry["comparisons"][0]["low"] < 2.0 < entry["comparisons"][0]["high"] * 1.1


def test_a_failed_trial_is_named_and_counts(claimed: ModuleType) -> None:
    found = run("check", "presto", "--device", "cpu")
    assert found.exit_code == 1
    assert "presto/partly_raising, seed 3: error: RuntimeError: seed 3 went wrong" in found.stderr
    assert "inconclusive" in found.stdout


def test_a_missing_library_is_named_with_its_extra_and_counts(
    claimed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paperworks.experiment.runner.missing", lambda claim: claim.requires)
    found = run("check", "deis", "--device", "cpu", "--json")
    assert found.exit_code == 1
    assert "deis/steady cannot run: POT missing; pip install 'paperworks[bench]'" in found.stderr
    assert json.loads(found.stdout)[0]["verdict"] == "not run"


def test_one_claim_more_seeds_and_a_report(claimed: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "report.html"
    found = run(
        *("check", "lion-k/steady", "--seeds", "6", "--device", "cpu", "--jobs", "2"),
        *("--report", str(page)),
    )
    assert found.exit_code == 0, found.stderr
    assert str(page) in found.stderr
    assert "paperworks check lion-k/steady --tier quick --device cpu --seeds 6" in page.read_text()
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check"], "name a paper, or give --all"),
        (["check", "lion-k", "--all"], "not both"),
        (["check", "lion"], "no paper 'lion'; did you mean"),
        (["check", "ponita"], "ponita has no claim yet"),
        (["check", "lion-k/fast"], "there is no claim 'lion-k/fast'; lion-k has lion-k/steady"),
        (["check", "presto", "--tier", "full"], "none of these claims has a full tier"),
        (["check", "--family", "poetry"], "no family 'poetry'"),
        (["check", "--family", "graphs"], "no paper of the family 'graphs' has a claim yet"),
        (["report", "lion"], "no paper 'lion'"),
    ],
)
def test_what_was_asked_wrongly_is_said(
    claimed: ModuleType, words: list[str], message: str
) -> None:
    found = run(*words)
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.split())


def test_a_gpu_that_is_not_there_is_said(
    claimed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = run("check", "lion-k", "--device", "cuda")
    assert found.exit_code == 2
    assert "no CUDA device" in found.stderr


def test_a_damaged_store_is_said_and_left_alone(claimed: ModuleType, tmp_path: Path) -> None:
    store = tmp_path / "results.sqlite"  # what PAPERWORKS_STORE names in tests
    store.write_bytes(b"not a database at all" * 50)
    for command in (["check", "lion-k", "--device", "cpu"], ["report"]):
        found = run(*command)
        assert found.exit_code == 2
        assert "is damaged" in found.stderr
    assert store.read_bytes() == b"not a database at all" * 50
    assert SCHEMA_VERSION == 1


def test_report_shows_what_is_stored_and_runs_nothing(claimed: ModuleType, tmp_path: Path) -> None:
    before = json.loads(run("report", "--format", "json").stdout)
    assert {entry["verdict"] for entry in before} == {"not run"}
    run("check", "lion-k", "--device", "cpu")
    after = json.loads(run("report", "--format", "json").stdout)
    assert {e["claim"]: e["verdict"] for e in after} == {
        "deis/steady": "not run",
        "lion-k/steady": "holds",
        "lion-k/slow": "not run",
        "presto/partly_raising": "not run",
    }
    table = run("report", "lion-k", "--format", "md", "--tier", "quick").stdout
    assert "| `lion-k/steady` | quick | holds | " in table
    page = tmp_path / "page.html"
    assert run("report", "-o", str(page)).exit_code == 0
    assert page.read_text().count("<section") == 4


DRIVER = """
import sys
sys.path.insert(0, {toys!r})
import toy_claims as toys
from paperworks.cli import main
from paperworks.experiment import Tier, registry
tier = Tier(works=({{"seconds": 0.7, "count": {count!r}}},), seeds=8)
registry.papers = lambda: ("lion-k",)
registry.claims = lambda paper: (toys.claim(toys.slow, quick=tier),)
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(toys=str(TOYS), count=str(calls)))
    command = [sys.executable, str(driver), "check", "lion-k", "--device", "cpu", "--json"]
    command += ["--jobs", "1"]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(calls.iterdir())) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "of 8 trials are kept; the same command goes on from there" in said
    assert "Traceback" not in said
    interrupted = len(list(calls.iterdir()))
    assert interrupted < 8

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)[0]["trials"] == 8
    # The kept ones were not run again; the one under way was, and may have been counted before.
    assert len(list(calls.iterdir())) <= 8 + 1


@pytest.mark.slow
def test_two_runs_at_once_share_the_store(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(toys=str(TOYS), count=str(calls)).replace("0.7", "0.05"))
    command = [sys.executable, str(driver), "check", "lion-k", "--device", "cpu", "--json"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for each in both:
        said, errors = each.communicate(timeout=120)
        assert each.returncode == 0, errors
        assert json.loads(said)[0]["trials"] == 8


@pytest.mark.slow
def test_fresh_runs_trials_again_and_makes_anew_what_they_share(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    driver = tmp_path / "driver.py"
    text = DRIVER.format(toys=str(TOYS), count=str(calls)).replace("toys.slow", "toys.sharing")
    driver.write_text(text)
    environment = {**os.environ, "PAPERWORKS_CACHE": str(tmp_path / "cache")}
    for words, trials, made in (((), 8, 1), (("--fresh",), 16, 2)):
        command = [sys.executable, str(driver), "check", "lion-k", "--device", "cpu", *words]
        subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
        names = [each.name for each in calls.iterdir()]
        shared = [name for name in names if name.startswith("made-")]
        assert (len(names) - len(shared), len(shared)) == (trials, made)
