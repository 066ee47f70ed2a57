"""Download a dataset: mirrors, time-outs, checksums, and what is taken out of an archive."""

import hashlib
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cnnzoo.data import Progress
from cnnzoo.data.named.catalog import DatasetSpec
from cnnzoo.data.named.formats import FORMATS
from cnnzoo.errors import CnnzooError, one_line

MIRROR_TIMEOUT = 10.0
"""Seconds in which a mirror must send MIN_BYTES, or the rest of the file."""

MIN_BYTES = 1 << 14


class _MirrorError(Exception):
    """A mirror does not send what it should; the message says why."""


def fetch(spec: DatasetSpec, data_dir: Path, progress: Progress) -> None:
    """Download a dataset into ``data_dir``, in torchvision's layout; files that are there and genuine stay.

    Raises:
        CnnzooError: It cannot be had, or not be written; the message says what was tried.
    """
    layout = FORMATS[spec.format]
    folder = layout.folder(spec, data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, md5 in layout.downloads(spec).items():
            if not layout.is_published(spec, folder / file, md5):
                _download(spec, folder / file, md5, progress)
            layout.unpack(spec, folder / file, folder)
    except OSError as error:
        raise CnnzooError(
            f"{folder} cannot be written ({one_line(error)}). Choose another with --data-dir."
        ) from error


def _download(spec: DatasetSpec, target: Path, md5: str, progress: Progress) -> None:
    """Download a file from the first mirror that has it; a damaged download is tried once more."""
    tried: list[str] = []
    part = target.with_name(f"{target.name}.part")
    try:
        for address in FORMATS[spec.format].addresses(spec, target.name):
            for _ in range(2):
                digest, done = hashlib.md5(usedforsecurity=False), 0
                try:
                    with part.open("wb") as out:
                        for chunk, total in _receive(address, 2_000_000 * spec.megabytes):
                            out.write(chunk)
                            digest.update(chunk)
                            done += len(chunk)
                            progress(f"Downloading {target.name}", done, total)
                except _MirrorError as error:
                    tried.append(f"{address}: {error}")
                    break
                if digest.hexdigest() == md5:
                    part.replace(target)
                    return
                tried.append(f"{address}: wrong checksum")
    finally:
        part.unlink(missing_ok=True)
    raise CnnzooError(f"The download failed ({'; '.join(tried)}).")


def _receive(address: str, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield a download in chunks, each with the size of the whole file (0: unknown).

    A thread does the reading, because a socket's own time-out bounds neither the search for the
    server's name nor an answer that trickles in byte by byte.

    Raises:
        _MirrorError: The mirror refuses, is silent, too slow, or sends too little or far too much.
    """
    arrived: queue.SimpleQueue[tuple[bytes, int] | Exception] = queue.SimpleQueue()
    given_up = threading.Event()

    def read() -> None:
        import urllib.error
        import urllib.request

        try:
            request = urllib.request.Request(address, headers={"User-Agent": "cnnzoo"})
            with urllib.request.urlopen(request, timeout=2 * MIRROR_TIMEOUT) as answer:
                total = int(answer.headers.get("Content-Length") or 0)
                chunk = b"start"
                while chunk and not given_up.is_set():
                    chunk = answer.read1(1 << 16)  # what has arrived, instead of waiting for all of it
                    arrived.put((chunk, total))
        except urllib.error.HTTPError as error:
            error.close()
            arrived.put(error)
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        done, due, deadline = 0, MIN_BYTES, time.monotonic() + MIRROR_TIMEOUT
        while True:
            try:
                item = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise _MirrorError(f"silent or too slow for {MIRROR_TIMEOUT:g} s") from None
            if isinstance(item, Exception):
                reason = getattr(item, "reason", None)  # what an URLError wraps
                raise _MirrorError(one_line(reason if isinstance(reason, Exception) else item))
            chunk, total = item
            done += len(chunk)
            if done > max_bytes:
                raise _MirrorError(f"sends more than {max_bytes:,} bytes")
            if not chunk:
                if done < total:
                    raise _MirrorError(f"ended after {done:,} of {total:,} bytes")
                return
            if done >= due:
                due, deadline = done + MIN_BYTES, time.monotonic() + MIRROR_TIMEOUT
            yield chunk, total
    finally:
        given_up.set()
