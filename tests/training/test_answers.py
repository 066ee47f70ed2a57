"""Row 60: nets of one's own that make more than logits, or nothing, or have lazy layers; a last batch of one image."""

import re
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnzoo
from cnnzoo.analysis.bench.net import bench
from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.errors import UsageError
from cnnzoo.models.registry import create_model, create_skeleton
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.training.checks import dry_run
from tests.conftest import Command
from tests.faults.shared import assert_refused
from tests.helpers import CPU, InterruptedRunError, StopAfter, forget_models, quick, resume, same_state, train
from tests.processes import Ended, Processes

Answer = Callable[[Tensor, Tensor, bool], Any]

OWN = (
    "train",
    "own",
    "--dataset",
    "fashionmnist-sample",
    "--limit-train",
    "64",
    "--limit-val",
    "32",
    "--name",
    "r",
)

Outputs = namedtuple("Outputs", ["features", "logits"])


@dataclass
class Labelled:
    loss: Tensor | None
    logits: Tensor


ANSWERS: dict[str, Answer] = {
    "a tuple": lambda logits, features, training: (logits, features),
    "a list": lambda logits, features, training: [logits, features],
    "a dict": lambda logits, features, training: {"features": features, "logits": logits},
    "out": lambda logits, features, training: {"aux": features, "out": logits},
    "a named tuple": lambda logits, features, training: Outputs(features, logits),
    "a dataclass": lambda logits, features, training: Labelled(None, logits),
    "googlenet's way": lambda logits, features, training: (logits, features, None) if training else logits,
    "the other way": lambda logits, features, training: logits if training else {"logits": logits},
}


class Own(nn.Module):
    """Has all that a trial could disturb: dropout, and statistics of batches."""

    def __init__(self, answer: Answer, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.answer = answer
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 4, 5, stride=4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.head, self.aux = nn.Linear(144, num_classes), nn.Linear(144, 3)

    def forward(self, images: Tensor) -> Any:
        features = self.body(images)
        return self.answer(self.head(features), self.aux(features), self.training)


def register(monkeypatch: pytest.MonkeyPatch, answer: Answer, name: str = "own") -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model(name, image_size=28, in_channels=1)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        return Own(answer, in_channels, num_classes)


def settings(tmp_path: Path, **changes: object) -> Any:
    return quick(
        tmp_path, **{"model": "own", "model_options": {}, "limit_train": 160, "epochs": 1, **changes}
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_row_60_a_net_that_makes_more_than_logits_is_trained_by_them_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as plain:
        register(plain, lambda logits, features, training: logits)
        reference = train(settings(tmp_path, epochs=2)).run
    register(monkeypatch, ANSWERS[name])
    with pytest.raises(InterruptedRunError):
        train(settings(tmp_path, epochs=2, name="other"), reporter=StopAfter(7))
    resume(tmp_path / "runs" / "other")
    assert same_state(tmp_path / "runs" / "other", reference)
    assert evaluate(tmp_path / "runs" / "other" / "best.pt").num_images == 1000


@pytest.mark.slow
def test_row_60_bench_summary_and_models_take_such_nets(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a dict", "googlenet's way"):
        with monkeypatch.context() as patched:
            register(patched, ANSWERS[name])
            assert [result.batch_size for result in bench("own", batch_sizes=(2,), seconds=0)] == [2]
            shown = command("summary", "own")
            assert (shown.code, shown.err) == (0, "")
            assert "1,997" in shown.out  # all that it learns: 104 + 8 + 1,450 + 435
            listed = command("models")
            assert any(re.search(r"^own\s.*1,997", line) for line in listed.out.splitlines())


def test_row_60_the_ten_squares_of_an_image_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, ANSWERS["a dict"])
    run = train(settings(tmp_path, resize=32)).run
    assert evaluate(run / "best.pt", ten_crop=True).num_images == 1000


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda logits, features, training: None, "None of two images, and"),
        (lambda logits, features, training: (features, logits), "a tuple of (2, 3), (2, 10) of two images, and"),
        (lambda logits, features, training: (), "a tuple of nothing of two images, and"),
        (lambda logits, features, training: {"a": logits, "b": 1}, "a dict with keys a, b of two images, and"),
        (
            lambda logits, features, training: {"logits": features, "b": 1},
            "a dict with keys logits, b, of which the logits are (2, 3), of two images, and",
        ),
        (lambda logits, features, training: "logits", "a str of two images, and"),
        (lambda logits, features, training: logits[0], "(10,) of two images, and"),
        (lambda logits, features, training: None if training else logits, "None of two images in training, and"),
        (lambda logits, features, training: 7 * [features[0]], "a list of (3,), (3,), (3,), (3,), (3,), 2 more of two"),
    ],
)  # fmt: skip
def test_row_60_a_net_that_makes_no_logits_is_one_line_that_says_what_it_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, says: str
) -> None:
    register(monkeypatch, answer)
    for line in (OWN, ("bench", "own", "--num-classes", "10", "--device", "cpu")):
        assert_refused(
            command(*line), f"the net makes {says}", "should make (2, 10): a logit for each class."
        )
    assert not (tmp_path / "runs").exists()


