"""What holds for the package as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

import paperworks


def loaded(code: str) -> set[str]:
    """The top-level modules that are there after ``code`` ran in a fresh interpreter."""
    script = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


HEAVY = {"numpy", "scipy", "torch", "sklearn", "matplotlib", "numba", "joblib", "pandas"}


@pytest.mark.parametrize(
    "code", ["import paperworks", "import paperworks.catalog", "import paperworks.cli"]
)
def test_the_front_door_is_light(code: str) -> None:
    assert not loaded(code) & HEAVY


def test_data_needs_no_torch() -> None:
    assert not loaded("import paperworks.data") & {"torch", "transformers", "sklearn", "matplotlib"}


@pytest.mark.parametrize(
    "family",
    ["numerics", "training", "statistics", "scaling", "compression", "diffusion", "graphs"],
)
def test_a_method_knows_nothing_of_what_stands_on_it(family: str) -> None:
    script = f"import paperworks.{family}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    above = {"claims", "experiment", "report", "cli"}
    ours = [name for name in done.stdout.split() if name.startswith("paperworks.")]
    assert not above & {name.split(".")[1] for name in ours}


def test_the_version_is_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paperworks", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"paperworks {paperworks.__version__}"
