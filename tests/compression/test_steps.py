from __future__ import annotations

from typing import Any

import pytest

from paperworks.compression.steps import Kind, Step


@pytest.mark.parametrize(
    ("kind", "text", "settings"),
    [
        ("prune", "wanda:0.6", {"sparsity": 0.6}),
        ("prune", "magnitude:2:4", {"pattern": "2:4"}),
        ("prune", "global-magnitude:0.25", {"sparsity": 0.25}),
        ("prune", "global-magnitude:1:4", {"sparsity": 0.75, "pattern": "1:4"}),
        ("quantize", "llm-fp4:w5", {"weight_bits": {"*": 5}, "activation_bits": {"*": None}}),
        ("quantize", "llm-fp4:w4a8", {"weight_bits": {"*": 4}, "activation_bits": {"*": 8}}),
        ("quantize", "rtn:w3a16g128", {"weight_bits": 3, "inputs": None, "group": 128}),
        ("quantize", "smoothquant:w8a8", {"weight_bits": 8}),
    ],
)
def test_settings_reach_the_method(kind: Kind, text: str, settings: dict[str, Any]) -> None:
    method = Step(kind, text).method()
    assert {name: getattr(method, name) for name in settings} == settings


def test_power_is_nupes_without_data() -> None:
    assert Step("quantize", "power:w4").data_free
    assert not Step("quantize", "nupes:w4").data_free
    assert type(Step("quantize", "power:w4").method()).__name__ == "NUPES"


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("prune", "rtn:w4", "no method 'rtn' to prune with"),
        ("quantize", "wanda:0.5", "no method 'wanda' to quantize with"),
        (
            "prune",
            "wanda",
            r"--prune wanda: expected a sparsity as 0.5 or a pattern as 2:4, got ''",
        ),
        ("prune", "wanda:1.5", r"--prune wanda:1.5: .*1.5"),
        ("prune", "wanda:5:4", r"--prune wanda:5:4: .*5:4"),
        ("quantize", "rtn:w", "expected bits as w4, w4a8 or w4g64, got 'w'"),
        ("quantize", "gptq:w4a4", "gptq leaves inputs as they are: give w4"),
        ("quantize", "smoothquant:w4", "smoothquant rounds inputs too: give w4a8"),
        ("quantize", "llm-fp4:w4g128", "llm-fp4:w4g128: llm-fp4 has no groups: give w4$"),
        ("quantize", "smoothquant:w4a8g64", "smoothquant has no groups: give w4a8$"),
        ("quantize", "minmax-fp:w4a16g64", "minmax-fp has no groups: give w4a16$"),
        ("quantize", "rtn:w9", "2 to 8 bits, got 9"),
    ],
)
def test_what_cannot_be_is_named(kind: Kind, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Step(kind, text).method()


@pytest.mark.parametrize("name", ["rtn", "gptq", "adaround", "nupes", "power"])
def test_groups_reach_the_methods_that_the_guide_names(name: str) -> None:
    assert Step("quantize", f"{name}:w4g64").method().group == 64
