"""The table of datasets."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cnnzoo.ui.screen import out

if TYPE_CHECKING:
    from cnnzoo.data.named.catalog import DatasetSpec


def print_datasets(found: "list[tuple[DatasetSpec, tuple[Path, int] | None]]", data_dir: Path) -> None:
    """Print each dataset with where it lies and how large it is there, or how large a download it is."""
    console = out()
    table = Table(box=None, pad_edge=False)
    table.add_column("dataset", no_wrap=True)
    table.add_column("images", overflow="fold")
    table.add_column("on this machine", overflow="fold")
    for spec, place in found:
        if spec.read is not None:
            table.add_row(spec.name, f"{spec.channels}x{spec.image_size}x{spec.image_size}", "registered")
            continue
        images = f"{spec.num_train + spec.num_test:,} of {spec.channels}x{spec.image_size}x{spec.image_size}"
        missing = f"no, a download of {spec.megabytes} MB" if spec.torchvision else "no"
        where = f"{place[0]}, {place[1] / 1e6:.0f} MB" if place else missing
        table.add_row(spec.name, images, escape(where))
    table.add_row("folder:PATH", "yours", "class folders with images")
    table.add_row("csv:FILE", "yours", "a table of labels")
    console.print(table, soft_wrap=False)
    console.print(f"Fetched datasets go to {escape(str(data_dir))}.")
