from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from paperworks.experiment import Tier
from paperworks.experiment.runner import execute, plan
from paperworks.experiment.store import Store
from paperworks.report import Entry, collect, latest


def test_an_entry_answers_what_a_reader_asks(entries: list[Entry]) -> None:
    cheap, dear, broken, later = entries
    assert [e.verdict.conclusion for e in entries] == [
        "holds",
        "does not hold",
        "inconclusive",
        "not run",
    ]
    assert [work for work, _ in cheap.values()] == ["factor=2.0", "factor=3.0"]
    assert len(cheap.values()[0][1]["ours"]) == 5
    assert cheap.effect_text.endswith("×")
    assert float(cheap.effect_text[:-1]) == pytest.approx(6**0.5, rel=0.05)
    assert cheap.needed_text == "≥ 1.5×"
    assert cheap.command == "paperworks check lion-k/cheap --tier quick --device cpu"
    assert cheap.seconds > 0
    assert cheap.machine["cores"] >= 1
    assert [e.complete for e in entries] == [True, True, True, False]
    fewer = Entry(cheap.claim, "quick", "cpu", trials=cheap.trials[:-1])
    assert not fewer.complete
    assert dear.paper.id == "presto"
    assert [(key.seed, record.outcome.status) for key, record in broken.failures] == [(3, "error")]
    assert (later.tier, later.trials, later.effect_text) == ("full", (), "–")
    assert later.command == "paperworks check deis/later --tier full"


def test_the_json_form_is_complete_and_plain(entries: list[Entry]) -> None:
    plain = json.loads(json.dumps([entry.to_dict() for entry in entries]))
    assert plain[0]["verdict"] == "holds"
    assert plain[0]["effect"] == {"scale": "ratio", "needed": 1.5}
    assert [c["contender"] for c in plain[0]["comparisons"]] == ["theirs", "others"]
    assert plain[2]["failures"][0]["error"].strip().endswith("seed 3 went wrong")
    assert {"python", "numpy", "torch"} <= set(plain[0]["versions"])


def test_only_today_s_code_is_shown(
    toys: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = toys.claim(toys.steady)
    with Store(tmp_path / "s.sqlite") as store:
        list(execute(plan([claim]), store))
        assert collect([claim], store)[0].verdict.conclusion == "holds"
        assert collect([claim], store, tier="full") == []
        assert collect([claim], store, device="cuda")[0].verdict.conclusion == "not run"
        monkeypatch.setattr("paperworks.report.entries.fingerprint", lambda claim: "newer code")
        assert collect([claim], store)[0].verdict.conclusion == "not run"


def test_the_last_whole_run_is_kept_in_sight(
    toys: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = toys.claim(toys.steady)
    with Store(tmp_path / "s.sqlite") as store:
        list(execute(plan([claim]), store))
        (now,) = latest([claim], store)
        assert now.current
        for where in ("report.entries", "experiment.runner"):
            monkeypatch.setattr(f"paperworks.{where}.fingerprint", lambda claim: "newer code")
        list(execute(plan([claim], seeds=2), store))
        (older,) = latest([claim], store)  # the new run is not whole
        assert older.trials == now.trials
        assert not older.current
        list(execute(plan([claim]), store))
        (newer,) = latest([claim], store)
        assert newer.current
        assert newer.trials != now.trials
        changed = toys.claim(toys.steady, quick=Tier(works=({"factor": 9.0},), seeds=5))
        assert latest([changed], store) == []


@pytest.mark.parametrize(
    ("effect", "ratio", "difference"),
    [
        (1.0, "1×", "+1"),
        (1.0021, "1.002×", "+1"),
        (0.00142, "0.00142×", "+0.00142"),
        (125.4, "125×", "+125"),
        (82_731.0, "82,700×", "+8.27e+04"),
    ],
)
def test_effects_read_well(toys: ModuleType, effect: float, ratio: str, difference: str) -> None:
    from paperworks.experiment import Effect

    entry = Entry(toys.claim(toys.steady), "quick", "cpu")
    assert entry.format(effect) == ratio
    other = toys.claim(toys.steady, effect=Effect("difference", 0.0))
    assert Entry(other, "quick", "cpu").format(effect) == difference
