"""Weights to begin with: from a file, or those that a network's makers have trained."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnzoo.errors import CnnzooError, UsageError, named, one_line
from cnnzoo.files import expanded
from cnnzoo.models.registry import ModelSpec, create_model
from cnnzoo.runs.folder import runs_of
from cnnzoo.runs.foreign_weights import read_weights
from cnnzoo.runs.net_state import tensors_of, unlisted_buffers
from cnnzoo.training.transfer import last_layer

DEFAULT_WEIGHTS = "default"
"""Stands for the weights that the model's makers offer for download."""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of a name that come from what a net, or a part of it, is wrapped into: DataParallel, torch.compile and such."""


def load_pretrained(model: nn.Module, spec: ModelSpec, source: str) -> list[str]:
    """Give a model the weights of a trained one of its kind.

    It may have been trained for other channels and classes. The first convolution's weights are then averaged over
    its channels, and scaled so that grey images bring the same sums; the last layer stays as it is. So it does where
    the weights have none, or one that is called otherwise.

    Args:
        model: The one to be given them.
        spec: What it is.
        source: A file of weights, or of training that has them; a run's folder, for its best.pt; or ``default``.

    Returns:
        Sentences on what was not taken over: none where all was.

    Raises:
        CnnzooError: There are none, they are of another network, or they have NaN or infinite numbers.
    """
    expected = tensors_of(model.state_dict())
    unlisted = unlisted_buffers(model)
    found = [_fetch(spec)] if source == DEFAULT_WEIGHTS else read_weights(_file(expanded(Path(source))))
    state = _nearest(found, expected.keys())
    for name in [name for name in state if name.lower().startswith("aux") and name not in expected]:
        del state[name]  # of classifiers that only help in training
    given_buffers = {name: state.pop(name) for name in unlisted.keys() & state.keys()}
    for name in expected.keys() - state.keys():
        if name.endswith("num_batches_tracked"):  # which torch before 0.4.1 did not count
            state[name] = expected[name]
    if expected.keys() != state.keys():
        state = _renamed(spec, state) or state
    lacking = [name for name in expected if name not in state]
    foreign = [name for name in state if name not in expected]
    head = last_layer(model)
    if (lacking or foreign) and not _differ_in_the_last_layer(model, head, lacking, foreign):
        raise _misfit(spec, source, _differences(spec, source, lacking, foreign))
    if lacking:  # what there is of that layer would be without the rest of it
        state = {name: given for name, given in state.items() if not name.startswith(f"{head}.")}
    is_of_other_classes = _take_over(model, spec, source, state, head)
    for name, given in given_buffers.items():  # such as a random projection, for which the weights are made
        if given.shape == unlisted[name].shape:
            unlisted[name].copy_(given)
    if lacking:
        which = _differences(spec, source, lacking, foreign)
        return [f"The last layer ({head}) begins anew, all others with the weights in {source}: {which}."]
    return ["The last layer begins anew: the weights are for other classes."] if is_of_other_classes else []


def _take_over(
    model: nn.Module, spec: ModelSpec, source: str, state: Mapping[str, Tensor], head: str
) -> bool:
    """Copy weights into a model, by name; return whether those of its last layer are for other classes and left out.

    Raises:
        CnnzooError: They are of another network, or they have NaN or infinite numbers.
    """
    layers = (name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear))
    first, last = (f"{name}." if name else "" for name in (next(layers, ""), head))
    learnt = dict(model.named_parameters())
    is_of_other_classes = False
    for name, mine in tensors_of(model.state_dict()).items():
        if name not in state:  # of a last layer that begins anew
            continue
        given = state[name]
        if given.shape[:1] != mine.shape[:1] and (name.startswith(last) or name not in learnt):
            is_of_other_classes = True
            continue
        if not given.isfinite().all():
            raise CnnzooError(
                f"the weights in {source} have NaN or infinite numbers in {name}, from which nothing can be learnt. "
                "Use another file."
            )
        if name == f"{first}weight" and given.dim() == 4 and given.shape[1] != mine.shape[1]:
            given = given.mean(1, keepdim=True) * (given.shape[1] / mine.shape[1])
            given = given.expand(-1, mine.shape[1], -1, -1)
        if given.shape != mine.shape:
            raise _misfit(spec, source, f"{name} is {tuple(given.shape)}, and should be {tuple(mine.shape)}")
        with torch.no_grad():
            mine.copy_(given)
    return is_of_other_classes


