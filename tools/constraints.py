"""Write constraints.txt from the environment that runs this: every version that was tested."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

HEAD = """\
# Every version that was tested, written by `make constraints`. Install with
# `pip install -c constraints.txt`; torch then comes as a CPU build where one is at hand.
"""
LEFT_OUT = {"paperworks", "pip", "setuptools", "wheel"}


def main() -> None:
    found = {
        distribution.name.lower().replace("_", "-"): distribution.version.partition("+")[0]
        for distribution in importlib.metadata.distributions()
    }
    lines = [f"{name}=={version}" for name, version in sorted(found.items())]
    kept = [line for line in lines if line.partition("==")[0] not in LEFT_OUT]
    path = Path(__file__).parent.parent / "constraints.txt"
    path.write_text(HEAD + "\n".join(kept) + "\n")
    print(f"{path.name}: {len(kept)} versions")


if __name__ == "__main__":
    main()
