"""Rows 43 to 50: settings, paths and terminals of every kind."""

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from PIL import Image
from rich.cells import cell_len

from cnnzoo.config import TrainConfig, field_types
from cnnzoo.config_file import read_yaml
from cnnzoo.data.named.catalog import SAMPLE
from cnnzoo.errors import OTHER_NAMES, UsageError
from tests.conftest import Command
from tests.faults.shared import SMALL, assert_refused, escape_codes
from tests.helpers import contents, quick, rows, train
from tests.processes import Processes

# YAML


def test_row_43_numbers_that_yaml_takes_for_text_are_numbers(command: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"model: lenet\nmodel_options: {{activation: tanh}}\ndataset: {SAMPLE}\nlr: 1e-3\nepochs: '1'\n"
        "limit_train: '32'\nlimit_val: 10\naugment: flip,crop\nnormalize: 'no'\n"
    )
    done = command("train", "--config", "recipe.yaml", "--name", "r")
    assert (done.code, done.err) == (0, "")
    config = TrainConfig.from_dict(read_yaml(tmp_path / "runs" / "r" / "config.yaml"))
    assert (config.lr, config.epochs, config.limit_train) == (1e-3, 1, 32)
    assert (config.augment, config.normalize) == (("flip", "crop"), False)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ["train", "lenett"],
            "unknown model 'lenett'. Did you mean 'lenet'? There are: alexnet, alexnet-2012, lenet, lenet5-1998",
        ),
        (["summary", "alexnett"], "Did you mean 'alexnet'?"),
        (
            ["train", "lenet", "-d", "fashion-mnist"],
            "unknown dataset 'fashion-mnist'. Did you mean 'fashionmnist'?",
        ),
        (["train", "lenet", "-d", "fashion-mnist"], "Or folder:PATH for a tree of class folders,"),
        (["data", "fetch", "cifar"], "Did you mean 'cifar10'?"),
        (
            ["train", "lenet", "-o", "poling=max"],
            "unknown option of lenet: 'poling'. Did you mean 'pooling'?",
        ),
        (["train", "lenet", "-o", "num_classes=5"], "unknown option of lenet: 'num_classes'"),
        (["train", "lenet", "-o", "activation"], "option 'activation' is not NAME=VALUE"),
        (["train", "--config", "bad.yaml"], "unknown setting 'epoch'. Did you mean 'epochs'?"),
        (["train", "lenet", "--epoch", "3"], "--epochs"),
        (
            ["train", "lenet", "--device", "cuad"],
            "unknown device 'cuad'. Did you mean 'cuda'? Give auto, cpu, gpu, cuda, cuda:1 or 1, mps or xpu.",
        ),
        (["trian", "lenet"], "trian"),
        (["train", "--resume", "lenet-l"], "unknown run 'lenet-l'. Did you mean 'lenet-1'?"),
        (["eval", "lenet-l"], "Did you mean 'lenet-1'?"),
    ],
)
def test_row_44_what_is_unknown_is_wrong_usage_and_the_nearest_is_named(
    command: Command, tmp_path: Path, args: list[str], says: str
) -> None:
    (tmp_path / "bad.yaml").write_text("model: lenet\nepoch: 1\n")
    (tmp_path / "runs" / "lenet-1").mkdir(parents=True)
    refused = command(*args)
    assert_refused(refused, says, code=2)
    assert not list((tmp_path / "runs" / "lenet-1").iterdir())


