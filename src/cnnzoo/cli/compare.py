"""``cnnzoo compare``: what differs between runs, and whether that is more than chance."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option


@app.command("compare", cls=GroupedCommand)
def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN|STUDY", help="Runs, or folders of runs; one study alone will do."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="SETTING", help="Compare each with this one, by its name in the table [any two]."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("-d", "--dataset", help="Test on another dataset than the runs' own.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where datasets lie [where each run found them].")
    ] = None,
    format_: Annotated[
        Literal["table", "json", "csv", "latex", "markdown"],
        typer.Option("--format", metavar="FORMAT", help="table, json, csv, latex or markdown, on stdout."),
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The picture: .png, .svg or .pdf. [comparison.png, in the study if there is one alone]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Compare runs: what differs, and whether it is more than chance.

    What is compared is the test accuracy. Runs that differ in nothing but the seed count as one setting. Two single
    runs are compared on the test images (McNemar's exact test), settings with several seeds by seed (Student's t; sign
    flips from eight seeds on; Welch's t where the seeds are not the same). p values are corrected for their number
    (Holm). Nets that `cnnzoo eval` has not tested are tested first. A picture lays the curves over each other, with
    bands over seeds; other formats than the table draw it with --output alone.
    """
    from cnnzoo.analysis.compare.compare import compare
    from cnnzoo.cli.pictures import say
    from cnnzoo.ui.compare.picture import plot_comparison
    from cnnzoo.ui.compare.tables import print_comparison, write_comparison
    from cnnzoo.ui.screen import QuietScreen, Screen, print_warning
    from cnnzoo.ui.style import picture_suffix, save_figure

    import_option(import_)
    if output is not None:
        picture_suffix(output)  # is refused now, and not once all is tested
    screen = Screen() if format_ == "table" else QuietScreen()
    try:
        result = compare(
            runs,
            out=out,
            baseline=baseline,
            dataset=dataset,
            data_dir=data_dir,
            reporter=screen,
        )
    finally:
        screen.close()
    if format_ == "table":
        print_comparison(result)
    else:
        typer.echo(write_comparison(result, format_))
        if format_ != "json":  # which holds them
            for note in result.notes:
                print_warning(note)
    if output is None and format_ == "table":
        output = Path("comparison.png") if result.study is None else result.study / "comparison.png"
    if output is not None:
        save_figure(plot_comparison(result), output, command="cnnzoo compare")
        if format_ == "table":
            say(str(output))
