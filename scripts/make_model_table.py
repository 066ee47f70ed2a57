"""Make the tables of models: of cnnzoo's own, for ``cnnzoo models`` without torch, and of the installed torchvision's.

``python scripts/make_model_table.py``; a test says when it is due.
"""

import json
from pathlib import Path
from types import ModuleType

from cnnzoo.analysis.summary import models as model_list
from cnnzoo.models import torchvision_nets
from cnnzoo.registries import TORCHVISION


def main() -> None:
    """Write the tables."""
    _write(torchvision_nets, torchvision_nets.TORCHVISION_TABLE, torchvision_nets.read_torchvision())
    entries = [entry for entry in model_list.describe_models() if not entry.name.startswith(TORCHVISION)]
    _write(model_list, model_list.MODEL_TABLE, [entry.to_dict() for entry in entries])


def _write(beside: ModuleType, name: str, table: object) -> None:
    path = Path(str(beside.__file__)).with_name(name)
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
