"""Optimizers by name: torch.optim's, with its defaults and options, saved and resumed to the bit; and one's own."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

import cnnzoo
from cnnzoo.config import TrainConfig
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.registries import OPTIMIZERS
from cnnzoo.training.fused_optimizer import Optimizer
from cnnzoo.training.optimizers import TorchOptimizer, kernels, make_optimizer
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused
from tests.helpers import InterruptedRunError, StopAfter, quick, resume, same_state, train
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


@pytest.mark.slow
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


@pytest.mark.slow
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
