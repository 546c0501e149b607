"""The optimizer against lion-pytorch, against its formula in NumPy, and beside its neighbours."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from paperworks.training import LionK, lion_k
from paperworks.training.lion_k import optimizer as module

SHAPES = [(), (1,), (7,), (33, 5), (4, 3, 2, 2), (0,)]
KAPPAS = [
    lion_k.kappa("l1"),
    lion_k.kappa("lp", p=1.7),
    lion_k.kappa("l2"),
    lion_k.kappa("linf"),
    lion_k.kappa("topk", k=3),
    lion_k.kappa("group"),
    lion_k.kappa("huber", delta=0.1),
    lion_k.kappa("deadzone", threshold=0.2),
    lion_k.kappa("relativistic", eps=0.3),
    lion_k.kappa("tanh", scale=0.2),
    lion_k.kappa("quadratic"),
]
every = pytest.mark.parametrize("kappa", KAPPAS, ids=repr)


def tensors(shapes: Any, seed: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def parameters(shapes: Any = SHAPES, dtype: torch.dtype = torch.float32) -> list[Parameter]:
    return [Parameter(t) for t in tensors(shapes, 0, dtype)]


def steps(optimizer: Any, params: list[Parameter], n: int = 6, seed: int = 1) -> list[Parameter]:
    for i in range(n):
        for p, g in zip(
            params, tensors([p.shape for p in params], seed + i, params[0].dtype), strict=True
        ):
            p.grad = g
        optimizer.step()
    return params


def assert_same(a: list[Parameter], b: list[Parameter]) -> None:
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "how", [{}, {"foreach": True}, {"foreach": False}, {"fused": True}], ids=str
)
def test_l1_is_lion_pytorch_to_the_bit(dtype: torch.dtype, how: dict) -> None:
    lion_pytorch = pytest.importorskip("lion_pytorch")
    shapes = [*SHAPES, (32769,), (3, 33333), (65536,), (300, 500)]
    theirs, ours = parameters(shapes, dtype), parameters(shapes, dtype)
    a = lion_pytorch.Lion(theirs, lr=3e-3, betas=(0.93, 0.987), weight_decay=0.31)
    b = LionK(ours, lr=3e-3, betas=(0.93, 0.987), weight_decay=0.31, kappa="l1", **how)
    for i in range(4):
        for group in (a.param_groups[0], b.param_groups[0]):
            group["lr"] *= 0.9
        steps(a, theirs, 1, seed=i)
        steps(b, ours, 1, seed=i)
        assert_same(theirs, ours)
        for p, q in zip(theirs, ours, strict=True):
            assert torch.equal(a.state[p]["exp_avg"], b.state[q]["exp_avg"])


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_that_are_not_finite_do_what_lion_pytorch_does(fused: bool) -> None:
    lion_pytorch = pytest.importorskip("lion_pytorch")
    theirs, ours = parameters([(9,)]), parameters([(9,)])
    a, b = lion_pytorch.Lion(theirs, weight_decay=0.1), LionK(ours, weight_decay=0.1, fused=fused)
    grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 0, -0.0, 1e-45, -1e-45, 1, -1])
    for optimizer, p in ((a, theirs[0]), (b, ours[0])):
        for _ in range(3):
            p.grad = grad.clone()
            optimizer.step()
    np.testing.assert_array_equal(theirs[0].detach().numpy(), ours[0].detach().numpy())


@every
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("maximize", [True, False])
def test_the_step_is_the_formula(kappa: lion_k.Kappa, nesterov: bool, maximize: bool) -> None:
    (p,) = parameters([(6, 5)], torch.float64)
    beta1, beta2, lr, decay = 0.8, 0.95, 0.02, 0.3
    optimizer = LionK([p], lr, (beta1, beta2), decay, kappa, nesterov=nesterov, maximize=maximize)
    x, m = p.detach().numpy().copy(), np.zeros((6, 5))
    for i in range(5):
        p.grad = tensors([(6, 5)], 10 + i, torch.float64)[0]
        g = p.grad.numpy().copy() * (-1 if maximize else 1)
        optimizer.step()
        new_m = beta2 * m + (1 - beta2) * g
        z = beta1 * m + (1 - beta1) * g if nesterov else new_m
        m = new_m
        x = x + lr * (kappa.subgradient(torch.from_numpy(-z)).numpy() - decay * x)
        np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-12, atol=1e-14)


def test_a_kappa_that_is_not_even_sees_the_direction_of_descent() -> None:
    # kappa = sum max(x, 0) moves up where the gradient is negative, and never down.
    relu = lion_k.CustomKappa(lambda x: (x > 0).to(x.dtype))
    p = Parameter(torch.zeros(2))
    p.grad = torch.tensor([-1.0, 1.0])
    LionK([p], lr=0.5, kappa=relu).step()
    assert p.tolist() == [0.5, 0.0]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_foreach_equals_one_by_one(kappa: lion_k.Kappa, dtype: torch.dtype) -> None:
    shapes = SHAPES if dtype != torch.bfloat16 else SHAPES[1:]
    runs = []
    for foreach in (True, False):
        params = parameters(shapes, dtype)
        steps(LionK(params, 0.01, weight_decay=0.2, kappa=kappa, foreach=foreach), params)
        runs.append(params)
    assert_same(*runs)


@every
def test_blocks_equal_the_whole(kappa: lion_k.Kappa, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, blocks = parameters([(40, 9)]), parameters([(40, 9)])
    steps(LionK(whole, 0.01, weight_decay=0.2, kappa=kappa, foreach=False), whole)
    monkeypatch.setattr(module, "BLOCK", 16)
    steps(LionK(blocks, 0.01, weight_decay=0.2, kappa=kappa, foreach=False), blocks)
    assert_same(whole, blocks)


@pytest.mark.parametrize("how", [{"foreach": False}, {"fused": True}, {}], ids=str)
def test_tensors_that_are_not_contiguous(how: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)
    data = tensors([(40, 9)], 0)[0]
    straight, turned = [Parameter(data.clone())], [Parameter(data.t().contiguous().t())]
    assert not turned[0].is_contiguous()
    steps(LionK(straight, 0.01, weight_decay=0.2, **how), straight)
    steps(LionK(turned, 0.01, weight_decay=0.2, **how), turned)
    assert_same(straight, turned)


def test_fused_tells_autograd_that_the_weights_changed() -> None:
    p = Parameter(torch.ones(4))
    loss = (p * p).sum()
    p.grad = torch.ones(4)
    LionK([p], fused=True).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_fused_in_threads_equals_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from paperworks.training.lion_k import fused

    one, many = parameters([(1001,)]), parameters([(1001,)])
    steps(LionK(one, 0.01, weight_decay=0.2, fused=True), one)
    monkeypatch.setattr(fused, "SHARE", 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    steps(LionK(many, 0.01, weight_decay=0.2, fused=True), many)
    assert_same(one, many)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_kernel_is_used_where_fused_multiply_adds_are(dtype: torch.dtype) -> None:
    from paperworks.training.lion_k import fused

    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("how PyTorch rounds on this processor is not known here")
    p, g, m = (t.to(dtype) for t in tensors([(5,)] * 3, 0))
    assert fused.takes(p, g, m)
    assert not fused.takes(p[::2], g[::2], m[::2])


def test_fused_falls_back_where_rounding_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    from paperworks.training.lion_k import fused

    one, other = parameters(), parameters()
    steps(LionK(one, 0.01, weight_decay=0.2), one)
    monkeypatch.setattr(fused, "_rounds_as_torch", lambda dtype: False)
    monkeypatch.setattr(fused, "step", None)
    steps(LionK(other, 0.01, weight_decay=0.2, fused=True), other)
    assert_same(one, other)


def reload(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every
def test_state_dict_resumes_exactly(kappa: lion_k.Kappa) -> None:
    through = parameters()
    steps(LionK(through, 0.01, weight_decay=0.2, kappa=kappa, nesterov=False), through, 9)

    first = parameters()
    optimizer = LionK(first, 0.01, weight_decay=0.2, kappa=kappa, nesterov=False)
    steps(optimizer, first, 4)
    saved = reload(optimizer.state_dict())
    second = [Parameter(p.detach().clone()) for p in first]
    resumed = LionK(second)  # every setting comes from the checkpoint
    resumed.load_state_dict(saved)
    assert resumed.param_groups[0]["kappa"] == kappa
    steps(resumed, second, 5, seed=5)
    assert_same(through, second)


def test_state_dict_leaves_the_optimizer_as_it_was() -> None:
    optimizer = LionK(parameters(), kappa="l2")
    optimizer.state_dict()
    assert optimizer.param_groups[0]["kappa"] == lion_k.kappa("l2")


def test_a_lion_pytorch_checkpoint_goes_on() -> None:
    lion_pytorch = pytest.importorskip("lion_pytorch")
    theirs = parameters()
    a = lion_pytorch.Lion(theirs, lr=0.01, weight_decay=0.3)
    steps(a, theirs, 3)
    ours = [Parameter(p.detach().clone()) for p in theirs]
    b = LionK(ours)
    b.load_state_dict(reload(a.state_dict()))
    steps(a, theirs, 4, seed=9)
    steps(b, ours, 4, seed=9)
    assert_same(theirs, ours)


def test_a_kappa_of_ones_own_is_not_written_into_a_checkpoint() -> None:
    own = lion_k.CustomKappa(torch.tanh)
    saved = reload(LionK(parameters(), kappa=own).state_dict())
    with pytest.raises(ValueError, match="kappa of the user's own, which is not stored"):
        LionK(parameters()).load_state_dict(saved)
    optimizer = LionK(parameters(), kappa=own)
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["kappa"] is own


def test_a_checkpoint_with_other_groups_is_refused() -> None:
    saved = LionK([{"params": [p]} for p in parameters()]).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        LionK(parameters()).load_state_dict(saved)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_work(copier: Any) -> None:
    params = parameters()
    optimizer = LionK(params, 0.01, weight_decay=0.2, kappa="tanh")
    steps(optimizer, params, 2)
    twin = copier(optimizer)
    twins = twin.param_groups[0]["params"]
    assert_same(steps(optimizer, params, 3), steps(twin, twins, 3))


def test_groups_have_settings_of_their_own() -> None:
    together, apart = parameters([(5,), (6, 2)]), parameters([(5,), (6, 2)])
    second = {
        "lr": 0.1,
        "kappa": lion_k.kappa("group", dim=1),
        "betas": (0.5, 0.6),
        "nesterov": False,
    }
    both = LionK(
        [{"params": [together[0]]}, {"params": [together[1]], **second}], 0.01, weight_decay=0.3
    )
    steps(both, together)
    a, b = LionK(apart[:1], 0.01, weight_decay=0.3), LionK(apart[1:], weight_decay=0.3, **second)
    for i in range(6):
        for p, g in zip(apart, tensors([(5,), (6, 2)], 1 + i), strict=True):
            p.grad = g
        a.step()
        b.step()
    assert_same(together, apart)


def test_mixed_dtypes_in_one_group() -> None:
    mixed = [
        Parameter(t.to(d))
        for t, d in zip(tensors([(5,), (6,)], 0), (torch.float32, torch.float64), strict=True)
    ]
    alone = [Parameter(p.detach().clone()) for p in mixed]
    optimizer = LionK(mixed, 0.01, weight_decay=0.1)
    each = [LionK([p], 0.01, weight_decay=0.1) for p in alone]
    for p, q in zip(mixed, alone, strict=True):
        p.grad = torch.ones_like(p)
        q.grad = torch.ones_like(q)
    optimizer.step()
    for o in each:
        o.step()
    assert_same(mixed, alone)


def test_closure_is_run_with_gradients_and_its_loss_returned() -> None:
    p = Parameter(torch.tensor([2.0]))
    optimizer = LionK([p], lr=0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.5


def test_parameters_without_a_gradient_stay() -> None:
    params = parameters([(3,), (4,)])
    before = params[1].detach().clone()
    optimizer = LionK(params, 0.1, weight_decay=0.5)
    params[0].grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(params[1], before)
    assert params[1] not in optimizer.state


SCHEDULERS = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "warm-up from 0": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: i / 10),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_schedulers(name: str, tensor_lr: bool) -> None:
    runs = []
    for scheduled in (True, False):
        params = parameters()
        lr = torch.tensor(0.01, dtype=torch.float64) if tensor_lr else 0.01
        optimizer = LionK(params, lr, weight_decay=0.2, kappa="tanh")
        scheduler = SCHEDULERS[name](optimizer)
        record = runs[0][1] if not scheduled else []
        for i in range(9):
            group = optimizer.param_groups[0]
            if scheduled:
                record.append((float(group["lr"]), group["betas"]))
            else:
                group["lr"], group["betas"] = record[i]
            steps(optimizer, params, 1, seed=i)
            if scheduled:
                scheduler.step()
        runs.append((params, record))
    assert len({lr for lr, _ in runs[0][1]}) > 5
    assert_same(runs[0][0], runs[1][0])


def test_grad_scaler_skips_overflows_and_unscales() -> None:
    runs = []
    for scaled in (True, False):
        p = Parameter(torch.tensor([1.0, -2.0, 0.5]))
        optimizer = LionK([p], 0.1, weight_decay=0.1, kappa="quadratic")
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
        for factor in (1.0, float("inf"), 3.0):
            if factor == float("inf") and not scaled:
                continue
            optimizer.zero_grad()
            scaler.scale((factor * p * p).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        runs.append(p)
    assert_same(runs[:1], runs[1:])


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_keep_their_dtype(kappa: lion_k.Kappa, dtype: torch.dtype) -> None:
    params, wide = parameters([(20, 5)], dtype), parameters([(20, 5)])
    optimizer = LionK(params, 0.05, weight_decay=0.1, kappa=kappa)
    steps(optimizer, params)
    assert params[0].dtype == optimizer.state[params[0]]["exp_avg"].dtype == dtype
    steps(LionK(wide, 0.05, weight_decay=0.1, kappa=kappa), wide)
    torch.testing.assert_close(params[0].float(), wide[0], rtol=0, atol=0.11)


@pytest.mark.parametrize("foreach", [True, False])
def test_sparse_gradients_are_refused(foreach: bool) -> None:
    layer = torch.nn.Embedding(5, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"sparse gradients.*sparse=False"):
        LionK(layer.parameters(), foreach=foreach).step()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, r"lr must be finite and >= 0, got -1"),
        ({"lr": float("nan")}, ValueError, r"lr must be finite"),
        ({"lr": torch.ones(2)}, ValueError, r"a tensor lr must hold one number, got shape \(2,\)"),
        ({"betas": (1.1, 0.9)}, ValueError, r"beta1 must be in \[0, 1\], got 1.1"),
        ({"betas": (0.9, 1.0)}, ValueError, r"beta2 must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -0.1}, ValueError, r"weight_decay must be finite and >= 0, got -0.1"),
        ({"kappa": "sign"}, ValueError, r"no kappa is called 'sign'"),
        ({"kappa": torch.sign}, TypeError, r"kappa must be a name or a Kappa.*CustomKappa"),
        ({"foreach": True, "fused": True}, ValueError, r"cannot both be True"),
        ({"kappa": "l2", "fused": True}, ValueError, r"fused=True is for kappa='l1' alone, got L2"),
    ],
)
def test_bad_settings(given: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LionK(parameters(), **given)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_complex_and_integer_parameters_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"real floating parameters, got torch\.(complex64|int64)"):
        LionK([torch.ones(2, dtype=dtype)])


def test_a_refused_group_is_not_added() -> None:
    optimizer = LionK(parameters())
    with pytest.raises(ValueError, match="no kappa"):
        optimizer.add_param_group({"params": parameters(), "kappa": "nothing"})
    assert len(optimizer.param_groups) == 1


def test_distance_is_the_largest_over_all_groups() -> None:
    a, b = Parameter(torch.tensor([3.0, -1.0])), Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = LionK([{"params": [a]}, {"params": [b], "kappa": "l2"}], weight_decay=0.5)
    assert optimizer.distance() == pytest.approx(3.0)
    assert LionK([a]).distance() == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("kappa", ["l1", "l2"])
def test_the_step_compiles_whole(kappa: str) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler here")
    eager, compiled = parameters([(5,), (6, 3)]), parameters([(5,), (6, 3)])
    runs = []
    for params, compiles in ((eager, False), (compiled, True)):
        lr = torch.tensor(0.01)
        optimizer = LionK(params, lr, weight_decay=0.2, kappa=kappa)
        steps(optimizer, params, 1, seed=100)  # makes the state, as a training loop would
        step = torch.compile(optimizer.step, fullgraph=True) if compiles else optimizer.step
        for i in range(4):
            lr.mul_(0.9)
            for p, g in zip(params, tensors([(5,), (6, 3)], i), strict=True):
                p.grad = g
            step()
        runs.append(params)
    for x, y in zip(*runs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-7)
