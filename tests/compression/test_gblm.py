"""GBLM-Pruner against the score written out with autograd on whole tensors, and its memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paperworks.compression.gblm import GBLMPruner, next_token_loss
from paperworks.compression.gblm.gradients import GradientNorms
from paperworks.compression.pruning import Wanda


class Block(nn.Module):
    """A residual block that says how often it ran."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width, bias=False)
        self.drop = nn.Dropout(0.5)
        self.runs = 0

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        self.runs += 1
        return x + self.down(self.drop(functional.gelu(self.up(x) + shift)))


class Chain(nn.Module):
    """Token scores from an embedding, a chain of blocks and a head, as language models do it."""

    def __init__(self, width: int = 8, depth: int = 3, words: int = 11) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.lm_head = nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x, shift = self.embedding(tokens), torch.ones(1)
        for block in self.blocks:
            x = block(x, shift)
        return self.lm_head(x)


def next_word(model: nn.Module, tokens: Tensor) -> Tensor:
    return functional.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:])


def seeded(build: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def tokens(count: int = 4, length: int = 9, words: int = 11, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(words, (1, length), generator=generator) for _ in range(count)]


def norms_by_autograd(
    model: nn.Module, layers: dict[str, nn.Module], loss: Any, samples: list[Any], norm: str
) -> dict[str, Tensor]:
    """All gradients at once, and torch's own norm over the axis of the samples."""
    weights = [layer.weight for layer in layers.values()]
    each = [torch.autograd.grad(loss(model, sample), weights) for sample in samples]
    order = {"l1": 1, "l2": 2}[norm]
    return {
        name: torch.linalg.vector_norm(torch.stack(of_one), order, dim=0)
        for name, of_one in zip(layers, zip(*each, strict=True), strict=True)
    }


def linears(model: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"}


def pruned_by_hand(
    model: nn.Module, batches: list[Tensor], alpha: float, norm: str, half: int | None = None
) -> dict[str, Tensor]:
    """Masks of the paper's score, one block after the other, in float64."""
    model = copy.deepcopy(model).eval()
    gradients = norms_by_autograd(model, linears(model), next_word, batches, norm)
    masks = {}
    for i in range(len(model.blocks)):
        layers = {n: m for n, m in linears(model).items() if n.startswith(f"blocks.{i}.")}
        inputs: dict[str, list[Tensor]] = {name: [] for name in layers}
        hooks = [
            layer.register_forward_hook(
                lambda _, args, out, seen=inputs[name]: seen.append(args[0])
            )
            for name, layer in layers.items()
        ]
        with torch.no_grad():
            for batch in batches:
                model(batch)
        for hook in hooks:
            hook.remove()
        for name, layer in layers.items():
            x = torch.cat([each.flatten(0, 1) for each in inputs[name]]).double()
            activations = x.square().sum(0).div(len(batches)).sqrt()
            weight = layer.weight.detach().double().abs()
            scores = weight * activations + alpha * weight * gradients[name].double()
            group = scores if half is None else scores.view(len(scores), -1, half)
            best = group.topk(group.shape[-1] // 2, dim=-1).indices
            mask = torch.zeros_like(group, dtype=torch.bool).scatter_(-1, best, True)
            masks[name] = mask.view_as(scores)
            layer.weight.data *= masks[name]
    return masks


# --- The method


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize(("pattern", "half"), [(None, None), ("2:4", 4), ("4:8", 8)])
@pytest.mark.parametrize("alpha", [10.0, 100.0])
def test_the_masks_are_the_papers(
    norm: Any, pattern: str | None, half: int | None, alpha: float
) -> None:
    model, batches = seeded(Chain), tokens()
    expected = pruned_by_hand(model, batches, alpha, norm, half)
    before = {name: layer.weight.clone() for name, layer in linears(model).items()}
    method = GBLMPruner(
        None if pattern else 0.5, pattern=pattern, alpha=alpha, gradient_norm=norm, loss=next_word
    )
    assert method(model, batches) is model
    for name, layer in linears(model).items():
        assert torch.equal(layer.weight, before[name] * expected[name]), name


def test_gradients_and_activations_both_matter() -> None:
    """At this alpha, so that the test above sees either go missing."""
    model, batches = seeded(Chain), tokens()
    masks = [pruned_by_hand(model, batches, alpha, "l1") for alpha in (0.0, 10.0, 1e6)]
    for other in masks[::2]:
        assert any(not torch.equal(masks[1][name], other[name]) for name in other)


def test_without_gradients_it_is_wanda() -> None:
    ours, wanda = seeded(Chain), seeded(Chain)
    GBLMPruner(0.6, alpha=0.0, loss=next_word)(ours, tokens())
    Wanda(0.6)(wanda, tokens())
    for a, b in zip(ours.parameters(), wanda.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_vision_model_with_labels() -> None:
    """Convolutions with groups, a loss that needs labels, and weights in the scores' own shape."""

    def build() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=4),
            nn.Flatten(),
            nn.Linear(8 * 16, 5),
        )

    def loss(model: nn.Module, sample: Any) -> Tensor:
        images, labels = sample
        return functional.cross_entropy(model(images), labels)

    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, 6, 6, generator=generator) for _ in range(5)]
    labels = [torch.randint(5, (1,), generator=generator) for _ in range(5)]
    samples = list(zip(images, labels, strict=True))
    model = seeded(build).eval()
    layers = {name: m for name, m in model.named_modules() if hasattr(m, "groups")}
    gradients = norms_by_autograd(model, layers, loss, samples, "l2")
    first = model[0].weight.detach().clone()
    GBLMPruner(0.5, loss=loss, samples=samples, gradient_norm="l2", alpha=10.0)(model, images)
    patches = torch.cat([functional.unfold(x, 3, padding=1)[0].T for x in images])
    activations = patches.square().sum(0).div(5).sqrt()
    scores = first.flatten(1).abs() * (activations + 10 * gradients["0"].flatten(1))
    kept = torch.zeros_like(scores, dtype=torch.bool)
    kept.scatter_(1, scores.topk(27 - round(0.5 * 27), dim=1).indices, True)
    assert torch.equal(model[0].weight.flatten(1) != 0, kept)
    assert ((model[3].weight == 0).flatten(1).sum(1) == 9).all()


