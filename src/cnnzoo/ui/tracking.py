"""Tell trackers of a run without the run's depending on them.

The run's folder stays the source of truth. A tracker is told each finished epoch once it is saved, in a thread of its
own, so that a server that does not answer keeps no step waiting; one that fails is warned of once, and told nothing
more. ``trackers.json`` in the folder names those that a run has and what the run is called there, so that it goes on in
the same record; what a tracker lacks, because the run was killed between a save and the telling, it is told then.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cnnzoo.errors import CnnzooError, one_line, unknown
from cnnzoo.files import replacing
from cnnzoo.runs.history import HistoryRow
from cnnzoo.training.reporter import Reporter, Reporters, RunDescription
from cnnzoo.ui.trackers import TRACKERS, Tracker

FILE = "trackers.json"
"""The file in a run's folder."""

LAST_SECONDS = 30.0
"""How long a run that has ended waits for a tracker that has not taken all of it yet."""

OFF = "off"


class Aside(Reporter):
    """Tells another reporter in a thread of its own; where that fails, a person is warned, once.

    Args:
        title: What it is called in a warning.
        reporter: Whom to tell.
        warn: Warns a person; called from the thread that reports, not from the one here.
    """

    def __init__(self, title: str, reporter: Tracker, warn: Callable[[str], None]) -> None:
        self.title, self.reporter, self.warn_person = title, reporter, warn
        self.waiting: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        self.fault: BaseException | None = None
        self.is_warned = False
        self.thread = threading.Thread(target=self._work, name=title, daemon=True)

    def _work(self) -> None:
        while task := self.waiting.get():
            do, arguments = task
            if self.fault is None:
                try:
                    do(*arguments)
                except BaseException as error:  # whatever a library raises, SystemExit included
                    self.fault = error

    def start(self, description: RunDescription, run: Path) -> None:
        """Begin."""
        self.thread.start()
        self.waiting.put((self.reporter.start, (description, run)))

    def step(self, *figures: Any) -> None:  # noqa: ANN401  (as Reporter.step has them)
        """Look whether it has failed."""
        self._look()

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        """Tell of an epoch."""
        self.waiting.put((self.reporter.epoch, (row, is_best)))
        self._look()

    def close(self) -> None:
        """Wait until all is told, but not for ever."""
        if self.thread.ident is None:  # no run has begun
            return
        self.waiting.put((self.reporter.close, ()))
        self.waiting.put(None)
        self.thread.join(LAST_SECONDS)
        self._look()
        if self.thread.is_alive() and not self.is_warned:
            self._warn(f"it has not taken all of it within {LAST_SECONDS:.0f} s")

    def _look(self) -> None:
        if self.fault is not None and not self.is_warned:
            self._warn(one_line(self.fault)[:200])

    def _warn(self, why: str) -> None:
        self.is_warned = True
        self.warn_person(
            f"{self.title} is told nothing more: {why}. The run goes on, and its folder has all; what "
            f"{self.title} lacks it is told when the run is resumed."
        )


def tracker_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the trackers that a person names, each once: ``["mlflow,wandb"]``; see that they are installed.

    Raises:
        UsageError: There is no such tracker.
        CnnzooError: One is not installed; the message says how it is.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*TRACKERS, OFF):
            raise unknown("tracker", name, (*TRACKERS, OFF))
        if name != OFF:
            _import(name)
    return tuple(dict.fromkeys(names))


def _import(name: str) -> None:
    """Import a tracker's library: now, and not while the run trains."""
    # Of what these libraries do of their own accord: they tell their makers that they are used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import_module(TRACKERS[name].module)
    except Exception as error:  # whatever a library raises that does not fit the others that are installed
        raise CnnzooError(
            f"--log {name} needs {TRACKERS[name].title}, which cannot be imported ({one_line(error)}). "
            f"Install it: pip install 'cnnzoo[{name}]'"
        ) from error


def trackers_of(run: Path) -> dict[str, dict[str, Any]]:
    """Return the trackers that a run has, by name, and what is kept of each."""
    try:
        values = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = values if isinstance(values, dict) else {}
    return {name: kept for name, kept in found.items() if name in TRACKERS and isinstance(kept, dict)}


class _Trackers(Reporter):
    """The trackers of a run: those that are asked for, else those that it has had; begun when its folder is known."""

    def __init__(self, names: tuple[str, ...], warn: Callable[[str], None]) -> None:
        self.names, self.warn_person = names, warn
        self.told: list[Aside] = []
        self.kept: dict[str, dict[str, Any]] = {}

    def start(self, description: RunDescription, run: Path) -> None:
        self.kept = trackers_of(run)
        for name in self.names or tuple(self.kept):
            if name != OFF:
                self._begin(name, run)
        for each in self.told:
            each.start(description, run)

    def _begin(self, name: str, run: Path) -> None:
        def keep(values: dict[str, Any]) -> None:
            with lock:
                self.kept[name] = values
                with replacing(run / FILE) as file:
                    file.write(json.dumps(self.kept, indent=1, sort_keys=True).encode() + b"\n")

        lock = self.lock
        try:
            _import(name)
        except CnnzooError as error:  # of a run that is resumed elsewhere
            self.warn_person(str(error))
            return
        tracker = TRACKERS[name](self.kept.get(name, {}), keep)
        self.told.append(Aside(tracker.title, tracker, self.warn_person))

    lock = threading.Lock()

    def step(self, *figures: Any) -> None:  # noqa: ANN401
        for each in self.told:
            each.step()

    def epoch(self, row: HistoryRow, is_best: bool) -> None:
        for each in self.told:
            each.epoch(row, is_best)

    def close(self) -> None:
        for each in self.told:
            each.close()


@contextmanager
def tracked(names: tuple[str, ...], reporter: Reporter) -> Iterator[Reporter]:
    """Tell trackers, too, what a reporter is told of a run; their records are closed at the end of the block.

    Args:
        names: As ``tracker_names`` gives them; none for those that the run has had.
        reporter: The other one, which warns where a tracker fails.
    """
    trackers = _Trackers(names, reporter.warn)
    try:
        yield Reporters(reporter, trackers)
    finally:
        trackers.close()
