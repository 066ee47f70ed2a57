"""Optimizers by name: torch.optim's, with its defaults and options, saved and resumed to the bit; and one's own."""

import copy
import gc
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import cnnzoo
from cnnzoo.config import TrainConfig
from cnnzoo.device import Precision
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.models.layers import Linear
from cnnzoo.registries import OPTIMIZERS
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.checks import can_update_in_backward
from cnnzoo.training.fused_optimizer import LARGE_TENSOR, Optimizer
from cnnzoo.training.optimizers import TorchOptimizer, kernels, make_optimizer
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import CPU, InterruptedRunError, StopAfter, forget_models, quick, resume, same_state, train
from tests.processes import Processes

NEW = [name for name in OPTIMIZERS.built_in if name not in ("adam", "adamw", "sgd")]


def net() -> nn.Module:
    layer = nn.Linear(2, 3, bias=False)
    nn.init.ones_(layer.weight)
    return layer


def made(name: str, **settings: object) -> TorchOptimizer:
    config = TrainConfig.from_dict({"model": "lenet", "optimizer": name, "lr": 0.25, **settings})
    optimizer = make_optimizer(net(), config)
    assert isinstance(optimizer, TorchOptimizer)
    return optimizer


def test_every_optimizer_of_torch_is_there_or_refused_with_the_reason() -> None:
    theirs = {
        name.lower()
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name != "Optimizer"
    }
    assert theirs == {*OPTIMIZERS.built_in, *OPTIMIZERS.refused}
    assert set(OPTIMIZERS.built_in) <= set(OPTIMIZERS.entries)


@pytest.mark.parametrize("name", NEW)
def test_it_does_what_torchs_does_with_its_own_defaults_but_the_rate(name: str) -> None:
    optimizer = made(name)
    reference = [nn.Parameter(parameter.detach().clone()) for parameter in optimizer.parameters]
    torchs = type(optimizer.torchs)(reference, lr=0.25)  # type: ignore[call-arg]
    for step in range(3):
        for mine, other in zip(optimizer.parameters, reference, strict=True):
            mine.grad = torch.full_like(mine, 0.5 + step)
            other.grad = mine.grad.clone()
        optimizer.step()
        torchs.step()
    assert torch.equal(optimizer.parameters[0], reference[0])
    assert not torch.equal(reference[0], torch.ones(3, 2))
    assert optimizer.lr == 0.25


@pytest.mark.parametrize("name", [*NEW, "sgd"])
def test_a_run_stopped_in_an_epoch_goes_on_to_the_same_bits(tmp_path: Path, name: str) -> None:
    options = {"nesterov": "true"} if name == "sgd" else {}
    settings = {"optimizer": name, "optimizer_options": options, "scheduler": "cosine", "limit_train": 160}
    config = quick(tmp_path, **settings, lr=0.01, epochs=2)
    whole = train(config).run
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="stopped"), reporter=StopAfter(7))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(whole, tmp_path / "runs" / "stopped")


def test_momentum_and_decay_are_passed_on_where_they_are_given_alone() -> None:
    assert made("rmsprop").param_groups[0]["momentum"] == 0
    assert made("rmsprop", momentum=0.9).param_groups[0]["momentum"] == 0.9
    assert made("nadam", weight_decay=0.1).param_groups[0]["weight_decay"] == 0.1
    assert isinstance(make_optimizer(net(), TrainConfig(model="lenet")), Optimizer)
    with pytest.raises(UsageError, match=r"adagrad takes no momentum\. Leave --momentum out\."):
        made("adagrad", momentum=0.5)


