"""``cnnzoo runs``: what runs there are; delete some, and say how two of them differ."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, app
from cnnzoo.errors import UsageError

runs = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(runs, name="runs")

OutOption = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Folder that holds the runs [runs].", show_default=False)
]


@runs.callback()
def list_command(
    ctx: typer.Context,
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="By name, model, data, epochs, best, test, date, size, another key of the JSON, or a setting: the "
            "best, newest or largest first.",
        ),
    ] = "date",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    filter_: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Those alone, as in model=lenet, name=alex* or 'val_acc>0.9'. May be repeated.",
        ),
    ] = None,
    format_: Annotated[
        Literal["table", "json", "csv", "markdown"],
        typer.Option("--format", metavar="FORMAT", help="table, json, csv or markdown."),
    ] = "table",
    out: OutOption = None,
) -> None:
    """List the runs; delete some, or say how two differ.

    Best is the validation accuracy of the best epoch, Test that of the test images, if `cnnzoo eval` has told it. JSON
    is a list; a run has name, model, dataset, epochs, best_epoch, train_loss, train_acc, val_loss, val_acc, test_acc,
    date (UTC), bytes and fault: what is wrong with it, or nothing.
    """
    ctx.obj = out  # `runs --out DIR rm NAME` means what `runs rm NAME --out DIR` does
    if ctx.invoked_subcommand is not None:
        return
    from cnnzoo.runs.overview import filter_runs, list_runs, sort_runs
    from cnnzoo.ui.runs import print_runs, runs_as_csv, runs_as_markdown

    folder = out or Path("runs")
    found = list_runs(folder)
    listed = sort_runs(filter_runs(found, filter_ or ()), sort, reverse=reverse)
    if format_ == "json":
        typer.echo(json.dumps([run.to_dict() for run in listed], indent=2, ensure_ascii=False))
    elif format_ == "csv":
        typer.echo(runs_as_csv(listed), nl=False)
    elif format_ == "markdown":
        typer.echo(runs_as_markdown(listed), nl=False)
    elif listed:
        print_runs(listed)
    elif found:
        typer.echo(f"None of the {len(found):,} runs in {folder} is such a one.")
    else:
        typer.echo(f"There is no run in {folder} yet. Make one with `cnnzoo train lenet`.")


@runs.command("rm", cls=GroupedCommand)
def remove_command(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs or studies, by name or folder.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    out: OutOption = None,
) -> None:
    """Delete runs, after a question; never one that is training."""
    from cnnzoo.runs.folder import resolve_run
    from cnnzoo.runs.removal import check_removable, describe, remove_run

    folder = out or ctx.obj or Path("runs")
    found = list(dict.fromkeys(resolve_run(name, folder) for name in names))
    found = [run for run in found if not {*run.parents} & {*found} - {run}]  # it goes with its study
    for run in found:
        check_removable(run, folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "nobody is there to answer whether to delete. Add --yes to delete without a question."
            )
        for run in found:
            typer.echo(describe(run))
        if not typer.confirm(f"Delete {'it' if len(found) == 1 else f'all {len(found)}'} for good?"):
            typer.echo("Nothing was deleted.")
            return
    for run in found:
        remove_run(run)
        typer.echo(f"Deleted {run}")


@runs.command("diff", cls=GroupedCommand)
def diff_command(
    ctx: typer.Context,
    one: Annotated[str, typer.Argument(metavar="RUN", help="A run, by name or folder.")],
    other: Annotated[str, typer.Argument(metavar="RUN", help="Another one.")],
    out: OutOption = None,
) -> None:
    """Say how two runs differ: in their settings and in their results."""
    from cnnzoo.runs.overview import diff_runs
    from cnnzoo.ui.runs import print_difference

    print_difference(diff_runs(one, other, out or ctx.obj or Path("runs")))
