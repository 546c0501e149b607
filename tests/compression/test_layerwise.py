"""The walk: what layers are shown, in which order, and that it goes on where it stopped."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from paperworks.compression import (
    GPTQ,
    LLMFP4,
    NUPES,
    GlobalMagnitudePruner,
    MagnitudePruner,
    RoundToNearest,
    SparseGPT,
    Wanda,
)
from paperworks.compression.calls import as_call
from paperworks.compression.chain import plan
from paperworks.compression.layers import compressible, input_rows
from paperworks.compression.layerwise import LayerwiseMethod
from paperworks.compression.packed_layers import QuantizedLinear
from paperworks.compression.running import evaluation


class Keep:
    """Keeps all rows, as the oracle of what a layer should have seen."""

    def __init__(self) -> None:
        self.rows: list[torch.Tensor] = []

    def update(self, rows: torch.Tensor) -> None:
        self.rows.append(rows.clone())


class Halve(LayerwiseMethod):
    """Halves every weight, so that what a layer sees tells what was changed before it."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.seen: dict[str, torch.Tensor] = {}

    def observer(self, name: str, layer: nn.Module) -> Keep:
        return Keep()

    def compress_layer(self, name: str, layer: nn.Module, seen: Keep) -> nn.Module:
        self.seen[name] = torch.cat(seen.rows, 1)
        new = copy.deepcopy(layer)
        new.weight.mul_(0.5)
        return new


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )


class Residual(nn.Module):
    """No chain: the second layer is skipped around, the head called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.parts[0](x)
        return self.head(x + self.parts[1](x.relu())) + self.head(x)


class InPlace(nn.Module):
    """Changes its input, as a residual connection may and an activation often does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nn.functional.silu(x, inplace=True)
        x += self.inner(x)
        return x


class Wrapped(nn.Module):
    """A language model within a module that has no configuration of its own."""

    def __init__(self, inner: nn.Module, **settings: Any):
        super().__init__()
        self.inner, self.settings = inner, settings

    def forward(self, **given: Any) -> torch.Tensor:
        return self.inner(**given, **self.settings).logits


def t5() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=29, **sizes))


def batches_for(model: nn.Module) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        tokens = torch.randint(29, (2, 2, 2, 7), generator=generator)
        return [{"input_ids": given, "decoder_input_ids": wanted} for given, wanted in tokens]
    if isinstance(model, Residual):
        return [{"x": torch.randn(3, 4, generator=generator)} for _ in range(3)]
    if isinstance(model[0] if isinstance(model, nn.Sequential) else model, InPlace):
        return [torch.randn(3, 4, generator=generator) for _ in range(3)]
    if isinstance(model, nn.Sequential):
        return [torch.randn(2, 3, 6, 6, generator=generator) for _ in range(3)]
    tokens = torch.randint(29, (4, 2, 12), generator=generator)
    masks = torch.ones(4, 2, 12, dtype=torch.long)
    masks[:, 1, :3] = 0  # padding on the left: block arguments differ between batches' rows
    return [{"input_ids": t, "attention_mask": m} for t, m in zip(tokens, masks, strict=True)]


def call(model: nn.Module, batch: Any) -> Any:
    args, named = as_call(batch)
    output = model(*args, **named)
    return getattr(output, "logits", output)


def expected_inputs(model: nn.Module, changed: list[str], name: str, batches: list[Any]) -> Any:
    """What ``name`` is given when the weights of ``changed`` are halved, by running it all."""
    model = copy.deepcopy(model).eval()
    rows = []
    for each in changed:
        model.get_submodule(each).weight.data *= 0.5
    layer = model.get_submodule(name)
    layer.register_forward_pre_hook(lambda _, args: rows.append(input_rows(layer, args[0]).clone()))
    with torch.no_grad():
        for batch in copy.deepcopy(batches):
            call(model, batch)
    return torch.cat(rows, 1)


def check_inputs(
    method: Halve, stages: list[Any], original: nn.Module, batches: list[Any], **close: float
) -> list[str]:
    """Each layer saw its inputs after all before it changed; the layers in their order."""
    changed: list[str] = []
    for stage in stages:
        for name in stage.layers:
            expected = expected_inputs(original, changed, name, batches)
            torch.testing.assert_close(method.seen[name], expected, **close)
        changed += stage.layers
    return changed