def _file(source: Path) -> Path:
    """Return the file of weights that ``source`` is, or that is in the run's folder that it is."""
    try:
        if not source.is_dir() or (source / "best.pt").is_file():
            return source / "best.pt" if source.is_dir() else source
        runs = runs_of(source)
        last = [source / "last.pt"] if (source / "last.pt").is_file() else []
    except OSError:  # a name too long, say: whoever opens it tells
        return source
    advice = (
        f"Name one in it, such as {(*last, *runs)[0]}"
        if last or runs
        else "Name a run that has one, or a file"
    )
    raise CnnzooError(f"{source} has no best.pt to begin with. {advice}.")


def _nearest(found: Iterable[Mapping[str, Tensor]], expected: Set[str]) -> dict[str, Tensor]:
    """Return the weights that have the most names of a net, without what comes before those in all of them."""
    wrappers = _WRAPPERS - {part for name in expected for part in name.split(".")}
    states = []
    for weights in found:
        state = {
            ".".join(part for part in n.split(".") if part not in wrappers): w for n, w in weights.items()
        }
        splits = ((name[:at], name[at:]) for name in state for at in _starts(name))
        votes = Counter(prefix for prefix, name in splits if name in expected)
        # The average of a model is saved beside it under another name.
        prefix = max(votes, key=lambda prefix: (votes[prefix], "ema" not in prefix), default="")
        states.append({n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)})
    return max(states, key=lambda state: len(state.keys() & expected))


def _starts(name: str) -> list[int]:
    """Return where the parts of a dotted name begin."""
    return [0, *(at + 1 for at, letter in enumerate(name) if letter == ".")]


def _renamed(spec: ModelSpec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict by the names that the net has today, as its own loading makes them of older ones.

    Empty where that does not know them.
    """
    try:
        reference = create_model(spec.name)
        reference.load_state_dict(state)
    except (RuntimeError, ValueError, UsageError):  # the latter of a net that has no default for an option
        return {}
    return dict(reference.state_dict())


def _differ_in_the_last_layer(
    model: nn.Module, head: str, lacking: Sequence[str], foreign: Sequence[str]
) -> bool:
    """Whether weights lack the last layer alone, and what a net lacks of theirs may be such a layer of another name.

    Args:
        model: The net.
        head: The name of its last layer.
        lacking: Names that the weights lack.
        foreign: Names that the net lacks.
    """
    if not (head and lacking and all(name.startswith(f"{head}.") for name in lacking)):
        return False
    modules = {name for name, _ in model.named_modules()}
    # A third block where the net has two stands in a part without the last layer: it is of a deeper net.
    parents = {next(name for name in _above(name)[::-1] if name in modules) for name in foreign}
    return parents <= {*_above(head), head}


def _above(name: str) -> list[str]:
    """Return the names of the modules in which something is, the net itself first."""
    return ["", *(name[: at - 1] for at in _starts(name) if at)]


def _differences(spec: ModelSpec, source: str, lacking: Sequence[str], foreign: Sequence[str]) -> str:
    """Return which names the weights lack, and which the net lacks."""
    sides = ((source, lacking), (spec.name, foreign))
    return ", and ".join(f"{who} has no {named(names, 2)}" for who, names in sides if names)


def _fetch(spec: ModelSpec) -> Mapping[str, Tensor]:
    if spec.pretrained is None:
        raise CnnzooError(f"nobody offers weights of {spec.name}. Name a file: --weights FILE")
    try:
        return spec.pretrained()
    except Exception as error:  # of the network, the disk, or the checksum
        folder = error.filename if isinstance(error, OSError) else None
        why = f"{one_line(error)}: {folder}" if folder else one_line(error)
        place = "Set TORCH_HOME to a folder that can be written, or get" if folder else "Get"
        raise CnnzooError(
            f"cannot download the weights of {spec.name} ({why}). {place} the file another way, and name it: "
            "--weights FILE"
        ) from error


def _misfit(spec: ModelSpec, source: str, why: str) -> CnnzooError:
    return CnnzooError(f"the weights in {source} are not those of {spec.name}: {why}. Choose others.")
