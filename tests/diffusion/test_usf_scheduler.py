from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.sampling import sample
from paperworks.diffusion.timesteps import spaced
from paperworks.diffusion.usf.decisions import Decisions, Step
from paperworks.diffusion.usf.presets import dpm_solver_singlestep, unipc
from paperworks.diffusion.usf.solver import USFSolver
from paperworks.diffusion.usf.space import Space

diffusers = pytest.importorskip("diffusers")
from paperworks.diffusion.schedules import DiscreteVP  # noqa: E402
from paperworks.diffusion.usf.scheduler import USFScheduler  # noqa: E402

SCHEDULE = DiscreteVP.linear()
MIXTURE = GaussianMixture.ring(5)
UNIPC = unipc(spaced(SCHEDULE, 6, "logrho"), 3)


def noise() -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double()


def run(scheduler: Any, model: Any, x: Tensor) -> Tensor:
    """The loop of a pipeline."""
    for t in scheduler.timesteps:
        x = scheduler.step(model(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_its_own_loop_is_the_function(seed: int, prediction: Any) -> None:
    decisions = Space(SCHEDULE, 6).random(np.random.default_rng(seed))
    scheduler = USFScheduler(decisions, prediction_type=prediction)
    model = MIXTURE.model(scheduler.schedule, prediction)
    expected = sample(
        model, scheduler.schedule, noise(), solver=USFSolver(decisions), times=decisions.times,
        prediction=prediction,
    ).x  # fmt: skip
    for steps in (6, None):  # and again, without anything left of the first run
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == list(decisions.times[:-1])
        torch.testing.assert_close(run(scheduler, model, noise()), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("UniPCMultistepScheduler", UNIPC),
        ("DPMSolverSinglestepScheduler", dpm_solver_singlestep(UNIPC.times, 3)),
    ],
)
def test_it_is_diffusers_own_in_float32(kind: str, ours: Decisions) -> None:
    theirs = getattr(diffusers, kind)(
        solver_order=3, final_sigmas_type="sigma_min", lower_order_final=True
    )
    theirs.set_timesteps(6)
    times = np.array(ours.times)
    theirs.timesteps = torch.from_numpy(times[:-1])
    theirs.sigmas = torch.from_numpy(SCHEDULE.rho(times)).float()
    scheduler = USFScheduler.from_config(theirs.config, decisions=ours)
    scheduler.set_timesteps(6)
    model = MIXTURE.model(SCHEDULE)
    found = run(scheduler, model, noise().float())
    torch.testing.assert_close(found, run(theirs, model, noise().float()), rtol=0, atol=1e-4)


def test_from_a_file_and_from_a_config(tmp_path: Path, caplog: Any) -> None:
    UNIPC.save(tmp_path / "found.json")
    theirs = diffusers.DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction",
    )  # fmt: skip
    for path in (tmp_path / "found.json", str(tmp_path / "found.json")):
        ours = USFScheduler.from_config(theirs.config, decisions=path)
        assert ours.decisions == UNIPC
        assert ours.config["decisions"] == UNIPC.to_dict()  # not the name of a file
        assert ours.config["prediction_type"] == "v_prediction"
        torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod)
        assert not caplog.records
        assert type(theirs).from_config(ours.config).config["beta_end"] == 0.012
        caplog.clear()  # a scheduler of diffusers says that it has no decisions
    assert USFScheduler(UNIPC.to_dict()).decisions == UNIPC


def test_saved_and_loaded(tmp_path: Path) -> None:
    USFScheduler(UNIPC, beta_end=0.03).save_pretrained(tmp_path)
    again = USFScheduler.from_pretrained(tmp_path)
    assert again.decisions == UNIPC
    assert again.schedule.betas[-1] == 0.03


@pytest.mark.parametrize("told", [True, False])
def test_a_run_may_begin_in_the_middle(told: bool) -> None:
    scheduler = USFScheduler(UNIPC)
    scheduler.set_timesteps(6)
    if told:
        scheduler.set_begin_index(2)
    model, x = MIXTURE.model(SCHEDULE), noise()
    for t in scheduler.timesteps[2:]:
        x = scheduler.step(model(x, t), t, x).prev_sample
    expected = sample(model, SCHEDULE, noise(), solver=USFSolver(UNIPC), times=UNIPC.times[2:]).x
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)
    assert scheduler.step_index == 6


def test_times_between_the_steps_of_training_stay_so() -> None:
    scheduler = USFScheduler(Decisions((999, 400.5, 0), (Step(), Step())))
    scheduler.set_timesteps()
    assert scheduler.timesteps.tolist() == [999.0, 400.5]


@pytest.fixture(scope="module")
def unet() -> Any:
    with torch.random.fork_rng(devices=[]):  # diffusers' networks take no generator
        torch.manual_seed(0)
        return diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4, layers_per_block=1,
        ).eval()  # fmt: skip


@pytest.mark.parametrize("pipeline", ["DDPMPipeline", "DDIMPipeline"])
def test_a_pipeline_takes_it(unet: Any, pipeline: str) -> None:
    pipe = getattr(diffusers, pipeline)(unet, diffusers.DDPMScheduler())
    pipe.scheduler = USFScheduler.from_config(pipe.scheduler.config, decisions=UNIPC)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        batch_size=2, num_inference_steps=6, output_type="np",
        generator=torch.Generator().manual_seed(1),
    ).images  # fmt: skip
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = sample(
        lambda x, t: unet(x, t).sample, SCHEDULE, x, solver=USFSolver(UNIPC), times=UNIPC.times
    ).x
    expected = (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(images, expected, atol=2e-4)


def test_a_saved_pipeline_is_loaded_with_it(unet: Any, tmp_path: Path) -> None:
    diffusers.DDPMPipeline(unet, USFScheduler(UNIPC)).save_pretrained(tmp_path)
    again = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    assert isinstance(again.scheduler, USFScheduler)
    assert again.scheduler.decisions == UNIPC


def _nan() -> None:
    scheduler = USFScheduler(UNIPC)
    scheduler.set_timesteps()
    x = noise()
    for t in scheduler.timesteps[:2]:
        x = scheduler.step(x, t, x).prev_sample
    scheduler.step(x * torch.nan, scheduler.timesteps[2], x)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: USFScheduler(UNIPC).set_timesteps(10),
         "decisions have 6 steps, got num_inference_steps=10: ask for 6, or search for"),
        (lambda: USFScheduler({"times": [9, 0], "steps": [{}, {}]}), "2 steps need 3 times"),
        (lambda: USFScheduler(Decisions((1000, 0), (Step(),))), "1000.0, where step 1 begins"),
        (lambda: USFScheduler(UNIPC, num_train_timesteps=500), "999.0, where .* outside 0.0"),
        (lambda: USFScheduler.from_config(diffusers.DDPMScheduler().config),
         r"decisions are missing: USFScheduler.from_config\(config, decisions='found.json'\)"),
        (lambda: USFScheduler.from_config(
            diffusers.FlowMatchEulerDiscreteScheduler().config, decisions=UNIPC),
         "configuration has shift=1.0"),
        (lambda: USFScheduler(UNIPC, thresholding=True), "thresholding must be False"),
        (lambda: USFScheduler(UNIPC, prediction_type="score"), "got 'score'"),
        (lambda: USFScheduler(UNIPC).step(noise(), 3, noise()), "call set_timesteps before step"),
        (_nan, "8 values that are NaN or infinite at step 3 of 6, timestep"),
    ],
)  # fmt: skip
def test_bad_requests(call: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        USFScheduler(tmp_path / "none.json")
