"""Run folders: make one, find the one that is meant."""

import errno
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnnzoo.errors import CnnzooError, UsageError, one_line, unknown
from cnnzoo.files import UNSUPPORTED, as_typed, expanded, natural, sync_folder

FILES = ("config.yaml", "history.csv", "last.pt", "best.pt")
"""A run has one of them at least; so has each run of a study."""

_OF_STUDY = re.compile(r"(.*-)?seed-\d+").fullmatch


def create_run(out: Path, prefix: str, name: str | None = None) -> Path:
    """Make a new run folder under ``out``: ``name``, or ``prefix`` with the next free number.

    Raises:
        UsageError: A run of that name exists already.
        CnnzooError: The folder cannot be made.
    """
    out = expanded(out)
    try:
        run = None if name is None else check_is_free(out, name)
        out.mkdir(parents=True, exist_ok=True)
        if run is not None:
            run.mkdir(parents=True, exist_ok=True)
        else:
            taken = [int(n) for r in out.iterdir() if (n := r.name.removeprefix(f"{prefix}-")).isdecimal()]
            run = _make_next(out, prefix, max(taken, default=0) + 1)
    except OSError as error:
        why = "it is no folder" if isinstance(error, FileExistsError) else one_line(error)
        raise CnnzooError(f"cannot write into {out}: {why}. Choose another folder with --out.") from error
    return run


def check_is_free(out: Path, name: str) -> Path:
    """Return the folder of a new run of that name.

    Raises:
        UsageError: It holds a run already, or the name is none.
        OSError: It cannot be read.
    """
    if not name.strip("./\\ "):
        raise UsageError(f"--name {name!r} names no folder of its own. Choose another.")
    run = expanded(out) / name
    if _is_folder(run) and any(not _is_leftover(path) for path in run.iterdir()):
        raise UsageError(
            f"{run} holds a run already. Go on with it by `--resume {as_typed(run)}`, or choose another --name."
        )
    return run


def _make_next(out: Path, prefix: str, number: int) -> Path:
    run = out / f"{prefix}-{number}"
    try:
        run.mkdir()
    except FileExistsError:  # another process was quicker
        return _make_next(out, prefix, number + 1)
    return run


