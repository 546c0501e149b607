"""Compressed models on disk: what is read back is what was written, or it is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paperworks.compression.checkpoint import FolderCheckpoint
from paperworks.compression.describe import describe, model_bytes
from paperworks.compression.embeddings import EmbeddingQuantizer
from paperworks.compression.grids import FloatGrid, IntegerGrid
from paperworks.compression.inputs import InputQuantizer
from paperworks.compression.layers import weight_matrix
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.packed import PackedWeight
from paperworks.compression.packed_layers import quantized
from paperworks.compression.pruning import Wanda
from paperworks.compression.rounding import RoundToNearest
from paperworks.compression.saving import DamagedModelError, load_compressed, save_compressed

pytest.importorskip("safetensors")


class Round(LayerwiseMethod):
    """Nearest rounding, with an offset and rounded inputs so that every part is saved."""

    calibration = "unused"

    def compress_layer(self, name: str, layer: nn.Module, seen: Any) -> nn.Module:
        grid, weight = FloatGrid(2, 1), weight_matrix(layer)
        scale = weight.abs().amax(1) / grid.largest
        offset = torch.full_like(scale, 0.001)
        codes = grid.encode(weight / scale[:, None])
        packed = PackedWeight.pack(
            codes, grid, scale, offset=offset, shape=tuple(layer.weight.shape)
        )
        axis = 1 if isinstance(layer, nn.Conv2d) else -1
        return quantized(
            layer, packed, InputQuantizer(IntegerGrid(8), torch.tensor(0.1), axis=axis)
        )


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(20)[None] % 29).logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_a_language_model_comes_back_to_the_bit(
    tmp_path: Path, build_llama: Any, tokenizer: Any, tied: bool, embeddings: bool
) -> None:
    model = Round()(build_llama(tied=tied))
    if embeddings:
        EmbeddingQuantizer(8)(model)
    save_compressed(model, tmp_path / "small", tokenizer=tokenizer)
    again, words = load_compressed(tmp_path / "small")
    assert torch.equal(logits(again), logits(model))
    assert words("abc")["input_ids"] == [0, 1, 2]
    assert describe(again) == describe(model)
    assert model_bytes(again) == model_bytes(model)
    head, table = again.lm_head.weight, again.model.embed_tokens.weight
    if embeddings:
        table = table.codes
        head = head.codes if tied else head
    assert (head.data_ptr() == table.data_ptr()) == tied


_SMALL = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
_ATTENTION = {"num_attention_heads": 2}
_TEXT = {"input_ids": torch.arange(20)[None] % 29}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "BertModel": ("BertConfig", {"vocab_size": 29, **_SMALL, **_ATTENTION}, _TEXT),
    "BertForSequenceClassification": (
        "BertConfig", {"vocab_size": 29, "num_labels": 3, **_SMALL, **_ATTENTION}, _TEXT,
    ),
    "ViTForImageClassification": (
        "ViTConfig", {"image_size": 16, "patch_size": 8, **_SMALL, **_ATTENTION},
        {"pixel_values": torch.linspace(-1, 1, 768).view(1, 3, 16, 16)},
    ),
    "T5ForConditionalGeneration": (
        "T5Config", {"vocab_size": 29, "d_model": 64, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        {**_TEXT, "decoder_input_ids": _TEXT["input_ids"]},
    ),
    "GPT2LMHeadModel": (
        "GPT2Config", {"vocab_size": 29, "n_embd": 64, "n_layer": 1, "n_head": 2}, _TEXT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_with_any_head_comes_back(tmp_path: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    config, settings, given = ARCHITECTURES[name]
    model = getattr(transformers, name)(getattr(transformers, config)(**settings)).eval()
    # GPT-2's layers are of a kind of its own, which nothing here compresses.
    (EmbeddingQuantizer(8) if name.startswith("GPT2") else RoundToNearest(4))(model)
    save_compressed(model, tmp_path / "small")
    again, _ = load_compressed(tmp_path / "small")
    assert type(again) is type(model)
    with torch.no_grad():
        assert torch.equal(again(**given)[0], model(**given)[0])


def test_any_module_is_saved_and_filled(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))

    model = build()
    model(torch.randn(4, 3, 5, 5))  # running statistics that are not the initial ones
    Round(skip=["2"])(model.eval())
    save_compressed(model, tmp_path / "small")
    again, tokenizer = load_compressed(tmp_path / "small", build())
    assert tokenizer is None
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(again(x), model(x))
    with pytest.raises(ValueError, match=r"no config.json.*give the uncompressed module as model="):
        load_compressed(tmp_path / "small")
    with pytest.raises(DamagedModelError, match="does not fit the model"):
        load_compressed(tmp_path / "small", nn.Sequential(*build(), nn.Linear(2, 2)))
    with pytest.raises(DamagedModelError, match="does not fit the model"):
        load_compressed(tmp_path / "small", nn.Linear(2, 2))


def test_a_module_that_differs_is_refused_in_words(tmp_path: Path) -> None:
    def build(size: int = 8, kernel: int = 3) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, kernel), nn.Flatten(), nn.Linear(size, 5))

    save_compressed(Round(skip=["2"])(build()), tmp_path / "one")
    save_compressed(Round()(build()), tmp_path / "both")
    for other, name in ((build(9), "2"), (build(8, 5), "0")):
        with pytest.raises(
            DamagedModelError, match=rf"does not fit the model: {name} has a weight of shape \("
        ):
            load_compressed(tmp_path / "both", other)
    # A packed module is filled like any other, but cannot get a float layer back.
    packed, x = Round()(build(), []), torch.randn(1, 3, 4, 3)
    again = load_compressed(tmp_path / "both", packed).model
    assert torch.equal(again(x), load_compressed(tmp_path / "both", build()).model(x))
    with pytest.raises(DamagedModelError, match=r"2 is packed, .*give the uncompressed module"):
        load_compressed(tmp_path / "one", packed)


def test_size_on_disk_is_that_of_the_codes(tmp_path: Path, llama: Any) -> None:
    small = Round()(llama)
    save_compressed(small, tmp_path / "small")
    size = (tmp_path / "small" / "model.safetensors").stat().st_size
    assert model_bytes(small) < size < model_bytes(small) + 30_000


@pytest.fixture
def saved(tmp_path: Path, llama: Any) -> Path:
    return save_compressed(Round()(llama), tmp_path / "small")


def test_a_cut_off_or_changed_folder_is_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(DamagedModelError, match=r"model.safetensors is not what was written"):
        load_compressed(saved)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedModelError, match="copy it again or compress again"):
        load_compressed(saved)
    weights.unlink()
    with pytest.raises(DamagedModelError, match=r"holds no model\.safetensors: copy it again"):
        load_compressed(saved)
    (saved / "compression.json").unlink()
    with pytest.raises(DamagedModelError, match=r"no compression.json.*cut off"):
        load_compressed(saved)


def test_a_newer_or_unreadable_format_is_refused(saved: Path) -> None:
    path = saved / "compression.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(DamagedModelError, match="format 99, this version reads 1"):
        load_compressed(saved)
    cut = [{key: value for key, value in record.items() if key != lost} for lost in record]
    cut += [record | {"weights": {}}, record | {"layers": 3}]
    for text in ("{", "[]", *map(json.dumps, cut)):
        path.write_text(text)
        with pytest.raises(DamagedModelError, match="cannot be read"):
            load_compressed(saved)
    name, form = next(iter(record["layers"].items()))
    path.write_text(json.dumps(record | {"layers": {name: {**form, "weight": {}}}}))
    with pytest.raises(DamagedModelError, match="does not fit the model"):
        load_compressed(saved)


def test_a_damaged_configuration_or_tokenizer_is_refused(
    tmp_path: Path, llama: Any, tokenizer: Any
) -> None:
    folder = save_compressed(Round()(llama), tmp_path / "small", tokenizer=tokenizer)
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedModelError, match=r"small cannot be read: "):
            load_compressed(folder)
        (folder / name).unlink()
        with pytest.raises(DamagedModelError, match=rf"small holds no {name}: copy it again"):
            load_compressed(folder)
        (folder / name).write_bytes(whole)
    load_compressed(folder)


def test_nothing_is_overwritten_and_nothing_half_written_stays(
    saved: Path, llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileExistsError, match="choose another folder"):
        save_compressed(llama, saved)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(llama.config), "save_pretrained", fail)
    with pytest.raises(OSError, match="no space"):
        save_compressed(llama, saved.parent / "other")
    assert sorted(path.name for path in saved.parent.iterdir()) == ["small"]


def test_a_checkpoint_keeps_packed_and_pruned_layers(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Conv2d(2, 4, 3, groups=2, stride=2))
    layers = {"0": model[0], "1": model[1], "packed": Round()(copy.deepcopy(model))[1]}
    checkpoint = FolderCheckpoint(tmp_path / "steps")
    assert not checkpoint.holds("block 1")
    checkpoint.save("block 1", layers)
    again = FolderCheckpoint(tmp_path / "steps")
    assert again.holds("block 1")
    fresh = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Conv2d(2, 4, 3, groups=2, stride=2))
    fresh[0].weight.requires_grad_(False)
    places = {"0": fresh[0], "1": fresh[1], "packed": copy.deepcopy(fresh[1])}
    restored = again.restore("block 1", places)
    assert list(restored) == list(layers)
    x, image = torch.randn(3, 5), torch.randn(1, 2, 7, 7)
    for name, layer in layers.items():
        given = x if name == "0" else image
        assert torch.equal(restored[name](given), layer(given))
    # What was changed in place is filled in place, with all that hangs on it.
    assert restored["0"] is fresh[0]
    assert not fresh[0].weight.requires_grad


class Padded(nn.Conv2d):
    """Has a forward and a buffer of its own."""

    def __init__(self, *sizes: int):
        super().__init__(*sizes)
        self.register_buffer("gain", torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1))) * self.gain


def padded_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU(), Padded(8, 4, 3)
    )


def test_padding_and_own_forwards_are_kept(tmp_path: Path) -> None:
    model, x = padded_net(), torch.randn(2, 3, 6, 6)
    model[2].gain.fill_(0.5)
    expected = model(x)
    small = RoundToNearest(8)(copy.deepcopy(model))
    assert (small(x) - expected).norm() < 0.02 * expected.norm()
    assert [each.format for each in describe(small)] == ["int8", "int8"]
    assert "reflect" in repr(small)
    save_compressed(small, tmp_path / "small")
    again, _ = load_compressed(tmp_path / "small", padded_net())
    assert torch.equal(again(x), small(x))
    # On the way through a checkpoint too, packed or pruned.
    for method in (RoundToNearest(8), Wanda(0.5)):
        folder = FolderCheckpoint(tmp_path / type(method).__name__)
        first = method(copy.deepcopy(model), [x], checkpoint=folder)
        second = method(copy.deepcopy(model), [x], checkpoint=folder)
        assert torch.equal(first(x), second(x))


def test_embeddings_and_the_tied_head_share_one_packed_table(llama: Any) -> None:
    before = logits(llama)
    EmbeddingQuantizer(8)(llama)
    assert llama.lm_head.weight is llama.model.embed_tokens.weight
    table = llama.lm_head.weight.dequantize()
    scale = table.abs().amax(1) / 127
    assert (table / scale[:, None]).round().unique().numel() > 100
    change = (logits(llama) - before).norm() / before.norm()
    assert 0 < change < 0.05
    with pytest.raises(ValueError, match="has no Embedding layer"):
        EmbeddingQuantizer(8)(nn.Linear(2, 2))
