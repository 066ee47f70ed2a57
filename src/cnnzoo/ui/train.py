"""The end of a run, printed: its best epoch, its files and what to type next."""

from typing import TYPE_CHECKING

from rich.markup import escape

from cnnzoo.files import as_typed
from cnnzoo.ui.screen import out

if TYPE_CHECKING:
    from cnnzoo.training.result import RunResult


def print_result(result: "RunResult") -> None:
    """Print a run's best epoch, where its files lie, and what to type next."""
    from cnnzoo.training.result import resume_command

    say = out().print
    run, best, epochs = as_typed(result.run), result.best, len(result.history)
    patience, steps = result.config.patience, result.config.max_steps
    if result.limit == "patience":
        say(f"Stopped early, after {_epochs(epochs)}: {patience} without a better one.")
    if result.limit == "max_steps":
        say(f"Ended after step {steps:,}, in epoch {epochs}.")
    if not result.epochs_trained:
        say(f"This run is complete: {_epochs(epochs)}. Nothing to do.")
    say(f"Best epoch {best.epoch}: val loss {best.val_loss:.4f}, val acc [bold]{best.val_acc:.2%}[/]")
    say(f"Files in {escape(str(result.run))}:")
    say("  " + ", ".join(sorted(path.name for path in result.run.iterdir() if not path.name.startswith("."))))
    say("Next:")
    imports = "".join(f" --import={module}" for module in result.config.imports)
    longer = {
        "epochs": f"--epochs {2 * epochs}",
        "patience": f"--patience {2 * (patience or 0)}",
        "max_steps": f"--max-steps {2 * (steps or 0)}",
        "last_epoch": "",
    }[result.limit]
    more = f"{resume_command(result.run, result.config)} {longer}".rstrip()
    for command in (f"cnnzoo eval {run}{imports}", f"cnnzoo plot {run}", more):
        say(f"  {escape(command)}")


def _epochs(num: int) -> str:
    return f"{num} epoch{'' if num == 1 else 's'}"
