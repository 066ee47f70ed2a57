"""The loss of unequal classes: weights, the order of a balanced sampler, and what guessing comes to."""

import copy
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import cnnzoo
from cnnzoo.analysis.sweep.variations import combinations_of, dimensions_of
from cnnzoo.config import TrainConfig
from cnnzoo.data.loader import Loader
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.data.preprocess import Preprocessing
from cnnzoo.data.sources import Resident
from cnnzoo.distributed.group import ALONE
from cnnzoo.errors import CnnzooError, UsageError
from cnnzoo.registries import LOSSES
from cnnzoo.training.losses import NO_GUESS, class_weights_of, criterion_of, guess_of, loss_of
from cnnzoo.training.settings import check_settings
from cnnzoo.training.setup import load_data
from tests.conftest import Command
from tests.helpers import CPU, Reporter, StopAfter, quick, resume, same_state, train

LABELS = torch.tensor([0] * 30 + [1] * 9 + [2] * 1)
CLASSES = ("ant", "bee", "cat")
NET = nn.Linear(4, 3)


def test_weights_average_1_over_the_images_and_balanced_ones_make_classes_count_as_much(
    tmp_path: Path,
) -> None:
    balanced = class_weights_of("balanced", LABELS, CLASSES)
    assert balanced[LABELS].mean() == pytest.approx(1)
    totals = [float(balanced[LABELS[label == LABELS]].sum()) for label in range(3)]
    assert totals == pytest.approx([40 / 3] * 3)
    (tmp_path / "w.yaml").write_text("bee: 2\nant: 1\ncat: 3.5\n")
    (tmp_path / "w.csv").write_text("class,weight\nant,2\nbee,4\ncat,7\n")
    from_yaml, from_csv = (
        class_weights_of(str(tmp_path / name), LABELS, CLASSES) for name in ("w.yaml", "w.csv")
    )
    assert torch.equal(from_yaml, from_csv)
    assert from_yaml[LABELS].mean() == pytest.approx(1)
    assert (from_yaml[1] / from_yaml[0], from_yaml[2] / from_yaml[0]) == pytest.approx((2, 3.5))
    (tmp_path / "w.yaml").write_text("ant: 0\nbee: 0\ncat: 0\n")
    with pytest.raises(UsageError, match="are 0 for all images"):
        class_weights_of(str(tmp_path / "w.yaml"), LABELS, CLASSES)


def test_row_43_names_of_classes_stay_as_they_are_written(tmp_path: Path) -> None:
    """YAML 1.1 makes truths, numbers, dates and nothing of these."""
    names = ("no", "yes", "on", "Off", "1e3", "0x1F", "010", "1:30", "~", "null", "2024-01-01", "1_000")
    labels, numbers = torch.arange(len(names)), range(1, len(names) + 1)
    lines = [f"{name}{{}}{number}\n" for name, number in zip(names, numbers, strict=True)]
    files = {
        "w.yaml": "".join(lines).format(*[": "] * len(names)),
        "careful.yaml": "# *\n" + "".join(lines).format(*[": "] * len(names)),
        "w.csv": "class,weight\n" + "".join(lines).format(*"," * len(names)),
        "bare.csv": "".join(lines).format(*"," * len(names)),
        "bare.tsv": "".join(lines).format(*"\t" * len(names)),
    }
    expected = torch.tensor([number * 2 / (len(names) + 1) for number in numbers])
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        weights = class_weights_of(str(tmp_path / name), labels, names)
        torch.testing.assert_close(weights, expected, msg=name)
    (tmp_path / "w.csv").write_text("no,1\nyes,2\nno,3\n")
    with pytest.raises(UsageError, match=r"w.csv has no more than once. Keep one line for each class."):
        class_weights_of(str(tmp_path / "w.csv"), labels, names)
    (tmp_path / "w.yaml").write_text("no: &a 1\nyes: *a\n")
    with pytest.raises(CnnzooError, match="aliases"):
        class_weights_of(str(tmp_path / "w.yaml"), labels, names)


