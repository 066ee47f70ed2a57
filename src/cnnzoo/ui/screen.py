"""What a person sees of a run: header, progress, epochs, warnings, errors.

It imports no torch.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnnzoo.training.reporter import Reporter, RunDescription

if TYPE_CHECKING:
    from cnnzoo.runs.history import HistoryRow

REFRESH_SECONDS = 0.5
"""The screen is drawn by time, not by step: a small net makes hundreds of steps a second."""

NARROW = 72
"""Below so many columns, lines leave out what is least needed."""


def out() -> Console:
    """Return the console of stdout; where it is no terminal, lines are never folded."""
    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def print_error(message: str) -> None:
    """Print ``Error: message`` on stderr."""
    console = err()
    console.print(f"[bold red]Error:[/] {_one_line(console, message)}")


def print_warning(message: str) -> None:
    """Print a warning on stderr, in a box where it is a terminal."""
    console = err()
    text = _one_line(console, message)
    if console.is_terminal:
        console.print(Panel(text, title="Warning", border_style="bold yellow"))
    else:
        console.print(f"Warning: {text}")


def _one_line(console: Console, message: str) -> str:
    text = " ".join(message.splitlines())
    return escape(text.replace("×", "x").replace("…", "...") if console.options.ascii_only else text)


def shorten(text: str, length: int, cut: str = "…") -> str:
    """Return a text of so many signs at most; too long a one loses its middle."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}{cut}{text[half + len(cut) - length :]}"


def distinct_names(names: Sequence[str], length: int, cut: str = "…") -> list[str]:
    """Shorten names so that they still differ: the middle goes, or of names with the same ends what they share.

    Args:
        names: All that are shown together.
        length: Characters of each, at most; of names that nothing else tells apart, a number comes on top.
        cut: What stands for what is left out.
    """
    short = [shorten(name, length, cut) for name in names]
    alike = defaultdict(list)
    for name, each in zip(names, short, strict=True):
        alike[each].append(name)
    for at, (name, each) in enumerate(zip(names, short, strict=True)):
        if len(set(alike[each])) > 1:
            short[at] = _shorten_to(name, alike[each], length, cut)
    total, seen = Counter(short), Counter[str]()
    for at, each in enumerate(short):
        seen[each] += 1
        if total[each] > 1:
            short[at] = f"{each} ({seen[each]})"
    return short


def _shorten_to(name: str, others: Sequence[str], length: int, cut: str) -> str:
    """Return the beginning of a name, what tells it from others that begin alike, and its end if there is room."""
    same = _num_shared(others)
    same_end = min(_num_shared([other[:same:-1] for other in others]), len(name) - same - 1)
    head, middle = name[: length // 3], name[same : len(name) - same_end]
    room = length - len(head) - len(middle) - 2 * len(cut)
    if 1 < room < same_end:
        return f"{head}{cut}{middle}{cut}{name[-room:]}"
    return f"{head}{cut}{name[same:][: length - len(head) - len(cut)]}"


def _num_shared(names: Sequence[str]) -> int:
    """Return with how many of the same letters all names begin."""
    return len(list(takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))))


def header_rows(it: "RunDescription") -> dict[str, str]:
    """Return what the header of a run says, a line for each word at its left."""
    rows = {
        "model": f"{it.model}, {it.num_parameters:,} parameters, "
        f"{f'{it.num_trained:,} of them trained, ' if it.num_trained < it.num_parameters else ''}"
        f"{it.in_channels}x{it.image_size}x{it.image_size} images",
        "data": f"{it.dataset}, {it.num_train:,} to train on, {it.num_val:,} to validate ({it.data_location})",
        "classes": f"{it.num_classes}: {it.classes}",
        "device": f"{it.device} ({it.device_name})",
        "precision": f"{it.precision} ({it.precision_reason})",
    }
    if it.sampler != "shuffle":
        rows["sampler"] = it.sampler
    if it.class_weights:
        rows["weights"] = f"{it.class_weights} (of classes, in training; validation and eval are unweighted)"
    if it.optimizer_note:
        rows["optimizer"] = f"{it.optimizer} ({it.optimizer_note})"
    if it.world_size > 1:
        share = f"{it.batch_size // it.world_size} images each of a batch"
        rows["processes"] = f"{it.world_size}, {share} ({it.backend})"
    if it.max_steps:
        rows["steps"] = f"{it.max_steps:,}, to epoch {it.epochs}"
    if it.threads:
        rows["threads"] = f"{it.threads} (THREADS@EPOCH:STEP)"
    return rows


