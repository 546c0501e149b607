from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from paperworks.data import registry
from paperworks.data.generated import GENERATORS
from paperworks.data.kinds import KINDS
from paperworks.data.models import PREPARERS
from paperworks.data.readers import READERS

DATASETS, MODELS = registry.datasets(), registry.models()


def test_names_of_the_issue_are_there():
    wanted = {
        "digits", "mnist1d", "mnist", "fashion-mnist", "cifar10", "wikitext-2", "tinyshakespeare",
        "gsm8k", "humaneval", "planetoid/cora", "planetoid/pubmed", "planetoid/amazon_photo",
        "planetoid/dblp", "uci/concrete",
    }  # fmt: skip
    assert wanted <= set(DATASETS)
    assert {"smollm2-135m-instruct", "minilm-l6", "efficientnet-lite0"} <= set(MODELS)


@pytest.mark.parametrize("name", DATASETS)
def test_data_set_record(name):
    record = DATASETS[name]
    assert record.kind in KINDS
    assert record.summary
    assert record.licence
    assert record.homepage.startswith("http")
    assert bool(record.generator) != bool(record.forms)
    if record.generator:
        assert record.generator in GENERATORS
        return
    assert record.download is not None, "nothing to download"
    for form in record.forms:
        assert form.reader in READERS
        assert form.about
        assert form.files
        for file in form.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 0
        for host in form.hosts:
            assert re.fullmatch(r"https://[^\s]*[^/]", host)
            if "raw.githubusercontent.com" in host:  # the bytes behind a branch would change
                assert re.search("/[0-9a-f]{40}(/|$)", host)


def test_a_path_means_one_file():
    seen = {}
    for record in DATASETS.values():
        for form in record.forms:
            for file in form.files:
                path = (form.folder, file.name)
                assert seen.setdefault(path, file.sha256) == file.sha256, path


@pytest.mark.parametrize("name", MODELS)
def test_model_record(name):
    record = MODELS[name]
    assert re.fullmatch("[0-9a-f]{64}", record.wheel.sha256)
    package, _, version = record.requirement.partition("==")
    assert record.wheel.name.startswith(f"{package.replace('-', '_')}-{version}-")
    assert record.folder == f"{name}-{version}"
    assert record.prepare in {"", *PREPARERS}
    assert record.licence


def test_checksums_are_those_of_the_data_folder():
    given = os.environ.get("PAPERWORKS_DATA")
    if not given or not Path(given, "SHA256SUMS").is_file():
        pytest.skip("PAPERWORKS_DATA is not set, or holds no SHA256SUMS")
    lines = Path(given, "SHA256SUMS").read_text().splitlines()
    sums = {path.removeprefix("./"): digest for digest, path in (line.split() for line in lines)}
    compared = 0
    for record in DATASETS.values():
        for form in record.forms:
            for file in form.files:
                path = f"{form.folder}/{file.name}"
                if path in sums:
                    assert file.sha256 == sums[path], path
                    compared += 1
    assert compared > 30


def test_short_names_groups_and_mistakes():
    assert registry.find_dataset("cora").name == "planetoid/cora"
    assert registry.find_dataset("uci/yacht").name == "uci/yacht"
    assert len(registry.members("uci")) == 10
    with pytest.raises(ValueError, match="group of data sets: name one of planetoid/cora"):
        registry.find_dataset("planetoid")
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        registry.find_dataset("minst")
    with pytest.raises(ValueError, match="known names: digits"):
        registry.find_dataset("zzzzqqqq")
    with pytest.raises(ValueError, match="is a model"):
        registry.find_dataset("minilm-l6")
    with pytest.raises(ValueError, match="did you mean 'minilm-l6'"):
        registry.find_model("minilm-16")