@pytest.mark.parametrize(
    ("name", "setting", "flag"),
    [
        *(
            ("learning_rate", "lr", "--lr"),
            ("lr_rate", "lr", "--lr"),
            ("batchsize", "batch_size", "--batch-size"),
        ),
        *(
            ("bs", "batch_size", "--batch-size"),
            ("num_epochs", "epochs", "--epochs"),
            ("l2", "weight_decay", ""),
        ),
        *(("wd", "weight_decay", "--weight-decay"), ("optim", "optimizer", "--optimizer")),
        *(
            ("val_size", "val_split", "--val-split"),
            ("gpu", "device", "--device"),
            ("Data", "dataset", "--dataset"),
        ),
        *(("augmentation", "augment", "--augment"), ("max_iter", "max_steps", "--max-steps")),
        ("n_workers", "num_workers", "--workers"),
    ],
)
def test_row_44_the_name_that_another_tool_has_for_a_setting_brings_ours(
    command: Command, tmp_path: Path, name: str, setting: str, flag: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(f"model: lenet\n{name}: 1\n")
    refused = command("train", "--config", "recipe.yaml")
    assert_refused(refused, f"unknown setting {name!r}. Did you mean {setting!r}?", code=2)
    typed = f"--{name.replace('_', '-')}"
    says = f"No such option: {typed}. Did you mean {flag or '--weight-decay'}? See `cnnzoo train --help`."
    assert_refused(command("train", "lenet", typed, "1"), says, code=2)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["eval", "--bs", "3"], "Did you mean --batch-size? See `cnnzoo eval --help`."),
        (["train", "--arch", "lenet"], "Name the model without a flag, as in `cnnzoo train MODEL`."),
        (["summary", "--model", "lenet"], "Name the model without a flag, as in `cnnzoo summary MODEL`."),
        (["eval", "--momentum", "3"], "No such option: --momentum. See `cnnzoo eval --help`."),
    ],
)
def test_row_44_a_command_names_what_it_has(command: Command, args: list[str], says: str) -> None:
    assert_refused(command(*args), says, code=2)


def test_row_44_other_names_are_of_settings_and_mean_one_each() -> None:
    names = [name for others in OTHER_NAMES.values() for name in others.split()]
    assert OTHER_NAMES.keys() <= field_types().keys()
    assert len(names) == len(set(names))
    assert not {name for name in names if name in field_types()}


OUT_OF_RANGE = [
    ("lr", "0", "a number above 0"),
    ("lr", "-1e-3", "a number above 0"),
    ("lr", "nan", "a number above 0"),
    ("lr", "inf", "a number above 0"),
    ("lr", "fast", "a number above 0"),
    ("epochs", "0", "a whole number of at least 1"),
    ("epochs", "1.5", "a whole number of at least 1"),
    ("val_split", "0", "a number above 0 and below 1"),
    ("val_split", "1", "a number above 0 and below 1"),
    ("val_split", "-0.2", "a number above 0 and below 1"),
    ("batch_size", "0", "a whole number of at least 1"),
    ("batch_size", "", "a whole number of at least 1, not an empty text"),
    ("momentum", "1", "a number of at least 0 and below 1"),
    ("optimizer", "adm", "one of adam, adamw, sgd"),
    ("augment", "flop", "a list, each one of flip, crop"),
    ("patience", "0", "a whole number of at least 1"),
    ("seed", "-1", "a whole number of at least 0"),
]


@pytest.mark.parametrize(("name", "value", "must"), OUT_OF_RANGE)
def test_row_45_a_value_out_of_its_range_names_the_range(
    command: Command, tmp_path: Path, name: str, value: str, must: str
) -> None:
    says = f"{name} must be {must}"
    assert_refused(command("train", "lenet", f"--{name.replace('_', '-')}", value), says, code=2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"model": "lenet", name: value}))
    assert_refused(command("train", "--config", "recipe.yaml"), says, code=2)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_row_45_a_learning_rate_is_a_finite_number_above_0(value: float) -> None:
    with pytest.raises(UsageError, match="lr must be a number above 0"):
        TrainConfig(model="lenet", lr=value)


