"""Rows 19 to 25: checkpoints that are damaged, foreign, hostile, or from another machine or version."""

import os
import pickle
import random
import resource
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from cnnzoo.analysis.eval.evaluation import evaluate
from cnnzoo.errors import CnnzooError
from cnnzoo.runs.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from cnnzoo.runs.serialization import write_values
from tests.conftest import Command
from tests.faults.shared import Calls, Claimed, assert_refused, forge, make_checkpoint, seal
from tests.helpers import patch_internal, quick, resume, same_state, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint as small as one can be, byte by byte."""
    path = tmp_path_factory.mktemp("whole") / "a.pt"
    save_checkpoint(path, make_checkpoint(state_dict={"weight": torch.arange(3.0)}))
    return path.read_bytes()


def refusal(path: Path) -> str:
    """What is said of a checkpoint that is refused: one line that names it."""
    with pytest.raises(CnnzooError) as refused:
        load_checkpoint(path)
    message = str(refused.value)
    assert refused.value.exit_code == 1
    assert str(path) in message
    assert "\n" not in message
    return message


# Damaged


@pytest.mark.parametrize("command_line", [["eval", "bad.pt"], ["eval", "runs/r"], ["train", "--resume", "r"]])
def test_row_19_a_damaged_or_foreign_checkpoint_is_one_line_wherever_it_is_named(
    command: Command, tmp_path: Path, whole: bytes, command_line: list[str]
) -> None:
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    torch.save({"weight": torch.ones(2)}, tmp_path / "foreign.pt")
    bad = {
        "cut in half": whole[: len(whole) // 2],
        "without its end": whole[:-1],
        "with something behind it": whole + b"\n",
        "empty": b"",
        "text": b"these are no weights\n",
        "of torch": (tmp_path / "foreign.pt").read_bytes(),
    }
    for what, content in bad.items():
        for path in (tmp_path / "bad.pt", run / "best.pt", run / "last.pt"):
            path.write_bytes(content)
        refused = command(*command_line)
        assert_refused(
            refused, ".pt is corrupt or not a checkpoint of cnnzoo.", "Use another, or start a new run."
        )
        assert [path.read_bytes() for path in tmp_path.rglob("*.pt")].count(content) == 3 + (
            what == "of torch"
        )


def test_row_19_a_checkpoint_that_is_missing_or_a_folder_is_one_line(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "folder.pt" / "best.pt").mkdir()
    for name in ("missing.pt", "folder.pt", "folder.pt/best.pt"):
        assert_refused(command("eval", name), f"cannot read the checkpoint {name} (", "Check the path.")


def test_row_19_of_a_hundred_truncations_none_is_read(tmp_path: Path, whole: bytes) -> None:
    chance = random.Random(19)
    path = tmp_path / "a.pt"
    for length in [*range(60), *(chance.randrange(len(whole)) for _ in range(100))]:
        path.write_bytes(whole[:length])
        assert "corrupt" in refusal(path)


def test_row_20_of_a_thousand_flipped_bits_none_is_read(tmp_path: Path, whole: bytes) -> None:
    chance = random.Random(20)
    path = tmp_path / "a.pt"
    path.write_bytes(whole)
    assert load_checkpoint(path).epoch == 3
    with path.open("r+b", buffering=0) as file:
        for position in chance.sample(range(8 * len(whole)), 1000):
            byte = whole[position // 8]
            file.seek(position // 8)
            file.write(bytes([byte ^ (1 << position % 8)]))
            assert "corrupt" in refusal(path)
            file.seek(position // 8)
            file.write(bytes([byte]))
    assert path.read_bytes() == whole


def test_row_20_the_checksum_is_verified_before_anything_is_read(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(whole.replace(b"fashionmnist", b"fashionmnisT"))

    def fail(*_: object, **__: object) -> None:
        pytest.fail("it was opened before it was verified")

    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    assert "corrupt" in refusal(path)


# Hostile


def test_row_21_a_plain_pickle_that_runs_code_is_refused_and_nothing_runs(
    tmp_path: Path, command: Command
) -> None:
    evil = pickle.dumps({"format": FORMAT, "weights": Calls(os.system, ("touch hacked",))})
    (tmp_path / "evil.pt").write_bytes(evil)
    assert_refused(command("eval", "evil.pt"), "evil.pt is corrupt or not a checkpoint of cnnzoo.")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("member", ["data.pkl", "DATA.PKL", "other/data.pkl", "constants.pkl"])
def test_row_21_code_behind_a_right_checksum_is_refused_and_nothing_runs(
    tmp_path: Path, command: Command, member: str
) -> None:
    evil = pickle.dumps({"format": FORMAT, "weights": Calls(os.system, ("touch hacked",))}, protocol=2)
    forge(tmp_path / "evil.pt", {"format": FORMAT}, members={member: evil})
    assert_refused(
        command("eval", "evil.pt"), "evil.pt asks for ", ".system, as no ", "Nothing in it was run"
    )
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_row_21_no_pickle_protocol_gets_code_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps(Calls(os.system, ("touch hacked",)), protocol=protocol)
    assert "Nothing in it was run" in refusal(forge(tmp_path / "evil.pt", {}, members={"data.pkl": evil}))
    assert not (tmp_path / "hacked").exists()


def test_row_21_torchs_older_formats_are_refused_whatever_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"format": FORMAT}, path, _use_new_zipfile_serialization=False)
    assert "corrupt or not a checkpoint" in refusal(path)
    # A zip file may begin with anything, and torch decides by the first bytes.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert "does not begin as a zip file does" in refusal(seal(path))


GIB = 1 << 30


def overlapping(path: Path) -> Path:
    """A file of a few kilobytes whose thousand members are one and the same four megabytes of its end."""
    torch.save({"format": FORMAT}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(1 << 22))
        first = archive.getinfo("archive/data/0")
        for number in range(1, 1000):
            copy = zipfile.ZipInfo(f"archive/data/{number}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.compress_size = copy.file_size = first.file_size
            archive.filelist.append(copy)
        archive._didModify = True  # type: ignore[attr-defined]
    return seal(path)


def packed(path: Path) -> Path:
    """A file of a quarter of a megabyte that would unpack to a thousand times that."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(256):
                member.write(bytes(1 << 20))
        archive.writestr("archive/data.pkl", pickle.dumps({"weights": 0}, protocol=2))
        archive.writestr("archive/version", b"3\n")
    return seal(path)