def print_rows(console: Console, rows: Mapping[str, str]) -> None:
    """Print lines with a word at the left of each; without a terminal as ``word: line``."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in rows.items():
        if console.is_terminal:
            grid.add_row(key, escape(value))
        else:
            console.print(f"{key}: {value}", markup=False)
    if console.is_terminal:
        console.print(grid)


class QuietScreen(Reporter):
    """A reporter that passes on warnings and nothing else."""

    def warn(self, message: str) -> None:
        """Print the warning on stderr."""
        print_warning(message)

    def close(self) -> None:
        """Leave the terminal as it was."""


class Screen(QuietScreen):
    """A reporter for the terminal: header, one live bar, a line per epoch, and what to type next.

    Without a terminal there is no bar, and every line is plain.
    """

    def __init__(self) -> None:
        self.console = out()
        self.narrow = self.console.width < NARROW and self.console.is_terminal
        self.bar: Progress | None = None
        self.shown = ("", 0)  # phase and epoch of the bar
        self.refresh_at = 0.0
        self.epochs = 0
        self.num_processes = 1

    def warn(self, message: str) -> None:
        """Print the warning on stderr, in place of the bar."""
        self.close()
        super().warn(message)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show a bar for something that takes time before the first epoch."""
        self._show(what, 0, done, total, "")

    def start(self, description: RunDescription, run: Path) -> None:
        """Print the header."""
        self.close()
        it = description
        self.epochs, self.num_processes = it.epochs, it.world_size
        rows = header_rows(it)
        rows["run"] = str(run)
        if it.epochs_done or it.steps_done:
            step = f", step {it.steps_done}" if it.steps_done else ""
            rows["resumed"] = f"after epoch {it.epochs_done}{step}"
        print_rows(self.console, rows)

    def step(
        self,
        epoch: int,
        phase: str,
        step: int,
        num_steps: int,
        loss: float,
        accuracy: float,
        images_per_second: float,
    ) -> None:
        """Move the bar on, if the last time was a while ago."""
        if self.console.is_terminal and time.monotonic() >= self.refresh_at:
            rate = f" {images_per_second * self.num_processes:,.0f} img/s" if not self.narrow else ""
            what = f"epoch {epoch}/{self.epochs}" if phase == "train" and self.epochs else phase
            self._show(what, epoch, step, num_steps, f"loss {loss:.4f} acc {accuracy:.2%}{rate}")

    def epoch(self, row: "HistoryRow", is_best: bool) -> None:
        """Print the epoch's line."""
        self.close()
        number = f"{row.epoch:>{len(str(self.epochs))}}/{self.epochs}"
        val = f"loss {row.val_loss:.4f}  acc {row.val_acc:.2%}"
        middle = (
            f"epoch {number}  train loss {row.train_loss:.4f} acc {row.train_acc:.2%}  "
            f"val loss {row.val_loss:.4f} acc {row.val_acc:.2%}"
        )
        full = f"{middle}  {row.seconds:.1f} s  {row.images_per_second:,.0f} images/s"
        # The fullest line that the terminal has room for; where there is none, everything.
        room = self.console.width - len("  best") if self.console.is_terminal else len(full)
        line = next((line for line in (full, middle) if len(line) <= room), f"{number}  {val}")
        self.console.print(line + ("  [bold green]best[/]" if is_best else ""))

    def _show(self, what: str, epoch: int, done: int, total: int, figures: str) -> None:
        if not self.console.is_terminal or (time.monotonic() < self.refresh_at and done != total):
            return
        if self.bar is None or self.shown != (what, epoch):
            self.close()
            columns = [
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[figures]}"),
            ]
            if not self.narrow:
                columns.append(TimeRemainingColumn(compact=True))
            # Drawn from here alone: a thread that draws would take its time from the training's.
            self.bar = Progress(
                *columns, console=self.console, transient=True, auto_refresh=False, expand=True
            )
            self.bar.add_task(what, total=total or None, figures=figures)
            self.bar.start()
            self.shown = (what, epoch)
        self.bar.update(self.bar.task_ids[0], completed=done, figures=figures)
        self.bar.refresh()
        self.refresh_at = time.monotonic() + REFRESH_SECONDS

    def close(self) -> None:
        """Take the bar away, if one is shown."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
            self.refresh_at = 0.0