def test_options_are_torchs_and_typed_by_their_defaults() -> None:
    group = made(
        "adam", optimizer_options={"betas": "0.8, 0.9", "eps": "1e-3", "amsgrad": "true"}
    ).param_groups[0]
    assert (group["betas"], group["eps"], group["amsgrad"], group["weight_decay"]) == (
        (0.8, 0.9),
        1e-3,
        True,
        0,
    )
    assert made("adamw", optimizer_options={"eps": 1e-3}).param_groups[0]["weight_decay"] == 0
    assert made("sgd", optimizer_options={"nesterov": True}).param_groups[0]["momentum"] == 0.9
    assert made("rmsprop", optimizer_options={"alpha": "0.9"}).param_groups[0]["alpha"] == 0.9


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--optimizer", "adm"), "optimizer must be one of adam, adamw, sgd, adadelta"),
        (("--optimizer", "adm"), "not 'adm'. Did you mean 'adam'?"),
        (
            ("--optimizer", "lbfgs"),
            "optimizer lbfgs cannot be used: its step evaluates the loss several times",
        ),
        (
            ("--optimizer", "adam", "--optimizer-option", "beta=1"),
            "unknown option of adam: 'beta'. Did you mean",
        ),
        (
            ("--optimizer", "adam", "--optimizer-option", "betas=1"),
            "adam's betas must be 2 numbers, such as 0.9,0.999",
        ),
        (("--optimizer", "adam", "--optimizer-option", "eps=x"), "adam's eps must be a number"),
        (
            ("--optimizer", "rmsprop", "--optimizer-option", "alpha=-1"),
            "rmsprop does not take these options: Invalid",
        ),
        (("--optimizer-option", "eps"), "is not NAME=VALUE"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(command: Command, flags: tuple[str, ...], says: str) -> None:
    assert_refused(command(*SMALL, *flags), says, code=2)


def test_adadeltas_header_says_what_its_papers_rate_is(command: Command) -> None:
    said = command(*SMALL, "--optimizer", "adadelta", "--lr", "1", "--epochs", "1").out
    assert "optimizer: adadelta (its paper's rate is 1.0 (Zeiler 2012))" in said


def test_one_of_ones_own_trains_and_resumes(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from cnnzoo import register_optimizer\n"
        "@register_optimizer('signs')\n"
        "class Signs(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr, scale=1.0):\n"
        "        super().__init__(params, {'lr': lr, 'scale': scale})\n"
        "    @torch.no_grad()\n"
        "    def step(self):\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p -= group['lr'] * group['scale'] * p.grad.sign()\n",
        encoding="utf-8",
    )
    line = (*SMALL, "--optimizer", "signs", "--optimizer-option", "scale=0.5", "--epochs", "1")
    done = processes.run(*line, "--import", "mine", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert_refused(processes.run(*line, "--name", "q", cwd=tmp_path), "optimizer must be one of adam", code=2)
    assert_refused(
        processes.run("train", "--resume", "r", "--epochs", "2", cwd=tmp_path), "add --import=mine", code=2
    )
    more = processes.run("train", "--resume", "r", "--epochs", "2", "--import", "mine", cwd=tmp_path)
    assert (more.code, more.err) == (0, "")


def test_a_name_is_taken_once() -> None:
    def build(params: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr)

    with pytest.raises(CnnzooError, match="optimizer name 'adam' is taken"):
        cnnzoo.register_optimizer("adam")(build)


class Large(nn.Module):
    """A net with a parameter that is updated within the backward pass, and ones that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = Linear(1030, 1024), nn.Linear(1024, 3)
        assert self.hidden.weight.numel() >= LARGE_TENSOR

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.output(self.hidden(images.flatten(1)).relu())
        return logits


def trained(name: str, precision: Precision, *, in_backward: bool) -> tuple[Large, Optimizer, Tensor]:
    """Train for four steps, load the first weights again halfway, and test: net, optimizer and logits."""
    torch.manual_seed(0)
    model = Large()
    first = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = Optimizer(model.parameters(), name, lr=0.01, momentum=0.9, weight_decay=0.01)
    if in_backward:
        optimizer.update_in_backward(model, in_bf16=precision.name == "bf16")
    for step in range(4):
        if step == 2:
            model.load_state_dict(first)
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        optimizer.lr = 0.01 / (step + 1)
        with precision.autocast(CPU):
            loss = nn.functional.cross_entropy(model(torch.randn(4, 1030)), torch.arange(4) % 3)
        loss.backward()
        assert (model.hidden.weight.grad is None) == in_backward
        optimizer.step()
        optimizer.zero_grad()
    with precision.autocast(CPU), torch.inference_mode():
        return model, optimizer, model(torch.randn(4, 1030))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_within_the_backward_pass_are_those_after_it_to_the_last_bit(
    name: str, precision: str
) -> None:
    after, within = (trained(name, Precision(precision, ""), in_backward=early) for early in (False, True))
    assert torch.equal(after[2], within[2])
    assert all(map(torch.equal, after[0].parameters(), within[0].parameters()))
    one, other = after[1].state_dict(), within[1].state_dict()
    assert one["num_steps"] == other["num_steps"] == 4
    for averages, same in zip(one["averages"], other["averages"], strict=True):
        assert all(map(torch.equal, averages, same))


def test_an_optimizer_that_updates_at_once_again_leaves_nothing_behind() -> None:
    model, optimizer, _ = trained("adam", Precision("bf16", ""), in_backward=True)
    optimizer.update_at_once()
    assert model.hidden.copy is None
    model(torch.randn(2, 1030)).sum().backward()
    before = model.hidden.weight.detach().clone()
    assert model.hidden.weight.grad is not None
    optimizer.step()
    assert not torch.equal(before, model.hidden.weight)


@pytest.mark.parametrize(
    "settings",
    [{}, {"grad_clip": 0.01}, {"grad_accum_steps": 2}, {"precision": "fp16"}, {"freeze": "features"}],
)
def test_a_run_that_updates_within_the_backward_pass_has_the_history_of_one_that_does_not(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = []
    for least in (2**40, 1):
        monkeypatch.setattr("cnnzoo.training.fused_optimizer.LARGE_TENSOR", least)
        result = train(quick(tmp_path / str(least), epochs=1, **settings))
        histories.append([(row.train_loss, row.val_loss, row.val_acc) for row in result.history])
    assert histories[0] == histories[1]


class Plain(Large):
    """It takes images of 28x28."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.pixels(images))

    def pixels(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images.flatten(1), (0, 1030 - 784))


class Detached(Plain):
    """It needs the value of a large weight when that has its gradient already."""

    def forward(self, images: Tensor) -> Tensor:
        detached = nn.functional.linear(
            self.pixels(images) * self.output.bias.mean(), self.hidden.weight.detach()
        )
        logits: Tensor = super().forward(images) + self.output(detached)
        return logits


class Checkpointed(Plain):
    """A large layer is used twice, and gets its gradient in two parts."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return super().forward(images)
        once = checkpoint(self.hidden, self.pixels(images).requires_grad_(), use_reentrant=True)
        again = checkpoint(self.hidden, nn.functional.pad(once, (0, 6)), use_reentrant=True)
        logits: Tensor = self.output(again)
        return logits


@pytest.mark.parametrize(("net", "fits"), [(Plain, True), (Detached, False), (Checkpointed, False)])
def test_a_net_whose_weights_must_not_change_within_the_backward_pass_is_updated_after_it(
    net: type[Large], fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model("own", image_size=28, in_channels=1)
    def build(num_classes: int) -> nn.Module:
        model = net()
        model.output = nn.Linear(1024, num_classes)
        return model

    model = build(3)
    before = copy.deepcopy(model.state_dict())
    assert can_update_in_backward(model, nn.CrossEntropyLoss(), (1, 28, 28), CPU) is fits
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    weights = []
    for least in (2**40, LARGE_TENSOR):
        monkeypatch.setattr("cnnzoo.training.fused_optimizer.LARGE_TENSOR", least)
        run = train(quick(tmp_path / str(least), model="own", model_options={}, epochs=1, limit_train=96)).run
        weights.append(load_checkpoint(run / "last.pt").state_dict)
    assert all(map(torch.equal, weights[0].values(), weights[1].values()))


@pytest.mark.parametrize(
    ("name", "device", "fused"),
    [
        *(("adam", "cuda", True), ("sgd", "cuda:1", True), ("adamw", "cuda", True)),
        *(("rmsprop", "cuda", False), ("adam", "cpu", False), ("adam", "mps", False)),
    ],
)
def test_torchs_fused_kernels_are_taken_on_cuda_where_there_are_some(
    name: str, device: str, fused: bool
) -> None:
    assert kernels(name, torch.device(device)) == ({"fused": True} if fused else {})
    if fused:  # torch takes it for this class
        getattr(torch.optim, {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[name])(
            net().parameters(), lr=0.1, fused=True
        )


def test_a_state_of_fused_kernels_goes_on_without_them_and_back() -> None:
    optimizers = [made("adam", optimizer_options={"eps": 1e-6}) for _ in range(2)]
    optimizers[0].torchs = torch.optim.Adam(optimizers[0].parameters, lr=0.25, eps=1e-6, fused=True)
    for giving, taking in (optimizers, reversed(optimizers)):
        fused = taking.torchs.param_groups[0]["fused"]
        for parameter in giving.parameters:
            parameter.grad = torch.ones_like(parameter)
        giving.step()
        taking.load_state_dict(giving.state_dict())
        assert taking.param_groups[0]["fused"] is fused
        assert taking.param_groups[0]["lr"] == 0.25
    for optimizer in optimizers:
        for parameter in optimizer.parameters:
            parameter.grad = torch.ones_like(parameter)
            parameter.data.zero_()
        optimizer.step()
    one, other = (optimizer.parameters[0] for optimizer in optimizers)
    torch.testing.assert_close(one, other)


def test_an_optimizer_that_updates_within_the_backward_pass_ends_with_its_run() -> None:
    def made() -> "list[weakref.ref[Any]]":
        model = Large()
        optimizer = Optimizer(model.parameters(), "adam", lr=0.1, momentum=0.0, weight_decay=0.0)
        optimizer.update_in_backward(model, in_bf16=True)
        return [weakref.ref(optimizer), weakref.ref(model), weakref.ref(optimizer.averages[0][0])]

    kept = made()
    gc.collect()
    assert [what() for what in kept] == [None] * 3


@pytest.mark.parametrize("in_bf16", [False, True])
def test_a_weight_that_two_layers_hold_is_updated_once_a_step(in_bf16: bool) -> None:
    def update(*, in_backward: bool) -> Tensor:
        torch.manual_seed(0)
        first, second = (Linear(1024, 1024, bias=False) for _ in range(2))
        second.weight = first.weight
        model = nn.Sequential(first, nn.Tanh(), second)
        optimizer = Optimizer(model.parameters(), "sgd", lr=0.1, momentum=0.0, weight_decay=0.0)
        if in_backward:
            optimizer.update_in_backward(model, in_bf16=in_bf16)
        with Precision("bf16" if in_bf16 else "fp32", "").autocast(CPU):
            loss = model(torch.randn(2, 1024)).square().mean()
        loss.backward()
        optimizer.step()
        weight: Tensor = first.weight.detach()
        return weight

    assert torch.equal(update(in_backward=True), update(in_backward=False))


def test_a_gradient_in_several_parts_is_one_line_with_what_to_do() -> None:
    layer = Linear(1024, 1024)
    optimizer = Optimizer(layer.parameters(), "sgd", lr=0.1, momentum=0.9, weight_decay=0.0)
    optimizer.update_in_backward(layer, in_bf16=False)
    images = torch.randn(2, 1024, requires_grad=True)
    once = checkpoint(layer, images, use_reentrant=True)
    with pytest.raises(CnnzooError, match="use_reentrant=False"):
        checkpoint(layer, once, use_reentrant=True).sum().backward()
