"""``cnnzoo lr-find``: which learning rate to begin with."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cnnzoo.cli.app import GroupedCommand, app
from cnnzoo.cli.settings import given_settings, read_settings, with_settings
from cnnzoo.config import TrainConfig

LEFT_OUT = {
    *("lr", "scheduler", "milestones", "milestone_unit", "lr_factor", "plateau_epochs", "warmup_epochs"),
    *("epochs", "max_steps", "monitor", "patience", "save_every", "keep_epochs", "record_images", "name"),
}
"""Settings of a run that have no part in the test."""


def _lr_find(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="The network; `cnnzoo models` lists them.")
    ] = None,
    lr_min: Annotated[
        float, typer.Option(metavar="X", help="Rate of the first step.", rich_help_panel="Test")
    ] = 1e-6,
    lr_max: Annotated[
        float, typer.Option(metavar="X", help="Rate of the last step.", rich_help_panel="Test")
    ] = 10.0,
    steps: Annotated[int, typer.Option(metavar="N", help="How many.", rich_help_panel="Test")] = 200,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the curve there: .png, .svg or .pdf [in the terminal alone].",
            rich_help_panel="Test",
            show_default=False,
        ),
    ] = None,
    format_: Annotated[
        Literal["table", "json"],
        typer.Option("--format", help="Words, or JSON on stdout.", rich_help_panel="Test"),
    ] = "table",
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of settings; flags win over it.", rich_help_panel="Run")
    ] = None,
    **flags: Any,  # noqa: ANN401
) -> None:
    """Suggest a learning rate: train for a few steps while it rises, and see where the loss falls no more.

    The range test of Smith 2017, section 3.3, with a rate that rises exponentially. The net, images, optimizer and
    number format are those that `cnnzoo train` would begin with, and its options are taken as they are there. The
    suggestion is a tenth of the rate at which the smoothed loss is lowest. For images that are learnt before the rate
    is large there is none. The net is forgotten; no run is made.

    JSON has the keys model, dataset, optimizer, batch_size, suggestion (null where there is an obstacle), obstacle (too
    few images, learnt, no fall, or null), num_images, passes (how often each was shown), end (steps, diverged or not
    finite), and of each step lr, loss and smoothed.
    """
    from cnnzoo.analysis.lr_find import find_lr
    from cnnzoo.ui.lr_find import plot_lr_finder, print_lr_finder
    from cnnzoo.ui.screen import QuietScreen, Screen
    from cnnzoo.ui.style import picture_suffix, save_figure

    settings = read_settings(config, given_settings({"model": model, **flags}))
    asked = TrainConfig.from_dict(settings, source=f"the settings in {config}" if config else "the settings")
    if output is not None:
        picture_suffix(output)  # before the work
    screen = QuietScreen() if format_ == "json" else Screen()
    try:
        result = find_lr(asked, lr_min=lr_min, lr_max=lr_max, steps=steps, reporter=screen)
    finally:
        screen.close()
    if output is not None and result.lrs:
        save_figure(plot_lr_finder(result), output)
    if format_ == "json":
        document = {
            **{
                name: getattr(result.config, name) for name in ("model", "dataset", "optimizer", "batch_size")
            },
            **{
                name: getattr(result, name)
                for name in ("suggestion", "obstacle", "num_images", "passes", "end")
            },
            "lr": result.lrs,
            "loss": result.losses,
            "smoothed": result.smoothed,
        }
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_lr_finder(result, output if result.lrs else None)


app.command("lr-find", cls=GroupedCommand)(with_settings(_lr_find, LEFT_OUT))
