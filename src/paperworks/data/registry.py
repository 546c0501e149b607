"""The records of ``registry.toml``: what there is, of which files, and where they come from."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as package_files
from typing import Any


@dataclass(frozen=True)
class File:
    """One file: its name here, its size in bytes, its sha256 and what the host calls it."""

    name: str
    size: int
    sha256: str
    remote: str = ""

    def url(self, host: str) -> str:
        """The address of this file below ``host``."""
        return f"{host}/{self.remote or self.name}"


@dataclass(frozen=True)
class Form:
    """One shape in which a data set's files are found; see the head of ``registry.toml``."""

    about: str
    reader: str
    folder: str
    files: Sequence[File]
    hosts: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Dataset:
    """The record of one data set: generated, or read from one of several forms."""

    name: str
    kind: str
    summary: str
    licence: str
    homepage: str
    generator: str = ""
    forms: Sequence[Form] = ()

    @property
    def download(self) -> Form | None:
        """The form that has a public host, or None where there is none."""
        return next((form for form in self.forms if form.hosts), None)


@dataclass(frozen=True)
class Model:
    """The record of one small model that ships inside a wheel."""

    name: str
    summary: str
    licence: str
    homepage: str
    requirement: str
    wheel: File
    members: Mapping[str, str]
    loader: str
    prepare: str = ""
    extra: str = ""

    @property
    def folder(self) -> str:
        """The name of the folder that the prepared model lies in, with the pinned version."""
        return f"{self.name}-{self.requirement.partition('==')[2]}"


def _form(record: Mapping[str, Any]) -> Form:
    return Form(**{**record, "files": tuple(File(**file) for file in record["files"])})


@cache
def _registry() -> tuple[dict[str, Dataset], dict[str, Model]]:
    text = package_files("paperworks.data").joinpath("registry.toml").read_text("utf-8")
    records = tomllib.loads(text)
    datasets = {
        name: Dataset(
            name=name, **{**record, "forms": tuple(_form(form) for form in record.get("forms", ()))}
        )
        for name, record in records["datasets"].items()
    }
    models = {
        name: Model(name=name, **{**record, "wheel": File(**record["wheel"])})
        for name, record in records["models"].items()
    }
    return datasets, models


def datasets() -> dict[str, Dataset]:
    """All data sets by name, in the order of the registry."""
    return dict(_registry()[0])


def models() -> dict[str, Model]:
    """All small models by name."""
    return dict(_registry()[1])


def _close(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(known)}"


def members(name: str) -> list[str]:
    """The names of the data sets of a group: ``"uci"`` stands for every ``uci/...``."""
    return [known for known in datasets() if known.startswith(f"{name}/")]


def find_dataset(name: str) -> Dataset:
    """The record of the data set ``name``; ``"cora"`` will do for ``"planetoid/cora"``.

    Raises
    ------
    ValueError
        Where there is no such data set, or ``name`` is a group of several.
    """
    known = datasets()
    if name in known:
        return known[name]
    within = [full for full in known if full.rpartition("/")[2] == name]
    if len(within) == 1:
        return known[within[0]]
    group = members(name)
    if group:
        raise ValueError(f"{name!r} is a group of data sets: name one of {', '.join(group)}")
    if name in models():
        raise ValueError(f"{name!r} is a model, not a data set: use load_model or model_path")
    raise ValueError(f"no data set is called {name!r}; {_close(name, list(known))}")


def find_model(name: str) -> Model:
    """The record of the small model ``name``.

    Raises
    ------
    ValueError
        Where there is no such model.
    """
    known = models()
    if name not in known:
        raise ValueError(f"no model is called {name!r}; {_close(name, list(known))}")
    return known[name]