def test_an_image_counts_the_same_whatever_it_stands_beside(tmp_path: Path) -> None:
    weights = class_weights_of("balanced", LABELS, CLASSES)
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    for smoothing in (0.0, 0.2):
        loss = criterion_of(NET, smoothing, class_weights=weights)
        parts = [
            loss(some, labels) * len(labels) / 40
            for some, labels in zip(logits.split(7), LABELS.split(7), strict=True)
        ]
        assert torch.stack(parts).sum() == pytest.approx(float(loss(logits, LABELS)), rel=1e-6)
    plain = criterion_of(NET, class_weights=weights)
    expected = (weights[LABELS] * F.cross_entropy(logits, LABELS, reduction="none")).mean()
    assert plain(logits, LABELS) == pytest.approx(float(expected))
    soft = F.one_hot(LABELS, 3).float()
    assert plain(logits, soft) == pytest.approx(float(expected))
    halves = (soft + soft.roll(1, 0)) / 2  # a mixed image counts as its two halves do
    assert plain(logits, halves) == pytest.approx(
        float(plain(logits, soft) + plain(logits, soft.roll(1, 0))) / 2
    )


def test_guessing_comes_to_the_entropy_of_what_the_loss_counts() -> None:
    counts = torch.bincount(LABELS)
    shares = counts.double() / 40
    entropy = -float((shares * shares.log()).sum())
    assert guess_of(counts) == pytest.approx((entropy, 0.75))
    assert guess_of(torch.ones(10)) == pytest.approx((math.log(10), 0.1))
    weights = class_weights_of("balanced", LABELS, CLASSES)
    assert guess_of(counts, weights).loss == pytest.approx(math.log(3))
    # The best constant logits reach that in the loss itself, where no direction lowers it.
    for weight, smoothing in ((None, 0.0), (weights, 0.0), (None, 0.3), (weights, 0.3)):
        loss = criterion_of(NET, smoothing, class_weights=weight)
        logits = torch.zeros(3, dtype=torch.float64)
        for _ in range(2000):
            logits.requires_grad_()
            value = loss(logits.expand(40, 3), LABELS)
            (slope,) = torch.autograd.grad(value, logits)
            logits = (logits - slope).detach()
        assert value.item() == pytest.approx(guess_of(counts, weight, smoothing).loss, abs=1e-4)


def test_row_27_a_loss_that_stays_at_the_entropy_of_unequal_labels_is_told(tmp_path: Path) -> None:
    from PIL import Image

    for name, num in (("cat", 180), ("dog", 20)):
        for number in range(num):
            path = tmp_path / "pets" / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 100).save(path)  # nothing tells them apart
    for name in ("cat", "dog"):
        path = tmp_path / "pets" / "test" / name / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (8, 8), 3).save(path)
    said: list[str] = []

    class Listener(Reporter):
        def warn(self, message: str) -> None:
            said.append(message)

    settings = {"dataset": f"folder:{tmp_path / 'pets'}", "batch_size": 8, "limit_train": None, "epochs": 10}
    train(quick(tmp_path, **settings), reporter=Listener())
    assert [line for line in said if line.startswith("the loss is still that of guessing among 2 classes")]


# The balanced sampler


def loader(world_size: int = 1, rank: int = 0, num: int = 40, **how: object) -> Loader:
    images = torch.arange(num, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    source = Resident(images, LABELS[:num] if num <= 40 else LABELS)
    return Loader(
        source,
        Preprocessing(4),
        8,
        CPU,
        seed=3,
        balanced=True,
        world_size=world_size,
        rank=rank,
        **how,  # type: ignore[arg-type]
    )


def drawn(batches: Loader, epoch: int = 1, start: int = 0) -> list[tuple[int, int]]:
    return [
        (round(float(image.mean()) * 255), int(label))
        for batch in batches.epoch(epoch, start=start)
        for image, label in zip(batch.images, batch.labels, strict=True)
    ]


def test_every_class_is_drawn_as_often_with_replacement() -> None:
    seen: set[int] = set()
    for epoch in range(1, 30):
        pairs = drawn(loader(), epoch)
        counts = torch.bincount(torch.tensor([label for _, label in pairs]), minlength=3)
        assert len(pairs) == 40
        assert counts.max() - counts.min() <= 1
        assert all(int(LABELS[image]) == label for image, label in pairs)
        seen |= {image for image, _ in pairs}
    assert seen == set(range(40))
    assert drawn(loader(), 1) == drawn(loader(), 1) != drawn(loader(), 2)


def test_several_processes_draw_the_same_and_it_goes_on_where_it_was() -> None:
    whole = drawn(loader())
    halves = [drawn(loader(2, rank)) for rank in (0, 1)]
    together = [pair for start in range(0, 20, 4) for half in halves for pair in half[start : start + 4]]
    assert together == whole
    assert drawn(loader(), 1, start=3) == whole[24:]


@pytest.mark.parametrize("augment", [(), ("flip", "mixup:0.4")])
def test_a_balanced_weighted_run_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, augment: tuple[str, ...]
) -> None:
    settings = {
        "sampler": "balanced",
        "class_weights": "balanced",
        "augment": augment,
        "label_smoothing": 0.1,
    }
    whole = train(quick(tmp_path, **settings, name="whole")).run
    with pytest.raises(Exception, match="saved"):
        train(quick(tmp_path, **settings, name="r"), reporter=StopAfter(13))
    resume(tmp_path / "runs" / "r")
    assert same_state(tmp_path / "runs" / "r", whole)


