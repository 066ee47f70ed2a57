"""What docs/architecture.md says of adding something, done as it says."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import REPOSITORY

pytestmark = pytest.mark.slow


def run(tree: Path, folder: Path, *arguments: str) -> str:
    """Run ``cnnzoo ARGUMENTS`` with the code in ``tree``; it has to end well, and to say nothing on stderr."""
    # A copied tree's coverage is not the package's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-m", "cnnzoo", *arguments],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


SMALL = (
    "--dataset",
    "fashionmnist-sample",
    "--limit-train",
    "96",
    "--limit-val",
    "32",
    "--epochs",
    "1",
    "--name",
    "r",
)


def test_a_network_a_dataset_an_augmentation_an_optimizer_and_a_loss_are_added_from_outside(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "import torch\n"
        "from torch import nn\n"
        "import cnnzoo\n"
        "@cnnzoo.register_model('mine', image_size=28)\n"
        "def mine(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 784, num_classes))\n"
        "@cnnzoo.register_optimizer('halving')\n"
        "class Halving(torch.optim.SGD):\n"
        "    pass\n"
        "@cnnzoo.register_loss('cubic')\n"
        "def cubic(logits, targets):\n"
        "    if targets.ndim == 1:\n"
        "        targets = nn.functional.one_hot(targets, logits.shape[1])\n"
        "    return (logits - targets).abs().pow(3).mean()\n"
        "@cnnzoo.register_augmentation('noise')\n"
        "class Noise(cnnzoo.Augmentation):\n"
        "    def __init__(self, std: float = 0.1):\n"
        "        self.std = std\n"
        "    def draw(self, epoch):\n"
        "        shape = epoch.num_images, 1, epoch.image_size, epoch.image_size\n"
        "        return torch.randn(shape, generator=epoch.generator('noise')) * self.std\n"
        "    def __call__(self, examples, drawn):\n"
        "        return examples._replace(images=examples.images + drawn)\n"
        "@cnnzoo.register_dataset('halves', classes=('dark', 'light'), channels=1, image_size=28)\n"
        "def halves(split):\n"
        "    labels = np.arange(200) % 2\n"
        "    return np.full((200, 1, 28, 28), 255, np.uint8) * labels[:, None, None, None].astype(np.uint8), labels\n",
        encoding="utf-8",
    )

    def command(*line: str) -> str:
        return run(REPOSITORY, tmp_path, *line, "--import", "mine")

    line = ("--augment", "flip,noise:0.2,mixup", "--optimizer", "halving", "--loss", "cubic", *SMALL)
    command("train", "mine", *line, "--dataset", "halves", "--name", "own-data")
    assert "200 test images of halves" in command("eval", "own-data")
    command("train", "mine", *line)
    assert "1,000 test images" in command("eval", "r")
    assert "mine" in command("models")
    command("train", "--resume", "r", "--epochs", "2")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source and of what is made of it, to be patched."""
    for name in ("src", "scripts", "docs"):
        shutil.copytree(REPOSITORY / name, tmp_path / "tree" / name)
    shutil.copy(REPOSITORY / "README.md", tmp_path / "tree")
    return tmp_path / "tree"


def patch(tree: Path, file: str, old: str, new: str) -> None:
    """Put ``new`` behind ``old`` in a file of the package; without ``old``, at its end."""
    path = tree / "src" / "cnnzoo" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1 or not old
    path.write_text(text.replace(old, old + new) if old else text + new, encoding="utf-8")