@pytest.fixture(params=["llama", "wrapped", "with a cache", "t5", "conv", "residual", "in place"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    if request.param == "llama":
        return request.getfixturevalue("llama")
    if request.param in ("wrapped", "with a cache"):
        settings = {} if request.param == "wrapped" else {"use_cache": True}
        return Wrapped(request.getfixturevalue("build_llama")(tied=False, layers=2), **settings)
    if request.param == "t5":
        return t5()
    if request.param == "in place":
        return nn.Sequential(*[InPlace() for _ in range(3)])
    return {"conv": conv_net, "residual": Residual}[request.param]()


def test_caches_are_off_in_every_part_and_put_back() -> None:
    model = t5()
    model.decoder.config.use_cache, model.encoder.config.use_cache = True, False
    configs = (model.config, model.encoder.config, model.decoder.config)
    before = [each.use_cache for each in configs]
    with evaluation(model):
        assert [each.use_cache for each in configs] == [False] * 3
    assert [each.use_cache for each in configs] == before


def test_every_layer_sees_its_inputs_after_all_before_it_changed(model: nn.Module) -> None:
    original, batches = copy.deepcopy(model), batches_for(model)
    given = copy.deepcopy(batches)
    names = list(compressible(model))
    stages = plan(model.eval(), names, batches)
    model.train()
    method = Halve()
    assert method(model, batches) is model
    changed = check_inputs(method, stages, original, batches, rtol=1e-4, atol=1e-5)
    assert sorted(changed) == sorted(names)
    for name in names:
        weight = original.get_submodule(name).weight * 0.5
        assert torch.equal(model.get_submodule(name).weight, weight)
    assert all(module.training for module in model.modules())
    for batch, before in zip(batches, given, strict=True):
        torch.testing.assert_close(batch, before, rtol=0, atol=0)


def test_chains_are_found() -> None:
    def stages(model: nn.Module, with_data: bool = True) -> list[tuple[str, list[str]]]:
        batches = batches_for(model) if with_data else []
        found = plan(model.eval(), list(compressible(model)), batches)
        return [(stage.name, stage.layers) for stage in found if stage.layers]

    assert stages(conv_net()) == [("0", ["0"]), ("2", ["2"]), ("5", ["5"])]
    assert stages(Residual()) == [("the whole model", ["parts.0", "parts.1", "head"])]
    inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    around = nn.ModuleDict({"stem": nn.Linear(6, 6), "body": inner, "head": nn.Linear(6, 2)})
    around.forward = lambda x: around["head"](around["body"](around["stem"](x)))  # type: ignore[method-assign]
    found = plan(around, list(compressible(around)), [torch.randn(2, 6)])
    assert [(stage.name, stage.layers) for stage in found if stage.layers] == [
        ("before the blocks", ["stem"]),
        ("body.0", ["body.0"]),
        ("body.2", ["body.2"]),
        ("after the blocks", ["head"]),
    ]
    assert stages(conv_net(), with_data=False) == [("0", ["0"]), ("2", ["2"]), ("5", ["5"])]


def test_a_language_model_is_a_chain_of_its_blocks(llama: nn.Module) -> None:
    found = plan(llama, list(compressible(llama)), batches_for(llama))
    blocks = [stage.name for stage in found if stage.layers]
    assert blocks == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert all(len(stage.layers) == 7 for stage in found if stage.layers)
    assert llama.config.use_cache  # as it was


class Memory:
    """A checkpoint in memory, that can break off after some blocks."""

    def __init__(self, stop_after: int | None = None):
        self.kept: dict[str, dict[str, nn.Module]] = {}
        self.stop_after = stop_after

    def holds(self, block: str) -> bool:
        return block in self.kept

    def restore(self, block: str, layers: dict[str, nn.Module]) -> dict[str, nn.Module]:
        assert set(layers) == set(self.kept[block])
        return self.kept[block]

    def save(self, block: str, layers: dict[str, nn.Module]) -> None:
        self.kept[block] = {name: copy.deepcopy(layer) for name, layer in layers.items()}
        if self.stop_after is not None and len(self.kept) > self.stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_an_interrupted_walk_goes_on_at_the_last_finished_block(
    llama: nn.Module, stop_after: int
) -> None:
    batches = batches_for(llama)
    once, whole = copy.deepcopy(llama), Halve()
    whole(once, batches)
    memory = Memory(stop_after)
    with pytest.raises(KeyboardInterrupt):
        Halve()(copy.deepcopy(llama), batches, checkpoint=memory)
    memory.stop_after = None
    rest = Halve()
    again = rest(copy.deepcopy(llama), batches, checkpoint=memory)
    # The first stage holds no layers: it counts as a block of the checkpoint all the same.
    assert len(rest.seen) == 21 - 7 * stop_after
    for name, rows in rest.seen.items():
        assert torch.equal(rows, whole.seen[name])
    assert torch.equal(call(again, batches[0]), call(once, batches[0]))


def test_a_finished_walk_costs_no_run_of_the_data(llama: nn.Module) -> None:
    class Prepared(Halve):
        def prepare(self, *_: Any) -> None:
            self.seen["prepared"] = torch.ones(())

    batches, memory = batches_for(llama), Memory()
    once = Prepared()(copy.deepcopy(llama), batches, checkpoint=memory)
    again, model, runs = Prepared(), copy.deepcopy(llama), []
    model.model.layers[1].register_forward_pre_hook(lambda *_: runs.append(1))
    again(model, batches, checkpoint=memory)
    assert again.seen == {}
    assert len(runs) == 1  # to find the blocks
    assert torch.equal(call(model, batches[0]), call(once, batches[0]))


def test_progress_names_every_block() -> None:
    told: list[tuple[int, int, str]] = []
    Halve()(conv_net(), batches_for(conv_net()), progress=lambda *each: told.append(each))
    assert [done for done, _, _ in told] == list(range(len(told)))
    assert told[-1] == (len(told) - 1, len(told) - 1, "")
    assert {"0", "2", "5"} <= {name for _, _, name in told}


class Blind(Halve):
    calibration = "unused"

    def observer(self, name: str, layer: nn.Module) -> None:
        return None

    def compress_layer(self, name: str, layer: nn.Module, seen: None) -> nn.Module:
        layer.weight.mul_(0.5)
        return layer


def test_a_method_without_data_needs_none(llama: nn.Module) -> None:
    before = {name: layer.weight.clone() for name, layer in compressible(llama).items()}
    Blind()(llama)
    for name, layer in compressible(llama).items():
        assert torch.equal(layer.weight, before[name] * 0.5)


def test_bad_calibration_is_named() -> None:
    model = conv_net()
    with pytest.raises(ValueError, match="needs calibration data"):
        Halve()(model)
    poisoned = batches_for(model)
    poisoned[1][0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="the inputs of 0 are not finite"):
        Halve()(model, poisoned)
    unused = nn.ModuleDict({"used": nn.Linear(4, 4), "idle": nn.Linear(4, 4)})
    unused.forward = lambda x: unused["used"](x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="never reach idle: leave them out with skip="):
        Halve()(unused, [torch.randn(2, 4)])
    Halve(skip=["idle"])(unused, [torch.randn(2, 4)])


class Standardized(nn.Conv2d):
    """Multiplies with something else than its weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def test_a_layer_that_is_not_understood_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Standardized(4, 4, 3))
    with pytest.raises(ValueError, match=r"1: a Standardized is not understood.*leave it out"):
        Halve()(model, [torch.randn(1, 3, 8, 8)])
    Halve(skip=["1"])(model, [torch.randn(1, 3, 8, 8)])


class Masked(nn.Module):
    """A block with an argument beside the hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return x + self.inner(x if mask is None else x * mask)


class Alternating(nn.Module):
    """Gives every second block another mask, as models with windows of attention do."""

    def __init__(self, by_name: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Masked() for _ in range(4)])
        self.by_name = by_name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, block in enumerate(self.blocks):
            mask = torch.full((4,), 1.0 + number % 2)
            x = block(mask=mask, x=x) if self.by_name else block(x, mask=mask)
        return x


@pytest.mark.parametrize("by_name", [False, True])
def test_each_block_gets_its_own_arguments(by_name: bool) -> None:
    model, batches = Alternating(by_name), [torch.randn(3, 4), torch.randn(2, 4)]
    original, method = copy.deepcopy(model), Halve()
    names = list(compressible(model))
    assert len(plan(model, names, batches)) > 4  # a chain
    method(model, batches)
    for number, name in enumerate(names):
        expected = expected_inputs(original, names[:number], name, batches)
        torch.testing.assert_close(method.seen[name], expected)


class Padded(Alternating):
    """Masks padding in every second block: where there is none, its masks are equal or absent."""

    def __init__(self, absent: bool) -> None:
        super().__init__()
        self.absent = absent

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        absent = self.absent and bool(keep.all())
        for number, block in enumerate(self.blocks):
            mask = keep if number % 2 else torch.ones_like(keep)
            x = block(x, mask=None if absent else mask)
        return x


@pytest.mark.parametrize("first", [4, 24])
def test_arguments_that_are_alike_on_one_batch_are_told_apart(first: int) -> None:
    """A window of attention does not show in a batch shorter than it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma2Config(
        vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=2, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=8,
    )  # fmt: skip
    windowed = transformers.Gemma2ForCausalLM(config)
    texts = [torch.randint(29, (1, length)) for length in (first, 28 - first)]
    padded = [(torch.randn(3, 4), torch.ones(4)), (torch.randn(3, 4), torch.tensor([1.0, 1, 0, 0]))]
    for model, batches in (
        (windowed, texts),
        (Padded(absent=False), padded),
        (Padded(absent=True), padded),
    ):
        names, method = list(compressible(model)), Halve()
        original = copy.deepcopy(model)
        stages = plan(model.eval(), names, batches)
        assert len(stages) > 2  # a chain
        method(model, batches)
        check_inputs(method, stages, original, batches, rtol=1e-4, atol=1e-5)


class Stream(nn.Module):
    """A block that hands on two states."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.side = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, beside: torch.Tensor | None, keep: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        both = x if beside is None else x + beside
        made = beside if keep and beside is not None else self.side(both)
        return x + self.inner(x + made), made


@pytest.mark.parametrize("keep", [False, True], ids=["new states", "the state of the first block"])
@pytest.mark.parametrize("through", [False, True])
def test_what_one_block_makes_for_another_is_made_anew(keep: bool, through: bool) -> None:
    class Streams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Stream() for _ in range(4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = beside = None
            for block in self.blocks:
                x, beside = block(x, beside if through else first, keep=keep)
                first = beside if first is None else first
            return x + beside

    model, batches = Streams(), [torch.randn(3, 4), torch.randn(2, 4)]
    used = ["blocks.[123].side"] if keep else []
    names, method = list(compressible(model, skip=used)), Halve(skip=used)
    original = copy.deepcopy(model)
    stages = plan(model.eval(), names, batches)
    assert len(stages) > 4  # a chain
    method(model, batches)
    check_inputs(method, stages, original, batches)


def test_a_connection_around_blocks_is_made_anew() -> None:
    class Around(Alternating):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            states = [x]
            for number, block in enumerate(self.blocks):
                states.append(block(states[-1], states[number // 2]))
            return states[-1]

    model, batches = Around(), [torch.randn(3, 4), torch.randn(2, 4)]
    original, method = copy.deepcopy(model), Halve()
    names = list(compressible(model))
    assert len(plan(model.eval(), names, batches)) > 4  # a chain
    method(model, batches)
    for number, name in enumerate(names):
        expected = expected_inputs(original, names[:number], name, batches)
        torch.testing.assert_close(method.seen[name], expected)


def test_one_batch_of_each_shape_is_looked_at_whole() -> None:
    model, runs = conv_net().eval(), []
    model.register_forward_pre_hook(lambda _, args: runs.append(args[0].shape[0]))
    plan(model, list(compressible(model)), [torch.randn(n, 3, 6, 6) for n in (2, 1, 2, 2, 1)])
    assert runs == [2, 1]


def test_what_was_replaced_is_freed_with_its_block() -> None:
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)])
    originals = [weakref.ref(layer) for layer in model]
    alive = []

    class Watch(Halve):
        def compress_layer(self, name: str, layer: nn.Module, seen: Keep) -> nn.Module:
            alive.append([original() is not None for original in originals])
            return super().compress_layer(name, layer, seen)

    Watch()(model, [torch.randn(2, 4)])
    assert alive == [[True, True, True], [False, True, True], [False, False, True]]


def test_empty_batches_and_packed_layers_are_refused_in_words() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    for method in (Wanda(0.5), LLMFP4(4, 4), GPTQ(4)):
        with pytest.raises(ValueError, match="the inputs of 0 are empty: a calibration batch has"):
            method(model, [torch.randn(0, 4)])
    RoundToNearest(4)(model)
    for again in (Wanda(0.5), RoundToNearest(4), GlobalMagnitudePruner(0.5)):
        with pytest.raises(ValueError, match=r"are packed, .*: prune first, then quantize once"):
            again(model, [torch.randn(2, 4)])


@pytest.mark.parametrize("kind", [Wanda, SparseGPT, GlobalMagnitudePruner])
def test_a_sparsity_that_is_no_number_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got '0.5'"):
        kind("0.5")


def test_a_group_that_does_not_fit_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4))
    for method in (RoundToNearest(4, group=128), GPTQ(4, group=128), NUPES(4, group=128)):
        with pytest.raises(ValueError, match=r"group=128 does not divide the 64 columns of 2"):
            method(model, [torch.randn(2, 128)])
    assert type(model[0]) is nn.Linear
    with pytest.raises(ValueError, match=r"group=32 .*of 0 .*: 64 would do"):
        RoundToNearest(4, group=32)(model)


