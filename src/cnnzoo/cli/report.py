"""``cnnzoo report``: one page that tells a run."""

from pathlib import Path
from typing import Annotated

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import FoundDataDirOption, OwnDatasetOption, find_checkpoint
from cnnzoo.config import PrecisionName


@app.command("report", cls=GroupedCommand)
def report_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|CHECKPOINT", help="A run (its best.pt counts), or a .pt file [the newest run]."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page [report.html in the run]."),
    ] = None,
    dataset: OwnDatasetOption = None,
    data_dir: FoundDataDirOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    precision: Annotated[
        PrecisionName | None, typer.Option(help="Number format.", show_default="as trained")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Write a run as one page: a file of HTML that can be mailed.

    Its recipe, curves, figures of each class, the images behind the confusion matrix, the surest mistakes, filters,
    feature maps, activations, and the commands that make it again. It is at most 5 MB, and needs neither network nor
    server.

    What `cnnzoo eval` has saved of the same checkpoint is not computed again.
    """
    from cnnzoo.cli.pictures import say
    from cnnzoo.ui.report.page import report
    from cnnzoo.ui.screen import Screen

    import_option(import_)
    screen = Screen()
    try:
        path = report(
            find_checkpoint(target, out),
            output=output,
            dataset=dataset,
            data_dir=data_dir,
            device=device,
            precision=precision,
            reporter=screen,
        )
    finally:
        screen.close()
    say(str(path))
