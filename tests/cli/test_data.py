"""``cnnzoo data``: what is here, what can be fetched, and whether it is whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnzoo.cli import main

# The little datasets and the mirror on this machine are those that the library's own tests use.
from tests.data.named.test_locate import IMAGES, Mirror, fashion, files_below, mirror, put, register

__all__ = ["fashion", "mirror"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``cnnzoo data`` in this process: its exit code, and what it printed on stdout and stderr."""

    monkeypatch.setenv("COLUMNS", "300")  # so that no path is folded

    def command(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnnzoo", "data", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return command


def assert_refused(ended: tuple[int, str, str], *parts: str, code: int = 1) -> None:
    """One line on stderr that has all of ``parts``, and nothing on stdout."""
    assert ended[0] == code
    assert ended[1] == ""
    (line,) = ended[2].splitlines()
    assert line.startswith("Error: ")
    for part in parts:
        assert part in line


def row(listing: str, name: str) -> str:
    return next(line for line in listing.splitlines() if line.split()[:1] == [name])


def test_the_list_says_of_every_dataset_whether_it_is_here_where_and_how_large(
    run: Run, fashion: dict[str, bytes], tmp_path: Path
) -> None:
    code, listing, complaint = run("--data-dir", tmp_path)
    assert (code, complaint) == (0, "")
    for name in ("fashionmnist", "mnist", "kmnist", "cifar10"):
        assert "no, a download of" in row(listing, name)
    assert "170 MB" in row(listing, "cifar10")
    assert "sample, 3 MB" in row(listing, "fashionmnist-sample")
    assert "folder:PATH" in listing
    assert str(tmp_path) in listing

    put(tmp_path, fashion)
    listing = run("--data-dir", tmp_path)[1]
    assert f"{tmp_path}, 0 MB" in row(listing, "fashionmnist")
    for name in ("mnist", "kmnist"):  # which have the same file names
        assert "no, a download of" in row(listing, name)


def test_fetch_downloads_what_is_missing_and_says_where_it_is(
    run: Run, fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    folder = tmp_path / "new data"
    code, said, complaint = run("fetch", "fashionmnist", "--data-dir", folder)
    assert (code, complaint) == (0, "")
    assert said == f"fashionmnist is in {folder / 'FashionMNIST' / 'raw'}, verified.\n"
    assert len(mirror.asked) == 4
    assert run("fetch", "fashionmnist", "--data-dir", folder)[0] == 0
    assert len(mirror.asked) == 4  # it was here already

    damaged = folder / "FashionMNIST" / "raw" / f"{IMAGES}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert_refused(
        run("verify", "fashionmnist", "--data-dir", folder), str(damaged), "cnnzoo data fetch fashionmnist"
    )
    assert run("fetch", "fashionmnist", "--data-dir", folder)[0] == 0
    assert mirror.asked[4:] == [f"{IMAGES}.gz"]
    assert run("verify", "fashionmnist", "--data-dir", folder)[0] == 0


def test_fetch_that_fails_is_one_line_with_three_ways_to_get_the_data(
    run: Run, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.offered.clear()
    ended = run("fetch", "fashionmnist", "--data-dir", tmp_path)
    assert_refused(ended, mirror.address, "404", "(1)", "(2)", "(3)")
    assert files_below(tmp_path) == set()


def test_the_data_folder_may_be_named_before_the_subcommand(
    run: Run, fashion: dict[str, bytes], mirror: Mirror, tmp_path: Path
) -> None:
    assert run("--data-dir", tmp_path, "fetch", "fashionmnist")[0] == 0
    assert len(files_below(tmp_path)) == 4
    assert run("--data-dir", tmp_path, "verify", "fashionmnist")[0] == 0


def test_verify_names_how_many_images_there_are_and_their_checksums(
    run: Run, fashion: dict[str, bytes], tmp_path: Path
) -> None:
    put(tmp_path, fashion)
    code, said, complaint = run("verify", "fashionmnist", "--data-dir", tmp_path)
    assert (code, complaint) == (0, "")
    first, train, test = said.splitlines()
    assert first == f"fashionmnist in {tmp_path} is whole: 20 training, 10 test images."
    assert len(train.removeprefix("train sha256 ")) == len(test.removeprefix("test  sha256 ")) == 64
    assert train[-64:] != test[-64:]


def test_verify_of_what_is_missing_says_how_to_get_it_and_downloads_nothing(
    run: Run, mirror: Mirror, tmp_path: Path
) -> None:
    ended = run("verify", "fashionmnist", "--data-dir", tmp_path)
    assert_refused(ended, "not on this machine", "cnnzoo data fetch fashionmnist")
    assert mirror.asked == []


def test_verify_knows_another_dataset_by_its_contents(
    run: Run, fashion: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "mnist", {name: content[:-1] + b"\1" for name, content in fashion.items()})
    put(tmp_path, fashion)
    assert_refused(run("verify", "mnist", "--data-dir", tmp_path), "MNIST is not on this machine")


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_unknown_dataset_is_wrong_usage_and_the_nearest_is_named(run: Run, command: str) -> None:
    assert_refused(run(command, "fashion-mnist"), "Did you mean 'fashionmnist'?", code=2)


def test_a_name_that_is_missing_is_wrong_usage(run: Run) -> None:
    assert_refused(run("verify"), "NAME", code=2)


def test_the_command_works_as_a_process(
    cnnzoo: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    ended = cnnzoo("data", "verify", "mnist", env={"CNNZOO_DATA": str(tmp_path / "nothing here")})
    assert_refused((ended.returncode, ended.stdout, ended.stderr), "MNIST is not on this machine")
