from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.integrators import SOLVERS
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.timesteps import spaced

diffusers = pytest.importorskip("diffusers")
from paperworks.diffusion import scheduler as module  # noqa: E402
from paperworks.diffusion.deis import DEISScheduler  # noqa: E402

MIXTURE = GaussianMixture.ring(5)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(seed)).double()


def run(scheduler: Any, model: Any, x: Tensor) -> Tensor:
    """The loop of a pipeline."""
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(model(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


@pytest.mark.parametrize("solver", SOLVERS)
def test_its_own_loop_is_the_function(solver: str) -> None:
    scheduler = DEISScheduler(solver=solver, spacing="logrho")
    scheduler.set_timesteps(6)
    model = MIXTURE.model(scheduler.schedule)
    expected = sample(model, scheduler.schedule, noise(), solver=solver, steps=6, spacing="logrho")
    assert len(scheduler.timesteps) == 6 * scheduler.order == expected.evaluations
    # Runge-Kutta's times between the steps are float32 for the network.
    atol = 1e-12 if scheduler.timesteps.dtype == torch.int64 else 1e-4
    for _ in range(2):  # and again, without anything left of the first run
        scheduler.set_timesteps(6)
        torch.testing.assert_close(run(scheduler, model, noise()), expected.x, rtol=0, atol=atol)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_order_0_is_diffusers_ddim(prediction: Any, spacing: str) -> None:
    config = {"prediction_type": prediction, "timestep_spacing": spacing, "clip_sample": False}
    theirs = diffusers.DDIMScheduler(**config)
    ours = DEISScheduler.from_config(theirs.config, solver="ddim")
    # The products of the betas in float64, as ours are; diffusers' are in float32.
    theirs.alphas_cumprod = torch.cumprod(
        1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0
    )
    theirs.set_timesteps(10)
    model = MIXTURE.model(ours.schedule, prediction)
    x, steps = noise(), theirs.timesteps.tolist()
    for t in theirs.timesteps[:-1]:  # DDIM's last step goes to alpha = 1, which has no time
        x = theirs.step(model(x, t), t, x).prev_sample
    found = sample(model, ours.schedule, noise(), solver="ddim", times=steps, prediction=prediction)
    torch.testing.assert_close(found.x, x, rtol=0, atol=1e-10)


CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("DDPMScheduler", {}),
    ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    ("DDPMScheduler", {"trained_betas": np.linspace(0.01, 0.3, 50).tolist(),
                       "num_train_timesteps": 50}),
    ("DDIMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085,
                       "beta_end": 0.012, "steps_offset": 1, "prediction_type": "v_prediction",
                       "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True, "beta_schedule": "squaredcos_cap_v2"}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3, "use_karras_sigmas": True}),
    ("PNDMScheduler", {"skip_prk_steps": True, "beta_schedule": "scaled_linear"}),
    ("EulerDiscreteScheduler", {"prediction_type": "v_prediction"}),
    ("DEISMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    # Those whose own defaults are not DDPM's:
    ("LCMScheduler", {}),
    ("TCDScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("KDPM2DiscreteScheduler", {}),
    ("KDPM2AncestralDiscreteScheduler", {}),
    ("UnCLIPScheduler", {}),
    ("LCMScheduler", {"beta_end": 0.02}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # of diffusers and NumPy 2
@pytest.mark.parametrize(("kind", "config"), CONFIGS, ids=[kind for kind, _ in CONFIGS])
def test_from_any_config(kind: str, config: dict[str, Any], caplog: Any) -> None:
    theirs = getattr(diffusers, kind)(**config)
    ours = DEISScheduler.from_config(theirs.config)
    assert not caplog.records
    expected, found = theirs.alphas_cumprod.double(), ours.alphas_cumprod.double()
    found = found.clamp(min=1e-7)  # where diffusers' products vanish in float32, or are 0
    torch.testing.assert_close(found, expected.clamp(min=1e-7), rtol=1e-3, atol=1e-6)
    assert ours.config["prediction_type"] == theirs.config.prediction_type
    assert len(ours) == theirs.config.num_train_timesteps
    ours.set_timesteps(10)
    assert ours.timesteps.tolist() == spaced(ours.schedule, 10)[:-1].tolist()
    assert torch.isfinite(run(ours, lambda x, t: 0.5 * x, noise())).all()
    # What ours does not know is kept for the way back.
    again = type(theirs).from_config(ours.config)
    for key, value in config.items():
        assert again.config[key] == value


def test_trained_betas_may_be_an_array() -> None:
    betas = np.linspace(0.01, 0.3, 50)
    ours = DEISScheduler.from_config({"trained_betas": betas, "num_train_timesteps": 50})
    np.testing.assert_array_equal(ours.schedule.betas, betas)


def test_saved_and_loaded(tmp_path: Path) -> None:
    DEISScheduler(solver="rhoab2", beta_end=0.03).save_pretrained(tmp_path)
    again = DEISScheduler.from_pretrained(tmp_path)
    assert again.solver.name == "rhoab2"
    assert again.schedule.betas[-1] == 0.03


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_without_signal_alpha_still_falls(betas: str) -> None:
    ours = DEISScheduler(beta_schedule=betas, rescale_betas_zero_snr=True)
    alpha = ours.schedule.alpha(np.arange(1000))
    assert 0 < alpha[-1] <= 2.0**-12 * (1 + 1e-9)
    assert (np.diff(alpha) < 0).all()


@pytest.mark.parametrize("solver", ["tab2", "rho-heun"])
@pytest.mark.parametrize("told", [True, False])
def test_a_run_may_begin_in_the_middle(solver: str, told: bool) -> None:
    """As image-to-image pipelines do; the solver starts anew there."""
    scheduler = DEISScheduler(solver=solver)
    scheduler.set_timesteps(10)
    model, stages = MIXTURE.model(scheduler.schedule), scheduler.order
    if told:
        scheduler.set_begin_index(4 * stages)
    x = noise()
    for t in scheduler.timesteps[4 * stages :]:
        x = scheduler.step(model(x, t), t, x).prev_sample
    times = spaced(scheduler.schedule, 10)[4:]
    expected = sample(model, scheduler.schedule, noise(), solver=solver, times=times).x
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)
    assert scheduler.step_index == 10 * stages


def test_even_where_fewer_steps_are_left_than_its_order_has() -> None:
    scheduler = DEISScheduler()
    scheduler.set_timesteps(4)
    x = noise()
    x = scheduler.step(x, scheduler.timesteps[-1], x).prev_sample
    assert scheduler.step_index == 4
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("timesteps", [torch.tensor([0, 500, 999]), torch.tensor(500)], ids=str)
def test_add_noise_is_ddpms(timesteps: Tensor) -> None:
    ours, theirs = DEISScheduler(), diffusers.DDPMScheduler()
    images = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        ours.add_noise(images, images.flip(0), timesteps),
        theirs.add_noise(images, images.flip(0), timesteps),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_half_precision_comes_back_as_it_was() -> None:
    scheduler = DEISScheduler()
    scheduler.set_timesteps(5)
    x = noise().half()
    found = scheduler.step(x, scheduler.timesteps[0], x, return_dict=False)
    assert isinstance(found, tuple)
    assert found[0].dtype == torch.float16


@pytest.fixture(scope="module")
def unet() -> Any:
    with torch.random.fork_rng(devices=[]):  # diffusers' networks take no generator
        torch.manual_seed(0)
        return diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4, layers_per_block=1,
        ).eval()  # fmt: skip


@pytest.mark.parametrize("solver", ["tab3", "rho-kutta3"])
@pytest.mark.parametrize("pipeline", ["DDPMPipeline", "DDIMPipeline"])
def test_a_pipeline_takes_it(unet: Any, pipeline: str, solver: str) -> None:
    pipe = getattr(diffusers, pipeline)(unet, diffusers.DDPMScheduler())
    pipe.scheduler = DEISScheduler.from_config(pipe.scheduler.config, solver=solver)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        batch_size=2, num_inference_steps=5, output_type="np",
        generator=torch.Generator().manual_seed(1),
    ).images  # fmt: skip
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = sample(
        lambda x, t: unet(x, t).sample, pipe.scheduler.schedule, x, solver=solver, steps=5
    ).x
    expected = (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(images, expected, atol=2e-4)


def test_a_saved_pipeline_is_loaded_with_it(unet: Any, tmp_path: Path) -> None:
    scheduler = DEISScheduler(solver="rhoab2", beta_end=0.03)
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    again = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    assert isinstance(again.scheduler, DEISScheduler)
    assert again.scheduler.solver.name == "rhoab2"
    assert again.scheduler.schedule.betas[-1] == 0.03


def test_the_betas_of_a_cosine_end_at_0_999() -> None:
    """Nichol and Dhariwal 2021, section 3.2; the last of 1000 would be 1."""
    theirs = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    ours = DEISScheduler.from_config(theirs.config)
    assert ours.schedule.betas[-1] == 0.999
    np.testing.assert_allclose(ours.schedule.betas, theirs.betas.double(), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("FlowMatchEulerDiscreteScheduler", {}, "shift=1.0"),
        ("EDMEulerScheduler", {}, "sigma_data=0.5"),
        ("EDMDPMSolverMultistepScheduler", {}, "sigma_data=0.5"),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas=True"),
        ("EulerDiscreteScheduler", {"sigma_max": 700.0}, "sigma_max=700.0"),
        ("CogVideoXDDIMScheduler", {}, "snr_shift_scale=3.0"),
        ("IPNDMScheduler", {}, "no beta_schedule, but num_train_timesteps"),
    ],
)
def test_a_model_of_other_noise_is_refused(kind: str, config: dict[str, Any], told: str) -> None:
    theirs = getattr(diffusers, kind)(**config)
    with pytest.raises(ValueError, match=f"configuration has .*{told}.* not the noise of betas"):
        DEISScheduler.from_config(theirs.config)


def _begun_at(timestep: float) -> None:
    scheduler = DEISScheduler()
    scheduler.set_timesteps(4)
    scheduler.step(noise(), timestep, noise())


def _overflows() -> None:
    scheduler = DEISScheduler(solver="ddim")
    scheduler.set_timesteps(1)
    x = torch.full((1, 2), 6e4).half()
    scheduler.step(-x, 999, x)


def _bad_step(**changes: Any) -> None:
    scheduler = DEISScheduler(solver="tab1")
    scheduler.set_timesteps(4)
    x = noise()
    for t in scheduler.timesteps[:2]:
        x = scheduler.step(x, t, x).prev_sample
    scheduler.step(**{"model_output": x, "timestep": 250, "sample": x, **changes})


def _too_far() -> None:
    scheduler = DEISScheduler()
    scheduler.set_timesteps(4)
    x = run(scheduler, lambda x, t: x, noise())
    scheduler.step(x, 0, x)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: DEISScheduler(solver="tab9"), r"solver must be one of .*; got 'tab9'"),
        (lambda: DEISScheduler(beta_schedule="sigmoid"), r"got 'sigmoid'; .* trained_betas"),
        (lambda: DEISScheduler(prediction_type="flow_prediction"), "got 'flow_prediction'"),
        (lambda: DEISScheduler(thresholding=True), r"from_config\(config, thresholding=False\)"),
        (lambda: DEISScheduler(spacing="leading"), r"spacing must be one of .*; got 'leading'"),
        (lambda: DEISScheduler(trained_betas=[0.1, 1.2]), "got 1.2 at 1"),
        (lambda: DEISScheduler().set_timesteps(3), "tab3 needs 4 steps or more, got 3"),
        (lambda: DEISScheduler().set_timesteps(2000), "trained on 1000; ask for 999 steps"),
        (lambda: DEISScheduler().step(noise(), 3, noise()), "call set_timesteps before step"),
        (lambda: _begun_at(123456), "timestep 123456 is none where .* begins: 999, 562, 250, 62"),
        (lambda: _begun_at(561), "timestep 561 is none where a step of this run begins"),
        (lambda: _bad_step(timestep=62), "timestep 62 is not that of step 3 of 4, 250"),
        (_overflows, "the sample after the last step, 1 of 1, has 2 values that are NaN"),
        (lambda: _bad_step(eta=0.5), "eta must be 0 .* got 0.5"),
        (lambda: _bad_step(model_output=noise() * torch.nan),
         "8 values that are NaN or infinite at step 3 of 4, timestep 250"),
        (lambda: _bad_step(model_output=noise()[:1]), r"got \(1, 2\) at step 3 of 4"),
        (_too_far, "all steps are done: call set_timesteps"),
    ],
)  # fmt: skip
def test_bad_requests(call: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs diffusers: pip install 'paperworks\[diffusion\]"):
        importlib.reload(module)
