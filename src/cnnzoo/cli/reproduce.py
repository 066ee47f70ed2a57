"""``cnnzoo reproduce``: a recipe over several seeds, judged by the result that it aims at."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli.app import GroupedCommand, app
from cnnzoo.cli.streams import output_optional


@app.command("reproduce", cls=GroupedCommand)
@output_optional()
def reproduce_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file of settings with a target.")],
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many seeds, from the recipe's own on.")
    ] = 1,
    jobs: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="How many of them side by side; auto: as many as cores and memory have room for [1].",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads of a run on the CPU [all, or its share].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    data_dir: Annotated[Path | None, typer.Option(help="Where datasets lie [as for training].")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the receipt's path and nothing else.")
    ] = False,
) -> None:
    """Train a recipe over several seeds, test each, and judge the result by its target.

    The target is a block of the file: metric (test_acc, test_error or test_top5_error), value and tolerance as
    fractions, source, and ten_crop. OUT/CONFIG/ then holds a run for each seed, receipt.json and receipt.md. A seed
    that was done is not done again; one that was stopped goes on.
    """
    from cnnzoo.analysis.reproduce.reproduce import reproduce
    from cnnzoo.analysis.sweep.lanes import LaneReporter
    from cnnzoo.cli.studies import parse_jobs
    from cnnzoo.ui.lanes import LaneScreen
    from cnnzoo.ui.reproduce import print_receipt
    from cnnzoo.ui.screen import QuietScreen, Screen

    given = {"data_dir": data_dir, "device": device, "threads": threads}
    lanes = parse_jobs(jobs)
    screen = QuietScreen() if quiet or lanes else Screen()
    listener = LaneScreen() if lanes and not quiet else None
    try:
        receipt = reproduce(
            config,
            seeds=seeds,
            out=out,
            changes={name: value for name, value in given.items() if value is not None},
            reporter=screen,
            jobs=lanes,
            listener=listener or LaneReporter(),
        )
    finally:
        screen.close()
        if listener:
            listener.close()
    path = out / config.stem / "receipt.md"
    if quiet:
        typer.echo(path)
    else:
        print_receipt(receipt, path)
