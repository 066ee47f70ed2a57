"""Make the table of cnnzoo's own models, from which ``cnnzoo models`` answers without importing torch.

``python scripts/make_model_table.py``; a test says when it is due.
"""

import json
from pathlib import Path

from cnnzoo.analysis.summary import models as model_list
from cnnzoo.registries import TORCHVISION


def main() -> None:
    """Write the table."""
    entries = [entry for entry in model_list.describe_models() if not entry.name.startswith(TORCHVISION)]
    path = Path(model_list.__file__).with_name(model_list.TABLE)
    path.write_text(json.dumps([entry.to_dict() for entry in entries], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
