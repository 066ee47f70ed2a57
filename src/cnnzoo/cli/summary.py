"""``cnnzoo summary``: what a network is made of."""

from typing import Annotated, Literal

import typer

from cnnzoo.cli import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import (
    ImageSizeOption,
    InChannelsOption,
    ModelArgument,
    ModelOption,
    NumClassesOption,
    parse_options,
)


@app.command("summary", cls=GroupedCommand)
def summary_command(
    model: ModelArgument,
    option: ModelOption = None,
    num_classes: NumClassesOption = None,
    in_channels: InChannelsOption = None,
    image_size: ImageSizeOption = None,
    batch_size: Annotated[
        int, typer.Option("-b", "--batch-size", min=1, metavar="N", help="Images at once.")
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Run it there for real: auto, cpu, cuda, cuda:1, mps or xpu "
            "[nowhere: shapes need neither data nor memory].",
        ),
    ] = None,
    format_: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Tables, or one JSON document on stdout.")
    ] = "table",
    teach: Annotated[
        bool,
        typer.Option("--teach", help="A second table: receptive fields, and the arithmetic written out."),
    ] = False,
    import_: ImportOption = None,
) -> None:
    """Show a network's layers, parameters, multiply-adds and memory.

    Multiply-adds are torchinfo's count, biases included. Memory is its estimate for the batch: images,
    outputs with their gradients, and parameters.

    JSON has the keys model, options, num_classes, type, device, input_size, layers, parameters, trainable,
    mult_adds, memory (bytes). A layer has name, type, kernel_size, stride, padding, input_size, output_size,
    parameters, mult_adds, receptive_field, jump, parameter_arithmetic, output_arithmetic; null where there is
    none. Shapes start with the batch.
    """
    import_option(import_)
    import dataclasses

    import torch

    from cnnzoo.device import pick_device
    from cnnzoo.models.registry import create_model, get_spec
    from cnnzoo.summary import summarize

    spec = get_spec(model)
    options = spec.check_options(parse_options(option or ()))
    where = pick_device(device) if device else torch.device("meta")
    with where:
        net = create_model(
            model, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **options
        )
    side = image_size or spec.image_size
    summary = summarize(net, (batch_size, in_channels or spec.in_channels, side, side), where)

    if format_ == "json":
        import json

        head = {"model": model, "options": options, "num_classes": num_classes or spec.num_classes}
        typer.echo(json.dumps(head | dataclasses.asdict(summary), indent=2, default=str))
        return
    from cnnzoo.tables import print_summary, print_teaching

    print_summary(summary)
    if teach:
        typer.echo()
        print_teaching(summary)
