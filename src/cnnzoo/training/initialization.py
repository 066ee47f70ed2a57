"""First weights by a rule, in place of the net's own."""

from torch import nn

from cnnzoo.errors import UsageError, shown

INIT_RULES = "default, xavier, he, normal:STD or zero"


def check_rule(rule: str) -> float:
    """See that there is such a rule, and return its standard deviation where it has one, else 0.

    Raises:
        UsageError: There is none.
    """
    name, colon, text = rule.partition(":")
    try:
        std = float(text) if name == "normal" and colon else 0.0
    except ValueError:
        std = -1.0
    if rule not in ("default", "xavier", "he", "zero") and not (name == "normal" and 0 < std < float("inf")):
        raise UsageError(f"init must be {INIT_RULES}, such as normal:0.01, not {shown(rule)}.")
    return std


def initialize(model: nn.Module, rule: str) -> None:
    """Draw the weights of convolutions and fully connected layers anew, by torch's random numbers; biases become 0.

    ``xavier`` is uniform within ±√(6 / (fan-in + fan-out)) (Glorot and Bengio, "Understanding the difficulty of
    training deep feedforward neural networks", AISTATS 2010, eq. 16); ``he`` normal with a variance of 2 / fan-in
    (He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 10); ``normal:STD`` normal with that deviation;
    ``zero`` all 0; ``default`` leaves the net's own.

    Args:
        model: Of any kind; layers of other kinds stay as they are.
        rule: Its name.

    Raises:
        UsageError: There is no such rule.
    """
    std = check_rule(rule)
    if rule == "default":
        return
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if rule == "xavier":
            nn.init.xavier_uniform_(module.weight)
        elif rule == "he":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif rule == "zero":
            nn.init.zeros_(module.weight)
        else:
            nn.init.normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