def test_row_60_a_bug_in_a_net_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(logits: Tensor, features: Tensor, training: bool) -> Any:
        return logits.no_such_thing if training else logits  # type: ignore[attr-defined]

    register(monkeypatch, answer)
    with pytest.raises(AttributeError, match="no_such_thing"):
        train(settings(tmp_path))


def test_row_60_the_trial_leaves_statistics_random_numbers_and_names_as_they_are() -> None:
    model = Own(ANSWERS["googlenet's way"], 1, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    dry_run(model, 10, (1, 28, 28), CPU, trains=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.train()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


# Lazy layers


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_models(monkeypatch)

    class Aux(nn.Module):
        def __init__(self, in_channels: int, num_classes: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.LazyConv2d(4, 5, stride=4), nn.LazyBatchNorm2d(), nn.Flatten(), nn.Dropout(0.2)
            )
            self.head, self.aux = nn.LazyLinear(num_classes), nn.LazyLinear(3)

        def forward(self, images: Tensor) -> Any:
            features = self.body(images)
            return (self.head(features), self.aux(features)) if self.training else self.head(features)

    @cnnzoo.register_model("own", image_size=28, in_channels=1)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        return Aux(in_channels, num_classes)


@pytest.mark.usefixtures("lazy")
def test_row_60_lazy_layers_have_their_sizes_and_weights_from_the_start() -> None:
    torch.manual_seed(0)
    model = create_model("own", num_classes=10)
    assert model.training
    assert all(module.training for module in model.modules())
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes["body.0.weight"] == (4, 1, 5, 5)
    assert (shapes["head.weight"], shapes["aux.weight"]) == ((10, 144), (3, 144))
    assert not model.get_buffer("body.1.running_mean").any()
    assert model.get_buffer("body.1.num_batches_tracked") == 0
    skeleton = create_skeleton("own", num_classes=10)
    assert {name: tuple(value.shape) for name, value in skeleton.state_dict().items()} == shapes
    assert all(value.is_meta for value in skeleton.state_dict().values())


@pytest.mark.usefixtures("lazy")
@pytest.mark.parametrize("init", ["default", "normal:0.01"])
def test_row_60_a_lazy_net_trains_resumes_is_evaluated_and_begun_with(tmp_path: Path, init: str) -> None:
    config = settings(tmp_path, epochs=2, init=init, freeze="body", lr_scale={"head": 0.5})
    whole = train(config).run
    with pytest.raises(InterruptedRunError):
        train(config.replace(name="stopped"), reporter=StopAfter(7))
    resume(tmp_path / "runs" / "stopped")
    assert same_state(tmp_path / "runs" / "stopped", whole)
    assert evaluate(whole / "best.pt").num_images == 1000
    state = load_checkpoint(whole / "best.pt").state_dict
    assert (state["body.0.weight"].std() < 0.05) == (init != "default")
    again = train(settings(tmp_path, weights=str(whole), optimizer="sgd", lr=1e-30)).run
    assert torch.equal(load_checkpoint(again / "best.pt").state_dict["head.weight"], state["head.weight"])


@pytest.mark.usefixtures("lazy")
def test_row_60_bench_summary_and_models_take_a_lazy_net(command: Command) -> None:
    assert next(iter(bench("own", batch_sizes=(2,), seconds=0))).batch_size == 2
    shown = command("summary", "own")
    assert (shown.code, shown.err) == (0, "")
    assert "LazyLinear" not in shown.out
    listed = command("models")
    assert any(re.search(r"^own\s.*[1-9],\d{3}", line) for line in listed.out.splitlines()), listed


LAZY = (
    "import cnnzoo, torch\n"
    "@cnnzoo.register_model('own', image_size=28)\n"
    "class Own(torch.nn.Module):\n"
    "    def __init__(self, num_classes, in_channels):\n"
    "        super().__init__()\n"
    "        self.head, self.aux = torch.nn.LazyLinear(num_classes), torch.nn.LazyLinear(3)\n"
    "    def forward(self, x):\n"
    "        x = x.flatten(1)\n"
    "        return (self.head(x), self.aux(x)) if self.training else self.head(x)\n"
)
"""A net that has a lazy head for training alone."""


def in_processes(processes: Processes, num: int, module: str, *flags: str, cwd: Path) -> list[Ended]:
    """Train the net of a module in so many processes, and return how they ended."""
    (cwd / "mine.py").write_text(module)
    line = (*OWN, "--import", "mine", "--epochs", "1", *flags)
    return [started.wait() for started in processes.start_team(num, *line, cwds=[cwd] * num)]


@pytest.mark.slow
def test_row_60_several_processes_and_several_seeds_train_such_a_net(
    processes: Processes, tmp_path: Path
) -> None:
    states = []
    for num in (1, 2):
        ends = in_processes(processes, num, LAZY, "--name", f"of-{num}", cwd=tmp_path)
        assert [(end.code, end.err) for end in ends] == [(0, "")] * num
        states.append(load_checkpoint(tmp_path / "runs" / f"of-{num}" / "best.pt").state_dict)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-5)
    seeds = processes.run(*OWN, "--import", "mine", "--epochs", "1", "--seeds", "2", cwd=tmp_path)
    assert (seeds.code, seeds.err) == (0, "")


def test_row_60_a_lazy_layer_that_no_image_reaches_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.spare = nn.LazyLinear(10), nn.LazyLinear(3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(images.flatten(1))
            return logits

    @cnnzoo.register_model("own", image_size=28, in_channels=1)
    def build(num_classes: int, in_channels: int) -> nn.Module:
        return Unused()

    says = "cannot build own: spare.weight is lazy, and no image reaches it that could give it a size."
    assert_refused(command(*OWN), says, code=2)


def test_row_60_a_layer_that_is_made_in_the_forward_pass_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)

    @cnnzoo.register_model("own", image_size=28, in_channels=1)
    class Late(nn.Module):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__()
            self.num_classes = num_classes

        def forward(self, images: Tensor) -> Any:
            if not hasattr(self, "head"):
                self.head = nn.Linear(784, self.num_classes)
            return self.head(images.flatten(1))

    assert_refused(
        command(*OWN), "the net makes head.bias while it runs, too late to be trained", "nn.LazyLinear"
    )


# A last batch of one

NORMALISING = (
    "import cnnzoo\n"
    "from torch import nn\n"
    "@cnnzoo.register_model('own', image_size=28)\n"
    "def build(num_classes, in_channels):\n"
    "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2), nn.BatchNorm1d(2), nn.Linear(2, num_classes))\n"
)


@pytest.mark.parametrize(
    ("num", "batch", "sizes"),
    [(33, 32, [31, 33]), (97, 32, [31, 33]), (65, 2, [3]), (91, 6, [4, 7]), (3, 2, [3]), (40, 1, [2])],
)
def test_a_last_batch_of_one_names_the_nearest_sizes_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num: int, batch: int, sizes: list[int]
) -> None:
    forget_models(monkeypatch)
    exec(NORMALISING)
    config = settings(tmp_path, limit_train=num, batch_size=batch)
    says = f"needs two or more. Change --batch-size: {' or '.join(map(str, sizes))} will do."
    with pytest.raises(UsageError, match=re.escape(says)):
        train(config)
    for size in range(min(sizes[0], batch), sizes[-1] + 1):
        if size in sizes:
            train(config.replace(batch_size=size))
        else:
            with pytest.raises(UsageError, match="batch normalisation"):
                train(config.replace(batch_size=size))


