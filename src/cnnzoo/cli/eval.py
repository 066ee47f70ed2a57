"""``cnnzoo eval``: how well a trained model does on images that it has not seen."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import (
    CsvColumnsOption,
    FoundDataDirOption,
    ImageRootOption,
    find_checkpoint,
    parse_columns,
)
from cnnzoo.config import PrecisionName


@app.command("eval", cls=GroupedCommand)
def evaluate_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|CHECKPOINT",
            help="A run (its best.pt counts), a folder of several seeds, or a .pt file [the newest run].",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", "--dataset", help="Another dataset than the run's, with classes of it."),
    ] = None,
    data_dir: FoundDataDirOption = None,
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Leave out images of a folder that cannot be read.")
    ] = False,
    include_trained: Annotated[
        bool, typer.Option("--include-trained", help="Keep images that the run was trained on.")
    ] = False,
    csv_columns: CsvColumnsOption = "",
    image_root: ImageRootOption = None,
    split: Annotated[
        Literal["test", "val"], typer.Option(help="The test images, or those that validated the run.")
    ] = "test",
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", min=1, metavar="N", help="Images at once [by their size]."),
    ] = None,
    ten_crop: Annotated[
        bool,
        typer.Option("--ten-crop", help="Average over ten squares of each image; for runs with --resize."),
    ] = False,
    top_k: Annotated[
        int,
        typer.Option(min=1, metavar="K", help="How many of the likeliest classes count for top-k accuracy."),
    ] = 5,
    save: Annotated[
        bool,
        typer.Option(
            "--save/--no-save", help="Write eval.json, confusion.csv and predictions.csv into the run."
        ),
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    precision: Annotated[
        PrecisionName | None, typer.Option(help="Number format.", show_default="as trained")
    ] = None,
    format_: Annotated[
        Literal["table", "json"], typer.Option("--format", help="A table, or JSON on stdout.")
    ] = "table",
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Evaluate a trained network; eval.json, confusion.csv and predictions.csv keep the figures."""
    from cnnzoo.analysis.eval.evaluation import evaluate
    from cnnzoo.ui.eval.tables import print_evaluation, print_evaluations
    from cnnzoo.ui.screen import QuietScreen, Screen

    import_option(import_)
    checkpoints = _checkpoints(target, out)
    screen = QuietScreen() if format_ == "json" else Screen()
    try:
        results = [
            evaluate(
                checkpoint,
                dataset=dataset,
                split=split,
                batch_size=batch_size,
                device=device,
                precision=precision,
                data_dir=data_dir,
                skip_bad_images=skip_bad_images,
                ten_crop=ten_crop,
                include_trained=include_trained,
                top_k=top_k,
                save=save,
                csv_columns=parse_columns(csv_columns),
                image_root=image_root,
                reporter=screen,
            )
            for checkpoint in checkpoints
        ]
    finally:
        screen.close()
    if format_ == "json":
        documents = [result.to_dict() for result in results]
        plain = documents if len(documents) > 1 else documents[0]
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    elif len(results) > 1:
        print_evaluations(results)
    else:
        print_evaluation(results[0])


def _checkpoints(target: str | None, out: Path) -> list[Path]:
    """Return the checkpoint that is meant, or those of the runs in a study."""
    from cnnzoo.runs.folder import resolve_run, runs_of

    if target is None or Path(target).is_file() or target.endswith(".pt"):
        return [find_checkpoint(target, out)]
    run = resolve_run(target, out)
    trained = [seed for seed in runs_of(run) if (seed / "best.pt").is_file()]
    return [seed / "best.pt" for seed in trained] or [find_checkpoint(target, out)]
