"""What a net answers with: logits, or more than those, of which they are then taken."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cnnzoo.errors import CnnzooError

_NAMES = ("logits", "out")
"""What nets call their logits among what they answer with, the likelier first."""

_SHOWN = 5
"""Members of an answer that are told of."""


def settle_answer(model: nn.Module, answer: object, num_classes: int, mode: str) -> None:
    """See that there are logits in what a model made of two images; from then on they are all that it makes.

    They are the answer itself; or what it calls ``logits`` or ``out``, in a mapping, a named tuple or a dataclass;
    or the first of a tuple or list. Where they are not the answer itself, a hook takes them, so that whoever calls
    the model, or wraps it, sees nothing else.

    Args:
        model: It answered.
        answer: What.
        num_classes: How many logits an image should have.
        mode: In which it answered, for the error.

    Raises:
        CnnzooError: There are no logits ``(2, num_classes)``; the message says what it made.
    """
    logits = logits_in(answer)
    made = _described(answer)
    if isinstance(answer, Mapping) and logits is not answer:
        made += f", of which the logits are {_described(logits)},"
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        raise CnnzooError(
            f"the net makes {made} of two images{mode}, and should make {(2, num_classes)}: "
            "a logit for each class."
        )
    if logits is not answer:
        model.register_forward_hook(_take_logits)


def _take_logits(_: nn.Module, __: object, answer: object) -> object:
    return logits_in(answer)


def logits_in(answer: Any) -> object:  # noqa: ANN401
    """Return the logits among what a model answered with, as ``settle_answer`` says."""
    for name in _NAMES:
        if isinstance(answer, Mapping):
            if name in answer:
                return answer[name]
        elif hasattr(answer, name):
            return getattr(answer, name)
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


def _described(answer: object) -> str:
    """Say in a few words what a net made."""
    if answer is None:
        return "None"
    if isinstance(answer, Tensor):
        return str(tuple(answer.shape))
    kind = type(answer).__name__
    kind = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
    if isinstance(answer, Mapping):
        members = [str(key) for key in answer]
        said = f"{kind} with keys"
    elif isinstance(answer, tuple | list):
        members = [_described(member) for member in answer]
        said = f"{kind} of"
    else:
        return kind
    more = [f"{len(members) - _SHOWN} more"] if len(members) > _SHOWN else []
    return f"{said} {', '.join([*members[:_SHOWN], *more]) or 'nothing'}"
