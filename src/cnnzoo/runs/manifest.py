"""``manifest.json``: checksums of a run's files, so that ``cnnzoo verify`` finds what was changed by hand.

It is a checksum and no signature: who changes a file and the manifest alike is beyond it. It begins with a run's first
save. A small file that nothing can be made again from is noted before it is written and after, so that a kill between
the two is no change; what follows from ``last.pt`` is noted after it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cnnzoo.errors import CnnzooError, UsageError, one_line
from cnnzoo.files import file_sha256, replacing
from cnnzoo.runs.folder import file_lock
from cnnzoo.runs.serialization import stored_sha256
from cnnzoo.validation import check

MANIFEST = "manifest.json"

LOCK = ".manifest.lock"

MANIFEST_FORMAT = 1
"""Version of what is in the file."""

OTHERWISE = "choose another place"

COVERED = re.compile(
    r"(config\.yaml|history\.csv|trained\.npy|imported/.+\.py|(last|best|former-best|epoch-\d+)\.pt"
    r"|(eval-[^/]+/)?(eval\.json|confusion\.csv|predictions\.csv))"
)
"""Files of a run that the manifest covers; pictures are drawn from them."""


@dataclass(frozen=True)
class Manifest:
    """What a run's files were when cnnzoo wrote them.

    Attributes:
        files: SHA-256 by name below the run's folder; of a checkpoint the one that it ends with.
        pending: Of files that are being written; where a kill came between, the old one or the new one is there.
    """

    files: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)

    def admits(self, name: str, sha256: str | None) -> bool:
        """Whether cnnzoo may have left a file so."""
        return sha256 is not None and sha256 in (self.files.get(name), self.pending.get(name))


def checksum(path: Path) -> str | None:
    """Return a file's SHA-256, of a checkpoint the one that it ends with; None where there is none to read.

    Raises:
        CnnzooError: It cannot be read.
    """
    try:
        return stored_sha256(path) if path.suffix == ".pt" else file_sha256(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CnnzooError(f"cannot read {path}: {one_line(error)}. Make it readable.") from error


def covered_files(run: Path) -> list[str]:
    """Return the names of the files in a run's folder that a manifest covers."""
    found = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    # An empty file is the __init__.py of a copied folder.
    return sorted(name for name in found if COVERED.fullmatch(name) and (run / name).stat().st_size)


def read_manifest(run: Path) -> Manifest | None:
    """Return a run's manifest; None where it has none.

    Raises:
        CnnzooError: It is damaged.
    """
    path = run / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != MANIFEST_FORMAT:
            raise UsageError("another format")
        return Manifest(**{name: check(name, dict[str, str], values[name]) for name in ("files", "pending")})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise CnnzooError(f"{path} is damaged, or of another cnnzoo") from error


def write_files(run: Path, contents: Mapping[str, bytes], *, otherwise: str = OTHERWISE) -> None:
    """Write small files of a run, and note them in its manifest, if it has one.

    Args:
        run: Its folder.
        contents: By name below it.
        otherwise: What a person can do where they cannot be written.

    Raises:
        CnnzooError: One cannot be written; the manifest admits what is there.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    with _alone(run, otherwise) if (run / MANIFEST).is_file() else nullcontext():
        known = _known(run)
        if known:
            _write(run, known, Manifest(known.files, {**known.pending, **digests}), otherwise)
        for name, content in contents.items():
            with replacing(run / name, otherwise=otherwise) as file:
                file.write(content)
        if known:
            pending = {name: digest for name, digest in known.pending.items() if name not in digests}
            _write(run, None, Manifest({**known.files, **digests}, pending), otherwise)


def note_files(run: Path, names: Iterable[str]) -> None:
    """Note some files of a run as they are now; where it has no manifest yet, all that it has.

    Raises:
        CnnzooError: It cannot be written.
    """
    with _alone(run):
        known = _known(run)
        now = {name: checksum(run / name) for name in (names if known else covered_files(run))}
        files = {**(known.files if known else {}), **now}
        changed = Manifest(
            {name: digest for name, digest in files.items() if digest}, known.pending if known else {}
        )
        _write(run, known, changed)


@contextmanager
def _alone(run: Path, otherwise: str = OTHERWISE) -> Iterator[None]:
    """Keep other commands from a run's manifest: ``eval`` may write there while the run trains.

    Raises:
        CnnzooError: The folder cannot be written to, or another command holds it for a minute.
    """
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(run / LOCK, seconds=60))
        except OSError as error:  # filelock's Timeout is one, too
            advice = f"{otherwise[0].upper()}{otherwise[1:]}."
            raise CnnzooError(f"cannot write {run / MANIFEST}: {one_line(error)}. {advice}") from error
        yield


def _known(run: Path) -> Manifest | None:
    with suppress(CnnzooError):  # a damaged one is begun anew; to tell of it is for `cnnzoo verify`
        return read_manifest(run)
    return None


def _write(run: Path, before: Manifest | None, after: Manifest, otherwise: str = OTHERWISE) -> None:
    if before == after:
        return
    text = json.dumps(
        {"format": MANIFEST_FORMAT, **asdict(after)}, indent=1, sort_keys=True, ensure_ascii=False
    )
    with replacing(run / MANIFEST, otherwise=otherwise) as file:
        file.write(text.encode(errors="surrogateescape") + b"\n")