def sized(name: str) -> Callable[[Path], Path]:
    content = {
        "a bytearray": Calls(bytearray, (2 * GIB,)),
        "a tensor without data": Calls(torch.Tensor, (GIB,)),
        "a storage that is not there": Claimed((GIB,), (1,), num=GIB),
        "a tensor beyond its storage": Claimed((GIB,), (1,)),
        "one number many times": Claimed((10**9, 84), (0, 0)),
        "one number many times, in a list": [Claimed((10**9, 84), (0, 0))],
    }[name]
    return lambda path: forge(path, {"format": FORMAT, "weights": content})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(packed, "unpack to more than its size", id="packed"),
        pytest.param(overlapping, "unpack to more than its size", id="overlapping"),
        pytest.param(sized("a bytearray"), "bytearray, as no checkpoint", id="bytearray"),
        pytest.param(sized("a tensor without data"), "Tensor, as no checkpoint", id="tensor"),
        pytest.param(sized("a storage that is not there"), "read safely", id="storage"),
        pytest.param(sized("a tensor beyond its storage"), "read safely", id="size"),
        pytest.param(sized("one number many times"), "larger than the file", id="stride 0"),
        pytest.param(
            sized("one number many times, in a list"), "larger than the file", id="stride 0 in a list"
        ),
    ],
)
def test_row_22_a_checkpoint_that_claims_more_than_it_holds_is_refused_before_memory_is_taken(
    tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    path = make(tmp_path / "bomb.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert says in refusal(path)
    kilobytes = 1 if sys.platform != "darwin" else 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000 * kilobytes


def test_row_22_a_net_of_terabytes_is_refused_before_it_is_built(tmp_path: Path) -> None:
    def weight(num: int, *shape: int) -> Tensor:
        return torch.zeros(num).as_strided(shape, (0,) * len(shape))

    state = make_checkpoint().state_dict
    for num_classes in (10**9, 10**12):
        # A shape that fits the net, of a single number: a file of nothing for a net of 336 GB.
        fits = {
            **state,
            "classifier.output.weight": weight(1, num_classes, 84),
            "classifier.output.bias": weight(1, num_classes),
        }
        claims = make_checkpoint(num_classes=num_classes, state_dict=fits)
        save_checkpoint(tmp_path / "a.pt", claims)
        assert "larger than the file" in refusal(tmp_path / "a.pt")
        save_checkpoint(tmp_path / "a.pt", make_checkpoint(num_classes=num_classes))
        with pytest.raises(CnnzooError, match="do not fit lenet"):
            load_checkpoint(tmp_path / "a.pt").build_model()


def test_row_22_a_checkpoint_of_a_net_with_a_repeated_number_is_no_bomb(tmp_path: Path) -> None:
    state = {"weight": torch.ones(1).expand(1000, 1000)}
    save_checkpoint(tmp_path / "a.pt", make_checkpoint(state_dict=state))
    assert torch.equal(load_checkpoint(tmp_path / "a.pt").state_dict["weight"], state["weight"])


@pytest.mark.parametrize(
    "field", ["config", "model_options", "training", "metrics", "classes", "state_dict", "more"]
)
def test_row_22_lists_that_hold_each_other_cost_neither_time_nor_memory(tmp_path: Path, field: str) -> None:
    laughs: list[object] = ["ha"]
    for _ in range(60):  # written out, a million million million times "ha"
        laughs = [laughs, laughs]
    itself: list[object] = []
    itself.append(itself)
    whole = {"format": FORMAT, **vars(make_checkpoint(state_dict={})), "state_dict": {}}

    def use(path: Path) -> None:
        load_checkpoint(path).settings(path)
        load_checkpoint(path).build_model()

    for bomb in (laughs, itself):
        path = forge(tmp_path / "bomb.pt", {**whole, field: {"model": "lenet", "lr": bomb}})
        with pytest.raises(CnnzooError) as refused:
            use(path)
        assert len(str(refused.value)) < 500


# Foreign


def test_row_23_weights_that_do_not_fit_the_model_are_one_line(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", make_checkpoint(num_classes=7, classes=tuple("abcdefg")))
    with pytest.raises(
        CnnzooError, match=r"do not fit lenet for 7 classes.* is 10 and should be 7"
    ) as refused:
        load_checkpoint(tmp_path / "a.pt").build_model()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "alexnet", "model_options": {}, "image_size": 227}, "do not fit alexnet for 10 classes"),
        ({"model": "mine"}, "unknown model 'mine'"),
        (
            {"model": "mine", "config": {"model": "mine", "imports": ["my_models"]}},
            "the model 'mine' is one of your own. Add --import=my_models.",
        ),
        ({"model_options": {"pool": "max"}}, "unknown option of lenet: 'pool'. Did you mean 'pooling'?"),
        ({"model_options": {"pooling": "sum"}}, "lenet's pooling must be one of avg, max, not 'sum'"),
        ({"image_size": 3}, "at least 12x12"),
        ({"in_channels": 10**30}, "the checkpoint's model cannot be built: "),
        ({"config": {"model": "lenet", "lr": -1}}, "lr must be a number above 0"),
        ({"config": {"model": "lenet", "learning_rate": 1}}, "unknown setting 'learning_rate'"),
        ({"config": {}}, "name no model"),
        ({"state_dict": {}}, "is missing and should be"),
    ],
)
def test_row_23_a_checkpoint_that_does_not_belong_to_its_model_is_one_line(
    command: Command, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    save_checkpoint(tmp_path / "a.pt", make_checkpoint(**changes))
    assert_refused(command("eval", "a.pt"), says, code=2 if changes.get("model") == "mine" else 1)


@pytest.mark.parametrize("name", [field.name for field in fields(Checkpoint)])
def test_row_23_a_checkpoint_with_something_else_in_a_field_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pt"
    something_else = {1: torch.ones(1)} if name != "state_dict" else {"weight": 1}
    write_values(path, {"format": FORMAT, **vars(make_checkpoint()), name: something_else})
    if name in ("model_options", "config", "training"):  # any mapping of names
        assert "not a checkpoint as cnnzoo writes it" in refusal(path)
    else:
        assert f"{name} must be" in refusal(path)


def test_row_23_a_dataset_with_other_classes_states_both_sides(command: Command, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", make_checkpoint())
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (28, 28), 50 * number).save(tmp_path / "pets" / label / f"{number}.png")
    refused = command("eval", "a.pt", "--dataset", "folder:pets")
    assert_refused(
        refused,
        "folder:pets has the classes cat, dog, of which a.pt does not know cat, dog; it was trained for 0, 1, 2 and 7",
    )


def test_row_23_other_images_than_those_of_the_run_are_refused_on_resume(
    command: Command, tmp_path: Path
) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (28, 28), 20 * number).save(tmp_path / "pets" / label / f"{number}.png")
    train(quick(tmp_path, epochs=1, dataset=f"folder:{tmp_path / 'pets'}", name="r"))
    for number in range(9):  # some of which are for the test
        Image.new("L", (28, 28), 99).save(tmp_path / "pets" / "cat" / f"new{number}.png")
    refused = command("train", "--resume", "r", "--epochs", "2")
    assert_refused(
        refused, "pets are not those that the run was trained on. Put those back, or start a new run."
    )


