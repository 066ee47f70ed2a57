"""The source of a net of one's own, kept in the run: what ``--import`` has brought in, from the project it lies in.

Nothing here imports it. The copy runs only where a person names it: ``--import=RUN/imported/mine.py``.
"""

import re
import shutil
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnzoo.config_file import read_recorded
from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import as_typed, file_sha256, replacing
from cnnzoo.models.registry import module_of

IMPORTED_FOLDER = "imported"
"""In a run; and the key in its config.yaml, under ``recorded``, that has the SHA-256 of each file in it."""


def keep_sources(run: Path, imports: Collection[str]) -> None:
    """Copy the source files of modules that are imported into a run's folder, in place of any that are there.

    Args:
        run: Its folder.
        imports: As ``--import`` was given them.

    Raises:
        CnnzooError: They cannot be written.
    """
    folder = run / IMPORTED_FOLDER
    try:
        contents = {name: file.read_bytes() for name, file in _sources(imports).items()}
        shutil.rmtree(folder, ignore_errors=True)
        for name in contents:
            parent = (folder / name).parent
            parent.mkdir(parents=True, exist_ok=True)
            while parent != folder:
                (
                    parent / "__init__.py"
                ).touch()  # a package's copy is one even where the package needs no such file
                parent = parent.parent
    except OSError as error:
        raise CnnzooError(
            f"cannot keep the imported modules in {run}: {one_line(error)}. Choose another folder with --out."
        ) from error
    for name, content in contents.items():
        with replacing(folder / name) as file:
            file.write(content)


def kept_sources(run: Path) -> dict[str, str]:
    """Return the SHA-256 of each source file that a run has kept, by its path in the folder of copies."""
    folder = run / IMPORTED_FOLDER
    files = sorted(file for file in folder.rglob("*.py") if file.stat().st_size)
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}


def changed_sources(run: Path, imports: Iterable[str]) -> str | None:
    """Return a warning where what is imported now is not what the run was trained with; None where it is.

    Args:
        run: Its folder, whose config.yaml has the checksums.
        imports: As its settings have them.
    """
    kept = read_recorded(run).get(IMPORTED_FOLDER)  # a checkpoint may lie anywhere
    if not kept:
        return None
    loaded = {name: file for name, file, _ in _loaded()}
    changed = [
        str(loaded[name])
        for name, digest in (kept.items() if isinstance(kept, Mapping) else ())
        if name in loaded and loaded[name].is_file() and file_sha256(loaded[name]) != digest
    ]
    if not changed:
        return None
    has = "has" if len(changed) == 1 else "have"
    return f"{', '.join(changed)} {has} changed since the run began. {how_to_import(run, imports)}".rstrip()


def how_to_import(run: Path, imports: Iterable[object]) -> str:
    """Return a sentence that says how a person imports what a run has kept; nothing where it has kept none."""
    flags = []
    for module in map(str, imports):
        # By a name or a path, which may begin anywhere above the folder that the module was imported from.
        parts = [part for part in re.split(r"[./\\]+", module.removesuffix(".py")) if part]
        copies = [run.joinpath(IMPORTED_FOLDER, *parts[start:]) for start in range(len(parts))]
        files = [
            file for copy in copies for file in (copy.with_name(f"{copy.name}.py"), copy / "__init__.py")
        ]
        with suppress(OSError):  # a name too long for a file
            flags += [f"--import={as_typed(file)}" for file in files if file.is_file()][:1]
    return f"The run has kept its own copy: {' '.join(flags)}." if flags else ""


@contextmanager
def imports_advised(run: Path, imports: Sequence[str]) -> Iterator[None]:
    """Add to the error of an unknown name which modules may register it: those that the run was trained with.

    Args:
        run: Its folder.
        imports: As its settings have them.
    """
    try:
        yield
    except UsageError as error:
        if not imports:
            raise
        flags = " ".join(f"--import={module}" for module in imports)
        raise UsageError(
            f"{error} If it is one of your own, add {flags}. {how_to_import(run, imports)}".rstrip()
        ) from error


def _sources(imports: Collection[str]) -> dict[str, Path]:
    """Return the files that are loaded from where the modules are imported from, by their path there.

    Where that is a folder of installed packages, those of their own packages alone.
    """
    loaded = list(_loaded()) if imports else []
    tops = {module_of(module)[0].partition(".")[0] for module in imports}
    roots = {root for name, _, root in loaded if _top(name) in tops}
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    return {
        name: file
        for name, file, root in loaded
        if root in roots
        and _top(name) != "cnnzoo"
        and (_top(name) in tops or not (root in installed or root.name in ("site-packages", "dist-packages")))
    }


def _loaded() -> Iterator[tuple[str, Path, Path]]:
    """Yield each module that Python has loaded from source: ``nets/mine.py``, its file, the folder ``nets`` is in."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")  # some load more at the touch of an attribute
        if name == "__main__" or not isinstance(file, str) or not file.endswith(".py"):
            continue
        relative = f"{name.replace('.', '/')}{'/__init__' if file.endswith('__init__.py') else ''}.py"
        path = Path(file)
        if file.replace("\\", "/").endswith(f"/{relative}"):
            yield relative, path, path.parents[relative.count("/")]


def _top(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")
