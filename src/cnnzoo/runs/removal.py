"""Deletion of runs: never of one that is training, and never half."""

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import as_typed
from cnnzoo.runs.folder import FILES, locked, runs_of

DELETED = ".deleted"
"""How the name of a run ends that is being deleted, behind a stop: nobody takes such a folder for a run."""


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, or holds those of a study and no other folders."""
    if any((folder / file).is_file() for file in FILES):
        return True
    runs = runs_of(folder)
    others = {path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")} - {*runs}
    return any(is_run(run) for run in runs) and not others


def describe(folder: Path) -> str:
    """Return what of a run or study would be deleted: ``runs/lenet-1: 7 files, 2.1 MB``."""
    runs = runs_of(folder)
    files = [path.lstat().st_size for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    several = f"{len(runs)} runs, " if runs else ""
    return f"{folder}: {several}{len(files):,} files, {sum(files) / 1e6:,.1f} MB"


def check_removable(folder: Path, out: Path) -> None:
    """See that a folder is a run's, and lies where runs do.

    Args:
        folder: Of a run or a study.
        out: The folder that holds the runs.

    Raises:
        UsageError: It is something else.
    """
    if folder.is_symlink():
        raise UsageError(
            f"{folder} is a link to {folder.readlink()}. Name the run itself with --out, or remove the link by rm."
        )
    if out.resolve() not in [*folder.resolve().parents][:2]:
        raise UsageError(f"{folder} is not in {out}. Name the folder that holds it with --out.")
    if not is_run(folder):
        raise UsageError(
            f"{folder} is no run: it has none of {', '.join(FILES)}, or other folders. It is left alone."
        )


def remove_run(folder: Path) -> None:
    """Delete a run, or all of a study.

    It gets another name first, under which it is no run any more, so that a deletion that is interrupted leaves none
    that looks whole; the next one takes away what is left. Links in it are removed, and not followed.

    Raises:
        CnnzooError: A process is training there, or it cannot be deleted.
    """
    folder = folder.resolve()
    hidden = folder.with_name(f".{folder.name}{DELETED}")
    try:
        with ExitStack() as held:
            for each in (folder, *runs_of(folder)):
                try:
                    held.enter_context(locked(each))
                except CnnzooError as error:
                    raise CnnzooError(f"{str(error).partition('. ')[0]}. It is not deleted.") from error
            remove_leftovers(folder.parent)
            folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise CnnzooError(
            f"cannot delete {folder}: {one_line(error)}. Make it writable, or remove it by `rm -r {as_typed(folder)}`."
        ) from error


def remove_leftovers(out: Path) -> None:
    """Take away what deletions that were interrupted have left."""
    for left in out.glob(f".*{DELETED}"):
        if left.is_dir() and not left.is_symlink():
            with suppress(OSError):
                shutil.rmtree(left)
