from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paperworks.experiment import fingerprint as module
from paperworks.experiment.claim import Claim, Effect, Tier
from paperworks.experiment.fingerprint import fingerprint, versions

FILES = {
    "__init__.py": "",
    "claims/__init__.py": "",
    "claims/one.py": """
from papertoy.family import method
from papertoy.tools.deep import helper
def trial(*, seed, device): open("counts.csv")
""",
    "claims/counts.csv": "1,2",
    "claims/other.csv": "3,4",
    "family/__init__.py": "from papertoy.family.method import method\n",
    "family/method.py": "from . import inner\ndef method(): return inner.x\n",
    "family/inner.py": "x = 1\n",
    "family/sibling.py": "y = 1\n",
    "tools/__init__.py": "from papertoy.tools import unused\n",
    "tools/deep.py": "def helper():\n    from papertoy import late\n",
    "tools/unused.py": "",
    "late.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "papertoy"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    module._root.cache_clear()
    yield root
    module._root.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "papertoy"]:
        del sys.modules[name]


def claim(**changes: object) -> Claim:
    trial = importlib.import_module("papertoy.claims.one").trial
    settings: dict = {
        "paper": "p",
        "name": "n",
        "statement": "",
        "metric": "",
        "better": "lower",
        "ours": "a",
        "contenders": ("b",),
        "effect": Effect("ratio", 1),
        "trial": trial,
        "quick": Tier(),
    }
    return Claim(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ("claims/one.py", True),
        ("family/__init__.py", True),
        ("family/method.py", True),
        ("family/inner.py", True),
        ("tools/deep.py", True),
        ("tools/__init__.py", True),  # passed through: its own text counts
        ("late.py", True),  # imported inside a function
        ("claims/counts.csv", True),  # data that the claim names
        ("claims/other.csv", False),
        ("family/sibling.py", False),
        ("tools/unused.py", False),  # imported by a package that is only passed through
    ],
)
def test_what_the_claim_runs_matters_and_nothing_else(
    package: Path, changed: str, matters: bool
) -> None:
    before = fingerprint(claim())
    path = package / changed
    path.write_text(path.read_text() + "\n# changed\n")
    assert (fingerprint(claim()) != before) is matters


def test_versions_of_what_is_required_matter(package: Path) -> None:
    plain = fingerprint(claim())
    assert fingerprint(claim(requires=("no-such-library",))) != plain
    assert versions(claim(requires=("no-such-library",)))["no-such-library"] == "missing"
    assert len(plain) == 16
    assert plain == fingerprint(claim())


def test_a_real_claim_covers_its_method() -> None:
    names = set(module._sources("paperworks.experiment.runner"))
    assert {"paperworks.experiment.runner", "paperworks.experiment.claim"} <= names
    assert "paperworks.cli" not in names