def test_a_dataset_an_augmentation_a_loss_and_a_picture_are_added_where_the_docs_say(
    tree: Path, tmp_path: Path
) -> None:
    patch(
        tree,
        "data/named/catalog.py",
        "_SPECS = [\n",
        "    DatasetSpec('stripes', 'Stripes', ('across', 'down'), channels=3, image_size=12, num_train=300, "
        "num_test=40,\n                megabytes=1, format='npz'),\n",
    )
    patch(
        tree,
        "data/named/formats.py",
        "FORMATS = {\n",
        "    'npz': Format(read=lambda spec, split, folder: _npz(folder / f'{split}.npz')),\n",
    )
    patch(
        tree,
        "data/named/formats.py",
        "",
        "\n\ndef _npz(file: Path) -> Arrays | None:\n"
        "    if not file.is_file():\n"
        "        return None\n"
        "    with np.load(file) as arrays:\n"
        "        images, labels = arrays['images'], arrays['labels']\n"
        "    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()\n"
        "    return Arrays(images, labels, file.parent, file.stat().st_size, digest)\n",
    )
    patch(
        tree,
        "data/augment.py",
        "",
        "\n\n@register_augmentation('negative')\n"
        "class Negative(Augmentation):\n"
        '    """Negative of some of the images.\n\n    Args:\n        share: Of the images.\n    """\n\n'
        "    def __init__(self, share: float = 0.5) -> None:\n"
        "        self.share = share\n\n"
        "    def draw(self, epoch: Epoch) -> Tensor:\n"
        "        return torch.rand(epoch.num_images, generator=epoch.generator('negative')) < self.share\n\n"
        "    def __call__(self, examples: Examples, drawn: Tensor) -> Examples:\n"
        "        flipped = torch.where(drawn[:, None, None, None], -examples.images, examples.images)\n"
        "        return examples._replace(images=flipped)\n",
    )
    patch(tree, "registries.py", '"erasing", "mixup", "cutmix"', ', "negative"')
    patch(
        tree,
        "training/losses.py",
        "",
        "\n\n@register_loss('hinge')\n"
        "def hinge(logits: Tensor, targets: Tensor) -> Tensor:\n"
        '    """Return the mean margin that is lacking."""\n'
        "    return F.multi_margin_loss(logits.float(), targets)\n",
    )
    patch(tree, "registries.py", '("cross_entropy", "mse"', ', "hinge"')
    patch(
        tree,
        "cli/pictures.py",
        "",
        "\n\ndef draw_biases(asked: Request) -> None:\n"
        '    """Draw the biases of the last layer."""\n'
        "    net = asked.net()\n"
        "    bias = [p for name, p in net.model.named_parameters() if name.endswith('bias')][-1]\n"
        "    finish(asked, net.run / 'biases.png', lambda figure: plot_bars(bias.tolist(), figure))\n\n\n"
        "def plot_bars(values, figure=None):\n"
        "    from matplotlib.figure import Figure\n"
        "    figure = figure or Figure()\n"
        "    figure.add_subplot().bar(range(len(values)), values)\n"
        "    return figure\n",
    )
    patch(tree, "cli/plot.py", "    draw_calibration,\n", "    draw_biases,\n")
    patch(
        tree,
        "cli/plot.py",
        "KINDS: dict[str, Callable[[Request], None]] = {\n",
        "    'biases': draw_biases,\n",
    )

    subprocess.run(
        [sys.executable, "scripts/make_docs.py"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        check=True,
    )
    assert "| `cnnzoo plot biases` | the biases of the last layer |" in (tree / "README.md").read_text(
        "utf-8"
    )
    models = (tree / "docs" / "models.md").read_text("utf-8")
    assert "| `negative` | Negative of some of the images | `negative:0.5`, share |" in models
    assert "| `hinge` | the mean margin that is lacking |" in models

    folder = tmp_path / "data" / "stripes"
    folder.mkdir(parents=True)
    for split, num in (("train", 300), ("test", 40)):
        labels = np.arange(num) % 2
        stripes = np.tile(np.arange(12) % 2, (12, 1)) * 255
        images = np.stack([stripes.T if label == 0 else stripes for label in labels])
        np.savez(
            folder / f"{split}.npz", images=np.tile(images[:, None], (1, 3, 1, 1)).astype("u1"), labels=labels
        )

    assert "stripes" in run(tree, tmp_path, "data", "--data-dir", "data")
    helped = run(tree, tmp_path, "train", "--help")
    assert "negative" in helped
    assert "hinge" in helped
    assert "biases: the biases of the last layer." in run(tree, tmp_path, "plot", "--help")
    settings = ("--augment", "negative:0.3,flip", "--loss", "hinge", "--epochs", "1", "--name", "striped")
    run(tree, tmp_path, "train", "lenet", "--dataset", "stripes", "--data-dir", "data", *settings)
    assert "40 test images of stripes" in run(tree, tmp_path, "eval", "striped")
    run(tree, tmp_path, "train", "--resume", "striped", "--epochs", "2")
    assert "biases.png" in run(tree, tmp_path, "plot", "biases", "striped")


def test_a_column_of_the_history_is_added_in_two_places_and_older_runs_go_on(
    tree: Path, tmp_path: Path
) -> None:
    patch(
        tree,
        "runs/history.py",
        "    images_per_second: float\n",
        "    val_images: int = 0\n    note: float | None = None\n",
    )
    patch(
        tree,
        "training/state.py",
        "            images_per_second=(trained.images + validated.images) / seconds,\n",
        "            val_images=validated.images,\n",
    )
    folder = tmp_path / "work"
    folder.mkdir()
    for name, lr in (("r", "0.01"), ("other", "0.001")):
        run(REPOSITORY, folder, "train", "lenet", *SMALL, "--lr", lr, "--name", name)
    assert_read(tree, folder)
    run(tree, folder, "train", "--resume", "r", "--epochs", "2")
    with (folder / "runs" / "r" / "history.csv").open(newline="", encoding="utf-8") as rows:
        assert [(row["val_images"], row["note"]) for row in csv.DictReader(rows)] == [("0", ""), ("32", "")]
    run(tree, folder, "train", "lenet", *SMALL, "--name", "new")
    assert_read(tree, folder)
    # A column without a default is in every run: a history that lacks it was changed.
    table = folder / "runs" / "other" / "history.csv"
    table.write_text(table.read_text().replace(",lr,", ",rate,"))
    ended = subprocess.run(
        [sys.executable, "-m", "cnnzoo", "verify", "other"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "✗ history.csv: lr of epoch 1 is None, and 0.001 in last.pt" in ended.stdout


def assert_read(tree: Path, folder: Path) -> None:
    """See that every command which reads histories takes the runs in a folder for what they are."""
    names = sorted(path.name for path in (folder / "runs").iterdir() if path.is_dir())
    listed = json.loads(run(tree, folder, "runs", "--format", "json"))
    assert sorted(each["name"] for each in listed) == names
    assert all(each["fault"] == "" and each["val_acc"] is not None for each in listed)
    assert run(tree, folder, "verify", *names).count("✓ history.csv: the history in last.pt.") == len(names)
    assert json.loads(run(tree, folder, "compare", *names, "--format", "json"))["num_images"] == 1000
    assert "best epoch" in run(tree, folder, "plot", *(f"runs/{name}" for name in names), "-o", "all.png")