class Gained(nn.Linear):
    """Has a second argument before its product."""

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        return nn.functional.linear(x * gain, self.weight, self.bias)


class ByName(nn.Module):
    """Calls its layers by the names of their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.inner = nn.Linear(4 * 36, 64)
        self.odd = Gained(64, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(input=self.stem(input=x).flatten(1))
        return self.head(input=self.odd(gain=0.5, x=x))


def test_layers_may_be_called_by_name() -> None:
    model, x = ByName(), torch.randn(4, 3, 8, 8)
    before, method = model(x), Halve()
    method(copy.deepcopy(model), [x])
    hidden = model.inner(model.stem(x).flatten(1))
    torch.testing.assert_close(method.seen["inner"][0], model.stem(x).flatten(1))
    torch.testing.assert_close(method.seen["odd"][0], 0.5 * hidden)
    # Packed, too, with and without rounded inputs.
    for inputs in (None, 8):
        small = RoundToNearest(8, inputs)(copy.deepcopy(model), [x])
        assert (small(x) - before).norm() < 0.05 * before.norm()


class Idle(nn.Module):
    """A block with a layer that only some batches reach, if any does."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.idle(x) if x.sum() > 100 else self.used(x)


def test_what_no_batch_reaches_is_named_before_anything_is_changed() -> None:
    small, large = torch.randn(2, 4), torch.full((2, 4), 1000.0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), Idle())
    before = copy.deepcopy(model.state_dict())
    for method in (GPTQ(4), SparseGPT(0.5)):
        with pytest.raises(ValueError, match=r"never reach 2.idle: leave them out with skip="):
            method(model, [small, small])
        assert type(model[0]) is nn.Linear
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, before[name])
    # One batch that does is enough, whatever the shape of the others, and wherever it is.
    routed = nn.Sequential(nn.Identity(), Idle())
    assert type(GPTQ(4)(routed, [small, small, large])[1].idle) is QuantizedLinear
    # A method that looks at no inputs minds nothing.
    RoundToNearest(4)(model, [small])