def test_the_settings_are_written_and_read(tmp_path: Path) -> None:
    config = TrainConfig(
        model="lenet", sampler="balanced", class_weights="balanced", csv_columns=("id", "label")
    )
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert copy.copy(config) == config
    with pytest.raises(UsageError, match="one of shuffle, balanced"):
        TrainConfig(model="lenet", sampler="even")  # type: ignore[arg-type]


# A loss by its name


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A module that registers a loss, in the current folder; forgotten at the end of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(LOSSES, "entries", dict(LOSSES.entries))
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    Path("my_losses.py").write_text(
        "import cnnzoo\n"
        "from torch.nn import functional as F\n"
        "@cnnzoo.register_loss('margin')\n"
        "def margin(logits, targets):\n"
        "    return F.multi_margin_loss(logits, targets)\n"
        "@cnnzoo.register_loss('each')\n"
        "def each(logits, targets):\n"
        "    return F.cross_entropy(logits, targets, reduction='none')\n",
        encoding="utf-8",
    )
    return "my_losses"


def test_the_built_in_names_are_those_that_are_registered() -> None:
    assert LOSSES.built_in == ("cross_entropy", "mse")
    assert set(LOSSES.built_in) <= set(LOSSES.entries)


def test_mse_is_the_mean_square_of_logits_less_one_hot_targets_or_probabilities() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    loss = criterion_of(NET, loss="mse")
    by_hand = (1 + 0 + 1 + 0.25 + 0.25 + 1) / 6
    assert float(loss(logits, torch.tensor([0, 2]))) == pytest.approx(by_hand)
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
    by_hand = (1.3**2 + 0.3**2 + 1 + 0.25 + 0.25 + 1) / 6
    assert float(loss(logits, mixed)) == pytest.approx(by_hand)
    assert float(loss(logits.bfloat16(), mixed)) == pytest.approx(by_hand)


