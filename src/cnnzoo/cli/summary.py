"""``cnnzoo summary``: what a network is made of."""

from typing import Annotated, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, ImportOption, app, import_option
from cnnzoo.cli.options import (
    DatasetOption,
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
    dataset: DatasetOption = "fashionmnist",
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
    freeze: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Parts that are not trained, as in `cnnzoo train --freeze` [none]."
        ),
    ] = "",
    teach: Annotated[
        bool,
        typer.Option("--teach", help="A second table: receptive fields, and the arithmetic written out."),
    ] = False,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="Instead, its layers beside the figures of its paper, with every difference."
        ),
    ] = False,
    import_: ImportOption = None,
) -> None:
    """Show a network's layers, parameters, multiply-adds and memory, and each layer's share of them.

    It is the net that `cnnzoo train` would train on --dataset; with --paper that of the paper. Multiply-adds are
    those of convolutions and matrix products, attention included and biases left out, as torch.utils.flop_counter
    counts them; of a net that leaves out connections, as lenet5-1998 does, each parameter once for every position of an
    output. Memory is torchinfo's estimate for the batch: images, outputs with their gradients, and parameters.

    JSON has the keys model, options, num_classes, type, device, input_size, layers, parameters, trainable,
    mult_adds, memory (bytes). A layer has name, type, kernel_size, stride, padding, input_size, output_size,
    parameters, mult_adds, connections, traffic (bytes), receptive_field, jump, parameter_arithmetic,
    output_arithmetic; null where there is none. Shapes start with the batch. With --paper there is a key paper:
    reference, layers (name, source, agrees, and output, parameters, connections as paper_output and so on say them and
    as they are), deviations, remarks, agrees.
    """
    import_option(import_)
    import dataclasses

    import torch

    from cnnzoo.analysis.summary.paper import compare_with_paper, get_publication
    from cnnzoo.analysis.summary.summary import summarize
    from cnnzoo.data.datasets import describe_dataset
    from cnnzoo.device import pick_device
    from cnnzoo.models.registry import create_model, create_skeleton, get_spec
    from cnnzoo.training.transfer import freeze as freeze_parts

    spec = get_spec(model)
    publication = get_publication(spec) if paper else None
    options = spec.check_options(parse_options(option or ()))
    where = pick_device(device) if device else torch.device("meta")
    source = ""
    if not paper and (in_channels is None or num_classes is None):  # with it, they are the paper's
        channels, classes = describe_dataset(dataset)
        in_channels, num_classes, source = in_channels or channels, num_classes or classes, f" ({dataset})"
    arguments = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size, **options}
    net = create_model(model, **arguments) if device else create_skeleton(model, **arguments)
    freeze_parts(net, [name.strip() for name in freeze.split(",") if name.strip()])
    side = image_size or spec.image_size
    summary = summarize(net, (batch_size, in_channels or spec.in_channels, side, side), where)

    comparison = (
        compare_with_paper(model, net, summary, publication, spec.arguments({**options, "image_size": side}))
        if publication
        else None
    )

    if format_ == "json":
        import json

        head = {"model": model, "options": options, "num_classes": num_classes or spec.num_classes}
        tail = {"paper": dataclasses.asdict(comparison)} if comparison else {}
        typer.echo(json.dumps(head | dataclasses.asdict(summary) | tail, indent=2, default=str))
        return
    from cnnzoo.ui.summary import print_paper, print_summary, print_teaching

    if comparison:
        print_paper(model, comparison)
    else:
        print_summary(summary, f"{num_classes:,} classes{source}")
    if teach:
        typer.echo()
        print_teaching(summary)