@contextmanager
def file_lock(path: Path, seconds: float = 0) -> Iterator[bool]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        path: The file.
        seconds: Time to wait for another process that holds it.

    Yields:
        Whether it is held: False where the file system has no locks.

    Raises:
        filelock.Timeout: Another process holds it.
        OSError: The file cannot be opened.
    """
    from filelock import FileLock

    lock = FileLock(path, timeout=seconds)
    try:
        with warnings.catch_warnings():  # filelock's own, where it takes a substitute for flock
            warnings.simplefilter("ignore", UserWarning)
            lock.acquire()
    except NotImplementedError:  # an older filelock, which has no substitute
        pass
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextmanager
def locked(run: Path, otherwise: str = "Choose another folder with --out.") -> Iterator[list[str]]:
    """Keep every other process from training in ``run``; the lock ends with this process, however it ends.

    Args:
        run: The folder.
        otherwise: What a person can do where it cannot be written to.

    Yields:
        What the folder's file system lacks that keeps runs safe, and what follows from it.

    Raises:
        CnnzooError: Another process trains there, or the folder cannot be written to.
    """
    from filelock import Timeout

    with ExitStack() as held:
        try:
            has_locks = held.enter_context(file_lock(run / ".lock"))
            if not os.access(run, os.W_OK):  # a lock that was there already can be had all the same
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            has_sync = sync_folder(run)
        except Timeout as error:
            raise CnnzooError(
                f"another process is training in {run}. Wait for it, or train into another folder."
            ) from error
        except OSError as error:
            raise CnnzooError(f"cannot write into {run}: {one_line(error)}. {otherwise}") from error
        yield [
            *([] if has_locks else ["has no locks: a second training into the same run is not refused"]),
            *([] if has_sync else ["does not sync folders: a power loss may cost the last save"]),
        ]


def is_locked(run: Path) -> bool:
    """Whether another process trains in ``run``; nothing is written there."""
    from filelock import Timeout

    if not os.access(
        run / ".lock", os.W_OK
    ):  # a folder that cannot be written to, or in which nobody has trained
        return False
    try:
        with file_lock(run / ".lock"):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def released(run: Path, seconds: float) -> None:
    """Wait until no other process trains in ``run``, at most so many seconds."""
    if _is_folder(run):
        with suppress(OSError), file_lock(run / ".lock", seconds):  # filelock's Timeout is one, too
            pass


def newest(out: Path, file: str) -> Path | None:
    """Return the run folder under ``out`` whose ``file`` was written last, None if there is none.

    Of files written at the same moment, the run with the higher number counts as the newer.
    """
    return max(
        (run for run in runs_in(out) if (run / file).is_file()),
        key=lambda run: ((run / file).stat().st_mtime_ns, natural(run.name)),
        default=None,
    )


def resolve_run(run: str, out: Path) -> Path:
    """Return the folder that ``run`` means.

    Args:
        run: A path to a run's folder, its name under ``out``, or ``last`` for the newest.
        out: The folder that holds the runs.

    Raises:
        CnnzooError: There is no run yet.
        UsageError: No run is called so, and the nearest name is told; or a folder is that is no run.
    """
    places = [folder for folder in (Path(run), out / run) if run and _is_folder(folder)]
    # A folder of images here may be called like a run. Where neither is one, a folder of runs stands for all of them,
    # and a study may not have begun.
    for is_meant in (holds_run, _holds_runs_below, _is_study):
        if meant := next((folder for folder in places if is_meant(folder)), None):
            return meant
    if places and run != "last":
        raise UsageError(
            f"{places[0]} is no run and holds no run: it has none of {', '.join(FILES)}. "
            f"`cnnzoo runs --out {as_typed(out)}` lists those that there are."
        )
    runs = runs_in(out)
    if not runs:
        raise CnnzooError(f"there is no run {run!r}, and none in {out}. Make one with `cnnzoo train lenet`.")
    if run == "last":
        found = [(latest, file) for file in ("history.csv", "last.pt") if (latest := newest(out, file))]
        if found:
            return max(found, key=lambda pair: (pair[0] / pair[1]).stat().st_mtime_ns)[0]
        raise CnnzooError(f"no run in {out} has finished an epoch. Make one with `cnnzoo train lenet`.")
    raise unknown("run", run, [str(folder.relative_to(out)) for folder in runs])


def runs_in(out: Path) -> list[Path]:
    """Return the runs below ``out``, those of studies included."""
    if not _is_folder(out):
        return []
    try:
        folders = [path for path in out.iterdir() if _is_folder(path) and not path.name.startswith(".")]
        return [run for folder in folders for run in runs_of(folder) or [folder]]
    except OSError as error:
        raise CnnzooError(f"cannot read {out}: {one_line(error)}. Name another folder of runs.") from error


def holds_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, or of a study that has some."""
    return any((run / file).is_file() for run in (folder, *runs_of(folder)) for file in FILES)


def _holds_runs_below(folder: Path) -> bool:
    """Whether a folder is one of runs, of studies, or of folders of these."""
    return any(next(folder.glob(f"{depth}config.yaml"), None) for depth in ("*/", "*/*/", "*/*/*/"))


def _is_study(folder: Path) -> bool:
    return bool(runs_of(folder))


def runs_of(study: Path) -> list[Path]:
    """Return the runs of a study, ``seed-0`` or ``lr=0.1-seed-0``, as people count; none of what is no study."""
    runs = (run for run in study.glob("*seed-*") if _OF_STUDY(run.name) and _is_folder(run))
    return sorted(runs, key=lambda run: natural(run.name))


_LEFTOVERS = (
    ".lock", ".manifest.lock", "config.yaml", "imported", "trackers.json", "tensorboard", "wandb"
)  # fmt: skip


def _is_leftover(path: Path) -> bool:
    """Whether a run that was killed before its first save leaves such a file behind."""
    return path.name in _LEFTOVERS or (path.name.startswith(".") and path.suffix == ".tmp")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for the file system, or a folder that may not be entered
        return False