def test_an_epoch_with_mse_is_that_of_a_loop_written_by_hand(tmp_path: Path) -> None:
    config = quick(tmp_path, loss="mse", epochs=1, precision="fp32", threads=1)
    result = train(config)

    data = load_data(config, Reporter(), ALONE, CPU)
    torch.manual_seed(config.seed)
    model = cnnzoo.create_model("lenet", num_classes=10, in_channels=1, image_size=28, activation="tanh")
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    sums, num = 0.0, 0
    for batch in data.loaders.train.epoch(1):
        loss = (model(batch.images) - torch.eye(10)[batch.labels]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums, num = sums + loss.item() * len(batch.labels), num + len(batch.labels)
    with torch.no_grad():
        val = [
            (model(batch.images) - torch.eye(10)[batch.labels]).square().mean(1)
            for batch in data.loaders.val.epoch()
        ]
    (row,) = result.history
    assert row.train_loss == pytest.approx(sums / num, rel=1e-5)
    assert row.val_loss == pytest.approx(float(torch.cat(val).mean()), rel=1e-5)
    evaluated = cnnzoo.evaluate(result.run / "best.pt", split="val", precision="fp32")
    assert evaluated.loss == pytest.approx(row.val_loss, rel=1e-5)


def test_a_resumed_run_keeps_its_loss_and_takes_no_other(tmp_path: Path) -> None:
    settings = {"loss": "mse", "augment": ("mixup:0.4",)}
    whole = train(quick(tmp_path, **settings, name="whole")).run
    with pytest.raises(Exception, match="saved"):
        train(quick(tmp_path, **settings, name="r"), reporter=StopAfter(13))
    with pytest.raises(UsageError, match=r"these differ: loss \(was 'mse', now 'cross_entropy'\)"):
        resume(tmp_path / "runs" / "r", {"loss": "cross_entropy"})
    resume(tmp_path / "runs" / "r")
    assert same_state(tmp_path / "runs" / "r", whole)


def test_ones_own_loss_trains_evaluates_and_resumes_where_its_module_is_imported(
    command: Command, mine: str
) -> None:
    flags = ("--dataset", SAMPLE, "--limit-train", "64", "--limit-val", "32", "--epochs", "1")
    own = ("--loss", "margin", "--import", mine)
    assert command("train", "lenet", *flags, *own, "--name", "r").code == 0
    assert command("eval", "r", "--import", mine).code == 0
    assert command("plot", "activations", "r", "--import", mine).code == 0
    assert command("lr-find", "lenet", *flags[:4], *own, "--steps", "10").code == 0
    LOSSES.entries.pop("margin")  # as in a process that has not imported it
    for line in (("eval", "r"), ("plot", "activations", "r"), ("train", "--resume", "r", "--epochs", "2")):
        done = command(*line)
        assert done.code == 2
        assert "loss must be one of cross_entropy, mse" in done.err
        assert f"If it is one of your own, add --import={mine}." in done.err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--loss", "msee"), "loss must be one of cross_entropy, mse, not 'msee'. Did you mean 'mse'?"),
        (
            ("--loss", "mse", "--label-smoothing", "0.1"),
            "label_smoothing only applies with the loss cross_entropy.",
        ),
        (
            ("--loss", "mse", "--class-weights", "balanced"),
            "class_weights only applies with the loss cross_entropy.",
        ),
        (
            ("--loss", "each", "--import", "my_losses"),
            "loss each returns a tensor (2,), not the mean of the images ()",
        ),
        (
            ("--loss", "margin", "--import", "my_losses", "--augment", "mixup"),
            "loss margin fails on logits (2, 10) and probabilities of mixed images (2, 10):",
        ),
    ],
)
def test_what_a_loss_does_not_take_is_one_line(
    command: Command, mine: str, flags: tuple[str, ...], says: str
) -> None:
    done = command("train", "lenet", "--dataset", SAMPLE, "--limit-train", "64", *flags)
    assert done.code in (1, 2)
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("runs").exists()


def test_a_nets_own_loss_wins_and_another_is_refused(tmp_path: Path) -> None:
    says = "this net has a loss of its own, which --loss mse does not replace. Leave it out."
    config = quick(tmp_path, model="lenet5-1998", model_options={}, loss="mse")
    for refused in (train, check_settings):
        with pytest.raises(UsageError, match=says):
            refused(config)


def test_only_the_cross_entropy_is_compared_with_guessing(tmp_path: Path) -> None:
    classes, own = tuple("abc"), cnnzoo.create_model("lenet5-1998", num_classes=3)
    for model, loss, is_compared in (
        (NET, "cross_entropy", True),
        (NET, "mse", False),
        (own, "cross_entropy", False),
    ):
        config = quick(tmp_path, loss=loss)
        _, guess = loss_of(config, model, LABELS, classes, mixed=False, device=CPU)
        assert (guess != NO_GUESS) is is_compared


def test_the_losses_are_in_the_help_and_a_sweep_varies_them(command: Command, tmp_path: Path) -> None:
    assert "cross_entropy, mse" in " ".join(command("train", "--help").out.replace("│", " ").split())
    dimensions = dimensions_of({"loss": ["cross_entropy", "mse"]})
    found = combinations_of(quick(tmp_path).to_dict(), dimensions, {}, "the settings")
    assert [each.config.loss for each in found] == ["cross_entropy", "mse"]