# From elsewhere


@pytest.mark.slow
def test_row_24_what_was_saved_on_cuda_is_evaluated_and_resumed_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(tmp_path, epochs=2, limit_train=96, limit_val=32)
    whole = train(config).run
    run = train(config.replace(epochs=1)).run
    for file in ("last.pt", "best.pt"):
        saved = load_checkpoint(run / file)
        if saved.training:
            saved.training.random_states[0]["cuda"] = torch.zeros(16, dtype=torch.uint8)
        with monkeypatch.context() as on_cuda:
            on_cuda.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
            save_checkpoint(run / file, saved)
        with zipfile.ZipFile(run / file) as archive:
            (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
        assert b"cuda:0" in pickled
        assert all(tensor.device.type == "cpu" for tensor in load_checkpoint(run / file).state_dict.values())
    assert evaluate(run / "best.pt").device == "cpu"
    assert resume(run, {"epochs": 2}).epochs_trained == 1
    assert same_state(run, whole)


def test_row_24_a_checkpoint_from_a_machine_without_this_byte_order_is_read(tmp_path: Path) -> None:
    big = forge(
        tmp_path / "big.pt",
        {
            "format": FORMAT,
            **vars(make_checkpoint(state_dict={})),
            "state_dict": {"weight": Claimed((1,), (1,))},
        },
        record=b"\x3f\x80\0\0",
        members={"byteorder": b"big"},
    )
    assert load_checkpoint(big).state_dict["weight"].tolist() == [1.0]


def test_row_25_a_newer_format_names_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_internal(monkeypatch, "FORMAT", 7)
    save_checkpoint(tmp_path / "a.pt", make_checkpoint())
    monkeypatch.undo()
    message = refusal(tmp_path / "a.pt")
    assert f"has checkpoint format 7, this cnnzoo reads up to {FORMAT}. Upgrade cnnzoo." in message


def test_row_25_an_older_format_is_refused_in_one_line(tmp_path: Path) -> None:
    old = forge(
        tmp_path / "a.pt", {"format": FORMAT - 1, **vars(make_checkpoint(state_dict={})), "state_dict": {}}
    )
    assert refusal(old) == (
        f"{old} is not a checkpoint that this cnnzoo reads: its format is {FORMAT - 1}, not {FORMAT}. "
        "Use one that cnnzoo wrote."
    )


def test_row_25_fields_that_this_version_does_not_know_are_passed_over(tmp_path: Path) -> None:
    known = vars(make_checkpoint(state_dict={}))
    more = forge(tmp_path / "a.pt", {"format": FORMAT, **known, "state_dict": {}, "news": 1})
    assert load_checkpoint(more).config == known["config"]


def test_row_25_the_version_is_told_before_fields_that_only_the_newer_one_has(tmp_path: Path) -> None:
    assert "Upgrade cnnzoo" in refusal(forge(tmp_path / "a.pt", {"format": FORMAT + 1, "news": 1}))
    nonsense: object
    for nonsense in ({"format": "1"}, {"format": True}, {}, [], 1, {"format": 0}, {"format": FORMAT}):
        assert "is not a checkpoint" in refusal(forge(tmp_path / "a.pt", nonsense))


def test_row_25_plain_torch_opens_a_checkpoint_safely(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", make_checkpoint())
    assert torch.load(tmp_path / "a.pt", weights_only=True)["format"] == FORMAT
