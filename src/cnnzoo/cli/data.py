"""``cnnzoo data``: what datasets there are, on this machine or not; get one, check one."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli.app import GroupedCommand, app

data = typer.Typer(
    help="List the datasets; fetch or verify one.", rich_markup_mode=None, invoke_without_command=True
)
app.add_typer(data, name="data")

DataDirOption = Annotated[
    Path | None, typer.Option(help="Where datasets lie [$CNNZOO_DATA, else the user's cache folder].")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A dataset that `cnnzoo data` lists.")]


@data.callback()
def list_datasets(ctx: typer.Context, data_dir: DataDirOption = None) -> None:
    """List the datasets; fetch or verify one."""
    ctx.obj = data_dir  # `data --data-dir DIR fetch NAME` means what `data fetch NAME --data-dir DIR` does
    if ctx.invoked_subcommand is None:
        from cnnzoo.data.named.catalog import DATASETS
        from cnnzoo.data.named.locate import default_data_dir, locate
        from cnnzoo.ui.data import print_datasets

        print_datasets(
            [(spec, None if spec.read else locate(spec, data_dir)) for spec in DATASETS.values()],
            data_dir or default_data_dir(),
        )


@data.command("fetch", cls=GroupedCommand)
def fetch_command(ctx: typer.Context, name: NameArgument, data_dir: DataDirOption = None) -> None:
    """Download a dataset, unless it is here already, and verify it."""
    from cnnzoo.data.named.catalog import get_dataset_spec
    from cnnzoo.data.named.locate import load_arrays
    from cnnzoo.ui.screen import Screen

    spec, folder = get_dataset_spec(name), data_dir or ctx.obj
    screen = Screen()
    try:
        found = [load_arrays(spec, split, folder, screen.progress) for split in ("train", "test")]
    finally:
        screen.close()
    typer.echo(f"{spec.name} is in {found[0].location}, verified.")


@data.command("verify", cls=GroupedCommand)
def verify_files_command(ctx: typer.Context, name: NameArgument, data_dir: DataDirOption = None) -> None:
    """Check every file of a dataset on this machine against its published checksums."""
    from cnnzoo.data.named.catalog import get_dataset_spec
    from cnnzoo.data.named.locate import verify_dataset

    spec = get_dataset_spec(name)
    train, test = verify_dataset(spec, data_dir or ctx.obj)
    typer.echo(
        f"{spec.name} in {train.location} is whole: {len(train.labels):,} training, {len(test.labels):,} test images."
    )
    typer.echo(f"train sha256 {train.sha256}")
    typer.echo(f"test  sha256 {test.sha256}")
