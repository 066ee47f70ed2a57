"""What papers say of their networks, one file per paper, looked up by the model's name.

A file of this folder names its Publication ``PAPER``, and in it the models that are after it; nothing else has to know.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnzoo.papers.publication import Publication


@cache
def _by_model() -> "dict[str, Publication]":
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    papers = [module.PAPER for module in modules if hasattr(module, "PAPER")]
    return {model: paper for paper in papers for model in paper.models}


def find_publication(model: str) -> "Publication | None":
    """Return what the paper of a registered model says; None where its figures are not in cnnzoo."""
    return _by_model().get(model)
