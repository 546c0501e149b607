"""Every paper with public names has all its six parts, and every public name a docstring."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from paperworks import catalog
from paperworks.experiment import Claim, registry
from paperworks.experiment.fingerprint import _sources
from paperworks.experiment.runner import extra_with, missing

ROOT = Path(__file__).parent.parent
THERE = [paper for paper in catalog.load() if paper.public]
NAMES = [name for paper in THERE for name in paper.public]
CLAIMS = [claim for paper in registry.papers() for claim in registry.claims(paper)]


def load(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_there_is_something_to_hold_to_the_contract() -> None:
    assert {paper.id for paper in THERE} >= {
        "sinkhorn-newton-sparse",
        "lion-k",
        "presto",
        "repeated-sampling",
    }


@pytest.mark.parametrize("paper", THERE, ids=lambda paper: paper.id)
def test_a_paper_has_its_six_parts(paper: catalog.Paper) -> None:
    assert paper.status == "ready"
    page = ROOT / "docs" / "papers" / f"{paper.id}.md"
    assert page.is_file(), f"no page {page}"
    for name in paper.public:
        # paperworks.<family>.<module>...: the tests and the benchmark are named for the module.
        _, family, module, *_ = load(name).__module__.split(".")
        assert family == paper.family
        for folder, kind in (("tests", "test"), ("benchmarks", "bench")):
            found = [
                *(ROOT / folder / family).glob(f"{kind}_{module}*.py"),
                *(ROOT / folder / family / module).glob(f"{kind}_*.py"),
            ]
            assert found, f"no {folder}/{family}/{kind}_{module}*.py"
        assert f"::: {name}" in page.read_text(), f"{page.name} does not document {name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented_and_exported(name: str) -> None:
    family, _, attribute = name.rpartition(".")
    assert attribute in importlib.import_module(family).__all__
    what = load(name)
    text = inspect.getdoc(what) or ""
    assert len(text) > 200, f"{name} has no docstring to speak of"
    assert ">>>" in text, f"{name} shows no example"
    if inspect.isclass(what):
        for method, value in inspect.getmembers(what, inspect.isfunction):
            own = value.__module__.startswith("paperworks.") and not method.startswith("_")
            assert not own or inspect.getdoc(value), f"{name}.{method} has no docstring"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_keeps_the_rules(claim: Claim) -> None:
    assert claim.paper in {paper.id for paper in THERE}
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.name)
    assert claim.statement.endswith(".")
    assert all(extra_with(name) for name in claim.requires)
    for tier in (claim.quick, claim.full):
        assert tier is None or not claim.random or tier.seeds >= 5
    # Importing from a family would tie the claim's fingerprint to all methods of the family.
    families = {f"paperworks.{family}" for family in catalog.families()}
    assert not families & set(_sources(claim.trial.__module__))


def quick_works() -> list[tuple[list[Claim], bool]]:
    """Claims that share their first quick trial, and whether its function comes up here first."""
    together: dict[tuple[Any, str], list[Claim]] = {}
    for claim in CLAIMS:
        if claim.quick is not None:
            work = json.dumps(claim.quick.works[0], sort_keys=True)
            together.setdefault((claim.trial, work), []).append(claim)
    seen: set[Any] = set()
    return [
        (claims, trial not in seen and not seen.add(trial))
        for (trial, _), claims in together.items()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claims", "twice"),
    [pytest.param(*each, id=each[0][0].id) for each in quick_works()],
)
def test_a_quick_trial_returns_what_its_claims_say(claims: list[Claim], twice: bool) -> None:
    """Each different trial runs once, and each trial function twice with one seed."""
    claim = claims[0]
    if missing(claim):
        pytest.skip(f"needs {', '.join(missing(claim))}")
    assert claim.quick is not None
    work = claim.quick.works[0]
    first = claim.run(work=work, seed=0, device="cpu")
    for each in claims:
        dataclasses.replace(each, trial=lambda **_: first).run(work=work, seed=0, device="cpu")
        assert bool(first.curves) == (each.axes is not None)
    if twice and not any("second" in each.metric for each in claims):
        # A trial draws all its randomness from the seed; only what is timed may differ.
        assert claim.run(work=work, seed=0, device="cpu").values == first.values


def test_claims_are_unique() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
