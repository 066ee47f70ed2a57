"""What came of looking whether something is what it says."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "changed", "unknown"]


@dataclass(frozen=True)
class Check:
    """What came of a check.

    Attributes:
        what: That was looked at, such as ``best.pt``.
        outcome: It is what it says, it is not, or it cannot be told.
        text: In words.
    """

    what: str
    outcome: Outcome
    text: str
