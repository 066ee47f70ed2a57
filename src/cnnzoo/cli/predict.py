"""``cnnzoo predict``: what a trained model takes pictures for."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import find_checkpoint
from cnnzoo.config import PrecisionName
from cnnzoo.errors import CnnzooError, UsageError, named

if TYPE_CHECKING:
    from cnnzoo.analysis.predict.predict import Prediction
    from cnnzoo.data.decoding.images import BrokenImageError
    from cnnzoo.ui.screen import QuietScreen


@app.command("predict", cls=GroupedCommand)
def predict_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] FILES",
            help="A run (its best.pt counts) or a .pt file [the newest run], and pictures: files, folders, "
            "patterns in quotes, or - for stdin. What lies in this folder goes before a run's name.",
            show_default=False,
        ),
    ],
    top_k: Annotated[
        int, typer.Option("-k", "--top-k", min=1, metavar="K", help="Classes for each picture.")
    ] = 3,
    invert: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(
            help="Show the net negatives; auto: of pictures that are dark on light, where it was trained on light "
            "on dark as MNIST's are."
        ),
    ] = "auto",
    crop_to_ink: Annotated[
        bool,
        typer.Option("--crop-to-ink", help="Cut out a drawn figure and centre it as MNIST's makers did."),
    ] = False,
    explain: Annotated[
        Literal["gradcam", "occlusion"] | None,
        typer.Option(
            help="Write a picture of what each answer rests on into the run's folder explanations, such as "
            "explanations/photos/1.png.gradcam.png; needs captum."
        ),
    ] = None,
    explain_to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write those there, also beside the pictures [in the run]."),
    ] = None,
    format_: Annotated[
        Literal["table", "csv", "jsonl"],
        typer.Option("--format", help="A table; or a row, or a line of JSON, for each picture."),
    ] = "table",
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", min=1, metavar="N", help="Images at once [by their size]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")] = "auto",
    precision: Annotated[
        PrecisionName | None, typer.Option(help="Number format.", show_default="as trained")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    import_: ImportOption = None,
) -> None:
    """Tell what a trained network takes pictures for: any pictures that Pillow opens.

    They come to the net's input as its training images did. What cannot be read is named and left out, and the exit
    code is then 1. CSV and JSON have the columns file, prediction, probability, prediction_2, probability_2 and so on,
    inverted, and explanation where one is asked for.
    """
    if explain_to and not explain:
        raise UsageError("--explain-to is for --explain. Add --explain gradcam, or occlusion.")
    import_option(import_)
    checkpoint, names, is_named = _told_apart(words, out)
    from cnnzoo.analysis.predict.pictures import find_pictures
    from cnnzoo.analysis.predict.predict import predict_each
    from cnnzoo.analysis.trained_net import load_net
    from cnnzoo.ui.predict import print_predictions
    from cnnzoo.ui.screen import QuietScreen, Screen, print_error, print_warning

    found = find_pictures(names)
    if not found.pictures:
        more = f" And {len(found.missing) - 1} more." if len(found.missing) > 1 else ""
        raise CnnzooError(f"{found.missing[0]}{more}")
    for line in found.notes:
        print_warning(line)
    for line in found.missing:
        print_error(line)
    screen = Screen() if format_ == "table" else QuietScreen()
    net = load_net(checkpoint, device=device, precision=precision, reporter=screen)
    if format_ != "table" and not is_named:
        typer.echo(f"{checkpoint}: {net.saved.model}, epoch {net.saved.epoch}", err=True)
    answers = predict_each(
        net,
        found.pictures,
        top_k=top_k,
        invert=invert,
        crop_to_ink=crop_to_ink,
        explain=explain,
        explain_to=explain_to,
        batch_size=batch_size,
        reporter=screen,
    )
    broken = list(found.missing)
    predictions = _readable(answers, broken, screen)
    try:
        if format_ == "table":
            rows = list(predictions)
            screen.close()
            if rows:
                print_predictions(rows, net.path, net.saved)
        elif format_ == "csv":
            _print_csv(predictions)
        else:
            for each in predictions:
                print(json.dumps(each.to_dict()))  # in ASCII, so that it is JSON in any encoding
    finally:
        screen.close()
    if broken:
        raise typer.Exit(1)


def _told_apart(words: list[str], out: Path) -> tuple[Path, list[str], bool]:
    """Return the checkpoint that is meant, the names of the pictures, and whether the checkpoint was named."""
    from cnnzoo.analysis.predict.pictures import STDIN, exists, is_pattern
    from cnnzoo.files import as_typed
    from cnnzoo.runs.folder import holds_run, resolve_run, runs_of

    first, *others = words
    path = Path(first)
    if first == STDIN:
        is_run = False
    elif exists(first):
        is_run = path.suffix == ".pt" if path.is_file() else holds_run(path)
    else:
        is_folder = exists(str(out / first)) and holds_run(out / first)
        # What is nowhere is a run's name if pictures come after it, unless it is called as files are.
        is_run = is_folder or path.suffix == ".pt" or first == "last"
        is_run = is_run or (bool(others) and not path.suffix and not is_pattern(first))
    if not is_run:
        return find_checkpoint(None, out), words, False
    if not others:
        raise UsageError(f"name the pictures too, as in `cnnzoo predict {as_typed(path)} photo.png`.")
    if path.suffix != ".pt" and (seeds := runs_of(run := resolve_run(first, out))):
        raise UsageError(f"{run} holds several runs. Name one of them, such as {seeds[0]}.")
    return find_checkpoint(first, out), others, True


def _readable(
    answers: "Iterable[Prediction | BrokenImageError]", broken: list[str], screen: "QuietScreen"
) -> "Iterator[Prediction]":
    """Yield predictions; say what could not be read, and add it to ``broken``; say what the net cannot know."""
    from cnnzoo.analysis.predict.predict import Prediction, describe_blank
    from cnnzoo.ui.screen import print_error, print_warning

    left: list[str] = []
    blank: list[str] = []
    for answer in answers:
        if isinstance(answer, Prediction):
            if answer.dark_on_light and not answer.inverted:
                left.append(answer.file)
            if answer.blank:
                blank.append(answer.file)
            yield answer
        else:
            screen.close()  # a bar, which the line would be written into
            broken.append(f"{answer.what}.")
            print_error(broken[-1])
    if blank or left:
        screen.close()
    if blank:
        print_warning(describe_blank(blank))
    if left:
        print_warning(
            f"{named(left, 1)} {'is' if len(left) == 1 else 'are'} dark on light, and the net was trained on light on "
            "dark. Leave out --invert no to have negatives shown to it."
        )


def _print_csv(predictions: "Iterable[Prediction]") -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, each in enumerate(predictions):
        row = each.to_dict()
        if not number:
            writer.writerow(row)
        writer.writerow(str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values())
