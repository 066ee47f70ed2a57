"""Whether a run's files are what they say: held against each other, and against its manifest."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnzoo.analysis.verify.checks import Check
from cnnzoo.config import TrainConfig
from cnnzoo.config_file import RECORDED, read_yaml
from cnnzoo.errors import CnnzooError, named, one_line
from cnnzoo.files import as_typed, file_sha256
from cnnzoo.plain_yaml import read_mapping
from cnnzoo.runs.checkpoint import Checkpoint, load_checkpoint
from cnnzoo.runs.evaluated import EVALUATION, PREDICTIONS, read_evaluation, read_predictions
from cnnzoo.runs.folder import is_locked
from cnnzoo.runs.history import DEFAULTS, HistoryRow, as_csv, best_row, known_columns
from cnnzoo.runs.manifest import MANIFEST, Manifest, checksum, covered_files, read_manifest
from cnnzoo.runs.run import TRAINED, TRAINED_SHA256
from cnnzoo.runs.sources import IMPORTED_FOLDER, kept_sources
from cnnzoo.training.resume import CHANGEABLE


def verify_files(run: Path) -> list[Check]:
    """Check a run's files: each bit of its checkpoints, and that everything beside follows from them.

    Nothing is written, and nothing that the run holds is run.

    Args:
        run: Its folder.

    Raises:
        CnnzooError: It holds no run, or another process trains there.
    """
    if not (run / "last.pt").is_file() and not (run / MANIFEST).is_file():
        raise CnnzooError(
            f"{run} has no last.pt: there is no run to verify. Name a folder that `cnnzoo train` has made."
        )
    if is_locked(run):
        raise CnnzooError(f"another process is training in {run}. Verify it when that has ended.")
    return list(_Files(run).checks())


class _Files:
    """The files of a run, and what each of them is checked by."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.faults: dict[str, str] = {}
        # What last.pt itself vouches for, so that a kill before the manifest is none.
        self.derived: set[str] = set()
        self.again = f"`cnnzoo train --resume {as_typed(run)}` mends it"
        self.manifest: Manifest | None = None
        try:
            self.manifest = read_manifest(run)
        except CnnzooError as error:
            self.faults[MANIFEST] = one_line(error)
        self.last = self._load("last.pt")
        self.training = self.last.training if self.last else None
        if self.last and not self.training:
            self.faults["last.pt"] = "it holds no optimizer state, as best.pt does not: it is no last.pt"

    def checks(self) -> Iterator[Check]:
        """Yield what came of each check."""
        yield self._check("last.pt", self._last())
        yield self._check("history.csv", self._history())
        yield self._check("best.pt", self._best())
        yield self._check("config.yaml", self._config())
        if (self.run / TRAINED).exists() or TRAINED_SHA256 in self.recorded:
            yield self._check(TRAINED, self._trained())
        if (self.run / IMPORTED_FOLDER).exists() or IMPORTED_FOLDER in self.recorded:
            yield from self._imported()
        seen = {"last.pt", "history.csv", "best.pt", "config.yaml", TRAINED}
        known = set(self.manifest.files) if self.manifest else set()
        others = sorted({*known, *covered_files(self.run)} - seen)
        for name in others:
            if not name.startswith(f"{IMPORTED_FOLDER}/"):
                yield self._check(name, self._other(name))
        yield self._manifest()

    def _check(self, name: str, ok: str) -> Check:
        """Return what came of a file's check: ``ok`` where nothing speaks against it."""
        now = checksum(self.run / name)
        if now is None and name == "former-best.pt":  # a spare, which a larger --max-steps takes
            return Check(name, "ok", "not needed any more")
        listed = self.manifest is not None and name in {**self.manifest.files, **self.manifest.pending}
        if now is None and name not in self.faults and (listed or name in ("last.pt", "config.yaml")):
            self.faults[name] = "it is missing"
        follows = name in self.derived or (name == "last.pt" and self.is_ahead)
        is_other = self.manifest is not None and now is not None and not self.manifest.admits(name, now)
        if name in self.faults:
            check = Check(name, "changed", self.faults[name])
        elif is_other and not follows and listed:
            check = Check(name, "changed", "it is not as cnnzoo wrote it")
        elif is_other and not follows:
            check = Check(
                name, "unknown", f"it is not in {MANIFEST}: a save was cut short, or it was put there"
            )
        elif not self.manifest and name.endswith((".json", ".csv")) and name != "history.csv":
            check = Check(name, "unknown", f"{ok}; that nobody changed it cannot be told without {MANIFEST}")
        else:
            check = Check(name, "ok", ok)
        return check

    def _load(self, name: str) -> Checkpoint | None:
        if not (self.run / name).is_file():
            return None
        try:
            return load_checkpoint(self.run / name)
        except CnnzooError as error:
            self.faults[name] = f"it is damaged: {one_line(error).removeprefix(f'{self.run / name} ')}"
            return None

    # last.pt, and what follows from it

    @cached_property
    def rows(self) -> list[HistoryRow]:
        """The history: of ``last.pt``, without a row that a larger ``max_steps`` has withdrawn."""
        if self.training is None:
            return []
        return self.training.history if self.withdrawn else self.training.rows

    @cached_property
    def withdrawn(self) -> HistoryRow | None:
        """The row of the epoch that ``max_steps`` had ended, if a resume has taken it back already."""
        if self.training is None or self.written != self._as_written(self.training.history):
            return None
        return self.training.ending

    @cached_property
    def written(self) -> bytes:
        """What ``history.csv`` holds; nothing where there is none."""
        path = self.run / "history.csv"
        return path.read_bytes() if path.is_file() else b""

    def _as_written(self, rows: Sequence[HistoryRow]) -> bytes:
        """Return rows as ``history.csv`` has to hold them: an older one lacks columns that have a default."""
        heading = self.written.partition(b"\n")[0].decode(errors="replace").split(",")
        try:
            return as_csv(rows, known_columns(heading))
        except ValueError:
            return as_csv(rows)

    @cached_property
    def is_ahead(self) -> bool:
        """Whether ``last.pt`` is newer than the manifest, because a save was cut short: its history goes on."""
        if self.manifest is None or self.training is None:
            return False
        is_other = not self.manifest.admits("last.pt", checksum(self.run / "last.pt"))
        return is_other and (self.epochs_written is not None or not self.written)

    @cached_property
    def epochs_written(self) -> int | None:
        """How many rows of ``last.pt`` make up ``history.csv``, if they do."""
        counts = range(len(self.rows), 0, -1)
        return next((count for count in counts if self._as_written(self.rows[:count]) == self.written), None)

    def _last(self) -> str:
        if self.last is None or self.training is None:
            return ""
        numbers = [row.epoch for row in self.training.rows]
        if numbers != list(range(1, len(numbers) + 1)):
            self.faults["last.pt"] = (
                f"its history leaves an epoch out: it has {named([*map(str, numbers)], 20)}"
            )
        elif (
            self.manifest
            and not self.is_ahead
            and not self.manifest.admits("last.pt", checksum(self.run / "last.pt"))
        ):
            self.faults["last.pt"] = (
                f"it is whole, and not the one that {MANIFEST} tells of: of another run, or another moment of this one"
            )
        num = len(self.rows)
        return f"{num} epoch{'' if num == 1 else 's'}, {self._done()}whole to the last bit"

    def _done(self) -> str:
        steps = self.training.totals.steps if self.training and not self.training.ending else 0
        return f"step {steps} of the next, " if steps else ""

    def _history(self) -> str:
        name = "history.csv"
        if self.training is None:
            return "held against nothing, for want of last.pt"
        if self.written == (self._as_written(self.rows) if self.rows else b""):
            self.derived.add(name)
            return "the history in last.pt"
        if self.is_ahead or (not self.manifest and not self.written):
            self.faults[name] = f"it is behind last.pt: a save was cut short. {self.again}"
        elif not self.written:
            self.faults[name] = f"it is missing. {self.again}"
        else:
            unsure = not self.manifest and self.epochs_written == len(self.rows) - 1
            short = ", or a save was cut short" if unsure else ""
            self.faults[name] = f"{self._difference()}{short}. {self.again}"
        return ""

    def _difference(self) -> str:
        """Say what differs between ``history.csv`` and the history in ``last.pt``."""
        try:
            found = _cells(self.written)
        except (KeyError, ValueError, TypeError, csv.Error):
            return "it is no table as cnnzoo writes it"
        known = _cells(self._as_written(self.rows))
        for epoch, cells in known.items():
            if epoch not in found:
                return f"epoch {epoch} is left out"
            for column, there in cells.items():
                if (here := found[epoch].get(column)) != there:
                    return f"{column} of epoch {epoch} is {here}, and {there} in last.pt"
        if more := sorted(found.keys() - known.keys()):
            return f"last.pt has no epoch {more[0]}"
        return "it is not written as cnnzoo writes it"

    def _best(self) -> str:
        name = "best.pt"
        best = self._load(name)
        if name in self.faults or self.last is None or self.training is None:
            return "whole to the last bit; held against nothing, for want of last.pt"
        if not self.rows:
            if best is not None:
                self.faults[name] = "no epoch is finished, of which it could be"
            return "none yet: no epoch is finished"
        row = best_row(self.rows, self._monitor())
        fault = self._fault_of_best(best, row, self.last)
        is_old = best is None or not self.manifest or self.manifest.admits(name, checksum(self.run / name))
        if best and self.withdrawn and best.epoch == self.withdrawn.epoch:
            fault = f"it is of an epoch that was taken back: a save was cut short. {self.again}"
        elif fault and is_old and row is self.rows[-1] and (self.is_ahead or not self.manifest):
            fault = f"it is behind last.pt: a save was cut short. {self.again}"
        if fault:
            self.faults[name] = fault
        if is_known := str(row.epoch) in (self.last.weights_sha256 or {}):
            self.derived.add(name)
        return (
            f"the weights of epoch {row.epoch}, the best{'' if is_known else ', by its row of the history'}"
        )

    def _monitor(self) -> str:
        return str(self.last.config.get("monitor", "val_acc")) if self.last else "val_acc"

    @staticmethod
    def _fault_of_best(best: Checkpoint | None, row: HistoryRow, last: Checkpoint) -> str | None:
        if best is None:
            return "it is missing"
        if best.epoch != row.epoch:
            return f"it is of epoch {best.epoch}, and the best is epoch {row.epoch}"
        # Images may have moved since the best epoch, or their files been written anew: data_sha256 says whether they
        # are the same.
        own = (
            "buffers",
            "config",
            "dataset",
            "epoch",
            "listing_sha256",
            "metrics",
            "state_dict",
            "training",
            "weights_sha256",
        )
        same = [field.name for field in fields(last) if field.name not in own]
        if differ := [name for name in same if getattr(best, name) != getattr(last, name)]:
            return f"it is of another run: its {differ[0]} is not that of last.pt"
        if {**DEFAULTS, **best.metrics} != asdict(row):
            return f"it is of another run: it has another epoch {row.epoch} than last.pt"
        if not last.has_weights(row.epoch, best):
            return f"it is of another run: its weights are not those of epoch {row.epoch} in last.pt"
        return None

    # What a person reads and what beside is kept

    @cached_property
    def recorded(self) -> Mapping[str, Any]:
        """What ``config.yaml`` has under ``recorded:``; where it cannot be read, it is the one to tell of."""
        try:
            values = read_mapping(self.run / "config.yaml").get(RECORDED)
        except CnnzooError:
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def tells(self) -> bool:
        """Whether ``config.yaml`` tells anything that others can be held against."""
        return bool(self.recorded)

    def _config(self) -> str:
        name = "config.yaml"
        sha256 = checksum(self.run / name)
        if sha256 is None:
            return ""
        if self.manifest and self.manifest.admits(name, sha256):
            return "the settings, and what the run has recorded"
        try:
            here = TrainConfig.from_dict(read_yaml(self.run / name)).to_dict()
            there = self.last.settings(self.run / "last.pt").to_dict() if self.last else here
        except CnnzooError as error:
            self.faults[name] = f"it cannot be held against last.pt: {one_line(error)}"
            return ""
        # Without a manifest nobody knows which of those is right that a resume may change, or finds out.
        may_differ = () if self.manifest else (*CHANGEABLE, "dataset", "image_root")
        differ = [key for key in here if here[key] != there[key] and key not in ("name", "out", *may_differ)]
        if differ:
            told = (f"{key} is {here[key]!r}, and {there[key]!r} in last.pt" for key in differ)
            self.faults[name] = "; ".join(told)
        elif self.last and self.recorded.get("data_sha256") != self.last.data_sha256:
            self.faults[name] = f"data_sha256 under `{RECORDED}:` is not that of last.pt"
        elif self.manifest:
            self.faults[name] = f"something under `{RECORDED}:`, or its wording, is not as cnnzoo wrote it"
        return f"the settings of last.pt; what is under `{RECORDED}:` cannot be told without {MANIFEST}"

    def _trained(self) -> str:
        path = self.run / TRAINED
        noted = self.recorded.get(TRAINED_SHA256)
        if not path.exists():
            self.faults[TRAINED] = "it is missing"
        elif noted is None and self.tells:
            self.faults[TRAINED] = "config.yaml tells of none"
        elif self.tells and file_sha256(path) != noted:
            self.faults[TRAINED] = "its checksum is not the one in config.yaml"
        return "the list of images that config.yaml tells of"

    def _imported(self) -> Iterator[Check]:
        noted = self.recorded.get(IMPORTED_FOLDER)
        noted = noted if isinstance(noted, dict) else {}
        kept = kept_sources(self.run) if (self.run / IMPORTED_FOLDER).is_dir() else {}
        for name in sorted({*noted, *kept}):
            path = f"{IMPORTED_FOLDER}/{name}"
            if name not in kept:
                self.faults[path] = "it is missing"
            elif name not in noted and self.tells:
                self.faults[path] = "config.yaml tells of no such file"
            elif self.tells and noted[name] != kept[name]:
                self.faults[path] = "its checksum is not the one in config.yaml"
            yield self._check(path, "the source that was imported")

    def _other(self, name: str) -> str:
        if name.endswith(".pt"):
            saved = self._load(name)
            if saved and name.startswith("epoch-"):
                if self.last and not self.last.has_weights(saved.epoch, saved):
                    self.faults[name] = f"its weights are not those of epoch {saved.epoch} in last.pt"
                return f"the weights of epoch {saved.epoch}"
            return "whole to the last bit"
        if name.endswith(EVALUATION):
            return self._evaluation(name)
        return "as cnnzoo wrote it" if self.manifest else "it can be read"

    def _evaluation(self, name: str) -> str:
        """Hold an evaluation against the predictions beside it and the checkpoint that it names."""
        path = self.run / name
        if not path.exists():
            return ""
        try:
            saved = read_evaluation(path.parent)
        except ValueError:
            saved = None
        if saved is None or saved.num_images is None:
            self.faults[name] = "it is no evaluation as cnnzoo writes it"
            return ""
        said = f"{saved.accuracy:.2%} of {saved.num_images:,} images"
        beside = path.with_name(PREDICTIONS)
        # Which of the two was changed says the manifest; here, whether they are of one evaluation.
        if beside.is_file() and (not self.manifest or self._are_admitted(path, beside)):
            try:
                predictions = read_predictions(path.parent)
            except ValueError as error:
                self.faults[name] = f"{PREDICTIONS} beside it is not as cnnzoo writes it: {one_line(error)}"
                return ""
            num, right = len(predictions.labels), predictions.num_correct
            if num != saved.num_images or abs(right - saved.accuracy * num) > 0.5:
                short = f"an evaluation was cut short. `cnnzoo eval {as_typed(self.run)}` mends it"
                self.faults[name] = (
                    f"it tells of {said}, and {PREDICTIONS} beside it of {right:,} right "
                    f"of {num:,}{f': {short}' if self.manifest and self.manifest.pending else ''}"
                )
        best = self.run / "best.pt"
        is_of_best = best.is_file() and saved.checkpoint_sha256 == file_sha256(best)
        return f"{said}{'' if is_of_best else ', of an earlier or another checkpoint'}"

    def _are_admitted(self, *paths: Path) -> bool:
        names = {path.relative_to(self.run).as_posix(): checksum(path) for path in paths}
        return self.manifest is not None and all(self.manifest.admits(*each) for each in names.items())

    def _manifest(self) -> Check:
        if MANIFEST in self.faults:
            return Check(MANIFEST, "changed", self.faults[MANIFEST])
        if self.manifest is None:
            return Check(MANIFEST, "changed", f"it is missing, or the first save was cut short. {self.again}")
        if self.is_ahead:
            return Check(MANIFEST, "changed", f"it is behind last.pt: a save was cut short. {self.again}")
        return Check(MANIFEST, "ok", f"{len(self.manifest.files)} files")


def _cells(content: bytes) -> dict[int, dict[str, str]]:
    """Return the cells of a ``history.csv`` as they are written, by epoch and column."""
    table = csv.DictReader(io.StringIO(content.decode(errors="replace")))
    return {int(row["epoch"]): row for row in table}
