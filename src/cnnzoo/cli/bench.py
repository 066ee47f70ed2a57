"""``cnnzoo bench``: how fast a network is here."""

from typing import Annotated, Literal, get_args

import typer

from cnnzoo.cli import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import (
    DatasetOption,
    ImageSizeOption,
    InChannelsOption,
    ModelArgument,
    ModelOption,
    NumClassesOption,
    parse_options,
)
from cnnzoo.config import PrecisionName
from cnnzoo.errors import UsageError


@app.command("bench", cls=GroupedCommand)
def bench_command(
    model: ModelArgument,
    option: ModelOption = None,
    dataset: DatasetOption = "fashionmnist",
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
    """
    import_option(import_)
    sizes = tuple(_whole_number(text) for text in batch_size.split(","))
    names = tuple(name.strip() for name in precision.split(","))
    for name in names:
        if name not in (known := get_args(PrecisionName)):
            raise UsageError(f"unknown precision {name!r}. There are: {', '.join(known)}.")
    from cnnzoo.analysis.benchmark import bench
    from cnnzoo.data.splits import describe_dataset
    from cnnzoo.ui.tables import print_bench

    if in_channels is None or num_classes is None:
        channels, classes = describe_dataset(dataset)
        in_channels, num_classes = in_channels or channels, num_classes or classes
    results = list(
        bench(
            model,
            options=parse_options(option or ()),
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            batch_sizes=sizes,
            precisions=names,
            device=device,
            seconds=seconds,
        )
    )
    if format_ == "json":
        import dataclasses
        import json

        typer.echo(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    else:
        print_bench(results)


def _whole_number(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(
            f"--batch-size takes whole numbers of at least 1, such as 32 or 32,128, not {text!r}."
        )
    return int(text)
