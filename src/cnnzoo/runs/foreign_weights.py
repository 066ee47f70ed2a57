"""Weights that anybody has saved: what can be read of a file without running anything in it."""

import mmap
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from cnnzoo.errors import CnnzooError, one_line, shown
from cnnzoo.runs.checkpoint import load_checkpoint
from cnnzoo.runs.net_state import tensors_of
from cnnzoo.runs.serialization import NEEDED, NOT_RUN, names_asked, names_in_zip, refuse_claims

_SAVE = "Where it was made, save its weights alone: torch.save(model.state_dict(), PATH)."
_CONVERT = "Bring its weights into a net of PyTorch, and save those: torch.save(model.state_dict(), PATH)."

_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The number with which torch's format begins that was no zip file yet, as its pickle has it."""

_KINDS = (
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes them", _CONVERT),
    (rb"\x93NUMPY", "an array of NumPy", _CONVERT),
    (rb"GGUF", "a GGUF file", _CONVERT),
    (rb".{4}TFL3", "a model of TensorFlow Lite", _CONVERT),
    (rb"\x08[\x01-\x20][\x10-\x4a]", "a model of ONNX", _CONVERT),
    (
        rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf",
        "a packed file",
        "Unpack it, and name what is in it.",
    ),
    (rb".{257}ustar", "an archive of tar", "Unpack it, and name what is in it."),
    (rb"\s*<(?i:!doctype|html|\?xml)", "a web page", "Download the file itself."),
    (rb"version https://git-lfs", "what Git LFS keeps in place of a file", "Fetch that by `git lfs pull`."),
    (rb"\x80[\x02-\x05]", "a pickle that torch.save did not write", _SAVE),
    (rb"\Z", "empty", "Use another file."),
)
"""How files begin that are no weights of torch, what they are, and what to do."""

_ARCHIVES = (
    (r"constants\.pkl", "a TorchScript archive", _SAVE),
    (r"archive_format|models/[^/]+\.json", "a program of torch.export", _SAVE),
    (r"[^/]+\.weights\.h5", "an archive of Keras", _CONVERT),
    (r".*\.npy", "an archive of NumPy arrays", _CONVERT),
    (r".*", "a zip file that torch.save did not write", "Unpack it, and name what is in it."),
)
"""The same of zip files, by the name of a member below the archive's own."""

_VALUES = re.compile(
    NEEDED.pattern
    + r"|torch\._utils\._rebuild_(?:tensor|parameter|parameter_with_state)"
    + r"|torch\.(?:Size|device|b?float\d+|u?int\d+|bool|double|half|long)|_codecs\.encode|collections\.Counter"
    + r"|builtins\.(?:set|complex)"
)
"""What torch itself makes of a pickle's values, of the little that weights and what lies beside them need."""

_PLAIN = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|pathlib\.(?:_local\.)?\w*Path|collections\.(?:defaultdict|deque)"
    r"|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID|typing\.\w+"
    r"|builtins\.(?:bool|bytes|dict|float|frozenset|int|list|long|range|slice|str|tuple|unicode|xrange)"
    r"|numpy(?:\.\w+)+|torch\.torch_version\.TorchVersion|torch\.optim\.lr_scheduler\.\w+"
    r"|torchvision\.transforms\.functional\.InterpolationMode|omegaconf(?:\.\w+)+"
    r"|[\w.]+\.(?:AttributeDict|AttrDict|EasyDict|ConfigDict|CfgNode)"
)
"""Settings and figures that training scripts save beside the weights. What is so called is never looked up: one of
the two stand-ins below takes its place, and it can do nothing."""

_RUNS = re.compile(
    r"(?:os|posix|nt|sys|subprocess|shutil|runpy)\..*|builtins\.(?:eval|exec|compile|open|__import__)"
)
"""What nobody saves by mistake."""

_STATE_DICTS = ("state_dict", "model_state_dict", "model", "net", "weights")
"""What training scripts call the weights, the likeliest first."""