def test_layers_that_are_packed_already_are_named() -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), Gained(4, 4), nn.Conv2d(2, 2, 1), nn.Linear(4, 4))

    model = RoundToNearest(4, skip=["3"])(build())
    again = (Wanda(0.5), RoundToNearest(8), GlobalMagnitudePruner(0.5), MagnitudePruner(0.5))
    for method in again:
        with pytest.raises(ValueError, match=r"are packed, as 0, 1, 2, .*After an error.*skip="):
            method(model, [torch.randn(2, 4)])
    with pytest.raises(ValueError, match=r"of Sequential are packed, as 2, "):
        GlobalMagnitudePruner(0.5, pattern="filter")(model)
    with pytest.raises(ValueError, match=r"of QuantizedForward are packed, as the model, "):
        MagnitudePruner(0.5)(model[1])
    # Told to leave them out, a second call does the rest.
    RoundToNearest(8, skip=["0", "1", "2"])(model)
    assert [each.weight.bits for each in model] == [4, 4, 4, 8]


def test_a_batch_that_forward_does_not_take_is_explained() -> None:
    pair = [torch.randn(2, 4), torch.tensor([0, 1])]  # as a DataLoader gives it
    words = r"takes no batch of this form \(too many .*\): .*without the labels"
    for batch in (pair, tuple(pair), {"y": pair[0]}):
        with pytest.raises(TypeError, match=words if "y" not in batch else "takes no batch of"):
            Wanda(0.5)(nn.Sequential(nn.Linear(4, 4)), [batch])

    class Broken(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise TypeError("of its own")

    with pytest.raises(TypeError, match=r"^of its own$"):
        Wanda(0.5)(nn.Sequential(Broken(4, 4)), [pair[0]])
