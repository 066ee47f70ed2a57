"""The manifest of a run's files, written by several commands at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cnnzoo.runs.manifest import checksum, note_files, read_manifest, write_files


def test_an_evaluation_beside_a_training_loses_no_entry_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_bytes(b"0")
    note_files(tmp_path, ["history.csv"])

    def evaluate() -> None:
        for number in range(40):
            write_files(tmp_path, {"eval.json": b"%d" % number, "predictions.csv": b"%d" % -number})

    def train() -> None:
        for number in range(40):
            (tmp_path / "history.csv").write_bytes(b"%d" % number)
            note_files(tmp_path, ["history.csv"])

    commands: list[Callable[[], None]] = [evaluate, train, evaluate]
    with ThreadPoolExecutor(len(commands)) as pool:
        for ended in [pool.submit(command) for command in commands]:
            ended.result()
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.files == {
        name: checksum(tmp_path / name) for name in ("eval.json", "history.csv", "predictions.csv")
    }
    assert manifest.pending == {}
