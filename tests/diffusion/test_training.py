from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from paperworks.diffusion import training
from paperworks.diffusion.checkpoints import interrupts_later
from paperworks.diffusion.mixtures import GaussianMixture
from paperworks.diffusion.trained import TrainedModel
from paperworks.diffusion.training import RECIPES, Recipe, build_network, choose_device, train

pytest.importorskip("diffusers")
pytest.importorskip("safetensors")

TINY = Recipe((8, 8), steps=6, batch=4, warmup=3)


def images(count: int = 10, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 4, 4, generator=generator) * 2 - 1


def weights(folder: Path) -> dict[str, Tensor]:
    return TrainedModel.load(folder).network.state_dict()


def same(a: Path, b: Path) -> bool:
    """Whether two trainings are in one state, to the last bit."""
    left, right = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (a, b))
    tensors = [
        (left[part], right[part]) for part in ("network", "average")
    ] + [
        (left["optimizer"]["state"][i], right["optimizer"]["state"][i])
        for i in left["optimizer"]["state"]
    ]  # fmt: skip
    return (
        left["step"] == right["step"]
        and torch.equal(left["generator"], right["generator"])
        and all(torch.equal(one[name], two[name]) for one, two in tensors for name in one)
        and all(torch.equal(one, two) for one, two in zip(
            weights(a).values(), weights(b).values(), strict=True
        ))
    )  # fmt: skip


def test_a_training_that_was_stopped_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    whole = train(images(), tmp_path / "whole", TINY)
    assert whole.steps == 6
    train(images(), tmp_path / "parts", replace(TINY, steps=2), save_every=0)
    train(images(), tmp_path / "parts", replace(TINY, steps=5), save_every=1e9)
    assert not same(tmp_path / "whole", tmp_path / "parts")
    rest = train(images(), tmp_path / "parts", TINY)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert rest.loss != whole.loss  # of one step, and of six
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(tmp_path.rglob("*.part"))


