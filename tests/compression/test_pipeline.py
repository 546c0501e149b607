"""The path from a folder to a smaller folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from paperworks.compression import pipeline
from paperworks.compression.describe import describe
from paperworks.compression.gblm.gradients import GradientNorms
from paperworks.compression.partial import OtherRunError
from paperworks.compression.pipeline import compress
from paperworks.compression.saving import load_compressed
from paperworks.compression.steps import Step
from paperworks.compression.text import Perplexity, perplexity
from paperworks.data.errors import CorruptDataError

pytest.importorskip("safetensors")

STEPS = [Step("prune", "wanda:0.5"), Step("quantize", "rtn:w4")]


@pytest.fixture
def settings(llama_folder: Path, tmp_path: Path, text: str) -> dict[str, Any]:
    return {
        "model": llama_folder,
        "steps": STEPS,
        "calibration": text[:2000],
        "heldout": text[2000:],
        "out": tmp_path / "small",
        "length": 32,
        "windows": 4,
        "heldout_windows": 3,
    }


def test_the_report_says_what_the_folder_holds(settings: dict[str, Any], llama: Any) -> None:
    told = []
    report = compress(**settings, progress=lambda *each: told.append(each))
    out = settings["out"]
    model, tokenizer = load_compressed(out)
    after = perplexity(model, tokenizer, settings["heldout"], length=32, windows=3)
    before = perplexity(llama, tokenizer, settings["heldout"], length=32, windows=3)
    assert report["after"]["perplexity"] == pytest.approx(after.value, rel=1e-6)
    assert report["before"]["perplexity"] == pytest.approx(before.value, rel=1e-6)
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
    assert report["peak_memory"] > report["before"]["bytes"]
    assert report["after"]["bytes_on_disk"] == (out / "model.safetensors").stat().st_size
    layers = {each.name: each for each in describe(model)}
    assert {each["name"] for each in report["layers"]} == set(layers)
    small = [each for each in report["layers"] if each["name"] != "model.embed_tokens"]
    assert all(each["format"] == "int4" for each in small)
    # Pruned first: quantization keeps the zeros, and rounds a few more weights to zero.
    assert all(0.5 <= each["sparsity"] < 0.9 for each in small)
    phases = list(dict.fromkeys(phase for phase, *_ in told))
    assert phases == [
        "perplexity before",
        "prune wanda:0.5",
        "quantize rtn:w4",
        "perplexity after",
    ]
    assert not list(out.parent.glob("*.partial"))


def test_an_interrupted_run_ends_as_one_that_was_not(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compress(**settings)
    weights = (settings["out"] / "model.safetensors").read_bytes()

    second = settings | {"out": settings["out"].with_name("again")}
    worked = []

    def stop(phase: str, done: int, total: int, part: str) -> None:
        worked.append((phase, part))
        if phase == "quantize rtn:w4" and part == "model.layers.1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(**second, progress=stop)
    assert not second["out"].exists()
    # Only what was not finished is computed again.
    pruned = []
    from paperworks.compression.pruning import Wanda

    original = Wanda.compress_layer
    monkeypatch.setattr(
        Wanda, "compress_layer", lambda self, *each: pruned.append(each[0]) or original(self, *each)
    )
    again = compress(**second)
    assert not pruned
    assert (second["out"] / "model.safetensors").read_bytes() == weights
    assert again["after"] == whole["after"]


def test_a_crash_while_writing_leaves_nothing_that_loads(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pipeline, "save_compressed", fail)
    with pytest.raises(OSError, match="no space"):
        compress(**settings)
    assert not settings["out"].exists()
    with pytest.raises(ValueError, match=r"holds no compression.json"):
        load_compressed(settings["out"].with_name("small.partial"))
    monkeypatch.undo()
    assert math.isfinite(compress(**settings)["after"]["perplexity"])


def test_another_runs_leftovers_are_not_used(settings: dict[str, Any]) -> None:
    def stop(phase: str, *_: Any) -> None:
        if phase == "quantize rtn:w4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(**settings, progress=stop)
    with pytest.raises(OtherRunError, match="begun with another steps and seed: remove it"):
        compress(**settings | {"seed": 1, "steps": STEPS[:1]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": []}, "nothing to do"),
        ({"steps": STEPS[::-1]}, "prune before you quantize"),
        ({"steps": [STEPS[1], STEPS[1]]}, "one --quantize is enough"),
        ({"steps": [Step("prune", "wander:0.5")]}, "no method 'wander' to prune with; there are:"),
        ({"steps": [Step("prune", "wanda:half")]}, r"--prune wanda:half: expected a sparsity"),
        ({"steps": [Step("quantize", "rtn:4")]}, r"--quantize rtn:4: expected bits as w4"),
        ({"steps": [Step("quantize", "rtn:w9")]}, r"--quantize rtn:w9: .*9"),
        ({"steps": [Step("quantize", "llm-fp4:w2a4")]}, r"--quantize llm-fp4:w2a4: .*2"),
        (
            {"calibration": "abc"},
            "the calibration text has 3 tokens, fewer than one sequence of 32",
        ),
        ({"heldout": "abc"}, "the held-out text has 3 tokens, fewer than one sequence of 32"),
        ({"embeddings": 9}, "2 to 8 bits, got 9"),
        (
            {"steps": [Step("quantize", "rtn:w4g128")]},
            r"group=128 does not divide the 64 columns of model.layers.0.self_attn.q_proj",
        ),
        ({"steps": [Step("prune", "gblm:3:5")]}, r"q_proj has 64 inputs, which 5 does not divide"),
        ({"steps": [Step("prune", "global-magnitude:3:5")]}, r"64 inputs, which 5 does not"),
        ({"skip": ["*"]}, r"no Linear or Conv2d layer outside"),
        ({"skip": ["model.layer.1.*"]}, r"no module of LlamaForCausalLM is called 'model.layer.1"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    settings: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    told = []
    with pytest.raises(ValueError, match=words):
        compress(**settings | change, progress=lambda *each: told.append(each))
    assert not told
    assert not list(settings["out"].parent.glob("small*"))


def test_an_existing_folder_is_never_touched(settings: dict[str, Any]) -> None:
    settings["out"].mkdir()
    with pytest.raises(FileExistsError, match="choose another folder"):
        compress(**settings)


def test_weights_that_are_not_finite_name_their_layer(
    settings: dict[str, Any], llama: Any, llama_folder: Path
) -> None:
    with torch.no_grad():
        llama.model.layers[1].mlp.up_proj.weight[3, 4] = torch.nan
    llama.save_pretrained(llama_folder)
    with pytest.raises(ValueError, match=r"model.layers.1.mlp.up_proj has 1 weights that are NaN"):
        compress(**settings)
    assert not settings["out"].exists()


def test_embeddings_alone_can_be_small(settings: dict[str, Any]) -> None:
    report = compress(**settings | {"steps": [], "embeddings": 8})
    formats = {each["name"]: each["format"] for each in report["layers"]}
    assert formats.pop("model.embed_tokens") == "int8"
    assert set(formats.values()) == {"float32"}


def test_a_model_without_all_its_weights_is_refused(
    settings: dict[str, Any], llama_folder: Path
) -> None:
    from safetensors.torch import load_file, save_file

    path = llama_folder / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.2.mlp.up_proj.weight"
    whole = tensors.pop(name)
    for broken in (tensors, tensors | {name: whole[:5].clone()}):
        save_file(broken, path, metadata={"format": "pt"})
        with pytest.raises(CorruptDataError, match=rf"1 of its weights are missing .*{name}"):
            compress(**settings)
    assert not list(settings["out"].parent.glob("small*"))


def test_a_model_of_another_kind_is_refused(settings: dict[str, Any], llama_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = transformers.BertConfig(vocab_size=29, num_attention_heads=2, **sizes)
    for kind in (transformers.BertModel, transformers.BertForSequenceClassification):
        kind(config).save_pretrained(llama_folder)
        with pytest.raises(ValueError, match=rf"{kind.__name__} has no scores of the next token"):
            compress(**settings)


def test_a_packed_model_is_refused_and_a_pruned_one_goes_on(settings: dict[str, Any]) -> None:
    first, packed = settings["out"], settings["out"].with_name("packed")
    compress(**settings | {"steps": STEPS[:1]})
    # Pruned first and quantized later is the same as both at once.
    report = compress(**settings | {"model": first, "steps": STEPS[1:], "out": packed})
    again = compress(**settings | {"out": first.with_name("at-once")})
    assert report["after"]["perplexity"] == again["after"]["perplexity"]
    onward = settings | {"model": packed, "out": first.with_name("more")}
    with pytest.raises(ValueError, match=r"already compressed \(21 layers of few bits"):
        compress(**onward)
    for note in ("compression.json", "report.json"):
        (packed / note).unlink()
    with pytest.raises(CorruptDataError, match="a compressed model, not one of transformers"):
        compress(**onward)
    assert not list(first.parent.glob("more*"))


def test_what_finished_nothing_leaves_nothing(settings: dict[str, Any]) -> None:
    def stop(phase: str, *_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(**settings, progress=stop)
    assert not list(settings["out"].parent.glob("small*"))


def interrupted(settings: dict[str, Any]) -> Path:
    """The folder of a run that was stopped in its second step."""

    def stop(phase: str, *_: Any) -> None:
        if phase == "quantize rtn:w4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(**settings, progress=stop)
    return settings["out"].with_name("small.partial")


def test_the_report_counts_what_all_runs_took(settings: dict[str, Any]) -> None:
    taken = interrupted(settings) / "taken.json"
    first = json.loads(taken.read_text())
    assert 0 < first["seconds"] < 60
    taken.write_text(json.dumps({"seconds": 1000.0, "peak_memory": 2**60}))
    report = compress(**settings)
    assert 1000 < report["seconds"] < 1060
    assert report["peak_memory"] == 2**60


def test_a_changed_model_is_not_mixed_with_what_was_finished(
    settings: dict[str, Any], llama: Any, llama_folder: Path
) -> None:
    interrupted(settings)
    llama.save_pretrained(llama_folder)
    with pytest.raises(OtherRunError, match="begun with another files of the model"):
        compress(**settings)


def test_two_processes_do_not_work_in_one_folder(settings: dict[str, Any]) -> None:
    fcntl = pytest.importorskip("fcntl")
    folder = interrupted(settings)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OtherRunError, match="another process works on"):
            compress(**settings)
    compress(**settings)


def test_layers_and_pages_are_as_asked(settings: dict[str, Any]) -> None:
    report = compress(
        **settings, skip=["*.layers.1.*"], page=lambda report: f"{len(report['layers'])} layers"
    )
    formats = {each["name"]: each["format"] for each in report["layers"]}
    assert formats["model.layers.1.mlp.up_proj"] == "float32"
    assert formats["model.layers.0.mlp.up_proj"] == "int4"
    assert (settings["out"] / "report.html").read_text() == "22 layers"


def test_power_sees_no_data(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from paperworks.compression.nupes import NUPES

    given = []
    original = NUPES.__call__

    def call(self: Any, model: Any, calibration: Any = None, **others: Any) -> Any:
        given.append(calibration)
        return original(self, model, calibration, **others)

    monkeypatch.setattr(NUPES, "__call__", call)
    compress(**settings | {"steps": [Step("quantize", "power:w4")]})
    assert given == [None]


def test_a_model_of_sixteen_bits_stays_one(
    settings: dict[str, Any], build_llama: Any, llama_folder: Path
) -> None:
    from safetensors.torch import load_file

    build_llama(tied=False).bfloat16().save_pretrained(llama_folder)
    source = (llama_folder / "model.safetensors").stat().st_size
    report = compress(**settings | {"embeddings": 8, "steps": [Step("prune", "sparsegpt:0.5")]})
    tensors = load_file(settings["out"] / "model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in tensors.items() if "embed" not in name}
    assert set(kinds.values()) == {torch.bfloat16}
    assert report["before"]["bytes_on_disk"] == pytest.approx(source, rel=0.1)
    assert report["after"]["bytes_on_disk"] < 1.1 * source
    model, tokenizer = load_compressed(settings["out"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    score = perplexity(model, tokenizer, settings["heldout"], length=32, windows=3)
    assert score.value == pytest.approx(report["after"]["perplexity"], rel=1e-6)


def test_gradients_lie_beside_the_output(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's folder for temporary files may be in memory, which they are to spare."""
    scratch = settings["out"].with_name("small.partial") / "scratch"
    (scratch / "gblm-killed").mkdir(parents=True)  # what a run that was killed may leave
    seen: list[list[Path]] = []
    original = GradientNorms.__init__

    def note(self: GradientNorms, folder: Path, *more: Any) -> None:
        seen.append([folder.parent, *scratch.iterdir()])
        original(self, folder, *more)

    monkeypatch.setattr(GradientNorms, "__init__", note)
    compress(**settings | {"steps": [Step("prune", "gblm:0.5")]})
    ((parent, *held),) = seen
    assert parent == scratch
    assert len(held) == 1
    assert not scratch.parent.exists()


def test_the_report_of_a_destroyed_model_is_json(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has no word for infinity."""

    def strict(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    monkeypatch.setattr(pipeline, "perplexity", lambda *_, **__: Perplexity(math.inf, 9))
    report = compress(**settings)
    assert report["after"]["perplexity"] == math.inf
    written = (settings["out"] / "report.json").read_text()
    assert json.loads(written, parse_constant=strict)["after"]["perplexity"] is None
