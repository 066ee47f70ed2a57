"""The engine beside the tutorial's own loop, and its promises about numbers."""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import cnnzoo
from cnnzoo.analysis.eval.intervals import wilson_interval
from cnnzoo.config import TrainConfig
from cnnzoo.data.augment import make_augmentations
from cnnzoo.data.datasets import load_dataset
from cnnzoo.data.loader import Loader, MicroBatch
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.device import to_device
from cnnzoo.precision import Precision
from cnnzoo.training.checks import dry_run
from cnnzoo.training.fused_optimizer import Optimizer
from cnnzoo.training.losses import criterion_of
from cnnzoo.training.meter import Meter, NonFiniteLossError
from cnnzoo.training.schedule import lr_at
from tests.helpers import CPU, evaluate, one_epoch, patch_internal, quick, sample_batches, train


def tutorial_epoch(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """The tutorial's training loop, its bookkeeping included."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    train_loss, train_corrects, train_num = 0.0, torch.tensor(0), 0
    for b_x, b_y in batches:
        model.train()
        output = model(b_x)
        pre_lab = torch.argmax(output, dim=1)
        loss = criterion(output, b_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * b_x.size(0)
        train_corrects += torch.sum(pre_lab == b_y.data)
        train_num += b_x.size(0)
    return train_loss / train_num, train_corrects.double().item() / train_num


def tutorial_validation(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    criterion = nn.CrossEntropyLoss()
    loss_sum, corrects, num = 0.0, torch.tensor(0), 0
    for b_x, b_y in batches:
        model.eval()
        output = model(b_x)
        loss_sum += criterion(output, b_y).item() * b_x.size(0)
        corrects += torch.sum(torch.argmax(output, dim=1) == b_y.data)
        num += b_x.size(0)
    return loss_sum / num, corrects.double().item() / num


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "image_size", "num"),
    [("lenet", {}, 28, 650), ("alexnet", {"dropout": 0.0}, 67, 70)],
    ids=["lenet", "alexnet"],
)
def test_losses_and_accuracies_are_what_the_tutorials_loop_prints(
    name: str, options: dict[str, object], image_size: int, num: int
) -> None:
    batches = sample_batches(image_size, num)  # the last batch is smaller than 32
    assert len(batches[-1][0]) < 32
    torch.manual_seed(0)
    ours = cnnzoo.create_model(name, num_classes=10, in_channels=1, image_size=image_size, **options)
    theirs = copy.deepcopy(ours)

    for _ in range(2):
        loss, accuracy = one_epoch(ours, batches).read()
        their_loss, their_accuracy = tutorial_epoch(theirs, batches)
        assert loss == pytest.approx(their_loss, abs=1e-5)
        assert accuracy == pytest.approx(their_accuracy, abs=1.5 / num)  # one image on the fence
        # The optimizer of `one_epoch` is new each time, as is the tutorial's here.
    outcome = evaluate(ours, batches)
    their_loss, their_accuracy = tutorial_validation(theirs, batches)
    assert outcome.loss == pytest.approx(their_loss, abs=1e-5)
    assert outcome.accuracy == pytest.approx(their_accuracy, abs=1.5 / num)


def test_gradient_clipping_bounds_the_norm() -> None:
    model = cnnzoo.create_model("lenet", activation="relu")
    batches = sample_batches(28, 32)
    norms: list[float] = []

    def norm_of() -> None:
        norms.append(
            math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
        )

    one_epoch(model, batches, grad_clip=0.01, on_step=norm_of)
    one_epoch(model, batches, on_step=norm_of)
    assert norms[0] == pytest.approx(0.01, rel=1e-3)
    assert norms[1] > 0.05


def test_label_smoothing_is_in_the_training_loss_only() -> None:
    batches = sample_batches(28, 32)
    model = cnnzoo.create_model("lenet")
    expected = nn.functional.cross_entropy(model(batches[0][0]), batches[0][1], label_smoothing=0.3).item()
    assert one_epoch(copy.deepcopy(model), batches, criterion=criterion_of(model, 0.3)).read()[
        0
    ] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_trains_and_comes_close_to_fp32(name: str) -> None:
    batches = sample_batches(28, 320)
    torch.manual_seed(1)
    model = cnnzoo.create_model("lenet", activation="tanh")
    half = copy.deepcopy(model)
    scaler = torch.amp.GradScaler("cpu", enabled=name == "fp16")
    loss = one_epoch(model, batches).read()[0]
    half_loss = one_epoch(half, batches, precision=Precision(name, ""), scaler=scaler).read()[0]
    assert half_loss == pytest.approx(loss, rel=0.05)
    assert half_loss != loss
    assert all(p.dtype == torch.float32 for p in half.parameters())


def torchs(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.5, weight_decay=0.01, fused=True)
    adam = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return adam(parameters, lr=0.1, weight_decay=0.01, fused=True)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_each_optimizer_does_to_the_last_bit_what_torchs_does(name: str) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((3,), (8, 4, 3, 3), (500, 70), ())]
    theirs = copy.deepcopy(ours)
    optimizer = Optimizer(ours, name, lr=1.0, momentum=0.5, weight_decay=0.01)
    optimizer.lr = 0.1  # as a schedule sets it
    reference = torchs(name, theirs)
    for step in range(5):
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in ours)
        for parameter, other in zip(ours, theirs, strict=True):
            parameter.grad = torch.randn_like(parameter) * 10**-step
            other.grad = parameter.grad.clone()
        if step == 2:  # another optimizer goes on from the state of the first
            saved, optimizer = (
                optimizer.state_dict(),
                Optimizer(ours, name, lr=0.1, momentum=0.5, weight_decay=0.01),
            )
            optimizer.load_state_dict(copy.deepcopy(saved))
        optimizer.step()
        reference.step()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_sgd_without_momentum_is_torchs() -> None:
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Optimizer([ours], "sgd", lr=0.1, momentum=0.0, weight_decay=0.01)
    reference = torch.optim.SGD([theirs], lr=0.1, weight_decay=0.01, fused=True)
    for _ in range(3):
        ours.grad, theirs.grad = torch.full((3,), 0.5), torch.full((3,), 0.5)
        optimizer.step()
        reference.step()
    assert torch.equal(ours, theirs)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Optimizer([used, unused], "adam", lr=0.1, momentum=0.0, weight_decay=0.1)
    used.grad = torch.ones(3)
    optimizer.step()
    assert used.tolist() != [1, 1, 1]
    assert unused.tolist() == [1, 1, 1]


def test_a_net_without_parameters_cannot_be_trained() -> None:
    with pytest.raises(cnnzoo.CnnzooError, match="no parameters to train"):
        Optimizer([], "adam", lr=0.1, momentum=0.0, weight_decay=0.0)


def test_totals_go_on_from_their_state() -> None:
    def steps() -> Iterator[tuple[Tensor, Tensor, MicroBatch]]:
        for step in range(1, 5):
            batch = MicroBatch(torch.empty(0), torch.zeros(step, dtype=torch.int64))
            yield torch.tensor(0.5 * step), torch.arange(step), batch

    whole, first = Meter(), Meter()
    for step in steps():
        whole.update(*step)
    for step in list(steps())[:2]:
        first.update(*step)
    second = Meter(first.state())
    for step in list(steps())[2:]:
        second.update(*step)
    assert second.read() == whole.read() == pytest.approx(((0.5 + 2 + 4.5 + 8) / 10, 4 / 10))
    assert second.state() == whole.state()


class Fetches(TorchDispatchMode):
    """Counts what makes the host wait for the device: a number that Python asks for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("augment", [(), ("flip", "crop"), ("erasing", "mixup", "cutmix")])
def test_an_epoch_waits_for_no_number(monkeypatch: pytest.MonkeyPatch, augment: tuple[str, ...]) -> None:
    patch_internal(monkeypatch, "READ_SECONDS", math.inf)  # but where the clock says that it is time
    copies: list[str] = []

    def noted(name: str) -> Callable[[Tensor], object]:
        fetch = getattr(torch.Tensor, name)

        def note_and_fetch(tensor: Tensor) -> object:
            copies.append(name)
            return fetch(tensor)

        return note_and_fetch

    for name in ("cpu", "numpy", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, noted(name))
    dataset = load_dataset(SAMPLE, "train", image_size=28)
    assert dataset is not None
    source = dataset.source.subset(torch.arange(320))
    model = to_device(cnnzoo.create_model("alexnet", in_channels=1, image_size=67), CPU)
    batches = Loader(
        source,
        Preprocessing(67, (0.3,), (0.3,)),
        64,
        CPU,
        seed=0,
        augmentations=make_augmentations(augment),
        num_classes=1000,
    )
    after_each_step: list[tuple[int, list[str]]] = []
    with Fetches() as fetches:
        totals = one_epoch(
            model,
            batches.epoch(1),
            criterion=criterion_of(model, 0.1),
            on_step=lambda: after_each_step.append((fetches.count, list(copies))),
        )
    assert after_each_step == [(0, [])] * 5
    assert totals.steps == 5
    assert copies  # at the epoch's end
    with Fetches() as fetches:
        torch.ones(1).item()
    assert fetches.count == 1  # it does count


def test_a_loss_of_nan_ends_a_long_epoch_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_internal(monkeypatch, "READ_SECONDS", 0)
    model = cnnzoo.create_model("lenet")
    nn.init.constant_(next(model.parameters()), math.nan)
    with pytest.raises(NonFiniteLossError, match=r"^step 1$"):
        one_epoch(model, sample_batches(28, 64))


@pytest.mark.parametrize(
    ("name", "image", "mult_adds"),
    [
        # Weights times the positions at which they are used.
        ("lenet", (1, 28, 28), 25 * 6 * 784 + 150 * 16 * 100 + 400 * 120 + 120 * 84 + 84 * 10),
        (
            "alexnet",
            (3, 227, 227),
            363 * 96 * 55**2
            + 2400 * 256 * 27**2
            + (2304 * 384 + 3456 * 384 + 3456 * 256) * 13**2
            + 9216 * 4096
            + 4096 * 4096
            + 4096 * 10,
        ),
    ],
)
def test_a_dry_run_counts_the_multiply_adds(name: str, image: tuple[int, int, int], mult_adds: int) -> None:
    model = cnnzoo.create_model(name, num_classes=10, in_channels=image[0])
    assert dry_run(model, 10, image, CPU).mult_adds == mult_adds
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.slow
def test_the_fast_path_gives_the_losses_of_the_plain_one() -> None:
    batches = sample_batches(67, 70)
    torch.manual_seed(0)  # of other weights Adam makes 1e-4 out of a gradient that is nearly 0
    plain = cnnzoo.create_model("alexnet", in_channels=1, image_size=67, dropout=0.0)
    fast = to_device(copy.deepcopy(plain), CPU)
    assert fast.get_parameter("features.conv3.weight").is_contiguous(memory_format=torch.channels_last)
    plain_batches = [(images.contiguous(), labels) for images, labels in batches]
    assert one_epoch(fast, batches).read()[0] == pytest.approx(
        tutorial_epoch(plain, plain_batches)[0], abs=1e-5
    )


# Schedules


def test_the_cosine_falls_from_lr_to_zero() -> None:
    config = TrainConfig(model="lenet", scheduler="cosine", epochs=10, lr=0.2)
    assert lr_at(config, 0) == pytest.approx(0.2)
    assert lr_at(config, 5) == pytest.approx(0.1)
    assert lr_at(config, 10) == pytest.approx(0, abs=1e-12)


def test_the_step_schedule_divides_by_ten_after_each_third() -> None:
    config = TrainConfig(model="lenet", scheduler="step", epochs=9, lr=1.0)
    assert [round(lr_at(config, epoch + 0.5), 6) for epoch in range(9)] == [1.0] * 3 + [0.1] * 3 + [0.01] * 3


def test_the_warm_up_rises_from_zero_and_is_followed_by_the_schedule() -> None:
    config = TrainConfig(model="lenet", scheduler="cosine", warmup_epochs=2, epochs=10, lr=1.0)
    assert [lr_at(config, epoch) for epoch in (0, 1, 2, 6)] == pytest.approx([0, 0.5, 1, 0.5])
    constant = TrainConfig(model="lenet", warmup_epochs=20, epochs=10, lr=1.0)
    assert lr_at(constant, 10) == pytest.approx(0.5)


# Metrics


def test_the_wilson_interval_is_wilsons() -> None:
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17,
    # 1998, Table I, method 3: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1), abs=5e-5)


def test_figures_are_told_from_the_first_step_of_each_epoch_on(tmp_path: Path) -> None:
    losses: list[float] = []

    class Look(cnnzoo.Reporter):
        def step(
            self, epoch: int, phase: str, step: int, num_steps: int, loss: float, *others: float
        ) -> None:
            losses.append(loss)

    train(quick(tmp_path, epochs=3), reporter=Look())
    assert min(losses) > 0