CHILD = """
import sys, torch
from tests_images import images
from paperworks.diffusion.training import Recipe, train
torch.set_num_threads(int(sys.argv[2]))
train(images(), sys.argv[1], Recipe((8, 8), steps=2000, batch=4, warmup=3), save_every=0)
"""


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    """The killed process writes one checkpoint after another, so it is killed in the midst of one
    as likely as not.
    """
    source = Path(__file__).read_text()
    helper = source[source.index("def images") : source.index("def weights")]
    (tmp_path / "tests_images.py").write_text(f"import torch\nfrom torch import Tensor\n{helper}")
    folder = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(torch.get_num_threads())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    try:
        end = time.monotonic() + 100
        while not (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file():
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < step < 2000
    recipe = replace(TINY, steps=step + 3)
    gone_on = train(images(), folder, recipe)
    assert gone_on.steps == step + 3
    train(images(), tmp_path / "whole", recipe)
    assert same(folder, tmp_path / "whole")


def test_ctrl_c_keeps_the_step_that_it_came_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training._Run._step

    def interrupted(self: Any, data: Tensor) -> Tensor:
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(images(), tmp_path / "parts", TINY)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert json.loads((tmp_path / "parts" / "training.json").read_text())["step"] == 3
    train(images(), tmp_path / "parts", TINY)
    train(images(), tmp_path / "whole", TINY)
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_a_second_ctrl_c_is_not_held_back() -> None:
    with interrupts_later() as came:
        signal.raise_signal(signal.SIGINT)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_left_alone_where_it_is_not_pythons_own() -> None:
    """In another thread, or under a handler of the caller's."""
    told: list[Any] = []

    def elsewhere() -> None:
        with interrupts_later() as came:
            told.append((came(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        elsewhere()
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [(False, signal.default_int_handler), (False, signal.SIG_IGN)]


def test_a_finished_training_has_nothing_to_do(tmp_path: Path) -> None:
    train(images(), tmp_path, TINY)
    (tmp_path / "unet" / "config.json").unlink()  # killed before the model was written
    reports: list[Any] = []
    again = train(images(), tmp_path, TINY, progress=lambda *x: reports.append(x))
    assert (again.steps, again.images_per_second, reports) == (6, 0.0, [])
    assert again.loss != again.loss
    assert weights(tmp_path)


def test_progress_and_what_is_written_down(tmp_path: Path) -> None:
    reports: list[tuple[int, int, float]] = []
    recipe = replace(TINY, steps=60)
    found = train(images(), tmp_path, recipe, data="squares", progress=lambda *x: reports.append(x))
    assert [step for step, _, _ in reports] == [25, 50, 60]
    assert reports[-1] == (60, 60, found.loss)
    assert found.images_per_second == pytest.approx(60 * 4 / found.seconds)
    kept = json.loads((tmp_path / "training.json").read_text())
    assert kept["data"] == "squares"
    assert kept["step"] == 60
    assert kept["settings"]["batch"] == 4
    assert found.model.shape == (1, 4, 4)


def test_one_step_against_torch_alone(tmp_path: Path) -> None:
    """Two steps of DDPM written out: the loss, the clipped gradient, AdamW, the average."""
    data, recipe = images(), replace(TINY, steps=2, lr=0.01, warmup=4)
    found = train(data, tmp_path, recipe, seed=5).model.network.state_dict()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build_network((1, 4, 4), (8, 8), 1)
    generator = torch.Generator().manual_seed(5)
    signal_ = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in network.parameters()}
    averages, clear = {}, {p: torch.ones_like(p, dtype=torch.bool) for p in moments}
    for step in (1, 2):
        rows = torch.randint(10, (4,), generator=generator)
        t = torch.randint(1000, (4,), generator=generator)
        eps = torch.randn(4, 1, 4, 4, generator=generator)
        share = signal_[t].float()[:, None, None, None]
        out = network(share.sqrt() * data[rows] + (1 - share).sqrt() * eps, t).sample
        grads = torch.autograd.grad((out - eps).square().mean(), list(moments))
        norm = torch.stack([g.square().sum() for g in grads]).sum().sqrt()
        with torch.no_grad():
            for (p, (m, v)), g in zip(moments.items(), grads, strict=True):
                g = g * min(1.0, 1 / float(norm))
                clear[p] &= g.abs() > 1e-5  # else AdamW makes a step of what is rounding
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.001)
                size = 0.01 * step / 4
                p -= size * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
                if step == 1:
                    averages[p] = p.clone()
                else:  # young: 2 / 11 of the old
                    averages[p].lerp_(p, 1 - 2 / 11)
    for name, p in network.named_parameters():
        torch.testing.assert_close(
            found[name][clear[p]], averages[p][clear[p]], rtol=1e-3, atol=5e-5
        )
    seen = sum(int(mask.sum()) for mask in clear.values())
    assert seen > 0.7 * sum(p.numel() for p in clear)


@pytest.mark.slow
def test_it_learns_the_score_of_a_gaussian(tmp_path: Path) -> None:
    """Images whose pixels are one Gaussian: the best prediction of the noise is known."""
    std = 0.2
    data = (std * torch.randn(2000, 1, 4, 4, generator=torch.Generator().manual_seed(0))).clamp(
        -1, 1
    )
    recipe = Recipe((16,), steps=250, batch=64, lr=3e-3, warmup=20, ema=0.98)
    model = train(data, tmp_path, recipe).model
    gauss = GaussianMixture(torch.ones(1), torch.zeros(1, 16), torch.tensor([std**2]))
    x = torch.randn(300, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for t, most in ((100.0, 0.02), (300.0, 0.02), (700.0, 0.02)):
        alpha, sigma = float(model.schedule.alpha(t)), float(model.schedule.sigma(t))
        noisy = alpha * std * x + sigma * torch.randn(
            x.shape, generator=torch.Generator().manual_seed(2)
        )
        best = gauss.model(model.schedule)(noisy.flatten(1), t).view_as(x)
        with torch.no_grad():
            off = (model(noisy, t) - best).square().mean() / best.square().mean()
        assert float(off) < most, t


@pytest.mark.parametrize("channels", [(8,), (8, 8), (16, 24), (32, 64, 64)])
def test_the_network_sees_the_time(channels: tuple[int, ...]) -> None:
    """A group norm of single channels would take away what is added for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network((1, 8, 8), channels, 1)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        early, late = (network(x, torch.tensor([t])).sample for t in (10, 900))
    assert float((early - late).abs().mean()) > 1e-2


def test_the_seed_draws_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(images(), tmp_path / name, TINY, seed=seed)
    assert same(tmp_path / "a", tmp_path / "b")
    a, c = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert not any(torch.equal(a[key], c[key]) for key in a if key.endswith("conv1.weight"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    kept = torch.load(path, weights_only=True)["network"]["conv_in.weight"].numpy().tobytes()
    content[content.index(kept) + 5] ^= 1
    path.write_bytes(content)


def _flip_a_name(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"conv_in.weight")] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_cut, "checkpoint.pt is no whole checkpoint .*remove it to begin again"),
        (_flip_a_weight, r"no whole checkpoint \(.*/data/\d+ is damaged\)"),
        (_flip_a_name, r"no whole checkpoint \(.*/data.pkl is damaged\)"),
        (lambda path: path.write_bytes(b""), "no whole checkpoint"),
        (lambda path: path.write_text("hello"), "no whole checkpoint"),
        (lambda path: torch.save({"model": 1}, path), "no checkpoint of `paperworks diffusion"),
        (lambda path: torch.save([1], path), "no checkpoint of `paperworks diffusion train`"),
    ],
)
def test_damaged_and_foreign_checkpoints(tmp_path: Path, spoil: Any, match: str) -> None:
    train(images(), tmp_path, replace(TINY, steps=1))
    spoil(tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(ValueError, match=match):
        train(images(), tmp_path, TINY)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"recipe": replace(TINY, batch=8, lr=1e-3)}, "batch is 4 there and 8 here; lr"),
        ({"recipe": replace(TINY, lr=1e-3)}, "lr is 0.0005 there and 0.001 here"),
        ({"recipe": replace(TINY, channels=(8, 16))}, r"channels is \[8, 8\] there and \[8, 16\]"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"images": images(seed=1)}, "images is [0-9a-f]* there"),
        ({"recipe": replace(TINY, steps=3)}, "has gone 6 steps, asked for 3"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    train(images(), tmp_path, TINY)
    given = {"images": images(), "recipe": TINY, **changes}
    with pytest.raises(ValueError, match=match):
        train(given.pop("images"), tmp_path, given.pop("recipe"), **given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"channels": ()}, r"channels must be multiples of 8, got \(\)"),
        ({"channels": (8, 12)}, r"multiples of 8, got \(8, 12\)"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"lr": float("nan")}, "lr must be > 0"),
        ({"ema": 1.0}, "ema from 0 to below 1"),
    ],
)
def test_bad_recipes(given: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Recipe(**given)


def test_sizes_that_cannot_be_halved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images of 6x4 cannot be halved 2 times between 3 levels"):
        train(torch.zeros(2, 1, 4, 6), tmp_path, replace(TINY, channels=(8, 8, 8)))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_pictures_that_are_not_square(tmp_path: Path) -> None:
    model = train(torch.zeros(2, 3, 4, 6), tmp_path, replace(TINY, steps=1)).model
    assert model.shape == (3, 4, 6)
    assert TrainedModel.load(tmp_path).sample(2, torch.Generator(), steps=4).shape == (2, 3, 4, 6)


def test_images_are_checked(tmp_path: Path) -> None:
    bad = images()
    bad[3, 0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="image 3 holds NaN"):
        train(bad, tmp_path, TINY)


def test_a_loss_that_is_not_finite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(images(), tmp_path, TINY)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(training._Run, "_step", lambda self, _: _count(self))
    with pytest.raises(RuntimeError, match="the loss is nan at step 31: try a smaller lr"):
        train(images(), tmp_path, replace(TINY, steps=100))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def _count(run: Any) -> Tensor:
    run.step += 1
    return torch.tensor(torch.nan)


def test_two_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(RuntimeError, match="another process trains in"),
    ):
        train(images(), tmp_path, TINY)


def test_trained_on_demand_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERWORKS_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, "mnist", TINY)

    class Given:
        images = images()

    monkeypatch.setattr(training, "load_images", lambda name: Given)
    reports: list[int] = []
    for _ in range(2):
        model = training.trained("mnist", device="cpu", progress=lambda *x: reports.append(x[0]))
    assert reports == [6]
    assert model.training["data"] == "mnist"
    assert weights(tmp_path / "diffusion" / "mnist")
    with pytest.raises(ValueError, match=r"name must be one of digits, .*; got 'imagenet'"):
        training.trained("imagenet")
    monkeypatch.setitem(RECIPES, "mnist", replace(TINY, steps=5))
    with pytest.raises(ValueError, match=r"6 steps, asked for 5.*mnist is for .* recipe: move"):
        training.trained("mnist")


def test_the_shipped_model_takes_no_training() -> None:
    assert training.trained("digits", device="cpu").shape == (1, 8, 8)
    shipped = TrainedModel.load("digits").training
    assert shipped["step"] == RECIPES["digits"].steps
    assert shipped["settings"]["batch"] == RECIPES["digits"].batch
    assert shipped["settings"]["lr"] == RECIPES["digits"].lr


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    if expected == "cpu":
        with pytest.raises(ValueError, match="torch sees no GPU"):
            choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tmp_path: Path) -> None:
    found = train(images(), tmp_path, TINY, device="cuda")
    assert found.model.device.type == "cuda"
    cpu = train(images(), tmp_path / "cpu", TINY, device="cpu")
    assert found.loss == pytest.approx(cpu.loss, rel=1e-2)
