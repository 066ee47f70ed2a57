"""``cnnzoo bench``: how fast a network is here."""

from dataclasses import asdict
from typing import Annotated, Any, Literal, get_args

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import (
    CsvColumnsOption,
    DatasetOption,
    ImageRootOption,
    ImageSizeOption,
    InChannelsOption,
    ModelOption,
    NumClassesOption,
    parse_columns,
    parse_options,
)
from cnnzoo.config import PrecisionName
from cnnzoo.errors import UsageError

OF_PHOTOGRAPHS = "alexnet"
"""The net that is timed on image files where none is named."""


@app.command("bench", cls=GroupedCommand)
def bench_command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help=f"A name that `cnnzoo models` lists; may be left out with --data [{OF_PHOTOGRAPHS}].",
        ),
    ] = None,
    option: ModelOption = None,
    dataset: DatasetOption = "fashionmnist",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="folder:PATH or csv:FILE, in place of --dataset: time reading, decoding and transforming its images, "
            "and whether the net waits for them.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--workers",
            min=0,
            metavar="N",
            help="Threads that decode the images of --data [one per core].",
        ),
    ] = None,
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Leave out images of --data that cannot be read.")
    ] = False,
    csv_columns: CsvColumnsOption = "",
    image_root: ImageRootOption = None,
    batch_size: Annotated[
        str, typer.Option("-b", "--batch-size", metavar="N,N", help="Images at once, one figure or several.")
    ] = "32",
    precision: Annotated[
        str,
        typer.Option(metavar="NAME,NAME", help="auto, fp32, bf16 or fp16, one or several."),
    ] = "auto",
    num_classes: NumClassesOption = None,
    in_channels: InChannelsOption = None,
    image_size: ImageSizeOption = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, mps or xpu.")
    ] = "auto",
    seconds: Annotated[
        float, typer.Option(min=0, metavar="S", help="How long each part is timed, in seconds.")
    ] = 2.0,
    format_: Annotated[
        Literal["table", "json"], typer.Option("--format", help="A table, or JSON on stdout.")
    ] = "table",
    import_: ImportOption = None,
) -> None:
    """Time training and evaluation, the parts of a step, and its share of what the machine can do.

    Images are random and in memory, of the size that the net takes, in the channels and classes of --dataset. The peak
    is a matrix product and a copy, timed on the spot. The limit is a step whose arithmetic runs at that peak, and then
    its update at the speed of that copy.

    With --data the images are those of files, streamed as training does it where they are too many for memory.
    """
    import_option(import_)
    if model is None and data is None:
        raise UsageError(
            "name a net, as in cnnzoo bench lenet, or image files, as in cnnzoo bench --data folder:PATH."
        )
    if data is None and workers is not None:
        raise UsageError("--workers is of --data: without it the images are in memory. Leave it out.")
    if data is not None and num_classes is not None:
        raise UsageError("--num-classes is what the folder of --data has. Leave it out.")
    if data is not None and in_channels not in (None, 1, 3):
        raise UsageError(
            f"--in-channels {in_channels} cannot be had of image files. Give 1 (grey) or 3 (RGB)."
        )
    sizes = tuple(_whole_number(text) for text in batch_size.split(","))
    names = tuple(name.strip() for name in precision.split(","))
    for name in names:
        if name not in (known := get_args(PrecisionName)):
            raise UsageError(f"unknown precision {name!r}. There are: {', '.join(known)}.")
    from cnnzoo.analysis.bench.data import bench_data
    from cnnzoo.analysis.bench.net import bench
    from cnnzoo.data.datasets import describe_dataset
    from cnnzoo.data.reading import Reading
    from cnnzoo.ui.bench import print_bench, print_data_bench

    asked: dict[str, Any] = {
        "options": parse_options(option or ()),
        "image_size": image_size,
        "batch_sizes": sizes,
        "precisions": names,
        "device": device,
        "seconds": seconds,
    }
    if data is not None:
        of_files = list(
            bench_data(
                model or OF_PHOTOGRAPHS,
                data,
                reading=Reading(
                    channels=in_channels,
                    skip_bad_images=skip_bad_images,
                    columns=parse_columns(csv_columns),
                    image_root=image_root,
                ),
                num_workers=workers,
                **asked,
            )
        )
        if format_ == "json":
            _print_json(
                [{**asdict(result), "limit": result.limit, "verdict": result.verdict} for result in of_files]
            )
        else:
            print_data_bench(of_files)
        return
    assert model is not None  # or it would have been asked for
    if in_channels is None or num_classes is None:
        channels, classes = describe_dataset(dataset)
        in_channels, num_classes = in_channels or channels, num_classes or classes
    results = list(bench(model, num_classes=num_classes, in_channels=in_channels, **asked))
    if format_ == "json":
        _print_json([asdict(result) for result in results])
    else:
        print_bench(results)


def _print_json(results: list[dict[str, Any]]) -> None:
    import json

    typer.echo(json.dumps(results, indent=2))


def _whole_number(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(
            f"--batch-size takes whole numbers of at least 1, such as 32 or 32,128, not {text!r}."
        )
    return int(text)