HOSTILE = {
    "code": "!!python/object/apply:os.system ['touch hacked']",
    "code in a value": "model: !!python/name:os.system\n",
    "a bomb": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "an alias in a mapping": "a: &a {lr: 1}\n<<: *a\n",
    "a bracket left open": "model: [unclosed",
    "a list": "- just\n- a list",
    "nothing": "",
    "a null byte": "lr: \x00",
    "depth": "[" * 5000,
    "more than a file of settings": "# " + "x" * 100_000,
    "a date that is none": "lr: 2001-99-99",
    "a key that is a list": "? [a, b]\n: 1",
    "no text": "\udcff",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_row_46_yaml_that_is_no_plain_mapping_is_refused_and_nothing_runs(
    command: Command, tmp_path: Path, text: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert_refused(command("train", "lenet", "--config", "recipe.yaml"), "recipe.yaml")
    assert set(contents(tmp_path)) == {"recipe.yaml"}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_row_46_a_file_without_an_end_is_refused(command: Command) -> None:
    assert_refused(
        command("train", "--config", "/dev/zero"), "/dev/zero is not a YAML file of plain settings"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            f"seed: 0x{'f' * 9999}",
            "seed must be a whole number of at least 0 and below 9.22337e+18, not a number of ",
        ),
        (f"? 0x{'f' * 9999}\n: 1", "unknown setting 'a number of thousands of digits'."),
        (f"lr: {'x' * 9999}", "lr must be a number above 0, not 'xxx"),
        (f"? {'x' * 9999}\n: 1", "unknown setting 'xxx"),
        (r'name: "a\0b"', r"name must be a text, not 'a\x00b'."),
        (r'out: "\ud800"', r"out must be a path, not '\ud800'."),
        ("null: 1", "unknown setting 'None'."),
    ],
)
def test_row_46_a_value_that_could_not_even_be_printed_is_one_short_line(
    command: Command, tmp_path: Path, line: str, says: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(f"model: lenet\n{line}\n")
    refused = command("train", "--config", "recipe.yaml")
    assert_refused(refused, says, code=2)
    assert len(refused.err) < 500


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-16"])
def test_row_46_yaml_in_another_encoding_is_to_be_saved_as_utf_8(
    command: Command, tmp_path: Path, encoding: str
) -> None:
    text = "model: lenet\nname: £\n" if encoding == "latin-1" else "model: lenet\nname: 测试\n"
    (tmp_path / "recipe.yaml").write_text(text, encoding=encoding)
    line = "but UTF-16 (line 1)" if encoding == "utf-16" else "(line 2)"
    refused = command("train", "--config", "recipe.yaml")
    assert_refused(refused, f"recipe.yaml is not UTF-8 text {line}. Save it as UTF-8.")


# Histories of others


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a.csv is empty. Name the CSV file of a history."),
        (b"epoch,train_loss,val_loss\n", "a.csv holds no epoch yet. Plot it once the first epoch is over."),
        (b"epoch,loss\n1,0.5,7\n2,0.4\n", "a.csv, line 2: it has 3 of the header's 2 fields. Fix that line."),
        (
            b"epoch,loss\n1,0.5\n2,half\n",
            "a.csv, line 3, column 'loss': 'half' is not a number. Fix that line.",
        ),
        (
            b"time,price\n1,2\n",
            "a.csv is not a history file: it has the columns 'time', 'price'. Understood are",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0", "a.csv is not a text file. Name the CSV file of a history."),
        (b"epoch,loss\n1,\xe9\n", "a.csv is not a UTF-8 text file. Name the CSV file of a history."),
    ],
)
def test_row_47_a_history_that_cannot_be_drawn_names_the_line(
    command: Command, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert_refused(command("plot", "a.csv"), says)
    assert set(contents(tmp_path)) == {"a.csv"}


@pytest.mark.parametrize(
    "content",
    [
        "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,images_per_second\n1,2,0.1,2,0.1,1e-3,1,9\n",
        "epoch,loss,val_loss,colour\n0,2.5,2.5,red\n1,1.5,,blue\n2,nan,inf,\n",
    ],
    ids=["short", "foreign, with gaps"],
)
def test_row_47_a_history_whose_columns_are_known_is_drawn(
    command: Command, tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    done = command("plot", "a.csv")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# Paths


def type_again(command: Command, printed: str) -> None:
    """Do what the last lines of a command suggest, as they stand."""
    commands = [shlex.split(line) for line in printed.splitlines() if line.startswith("  cnnzoo ")]
    assert [words[1] for words in commands] == ["eval", "plot", "train"]
    for words in commands:
        done = command(*words[1:])
        assert (done.code, done.err) == (0, ""), words


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two words", "中文 名字", "-dash", "--name", "it's", "[bold]"])
def test_row_48_any_path_works_and_what_is_printed_can_be_typed_again(
    command: Command, tmp_path: Path, name: str
) -> None:
    for shade, (part, label) in enumerate(product(("train", "test"), ("猫", "-dog"))):
        (tmp_path / f"{name} images" / part / label).mkdir(parents=True)
        for number in range(6):
            file = tmp_path / f"{name} images" / part / label / f"{name} {number}.png"
            Image.new("L", (14, 14), 40 * number + shade).save(file)
    (tmp_path / f"{name}.yaml").write_text("model: lenet\nepochs: 1\n")
    done = command(
        *("train", "--config", f"{name}.yaml", "--dataset", f"folder:{name} images"),
        *("--out", f"{name} runs", "--name", name),
    )
    assert (done.code, done.err) == (0, "")
    run = tmp_path / f"{name} runs" / name
    assert (run / "history.png").is_file()
    type_again(command, done.out)
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 2

    drawn = command("plot", "--out", f"{name} runs", "-o", f"{name}.svg", "--", name)
    assert (drawn.code, drawn.err) == (0, "")
    assert (tmp_path / f"{name}.svg").is_file()
    assert command("eval", "--out", f"{name} runs", "--format", "json").code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are any bytes")
def test_row_48_a_name_that_is_no_utf8_works(command: Command, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    done = command(*SMALL, "--epochs", "1", "--name", name)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "runs" / name / "history.png").is_file()
    assert command("eval", f"runs/{name}").code == 0


def test_row_48_an_error_names_a_path_so_that_it_can_be_typed(command: Command, tmp_path: Path) -> None:
    train(quick(tmp_path, epochs=1, limit_train=32, limit_val=10, out=tmp_path / "-my runs", name="-r"))
    again = command(*SMALL, "--out", "-my runs", "--name=-r")
    assert_refused(again, "Go on with it by `--resume './-my runs/-r'`", code=2)
    assert command("train", "--resume", "./-my runs/-r").code == 0
    (tmp_path / "-my runs" / "-r" / "best.pt").unlink()
    assert_refused(command("eval", "./-my runs/-r"), "cnnzoo train --resume './-my runs/-r'")


# No home


def test_row_48_without_a_home_that_can_be_written_nothing_is_said_of_it(
    cnnzoo: Callable[..., CompletedProcess[str]], done_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    home = {"HOME": f"{os.devnull}/home", "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}
    done = cnnzoo(
        *("plot", done_run / "café 猫", "-o", "a.png"),
        env={**home, "MPLCONFIGDIR": None, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.png").is_file()
    assert not list((tmp_path / "temporary").iterdir())


def test_row_48_without_a_home_whatever_imports_matplotlib_is_quiet(
    cnnzoo: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("import matplotlib.pyplot\n")
    (tmp_path / "temporary").mkdir()
    home = {
        "HOME": f"{os.devnull}/home",
        "XDG_CACHE_HOME": None,
        "XDG_CONFIG_HOME": None,
        "MPLCONFIGDIR": None,
    }
    done = cnnzoo("models", "--import", "mine", env={**home, "TMPDIR": str(tmp_path / "temporary")})
    assert (done.returncode, done.stderr) == (0, "")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("line", [["data"], ["models"], ["train", "lenet", "--data-dir", "~/data"]])
def test_row_48_a_user_without_a_home_is_no_bug(tmp_path: Path, line: list[str]) -> None:
    nobody = [
        "unshare",
        "--user",
        "--map-user=54321",
        "--map-group=54321",
    ]  # of whom the system knows nothing
    if shutil.which("unshare") is None or subprocess.run([*nobody, "true"], check=False).returncode:
        pytest.skip("no users may be made here")
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    command = [*nobody, sys.executable, "-m", "cnnzoo", *line]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**env, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if line[0] == "train":
        says = "Error: no home folder is known for ~/data. Write the path out.\n"
        assert (done.returncode, done.stderr) == (1, says)
    else:
        assert (done.returncode, done.stderr) == (0, "")


# Terminals

LINES = [
    [*SMALL[:-1], "café 猫", "--epochs", "1"],
    ["eval", "café 猫"],
    ["plot", "café 猫"],
    ["plot", "filters", "café 猫"],
    ["predict", "café 猫", "pictures"],
    ["verify", "café 猫"],
    ["runs"],
    ["summary", "lenet", "--teach"],
    ["models"],
    ["data"],
    ["--help"],
    *(
        [command, "--help"]
        for command in ("train", "sweep", "lr-find", "eval", "predict", "plot", "report", "explore")
    ),
    *([command, "--help"] for command in ("compare", "runs", "verify", "summary", "models", "data")),
]


@pytest.fixture(scope="module")
def done_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``runs`` with a run in it whose name and classes are not ASCII."""
    root = tmp_path_factory.mktemp("done")
    for label in ("猫", "chien d'été"):
        (root / "images" / label).mkdir(parents=True)
        for number in range(6):
            sheet = Image.new("L", (14, 14), 40 * number)
            sheet.paste(255, (3, 3, 9, 6 + len(label) % 5))
            sheet.save(root / "images" / label / f"{number}.png")
    train(quick(root, dataset=f"folder:{root / 'images'}", epochs=1, name="café 猫"))
    return root / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_row_49_where_everything_is_ascii_nothing_else_is_printed_and_nothing_breaks(
    ascii_processes: Processes, done_run: Path, tmp_path: Path, line: list[str]
) -> None:
    if line[0] in ("eval", "plot", "predict", "verify", "runs"):
        shutil.copytree(done_run, tmp_path / "runs")
        shutil.copytree(done_run.parent / "images" / "猫", tmp_path / "pictures")
    done = ascii_processes.run(*line, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out
    assert done.out.isascii()
    assert not escape_codes(done.out)
    assert "\r" not in done.out


def test_row_49_an_error_in_ascii_is_one_line_too(ascii_processes: Processes, tmp_path: Path) -> None:
    refused = ascii_processes.run("eval", "猫.pt", cwd=tmp_path)
    assert_refused(refused, r"cannot read the checkpoint \u732b.pt")
    assert refused.err.isascii()
    refused = ascii_processes.run("summary", "lenet", "--image-size", "5", cwd=tmp_path)
    assert_refused(refused, "at least 12x12")


@pytest.mark.parametrize("line", LINES[:6], ids=" ".join)
def test_row_49_without_a_terminal_lines_are_plain_and_whole(
    processes: Processes, done_run: Path, tmp_path: Path, line: list[str]
) -> None:
    if line[0] in ("eval", "plot", "predict", "verify", "runs"):
        shutil.copytree(done_run, tmp_path / "runs")
        shutil.copytree(done_run.parent / "images" / "猫", tmp_path / "pictures")
    done = processes.run(*line, cwd=tmp_path, env={"TERM": "xterm-256color"})
    assert (done.code, done.err) == (0, "")
    assert not escape_codes(done.out)
    assert "\r" not in done.out
    if line[0] == "train":
        assert (
            len(re.findall(r"^epoch 1/1  train loss .* val loss .* images/s  best$", done.out, re.MULTILINE))
            == 1
        )
    if line[0] in ("eval", "plot"):
        assert "runs/café 猫/" in done.out


def on_terminal(processes: Processes, line: list[str], cwd: Path, columns: int) -> tuple[int, str]:
    """Run a command on a terminal so many columns wide: its exit code, and what it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    read: list[bytes] = []

    def keep_reading() -> None:
        try:
            while chunk := os.read(master, 4096):
                read.append(chunk)
        except OSError:  # nobody holds the other end any more
            pass

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        started = processes.start(*line, cwd=cwd, tty=os.ttyname(slave), env={"TERM": "xterm-256color"})
        code = started.wait().code
    finally:
        os.close(slave)
        reader.join(timeout=30)
        os.close(master)
    return code, b"".join(read).decode()


def settled(written: str) -> list[str]:
    """The lines as they stand on the terminal in the end, without colours and bars that were redrawn."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", written.replace("\r\n", "\n"))
    return [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_row_49_on_forty_columns_no_word_is_broken_and_no_line_is_longer(
    processes: Processes, done_run: Path, tmp_path: Path, line: list[str]
) -> None:
    if line[0] in ("eval", "plot", "predict", "verify", "runs"):
        shutil.copytree(done_run, tmp_path / "runs")
        shutil.copytree(done_run.parent / "images" / "猫", tmp_path / "pictures")
    code, written = on_terminal(processes, line, tmp_path, 40)
    assert code == 0, written
    assert "Traceback" not in written
    lines = settled(written)
    for text in lines:
        # What a person copies, a path or a command, stays in one piece: the terminal folds it by itself.
        assert cell_len(text) <= 40 or "/" in text or text.startswith("  cnnzoo "), (text, lines)
    whole = " ".join(" ".join(lines).split())
    if line == LINES[0]:
        assert re.search(r"1/1 loss \d\.\d{4} acc \d+\.\d\d% best", whole)
    if line == LINES[1]:
        assert re.search(r"accuracy \d+\.\d\d% \(95% interval \d+\.\d\d% to \d+\.\d\d%\)", whole)


def test_row_49_a_terminal_of_forty_columns_folds_an_error_between_words(
    processes: Processes, tmp_path: Path
) -> None:
    code, written = on_terminal(processes, ["train", "lenet", "--lr", "0"], tmp_path, 40)
    assert code == 2
    lines = settled(written)
    assert all(len(text) <= 40 for text in lines)
    assert " ".join(" ".join(lines).split()) == "Error: lr must be a number above 0, not '0'."


# Some CI systems set COLUMNS to 0.
NO_WIDTHS = ("0", "1", "19", "-5", "abc", "", "9" * 30)


@pytest.mark.slow
@pytest.mark.parametrize("columns", NO_WIDTHS)
def test_row_49_a_width_that_is_none_is_as_if_it_were_not_set(
    processes: Processes, done_run: Path, tmp_path: Path, columns: str
) -> None:
    shutil.copytree(done_run, tmp_path / "runs")
    lines = [["models"], ["eval", "café 猫"], ["train", "--help"], ["train", "lenet", "--lr", "0"]]
    for line in lines if columns == "0" else lines[-2:]:
        as_usual = processes.run(*line, cwd=tmp_path)
        done = processes.run(*line, cwd=tmp_path, env={"COLUMNS": columns, "LINES": columns})
        assert done.out or done.err
        assert (done.code, done.err) == (as_usual.code, as_usual.err)
        speed = re.compile(r"[\d,.]+ images/s")
        assert speed.sub("", done.out) == speed.sub("", as_usual.out)


@pytest.mark.parametrize("columns", [0, 5])
def test_row_49_a_terminal_without_a_width_is_written_to(
    processes: Processes, tmp_path: Path, columns: int
) -> None:
    code, written = on_terminal(processes, ["train", "lenet", "--lr", "0"], tmp_path, columns)
    assert (code, settled(written)[0]) == (2, "Error: lr must be a number above 0, not '0'.")


# Readers that go away


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2>&1 | true", "2>/dev/full", "2>&-"])
def test_row_50_an_error_that_nobody_can_read_keeps_its_exit_code(tmp_path: Path, where: str) -> None:
    if "full" in where and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    line = f"({sys.executable} -m cnnzoo train lenet --lr 0; echo $? >code) {where}"
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False)
    until = time.monotonic() + 60
    while not (tmp_path / "code").exists() or not (tmp_path / "code").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert (tmp_path / "code").read_text() == "2\n"


@pytest.mark.slow
def test_row_50_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    def start(*args: str, stdout: int, shell: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cnnzoo", *args]
        line = ["sh", "-c", f"exec {shlex.join(command)} {shell}"] if shell else command
        return subprocess.Popen(line, cwd=tmp_path, stdout=stdout, stderr=subprocess.PIPE, text=True)

    head = start("models", stdout=subprocess.PIPE)  # `cnnzoo models | head -1`
    none = start("summary", "lenet", "--format", "json", stdout=subprocess.PIPE)  # `… | true`
    closed = start("summary", "lenet", stdout=subprocess.DEVNULL, shell=">&-")
    assert head.stdout is not None
    assert none.stdout is not None
    none.stdout.close()
    assert head.stdout.readline().startswith("Model")
    head.stdout.close()
    for process in (head, none, closed):
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()
        assert (process.wait(timeout=60), said) == (0, ""), process.args


def lost_output(why: str) -> str:
    """The warning of a training whose screen is lost."""
    return (
        f"Warning: cannot write to standard output: {why}. The training goes on without it; the run's folder "
        "keeps its history.\n"
    )


@pytest.mark.parametrize("seeds", [(), ("--seeds", "1")], ids=["run", "study"])
def test_row_50_a_training_whose_reader_is_gone_goes_on(
    processes: Processes, tmp_path: Path, seeds: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    started = processes.start(*SMALL, "--epochs", "6", *seeds, cwd=tmp_path, stdout=tmp_path / "pipe")
    with (tmp_path / "pipe").open() as reader:  # `| head`
        assert any("epoch 1/6" in line for line in reader)
    ended = started.wait()
    assert (ended.code, ended.err) == (0, lost_output("Broken pipe"))
    assert len(rows(tmp_path / "runs" / "r" / ("seed-0" if seeds else ""))) == 6


@pytest.mark.parametrize("quiet", [(), ("--quiet",)], ids=["screen", "quiet"])
def test_row_50_a_training_goes_on_where_the_disk_below_its_output_is_full(
    processes: Processes, tmp_path: Path, quiet: tuple[str, ...]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    ended = processes.run(*SMALL, "--epochs", "2", *quiet, cwd=tmp_path, stdout=full)
    assert (ended.code, ended.err) == (0, lost_output("No space left on device"))
    assert len(rows(tmp_path / "runs" / "r")) == 2
    table = processes.run("models", cwd=tmp_path, stdout=full)
    assert_refused(table, "cannot write to standard output: No space left on device")
