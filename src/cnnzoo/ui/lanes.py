"""What a person sees of several runs side by side: a line each while they train, and a line more as each ends."""

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cnnzoo.analysis.sweep.lanes import Fault, LaneReporter
from cnnzoo.training.result import RunResult
from cnnzoo.ui.screen import NARROW, out, print_warning, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from cnnzoo.runs.history import HistoryRow
    from cnnzoo.training.reporter import RunDescription


WAITING = "waiting"

FIGURES_WIDTH, NARROW_FIGURES_WIDTH = 50, 13
"""Maximum width of the figures beside a run's name, in columns, on a wide terminal and on a narrow one."""

MAX_WAITING = 8
"""Maximum number of waiting runs with a line each; of more, one line says how many wait."""


class _Lines(Progress):
    """The lines, below a table of what has ended."""

    table: "RenderableType | None" = None

    def get_renderables(self) -> "Iterable[RenderableType]":
        if self.table is not None:
            yield self.table
        yield from super().get_renderables()


class LaneScreen(LaneReporter):
    """A line for each run, or plain lines without a terminal."""

    def __init__(self) -> None:
        self.console = out()
        self.narrow = self.console.width < NARROW
        self.epochs: dict[str, int] = {}
        self.told: set[str] = set()
        self.progress: _Lines | None = None
        self.lines: dict[str, TaskID] = {}
        self.waiting: dict[str, None] = {}
        self.room = 0

    def plan(self, names: "Sequence[str]") -> None:
        """Show which runs wait; of many, how many."""
        self.waiting = dict.fromkeys(names)
        if not self.console.is_terminal:
            return
        # A name is shown whole where it can be: its end says as much as its beginning.
        room = self.console.width - (NARROW_FIGURES_WIDTH if self.narrow else FIGURES_WIDTH)
        bar = 8 if self.narrow else 20
        longest = max(map(len, names), default=0)
        columns = [BarColumn(bar_width=bar)] if longest + bar + 2 <= room else []
        self.room = max(room - 1, 12)
        # Drawn from here alone: a thread that draws would take its time from the trainings'.
        self.progress = _Lines(
            TextColumn("{task.description}"),
            *columns,
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
            auto_refresh=False,
        )
        for name in names if len(names) <= MAX_WAITING else ():
            self._show(name, "waiting")
        self.progress.start()

    def start(self, name: str, description: "RunDescription") -> None:
        """Note how long the run is to be."""
        self.epochs[name] = description.epochs
        self._show(name, "begins")

    def step(self, name: str, *figures: Any) -> None:  # noqa: ANN401
        """Move the run's bar on."""
        epoch, phase, step, num_steps, loss, accuracy, rate = figures
        epochs = self.epochs.get(name, 0)
        part = step / max(num_steps, 1) if phase == "train" else 1
        shown = f"{epoch}/{epochs} {accuracy:.1%}"
        if not self.narrow:
            what = "" if phase == "train" else f" {phase}"
            shown = f"epoch {epoch}/{epochs}{what} loss {loss:.4f} acc {accuracy:.2%} {rate:,.0f} img/s"
        self._show(name, shown, (epoch - 1 + part) / max(epochs, 1))

    def epoch(self, name: str, row: "HistoryRow", is_best: bool) -> None:
        """Without a terminal: print the epoch's line."""
        if self.progress is None:
            self.console.print(
                f"{name}: epoch {row.epoch}/{self.epochs.get(name, 0)}  train loss {row.train_loss:.4f} "
                f"acc {row.train_acc:.2%}  val loss {row.val_loss:.4f} acc {row.val_acc:.2%}"
                f"{'  best' if is_best else ''}",
                markup=False,
            )

    def warn(self, name: str, message: str) -> None:
        """Print what a run has to say, once where several say the same."""
        if message not in self.told:
            self.told.add(message)
            print_warning(f"{name}: {message}")

    def end(self, name: str, outcome: object) -> None:
        """Print how a run has ended, and take its line away."""
        self.waiting.pop(name, None)
        if self.progress is not None and name in self.lines:
            self.progress.remove_task(self.lines.pop(name))
        if isinstance(outcome, RunResult):
            best, epochs = outcome.best, len(outcome.history)
            done = "" if outcome.epochs_trained else " (complete already)"
            text = f"{name}: best epoch {best.epoch} of {epochs}, val acc {best.val_acc:.2%}{done}"
            if self.narrow and self.console.is_terminal:
                text = f"{name}: {best.val_acc:.2%}, epoch {best.epoch} of {epochs}"
                if len(text) > self.console.width:
                    text = text.replace(": ", ":\n  ")
        elif isinstance(outcome, Fault):
            text = f"{name}: {'stopped, and saved' if outcome.kind == 'stopped' else f'did not end ({outcome.kind})'}"
            if outcome.kind == "bug":
                text += f"\n{outcome.text}"
        else:
            text = f"{name}: done"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, table: "RenderableType") -> None:
        """Keep a table above the lines, where there is room for it."""
        if self.progress is not None:
            lines = len(self.console.render_lines(table, pad=False)) + len(self.lines) + 2
            self.progress.table = table if lines < self.console.height else None

    def tick(self) -> None:
        """Draw anew."""
        self._show_waiting()
        if self.progress is not None:
            self.progress.refresh()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.progress is not None:
            self.progress.stop()

    def _show(self, name: str, figures: str, share: float = 0.0) -> None:
        if self.progress is None:
            return
        if name not in self.lines:
            if WAITING in self.lines:  # which stands last
                self.progress.remove_task(self.lines.pop(WAITING))
            shown = shorten(name, self.room, "..." if self.console.options.ascii_only else "…")
            self.lines[name] = self.progress.add_task(escape(shown), total=1, figures="")
        self.progress.update(self.lines[name], figures=figures, completed=share)

    def _show_waiting(self) -> None:
        unseen = len(self.waiting.keys() - self.lines.keys())
        if unseen:
            self._show(WAITING, f"{unseen} more")
        elif self.progress is not None and WAITING in self.lines:
            self.progress.remove_task(self.lines.pop(WAITING))
