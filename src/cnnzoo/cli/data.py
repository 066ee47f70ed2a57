"""``cnnzoo data``: what datasets there are, on this machine or not; get one, check one."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli import app

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
    if ctx.invoked_subcommand is None:
        from cnnzoo.console import print_datasets
        from cnnzoo.data.datasets import DATASETS
        from cnnzoo.data.sources import default_data_dir, locate

        folder = data_dir or default_data_dir()
        print_datasets([(spec, locate(spec, folder)) for spec in DATASETS.values()], folder)


@data.command("fetch")
def fetch_command(name: NameArgument, data_dir: DataDirOption = None) -> None:
    """Download a dataset, unless it is here already, and verify it."""
    from cnnzoo.console import Screen
    from cnnzoo.data.datasets import get_dataset_spec
    from cnnzoo.data.sources import default_data_dir, fetch, locate, verify

    spec, folder = get_dataset_spec(name), data_dir or default_data_dir()
    if locate(spec, folder) is None:
        screen = Screen()
        try:
            fetch(spec, folder, screen.progress)
        finally:
            screen.close()
    where = verify(spec, folder)[0].location
    typer.echo(f"{spec.name} is in {where}, verified.")


@data.command("verify")
def verify_command(name: NameArgument, data_dir: DataDirOption = None) -> None:
    """Check every file of a dataset on this machine against its published checksums."""
    from cnnzoo.data.datasets import get_dataset_spec
    from cnnzoo.data.sources import default_data_dir, verify

    spec = get_dataset_spec(name)
    train, test = verify(spec, data_dir or default_data_dir())
    typer.echo(
        f"{spec.name} in {train.location} is whole: {len(train.labels):,} training, {len(test.labels):,} test images."
    )
    typer.echo(f"train sha256 {train.sha256}")
    typer.echo(f"test  sha256 {test.sha256}")