# --- The gradients


@settings(deadline=None, max_examples=10)
@given(norm=st.sampled_from(["l1", "l2"]), double=st.booleans(), seed=st.integers(0, 99))
def test_norms_in_files_are_those_of_autograd(
    tmp_path_factory: pytest.TempPathFactory, norm: Any, double: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("norms")
    model = seeded(Chain, seed).eval().to(torch.float64 if double else torch.float32)
    samples = tokens(seed=seed)
    expected = norms_by_autograd(model, linears(model), next_word, samples, norm)
    norms = GradientNorms(folder, linears(model), norm)
    norms.add(model, [f"blocks.{i}" for i in range(3)], next_word, samples)
    for name in expected:
        assert norms[name].dtype == torch.float32
        torch.testing.assert_close(norms[name], expected[name].float(), rtol=1e-5, atol=1e-9)


def test_l2_of_tiny_gradients_does_not_vanish(tmp_path: Path) -> None:
    layer = nn.Linear(2, 1, bias=False)
    norms = GradientNorms(tmp_path, {"": layer}, "l2")
    norms.add(layer, [], lambda model, x: model(x).sum(), [torch.tensor([[3e-30, 4e-30]])] * 4)
    torch.testing.assert_close(norms[""], torch.tensor([[6e-30, 8e-30]]), rtol=1e-6, atol=0)


def test_blocks_run_again_and_gradients_are_dropped_at_once() -> None:
    model, batches = seeded(Chain), tokens(3)
    alive = []

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        wanted = [name for name, each in model.named_parameters() if each.requires_grad]
        assert wanted == [f"{name}.weight" for name in linears(model)]
        return next_word(model, batch)

    weights = [layer.weight for layer in linears(model).values()]
    for weight in weights:
        weight.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(w.grad is not None for w in weights))
        )
    runs = []
    method = GBLMPruner(loss=loss)
    method.compress_layer = lambda name, layer, seen: (  # type: ignore[method-assign]
        runs.append(model.blocks[0].runs) or layer
    )
    method(model, batches)
    # Looks at the chain and at what is reached, two runs a sample; then the walk: its own look and
    # a run a batch.
    assert runs[0] == 2 + 2 * 3 + 1 + 3
    assert len(alive) == 3 * len(weights)
    assert max(alive) == 1


def test_the_model_is_left_as_it_was() -> None:
    model, batches = seeded(Chain), tokens()
    model.blocks[0].up.weight.requires_grad_(False)
    model.embedding.weight.grad = torch.ones_like(model.embedding.weight)
    model.blocks[1].down.weight.grad = torch.full_like(model.blocks[1].down.weight, 2.0)
    own = model.blocks[2].forward
    model.blocks[2].forward = own
    before = [
        (p.requires_grad, p.grad, None if p.grad is None else p.grad.clone())
        for p in model.parameters()
    ]
    state = torch.random.get_rng_state()
    with torch.no_grad():
        GBLMPruner(loss=next_word)(model, batches)
    for parameter, (required, gradient, value) in zip(model.parameters(), before, strict=True):
        assert parameter.requires_grad == required
        assert parameter.grad is gradient
        assert gradient is None or torch.equal(gradient, value)
        assert not parameter._post_accumulate_grad_hooks
    assert model.training
    assert "forward" not in model.blocks[0].__dict__
    assert model.blocks[2].__dict__["forward"] == own
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_files_go_with_the_call_also_when_it_fails(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str, int]] = []

    def progress(done: int, total: int, name: str) -> None:
        seen.append((done, total, name, len(list(tmp_path.rglob("*.float32")))))

    GBLMPruner(loss=next_word, folder=tmp_path)(seeded(Chain), tokens(2), progress=progress)
    assert seen[:2] == [(0, 2, "gradients", 0), (1, 2, "gradients", 6)]
    assert seen[3][:3] == (1, 4, "blocks.0")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError):
        GBLMPruner(loss=lambda model, batch: 1 / 0, folder=tmp_path)(seeded(Chain), tokens())
    assert not list(tmp_path.iterdir())