def test_a_single_training_image_asks_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_models(monkeypatch)
    exec(NORMALISING)
    with pytest.raises(UsageError, match=r"needs two or more\. Use more images\."):
        train(settings(tmp_path, limit_train=1))


@pytest.mark.slow
def test_several_processes_name_a_size_that_gives_each_two(processes: Processes, tmp_path: Path) -> None:
    flags = ("--limit-train", "33", "--batch-size")
    refused = in_processes(processes, 2, NORMALISING, *flags, "4", cwd=tmp_path)
    assert [end.code for end in refused] == [2, 2]
    assert "Change --batch-size: 12 will do." in "".join(end.err for end in refused)
    assert [end.code for end in in_processes(processes, 2, NORMALISING, *flags, "12", cwd=tmp_path)] == [0, 0]


def test_row_60_a_net_whose_weights_are_parametrized_trains_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_models(monkeypatch)
    parametrizations = nn.utils.parametrizations

    @cnnzoo.register_model("parametrized", image_size=28, in_channels=1)
    def build(num_classes: int) -> nn.Module:
        first, last = nn.Linear(784, 16), nn.Linear(16, num_classes)
        bounded = parametrizations.spectral_norm(first)
        return nn.Sequential(nn.Flatten(), bounded, nn.ReLU(), parametrizations.weight_norm(last))

    run = train(quick(tmp_path, model="parametrized", model_options={}, epochs=1, limit_train=64)).run
    assert len(resume(run, {"epochs": 2}).history) == 2
