"""Write the tables of README.md and docs/ that follow from registries.

``python scripts/make_docs.py``; a test says when it is due. A table stands between two comments that name it.
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from cnnzoo.cli.plot import KINDS, describe_kind
from cnnzoo.data import augment, augmentation
from cnnzoo.registries import AUGMENTATIONS, LOSSES, OPTIMIZERS
from cnnzoo.training import losses

ROOT = Path(__file__).parents[1]


def plot_kinds() -> str:
    """Return the table of what ``cnnzoo plot`` draws."""
    rows = [f"| `cnnzoo plot {kind}` | {describe_kind(kind)} |" for kind in KINDS]
    return "\n".join(["| command | picture |", "|---|---|", *rows])


def augmentations() -> str:
    """Return the table of what ``--augment`` takes, each with its value and that value's default."""
    assert augment.__name__  # which registers them
    rows = []
    for name in AUGMENTATIONS.built_in:
        kind = AUGMENTATIONS.entries[name]
        assert isinstance(kind, type)
        assert issubclass(kind, augmentation.Augmentation)
        values = [f"`{name}:{p.default}`, {p.name}" for p in inspect.signature(kind).parameters.values()]
        rows.append(f"| `{name}` | {_first_line(kind)} | {values[0] if values else ''} |")
    return "\n".join(["| name | change | value |", "|---|---|---|", *rows])


def optimizers() -> str:
    """Return the names that ``--optimizer`` takes."""
    return ", ".join(f"`{name}`" for name in OPTIMIZERS.built_in)


def loss_table() -> str:
    """Return the table of what ``--loss`` takes."""
    assert losses.__name__  # which registers them
    rows = [f"| `{name}` | {_first_line(LOSSES.entries[name])} |" for name in LOSSES.built_in]
    return "\n".join(["| name | loss |", "|---|---|", *rows])


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0].removeprefix("Return ").rstrip(".")


MADE: dict[str, tuple[str, Callable[[], str]]] = {
    "plot kinds": ("README.md", plot_kinds),
    "augmentations": ("docs/models.md", augmentations),
    "optimizers": ("docs/models.md", optimizers),
    "losses": ("docs/models.md", loss_table),
}
"""What is made, with its page and the function that makes it."""


def with_tables(page: str) -> str:
    """Return a page with its tables as the registries have them now.

    Args:
        page: Its path below the repository.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, (where, make) in MADE.items():
        if where == page:
            found = re.search(rf"(?<=<!-- made: {name} -->\n).*?(?=\n<!-- end -->)", text, re.DOTALL)
            assert found, f"{page} has no place for {name}"
            text = text[: found.start()] + make() + text[found.end() :]
    return text


def main() -> None:
    """Write the pages."""
    for page in dict.fromkeys(where for where, _ in MADE.values()):
        (ROOT / page).write_text(with_tables(page), encoding="utf-8")


if __name__ == "__main__":
    main()