def test_no_room_is_said_before_the_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1000))
    with pytest.raises(OSError, match=r"norms take .* GB and .* has .* GB left: give folder="):
        GBLMPruner(loss=next_word, folder=tmp_path)(seeded(Chain), tokens())


def test_inference_mode_is_refused_by_name_and_no_grad_is_not() -> None:
    model = seeded(Chain)
    with torch.no_grad():
        expected = GBLMPruner(loss=next_word)(copy.deepcopy(model), tokens())
    before = copy.deepcopy(model.state_dict())
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=r"takes gradients.*inference_mode\(\).* torch\.no_grad"),
    ):
        GBLMPruner(loss=next_word)(model, tokens())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert any(bool((each == 0).any()) for each in expected.parameters())


def test_an_interrupted_walk_goes_on_to_the_same_masks() -> None:
    class Kept(dict):  # type: ignore[type-arg]
        holds = dict.__contains__

        def restore(self, block: str, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
            return self[block]

        def save(self, block: str, layers: dict[str, nn.Module]) -> None:
            self[block] = copy.deepcopy(layers)

    whole = GBLMPruner(loss=next_word)(seeded(Chain), tokens(), checkpoint=(all_ := Kept()))
    first = Kept({name: all_[name] for name in list(all_)[:2]})
    resumed = GBLMPruner(loss=next_word)(seeded(Chain), tokens(), checkpoint=first)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


# --- The loss


def test_the_next_token_loss_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=17,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = seeded(lambda: transformers.LlamaForCausalLM(config)).eval()
    ids = tokens(1, 12, 17)[0]

    def expected(keep: Tensor) -> Tensor:
        scores = functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        return scores[keep[1:]].mean()

    every = torch.ones(12, dtype=torch.bool)
    torch.testing.assert_close(next_token_loss(model, ids), expected(every))
    torch.testing.assert_close(next_token_loss(model, {"input_ids": ids}), expected(every))
    some = every.clone()
    some[8:] = False
    padded = {"input_ids": ids, "attention_mask": some[None].long()}
    torch.testing.assert_close(next_token_loss(model, padded), expected(some))
    assert set(padded) == {"input_ids", "attention_mask"}
    # End to end, with blocks that take keyword arguments; half of each row goes.
    GBLMPruner()(model, tokens(3, 12, 17))
    for layer in linears(model).values():
        assert ((layer.weight == 0).sum(1) == layer.in_features // 2).all()


def test_a_model_without_a_loss_of_its_own_needs_one() -> None:
    with pytest.raises(ValueError, match=r"Chain has no next-token loss.*loss=function"):
        GBLMPruner()(seeded(Chain), tokens())
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=17, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    masked = transformers.BertForMaskedLM(config)
    with pytest.raises(ValueError, match="BertForMaskedLM has no next-token loss"):
        next_token_loss(masked, tokens(1)[0])
    labelled = {"input_ids": tokens(1)[0], "labels": tokens(1)[0]}
    assert next_token_loss(masked, labelled).requires_grad


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alpha": -1.0}, r"alpha must be finite and >= 0, got -1\.0"),
        ({"alpha": float("nan")}, "alpha must be finite"),
        ({"gradient_norm": "max"}, "gradient_norm must be 'l1' or 'l2', got 'max'"),
        ({"samples": []}, "samples is empty"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "not both"),
    ],
)
def test_settings_are_checked(options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GBLMPruner(**options)


def test_bad_losses_and_gradients_are_named() -> None:
    def prune(loss: Any) -> None:
        GBLMPruner(loss=loss)(seeded(Chain), tokens())

    with pytest.raises(ValueError, match="must be a scalar tensor, got shape"):
        prune(lambda model, batch: model(batch))
    with pytest.raises(ValueError, match="must be a scalar tensor, got float"):
        prune(lambda model, batch: 1.0)
    with pytest.raises(ValueError, match="the loss of sample 0 is nan"):
        prune(lambda model, batch: model(batch).sum() * float("nan"))
    with pytest.raises(ValueError, match=r"does not depend on the weights of blocks\.0\.up, "):
        prune(lambda model, batch: model.lm_head.weight.sum())
    # The root of zero has a value, and an infinite slope.
    with pytest.raises(ValueError, match=r"the gradient of blocks\.2\.down is not finite"):
        prune(lambda model, batch: (model(batch).sum() * 0).sqrt())