class _Inert(list[object]):
    """Stands for a value that is no weight: takes whatever its class would have taken, and keeps none of it."""

    def __new__(cls, *_: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass

    extend = append

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key


class _InertMapping:
    """Stands for a mapping of another class: torch fills in plain ones only."""

    def __new__(cls, *_: object) -> "OrderedDict[object, object]":  # type: ignore[misc]
        return OrderedDict()


class _InertList:
    """Stands for a deque: older releases of torch append to plain lists only."""

    def __new__(cls, *_: object) -> "list[object]":  # type: ignore[misc]
        return []


def read_weights(path: Path) -> list[dict[str, Tensor]]:
    """Read the weights of a checkpoint of cnnzoo, or of a file that ``torch.save`` or safetensors has written.

    Nothing in it runs. A checkpoint of cnnzoo is verified, any other file is as whole as torch finds it.

    Returns:
        The mappings of names to tensors in it, the likeliest first: a checkpoint of training may have several.

    Raises:
        CnnzooError: There is no such file, or it holds no weights that can be read so; the message says what it is.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
            if start.startswith(b"PK\3\4"):
                with zipfile.ZipFile(file) as archive:
                    comment, members = archive.comment, archive.namelist()
                if b"cnnzoo" in comment:
                    saved = load_checkpoint(path)
                    return [{**saved.buffers, **tensors_of(saved.state_dict)}]
                _check_members(path, members)
                values = _read_pickle(path, file, names_in_zip(path))
            elif start.startswith(_OLD_TORCH):
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
                    # The format's number, its version, what the machine was like, the values, and their keys.
                    names = [name for _ in range(5) for name in names_asked(cast("IO[bytes]", pickles))]
                values = _read_pickle(path, file, names)
            elif start[4:9] == b"\0\0\0\0{":  # the length of a table in JSON, and that
                from safetensors.torch import load_file

                values = load_file(path)
            else:
                raise _refusal(path, start)
    except OSError as error:
        raise CnnzooError(
            f"cannot read the weights in {path} ({one_line(error)}). Check the path."
        ) from error
    except CnnzooError:
        raise
    except Exception as error:
        raise CnnzooError(
            f"{path} is damaged, or holds no weights that can be read safely. Use another file."
        ) from error
    refuse_claims(path, values)
    found = list(_state_dicts(values))
    if not found:
        raise CnnzooError(f"{path} holds no state dict: no mapping of names to tensors. {_SAVE}")
    return found


def _refusal(path: Path, start: bytes) -> CnnzooError:
    """Return the error for a file that is none of torch's, by how it begins."""
    for pattern, what, advice in _KINDS:
        if re.match(pattern, start, re.DOTALL):
            return CnnzooError(f"{path} is {what}. {advice}")
    return CnnzooError(
        f"{path} holds no weights that can be read safely: torch.save did not write it. {_SAVE}"
    )


def _check_members(path: Path, members: list[str]) -> None:
    """Refuse a zip file that holds something else than ``torch.save`` puts into one."""
    names = [member.partition("/")[2] or member for member in members]
    for pattern, what, advice in _ARCHIVES[:-1] if "data.pkl" in names else _ARCHIVES:
        if any(re.fullmatch(pattern, name) for name in names):
            raise CnnzooError(f"{path} is {what}. {advice}")


def _read_pickle(path: Path, file: BinaryIO, names: list[str]) -> object:
    """Read what ``torch.save`` has written, with stand-ins for plain values that are of no use here.

    Args:
        path: For the errors.
        file: That it is in, open.
        names: All that its pickles ask for.
    """
    foreign = [name for name in names if not _VALUES.fullmatch(name) and not _PLAIN.fullmatch(name)]
    for name in filter(_RUNS.fullmatch, foreign):
        raise CnnzooError(f"{path} asks for {shown(name)[1:-1]}, as no weights do. {NOT_RUN}")
    if foreign:
        is_model = any(name.startswith("torch.nn.modules.") for name in foreign)
        what = f"{'a whole pickled model' if is_model else 'more than weights'} ({shown(foreign[0])[1:-1]})"
        raise CnnzooError(f"{path} holds {what}, which only its own code can read. {_SAVE}")
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_stand_in(name), name) for name in set(names) if _PLAIN.fullmatch(name)
    ]
    file.seek(0)
    with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
        warnings.simplefilter("ignore")  # of storages and protocols of former times
        return torch.load(file, map_location="cpu", weights_only=True)


def _stand_in(name: str) -> type:
    if re.search("[Dd]ict$|CfgNode$", name):
        return _InertMapping
    return _InertList if name == "collections.deque" else _Inert


def _state_dicts(values: object) -> Iterator[dict[str, Tensor]]:
    """Find the mappings of names to tensors in what was read, the likeliest first."""
    waiting, seen = [values], set()
    while waiting:  # no recursion, and each object once, as in serialization
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            tensors = {
                k: v.detach() for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)
            }
            if tensors and 2 * len(tensors) >= len(value):
                yield tensors
            waiting.extend(value[key] for key in sorted(value, key=_rank)[::-1])
        elif isinstance(value, list | tuple):
            waiting.extend(reversed(value))


def _rank(key: object) -> int:
    """Return how unlikely it is that the weights are called so; averages of them, and the optimizer's, come last."""
    if key in _STATE_DICTS:
        return _STATE_DICTS.index(str(key))
    return len(_STATE_DICTS) + bool(isinstance(key, str) and re.search("ema|optim", key.lower()))
