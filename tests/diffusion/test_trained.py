from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paperworks.data.errors import CorruptDataError
from paperworks.diffusion import trained
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.schedules import DiscreteVP
from paperworks.diffusion.trained import TrainedModel

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def digits() -> TrainedModel:
    return TrainedModel.load("digits")


def noise(model: TrainedModel, count: int = 3) -> torch.Tensor:
    return model.noise(count, torch.Generator().manual_seed(0))


def test_the_shipped_model(digits: TrainedModel) -> None:
    assert digits.shape == (1, 8, 8)
    assert digits.prediction == "epsilon"
    assert digits.training["data"] == "digits"
    assert np.array_equal(digits.schedule.betas, DiscreteVP.linear().betas)
    assert not digits.network.training
    assert {p.dtype for p in digits.network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in digits.network.parameters())


def test_it_predicts_the_noise(digits: TrainedModel) -> None:
    """Far better than the best guess that does not look at the image, whose error is 1."""
    from paperworks.diffusion.images import load_images

    images = load_images("digits", part="test").images
    eps = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for t, most in ((50, 0.5), (200, 0.2), (600, 0.06), (999, 0.02)):
        alpha, sigma = float(digits.schedule.alpha(t)), float(digits.schedule.sigma(t))
        error = (digits(alpha * images + sigma * eps, t) - eps).square().mean()
        assert float(error) < most, t


def test_a_call_is_the_network(digits: TrainedModel) -> None:
    x = noise(digits)
    with torch.no_grad():
        expected = digits.network(x, torch.tensor([7, 7, 7])).sample
    for t in (7, 7.0, torch.tensor(7), torch.tensor([7.0, 7.0, 7.0]), torch.tensor([7])):
        assert torch.equal(digits(x, t), expected)
    assert digits(x.double(), 7).dtype == torch.float64
    torch.testing.assert_close(digits(x.double(), 7), expected.double(), rtol=0, atol=1e-6)
    each = digits(x, torch.tensor([1.0, 7.0, 300.0]))
    torch.testing.assert_close(each[1], expected[1])
    assert not torch.allclose(each[2], expected[2], atol=1e-3)


def test_times_between_the_steps_are_not_cut_down(digits: TrainedModel) -> None:
    """As diffusers would do with a number."""
    x = noise(digits)
    low, middle, high = (digits(x, t) for t in (7.0, 7.5, 8.0))
    assert not torch.equal(middle, low)
    torch.testing.assert_close(middle, (low + high) / 2, rtol=0, atol=2e-3)


def test_gradients_flow_to_the_samples(digits: TrainedModel) -> None:
    x = noise(digits).requires_grad_()
    digits(x, 300.0).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().min()) > 0


def test_samples_are_those_of_the_plain_function(digits: TrainedModel) -> None:
    generator = torch.Generator().manual_seed(3)
    done: list[tuple[int, int]] = []
    found = digits.sample(
        5, generator, solver="rho-heun", steps=4, batch=2, progress=lambda *x: done.append(x)
    )
    assert done == [(2, 5), (4, 5), (5, 5)]
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    x *= float(digits.schedule.sigma(999))
    expected = sample(digits, digits.schedule, x, solver="rho-heun", steps=4).x.clamp(-1, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)
    assert float(found.abs().max()) <= 1


def test_save_and_load(digits: TrainedModel, tmp_path: Path) -> None:
    digits.save(tmp_path)
    again = TrainedModel.load(tmp_path)
    x = noise(digits)
    assert torch.equal(again(x, 5.0), digits(x, 5.0))
    assert again.training == digits.training
    assert np.array_equal(again.schedule.betas, digits.schedule.betas)
    assert not list(tmp_path.rglob("*.part"))


def test_other_betas_and_predictions_are_kept(digits: TrainedModel, tmp_path: Path) -> None:
    schedule = DiscreteVP(np.linspace(0.01, 0.1, 40) ** 2)
    TrainedModel(digits.network, schedule, "v_prediction").save(tmp_path, dtype=torch.float16)
    again = TrainedModel.load(tmp_path)
    assert np.array_equal(again.schedule.betas, schedule.betas)
    assert again.prediction == "v_prediction"
    assert again.training == {}
    x = noise(digits)
    torch.testing.assert_close(again(x, 5.0), digits(x, 5.0), rtol=0, atol=0.01)


def test_a_pipeline_of_diffusers_reads_it(digits: TrainedModel, tmp_path: Path) -> None:
    digits.save(tmp_path)
    pipe: Any = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    x = noise(digits)
    with torch.no_grad():
        assert torch.equal(pipe.unet(x, 5).sample, digits(x, 5.0))
    betas = torch.from_numpy(digits.schedule.betas).float()
    torch.testing.assert_close(pipe.scheduler.betas, betas)


def test_it_reads_a_pipeline_of_diffusers(tmp_path: Path) -> None:
    unet = diffusers.UNet2DModel(
        sample_size=(8, 16), in_channels=3, out_channels=3, block_out_channels=(8, 16),
        norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=50)
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    state = torch.get_rng_state()
    model = TrainedModel.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.shape == (3, 8, 16)
    np.testing.assert_allclose(model.schedule.betas, scheduler.betas.double(), rtol=1e-5)
    x = noise(model)
    assert x.shape == (3, 3, 8, 16)
    with torch.no_grad():
        assert torch.equal(model(x, 5.0), unet.eval()(x, 5).sample)


def _cut(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def _other_network(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "block_out_channels": [16, 48]}))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_cut, "safetensors does not fit"),
        (_other_network, "does not fit its config.json"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "config.json cannot be"),
        (lambda folder: (folder / "unet" / "config.json").write_text("[]"), "hold a JSON object"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "scheduler_config.json cannot be"),
        (lambda folder: shutil.rmtree(folder / "unet"), "holds no model: unet/diffusion_pytorch"),
    ],
)
def test_damaged_folders(digits: TrainedModel, tmp_path: Path, spoil: Any, match: str) -> None:
    digits.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=match):
        TrainedModel.load(tmp_path)


def test_what_is_not_there_is_told_how_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="run `paperworks diffusion train --data mnist`"):
        TrainedModel.load("mnist")
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(ValueError, match="has not come to a model yet"):
        TrainedModel.load(tmp_path)


def test_shipped_weights_are_checked(
    digits: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits.save(tmp_path / "digits")
    monkeypatch.setattr(trained, "_SHIPPED", tmp_path)
    with pytest.raises(CorruptDataError, match="ships with paperworks: install it again"):
        TrainedModel.load("digits")


@pytest.mark.parametrize("given", [{"count": 0}, {"count": 2, "batch": 0}])
def test_bad_requests(digits: TrainedModel, given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        digits.sample(generator=torch.Generator(), **given)


def test_a_folder_of_a_model_of_other_noise(digits: TrainedModel, tmp_path: Path) -> None:
    digits.save(tmp_path)
    diffusers.FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(ValueError, match=r"configuration has shift=1.0.* not the noise of betas"):
        TrainedModel.load(tmp_path)
